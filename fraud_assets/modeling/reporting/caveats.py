"""What a model's numbers warn of: limits, alarms, and what it means for the people it judges.

Each caveat follows from numbers and is left out where they do not speak for it: a warning that
stands on every model is read on none. How they are laid out belongs in `card` and `page`, and
whether a model is promoted in spite of them in `gate`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from fraud_assets.modeling.baselines import rule_average_precision
from fraud_assets.modeling.bootstrap import Interval
from fraud_assets.modeling.decision import NEVER, DecisionPolicy
from fraud_assets.modeling.evaluation import Evaluation
from fraud_assets.modeling.leakage import leakage_alarms
from fraud_assets.modeling.manifest import FoldRecord, ModelManifest
from fraud_assets.modeling.reporting.document import ReportDocument
from fraud_assets.modeling.reporting.wording import (
    count,
    dimension,
    estimate,
    gain,
    limits,
    metric,
    share,
    share_limits,
)
from fraud_assets.modeling.slices import SliceEvaluation

Topic = Literal["leakage", "evidence", "coverage", "people", "probabilities", "features", "time"]

WIDE_INTERVAL: Final = 0.2
"""Width of average precision's interval above which a model is as good as unmeasured."""

FEW_FRAUDS: Final = 10
"""Below it the interval of a recall is wider than half of all there is."""

UNEVEN_RATIO: Final = 2.0
"""False alerts that fall on one group so many times as often as on another are told."""

UNCALIBRATED_RATIO: Final = 1.25
"""Expected over observed frauds, or its inverse, above which money that is planned by it is off."""

UNSTEADY: Final = 0.15
"""Deviation over the folds, as a part of their mean, above which one number promises too much."""

DOMINANT_SHARE: Final = 0.4
"""Of what moves the score: a feature with so much of it is the model."""

FEEDBACK_SHARE: Final = 0.25
"""Of what moves the score: so much from earlier labels closes a loop from alerts to labels."""

_FROM_LABELS: Final = re.compile(
    r"(payer|payee)_(risk_\d+d|labelled_count_\d+d|last_label"
    r"|seconds_since_(first_)?known_fraud|smallest_known_fraud)"
)


@dataclass(frozen=True)
class Caveat:
    """One warning; an alarm says that the numbers themselves may not be what they seem."""

    topic: Topic
    text: str
    alarm: bool = False


def caveats(
    manifest: ModelManifest, policy: DecisionPolicy, report: ReportDocument | None
) -> tuple[Caveat, ...]:
    """Everything that the numbers warn of, alarms first, else in a fixed order.

    Args:
        manifest: the model's record.
        policy: its threshold.
        report: its gate report; None before the gate, when less can be said.
    """
    found: list[Caveat] = []
    if report is None:
        found.append(
            Caveat(
                "evidence",
                "It has not been judged on days that its training did not touch. Its validation "
                "metrics chose its parameters and its threshold, and are optimistic.",
            )
        )
    else:
        found += _leakage(report)
        found += _evidence(manifest, report)
        found += _coverage(report.candidate)
        found += _people(report.candidate)
        found += _probabilities(manifest, report.candidate)
    found += _threshold(policy)
    found += _features(manifest)
    found += _time(manifest)
    return tuple(sorted(found, key=lambda one: not one.alarm))


def _leakage(report: ReportDocument) -> Iterator[Caveat]:
    control = report.control
    if control is None or control.passed is None:
        why = f" ({control.note})" if control is not None and control.note else ""
        yield Caveat(
            "leakage",
            f"The control with shuffled labels was not run{why}: that no feature sees a label "
            "too early is shown by tests of the code only, not on these days.",
        )
    yield from (
        Caveat("leakage", alarm.text, alarm=True)
        for alarm in leakage_alarms(
            best_single_feature=report.best_single_feature,
            best_single_feature_auc=report.best_single_feature_auc,
            rule_average_precision=rule_average_precision(report.baselines),
            average_precision=report.candidate.average_precision.estimate,
            control=control,
        )
    )


