"""A state from the days that the lake holds, as if it had seen them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil

import polars as pl

from fraud_assets.features.definitions import FeatureSet
from fraud_assets.features.online.state import OnlineFeatures
from fraud_assets.lake import LABELS, VALIDATED, Lake
from fraud_assets.transactions.columns import (
    AMOUNT,
    EVENT_ORDER,
    EVENT_TIME,
    LABEL,
    LABEL_KNOWN_AT,
    LABEL_SOURCE,
    PAYEE,
    PAYER,
)
from fraud_assets.transactions.labels import FROM_SOURCE

_TRANSACTIONS = (EVENT_TIME, EVENT_ORDER, AMOUNT, PAYER, PAYEE)
_LABELS = (EVENT_TIME, LABEL_KNOWN_AT, LABEL, AMOUNT, PAYER, PAYEE, LABEL_SOURCE)


@dataclass(frozen=True)
class WarmStart:
    """A state, the last days of transactions and of labels it has seen, and how many of each."""

    state: OnlineFeatures
    last_day: date | None
    transactions: int
    last_label_day: date | None
    labels: int


def warm_state(
    lake: Lake, feature_set: FeatureSet, *, late_days: float, up_to: date | None = None
) -> WarmStart:
    """The state after the lake's last day, from as many days as its features reach.

    Args:
        lake: validated transactions, and labels, of which the source's are learnt: analysts' are
            in the store, also those that came after their day was closed. Days that are missing
            count as empty.
        feature_set: the declarations.
        late_days: how late transactions will be remembered.
        up_to: the last day to read; None for all.
    """
    state = OnlineFeatures(feature_set, late_days=late_days)
    days = [day for day in lake.days(VALIDATED) if up_to is None or day <= up_to]
    if not days:
        return WarmStart(state, None, 0, None, 0)
    # One more than the days of the windows, as both ends lie within a day.
    extra = ceil(late_days) + 1
    first = days[-1] - timedelta(days=feature_set.lookback_days + extra)
    first_label = days[-1] - timedelta(days=feature_set.label_lookback_days + extra)
    rows = lake.read_days(VALIDATED, [day for day in days if day >= first], _TRANSACTIONS)
    state.load_transactions(rows)
    known = [
        day for day in lake.days(LABELS) if day >= first_label and (up_to is None or day <= up_to)
    ]
    labels = lake.read_existing(LABELS, known, _LABELS)
    if labels is None:
        return WarmStart(state, days[-1], rows.height, None, 0)
    told = labels.filter(pl.col(LABEL_SOURCE) == FROM_SOURCE)
    state.load_labels(told)
    return WarmStart(state, days[-1], rows.height, known[-1], told.height)
