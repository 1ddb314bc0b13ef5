"""One model judged on mature days, two models compared on the same rows, and a leakage alarm.

The numbers come from `metrics` and `bootstrap`; whether they suffice for promotion is decided in
`gate`, and how they look in `plots`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
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
from fraud_assets.transactions.columns import (
    AMOUNT,
    DAY,
    DECISION,
    KIND,
    LABEL,
    SCENARIO,
    SCORE,
    TRANSACTION_ID,
)
from fraud_assets.transactions.profile import DecisionChoices

ALERT = "alert"


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


class SliceEvaluation(_Model):
    """A part of the rows: those of one kind, one band of amounts, or one fraud scenario.

    A scenario's AP ranks its frauds against all legitimate rows, and its `rows` are its frauds.
    """

    dimension: str
    value: str
    rows: int
    positives: int
    alerts: int
    caught: int
    average_precision: float | None
    recall: float | None


class Evaluation(_Model):
    """A model's worth on label-mature days, as JSON-able values; None is "not computable".

    Money is in the amounts' currency. `known_payer_rows` were left out, since their payers were
    known to be compromised before the day.
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
    alerts: int
    caught: int
    alert_precision: float | None
    alert_recall: float | None
    cost: float | None
    savings: float | None
    by_day: tuple[DayEvaluation, ...]
    slices: tuple[SliceEvaluation, ...]


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
            `decision` ("alert"/"pass"), `payer_id`, and `kind` and `scenario` if there are any.
        decision: costs and the alert budget per day, which is also the k of CP@k.
        known_by_day: payers known before each day, left out of everything; None leaves none out.
        samples: resamplings of the days for the interval of AP.
        confidence: of that interval.
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
        alerts=int(alert.sum()),
        caught=counts.true_positives,
        alert_precision=counts.precision,
        alert_recall=counts.recall,
        cost=metrics.cost(label, amount, alert, decision.review_cost, decision.loss_share),
        savings=metrics.savings(label, amount, alert, decision.review_cost, decision.loss_share),
        by_day=_by_day(kept, cards, decision),
        slices=_slices(kept),
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


def best_single_feature_auc(
    frame: pl.DataFrame, feature_names: Sequence[str]
) -> tuple[str | None, float | None]:
    """The feature that alone separates frauds best, and its ROC AUC (.5 to 1, either direction).

    An AUC near 1 is an alarm: a feature that knows the answer, as PaySim's balances do, and not
    a skill. A missing number ranks below all others. A category is replaced by its share of fraud
    in the other half of the rows (odd against even), so that a category of few rows cannot
    give its own label away.

    Args:
        frame: the features and `label` (0/1).
        feature_names: columns to try; text columns are categories.

    Returns:
        Name and AUC; both None without features or unless both classes occur.
    """
    truth = frame.get_column(LABEL).to_numpy().astype(bool)
    frauds, rows = int(truth.sum()), truth.size
    if frauds in (0, rows) or not feature_names:
        return None, None
    best_name, best = "", -1.0
    for name in feature_names:
        column = frame.get_column(name)
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            values = column.cast(pl.Float64).fill_nan(None).fill_null(-np.inf)
        else:
            values = _crossed_fraud_share(frame, name)
        ranks = values.rank("average").to_numpy()
        area = (ranks[truth].sum() - frauds * (frauds + 1) / 2) / (frauds * (rows - frauds))
        if max(area, 1 - area) > best:
            best_name, best = name, float(max(area, 1 - area))
    return best_name, best


def _refuse_unknown(frame: pl.DataFrame) -> None:
    unknown = frame.get_column(LABEL).null_count()
    if unknown:
        raise ValueError(f"{unknown} labels are unknown: judge rows with a mature label only")


def _crossed_fraud_share(frame: pl.DataFrame, name: str) -> pl.Series:
    half = pl.int_range(pl.len()) % 2
    numbered = frame.select(pl.col(name).cast(pl.String), LABEL, half.alias("half"))
    shares = numbered.group_by(name, "half").agg(pl.col(LABEL).mean().alias("share"))
    other = shares.with_columns((1 - pl.col("half")).alias("half"))
    joined = numbered.join(
        other, on=[name, "half"], how="left", nulls_equal=True, maintain_order="left"
    )
    return joined.get_column("share").fill_null(pl.lit(frame.get_column(LABEL).mean()))


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


def _slices(frame: pl.DataFrame) -> tuple[SliceEvaluation, ...]:
    """Slices by kind, band of amounts and scenario, in a fixed order.

    The bands are powers of ten: quantiles would move with the data, so that the slices of two
    evaluations could not be compared.
    """
    found = []
    if KIND in frame.columns:
        parts = frame.drop_nulls(KIND).sort(KIND, maintain_order=True).partition_by(
            KIND, maintain_order=True
        )  # fmt: skip
        found += [_slice("kind", str(part.item(0, KIND)), part) for part in parts]
    bands = frame.with_columns(
        pl.col(AMOUNT).clip(lower_bound=1.0).log(10).floor().cast(pl.Int32).alias("_band")
    ).sort("_band", maintain_order=True)
    for part in bands.partition_by("_band", maintain_order=True):
        power: int = part.item(0, "_band")
        name = f"{10**power:,} to {10 ** (power + 1):,}" if power else "under 10"
        found.append(_slice("amount", name, part))
    if SCENARIO in frame.columns:
        frauds = frame.filter((pl.col(LABEL) == 1) & pl.col(SCENARIO).is_not_null())
        legitimate = frame.filter(pl.col(LABEL) == 0)
        for part in frauds.sort(SCENARIO, maintain_order=True).partition_by(
            SCENARIO, maintain_order=True
        ):
            found.append(_slice("scenario", str(part.item(0, SCENARIO)), part, legitimate))
    return tuple(found)


def _slice(
    dimension: str, value: str, part: pl.DataFrame, against: pl.DataFrame | None = None
) -> SliceEvaluation:
    label, alert = part.get_column(LABEL).to_numpy(), _alerts(part)
    ranked = part if against is None else pl.concat([part, against])
    counts = metrics.confusion(label, alert)
    return SliceEvaluation(
        dimension=dimension,
        value=value,
        rows=part.height,
        positives=int(label.sum()),
        alerts=int(alert.sum()),
        caught=counts.true_positives,
        average_precision=metrics.average_precision(
            ranked.get_column(LABEL).to_numpy(), ranked.get_column(SCORE).to_numpy()
        ),
        recall=counts.recall,
    )


def _alerts(frame: pl.DataFrame) -> metrics.Array:
    return (frame.get_column(DECISION) == ALERT).to_numpy()
