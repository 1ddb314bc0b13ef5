"""How the calendar is cut: nothing overlaps, every gap holds the delay, nothing is from later."""

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.modeling.splits import NotEnoughHistoryError, SplitPlan, days_needed
from fraud_assets.transactions.profile import TrainingChoices

FIRST = date(2026, 1, 1)


def training(window: int, validation: int, gate: int) -> TrainingChoices:
    return TrainingChoices(window_days=window, validation_days=validation, gate_days=gate)


def test_a_plan_worked_by_hand():
    plan = SplitPlan.as_of(date(2026, 2, 1), 2, training(5, 3, 4), FIRST)
    january = [date(2026, 1, day) for day in range(1, 32)]
    assert plan.gate_days == tuple(january[26:30])  # 27 to 30: labels of 30 January are mature
    assert plan.train_days == tuple(january[19:24])  # 20 to 24, two days before the gate
    assert plan.validation_days == tuple(january[21:24])  # 22 to 24
    assert plan.fold_train_days == tuple(january[14:19])  # 15 to 19
    assert plan.describe() == {
        "as_of": "2026-02-01",
        "label_delay": "2 days",
        "fold_train": "2026-01-15 … 2026-01-19 (5 days)",
        "validation": "2026-01-22 … 2026-01-24 (3 days)",
        "train": "2026-01-20 … 2026-01-24 (5 days)",
        "gate": "2026-01-27 … 2026-01-30 (4 days)",
    }


lengths = {
    "delay": st.integers(0, 10),
    "window": st.integers(2, 40),
    "validation": st.integers(1, 8),
    "gate": st.integers(2, 8),
}


@settings(max_examples=80, deadline=None)
@given(spare=st.integers(0, 60), **lengths)
def test_slices_are_in_order_with_the_delay_between_them(spare, delay, window, validation, gate):
    day = FIRST + timedelta(days=3 * delay + gate + validation + 1 + spare)
    plan = SplitPlan.as_of(day, delay, training(window, validation, gate), FIRST)
    gap = timedelta(days=delay)
    assert plan.validation_days[0] - plan.fold_train_days[-1] > gap
    assert plan.gate_days[0] - plan.validation_days[-1] > gap
    assert plan.gate_days[0] - plan.train_days[-1] > gap
    assert plan.gate_days[-1] == day - gap
    assert plan.days[0] >= FIRST
    assert plan.days[-1] == plan.gate_days[-1]
    assert len(plan.gate_days) == gate
    assert len(plan.validation_days) == validation
    assert len(plan.fold_train_days) == min(window, spare + 2)
    assert 2 <= len(plan.train_days) <= window
    for days in (plan.train_days, plan.fold_train_days, plan.validation_days, plan.gate_days):
        assert list(days) == [days[0] + timedelta(days=i) for i in range(len(days))]


@settings(max_examples=60, deadline=None)
@given(short=st.integers(1, 60), **lengths)
def test_too_short_a_history_names_the_first_day_that_works(short, delay, window, validation, gate):
    choices = training(window, validation, gate)
    first_possible = FIRST + timedelta(days=3 * delay + gate + validation + 1)
    day = first_possible - timedelta(days=short)
    with pytest.raises(NotEnoughHistoryError, match=f"as of {day}.* {short} more") as caught:
        SplitPlan.as_of(day, delay, choices, FIRST)
    assert caught.value.first_possible_day == first_possible
    assert str(first_possible) in str(caught.value)
    assert days_needed(delay, choices) == (first_possible - FIRST).days + 1
    worked = SplitPlan.as_of(first_possible, delay, choices, FIRST)
    assert worked.fold_train_days == (FIRST, FIRST + timedelta(days=1))


def test_a_negative_delay_is_refused():
    with pytest.raises(ValueError, match="negative"):
        SplitPlan.as_of(date(2026, 3, 1), -1, training(5, 3, 4), FIRST)
