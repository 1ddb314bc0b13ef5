"""What is out of order about a day, whether or not anything is done about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fraud_assets.monitoring.policy.decision import Facts, Finding, some
from fraud_assets.monitoring.records import DayDrift, DayPerformance
from fraud_assets.transactions.profile import MonitoringChoices

SURPRISE: Final = 6.0
"""Frauds come in campaigns, so that three standard deviations of independent draws are common."""


def find(facts: Facts, choices: MonitoringChoices) -> Iterator[Finding]:
    """Everything about the day that is out of order, the most serious first."""
    if facts.unloadable:
        yield Finding(kind="unloadable", text=facts.unloadable)
    elif facts.stood_in:
        text = f"the rules scored {facts.day} in place of version {facts.champion}: score it again"
        yield Finding(kind="unloadable", text=text)
    yield from _bad_data(facts, choices)
    decay = decayed(facts, choices)
    if decay is not None:
        yield Finding(kind="decay", text=decay, since=facts.decaying_since)
    yield from _moved_inputs(facts, choices)
    yield from _moved_rates(facts.drift, facts.performance)
    yield from _unexpected(facts.performance)
    if facts.blind_days >= choices.performance_days:
        text = f"average precision was not computable on {facts.blind_days} matured days in a row"
        yield Finding(kind="blind", text=text)


def decayed(facts: Facts, choices: MonitoringChoices) -> str | None:
    """The sentence that says how far performance has fallen; None if it has not, or not surely.

    It has, if the mean average precision of the champion's last matured days is lower than at its
    gate by more than the limit, and if its interval lies below the gate's value too. The limit is
    halved where inputs, scores, alerts or the fraud rate corroborate it.
    """
    seen = facts.performance
    gate, recent = seen.champion_gate_average_precision, seen.recent_average_precision
    if gate is None or recent is None or gate <= 0.0 or seen.recent_days < choices.performance_days:
        return None
    moved = (
        is_drifting(facts.drift, choices),
        facts.drift.score_drifted,
        facts.drift.alert_rate_moved,
        seen.fraud_rate_moved,
    )
    allowed = choices.performance_drop * (0.5 if any(moved) else 1.0)
    drop = 1.0 - recent / gate
    if drop <= allowed or seen.recent_high is None or seen.recent_high >= gate:
        return None
    return (
        f"average precision {recent:.3f} (at most {seen.recent_high:.3f}) over "
        f"{seen.recent_days} matured days, {gate:.3f} at the gate: drop {drop:.0%} > {allowed:.0%}"
    )


def is_drifting(drift: DayDrift, choices: MonitoringChoices) -> bool:
    """Whether the share of drifted inputs has reached its threshold."""
    return drift.drift_share is not None and drift.drift_share >= choices.drift_share_threshold


def _bad_data(facts: Facts, choices: MonitoringChoices) -> Iterator[Finding]:
    drift, share = facts.drift, facts.quarantine_share
    if drift.broken_columns:
        weight = drift.broken_weights.get(drift.reference_version)
        of_model = "" if weight is None else f", {weight:.0%} of what the model goes by"
        text = f"broken inputs: {some(drift.broken_columns)}{of_model}"
        yield Finding(kind="broken_inputs", text=text)
    limit = choices.max_quarantine_share
    if share is not None and share > limit:
        text = f"quarantined {share:.1%} > {limit:.1%} of {facts.day}: repair the data"
        yield Finding(kind="quarantine", text=text)


def _moved_inputs(facts: Facts, choices: MonitoringChoices) -> Iterator[Finding]:
    drift = facts.drift
    if is_drifting(drift, choices):
        text = (
            f"drift share {drift.drift_share:.2f} >= {choices.drift_share_threshold:.2f} "
            f"({some(drift.drifted_columns)})"
        )
        if drift.drifted_weight is not None:
            text += f", {drift.drifted_weight:.0%} of what the model goes by"
        yield Finding(kind="drift", text=text, since=facts.drifting_since)
    if drift.score_drifted:
        yield Finding(kind="score_drift", text=f"score drift {drift.score_drift:.2f}")


def _moved_rates(drift: DayDrift, seen: DayPerformance) -> Iterator[Finding]:
    if drift.alert_rate_moved:
        text = (
            f"alerts {drift.alert_share:.2%} of the rows, {drift.reference_alert_share:.2%} on the "
            f"gate's days ({drift.alert_rate_ratio:.1f} times)"
        )
        yield Finding(kind="alert_rate", text=text)
    if seen.fraud_rate_moved:
        text = (
            f"frauds {seen.fraud_share:.2%} of the rows of {seen.matured_day}, "
            f"{seen.reference_fraud_share:.2%} in training ({seen.fraud_rate_ratio:.1f} times)"
        )
        yield Finding(kind="fraud_rate", text=text)


def _unexpected(seen: DayPerformance) -> Iterator[Finding]:
    if seen.frauds_surprise is not None and abs(seen.frauds_surprise) > SURPRISE:
        text = (
            f"{seen.positives} frauds on {seen.matured_day}, "
            f"{seen.matured_estimated_frauds:.0f} expected from the scores "
            f"({seen.frauds_surprise:+.1f} standard deviations)"
        )
        yield Finding(kind="estimate", text=text)
