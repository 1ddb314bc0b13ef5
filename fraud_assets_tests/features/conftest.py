"""Small histories for the feature tests: lists of events, turned into canonical frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import strategies as st

START = datetime(2026, 3, 5, 22, tzinfo=UTC)


class Event(NamedTuple):
    """A transaction `gap_seconds` after the one before, and its label if it has one."""

    gap_seconds: int
    payer: str | None
    payee: str | None
    amount: float
    label: int | None = None
    known_after_hours: int = 0


class Frames(NamedTuple):
    transactions: pl.DataFrame
    labels: pl.DataFrame


DAY = 86_400
events = st.lists(
    st.builds(
        Event,
        gap_seconds=st.sampled_from(
            [0, 0, 1, 600, 3_600, DAY // 2, DAY - 1, DAY, 2 * DAY, 7 * DAY]
        ),
        payer=st.sampled_from(["A", "B", None]),
        payee=st.sampled_from(["X", "Y", None]),
        amount=st.integers(0, 10**9).map(lambda n: n / 100),
        label=st.sampled_from([None, 0, 1]),
        known_after_hours=st.sampled_from([0, 1, 24, 48, 72, 300]),
    ),
    min_size=1,
    max_size=30,
)


def frames(history: Sequence[Event]) -> Frames:
    times = np.cumsum([event.gap_seconds for event in history])
    moments = [START + timedelta(seconds=int(seconds)) for seconds in times]
    index = np.arange(len(history))
    epoch = np.array([int(m.timestamp()) * 1_000_000 for m in moments], dtype=np.int64)
    rows = pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in index],
            "event_time": pl.Series(moments, dtype=pl.Datetime("us", "UTC")),
            "event_order_us": np.maximum.accumulate(epoch - index) + index,
            "amount": [event.amount for event in history],
            "payer_id": pl.Series([event.payer for event in history], dtype=pl.String),
            "payee_id": pl.Series([event.payee for event in history], dtype=pl.String),
            "kind": ["PAYMENT"] * len(history),
            "label": pl.Series([event.label for event in history], dtype=pl.Int8),
            "label_known_at": pl.Series(
                [
                    m + timedelta(hours=e.known_after_hours)
                    for m, e in zip(moments, history, strict=True)
                ],
                dtype=pl.Datetime("us", "UTC"),
            ),
        }
    )
    labels = rows.drop("kind").drop_nulls("label")
    return Frames(
        rows.drop("label", "label_known_at"), labels.sort("label_known_at", "transaction_id")
    )


@pytest.fixture(scope="session")
def build() -> Callable[[Sequence[Event]], Frames]:
    return frames


@pytest.fixture(scope="session")
def histories() -> st.SearchStrategy[list[Event]]:
    return events


@pytest.fixture(scope="session")
def new_event() -> type[Event]:
    return Event
