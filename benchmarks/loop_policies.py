"""When to retrain: what people do, to compare with. The application's own policy is `loop_ours`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from loop_judge import Judge
from loop_replay import NOTHING, Choice, Policy, State, matured_days
from loop_watch import Watch

NEVER, DAILY, UNGATED, WEEKLY = "never", "daily", "daily, no gate", "weekly"
DRIFT, PERFORMANCE, OURS = "on drift", "on performance", "ours"
POLICIES = (NEVER, DAILY, UNGATED, WEEKLY, DRIFT, PERFORMANCE, OURS)

WEEK = 7
FOLLOW_UPS = frozenset({"episode"})
ALARMS = frozenset({"drift", "performance", "decay", "unconfirmed_drift"}) | FOLLOW_UPS
"""Rules that say that something has changed; a calendar or more labels say nothing of the kind.
Follow-ups learn more days of a change that was found before."""


@dataclass(frozen=True)
class Scheduled:
    """Every so many days; never, without a number."""

    name: str
    every: int | None
    gated: bool = True

    def decide(self, state: State) -> Choice:
        """By the calendar alone."""
        if self.every is None or state.last_requested is None:
            return NOTHING
        if state.day - state.last_requested < timedelta(days=self.every):
            return NOTHING
        return Choice("retrain", "schedule")


@dataclass(frozen=True)
class OnDrift:
    """Whenever enough inputs have drifted, as common tools do; nothing else is looked at."""

    watch: Watch
    name: str = DRIFT
    gated: bool = True

    def decide(self, state: State) -> Choice:
        """By the share of drifted inputs against the champion's training days."""
        choices = self.watch.profile.monitoring
        if not cooled(state, choices.cooldown_days):
            return NOTHING
        share = self.watch.drift_share(state.scored_by[state.day], state.day)
        if share is None or share < choices.drift_share_threshold:
            return NOTHING
        return Choice("retrain", "drift", f"drift share {share:.2f}")


@dataclass(frozen=True)
class OnPerformance:
    """Whenever realised average precision has fallen far below that of the gate."""

    watch: Watch
    judge: Judge
    name: str = PERFORMANCE
    gated: bool = True

    def decide(self, state: State) -> Choice:
        """By the mean of the champion's last matured days; waits until it has enough of them."""
        profile, choices = self.watch.profile, self.watch.profile.monitoring
        if not cooled(state, choices.cooldown_days):
            return NOTHING
        days = matured_days(state, profile.label_delay_days, choices.performance_days)
        judged = (self.judge.figures(state.champion, day).average_precision for day in days)
        found = [value for value in judged if value is not None]
        level = self.watch.gate_level(state.champion).average_precision
        if level is None or len(found) < choices.performance_days:
            return NOTHING
        mean = float(np.mean(found))
        if mean >= (1.0 - choices.performance_drop) * level:
            return NOTHING
        return Choice("retrain", "performance", f"average precision {mean:.3f}, gate {level:.3f}")


def cooled(state: State, cooldown_days: int) -> bool:
    """Whether there is a model, and the last training was long enough ago."""
    if state.last_requested is None:
        return False
    return state.day - state.last_requested >= timedelta(days=cooldown_days)


def policy_makers(watch: Watch, judge: Judge) -> dict[str, Callable[[], Policy]]:
    """By name, what makes each policy; a new one for every replay, as some remember days."""
    return {
        NEVER: lambda: Scheduled(NEVER, None),
        DAILY: lambda: Scheduled(DAILY, 1),
        UNGATED: lambda: Scheduled(UNGATED, 1, gated=False),
        WEEKLY: lambda: Scheduled(WEEKLY, WEEK),
        DRIFT: lambda: OnDrift(watch),
        PERFORMANCE: lambda: OnPerformance(watch, judge),
        OURS: lambda: _ours(watch),
    }


def _ours(watch: Watch) -> Policy:
    from loop_ours import Ours

    return Ours(watch)
