"""One model judged on mature days, and two models compared on the same rows.

The numbers come from `metrics` and `bootstrap`, those of parts of the rows from `slices`; whether
they suffice for promotion is decided in `gate`, and how they look in `plots`.
"""

from __future__ import annotations

from datetime import date

import polars as pl
from pydantic import BaseModel, ConfigDict

from fraud_assets.modeling import metrics
from fraud_assets.modeling.bootstrap import (
    Interval,
    PairedInterval,
    day_bootstrap_average_precision,
    paired_day_bootstrap,
)
from fraud_assets.modeling.dataset import KnownPayers, without_known_payers
from fraud_assets.modeling.decision import ALERT
from fraud_assets.modeling.slices import (
    FalsePositiveRatio,
    SliceEvaluation,
    evaluate_slices,
    false_positive_ratios,
)
from fraud_assets.transactions.columns import (
    AMOUNT,
    DAY,
    DECISION,
    LABEL,
    SCORE,
    TRANSACTION_ID,
)
from fraud_assets.transactions.profile import DecisionChoices


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DayEvaluation(_Model):
    """One day of an evaluation; a metric is None where it cannot be computed that day."""

    day: date
    rows: int
    positives: int
    alerts: int
    caught: int
    average_precision: float | None
    card_precision: float | None
    cost: float | None


class Evaluation(_Model):
    """A model's worth on label-mature days, as JSON-able values; None is "not computable".

    Money is in the amounts' currency. `known_payer_rows` were left out, since their payers were
    known to be compromised before the day. `calibration_ratio` is frauds expected over frauds
    observed among all rows, `calibration_ratio_at_budget` among each day's most suspicious
    `alert_budget_per_day` rows: an overconfident model can be right over all and still promise
    twice the frauds that its alerts hold.
    """

    first_day: date | None
    last_day: date | None
    rows: int
    positives: int
    known_payer_rows: int
    confidence: float
    average_precision: Interval
    roc_auc: float | None
    alert_budget_per_day: int
    card_precision: float | None
    card_precision_achievable: float | None
    recall_at_budget: float | None
    precision_at_90_recall: float | None
    brier: float | None
    expected_calibration_error: float | None
    calibration_ratio: float | None
    calibration_ratio_at_budget: float | None
    alerts: int
    caught: int
    alert_precision: float | None
    alert_recall: float | None
    cost: float | None
    savings: float | None
    by_day: tuple[DayEvaluation, ...]
    slices: tuple[SliceEvaluation, ...]
    false_positive_ratios: tuple[FalsePositiveRatio, ...]


class Comparison(_Model):
    """A candidate against a champion on the same rows; gains are positive if it is better."""

    first_day: date | None
    last_day: date | None
    days: int
    rows: int
    positives: int
    confidence: float
    candidate_average_precision: float | None
    champion_average_precision: float | None
    candidate_cost: float | None
    champion_cost: float | None
    average_precision_gain: PairedInterval
    cost_gain_per_day: PairedInterval


def evaluate(
    frame: pl.DataFrame,
    *,
    decision: DecisionChoices,
    known_by_day: KnownPayers | None = None,
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 7,
) -> Evaluation:
    """Judge scores and decisions against mature labels.

    Args:
        frame: one row per transaction: `day`, `label` (0/1), `amount`, `score` (probability),
            `decision` ("alert"/"pass"), `payer_id`, and what `evaluate_slices` cuts by.
        decision: costs and the alert budget per day, which is also the k of CP@k.
        known_by_day: payers known before each day, left out of everything; None leaves none out.
        samples: resamplings of the days for the intervals of AP.
        confidence: of all intervals.
        seed: of the resampling.

    Raises:
        ValueError: a label is unknown, or a score is missing or not a probability.
    """
    _refuse_unknown(frame)
    kept = without_known_payers(frame, known_by_day).sort(DAY, maintain_order=True)
    label, score = kept.get_column(LABEL).to_numpy(), kept.get_column(SCORE).to_numpy()
    amount, day = kept.get_column(AMOUNT).to_numpy(), kept.get_column(DAY).to_numpy()
    alert = (kept.get_column(DECISION) == ALERT).to_numpy()
    counts = metrics.confusion(label, alert)
    cards = metrics.card_precision_at_k(kept, decision.alert_budget_per_day)
    slices = evaluate_slices(kept, samples=samples, seed=seed, confidence=confidence)
    top = _at_budget(kept, decision.alert_budget_per_day)
    days = kept.get_column(DAY)
    return Evaluation(
        first_day=days.min(),
        last_day=days.max(),
        rows=kept.height,
        positives=int(label.sum()),
        known_payer_rows=frame.height - kept.height,
        confidence=confidence,
        average_precision=day_bootstrap_average_precision(
            day, label, score, samples=samples, seed=seed, confidence=confidence
        ),
        roc_auc=metrics.roc_auc(label, score),
        alert_budget_per_day=decision.alert_budget_per_day,
        card_precision=cards.value,
        card_precision_achievable=cards.achievable,
        recall_at_budget=metrics.recall_at_budget(label, score, day, decision.alert_budget_per_day),
        precision_at_90_recall=metrics.precision_at_recall(label, score, 0.9),
        brier=metrics.brier(label, score),
        expected_calibration_error=metrics.expected_calibration_error(label, score),
        calibration_ratio=metrics.calibration_ratio(label, score),
        calibration_ratio_at_budget=metrics.calibration_ratio(label[top], score[top]),
        alerts=int(alert.sum()),
        caught=counts.true_positives,
        alert_precision=counts.precision,
        alert_recall=counts.recall,
        cost=metrics.cost(label, amount, alert, decision.review_cost, decision.loss_share),
        savings=metrics.savings(label, amount, alert, decision.review_cost, decision.loss_share),
        by_day=_by_day(kept, cards, decision),
        slices=slices,
        false_positive_ratios=false_positive_ratios(slices),
    )


