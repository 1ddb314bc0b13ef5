"""The canonical column names that every layer below the source shares.

Only names and groupings belong here; rules about the values live in `schema` and
`validation`, and where a name comes from in a user's file is the profile's business.
"""

from __future__ import annotations

from typing import Final

TRANSACTION_ID: Final = "transaction_id"
EVENT_TIME: Final = "event_time"
"""When the transaction happened: `Datetime("us", "UTC")`."""

EVENT_ORDER: Final = "event_order_us"
"""Strictly increasing order key in microseconds since the epoch (`Int64`).

Equal to the event time, except that rows of one instant are nudged apart by a microsecond in
order of arrival. Windows run over this key, so that a row never sees a simultaneous later one.
"""

AMOUNT: Final = "amount"
PAYER: Final = "payer_id"
PAYEE: Final = "payee_id"
KIND: Final = "kind"

SOURCE_LABEL: Final = "source_label"
"""What the source says of the transaction (`Int8`, 0 or 1, null where it says nothing)."""

SOURCE_LABEL_KNOWN_AT: Final = "source_label_known_at"
SOURCE_SCENARIO: Final = "source_scenario"

SOURCE_LABEL_COLUMNS: Final = (SOURCE_LABEL, SOURCE_LABEL_KNOWN_AT, SOURCE_SCENARIO)
"""Columns that only the labelling step may read: anywhere else they are leakage."""

LABEL: Final = "label"
LABEL_KNOWN_AT: Final = "label_known_at"
LABEL_SOURCE: Final = "label_source"
SCENARIO: Final = "scenario"

SOURCE_ROW: Final = "source_row"
"""Position of the row in the source, counted from zero: names the row in messages."""

DAY: Final = "day"

SCORE: Final = "score"
DECISION: Final = "decision"
REASONS: Final = "reasons"
REASON: Final = "reject_reasons"
