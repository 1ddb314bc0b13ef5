"""What a simple method reaches on the same days: the yardsticks that a candidate must be worth.

Two of them: the one number that ranks frauds best, as a rule written in an afternoon would use it,
and a logistic regression. They are fitted on the candidate's training days, travel with it, and
are judged beside it on the gate days. They never score in service: the fallback there is `rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, model_validator

from fraud_assets.modeling import metrics
from fraud_assets.modeling.bootstrap import PairedInterval, paired_day_bootstrap
from fraud_assets.modeling.dataset import KnownPayers, without_known_payers
from fraud_assets.modeling.encoding import FeatureEncoder, Matrix, fit_encoder
from fraud_assets.modeling.estimators import LabelledMatrix
from fraud_assets.modeling.estimators.logistic_regression import (
    LinearModel,
    LogisticRegressionEstimator,
)
from fraud_assets.modeling.matrices import rows_to_fit
from fraud_assets.transactions.columns import LABEL, SCORE
from fraud_assets.transactions.profile import TrainingChoices

Floats = npt.NDArray[np.float64]

ONE_RULE: Final = "one rule"
LOGISTIC: Final = "logistic regression"

MISSING_SCORE: Final = float(np.finfo(np.float64).min)
"""Where the rule's number is missing there is nothing to be suspicious of, in either direction."""

_SIGNS: Final[Mapping[Literal["up", "down"], float]] = {"up": 1.0, "down": -1.0}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OneRule(_Model):
    """Rank by one number: the larger is the more suspicious ("up"), or the smaller ("down").

    `average_precision` is that on the training rows, which chose the rule.
    """

    feature: str
    direction: Literal["up", "down"]
    average_precision: float

    def __str__(self) -> str:
        size = {"up": "larger", "down": "smaller"}[self.direction]
        return f"ranks by {self.feature}, the {size} the more suspicious"


class LogisticBaseline(_Model):
    """A logistic regression and the encoder of its columns."""

    encoder: FeatureEncoder
    regression: LinearModel

    @model_validator(mode="after")
    def _columns_are_the_encoders(self) -> Self:
        names = tuple(column.name for column in self.regression.columns)
        if names != self.encoder.columns:
            raise ValueError(
                f"the regression was fitted on {', '.join(names)}, and its encoder makes "
                f"{', '.join(self.encoder.columns)}"
            )
        return self

    def margins(self, matrix: Matrix) -> Floats:
        """Log-odds of the encoder's matrix, shape (rows,)."""
        estimator = LogisticRegressionEstimator()
        estimator.read_json(self.regression.model_dump_json())
        return estimator.margin(matrix)

    def __str__(self) -> str:
        return f"logistic regression on all {len(self.encoder.columns)} features"


class BaselineEvaluation(_Model):
    """A baseline on the gate days, and the candidate's gain in average precision over it.

    `detail` says in words what the baseline is; None is "not computable".
    """

    name: str
    detail: str
    average_precision: float | None
    card_precision: float | None
    roc_auc: float | None
    candidate_gain: PairedInterval


class Baselines(_Model):
    """The fitted baselines, as plain JSON-able values.

    `one_rule` is None where the profile has no numeric feature.
    """

    one_rule: OneRule | None
    logistic: LogisticBaseline

    @model_validator(mode="after")
    def _rule_ranks_by_a_number_that_there_is(self) -> Self:
        numeric = self.logistic.encoder.numeric
        if self.one_rule is not None and self.one_rule.feature not in numeric:
            raise ValueError(
                f"the rule ranks by {self.one_rule.feature}, which is not among the numbers "
                f"{', '.join(numeric)}"
            )
        return self

    def scores(self, frame: pl.DataFrame) -> dict[str, Floats]:
        """Finite scores of shape (rows,) by the baseline's name. They rank, and no more.

        Raises:
            MissingFeaturesError: the frame lacks a column that the baselines were fitted on.
        """
        encoder = self.logistic.encoder
        matrix = encoder.encode(frame)
        found: dict[str, Floats] = {}
        if self.one_rule is not None:
            column = matrix[:, encoder.columns.index(self.one_rule.feature)]
            found[ONE_RULE] = _rule_scores(column, self.one_rule.direction)
        found[LOGISTIC] = self.logistic.margins(matrix)
        return found

    def details(self) -> dict[str, str]:
        """What each baseline is, in words, by its name."""
        rule = {ONE_RULE: str(self.one_rule)} if self.one_rule is not None else {}
        return {**rule, LOGISTIC: str(self.logistic)}


