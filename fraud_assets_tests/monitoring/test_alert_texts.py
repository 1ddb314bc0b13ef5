"""Alerts say what people must know, once, and with the numbers."""

from __future__ import annotations

from datetime import date
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from fraud_assets import assets
from fraud_assets.monitoring import alerts
from fraud_assets.monitoring.alerts import (
    Alert,
    Links,
    of_decision,
    of_failed_run,
    of_promotion,
    of_silence,
    of_stale_day,
)
from fraud_assets.monitoring.policy import ACTIONS, Decision, Finding, FindingKind

LINKS = Links("http://ui:3000/")
DAY = date(2025, 1, 7)
KINDS = get_args(FindingKind)


def decided(*kinds: str, action: str = "warn", rule: str = "findings", **more: Any) -> Decision:
    findings = tuple(Finding(kind=kind, text=f"{kind} found") for kind in kinds)
    given = {"champion": "3", "reason": "because", "numbers": {"drift_share": 0.51234}, **more}
    return Decision(day=DAY, action=action, rule=rule, findings=findings, **given)


def by_kind(decision: Decision) -> dict[str, Alert]:
    found = of_decision(decision, 17, LINKS)
    assert len({one.kind for one in found}) == len(found)
    return {one.kind: one for one in found}


@pytest.mark.parametrize(
    ("kind", "severity"),
    [
        ("unloadable", "critical"),
        ("broken_inputs", "critical"),
        ("worse", "critical"),
        ("decay", "critical"),
        ("quarantine", "warning"),
        ("drift", "warning"),
        ("score_drift", "warning"),
        ("alert_rate", "warning"),
        ("fraud_rate", "warning"),
    ],
)
def test_each_finding_is_told_with_its_urgency(kind: str, severity: str) -> None:
    (alert,) = of_decision(decided(kind), 17, LINKS)
    assert (alert.kind, alert.severity, alert.day) == (kind, severity, DAY)
    assert alert.source == "decision:17"
    assert f"{kind} found" in alert.body
    assert "Decision: because" in alert.body
    assert "To do: " in alert.body
    assert alert.link == "http://ui:3000/assets/debugging_dashboard?partition=2025-01-07"
    assert alert.body.endswith(alert.link)


@pytest.mark.parametrize(
    ("action", "severity"),
    [("retrain", "info"), ("fall_back", "critical"), ("roll_back", "critical"),
     ("restore", "info")],
)  # fmt: skip
def test_what_is_done_is_told_with_its_urgency(action: str, severity: str) -> None:
    found = by_kind(decided(action=action, rule="decay", target="2"))
    assert list(found) == [action]
    assert found[action].severity == severity
    assert "because" in found[action].body
    assert found[action].link == "http://ui:3000/assets/loop_decision?partition=2025-01-07"


def test_every_kind_and_action_of_the_policy_has_a_form_or_a_reason_to_have_none() -> None:
    told = set(by_kind(decided(*KINDS)))
    assert set(KINDS) - told == {"blind"}
    told = {action for action in ACTIONS if of_decision(decided(action=action), 1, LINKS)}
    assert set(ACTIONS) - told == {"nothing", "warn"}


@pytest.mark.parametrize("kinds", [(), ("blind",), ("estimate",), ("blind", "estimate")])
def test_a_quiet_day_and_an_estimate_alone_are_not_told(kinds: tuple[str, ...]) -> None:
    assert of_decision(decided(*kinds), 17, LINKS) == []


def test_the_estimate_is_told_beside_another_finding_and_is_not_urgent() -> None:
    assert by_kind(decided("drift", "estimate"))["estimate"].severity == "info"


def test_a_finding_that_the_action_repeats_is_told_once() -> None:
    for kind, action in (("worse", "roll_back"), ("unloadable", "fall_back")):
        decision = decided(kind, "drift", action=action, rule=kind, target="2")
        assert set(by_kind(decision)) == {action, "drift"}
    # What has to be repaired is another matter than what serves meanwhile.
    decision = decided("broken_inputs", action="fall_back", rule="broken_inputs", target="rules-1")
    assert set(by_kind(decision)) == {"fall_back", "broken_inputs"}


def test_keys_tell_what_is_more_of_the_same() -> None:
    first, other = (by_kind(decided(*KINDS, champion=champion)) for champion in ("3", "4"))
    assert first["drift"].key == "drift:3"
    same = {kind for kind in first if first[kind].key == other[kind].key}
    assert same == {"broken_inputs", "quarantine", "fraud_rate"}  # the feed's and the world's
    # Falling back twice within days is told twice.
    fallback = by_kind(decided(action="fall_back", rule="unloadable", target="2"))["fall_back"]
    assert str(DAY) in fallback.key


def test_the_numbers_stand_one_per_line_and_what_is_not_computable_says_so() -> None:
    numbers = {"drift_share": 0.51234, "recent_average_precision": None, "quarantine_share": 0.5}
    alert = by_kind(decided("drift", numbers=numbers))["drift"]
    assert "\ndrift share: 0.512\nrecent average precision: not computable\n" in alert.body
    assert alert.numbers == {"drift_share": 0.51234, "recent_average_precision": None}
    action = by_kind(decided(action="retrain", numbers=numbers | {"days": 4}))["retrain"]
    assert action.numbers == numbers | {"days": 4}
    assert "\ndays: 4\n" in action.body


