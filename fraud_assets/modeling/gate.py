"""Whether a candidate replaces the champion: one pure decision, with its reasons.

The numbers come from `evaluation`; what happens after a promotion is the registry's business.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from fraud_assets.modeling.bootstrap import PairedInterval
from fraud_assets.modeling.evaluation import Comparison, Evaluation
from fraud_assets.transactions.profile import GateChoices


class GateCheck(BaseModel):
    """One condition, whether it holds, and the sentence with its numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    passed: bool
    reason: str


class PromotionDecision(BaseModel):
    """The verdict. `reasons` are those that refused it, or all of them if none did."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    promote: bool
    reasons: list[str]
    checks: list[GateCheck]
    numbers: dict[str, float | None]


def decide_promotion(
    comparison: Comparison,
    candidate: Evaluation,
    gate: GateChoices,
    *,
    latency_ms: float | None,
    champion: str = "champion",
    shuffled_labels_predicted: bool = False,
) -> PromotionDecision:
    """Keep the champion unless the candidate is shown to be better, calibrated and fast.

    All must hold: enough positives; the lower bound of the gain in AP above `min_ap_gain`; the
    lower bound of the gain in cost per day above `min_cost_gain` or, where that is not set, its
    upper bound not below zero, so that a better ranking whose threshold loses money (one that
    alerts nothing, say) is refused; calibration
    error, expected over observed frauds, and latency within their limits. Expected over observed
    frauds is asked of all rows and of those that the alert budget would review: a candidate with
    five times the log-odds that it should have, but right over all rows, passed the first and had
    a calibration error of .003 where one row in 200 was fraud. What could not be computed refuses.
    Where there is no champion yet the rule set stands in for it, in the same way. Whatever the
    numbers, a candidate whose features predict shuffled labels is refused: the numbers are false.

    Args:
        comparison: candidate against champion, on days after both were fitted.
        candidate: the candidate on the same days.
        gate: the limits.
        latency_ms: the median of scoring one transaction, None if not measured.
        champion: what to call the champion in the reasons, such as "the rule set".
        shuffled_labels_predicted: whether `leakage.shuffled_label_control` found a leak.
    """
    checks = list(_checks(comparison, candidate, gate, latency_ms, champion))
    if shuffled_labels_predicted:
        reason = "features see labels before they are known: shuffled labels can be predicted"
        checks.append(GateCheck(name="leakage", passed=False, reason=reason))
    refusals = [check.reason for check in checks if not check.passed]
    ap, money = comparison.average_precision_gain, comparison.cost_gain_per_day
    return PromotionDecision(
        promote=not refusals,
        reasons=refusals or [check.reason for check in checks],
        checks=checks,
        numbers={
            "positives": float(comparison.positives),
            "days": float(comparison.days),
            "candidate_average_precision": comparison.candidate_average_precision,
            "champion_average_precision": comparison.champion_average_precision,
            "ap_gain": ap.estimate,
            "ap_gain_low": ap.low,
            "ap_gain_high": ap.high,
            "ap_probability_better": ap.probability_better,
            "cost_gain_per_day": money.estimate,
            "cost_gain_per_day_low": money.low,
            "cost_gain_per_day_high": money.high,
            "cost_probability_better": money.probability_better,
            "expected_calibration_error": candidate.expected_calibration_error,
            "calibration_ratio": candidate.calibration_ratio,
            "calibration_ratio_at_budget": candidate.calibration_ratio_at_budget,
            "latency_ms": latency_ms,
        },
    )


def _checks(
    comparison: Comparison,
    candidate: Evaluation,
    gate: GateChoices,
    latency_ms: float | None,
    champion: str,
) -> Iterator[GateCheck]:
    enough = comparison.positives >= gate.min_positives
    yield GateCheck(
        name="positives",
        passed=enough,
        reason=f"{comparison.positives} known frauds on {comparison.days} gate day(s), "
        f"{'at least' if enough else 'fewer than'} the {gate.min_positives} that are needed",
    )
    over = f"over {champion}"
    yield _gain_check(
        "average_precision", f"gain in average precision {over}",
        comparison.average_precision_gain, gate.min_ap_gain, comparison.confidence,
    )  # fmt: skip
    what, money = f"gain in money per day {over}", comparison.cost_gain_per_day
    if gate.min_cost_gain is not None:
        yield _gain_check("cost", what, money, gate.min_cost_gain, comparison.confidence)
    else:
        yield _loss_check("cost", what, money, comparison.confidence)
    yield _limit_check(
        "calibration", "expected calibration error", candidate.expected_calibration_error,
        gate.max_calibration_error, "",
    )  # fmt: skip
    limit, budget = gate.max_calibration_ratio, candidate.alert_budget_per_day
    yield _ratio_check(
        "calibration_ratio", "all rows", candidate.calibration_ratio, 1.0 / limit, limit
    )
    # Modest probabilities of what is reviewed are borne further than bold ones: where fraud has
    # just grown, every calibrator is modest, and refusing the one model that knows the new fraud
    # keeps a worse one in force (in the demo: average precision .22 instead of .50).
    yield _ratio_check(
        "calibration_ratio_at_budget", f"the {budget} most suspicious rows a day",
        candidate.calibration_ratio_at_budget, 1.0 / limit**2, limit,
    )  # fmt: skip
    yield _limit_check("latency", "scoring latency", latency_ms, gate.max_latency_ms, " ms")


def _gain_check(
    name: str, what: str, gain: PairedInterval, margin: float, confidence: float
) -> GateCheck:
    if gain.estimate is None or gain.low is None or gain.high is None:
        at = "not computable" if gain.estimate is None else f"{gain.estimate:+.4g}"
        reason = (
            f"{what}: {at}, without an interval (fewer than two days "
            f"carry frauds); its lower bound must exceed {margin:.4g}"
        )
        return GateCheck(name=name, passed=False, reason=reason)
    passed = gain.low > margin
    return GateCheck(
        name=name,
        passed=passed,
        reason=f"{what}: {gain.estimate:+.4g} "
        f"({confidence:.0%} interval {gain.low:+.4g} to {gain.high:+.4g}); the lower bound "
        f"{'exceeds' if passed else 'does not exceed'} {margin:.4g}",
    )


def _loss_check(name: str, what: str, gain: PairedInterval, confidence: float) -> GateCheck:
    """Whether a loss is not shown: a better ranking may not cost more than the champion's."""
    if gain.estimate is None or gain.low is None or gain.high is None:
        return GateCheck(name=name, passed=True, reason=f"{what}: not computable, so no loss shown")
    passed = gain.high >= 0.0
    return GateCheck(
        name=name,
        passed=passed,
        reason=f"{what}: {gain.estimate:+.4g} "
        f"({confidence:.0%} interval {gain.low:+.4g} to {gain.high:+.4g}); "
        f"{'no loss is shown' if passed else 'a loss is shown'}",
    )


def _ratio_check(name: str, among: str, value: float | None, low: float, high: float) -> GateCheck:
    if value is None:
        reason = f"expected over observed frauds is not computable: no fraud among {among}"
        return GateCheck(name=name, passed=False, reason=reason)
    passed = low <= value <= high
    reason = (
        f"{value:.3g} times as many frauds expected as observed among {among}, "
        f"{'within' if passed else 'outside'} {low:.3g} to {high:.3g}"
    )
    return GateCheck(name=name, passed=passed, reason=reason)


def _limit_check(name: str, what: str, value: float | None, limit: float, unit: str) -> GateCheck:
    if value is None:
        reason = f"{what} was not measured; at most {limit:.4g}{unit} is allowed"
        return GateCheck(name=name, passed=False, reason=reason)
    passed = value <= limit
    side = "within" if passed else "above"
    return GateCheck(
        name=name,
        passed=passed,
        reason=f"{what} {value:.4g}{unit} is {side} the limit of {limit:.4g}{unit}",
    )