def fit_baselines(
    train: pl.DataFrame,
    numeric: Sequence[str],
    categorical: Sequence[str],
    *,
    threads: int,
    seed: int,
    max_rows: int = 100_000,
) -> Baselines:
    """Fit the baselines on labelled rows of training days.

    The rule is the numeric feature whose ranking, upwards or downwards, has the best average
    precision (equal ones: the earlier feature, upwards). Of more than `max_rows` rows, legitimate
    ones are thinned at random and weighted up, see `dataset.thin_negatives`: a coefficient per
    feature needs no more.

    Args:
        train: features and `label` (0/1).
        numeric: numeric features.
        categorical: categorical features; the rule cannot use them.
        threads: threads of the fit; does not change the result.
        seed: of the thinning and the fit.
        max_rows: most rows to fit on, unless there are more frauds than half of it.

    Raises:
        ValueError: the rows do not hold both classes.
        MissingFeaturesError: a feature is not among the columns.
    """
    encoder = fit_encoder(train, numeric, categorical)
    label = train.get_column(LABEL).to_numpy()
    frauds = int(label.sum())
    if frauds in (0, label.size):
        raise ValueError(
            f"{frauds} frauds among {label.size} training rows: baselines need frauds and "
            "legitimate rows; train on more days"
        )
    choices = TrainingChoices(max_train_rows=max_rows, imbalance="none", seed=seed)
    rows = rows_to_fit(train, encoder, choices)
    estimator = LogisticRegressionEstimator()
    estimator.fit(
        rows, None, {}, rounds=1, seed=seed, threads=threads, feature_names=encoder.columns
    )
    regression = LinearModel.model_validate_json(estimator.to_json())
    return Baselines(
        one_rule=_best_rule(rows, encoder.numeric),
        logistic=LogisticBaseline(encoder=encoder, regression=regression),
    )


def evaluate_baselines(
    baselines: Baselines,
    candidate: pl.DataFrame,
    *,
    known_by_day: KnownPayers | None,
    alert_budget_per_day: int,
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 7,
) -> tuple[BaselineEvaluation, ...]:
    """Judge the baselines on the candidate's rows, and the candidate's gain over each.

    Args:
        baselines: fitted on the candidate's training days.
        candidate: features, `day`, `label`, `amount`, `payer_id`, and the candidate's `score`.
        known_by_day: payers known before each day, left out; None leaves none out.
        alert_budget_per_day: the k of card precision.
        samples: resamplings of the days.
        confidence: of the two-sided interval of the gain.
        seed: of the resampling.
    """
    rows = without_known_payers(candidate, known_by_day)
    label, details = rows.get_column(LABEL).to_numpy(), baselines.details()
    found = []
    for name, score in baselines.scores(rows).items():
        # Baselines have no threshold, so nobody is alerted, and the gain in money is not used.
        paired = rows.with_columns(
            pl.col(SCORE).alias("score_a"),
            pl.Series("score_b", score),
            pl.lit(value=False).alias("decision_a"),
            pl.lit(value=False).alias("decision_b"),
        )
        gains = paired_day_bootstrap(
            paired, samples=samples, seed=seed, confidence=confidence, review_cost=0.0,
            loss_share=0.0,
        )  # fmt: skip
        ranked = rows.with_columns(pl.Series(SCORE, score))
        found.append(
            BaselineEvaluation(
                name=name,
                detail=details[name],
                average_precision=metrics.average_precision(label, score),
                card_precision=metrics.card_precision_at_k(ranked, alert_budget_per_day).value,
                roc_auc=metrics.roc_auc(label, score),
                candidate_gain=gains.average_precision,
            )
        )
    return tuple(found)


def rule_average_precision(judged: Iterable[BaselineEvaluation]) -> float | None:
    """Average precision of the one rule on the gate days; None: not judged, or not computable."""
    return next((one.average_precision for one in judged if one.name == ONE_RULE), None)


def _best_rule(rows: LabelledMatrix, numeric: Sequence[str]) -> OneRule | None:
    weight = np.ones(rows.label.size) if rows.weight is None else rows.weight
    found: OneRule | None = None
    for position, name in enumerate(numeric):
        for direction in _SIGNS:
            score = _rule_scores(rows.matrix[:, position], direction)
            precision = _weighted_average_precision(rows.label, score, weight)
            if found is None or precision > found.average_precision:
                found = OneRule(feature=name, direction=direction, average_precision=precision)
    return found


def _rule_scores(column: npt.NDArray[np.float32], direction: Literal["up", "down"]) -> Floats:
    value = _SIGNS[direction] * column.astype(np.float64)
    return np.where(np.isnan(value), MISSING_SCORE, value)


def _weighted_average_precision(
    label: npt.NDArray[Any], score: Floats, weight: npt.NDArray[Any]
) -> float:
    """`metrics.average_precision` of rows that each stand for `weight` rows."""
    ends, order = metrics.tie_groups(score)
    ranked = weight[order].astype(np.float64)
    seen = np.cumsum(ranked)[ends]
    caught = np.cumsum(ranked * (label[order] == 1))[ends]
    return float(np.sum(np.diff(caught, prepend=0.0) * caught / seen) / caught[-1])
