"""One policy over one world, day by day, as the application would live through it.

The champion scores the day. At its close the policy decides, on what is known by then. What it
trains goes live on the next day, if the gate lets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal, Protocol

from loop_candidates import RULES, Candidates
from loop_worlds import World

Action = Literal["nothing", "retrain", "roll_back", "fall_back", "restore"]

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Choice:
    """What to do at the close of a day.

    `rule` says what asked for it, `target` whom to put in force instead of the champion, and
    `since` the first day of the change that is being learnt.
    """

    action: Action
    rule: str = ""
    reason: str = ""
    target: str | None = None
    since: date | None = None


NOTHING = Choice("nothing")


@dataclass
class State:
    """The installation at the close of `day`. Versions are days, or the rules.

    `champion` scored the day. `formers` were champions before, the newest first. `last_trained` is
    the latest day with a candidate, `last_requested` the latest with a training.
    """

    day: date
    champion: str
    champion_since: date | None = None
    scored_by: dict[date, str] = field(default_factory=dict)
    formers: list[str] = field(default_factory=list)
    suspended: str | None = None
    suspended_for: str = ""
    last_requested: date | None = None
    last_trained: date | None = None
    episode_since: date | None = None


class Policy(Protocol):
    """Decides at the close of each day."""

    @property
    def name(self) -> str:
        """As in the tables."""

    @property
    def gated(self) -> bool:
        """Whether the gate decides on what it trains; else the newest always goes live."""

    def decide(self, state: State) -> Choice:
        """What to do after `state.day`; called for every day in turn, history included."""


@dataclass(frozen=True)
class Event:
    """Something that was done at the close of a day.

    `version` was trained, or put in force. `promoted` is None where nothing was trained, `since`
    the first day of the change that is being learnt, where one is named.
    """

    day: date
    action: Action
    rule: str
    reason: str
    version: str
    since: date | None = None
    promoted: bool | None = None
    refusals: tuple[str, ...] = ()
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Run:
    """A policy's life in a world: who scored each live day, and what was done."""

    policy: str
    scored_by: dict[date, str]
    events: tuple[Event, ...]


def first_champion(candidates: Candidates) -> str:
    """The first model that the gate lets through from the end of the history on.

    Raises:
        RuntimeError: none does, so that there is nothing to compare.
    """
    plan = candidates.world.plan
    for day in [plan.days[plan.history_days - 1], *plan.live[:-1]]:
        verdict = candidates.gate(day, RULES.version)
        if verdict is not None and verdict.promote:
            return day.isoformat()
    raise RuntimeError(f"{plan.name}: no candidate gets past the rules")


def live_days(world: World, first: str) -> list[date]:
    """The days that a champion scores."""
    return [day for day in world.plan.live if day > date.fromisoformat(first)]


def replay(candidates: Candidates, policy: Policy, first: str, until: date | None = None) -> Run:
    """Live through the world with `policy`, from the champion `first` on, up to `until`."""
    plan = candidates.world.plan
    begin, last = date.fromisoformat(first), until or plan.days[-1]
    state = State(day=plan.first_day, champion=RULES.version)
    events: list[Event] = []
    for day in (day for day in plan.days if day <= last):
        state.day = day
        state.scored_by[day] = state.champion
        choice = policy.decide(state)
        if day < begin:
            continue  # all policies have watched, and none had a model yet
        if day == begin:
            _promote(state, first)
            state.last_requested = state.last_trained = begin
            continue
        if choice.action == "retrain":
            state.episode_since = choice.since
            events.append(_retrain(state, candidates, choice, gated=policy.gated))
        elif choice.action != "nothing":
            events.append(_put_in_force(state, choice))
    live = {day: version for day, version in state.scored_by.items() if day > begin}
    return Run(policy.name, live, tuple(events))


def matured_days(state: State, delay: int, days: int) -> Sequence[date]:
    """The last days whose labels are known at the close of the day and that the champion scored."""
    mature = [
        day
        for day, version in state.scored_by.items()
        if version == state.champion and day + timedelta(days=delay) <= state.day
    ]
    return sorted(mature)[-days:]


def _retrain(state: State, candidates: Candidates, choice: Choice, *, gated: bool) -> Event:
    day = state.day
    trained = candidates.trained(day)
    state.last_requested = day
    refusals: tuple[str, ...] = ()
    if trained.model_hash is None:
        promoted, refusals = False, (trained.refused or "",)
    else:
        state.last_trained = day
        promoted = True
        if gated:
            verdict = candidates.gate(day, state.champion)
            promoted = verdict is not None and verdict.promote
            refusals = () if promoted or verdict is None else tuple(verdict.reasons)
    if promoted:
        _promote(state, day.isoformat())
    return Event(
        day, "retrain", choice.rule, choice.reason, day.isoformat(), choice.since, promoted,
        refusals, trained.cpu_seconds,
    )  # fmt: skip


def _promote(state: State, version: str) -> None:
    _change(state, version, former=state.suspended or state.champion)
    state.suspended, state.suspended_for = None, ""


def _put_in_force(state: State, choice: Choice) -> Event:
    if choice.target is None:
        raise ValueError(f"{choice.action} on {state.day} names nobody to put in force")
    before = state.champion
    if choice.action == "fall_back" and before != RULES.version and state.suspended is None:
        state.suspended, state.suspended_for = before, choice.rule
    elif choice.action != "fall_back":
        state.suspended, state.suspended_for = None, ""
    _change(state, choice.target, former=before)
    if choice.action == "roll_back":
        state.formers = [one for one in state.formers if one != before]  # judged worse
    return Event(state.day, choice.action, choice.rule, choice.reason, choice.target)


def _change(state: State, version: str, former: str) -> None:
    """Put a version in force; the one before becomes the newest former champion."""
    left = [one for one in state.formers if one not in (version, former)]
    state.formers = [former, *left] if former != RULES.version else left
    state.champion, state.champion_since = version, state.day + ONE_DAY