def _evidence(manifest: ModelManifest, report: ReportDocument) -> Iterator[Caveat]:
    judged = report.candidate
    found = judged.average_precision
    width = _width(found)
    days = count(len(judged.by_day), "day")
    if found.estimate is None:
        yield Caveat("evidence", f"No fraud is known on {days}: nothing about it was measured.")
    elif width is None or width > WIDE_INTERVAL:
        yield Caveat(
            "evidence",
            f"Little evidence: {count(judged.positives, 'fraud')} on {days} give an average "
            f"precision of {estimate(found)}.",
        )
    for one in report.baselines:
        low = one.candidate_gain.low
        if one.candidate_gain.estimate is not None and (low is None or low <= 0):
            yield Caveat(
                "evidence",
                f"It is not shown to be better than {one.name} ({one.detail}): the gain in "
                f"average precision is {gain(one.candidate_gain)}. What is simpler breaks less.",
            )
    folds = [f.average_precision for f in manifest.folds if f.average_precision is not None]
    if folds and found.estimate is not None and found.high is not None and found.high < min(folds):
        yield Caveat(
            "evidence",
            f"Average precision on the gate days, {estimate(found)}, is below that of every fold "
            f"({_ends(folds)}): fraud may have changed since.",
        )


def _coverage(judged: Evaluation) -> Iterator[Caveat]:
    if judged.alert_recall is not None:
        missed = judged.positives - judged.caught
        yield Caveat(
            "coverage",
            f"At its threshold it misses {missed:,} of {count(judged.positives, 'known fraud')}.",
        )
    overall = judged.alert_recall
    weak = [
        one
        for one in judged.slices
        if overall is not None and one.recall_high is not None and one.recall_high < overall
    ]
    if weak and overall is not None:
        weak.sort(key=lambda one: one.recall or 0.0)
        named = "; ".join(
            f"{_named(one)}: {share(one.recall)} ({share_limits(one.recall_low, one.recall_high)})"
            for one in weak[:4]
        )
        more = f"; and {len(weak) - 4} more" if len(weak) > 4 else ""
        yield Caveat(
            "coverage",
            f"It catches {share(overall)} of all frauds, but fewer in: {named}{more}. "
            "Fraud moves to where it is not seen.",
        )
    sparse = [one for one in judged.slices if one.positives < FEW_FRAUDS]
    if sparse:
        named = ", ".join(f"{_named(one)} ({one.positives})" for one in sparse)
        yield Caveat(
            "coverage",
            f"Whether it catches fraud there is not known, as fewer than {FEW_FRAUDS} frauds "
            f"were: {named}.",
        )
    if judged.known_payer_rows:
        yield Caveat(
            "coverage",
            f"{count(judged.known_payer_rows, 'row')} of payers that were already known to be "
            "compromised are in none of these numbers.",
        )


def _people(judged: Evaluation) -> Iterator[Caveat]:
    if judged.alert_precision is not None:
        false = judged.alerts - judged.caught
        yield Caveat(
            "people",
            f"{false:,} of {count(judged.alerts, 'alert')} "
            f"({share(1 - judged.alert_precision)}) hit a legitimate payment: an alert is a "
            "reason to look, not a verdict.",
        )
    for one in judged.false_positive_ratios:
        name = dimension(one.dimension)
        if one.ratio is not None and one.ratio >= UNEVEN_RATIO:
            yield Caveat(
                "people",
                f"False alerts fall unevenly by {name}: {share(one.highest_rate)} of legitimate "
                f"rows with {one.highest}, {share(one.lowest_rate)} with {one.lowest}, "
                f"{one.ratio:.1f} times as often.",
            )
    if judged.slices:
        looked = ", ".join(dict.fromkeys(dimension(one.dimension) for one in judged.slices))
        yield Caveat(
            "people",
            f"It was judged by {looked}. Whether it treats groups of people alike cannot be seen "
            "in these columns.",
        )


