"""What the online state is told, and what it answers. Plain data only."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

Value = float | str | None
"""A feature's value: a number, a category, or None where it is missing."""


class OnlineTransaction(msgspec.Struct, frozen=True, gc=False):
    """One transaction, as the state needs it.

    Attributes:
        transaction_id: for the caller; the state does not look at it. Whoever calls keeps a
            transaction from being observed twice.
        event_time_us: microseconds since the epoch, UTC.
        amount: in the currency's main unit; finite, and below 9.2e14.
        payer_id: None where unknown; the payer's features are then missing.
        payee_id: the same of the payee.
        kind: the kind of the transaction.
        extras: the profile's extra numbers and categories, by name.
    """

    transaction_id: str
    event_time_us: int
    amount: float
    payer_id: str | None = None
    payee_id: str | None = None
    kind: str | None = None
    extras: dict[str, float | str | None] = {}


class LabelEvent(msgspec.Struct, frozen=True, gc=False):
    """One label, from the moment on at which it may be used.

    Attributes:
        known_us: the later of the event time plus the delay and the moment at which the label
            became known, as `batch.label_events` gives it.
        label: 1 for fraud, 0 for legitimate.
        amount: of the labelled transaction; None where unknown.
        payer_id: of the labelled transaction.
        payee_id: of the labelled transaction.
    """

    known_us: int
    label: int
    amount: float | None
    payer_id: str | None
    payee_id: str | None


class Observation(NamedTuple):
    """The features of one transaction, and how it was placed in the history.

    Attributes:
        values: aligned with `OnlineFeatures.names`; equal to the batch's after a cast to float32.
        event_order_us: its order key.
        is_late: it is older than the newest transaction seen.
        is_forgotten: it is so late that it was answered from what is kept, and not remembered.
    """

    values: list[Value]
    event_order_us: int
    is_late: bool
    is_forgotten: bool
