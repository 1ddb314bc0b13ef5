from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from fraud_assets.store import retention
from fraud_assets.store.answers import ShadowScore, StoredAnswer, answers_since, insert_answers
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.labels import append_labels, label_history
from fraud_assets.store.predictions import counts_by_day, replace_day
from fraud_assets.store.retention import RetentionReport, delete_before

DAYS = [date(2024, 3, 4) + timedelta(days=n) for n in range(4)]


@pytest.fixture
def filled(
    store: PredictionStore,
    answer_of: Callable[..., StoredAnswer],
    day_frame: Callable[..., pl.DataFrame],
) -> PredictionStore:
    """Four days with 30 predictions, 12 answers and 24 shadow scores each."""
    for day in DAYS:
        replace_day(store, day, day_frame(day, 30))
        made = [answer_of(f"{day}-{n}", day) for n in range(12)]
        shadows = [
            ShadowScore(
                transaction_id=one.transaction_id,
                event_time_us=one.event_time_us,
                model_version=version,
                score=0.5,
                decision="pass",
                scored_at_us=one.scored_at_us,
            )
            for one in made
            for version in ("2", "3")
        ]
        insert_answers(store, made, shadows)
    return store


@pytest.mark.parametrize("rows_at_once", [7, 10_000])
def test_all_days_before_are_dropped_and_the_others_stay(
    filled: PredictionStore, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_ROWS_AT_ONCE", rows_at_once)
    noon = datetime(2024, 3, 4, 12, tzinfo=UTC)
    word = {"transaction_id": f"{DAYS[0]}-0", "label": 1, "author": "ada"}
    append_labels(filled, [word | {"event_time": noon, "labelled_at": noon}])
    assert delete_before(filled, DAYS[2]) == RetentionReport(60, 24, 48)
    assert counts_by_day(filled)["day"].to_list() == DAYS[2:]
    assert {one.day for one in answers_since(filled, date.min)} == set(DAYS[2:])
    assert len(label_history(filled, f"{DAYS[0]}-0")) == 1
    assert delete_before(filled, DAYS[2]) == RetentionReport(0, 0, 0)
    assert delete_before(filled, DAYS[2] + timedelta(days=9)) == RetentionReport(60, 24, 48)


def test_no_lock_is_held_between_slices_and_an_interrupted_call_is_finished_by_the_next(
    filled: PredictionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_ROWS_AT_ONCE", 10)
    left = []
    build = retention.select

    def watched(*columns: object) -> object:
        left.append(counts_by_day(filled)["predictions"].sum())
        if len(left) == 5:
            raise KeyboardInterrupt
        return build(*columns)

    monkeypatch.setattr(retention, "select", watched)
    with pytest.raises(KeyboardInterrupt):
        delete_before(filled, DAYS[3])
    assert left == [120, 120, 110, 100, 90]  # what others see meanwhile
    monkeypatch.undo()
    assert delete_before(filled, DAYS[3]) == RetentionReport(60, 36, 72)
