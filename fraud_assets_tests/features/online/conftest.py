"""Replays of frames through the online state, and their comparison with the batch engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import polars as pl
import pytest

from fraud_assets.features.batch import compute_features, label_events
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.features.online.events import LabelEvent, Observation, OnlineTransaction
from fraud_assets.features.online.state import OnlineFeatures
from fraud_assets.transactions.profile import Profile, load_profile

ENTITY = {
    "windows_days": [1, 7],
    "aggregates": ["count", "sum", "mean", "max"],
    "recency": True,
    "amount_ratio": True,
    "risk": {"windows_days": [1, 7], "aggregates": ["labelled_count", "risk"]},
    "known_frauds": {"window_days": 7},
}
DAY_US = 86_400_000_000


def feature_set_of(name: str) -> FeatureSet:
    """A shipped profile's features; `everything` has every aspect there is."""
    if name != "everything":
        return FeatureSet.from_profile(load_profile(name))
    content = load_profile("simulator").model_dump(mode="json")
    calendar = ["hour", "is_night", "is_weekend"]
    content["features"] |= {"payer": ENTITY, "payee": ENTITY, "calendar": calendar}
    return FeatureSet.from_profile(Profile.model_validate(content))


def transactions_of(frame: pl.DataFrame) -> list[OnlineTransaction]:
    """The rows of canonical transactions as the service is told of them."""
    rows = frame.with_columns(pl.col("event_time").dt.epoch("us")).iter_rows(named=True)
    fields = ("transaction_id", "amount", "payer_id", "payee_id", "kind")
    return [
        OnlineTransaction(
            event_time_us=row["event_time"],
            extras={n: row[n] for n in row if n not in {*fields, "event_time"}},
            **{n: row.get(n) for n in fields},
        )
        for row in rows
    ]


def labels_of(frame: pl.DataFrame, delay_days: int) -> list[LabelEvent]:
    """The rows of labels as events, in the order in which they may be used."""
    columns = ("known_us", "label", "amount", "payer_id", "payee_id")
    rows = label_events(frame, delay_days).select(columns)
    return [LabelEvent(*row) for row in rows.iter_rows()]


def delay_of(feature_set: FeatureSet) -> int:
    return max(getattr(d, "delay_days", 0) for d in feature_set.definitions)


def unequal_values(
    feature_set: FeatureSet, found: Iterable[Observation], expected: pl.DataFrame
) -> dict[str, int]:
    """How many values differ, column by column, columns without a difference left out."""
    rows = [observation.values for observation in found]
    counts = {}
    for place, name in enumerate(feature_set.names):
        kind = expected.schema[name]
        values = [row[place] for row in rows]
        if kind == pl.Float32:
            with_nulls = np.array([np.nan if v is None else v for v in values], np.float64)
            ours = pl.Series(name, with_nulls.astype(np.float32), nan_to_null=True)
        else:
            ours = pl.Series(name, values, kind)
        if wrong := int(ours.ne_missing(expected[name]).sum()):
            counts[name] = wrong
    return counts


def days_of(transactions: pl.DataFrame) -> list:
    return transactions["event_time"].dt.date().unique().sort().to_list()


def replay(
    state: OnlineFeatures, frame: pl.DataFrame, labels: pl.DataFrame | None = None
) -> list[Observation]:
    """Every row in order; each label is told just before the first row that may use it."""
    told = [] if labels is None else labels_of(labels, delay_of(state.feature_set))
    found = []
    waiting = iter(told)
    label = next(waiting, None)
    for transaction in transactions_of(frame):
        key = max(transaction.event_time_us, state.last_key + 1)
        while label is not None and label.known_us <= key:
            state.add_label(label)
            label = next(waiting, None)
        found.append(state.observe(transaction))
    while label is not None:
        state.add_label(label)
        label = next(waiting, None)
    return found


def batch(
    feature_set: FeatureSet, transactions: pl.DataFrame, labels: pl.DataFrame
) -> pl.DataFrame:
    days: Sequence = days_of(transactions)
    return compute_features(feature_set, transactions, labels, days, threads=1)


class Parity:
    """What the tests of this folder share."""

    feature_set_of = staticmethod(feature_set_of)
    transactions_of = staticmethod(transactions_of)
    labels_of = staticmethod(labels_of)
    delay_of = staticmethod(delay_of)
    unequal_values = staticmethod(unequal_values)
    replay = staticmethod(replay)
    batch = staticmethod(batch)


@pytest.fixture(scope="session")
def parity() -> type[Parity]:
    return Parity


@pytest.fixture(scope="session", params=["simulator", "cards", "paysim", "everything"])
def features(request: pytest.FixtureRequest) -> FeatureSet:
    make: Callable[[str], FeatureSet] = feature_set_of
    return make(request.param)
