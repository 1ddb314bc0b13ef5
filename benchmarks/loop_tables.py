"""The tables of the experiment, and whether its goal is met."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from loop_policies import DAILY, OURS
from loop_world import WorldResult
from rich.console import Console
from rich.table import Table

AP_GOAL = 0.99
TRAININGS_GOAL = 1 / 5


def show(result: WorldResult, console: Console) -> None:
    """A row per policy."""
    plan = result.plan
    table = Table(
        title=f"{plan.name}: {plan.title}; {len(next(iter(result.days.values())))} live days from "
        f"{plan.live[0]}"
    )
    budget = plan.profile.decision.alert_budget_per_day
    headings = (
        "policy", "AP", "to daily", "learnable", f"CP@{budget}", "savings", "saved", "trained",
        "promoted", "put back", "CPU s", "recovered, d", "alarms", "false",
    )  # fmt: skip
    for name in headings:
        table.add_column(name, justify="left" if name == "policy" else "right")
    for name, one in result.summaries.items():
        gap = ""
        if one.gap is not None and name != DAILY:
            gap = f"{one.gap.mean:+.3f}±{one.gap.high - one.gap.mean:.3f}"
        recovered = ", ".join("no" if days is None else str(days) for days in one.recovery)
        table.add_row(
            name, f"{one.average_precision:.3f}", gap, f"{one.learnable_average_precision:.3f}",
            f"{one.card_precision:.3f}",
            f"{one.savings:.1%}", f"{one.saved:,.0f}", str(one.trainings), str(one.promotions),
            str(one.others), f"{one.cpu_seconds:.0f}", recovered or "-", str(one.alarms),
            str(one.false_alarms),
        )  # fmt: skip
    console.print(table)
    ceiling = result.summaries[DAILY].card_precision_ceiling
    console.print(f"The best possible card precision is {ceiling:.3f}.")
    for event in result.runs[OURS].events if OURS in result.runs else ():
        ending = {None: event.version, True: "promoted", False: "refused"}[event.promoted]
        said = f"  {event.day} {event.action} ({event.rule}): {event.reason} -> {ending}"
        console.print(said, highlight=False, markup=False)


def verdict(result: WorldResult) -> tuple[bool, str]:
    """Whether ours reaches the goal in this world, and the sentence with the numbers."""
    ours, daily = result.summaries[OURS], result.summaries[DAILY]
    ratio = ours.average_precision / daily.average_precision
    share = ours.trainings / max(daily.trainings, 1)
    quiet = bool(result.plan.changes) or not ours.false_alarms
    met = ratio >= AP_GOAL and share <= TRAININGS_GOAL and quiet
    learnable = ours.learnable_average_precision / daily.learnable_average_precision
    said = (
        f"{result.plan.name}: {ratio:.1%} of daily retraining's average precision "
        f"({learnable:.1%} on learnable days) with {ours.trainings} of {daily.trainings} trainings "
        f"and {ours.false_alarms} false alarms"
    )
    return met, said


def show_verdicts(results: list[WorldResult], console: Console) -> None:
    """The final lines."""
    console.print(
        f"Goal: at least {AP_GOAL:.0%} of daily retraining's average precision with at most a "
        "fifth of its trainings, and no false alarm where the frauds do not change:"
    )
    for result in results:
        if OURS in result.summaries:
            met, said = verdict(result)
            console.print(f"  {said}: {'[green]met[/green]' if met else '[red]missed[/red]'}")


def document(result: WorldResult) -> dict[str, Any]:
    """All numbers, JSON-able but for dates."""
    return {
        "world": result.plan.name,
        "title": result.plan.title,
        "first_champion": result.first,
        "live_days": [result.plan.live[0], result.plan.live[-1]],
        "changes": [
            {"first": result.plan.day(one.first), "complete": result.plan.day(one.complete),
             "level": level}
            for one, level in zip(result.plan.changes, result.levels, strict=True)
        ],
        "covariate_shift": (
            None if result.plan.covariate_shift is None
            else result.plan.day(result.plan.covariate_shift)
        ),
        "wall_seconds": result.seconds,
        "policies": {
            name: {
                **asdict(result.summaries[name]),
                "events": [asdict(event) for event in run.events],
                "days": {
                    str(day): {"version": run.scored_by[day], **asdict(figures)}
                    for day, figures in result.days[name].items()
                },
            }
            for name, run in result.runs.items()
        },
    }  # fmt: skip
