"""What a policy's life in a world came to: figures by day, and their summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from loop_judge import Figures, Judge
from loop_plans import Change, Plan
from loop_policies import ALARMS, FOLLOW_UPS
from loop_replay import Event, Run
from scipy.stats import t as student

from fraud_assets.modeling.splits import training_end

SMOOTHED = 3
"""Days of the moving mean: one day's average precision swings with the campaigns of that day."""

RECOVERED = 0.95
LEVEL_DAYS = 10
GRACE_DAYS = 7
"""An alarm is false if it comes this many days after the first training that could have learnt
from nothing but the change."""


@dataclass(frozen=True)
class Gap:
    """A mean of daily differences with its interval of 95 %, days being the blocks."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """A policy in a world. Money is in the amounts' currency, CPU in seconds.

    `recovery` has the days of each change, in their order; None is "not recovered". `gap` is the
    paired difference in average precision to daily retraining. `learnable_average_precision` is
    without the days after a change on which no model can serve that has learnt any of it: there it
    is luck which of the older ones is worth more.
    """

    policy: str
    average_precision: float
    learnable_average_precision: float
    card_precision: float
    card_precision_ceiling: float
    savings: float
    saved: float
    trainings: int
    promotions: int
    others: int
    cpu_seconds: float
    recovery: tuple[int | None, ...]
    alarms: int
    false_alarms: int
    gap: Gap | None


def by_day(run: Run, judge: Judge) -> dict[date, Figures]:
    """The figures of each live day, by whoever scored it."""
    return {day: judge.figures(version, day) for day, version in run.scored_by.items()}


def summary(
    run: Run,
    days: dict[date, Figures],
    *,
    plan: Plan,
    daily: dict[date, Figures] | None,
    levels: Sequence[float],
) -> Summary:
    """A policy's figures; `daily` are those of daily retraining, `levels` see `change_levels`."""
    trained = [one for one in run.events if one.action == "retrain"]
    alarms = [one for one in trained if one.rule in ALARMS]
    spent, lost = (sum(getattr(one, n) for one in days.values()) for n in ("spent", "lost_without"))
    return Summary(
        policy=run.policy,
        average_precision=mean_of(days, "average_precision"),
        learnable_average_precision=mean_of(
            {day: one for day, one in days.items() if not is_blind(day, plan)}, "average_precision"
        ),
        card_precision=mean_of(days, "card_precision"),
        card_precision_ceiling=mean_of(days, "card_precision_ceiling"),
        savings=1.0 - spent / lost,
        saved=lost - spent,
        trainings=len(trained),
        promotions=sum(one.promoted is True for one in trained),
        others=len(run.events) - len(trained),
        cpu_seconds=sum(one.cpu_seconds for one in trained),
        recovery=tuple(
            recovery(days, plan, change, level)
            for change, level in zip(plan.changes, levels, strict=True)
        ),
        alarms=len(alarms),
        false_alarms=sum(is_false(one, plan) for one in alarms),
        gap=None if daily is None else gap(days, daily),
    )


def mean_of(days: dict[date, Figures], name: str) -> float:
    """The mean of a figure over the days on which it can be computed."""
    values = [getattr(one, name) for one in days.values()]
    return float(np.mean([value for value in values if value is not None]))


def gap(days: dict[date, Figures], other: dict[date, Figures]) -> Gap:
    """How much higher the average precision is, as a mean of days, with Student's interval."""
    pairs = ((one.average_precision, other[day].average_precision) for day, one in days.items())
    values = [a - b for a, b in pairs if a is not None and b is not None]
    middle = float(np.mean(values))
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    half = float(student.ppf(0.975, len(values) - 1)) * error
    return Gap(middle, middle - half, middle + half)


def smoothed(days: dict[date, Figures]) -> dict[date, float]:
    """Mean average precision of each day and the two before it; from the third day on."""
    listed = sorted(days)
    found = {}
    for i in range(SMOOTHED - 1, len(listed)):
        values = [days[d].average_precision for d in listed[i - SMOOTHED + 1 : i + 1]]
        known = [value for value in values if value is not None]
        if known:
            found[listed[i]] = float(np.mean(known))
    return found


def change_levels(reference: dict[date, Figures], plan: Plan) -> list[float]:
    """For each change, the average precision that can be reached after it.

    The mean of the reference policy over the last ten days of the regime, or its last third.
    """
    levels = []
    for change in plan.changes:
        count = min(LEVEL_DAYS, (change.end - change.first) // 3)
        last = {plan.day(i) for i in range(change.end - count, change.end)}
        levels.append(
            mean_of({d: one for d, one in reference.items() if d in last}, "average_precision")
        )
    return levels


def recovery(days: dict[date, Figures], plan: Plan, change: Change, level: float) -> int | None:
    """Days from a change until the policy is back at 95 % of the level; None if it never is.

    Looked at is the mean over three days, all of them since the change. Back is the first day on
    which it has the level again after its lowest point. 0 where it never fell below.
    """
    inside = {d: days[d] for i in range(change.first, change.end) if (d := plan.day(i)) in days}
    curve = smoothed(inside)
    needed = RECOVERED * level
    if not curve or min(curve.values()) >= needed:
        return 0
    lowest = min(curve, key=lambda d: (curve[d], d))
    back = next((d for d in sorted(curve) if d > lowest and curve[d] >= needed), None)
    return None if back is None else (back - plan.day(change.first)).days


def days_to_learn(plan: Plan, day: date) -> int:
    """Days that lie between a training and the newest day that it learns from."""
    profile = plan.profile
    return (day - training_end(day, profile.label_delay_days, profile.training)).days


def is_blind(day: date, plan: Plan) -> bool:
    """Whether no model that serves on the day can have learnt anything of the newest change."""
    index = (day - plan.first_day).days
    blind = days_to_learn(plan, day) + 1  # what is trained on a day serves on the next
    return any(one.first <= index < one.first + blind for one in plan.changes)


def is_false(event: Event, plan: Plan) -> bool:
    """Whether a training for a change had none behind it.

    True alarms are those from the first day of a change until `GRACE_DAYS` after the day on which
    every slice of a training lies behind it. A follow-up is judged by the change that it names.
    """
    at = event.since if event.rule in FOLLOW_UPS and event.since is not None else event.day
    window = days_to_learn(plan, at) + GRACE_DAYS
    index = (at - plan.first_day).days
    return not any(one.first <= index <= one.complete + window for one in plan.changes)
