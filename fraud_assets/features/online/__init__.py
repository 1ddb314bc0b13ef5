"""Features of one transaction at a time, from a history held in memory.

The same declarations as in batch, compiled to plain Python over sorted arrays. `state` is the way
in; `plan` compiles, `amounts`, `labels` and `pairs` hold one entity's history each, `entities` all
of one kind, `loading` fills them at once, and `snapshot` and `warm` bring them back after a
restart. What a feature means is said in `definitions` and `semantics`. HTTP, models and answers
are elsewhere.
"""
