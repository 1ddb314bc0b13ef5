"""How the calendar is cut: nothing overlaps, every gap holds the delay, nothing is from later."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.modeling.splits import (
    MIN_FOLD_TRAIN_DAYS,
    NotEnoughHistoryError,
    SplitPlan,
    days_looked_at,
    days_needed,
    training_end,
)
from fraud_assets.transactions.profile import TrainingChoices

FIRST = date(2026, 1, 1)


def training(window: int, validation: int, gate: int, folds: int = 3) -> TrainingChoices:
    return TrainingChoices(
        window_days=window, validation_days=validation, gate_days=gate, folds=folds
    )


def test_a_plan_worked_by_hand():
    plan = SplitPlan.as_of(date(2026, 2, 1), 2, training(5, 3, 4), FIRST)
    january = [None, *(date(2026, 1, day) for day in range(1, 32))]
    assert plan.gate_days == tuple(january[27:31])  # labels of 30 January are mature
    assert plan.train_days == tuple(january[20:25])  # two days before the gate
    newest, middle, oldest = plan.folds[::-1]
    assert (newest.train_days, newest.validation_days) == (
        tuple(january[15:20]),
        tuple(january[22:25]),
    )
    assert (middle.train_days, middle.validation_days) == (
        tuple(january[12:17]),
        tuple(january[19:22]),
    )
    assert (oldest.train_days, oldest.validation_days) == (
        tuple(january[9:14]),
        tuple(january[16:19]),
    )
    assert (plan.fold_train_days, plan.validation_days) == (
        newest.train_days,
        newest.validation_days,
    )
    assert plan.learning_days == tuple(january[9:25])
    assert plan.days == tuple(january[9:25] + january[27:31])
    assert plan.describe() == {
        "as_of": "2026-02-01",
        "label_delay": "2 days",
        "fold_1_train": "2026-01-09 … 2026-01-13 (5 days)",
        "fold_1_validation": "2026-01-16 … 2026-01-18 (3 days)",
        "fold_2_train": "2026-01-12 … 2026-01-16 (5 days)",
        "fold_2_validation": "2026-01-19 … 2026-01-21 (3 days)",
        "fold_3_train": "2026-01-15 … 2026-01-19 (5 days)",
        "fold_3_validation": "2026-01-22 … 2026-01-24 (3 days)",
        "train": "2026-01-20 … 2026-01-24 (5 days)",
        "gate": "2026-01-27 … 2026-01-30 (4 days)",
    }


lengths = {
    "delay": st.integers(0, 10),
    "window": st.integers(2, 40),
    "validation": st.integers(1, 8),
    "gate": st.integers(2, 8),
}


@settings(max_examples=100, deadline=None)
@given(spare=st.integers(0, 60), folds=st.integers(1, 12), **lengths)
def test_slices_are_in_order_with_the_delay_between_them(
    spare, folds, delay, window, validation, gate
):
    day = FIRST + timedelta(days=3 * delay + gate + validation + 1 + spare)
    plan = SplitPlan.as_of(day, delay, training(window, validation, gate, folds), FIRST)
    gap = timedelta(days=delay)
    for fold in plan.folds:
        assert fold.validation_days[0] - fold.train_days[-1] == gap + timedelta(days=1)
        assert len(fold.validation_days) == validation
        assert min(window, MIN_FOLD_TRAIN_DAYS) <= len(fold.train_days) <= window
    for older, newer in pairwise(plan.folds):
        assert newer.validation_days[0] - older.validation_days[-1] == timedelta(days=1)
    assert len(plan.fold_train_days) == min(window, spare + 2)
    assert plan.gate_days[0] - plan.learning_days[-1] > gap
    assert (
        plan.train_days[-1]
        == plan.validation_days[-1]
        == training_end(day, delay, training(window, validation, gate, folds))
    )
    assert plan.gate_days[-1] == day - gap
    assert plan.days[0] >= FIRST
    assert len(plan.gate_days) == gate
    assert 2 <= len(plan.train_days) <= window
    slices = [plan.train_days, plan.gate_days]
    slices += [days for fold in plan.folds for days in (fold.train_days, fold.validation_days)]
    for days in slices:
        assert list(days) == [days[0] + timedelta(days=i) for i in range(len(days))]
        assert set(days) <= set(plan.days)


@settings(max_examples=100, deadline=None)
@given(spare=st.integers(0, 60), folds=st.integers(1, 12), **lengths)
def test_only_folds_with_enough_days_to_train_on_are_left(
    spare, folds, delay, window, validation, gate
):
    choices = training(window, validation, gate, folds)
    day = FIRST + timedelta(days=days_needed(delay, choices) - 1 + spare)
    plan = SplitPlan.as_of(day, delay, choices, FIRST)
    assert len(plan.folds) == min(folds, 1 + spare // validation)
    fewer = SplitPlan.as_of(day, delay, training(window, validation, gate, 1), FIRST)
    assert plan.folds[-1] == fewer.folds[0]
    assert (plan.train_days, plan.gate_days) == (fewer.train_days, fewer.gate_days)


@settings(max_examples=60, deadline=None)
@given(folds=st.integers(1, 12), **lengths)
def test_no_slice_is_further_back_than_is_looked_at(folds, delay, window, validation, gate):
    choices = training(window, validation, gate, folds)
    day = FIRST + timedelta(days=2_000)
    plan = SplitPlan.as_of(day, delay, choices, FIRST)
    assert len(plan.folds) == folds
    assert (day - plan.days[0]).days <= days_looked_at(delay, choices)


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
    assert len(worked.folds) == 1
    assert worked.fold_train_days == (FIRST, FIRST + timedelta(days=1))


def test_a_negative_delay_is_refused():
    with pytest.raises(ValueError, match="negative"):
        SplitPlan.as_of(date(2026, 3, 1), -1, training(5, 3, 4), FIRST)
