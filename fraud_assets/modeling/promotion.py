"""Putting a model in force: the record of promotions, and the registry's alias that follows it.

Whether a model deserves it is decided elsewhere: a challenger by `gate`, a rollback by the policy
of `monitoring` or by hand. Nothing here trains or scores.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final, Literal

from fraud_assets.modeling.registry import CHAMPION, ModelRegistry
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.promotions import (
    Promotion,
    champion_on,
    former_champions,
    record,
    suspended_on,
)

PREVIOUS: Final = "previous"
RULES: Final = "rules"

Move = Literal["rollback", "fallback", "restore"]


class NothingToRollBackToError(ValueError):
    """The target of a rollback does not exist, or is in force already."""


class AlreadyInForceError(NothingToRollBackToError):
    """The target is in force already."""


class SupersededError(NothingToRollBackToError):
    """Another model is in force than the one that was to be replaced."""


def roll_back(
    store: PredictionStore,
    registry: ModelRegistry,
    day: date,
    to: str,
    *,
    action: Move = "rollback",
    instead_of: str | None = None,
    reason: str,
    numbers: dict[str, Any] | None = None,
    run_id: str | None = None,
) -> Promotion:
    """Put another model in force from the day after `day` on, and let the alias follow.

    Doing it again in the same run, as a step that is tried again does, only lets the alias follow.

    Args:
        store: with the record of promotions.
        registry: with the versions.
        day: the last day on which the present champion serves.
        to: a version, `previous` (the champion before, or the one that was fallen back from), or
            `rules`.
        action: `rollback` for good, `fallback` until the champion can serve again, `restore`;
            going back to a champion that was fallen back from is a `restore` in any case.
        instead_of: the version that is judged; nothing is done if another is in force by now.
        reason: one sentence.
        numbers: what it rests on.
        run_id: the Dagster run.

    Raises:
        AlreadyInForceError: the target is in force.
        SupersededError: `instead_of` is not in force.
        NothingToRollBackToError: there is no previous champion.
        ModelNotFoundError: the registry has no such version.
    """
    rules = RuleSet()
    in_force = champion_on(store, date.max)
    if in_force is not None and run_id is not None and in_force.run_id == run_id:
        follow_the_record(store, registry)
        return in_force
    now = in_force.version if in_force is not None else rules.version
    target = _target(store, to, rules.version)
    if target == now:
        raise AlreadyInForceError(
            f"version {now} is in force already: name another, `{PREVIOUS}`, or `{RULES}`"
        )
    if instead_of is not None and instead_of != now:
        raise SupersededError(
            f"version {instead_of} was to be replaced, and {now} is in force by now: nothing done"
        )
    suspended = suspended_on(store, date.max)
    if suspended is not None and target == suspended.version:
        action = "restore"
    if target == rules.version:
        model_hash = rules.model_hash
    else:
        model_hash = registry.describe(target).model_hash
    moved = record(
        store,
        Promotion(
            day=max(day, in_force.day) if in_force is not None else day,
            action=action,
            version=target,
            model_hash=model_hash,
            previous_version=now,
            reason=reason,
            numbers=numbers or {},
            run_id=run_id,
        ),
    )
    follow_the_record(store, registry)
    return moved


def follow_the_record(store: PredictionStore, registry: ModelRegistry) -> None:
    """Let the alias `champion` name what the record says is in force; none for the rules."""
    current = champion_on(store, date.max)
    if current is not None and current.version != RuleSet().version:
        registry.set_alias(CHAMPION, current.version)
    else:  # never promoted, or the rules, which are no registered version
        registry.remove_alias(CHAMPION)


def _target(store: PredictionStore, to: str, rules: str) -> str:
    if to == RULES:
        return rules
    if to != PREVIOUS:
        return to
    suspended = suspended_on(store, date.max)
    if suspended is not None:
        return suspended.version
    formers = former_champions(store, date.max, rules=rules)
    if not formers:
        raise NothingToRollBackToError(
            f"there is no previous champion: name a version, or `{RULES}` for the rule set"
        )
    return formers[0]
