"""Watching a model in use: drift of its inputs, how it did, how it seems to do, what follows.

`drift` compares a day with its reference by Evidently (`column_drift`, `drift_html`),
`performance` judges predictions whose labels became mature, `estimation` guesses before they do,
and `policy` decides about a retraining. Nothing here trains, promotes, or reads the lake.
"""
