"""Which model serves: falling back, rolling back, and coming back."""

from __future__ import annotations

from typing import Final

from fraud_assets.monitoring.policy.decision import (
    Action,
    Decision,
    Facts,
    Finding,
    Found,
    made,
    named,
    some,
)
from fraud_assets.monitoring.records import Alternative
from fraud_assets.transactions.profile import MonitoringChoices

_ACTION_FOR: Final[dict[str, Action]] = {
    "former": "roll_back",
    "suspended": "restore",
    "rules": "fall_back",
}


def change_of_service(facts: Facts, findings: Found, choices: MonitoringChoices) -> Decision | None:
    """Put another model in force, or say that none would help; None if the champion may serve.

    A champion that was chosen by hand is not replaced because another would do better.
    """
    return (
        _unloadable(facts, findings)
        or _broken_inputs(facts, findings, choices)
        or _healthy_again(facts, findings, choices)
        or _worse(facts, findings, choices)
    )


def better_alternative(facts: Facts, choices: MonitoringChoices) -> Alternative | None:
    """The model that is shown to be better than the one in force, by the most; None without one.

    Shown means: on enough matured days with enough frauds, the lower bound of the paired gain in
    average precision clears the margin, and no loss of money is shown. A suspended champion that
    comes back needs no margin; one that was suspended for another reason than being worse comes
    back when that is gone, however good it was before.
    """

    def shown(one: Alternative) -> bool:
        if one.kind == "suspended" and facts.suspended_for != "worse":
            return False
        if facts.drift.broken_weights.get(one.version, 0.0) >= choices.max_broken_weight:
            return False  # it was better while its inputs were whole
        margin = 0.0 if one.kind == "suspended" else choices.min_rollback_gain
        return (
            one.days >= choices.performance_days
            and one.frauds >= choices.min_mature_positives
            and one.gain_low is not None
            and one.gain_low > margin
            and (one.cost_gain_high is None or one.cost_gain_high >= 0.0)
        )

    candidates = filter(shown, facts.performance.alternatives)
    return max(candidates, key=lambda one: one.gain or 0.0, default=None)


def _unloadable(facts: Facts, findings: Found) -> Decision | None:
    if not facts.unloadable:
        return None
    target = facts.formers[0] if facts.formers else facts.rules
    reason = f"{facts.unloadable}; {named(target, facts)} serves until it can be loaded"
    return made(facts, findings, "fall_back", "unloadable", reason, target=target)


def _broken_inputs(facts: Facts, findings: Found, choices: MonitoringChoices) -> Decision | None:
    """Fall back to a model that goes by the broken inputs less; there may be none."""
    weights, limit = facts.drift.broken_weights, choices.max_broken_weight
    weight = weights.get(facts.champion, 0.0)
    if weight < limit:
        return None
    reason = (
        f"broken inputs {some(facts.drift.broken_columns)} are {weight:.0%} of what champion "
        f"{facts.champion} goes by, less than {limit:.0%} is allowed"
    )
    # The rule set goes by whatever is there, if it is not among the weighed.
    known = {facts.rules: 0.0, **weights}
    others = (v for v in (*facts.formers, facts.rules) if v != facts.champion)
    target = next((v for v in others if known.get(v, 1.0) < limit), None)
    if target is None:
        reason += "; every other model goes by them too: repair the feed"
        return made(facts, findings, "warn", "broken_inputs", reason)
    reason += f"; {named(target, facts)} serves until they are whole again"
    return made(facts, findings, "fall_back", "broken_inputs", reason, target=target)


def _healthy_again(facts: Facts, findings: Found, choices: MonitoringChoices) -> Decision | None:
    if facts.suspended is None or not facts.suspended_loads:
        return None
    if facts.suspended_for == "unloadable":
        reason = f"champion {facts.suspended} can be loaded again"
    elif facts.suspended_for == "broken_inputs" and facts.healthy_days >= choices.healthy_days:
        reason = f"the inputs of champion {facts.suspended} are whole for {facts.healthy_days} days"
    else:
        return None
    return made(facts, findings, "restore", "healthy", reason, target=facts.suspended)


def _worse(facts: Facts, findings: Found, choices: MonitoringChoices) -> Decision | None:
    better = better_alternative(facts, choices)
    if better is None or facts.by_hand:
        return None
    action = _ACTION_FOR[better.kind]
    if action == "roll_back" and facts.suspended is not None:
        action = "fall_back"  # another stand-in; the champion is still waited for
    reason = (
        f"{named(better.version, facts)} would have had an average precision {better.gain:.3f} "
        f"(at least {better.gain_low:.3f}) higher than {named(facts.champion, facts)} over "
        f"{better.days} matured days with {better.frauds} frauds"
    )
    return made(
        facts,
        (Finding(kind="worse", text=reason), *findings),
        action,
        "worse",
        reason,
        target=better.version,
        numbers=better.model_dump(exclude={"version", "kind"}),
    )
