"""What the policy looks at and what it says: the types, and how a decision is put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from fraud_assets.monitoring.records import DayDrift, DayPerformance

Action = Literal["nothing", "warn", "retrain", "fall_back", "roll_back", "restore"]

ACTIONS: tuple[str, ...] = get_args(Action)

FindingKind = Literal[
    "unloadable", "broken_inputs", "quarantine", "worse", "decay", "drift", "score_drift",
    "alert_rate", "fraud_rate", "estimate", "blind",
]  # fmt: skip

Rule = Literal[
    "outdated", "unloadable", "broken_inputs", "healthy", "worse", "first_training", "decay",
    "drift", "episode", "unconfirmed_drift", "no_model", "growth", "age", "findings", "quiet",
]  # fmt: skip
"""What decided. `episode` is another retraining on more days of a change that was found before."""


Guard = Literal["running", "cooldown", "frauds", "data"]


class Finding(BaseModel):
    """Something that people should know of, whether or not anything is done about it.

    `since` is the first of the consecutive days on which it was found, where that is known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: FindingKind
    text: str
    since: date | None = None


class Decision(BaseModel):
    """What to do after a day.

    `target` is the version to put in force, by `fall_back`, `roll_back` and `restore`. `since` is
    the first day of the change that is to be learnt, None where there is none. `waiting_for` names
    the guard that stops a retraining which there is reason for. `numbers` are those of the reason.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: date
    action: Action
    rule: Rule
    champion: str
    target: str | None = None
    since: date | None = None
    waiting_for: Guard | None = None
    reason: str
    findings: tuple[Finding, ...] = ()
    numbers: dict[str, Any] = {}


Found = tuple[Finding, ...]


@dataclass(frozen=True)
class Facts:
    """All that the policy looks at, as known at the end of `day`.

    `champion` is in force on the day, and has been since `champion_since`; `never_trained` means
    that no model ever was, and `unloadable` says why it cannot be loaded. `suspended` is the
    champion that was fallen back from, by the rule `suspended_for`; `suspended_loads` whether it
    can be loaded. `formers` are loadable former champions, the newest first. `healthy_days` counts
    the consecutive days up to `day` on which the inputs of the suspended champion were whole.

    `by_hand` says that somebody chose the champion, and `stood_in` that the rules scored the day in
    place of a champion that can be loaded by now.

    `frauds_by_day` are the known frauds of matured days. `last_requested` is the latest day as of
    which a retraining was asked for, `last_trained` the latest with a candidate that was judged.
    `episode_since` is the `since` of the last retraining that was decided, `waiting_since` that of
    the day before, where it found a decay and waited; None where there was none. `blind_days` are
    the consecutive days up to `day` on which average precision was not computable.
    """

    day: date
    newest_day: date
    champion: str
    never_trained: bool
    drift: DayDrift
    performance: DayPerformance
    quarantine_share: float | None
    labelled_days: int
    needed_days: int
    frauds_by_day: Mapping[date, int]
    champion_since: date | None = None
    unloadable: str = ""
    suspended: str | None = None
    suspended_for: str = ""
    suspended_loads: bool = True
    formers: tuple[str, ...] = ()
    healthy_days: int = 0
    drifting_since: date | None = None
    decaying_since: date | None = None
    episode_since: date | None = None
    waiting_since: date | None = None
    blind_days: int = 0
    by_hand: bool = False
    stood_in: bool = False
    retraining_running: bool = False
    last_requested: date | None = None
    last_trained: date | None = None
    rules: str = "rules-1"


def made(
    facts: Facts,
    findings: Found,
    action: Action,
    rule: Rule,
    reason: str,
    *,
    target: str | None = None,
    since: date | None = None,
    waiting_for: Guard | None = None,
    numbers: Mapping[str, Any] | None = None,
) -> Decision:
    """A decision with the numbers that every one carries.

    Args:
        facts: the day.
        findings: of the day.
        action: what to do.
        rule: what decided.
        reason: in words, with numbers.
        target: the version to put in force, if any.
        since: the first day of the change that is to be learnt, if there is one.
        waiting_for: what stops a retraining.
        numbers: of the reason.
    """
    drift, seen = facts.drift, facts.performance
    common = {
        "drift_share": drift.drift_share,
        "drifted_weight": drift.drifted_weight,
        "score_drift": drift.score_drift,
        "alert_rate_ratio": drift.alert_rate_ratio,
        "fraud_rate_ratio": seen.fraud_rate_ratio,
        "recent_average_precision": seen.recent_average_precision,
        "recent_high": seen.recent_high,
        "gate_average_precision": seen.champion_gate_average_precision,
        "quarantine_share": facts.quarantine_share,
    }
    return Decision(
        day=facts.day,
        action=action,
        rule=rule,
        champion=facts.champion,
        target=target,
        since=since,
        waiting_for=waiting_for,
        reason=reason,
        findings=findings,
        numbers={**common, **(numbers or {})},
    )


def named(version: str, facts: Facts) -> str:
    """What to call a version in a sentence."""
    return "the rule set" if version == facts.rules else f"version {version}"


def some(names: Sequence[str]) -> str:
    """The first few of a list, and how many more."""
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")
