"""Every branch of the retraining policy, and that no guard can be passed."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.monitoring.policy import (
    DriftFacts,
    FirstTrainingFacts,
    PerformanceFacts,
    PipelineState,
    decide_on_drift,
    decide_on_performance,
    first_training_decision,
)
from fraud_assets.transactions.profile import MonitoringChoices

DAY = date(2026, 1, 20)
CHOICES = MonitoringChoices()
DRIFTED = DriftFacts(DAY, 41, 20_000, 0.42, ("amount", "kind"), 0.05)
WORSE = PerformanceFacts(DAY, 42, (0.6, 0.3, None, 0.4, 0.35), 0.6)
FIRST = FirstTrainingFacts(DAY, 43, labelled_days=22, needed_days=22)
READY = PipelineState(
    quarantine_share=0.004,
    last_retraining_day=DAY - timedelta(days=3),
    retraining_running=False,
    mature_positives=120,
    newest_report_day=DAY,
    handled_ids=frozenset({1, 2}),
    champion_version="3",
)
UNTRAINED = replace(READY, champion_version=None, last_retraining_day=None)


def test_drift_over_the_threshold_retrains_with_its_numbers():
    decision = decide_on_drift(DRIFTED, READY, CHOICES)
    assert decision.action == "retrain"
    assert decision.guard is None
    assert decision.reason == (
        "drift share 0.42 >= 0.30 (amount, kind), score drift 0.05; 120 mature frauds to learn from"
    )
    assert decision.run_key == "drift-41"


DRIFT_BRANCHES = [
    ("handled", {}, {"handled_ids": frozenset({41})},
     "report 41 of 2026-01-20 was handled before"),
    ("outdated", {}, {"newest_report_day": date(2026, 1, 21)},
     "report of 2026-01-20 is older than the newest, 2026-01-21: a backfill"),
    ("no_champion", {}, {"champion_version": None},
     "no champion yet: the first training is decided on its own"),
    ("too_few_rows", {"rows": 12}, {}, "too few rows: 12 < 1000"),
    ("data_quality", {}, {"quarantine_share": 0.031},
     "quarantined 3.1% > 2.0% of 2026-01-20: repair the data"),
    ("data_quality", {}, {"quarantine_share": None},
     "share of quarantined rows of 2026-01-20 is not known"),
    ("not_computable", {"drift_share": None, "not_measured": "no column has a value"}, {},
     "drift of 2026-01-20 was not measured: no column has a value"),
    ("below_threshold", {"drift_share": 0.29}, {}, "drift share 0.29 < 0.30"),
    ("running", {}, {"retraining_running": True}, "a retraining is running: 1 at a time"),
    ("cooldown", {}, {"last_retraining_day": date(2026, 1, 18)},
     "2 days since the retraining of 2026-01-18 < 3"),
    ("cooldown", {}, {"last_retraining_day": date(2026, 1, 22)},
     "-2 days since the retraining of 2026-01-22 < 3"),
    ("too_few_positives", {}, {"mature_positives": 29}, "mature frauds 29 < 30"),
]  # fmt: skip


@pytest.mark.parametrize(("guard", "fact", "state", "reason"), DRIFT_BRANCHES)
def test_a_guard_stops_a_drift_retraining_and_says_why(guard, fact, state, reason):
    decision = decide_on_drift(replace(DRIFTED, **fact), replace(READY, **state), CHOICES)
    assert (decision.action, decision.guard) == ("skip", guard)
    assert decision.reason.startswith(reason)


def test_the_guards_are_asked_in_order():
    """With all of them holding, lifting one at a time uncovers the next."""
    lifts = [
        ("handled", {}, {"handled_ids": frozenset()}),
        ("outdated", {}, {"newest_report_day": DAY}),
        ("no_champion", {}, {"champion_version": "3"}),
        ("too_few_rows", {"rows": 5_000}, {}),
        ("data_quality", {}, {"quarantine_share": 0.0}),
        ("below_threshold", {"drift_share": 0.5}, {}),
        ("running", {}, {"retraining_running": False}),
        ("cooldown", {}, {"last_retraining_day": None}),
        ("too_few_positives", {}, {"mature_positives": 500}),
    ]
    facts = replace(DRIFTED, rows=1, drift_share=0.0)
    state = PipelineState(0.5, DAY, True, 0, DAY + timedelta(days=1), frozenset({41}), None)
    for guard, fact, change in lifts:
        assert decide_on_drift(facts, state, CHOICES).guard == guard
        facts, state = replace(facts, **fact), replace(state, **change)
    assert decide_on_drift(facts, state, CHOICES).action == "retrain"


def test_a_finding_that_has_to_wait_is_still_told():
    decision = decide_on_drift(DRIFTED, replace(READY, retraining_running=True), CHOICES)
    assert "waiting: drift share 0.42 >= 0.30 (amount, kind)" in decision.reason


def test_a_long_list_of_columns_is_cut():
    facts = replace(DRIFTED, drifted_columns=tuple("abcdefg"))
    assert "(a, b, c, d, e and 2 more)" in decide_on_drift(facts, READY, CHOICES).reason


@pytest.mark.parametrize(("share", "action"), [(0.3, "retrain"), (0.2999, "skip")])
def test_the_threshold_itself_is_drift_as_in_evidently(share, action):
    assert decide_on_drift(replace(DRIFTED, drift_share=share), READY, CHOICES).action == action


def test_a_first_report_without_history_may_retrain():
    state = replace(
        READY, newest_report_day=None, last_retraining_day=None, handled_ids=frozenset()
    )
    assert decide_on_drift(DRIFTED, state, CHOICES).action == "retrain"


def test_a_lasting_drop_in_average_precision_retrains():
    decision = decide_on_performance(WORSE, READY, CHOICES)
    assert decision.action == "retrain"
    assert decision.reason == (
        "average precision 0.350 over 3 matured days, 0.600 at the gate: drop 41.7% > 25.0%; "
        "120 mature frauds to learn from"
    )
    assert decision.run_key == "performance-42"


PERFORMANCE_BRANCHES = [
    ("handled", {}, {"handled_ids": frozenset({42})}, "report 42 of"),
    ("outdated", {}, {"newest_report_day": date(2026, 2, 1)}, "report of 2026-01-20 is older"),
    ("no_champion", {}, {"champion_version": None}, "no champion yet"),
    ("data_quality", {}, {"quarantine_share": 0.5}, "quarantined 50.0% > 2.0%"),
    ("not_computable", {"average_precisions": (0.1, None, 0.1)}, {},
     "2 matured days with an average precision < 3"),
    ("not_computable", {"average_precisions": ()}, {},
     "0 matured days with an average precision < 3"),
    ("not_computable", {"gate_average_precision": None}, {},
     "the champion's average precision at its gate is None"),
    ("not_computable", {"gate_average_precision": 0.0}, {},
     "the champion's average precision at its gate is 0.0"),
    ("below_threshold", {"average_precisions": (0.1, 0.5, 0.5, 0.5)}, {},
     "average precision 0.500 over 3 matured days, 0.600 at the gate: drop 16.7% <= 25.0%"),
    ("below_threshold", {"average_precisions": (0.9, 0.9, 0.9)}, {},
     "average precision 0.900 over 3 matured days, 0.600 at the gate: drop -50.0% <= 25.0%"),
    ("running", {}, {"retraining_running": True}, "a retraining is running"),
    ("cooldown", {}, {"last_retraining_day": DAY}, "0 days since the retraining of 2026-01-20"),
    ("too_few_positives", {}, {"mature_positives": 3}, "mature frauds 3 < 30"),
]  # fmt: skip


@pytest.mark.parametrize(("guard", "fact", "state", "reason"), PERFORMANCE_BRANCHES)
def test_a_guard_stops_a_performance_retraining_and_says_why(guard, fact, state, reason):
    decision = decide_on_performance(replace(WORSE, **fact), replace(READY, **state), CHOICES)
    assert (decision.action, decision.guard) == ("skip", guard)
    assert decision.reason.startswith(reason)


def test_the_first_model_is_trained_once_there_is_enough_to_learn_from():
    decision = first_training_decision(FIRST, UNTRAINED, CHOICES)
    assert decision.action == "retrain"
    assert decision.reason == (
        "no champion yet, 22 labelled days >= 22; 120 mature frauds to learn from"
    )
    assert decision.run_key == "first_training-43"


FIRST_BRANCHES = [
    ("handled", {}, {"handled_ids": frozenset({43})}, "report 43 of"),
    ("outdated", {}, {"newest_report_day": date(2026, 2, 1)}, "report of 2026-01-20 is older"),
    ("has_champion", {}, {"champion_version": "1"}, "there is a champion, version 1"),
    ("data_quality", {}, {"quarantine_share": 0.5}, "quarantined 50.0%"),
    ("too_few_days", {"labelled_days": 21}, {}, "21 labelled days < 22"),
    ("running", {}, {"retraining_running": True}, "a retraining is running"),
    ("cooldown", {}, {"last_retraining_day": DAY}, "0 days since"),
    ("too_few_positives", {}, {"mature_positives": 29}, "mature frauds 29 < 30"),
]


@pytest.mark.parametrize(("guard", "fact", "state", "reason"), FIRST_BRANCHES)
def test_a_guard_stops_the_first_training_and_says_why(guard, fact, state, reason):
    decision = first_training_decision(replace(FIRST, **fact), replace(UNTRAINED, **state), CHOICES)
    assert (decision.action, decision.guard) == ("skip", guard)
    assert decision.reason.startswith(reason)


days = st.dates(DAY - timedelta(days=6), DAY + timedelta(days=6))
states = st.builds(
    PipelineState,
    quarantine_share=st.none() | st.floats(0, 0.05),
    last_retraining_day=st.none() | days,
    retraining_running=st.booleans(),
    mature_positives=st.integers(0, 60),
    newest_report_day=st.none() | days,
    handled_ids=st.frozensets(st.integers(0, 3), max_size=2),
    champion_version=st.none() | st.just("3"),
)
shares = st.none() | st.floats(0, 1)
drifts = st.builds(
    DriftFacts, day=days, storage_id=st.integers(0, 3), rows=st.integers(0, 3_000),
    drift_share=shares,
)  # fmt: skip
performances = st.builds(
    PerformanceFacts, day=days, storage_id=st.integers(0, 3),
    average_precisions=st.lists(shares, max_size=5).map(tuple), gate_average_precision=shares,
)  # fmt: skip
firsts = st.builds(
    FirstTrainingFacts, day=days, storage_id=st.integers(0, 3),
    labelled_days=st.integers(0, 40), needed_days=st.just(22),
)  # fmt: skip


def common_guard_holds(facts, state):
    last, newest = state.last_retraining_day, state.newest_report_day
    return (
        facts.storage_id in state.handled_ids
        or (newest is not None and facts.day < newest)
        or state.quarantine_share is None
        or state.quarantine_share > CHOICES.max_quarantine_share
        or state.retraining_running
        or (last is not None and (facts.day - last).days < CHOICES.cooldown_days)
        or state.mature_positives < CHOICES.min_mature_positives
    )


def own_guard_holds(facts, state):
    if isinstance(facts, FirstTrainingFacts):
        return state.champion_version is not None or facts.labelled_days < facts.needed_days
    if state.champion_version is None:
        return True
    if isinstance(facts, DriftFacts):
        share = facts.drift_share
        return facts.rows < CHOICES.min_rows or share is None or share < 0.3
    known = [one for one in facts.average_precisions if one is not None][-3:]
    gate = facts.gate_average_precision
    return len(known) < 3 or not gate or 1 - sum(known) / 3 / gate <= CHOICES.performance_drop


@settings(max_examples=400, deadline=None)
@given(st.one_of(drifts, performances, firsts), states)
def test_it_retrains_exactly_when_no_guard_holds_and_always_says_the_same(facts, state):
    decide = {
        DriftFacts: decide_on_drift,
        PerformanceFacts: decide_on_performance,
        FirstTrainingFacts: first_training_decision,
    }[type(facts)]
    decision = decide(facts, state, CHOICES)
    held = common_guard_holds(facts, state) or own_guard_holds(facts, state)
    assert (decision.action == "skip") == held
    assert (decision.guard is not None) == held
    assert decision.reason
    assert decision == decide(facts, state, CHOICES)
