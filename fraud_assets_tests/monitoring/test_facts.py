"""Since when, how long and how many: what the policy is told of the days so far."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from fraud_assets.monitoring.facts import (
    LoopState,
    decaying_since,
    drifting_since,
    facts_of_day,
)
from fraud_assets.monitoring.records import DayDrift, DayPerformance
from fraud_assets.transactions.profile import MonitoringChoices, load_profile

FIRST = date(2026, 1, 1)
CHOICES = MonitoringChoices(performance_drop=0.25, drift_share_threshold=0.3, max_broken_weight=0.2)


def day(index: int) -> date:
    return FIRST + timedelta(days=index)


def drifts(*shares: float | None, **changes: Any) -> dict[date, DayDrift]:
    return {
        day(i): DayDrift(
            **{
                **dict.fromkeys(DayDrift.model_fields),
                "day": day(i), "status": "measured", "drift_share": share, "drifted_columns": [],
                "top_causes": [], "broken_columns": [], "broken_weights": {}, "rows": 1000,
                "reference_rows": 1000, "reference": "", "method": "", "column_threshold": 0.1,
                "champion_version": "1", "reference_version": "1", "report_path": "", **changes,
            }
        )
        for i, share in enumerate(shares)
    }  # fmt: skip


def performances(
    *precisions: float | None, delay: int = 2, **changes: Any
) -> dict[date, DayPerformance]:
    return {
        day(i): DayPerformance(
            **{
                **dict.fromkeys(DayPerformance.model_fields),
                "day": day(i), "matured_day": day(i - delay) if i >= delay else None,
                "model_version": "1", "rows": 1000, "judged_rows": 1000, "positives": i,
                "average_precision_at_gate_rate": value, "week_days": 0, "champion_version": "1",
                "champion_gate_average_precision": 0.6, "recent_days": 3, "recent_frauds": 30,
                "alternatives": [], **changes,
            }
        )
        for i, value in enumerate(precisions)
    }  # fmt: skip


def test_drift_began_on_the_first_of_the_days_in_a_row() -> None:
    seen = drifts(0.5, 0.1, 0.3, 0.9, 0.4)
    assert drifting_since(day(4), seen, CHOICES) == day(2)
    assert drifting_since(day(2), seen, CHOICES) == day(2)
    assert drifting_since(day(1), seen, CHOICES) is None


def test_a_day_without_a_measurement_ends_a_drift() -> None:
    assert drifting_since(day(2), drifts(0.5, None, 0.5), CHOICES) == day(2)


def test_a_decay_began_on_the_first_bad_matured_day() -> None:
    seen = performances(0.6, 0.6, 0.6, 0.6, 0.3, 0.3)
    assert decaying_since(day(5), seen, CHOICES) == day(2)
    assert decaying_since(day(3), seen, CHOICES) is None


def test_one_good_day_does_not_end_a_decay_and_two_do() -> None:
    seen = performances(0.6, 0.6, 0.3, 0.6, 0.3, 0.3)
    assert decaying_since(day(5), seen, CHOICES) == day(0)
    seen = performances(0.6, 0.3, 0.6, 0.6, 0.3, 0.3)
    assert decaying_since(day(5), seen, CHOICES) == day(2)


def test_a_day_that_is_not_computable_neither_ends_nor_begins_a_decay() -> None:
    seen = performances(0.6, 0.6, 0.6, 0.3, None, 0.3, None)
    assert decaying_since(day(6), seen, CHOICES) == day(1)


def test_a_rollback_to_a_model_that_does_no_better_goes_on_with_the_decay() -> None:
    seen = performances(0.6, 0.6, 0.6, 0.6, 0.3, 0.3, 0.3)
    for index in (5, 6):
        seen[day(index)] = seen[day(index)].model_copy(
            update={"champion_version": "0", "champion_gate_average_precision": 0.5}
        )
    assert decaying_since(day(6), seen, CHOICES) == day(2)


def test_each_champion_is_held_to_its_own_gate() -> None:
    seen = performances(0.3, 0.3, 0.3, 0.3, 0.3, 0.3)
    for index in range(4):
        seen[day(index)] = seen[day(index)].model_copy(
            update={"champion_version": "0", "champion_gate_average_precision": 0.3}
        )
    assert decaying_since(day(5), seen, CHOICES) == day(2)


def test_the_rules_have_no_gate_and_do_not_decay() -> None:
    seen = performances(0.1, 0.1, 0.1, champion_gate_average_precision=None)
    assert decaying_since(day(2), seen, CHOICES) is None


def test_facts_of_a_day_are_blind_to_later_reports() -> None:
    profile = load_profile("simulator")
    state = LoopState(newest_day=day(9), champion="1", never_trained=False)
    every = drifts(*[0.1] * 5, *[0.9] * 5), performances(*[0.6] * 5, *[0.1] * 5)

    def at(index: int, *, cut: bool) -> Any:
        seen = [
            {d: r for d, r in records.items() if not cut or d <= day(index)} for records in every
        ]
        return facts_of_day(
            day(index),
            *seen,
            quarantine_share=0.0,
            first_day=FIRST,
            state=state,
            profile=profile,
            rules="rules-1",
        )

    for index in range(10):
        assert at(index, cut=False) == at(index, cut=True)
    assert at(6, cut=False).labelled_days == 7
    assert at(6, cut=False).frauds_by_day == {day(i - 2): i for i in range(2, 7)}


def test_health_is_counted_in_days_in_a_row_up_to_the_day() -> None:
    profile = load_profile("simulator")
    seen = drifts(0.1, 0.1, 0.1, 0.1, broken_weights={"2": 0.0})
    seen[day(1)] = seen[day(1)].model_copy(update={"broken_weights": {"2": 0.7}})
    state = LoopState(newest_day=day(3), champion="1", never_trained=False, suspended="2")

    def healthy(index: int, version: str) -> int:
        return facts_of_day(
            day(index),
            seen,
            performances(*[0.6] * 4),
            quarantine_share=0.0,
            first_day=FIRST,
            state=LoopState(**{**vars(state), "suspended": version}),
            profile=profile,
            rules="rules-1",
        ).healthy_days

    assert [healthy(i, "2") for i in range(4)] == [1, 0, 1, 2]
    assert healthy(3, "5") == 0, "nothing is known of a model that was not watched"
