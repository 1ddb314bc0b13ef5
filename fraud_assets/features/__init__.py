"""Features of a transaction: declared once, computed by an engine.

`definitions` says what every feature means, `semantics` fixes what windows and sums mean to the
bit, `expressions` compiles the declarations to Ibis, and `batch` runs them on DuckDB for days of
the lake. How rows are validated or labelled, and what a model does with features, is elsewhere.
"""
