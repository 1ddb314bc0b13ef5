"""Figures with their intervals: what a model's scores of the test weeks are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from handbook_data import WEEK
from scipy.stats import t as student

from fraud_assets.modeling import metrics
from fraud_assets.modeling.bootstrap import day_bootstrap_average_precision, paired_day_bootstrap
from fraud_assets.transactions.columns import DAY, LABEL, SCORE

K = 100
SAMPLES = 1_000
SEED = 7


@dataclass(frozen=True)
class Figure:
    """An estimate and its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


@dataclass(frozen=True)
class Result:
    """A model's figures on some weeks, each week's average precision, and its scores."""

    roc_auc: float
    average_precision: Figure
    card_precision: Figure
    card_precision_ceiling: float
    weeks: tuple[float, ...]


Scored = Sequence[tuple[pl.DataFrame, np.ndarray]]
"""Per week the test rows, and a model's scores of them."""


def judged(weeks: Scored) -> Result:
    """Figures over weeks: means, with the errors of the weeks' own day-block bootstraps."""
    area, precision, errors, cards, ceilings = [], [], [], [], []
    for rows, score in weeks:
        day, label = rows[DAY].to_numpy(), rows[LABEL].to_numpy()
        found = day_bootstrap_average_precision(
            day, label, score, samples=SAMPLES, seed=SEED, confidence=0.95
        )
        precision.append(found.estimate)
        errors.append((found.high - found.low) / 2 / student.ppf(0.975, WEEK - 1))
        area.append(metrics.roc_auc(label, score))
        top = metrics.card_precision_at_k(rows.with_columns(pl.Series(SCORE, score)), K)
        cards += [one.value for one in top.days]
        ceilings.append(top.achievable)
    return Result(
        roc_auc=float(np.mean(area)),
        average_precision=mean_of_weeks(precision, errors),
        card_precision=mean_of_days(cards),
        card_precision_ceiling=float(np.mean(ceilings)),
        weeks=tuple(precision),
    )


def mean_of_weeks(values: Sequence[float], errors: Sequence[float]) -> Figure:
    """The mean of independent weeks whose standard errors are known."""
    half = student.ppf(0.975, len(values) * (WEEK - 1)) * np.sqrt(np.sum(np.square(errors)))
    middle = float(np.mean(values))
    return Figure(middle, middle - half / len(values), middle + half / len(values))


def mean_of_days(values: Sequence[float]) -> Figure:
    """The mean of daily values with Student's interval."""
    middle = float(np.mean(values))
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return Figure(middle, middle - half, middle + half)


def gain(ours: Scored, theirs: Scored) -> Figure:
    """The paired gain in average precision over the same rows, as a mean of weeks."""
    values, errors = [], []
    for (rows, a), (_, b) in zip(ours, theirs, strict=True):
        frame = rows.select(DAY, LABEL, "amount").with_columns(
            pl.Series("score_a", a), pl.Series("score_b", b),
            decision_a=pl.lit(value=False), decision_b=pl.lit(value=False),
        )  # fmt: skip
        found = paired_day_bootstrap(
            frame, samples=SAMPLES, seed=SEED, confidence=0.95, review_cost=0.0, loss_share=0.0
        ).average_precision
        values.append(found.estimate)
        errors.append((found.high - found.low) / 2 / student.ppf(0.975, WEEK - 1))
    return mean_of_weeks(values, errors)