def _probabilities(manifest: ModelManifest, judged: Evaluation) -> Iterator[Caveat]:
    ratio = judged.calibration_ratio
    if ratio is not None and not 1 / UNCALIBRATED_RATIO <= ratio <= UNCALIBRATED_RATIO:
        side = "high" if ratio > 1 else "low"
        yield Caveat(
            "probabilities",
            f"Its probabilities are too {side}: {ratio:.2g} times as many frauds were expected "
            "as observed. Money that is planned by them is off by as much.",
        )
    if manifest.imbalance != "none":
        yield Caveat(
            "probabilities",
            f"It was trained with {manifest.imbalance.replace('_', ' ')}, which bends "
            "probabilities: only the calibration on later days makes them usable, and for the "
            "share of fraud of those days.",
        )


def _threshold(policy: DecisionPolicy) -> Iterator[Caveat]:
    if policy.threshold >= NEVER:
        yield Caveat(
            "coverage",
            "It alerts nothing: on the validation days no set of alerts was worth its reviews, at "
            f"{policy.review_cost:g} each.",
            alarm=True,
        )


def _features(manifest: ModelManifest) -> Iterator[Caveat]:
    shares = manifest.feature_importance
    if not shares:
        return
    name, largest = max(shares.items(), key=lambda item: item[1])
    if largest >= DOMINANT_SHARE and len(shares) > 1:
        yield Caveat(
            "features",
            f"{share(largest)} of what moves the score comes from {name}: the model stands and "
            "falls with it, and whoever can keep it ordinary gets through.",
        )
    fed_back = sum(part for one, part in shares.items() if _FROM_LABELS.fullmatch(one))
    if fed_back >= FEEDBACK_SHARE:
        yield Caveat(
            "people",
            f"{share(fed_back)} of what moves the score comes from earlier labels of the same "
            "payer or payee. Where labels follow alerts, whoever was suspected once is suspected "
            "more easily, and fraud that nobody looked at stays invisible.",
        )


def _time(manifest: ModelManifest) -> Iterator[Caveat]:
    unseen = (manifest.trained_as_of - manifest.train_window.last).days
    if unseen > 0:
        delay = count(manifest.label_delay_days, "day")
        yield Caveat(
            "time",
            f"On its first day in service the newest transaction it has learnt from is "
            f"{count(unseen + 1, 'day')} old, as labels take {delay} and the gate wants later "
            f"days: fraud that began after {manifest.train_window.last} is new to it.",
        )
    mean, deviation = manifest.fold_average_precision, manifest.fold_deviation
    if deviation is not None and mean > 0 and deviation / mean > UNSTEADY:
        yield Caveat(
            "time",
            f"It is unsteady: average precision was {metric(mean)} with a standard deviation of "
            f"{metric(deviation)} over {count(len(_measured(manifest)), 'fold')} "
            f"({_ends([f.average_precision or 0.0 for f in _measured(manifest)])}).",
        )
    if not manifest.reference_is_warm:
        yield Caveat(
            "time",
            f"No training day had {count(manifest.lookback_days, 'day')} of history before it, as "
            "its longest window needs: counts will grow for a while, and look like drift.",
        )


def _measured(manifest: ModelManifest) -> list[FoldRecord]:
    return [fold for fold in manifest.folds if fold.average_precision is not None]


def _width(interval: Interval) -> float | None:
    if interval.low is None or interval.high is None:
        return None
    return interval.high - interval.low


def _ends(values: list[float]) -> str:
    return limits(min(values), max(values))


def _named(one: SliceEvaluation) -> str:
    # "payee known payee" says it twice.
    return one.value if one.dimension == "new_payee" else f"{dimension(one.dimension)} {one.value}"
