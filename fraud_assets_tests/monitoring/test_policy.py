"""Every branch of the policy: what is done, why, and what stops it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.monitoring.policy import ACTIONS, Decision, Facts, decide
from fraud_assets.monitoring.records import Alternative, DayDrift, DayPerformance
from fraud_assets.transactions.profile import MonitoringChoices, Profile, load_profile

DAY = date(2026, 3, 1)


def profile(**changes: Any) -> Profile:
    """Delay 2, window 14, gate 5: a training as of DAY learns up to nine days before it."""
    base = load_profile("simulator")
    choices = MonitoringChoices(
        **{"cooldown_days": 3, "min_mature_positives": 30, "growth": 1.5, **changes}
    )
    return base.model_copy(update={"monitoring": choices})


LEARNT_UP_TO = DAY - timedelta(days=9)


def drift(**changes: Any) -> DayDrift:
    values: dict[str, Any] = {
        **dict.fromkeys(DayDrift.model_fields),
        "day": DAY, "status": "measured", "drift_share": 0.05, "drifted_columns": [],
        "drifted_weight": 0.0, "top_causes": [], "score_drift": 0.02, "score_drifted": False,
        "alert_share": 0.005, "reference_alert_share": 0.005, "alert_rate_ratio": 1.0,
        "alert_rate_moved": False, "broken_columns": [],
        "broken_weights": {"3": 0.0, "2": 0.0, "1": 0.0, "rules-1": 0.0}, "rows": 20_000,
        "reference_rows": 200_000, "reference": "then", "method": "m", "column_threshold": 0.1,
        "champion_version": "3", "reference_version": "3", "report_path": "",
    }  # fmt: skip
    return DayDrift(**{**values, **changes})


def performance(**changes: Any) -> DayPerformance:
    values: dict[str, Any] = {
        **dict.fromkeys(DayPerformance.model_fields),
        "day": DAY, "matured_day": DAY - timedelta(days=2), "model_version": "3", "rows": 20_000,
        "judged_rows": 19_900, "positives": 100, "average_precision": 0.6,
        "average_precision_at_gate_rate": 0.6, "week_days": 7, "champion_version": "3",
        "champion_gate_average_precision": 0.6, "recent_average_precision": 0.6,
        "recent_low": 0.55, "recent_high": 0.65, "recent_days": 3, "recent_frauds": 300,
        "frauds_surprise": 0.5, "matured_estimated_frauds": 98.0, "alternatives": [],
    }  # fmt: skip
    return DayPerformance(**{**values, **changes})


def alternative(**changes: Any) -> Alternative:
    values: dict[str, Any] = {
        "version": "2", "kind": "former", "days": 5, "frauds": 200, "average_precision": 0.5,
        "gain": 0.2, "gain_low": 0.1, "gain_high": 0.3, "cost_gain": 50.0, "cost_gain_low": 10.0,
        "cost_gain_high": 90.0,
    }  # fmt: skip
    return Alternative(**{**values, **changes})


def facts(**changes: Any) -> Facts:
    """A quiet day: champion 3, trained ten days ago on everything that could be learnt then."""
    steady = {DAY - timedelta(days=i): 50 for i in range(2, 40)}
    values: dict[str, Any] = {
        "day": DAY, "newest_day": DAY, "champion": "3", "never_trained": False, "drift": drift(),
        "performance": performance(), "quarantine_share": 0.001, "labelled_days": 60,
        "needed_days": 16, "frauds_by_day": steady, "formers": ("2", "1"),
        "last_requested": DAY - timedelta(days=10), "last_trained": DAY - timedelta(days=10),
    }  # fmt: skip
    return Facts(**{**values, **changes})


DRIFTED = drift(drift_share=0.6, drifted_columns=["amount", "payer_count_1d"], drifted_weight=0.4)
DECAYED = performance(recent_average_precision=0.2, recent_low=0.15, recent_high=0.26)
SINCE = DAY - timedelta(days=14)
"""A change early enough that days since it can be learnt: six of them."""


def test_a_quiet_day_asks_for_nothing_and_says_what_it_saw() -> None:
    decision = decide(facts(), profile())
    assert (decision.action, decision.rule) == ("nothing", "quiet")
    assert decision.reason == "drift share 0.05; average precision 0.600, 0.600 at the gate"
    assert decision.findings == ()


def test_a_report_of_an_old_day_never_changes_anything_today() -> None:
    old = facts(
        newest_day=DAY + timedelta(days=1),
        drift=DRIFTED,
        performance=DECAYED,
        decaying_since=SINCE,
        unloadable="version 3 cannot be loaded",
    )
    decision = decide(old, profile())
    assert (decision.action, decision.rule) == ("nothing", "outdated")
    assert str(DAY + timedelta(days=1)) in decision.reason


def test_drift_without_loss_of_performance_is_a_warning_and_no_retraining() -> None:
    decision = decide(facts(drift=DRIFTED, drifting_since=SINCE), profile())
    assert (decision.action, decision.rule) == ("warn", "findings")
    assert [one.kind for one in decision.findings] == ["drift"]
    assert "drift share 0.60 >= 0.30 (amount, payer_count_1d)" in decision.reason
    assert "40% of what the model goes by" in decision.reason
    assert decision.findings[0].since == SINCE


def test_a_profile_may_have_drift_alone_retrain() -> None:
    drifting = facts(drift=DRIFTED, drifting_since=SINCE)
    decision = decide(drifting, profile(drift_alone="retrain"))
    assert (decision.action, decision.rule, decision.since) == ("retrain", "drift", SINCE)
    fresh = replace(drifting, drifting_since=DAY)
    waiting = decide(fresh, profile(drift_alone="retrain"))
    assert (waiting.action, waiting.waiting_for) == ("warn", "frauds")


def test_decay_retrains_once_frauds_of_the_changed_days_can_be_learnt() -> None:
    decision = decide(facts(performance=DECAYED, decaying_since=SINCE), profile())
    assert (decision.action, decision.rule, decision.since) == ("retrain", "decay", SINCE)
    assert "drop 67% > 25%" in decision.reason
    assert decision.numbers["learnable_frauds"] == 6 * 50


def test_decay_waits_while_no_label_of_the_changed_days_can_be_learnt() -> None:
    changed = LEARNT_UP_TO + timedelta(days=1)
    decision = decide(facts(performance=DECAYED, decaying_since=changed), profile())
    assert (decision.action, decision.waiting_for) == ("warn", "frauds")
    assert f"0 mature frauds of the days since {changed} < 30" in decision.reason


def test_a_drop_within_the_interval_is_no_decay() -> None:
    unsure = performance(recent_average_precision=0.4, recent_low=0.1, recent_high=0.7)
    assert decide(facts(performance=unsure, decaying_since=SINCE), profile()).action == "nothing"


@pytest.mark.parametrize("corroborated", [
    {"drift": DRIFTED},
    {"drift": drift(score_drifted=True, score_drift=0.3)},
    {"drift": drift(alert_rate_moved=True, alert_rate_ratio=2.0)},
])  # fmt: skip
def test_a_smaller_drop_is_decay_where_something_else_has_moved(
    corroborated: dict[str, Any],
) -> None:
    smaller = performance(recent_average_precision=0.5, recent_low=0.45, recent_high=0.55)
    alone = facts(performance=smaller, decaying_since=SINCE)
    assert decide(alone, profile()).action == "nothing"
    assert decide(replace(alone, **corroborated), profile()).rule == "decay"


def test_too_few_matured_days_decide_nothing() -> None:
    early = DECAYED.model_copy(update={"recent_days": 2})
    assert decide(facts(performance=early, decaying_since=SINCE), profile()).action == "nothing"


GUARDS = [
    ({"quarantine_share": 0.05}, "data", "quarantined 5.0% > 2.0%"),
    ({"quarantine_share": None}, "data", "not known"),
    ({"retraining_running": True}, "running", "one at a time"),
    ({"last_requested": DAY - timedelta(days=2)}, "cooldown", "2 days since the retraining"),
    ({"last_trained": DAY - timedelta(days=1)}, "frauds", "< 375"),
]


@pytest.mark.parametrize(("changes", "guard", "words"), GUARDS)
def test_each_guard_stops_a_retraining_and_says_so(
    changes: dict[str, Any], guard: str, words: str
) -> None:
    decayed = facts(performance=DECAYED, decaying_since=SINCE, **changes)
    decision = decide(decayed, profile())
    assert (decision.action, decision.waiting_for) == ("warn", guard)
    assert words in decision.reason
    assert "waiting: average precision 0.200" in decision.reason


def test_broken_inputs_stop_a_retraining_that_would_learn_the_breakage() -> None:
    broken = drift(
        broken_columns=["amount"], broken_weights={"3": 0.5, "2": 0.5, "1": 0.5, "rules-1": 0.5}
    )
    decision = decide(facts(drift=broken, performance=DECAYED, decaying_since=SINCE), profile())
    assert (decision.action, decision.rule) == ("warn", "broken_inputs")
    assert "every other model goes by them too" in decision.reason


def test_a_change_is_learnt_again_when_half_as_many_frauds_more_can_be_learnt() -> None:
    """After a promotion there is no decay against the new gate, and still much to learn."""
    episode = facts(
        episode_since=SINCE,
        last_requested=DAY - timedelta(days=4),
        last_trained=DAY - timedelta(days=4),
    )
    decision = decide(episode, profile())
    assert (decision.action, decision.rule) == ("retrain", "episode")
    assert "300 frauds of the days since" in decision.reason
    assert ", 100 were" in decision.reason


def test_a_change_is_not_learnt_again_before_there_is_more_to_learn() -> None:
    episode = facts(
        episode_since=SINCE,
        last_requested=DAY - timedelta(days=4),
        last_trained=DAY - timedelta(days=4),
    )
    assert decide(episode, profile(growth=4.0)).action == "nothing"


def test_a_change_that_the_whole_training_window_has_seen_is_over() -> None:
    long_ago = DAY - timedelta(days=22)
    episode = facts(episode_since=long_ago, last_trained=DAY - timedelta(days=4))
    assert decide(episode, profile()).rule == "quiet"


def test_a_young_model_is_trained_again_when_there_is_much_more_to_learn() -> None:
    frauds = {DAY - timedelta(days=i): 50 if i < 15 else 10 for i in range(2, 40)}
    young = facts(frauds_by_day=frauds, last_trained=DAY - timedelta(days=5))
    decision = decide(young, profile())
    assert (decision.action, decision.rule) == ("retrain", "growth")
    assert "380 frauds on 14 days can be learnt, 180 on 14 were" in decision.reason


def test_what_was_learnt_is_not_guessed_where_reports_of_those_days_are_missing() -> None:
    """Read over too few days, the frauds of the last training seemed few, and all seemed new."""
    frauds = {DAY - timedelta(days=i): 50 for i in range(2, 20)}
    unknown = facts(frauds_by_day=frauds, last_trained=DAY - timedelta(days=8))
    assert decide(unknown, profile(growth=1.1)).rule == "quiet"


def test_a_model_is_trained_again_when_its_window_is_full_for_the_first_time() -> None:
    young = facts(labelled_days=23, last_trained=DAY - timedelta(days=3))
    decision = decide(young, profile())
    assert (decision.action, decision.rule) == ("retrain", "growth")
    assert "on 14 days can be learnt" in decision.reason
    assert "on 11 were" in decision.reason
    almost = decide(replace(young, labelled_days=22), profile())
    assert (almost.action, almost.rule) == ("nothing", "quiet")


def test_a_model_is_trained_again_by_age_only_where_the_profile_asks_for_it() -> None:
    assert decide(facts(), profile()).action == "nothing"
    assert decide(facts(), profile(max_model_age_days=10)).rule == "age"


def test_the_first_model_is_trained_when_there_are_days_and_frauds_enough() -> None:
    untrained = facts(
        never_trained=True, champion="rules-1", last_requested=None, last_trained=None, formers=()
    )
    assert decide(untrained, profile()).rule == "first_training"
    assert decide(untrained, profile()).action == "retrain"
    too_early = decide(replace(untrained, labelled_days=15), profile())
    assert (too_early.action, too_early.reason) == (
        "nothing",
        "no model yet: 15 labelled days < 16",
    )
    no_frauds = decide(replace(untrained, frauds_by_day={}), profile())
    assert (no_frauds.action, no_frauds.waiting_for) == ("nothing", "frauds")


def test_lasting_drift_that_performance_cannot_confirm_retrains_on_the_drifted_days() -> None:
    blind = performance(
        average_precision=None, recent_average_precision=None, recent_high=None, recent_days=0
    )
    drifting = facts(drift=DRIFTED, performance=blind, drifting_since=SINCE)
    decision = decide(drifting, profile())
    assert (decision.action, decision.rule) == ("retrain", "unconfirmed_drift")
    fresh = replace(drifting, drifting_since=DAY - timedelta(days=3))
    assert decide(fresh, profile()).rule == "findings"


def test_a_champion_that_cannot_be_loaded_gives_way_to_the_one_before_it() -> None:
    missing = facts(unloadable="version 3 cannot be loaded: files are gone")
    decision = decide(missing, profile())
    assert (decision.action, decision.target) == ("fall_back", "2")
    assert "files are gone; version 2 serves until it can be loaded" in decision.reason
    nobody = decide(replace(missing, formers=()), profile())
    assert nobody.target == "rules-1"


def test_a_champion_whose_inputs_break_gives_way_to_a_model_that_needs_them_less() -> None:
    broken = drift(
        broken_columns=["amount"],
        broken_weights={"3": 0.5, "2": 0.4, "1": 0.1, "rules-1": 0.0},
    )
    decision = decide(facts(drift=broken), profile())
    assert (decision.action, decision.rule, decision.target) == ("fall_back", "broken_inputs", "1")
    assert "amount are 50% of what champion 3 goes by" in decision.reason


def test_broken_inputs_that_hardly_matter_are_a_warning() -> None:
    broken = drift(broken_columns=["amount"], broken_weights={"3": 0.05})
    decision = decide(facts(drift=broken), profile())
    assert (decision.action, decision.rule) == ("warn", "findings")
    assert "5% of what the model goes by" in decision.reason


def test_a_champion_comes_back_when_its_inputs_are_whole_for_long_enough() -> None:
    suspended = facts(
        champion="rules-1", suspended="3", suspended_for="broken_inputs", healthy_days=1
    )
    assert decide(suspended, profile(healthy_days=2)).action == "nothing"
    decision = decide(replace(suspended, healthy_days=2), profile(healthy_days=2))
    assert (decision.action, decision.target) == ("restore", "3")


def test_a_champion_comes_back_when_it_can_be_loaded_again_and_not_before() -> None:
    suspended = facts(champion="2", suspended="3", suspended_for="unloadable")
    assert decide(suspended, profile()).target == "3"
    gone = replace(suspended, suspended_loads=False)
    assert decide(gone, profile()).action == "nothing"


def test_a_former_champion_that_is_shown_to_be_better_takes_over() -> None:
    seen = performance(alternatives=[alternative(), alternative(version="1", gain=0.1)])
    decision = decide(facts(performance=seen), profile())
    assert (decision.action, decision.rule, decision.target) == ("roll_back", "worse", "2")
    assert "0.200 (at least 0.100) higher than version 3 over 5 matured days" in decision.reason
    assert decision.numbers["frauds"] == 200


@pytest.mark.parametrize("changes", [
    {"gain_low": 0.01},
    {"gain_low": None},
    {"days": 2},
    {"frauds": 29},
    {"cost_gain_high": -1.0},
])  # fmt: skip
def test_nothing_takes_over_without_proof(changes: dict[str, Any]) -> None:
    seen = performance(alternatives=[alternative(**changes)])
    assert decide(facts(performance=seen), profile()).action == "nothing"


def test_the_rules_stand_in_for_a_champion_that_they_beat_until_it_beats_them() -> None:
    rules = alternative(version="rules-1", kind="rules")
    decision = decide(facts(performance=performance(alternatives=[rules])), profile())
    assert (decision.action, decision.target) == ("fall_back", "rules-1")
    back = alternative(version="3", kind="suspended", gain_low=0.001)
    fallen = facts(
        champion="rules-1",
        suspended="3",
        suspended_for="worse",
        performance=performance(alternatives=[back]),
    )
    assert decide(fallen, profile()).action == "restore"


def test_broken_inputs_are_not_forgotten_because_the_champion_was_better_last_week() -> None:
    back = alternative(version="3", kind="suspended", gain=0.5, gain_low=0.4)
    suspended = facts(
        champion="rules-1", suspended="3", suspended_for="broken_inputs", healthy_days=0,
        performance=performance(alternatives=[back]),
    )  # fmt: skip
    assert decide(suspended, profile()).action not in ("restore", "roll_back")


def test_a_model_whose_inputs_are_broken_does_not_take_over_for_what_it_was_before() -> None:
    broken = drift(broken_columns=["amount"], broken_weights={"2": 0.9, "rules-1": 0.0})
    standing_in = facts(
        champion="rules-1", suspended="3", suspended_for="broken_inputs", drift=broken,
        performance=performance(alternatives=[alternative(version="2")]),
    )  # fmt: skip
    assert decide(standing_in, profile()).action == "warn"


def test_a_stand_in_whose_own_inputs_break_gives_way_too() -> None:
    broken = drift(broken_columns=["kind"], broken_weights={"3": 0.1, "2": 0.6, "rules-1": 0.0})
    standing_in = facts(
        champion="2", suspended="3", suspended_for="unloadable", suspended_loads=False,
        formers=(), drift=broken,
    )  # fmt: skip
    decision = decide(standing_in, profile())
    assert (decision.action, decision.rule, decision.target) == (
        "fall_back", "broken_inputs", "rules-1"
    )  # fmt: skip


def test_a_better_stand_in_is_no_rollback_that_would_forget_the_champion() -> None:
    standing_in = facts(
        champion="2", suspended="3", suspended_for="unloadable", suspended_loads=False,
        performance=performance(alternatives=[alternative(version="1")]),
    )  # fmt: skip
    decision = decide(standing_in, profile())
    assert (decision.action, decision.target) == ("fall_back", "1")


def test_a_choice_by_hand_is_not_undone_by_a_better_model() -> None:
    seen = performance(alternatives=[alternative()])
    assert decide(facts(performance=seen, by_hand=True), profile()).action == "nothing"


def test_the_rules_are_a_target_where_none_of_their_rules_applies() -> None:
    broken = drift(broken_columns=["amount"], broken_weights={"3": 0.9})
    assert decide(facts(drift=broken, formers=()), profile()).target == "rules-1"


def test_a_corroborated_decay_that_no_single_day_shows_has_a_beginning() -> None:
    smaller = performance(recent_average_precision=0.5, recent_low=0.45, recent_high=0.55)
    lasting = facts(drift=DRIFTED, performance=smaller, decaying_since=None, waiting_since=SINCE)
    decision = decide(lasting, profile())
    assert (decision.action, decision.since) == ("retrain", SINCE)


def test_a_ground_that_waits_does_not_hide_one_that_does_not() -> None:
    """A decay whose challengers were refused, and that holds nothing new to learn."""
    old = facts(
        performance=DECAYED,
        decaying_since=DAY - timedelta(days=30),
        last_trained=DAY - timedelta(days=10),
    )
    assert decide(old, profile()).waiting_for == "frauds"
    assert decide(old, profile(max_model_age_days=10)).rule == "age"


def test_no_model_is_trained_by_age_while_the_change_cannot_be_learnt() -> None:
    changed = facts(
        performance=DECAYED,
        decaying_since=LEARNT_UP_TO + timedelta(days=1),
        last_trained=DAY - timedelta(days=10),
    )
    decision = decide(changed, profile(max_model_age_days=10))
    assert (decision.action, decision.waiting_for) == ("warn", "frauds")


def test_where_the_rules_serve_for_want_of_a_model_one_is_asked_for() -> None:
    fallen = facts(
        champion="rules-1", suspended="3", suspended_for="worse",
        last_requested=DAY - timedelta(days=10), last_trained=DAY - timedelta(days=10),
    )  # fmt: skip
    waiting = decide(fallen, profile())
    assert (waiting.action, waiting.rule, waiting.waiting_for) == ("nothing", "no_model", "frauds")
    grown = replace(
        fallen, frauds_by_day={DAY - timedelta(days=i): 90 if i < 15 else 10 for i in range(2, 40)}
    )
    assert decide(grown, profile()).action == "retrain"


def test_nothing_is_learnt_while_a_champion_waits_for_its_inputs() -> None:
    waiting = facts(
        champion="2", suspended="3", suspended_for="broken_inputs", performance=DECAYED,
        decaying_since=SINCE,
    )  # fmt: skip
    assert decide(waiting, profile()).waiting_for == "data"


def test_a_first_candidate_that_was_refused_is_not_repeated_for_nothing() -> None:
    refused = facts(never_trained=True, champion="rules-1", formers=())
    assert decide(refused, profile()).waiting_for == "frauds"


def test_another_model_takes_over_before_a_retraining_is_thought_of() -> None:
    seen = DECAYED.model_copy(update={"alternatives": [alternative()]})
    decision = decide(facts(performance=seen, decaying_since=SINCE), profile())
    assert decision.action == "roll_back"
    assert {"worse", "decay"} <= {one.kind for one in decision.findings}


FINDINGS = [
    ({"quarantine_share": 0.03}, "quarantine"),
    ({"drift": drift(score_drifted=True, score_drift=0.4)}, "score_drift"),
    ({"drift": drift(alert_rate_moved=True, alert_rate_ratio=3.0)}, "alert_rate"),
    ({"performance": performance(fraud_rate_moved=True, fraud_share=0.02,
                                 reference_fraud_share=0.01, fraud_rate_ratio=2.0)}, "fraud_rate"),
    ({"performance": performance(frauds_surprise=9.0)}, "estimate"),
    ({"blind_days": 3}, "blind"),
    ({"stood_in": True}, "unloadable"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "kind"), FINDINGS)
def test_whatever_is_out_of_order_is_told(changes: dict[str, Any], kind: str) -> None:
    decision = decide(facts(**changes), profile())
    assert decision.action == "warn"
    assert [one.kind for one in decision.findings] == [kind]


@settings(max_examples=300, deadline=None)
@given(
    share=st.none() | st.floats(0, 1),
    recent=st.none() | st.floats(0, 1),
    width=st.floats(0, 0.5),
    quarantine=st.none() | st.floats(0, 1),
    running=st.booleans(),
    requested=st.none() | st.integers(0, 40),
    trained=st.none() | st.integers(0, 40),
    since=st.none() | st.integers(0, 40),
    frauds=st.integers(0, 60),
    newest=st.integers(0, 2),
)
def test_no_retraining_passes_a_guard(
    share: float | None,
    recent: float | None,
    width: float,
    quarantine: float | None,
    running: bool,
    requested: int | None,
    trained: int | None,
    since: int | None,
    frauds: int,
    newest: int,
) -> None:
    def ago(days: int | None) -> date | None:
        return None if days is None else DAY - timedelta(days=days)

    seen = performance(
        recent_average_precision=recent, recent_high=None if recent is None else recent + width
    )
    some = facts(
        newest_day=DAY + timedelta(days=newest),
        drift=drift(drift_share=share),
        performance=seen,
        quarantine_share=quarantine,
        retraining_running=running,
        last_requested=ago(requested),
        last_trained=ago(trained),
        decaying_since=ago(since),
        episode_since=ago(since),
        frauds_by_day={DAY - timedelta(days=i): frauds for i in range(2, 40)},
    )
    decision = decide(some, profile())
    assert decision.action in ACTIONS
    assert decision.reason
    assert Decision.model_validate_json(decision.model_dump_json()) == decision
    if decision.action == "retrain":
        assert newest == 0
        assert not running
        assert quarantine is not None
        assert quarantine <= 0.02
        assert requested is None or requested >= 3
        assert decision.numbers["learnable_frauds"] >= 30
    assert decide(some, profile()) == decision
