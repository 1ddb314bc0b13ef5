"""One day's monitoring put together: from frames and models to the records and tables of the day.

The measures are made elsewhere (`drift`, `data_quality`, `causes`, `rates`, `performance`,
`intervals`, `comparison`, `reconciliation`); this calls them in order and fills the records. It
reads no lake and knows no Dagster, so that an experiment replays days as the graph does.
"""