def compare(
    candidate: pl.DataFrame,
    champion: pl.DataFrame,
    *,
    decision: DecisionChoices,
    known_by_day: KnownPayers | None = None,
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 7,
) -> Comparison:
    """Compare two models' scores and decisions of the same transactions.

    Args:
        candidate: as for `evaluate`, with `transaction_id`.
        champion: the champion's (or the rule set's) `transaction_id`, `score` and `decision`.
        decision: costs.
        known_by_day: payers known before each day, left out.
        samples: resamplings of the days.
        confidence: of the two-sided intervals.
        seed: of the resampling.

    Raises:
        ValueError: a label is unknown, or the two do not hold the same transactions, so that a
            difference could come from the rows instead of the models.
    """
    _refuse_unknown(candidate)
    other = champion.select(
        TRANSACTION_ID,
        pl.col(SCORE).alias("score_b"),
        (pl.col(DECISION) == ALERT).alias("decision_b"),
    )
    paired = candidate.join(
        other, on=TRANSACTION_ID, how="inner", validate="1:1", maintain_order="left"
    )
    if not paired.height == candidate.height == champion.height:
        raise ValueError(
            f"candidate ({candidate.height} rows) and champion ({champion.height} rows) share "
            f"{paired.height} transactions: score both on the same rows before comparing them"
        )
    paired = without_known_payers(paired, known_by_day).with_columns(
        pl.col(SCORE).alias("score_a"), (pl.col(DECISION) == ALERT).alias("decision_a")
    )
    gains = paired_day_bootstrap(
        paired,
        samples=samples,
        seed=seed,
        confidence=confidence,
        review_cost=decision.review_cost,
        loss_share=decision.loss_share,
    )
    label, amount = paired.get_column(LABEL).to_numpy(), paired.get_column(AMOUNT).to_numpy()
    precisions, costs = {}, {}
    for side in ("a", "b"):
        precisions[side] = metrics.average_precision(
            label, paired.get_column(f"score_{side}").to_numpy()
        )
        alert = paired.get_column(f"decision_{side}").to_numpy()
        costs[side] = metrics.cost(label, amount, alert, decision.review_cost, decision.loss_share)
    days = paired.get_column(DAY)
    return Comparison(
        first_day=days.min(),
        last_day=days.max(),
        days=days.n_unique(),
        rows=paired.height,
        positives=int(label.sum()),
        confidence=confidence,
        candidate_average_precision=precisions["a"],
        champion_average_precision=precisions["b"],
        candidate_cost=costs["a"],
        champion_cost=costs["b"],
        average_precision_gain=gains.average_precision,
        cost_gain_per_day=gains.cost_per_day,
    )


def _refuse_unknown(frame: pl.DataFrame) -> None:
    unknown = frame.get_column(LABEL).null_count()
    if unknown:
        raise ValueError(f"{unknown} labels are unknown: judge rows with a mature label only")


def _by_day(
    frame: pl.DataFrame, cards: metrics.CardPrecision, decision: DecisionChoices
) -> tuple[DayEvaluation, ...]:
    card_values = {one.day: one.value for one in cards.days}
    days = []
    for part in frame.partition_by(DAY, maintain_order=True):
        day: date = part.item(0, DAY)
        label, alert = part.get_column(LABEL).to_numpy(), _alerts(part)
        days.append(
            DayEvaluation(
                day=day,
                rows=part.height,
                positives=int(label.sum()),
                alerts=int(alert.sum()),
                caught=metrics.confusion(label, alert).true_positives,
                average_precision=metrics.average_precision(
                    label, part.get_column(SCORE).to_numpy()
                ),
                card_precision=card_values.get(day),
                cost=metrics.cost(
                    label, part.get_column(AMOUNT).to_numpy(), alert,
                    decision.review_cost, decision.loss_share,
                ),
            )
        )  # fmt: skip
    return tuple(days)


def _at_budget(frame: pl.DataFrame, alerts_per_day: int) -> metrics.Array:
    """Whether a row is among its day's highest `alerts_per_day` scores; ties by the rows' order."""
    place = pl.col(SCORE).rank("ordinal", descending=True).over(DAY)
    return frame.select(place <= alerts_per_day).to_series().to_numpy()


def _alerts(frame: pl.DataFrame) -> metrics.Array:
    return (frame.get_column(DECISION) == ALERT).to_numpy()