def test_titles_name_the_models_and_fit_a_phone() -> None:
    found = by_kind(decided(*KINDS, action="roll_back", rule="decay", target="rules-1"))
    assert found["roll_back"].title == "Rolling back from 3 to rules-1"
    assert found["decay"].title == "Champion 3 has become worse"
    for alert in found.values():
        assert len(alert.title) <= 60
        assert "{" not in alert.title + alert.body


def test_since_when_is_told() -> None:
    finding = Finding(kind="drift", text="much", since=date(2025, 1, 2))
    decision = decided().model_copy(update={"findings": (finding,), "reason": "much"})
    (alert,) = of_decision(decision, 17, LINKS)
    assert alert.body.startswith("much\nSince 2025-01-02.")
    assert "Decision:" not in alert.body  # it would say the same


@pytest.mark.parametrize(
    ("action", "severity", "title"),
    [
        ("promote", "info", "Version 4 is the new champion"),
        ("keep", "warning", "Challenger 4 was refused"),
        ("rollback", "info", "Rolled back to 4"),
        ("fallback", "info", "Fell back to 4"),
        ("restore", "info", "Restored 4"),
    ],
)
def test_each_entry_in_the_record_of_promotions_is_told(
    action: str, severity: str, title: str
) -> None:
    alert = of_promotion(
        DAY, action, "4", "3", "gain 0.01", promotion_id=8, links=LINKS, numbers={"gain": 0.01}
    )
    assert (alert.severity, alert.title, alert.source) == (severity, title, "promotion:8")
    assert "gain 0.01\nAs of 2025-01-07; 3 " in alert.body
    assert "\ngain: 0.01\n" in alert.body
    assert alert.link == "http://ui:3000/assets/champion_model?partition=2025-01-07"


def test_the_first_promotion_has_no_model_before_it() -> None:
    alert = of_promotion(DAY, "promote", "1", None, "first", promotion_id=1, links=LINKS)
    assert "no model was before" in alert.body


def test_an_unknown_action_is_an_error() -> None:
    with pytest.raises(KeyError):
        of_promotion(DAY, "promot", "1", None, "first", promotion_id=1, links=LINKS)


def test_a_failed_run_names_its_job_its_days_its_step_and_its_error() -> None:
    days = [date(2025, 1, 6), DAY]
    alert = of_failed_run(
        "ab/c", "daily_pipeline", days, "fraud_predictions", "  boom\n" + "x" * 9_999, links=LINKS
    )
    assert alert.title == "Run failed: daily_pipeline of 2025-01-06 to 2025-01-07"
    assert "failed at fraud_predictions\n\nboom" in alert.body
    assert len(alert.body) < 1_500
    assert (alert.day, alert.source, alert.link) == (None, "run:ab/c", "http://ui:3000/runs/ab%2Fc")
    other = of_failed_run("d", "daily_pipeline", days[:1], None, "", links=LINKS)
    assert other.key != alert.key
    assert other.title == "Run failed: daily_pipeline of 2025-01-06"
    assert "no error was recorded" in other.body
    assert of_failed_run("d", "j", [], None, "e", links=LINKS).title == "Run failed: j"


def test_what_stands_still_is_counted_once_a_day() -> None:
    for made in (of_stale_day, of_silence):
        alerts_ = [made(DAY, minutes, LINKS) for minutes in (119, 120, 1_439, 1_440, 3_000)]
        assert len({one.key for one in alerts_}) == 1
        assert len({one.source for one in alerts_}) == 3
        assert "119 minutes" in alerts_[0].body
        assert "2 hours" in alerts_[1].body
        assert alerts_[0].numbers == {"minutes": 119}
    assert of_stale_day(DAY, 130, LINKS).severity == "critical"
    assert of_silence(DAY, 130, LINKS).severity == "warning"
    never = of_silence(None, 130, LINKS)
    assert never.day is None
    assert "landed: none" in never.body
    assert never.link == "http://ui:3000/assets/raw_transactions"


def test_links_name_assets_that_there_are() -> None:
    named = {name: value for name, value in vars(alerts).items() if name.endswith("_ASSET")}
    assert named == {
        "RAW_ASSET": assets.RAW,
        "PREDICTIONS_ASSET": assets.PREDICTIONS,
        "CHAMPION_ASSET": assets.CHAMPION,
        "DECISION_ASSET": assets.DECISION,
        "DASHBOARD_ASSET": assets.DASHBOARD,
    }


def test_an_alert_is_not_changed_and_knows_its_severities() -> None:
    (alert,) = of_decision(decided("drift"), 17, LINKS)
    with pytest.raises(ValidationError):
        alert.title = "other"
    with pytest.raises(ValidationError, match="severity"):
        Alert(**(alert.model_dump() | {"severity": "dire"}))
