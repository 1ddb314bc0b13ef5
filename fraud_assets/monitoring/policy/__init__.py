"""What to do at the close of a day: one pure decision, with its reason in numbers.

Only rules belong in this package. `monitoring.facts` collects what they look at, the asset
`loop_decision` keeps what they say, and a sensor acts on it. A retraining makes a challenger, and
whether that goes live is the gate's business.

The order matters. First what takes the champion out of service (`service`): it cannot be loaded,
its inputs are broken, another model is shown to be better. Then what makes a retraining worth its
cost (`retraining`). Drift alone never does: inputs that move without a loss of performance are a
warning, and before the labels of the changed days have matured a retraining would learn the old
world again. An estimate of performance is a warning too.
"""

from __future__ import annotations

from fraud_assets.monitoring.policy.decision import (
    ACTIONS,
    Action,
    Decision,
    Facts,
    Finding,
    FindingKind,
    Guard,
    Rule,
    made,
)
from fraud_assets.monitoring.policy.findings import find, is_drifting
from fraud_assets.monitoring.policy.retraining import training
from fraud_assets.monitoring.policy.service import change_of_service
from fraud_assets.transactions.profile import Profile

__all__ = [
    "ACTIONS", "Action", "Decision", "Facts", "Finding", "FindingKind", "Guard", "Rule", "decide",
    "is_drifting",
]  # fmt: skip


def decide(facts: Facts, profile: Profile) -> Decision:
    """The decision of one day."""
    if facts.day < facts.newest_day:
        reason = (
            f"{facts.day} is older than the newest closed day, {facts.newest_day}: a report of an "
            "old day changes nothing today"
        )
        return made(facts, (), "nothing", "outdated", reason)
    findings = tuple(find(facts, profile.monitoring))
    decided = change_of_service(facts, findings, profile.monitoring) or training(
        facts, findings, profile
    )
    if decided is not None:
        return decided
    if findings:
        reason = "; ".join(one.text for one in findings)
        return made(facts, findings, "warn", "findings", reason)
    return made(facts, (), "nothing", "quiet", _quiet(facts))


def _quiet(facts: Facts) -> str:
    drift, seen = facts.drift, facts.performance
    share = drift.status if drift.drift_share is None else f"drift share {drift.drift_share:.2f}"
    recent, gate = seen.recent_average_precision, seen.champion_gate_average_precision
    if facts.never_trained:
        return f"no model yet: {facts.labelled_days} labelled days < {facts.needed_days}"
    if recent is None or gate is None:
        return f"{share}; realised performance not known yet"
    return f"{share}; average precision {recent:.3f}, {gate:.3f} at the gate"
