"""All policies in one world: the part of the experiment that runs in a process of its own."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from loop_candidates import Candidates
from loop_judge import Figures, Judge
from loop_measures import Summary, by_day, change_levels, summary
from loop_plans import Plan
from loop_policies import DAILY, UNGATED, policy_makers
from loop_replay import Run, first_champion, replay
from loop_watch import Watch
from loop_worlds import read_world


@dataclass(frozen=True)
class WorldResult:
    """A world lived through by every policy; `first` is the champion that all began with."""

    plan: Plan
    first: str
    runs: dict[str, Run]
    days: dict[str, dict[date, Figures]]
    summaries: dict[str, Summary]
    levels: list[float]
    seconds: float


def live_through(plan: Plan, folder: Path, policies: Sequence[str]) -> WorldResult:
    """Make the world, train every candidate that is asked for, and replay the policies.

    Args:
        plan: the world.
        folder: where days, candidates and scores are kept between starts.
        policies: their names; daily retraining is always among them, with the gate and without.
    """
    started = time.perf_counter()
    own = folder / f"{plan.name}-{plan.fingerprint}"
    world = read_world(plan, own)
    candidates = Candidates(world, own)
    told(plan, f"{sum(one.height for one in world.features.values()):,} rows", started)
    live = plan.days[plan.history_days - 1 : -1]
    for number, day in enumerate(live, start=1):
        candidates.trained(day)
        if number % 10 == 0 or number == len(live):
            told(plan, f"candidate {number} of {len(live)}", started)
    first = first_champion(candidates)
    judge, watch = Judge(candidates), Watch(candidates)
    makers = policy_makers(watch, judge)
    runs, days = {}, {}
    for name in dict.fromkeys((DAILY, UNGATED, *policies)):
        runs[name] = replay(candidates, makers[name](), first)
        days[name] = by_day(runs[name], judge)
        told(plan, f"policy '{name}'", started)
    levels = change_levels(days[UNGATED], plan)
    summaries = {
        name: summary(runs[name], days[name], plan=plan, daily=days[DAILY], levels=levels)
        for name in runs
    }
    spent = time.perf_counter() - started
    return WorldResult(plan, first, runs, days, summaries, levels, spent)


def told(plan: Plan, what: str, started: float) -> None:
    """A line of progress."""
    print(f"{plan.name:>10} {time.perf_counter() - started:6.0f} s  {what}", file=sys.stderr)


def check_no_look_ahead(
    plan: Plan, folder: Path, policies: Sequence[str], last_day: date
) -> list[str]:
    """What differs in a world that ends on `last_day`, where nothing may; a line per finding.

    The world is made anew from the raw days up to `last_day`. The candidate of that day is trained
    anew, scores and verdicts are computed anew, and every policy lives up to that day again.
    """
    own = folder / f"{plan.name}-{plan.fingerprint}"
    whole = read_world(plan, own)
    cut = read_world(plan, own, last_day).cut(last_day)
    found = [
        f"{kind} of {day} differ"
        for kind, before, after in (
            ("features", whole.features, cut.features), ("labels", whole.labels, cut.labels),
        )
        for day in before
        if day <= last_day and not before[day].equals(after[day])
    ]  # fmt: skip
    known = Candidates(whole, own)
    first = first_champion(known)
    with tempfile.TemporaryDirectory() as name:
        again = Candidates(cut, Path(name))
        if again.trained(last_day).model_hash != known.trained(last_day).model_hash:
            found.append(f"the candidate of {last_day} differs")
        shutil.rmtree(Path(name) / "models")
        shutil.copytree(own / "models", Path(name) / "models")
        lives = [
            {
                policy: replay(lab, policy_makers(Watch(lab), Judge(lab))[policy](), first, until)
                for policy in policies
            }
            for lab, until in ((known, None), (again, last_day))
        ]
    for policy in policies:
        whole_life, cut_life = (one[policy] for one in lives)
        until = tuple(event for event in whole_life.events if event.day <= last_day)
        if until != cut_life.events:
            found.append(f"'{policy}' decides otherwise up to {last_day}")
        scored = {d: v for d, v in whole_life.scored_by.items() if d <= last_day}
        if scored != cut_life.scored_by:
            found.append(f"'{policy}': others score the days up to {last_day}")
    return found
