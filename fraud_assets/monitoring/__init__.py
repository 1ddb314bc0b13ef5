"""Watching a model in use: what has moved, how it does, what follows, and how it is told.

- A day's inputs: `drift` by Evidently (`column_drift`, `drift_html`), `data_quality` for inputs
  that are broken rather than moved, `causes` for what the model makes of them, `rates` for alerts
  and frauds.
- A day's outcome: `performance` of predictions whose labels became mature, with `intervals`;
  `comparison` with former champions and the rules; `estimation` before the labels are there, and
  its `reconciliation`.
- `daily` puts a day's `records` together, `facts` derives what they say over the days, and `policy`
  decides. `reporting` draws, `alerts` words what people are told.

Nothing here trains, promotes, sends, or knows Dagster.
"""
