"""Labels are known when they are known, never before, and the latest counts."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.transactions import columns as c
from fraud_assets.transactions.labels import (
    LABELS_SCHEMA,
    LATE_LABEL_DAYS,
    known_as_of,
    label_lookback_days,
    labels_beyond_delay,
    labels_known_on,
    latest_labels,
)
from fraud_assets.transactions.profile import Profile
from fraud_assets.transactions.validation import validate_day

DAY = date(2026, 1, 3)
NOON = datetime(2026, 1, 3, 12, tzinfo=UTC)


def make_profile(**label: object) -> Profile:
    columns = {
        "transaction_id": "id",
        "time": {"column": "when"},
        "amount": {"column": "sum"},
        "label": {"column": "bad", "delay_days": 2, **label} if label.get("column", 1) else None,
    }
    return Profile.model_validate({"name": "mine", "columns": columns})


FIXED = make_profile()
OWN = make_profile(known_at="told", scenario="how")


def transactions(profile: Profile, day: date, **columns: list) -> pl.DataFrame:
    rows = len(next(iter(columns.values())))
    base = {"id": [f"{day}/{i}" for i in range(rows)], "when": [f"{day} 12:00:00"] * rows,
            "sum": [1.0] * rows, "bad": [1] * rows, "how": ["x"] * rows, **columns}  # fmt: skip
    raw = pl.DataFrame(base).with_row_index(c.SOURCE_ROW)
    return validate_day(raw, profile, day).validated


def label(
    known_at: datetime, value: int, source: str = "source", tx: str = "a", event: datetime = NOON
) -> dict:
    return {
        c.TRANSACTION_ID: tx, c.EVENT_TIME: event, c.EVENT_ORDER: 1, c.PAYER: "p", c.PAYEE: None,
        c.AMOUNT: 5.0,
        c.LABEL: value, c.LABEL_KNOWN_AT: known_at, c.LABEL_SOURCE: source, c.SCENARIO: None,
    }  # fmt: skip


def labels(*rows: dict) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=LABELS_SCHEMA)


def test_a_label_is_known_on_the_day_after_its_delay_and_on_no_other() -> None:
    data = transactions(FIXED, DAY, bad=[1, 0, None])
    found = {d: labels_known_on(data, DAY + timedelta(days=d), FIXED) for d in range(5)}
    assert {d: frame.height for d, frame in found.items()} == {0: 0, 1: 0, 2: 2, 3: 0, 4: 0}
    assert found[2][c.LABEL].to_list() == [1, 0]
    assert set(found[2][c.LABEL_SOURCE]) == {"source"}
    assert found[2][c.LABEL_KNOWN_AT].to_list() == [NOON + timedelta(days=2)] * 2
    assert all(dict(frame.schema) == LABELS_SCHEMA for frame in found.values())


def test_an_unlabelled_transaction_stays_unknown() -> None:
    data = transactions(FIXED, DAY, bad=[None, None])
    frames = [labels_known_on(data, DAY + timedelta(days=d), FIXED) for d in range(10)]
    assert latest_labels(pl.concat(frames), DAY + timedelta(days=400)).height == 0


def test_a_label_with_its_own_moment_is_known_then() -> None:
    data = transactions(OWN, DAY, told=["2026-01-03 23:59:59.999999", "2026-01-04", "2026-01-20"])
    assert labels_known_on(data, DAY, OWN)[c.TRANSACTION_ID].to_list() == ["2026-01-03/0"]
    next_day = labels_known_on(data, DAY + timedelta(days=1), OWN)
    assert next_day[c.TRANSACTION_ID].to_list() == ["2026-01-03/1"]
    assert next_day[c.SCENARIO].to_list() == ["x"]


def test_the_lookback_covers_the_delay_and_late_labels() -> None:
    assert label_lookback_days(FIXED) == 2
    assert label_lookback_days(OWN) == 2 + LATE_LABEL_DAYS
    assert label_lookback_days(make_profile(column=None)) == 0


def test_labels_too_late_for_every_day_are_counted() -> None:
    last = DAY + timedelta(days=label_lookback_days(OWN))
    told = [f"{last} 23:59:00", f"{last + timedelta(days=1)} 00:00:00", None]
    data = transactions(OWN, DAY, told=told)
    assert labels_beyond_delay(data, OWN) == 1
    assert labels_known_on(data, last, OWN).height == 1


def test_an_analysts_label_is_added_to_the_sources() -> None:
    data = transactions(FIXED, DAY, bad=[1])
    day = DAY + timedelta(days=2)
    early = NOON + timedelta(days=1, hours=20)
    analysts = labels(
        label(early, 0, "analyst"), label(NOON, 1, "analyst", "other-day"),
    )  # fmt: skip
    found = labels_known_on(data, day, FIXED, analysts)
    assert found[c.LABEL_SOURCE].to_list() == ["analyst", "source"]
    assert found[c.LABEL_KNOWN_AT].is_sorted()


def test_without_a_mapped_label_only_analysts_tell() -> None:
    profile = make_profile(column=None)
    data = transactions(profile, DAY, sum=[1.0])
    assert labels_known_on(data, DAY, profile).height == 0
    assert labels_known_on(data, DAY, profile, labels(label(NOON, 1, "analyst"))).height == 1


@pytest.mark.parametrize(
    "broken", [label(NOON - timedelta(seconds=1), 1), {**label(NOON, 1), c.LABEL: 3},
               {**label(NOON, 1), c.LABEL: None}, {**label(NOON, 1), c.LABEL_KNOWN_AT: None}]
)  # fmt: skip
def test_an_impossible_label_of_an_analyst_is_refused(broken: dict) -> None:
    data = transactions(FIXED, DAY, bad=[1])
    with pytest.raises(ValueError, match="1 analyst labels"):
        labels_known_on(data, DAY, FIXED, labels(broken))


def test_the_latest_label_wins_and_the_analyst_among_equals() -> None:
    later = NOON + timedelta(hours=1)
    history = labels(label(later, 1), label(NOON, 0, "analyst"))
    assert latest_labels(history, DAY)[c.LABEL].to_list() == [1]
    for tie in ([label(NOON, 1), label(NOON, 0, "analyst")],) * 2:
        for rows in (tie, tie[::-1]):
            assert latest_labels(labels(*rows), DAY)[c.LABEL].to_list() == [0]


def test_a_later_label_does_not_change_what_was_known_earlier() -> None:
    history = labels(label(NOON, 0), label(NOON + timedelta(days=1), 1))
    assert latest_labels(history, DAY)[c.LABEL].to_list() == [0]
    assert latest_labels(history, DAY + timedelta(days=1))[c.LABEL].to_list() == [1]
    assert latest_labels(history, DAY - timedelta(days=1)).height == 0


def test_a_day_ends_before_midnight() -> None:
    history = labels(label(datetime(2026, 1, 4, tzinfo=UTC), 1))
    assert known_as_of(history, DAY).height == 0
    assert known_as_of(history, DAY + timedelta(days=1)).height == 1


@settings(max_examples=50, deadline=None)
@given(hours=st.lists(st.none() | st.integers(0, 24 * 40), min_size=1, max_size=15))
def test_every_label_is_told_once_on_its_day_or_counted_as_too_late(
    hours: list[int | None],
) -> None:
    told = [None if h is None else str(NOON.replace(tzinfo=None) + timedelta(hours=h))
            for h in hours]  # fmt: skip
    data = transactions(OWN, DAY, told=pl.Series(told, dtype=pl.String))
    seen = []
    for passed in range(label_lookback_days(OWN) + 1):  # the days whose lookback holds DAY
        day = DAY + timedelta(days=passed)
        found = labels_known_on(data, day, OWN)
        assert (found[c.LABEL_KNOWN_AT].dt.date() == day).all()
        assert (found[c.LABEL_KNOWN_AT] >= found[c.EVENT_TIME]).all()
        seen += found[c.TRANSACTION_ID].to_list()
    assert len(seen) == len(set(seen))
    assert len(seen) + labels_beyond_delay(data, OWN) == len(hours)
