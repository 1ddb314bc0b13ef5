"""The labels that are kept say the same of a day as all labels would."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from fraud_assets.assets import LABELS
from fraud_assets.assets.label_history import LabelHistory
from fraud_assets.lake import Lake, MissingDayError
from fraud_assets.modeling.dataset import known_fraud_payers, labelled_rows
from fraud_assets.partitions import SimulationDays

FIRST, DAYS, LOOKBACK, DELAY = date(2025, 3, 1), 14, 8, 2
CALENDAR = [FIRST + timedelta(days=i) for i in range(DAYS)]


@pytest.fixture
def lake(tmp_path) -> Lake:
    """Labels by the day that they became known; some are told again, and then differently."""
    rng = np.random.default_rng(5)
    rows = []
    for place, day in enumerate(CALENDAR):
        for number in range(60):
            happened = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
            told = rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1])
            for time in np.sort(rng.uniform(0, 6, told)):
                rows.append(
                    {
                        "transaction_id": f"t{place}-{number}",
                        "event_time": happened,
                        "payer_id": f"p{rng.integers(40)}",
                        "label": int(rng.random() < 0.2),
                        "label_known_at": happened + timedelta(days=float(time)),
                        "label_source": str(rng.choice(["source", "analyst"])),
                        "scenario": None,
                    }
                )
    labels = pl.DataFrame(rows, schema_overrides={"label": pl.Int8, "scenario": pl.String})
    found = Lake(str(tmp_path / "lake"))
    for day in CALENDAR:
        known = labels.filter(pl.col("label_known_at").dt.date() == day)
        found.write_day(LABELS, day, known)
    return found


def test_a_day_is_judged_as_with_every_label(lake):
    days = SimulationDays(FIRST, DAYS)
    history = LabelHistory(lake, days, LOOKBACK)
    for as_of in CALENDAR:
        judged = as_of - timedelta(days=DELAY)
        everything = lake.read_days(LABELS, days.trailing(as_of, LOOKBACK))
        kept = history.judging(judged, as_of)
        happened = everything.filter(pl.col("event_time").dt.date() == judged)
        predicted = happened.select("transaction_id", "event_time").unique().sort("transaction_id")
        assert labelled_rows(predicted, kept, as_of).equals(
            labelled_rows(predicted, everything, as_of)
        )
        assert known_fraud_payers(kept, judged).equals(known_fraud_payers(everything, judged))
    assert kept.height < everything.height


def test_a_missing_day_is_named(lake):
    history = LabelHistory(lake, SimulationDays(FIRST, DAYS + 1), LOOKBACK)
    with pytest.raises(MissingDayError, match="2025-03-15"):
        history.judging(date(2025, 3, 13), date(2025, 3, 15))
