"""Scores transactions with a model, and makes the frame of predictions.

Only the use of a finished model belongs here. How features come about is `features`' business,
which model is in force `registry`'s. Scoring needs neither a store nor the training code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.modeling.calibration import Calibrator
from fraud_assets.modeling.decision import ALERT, PASS, DecisionPolicy
from fraud_assets.modeling.encoding import FeatureEncoder, MissingFeaturesError
from fraud_assets.modeling.estimators import Estimator
from fraud_assets.modeling.explain import mean_contributions, reason_codes
from fraud_assets.modeling.manifest import ModelManifest
from fraud_assets.transactions.columns import (
    AMOUNT,
    DECISION,
    EVENT_TIME,
    PAYER,
    REASONS,
    SCORE,
    TRANSACTION_ID,
)

THRESHOLD: Final = "threshold"
MODEL_VERSION: Final = "model_version"
MODEL_HASH: Final = "model_hash"


class Scorer(Protocol):
    """What can make predictions: a trained model or the rules."""

    @property
    def version(self) -> str:
        """The name that its predictions carry."""

    @property
    def model_hash(self) -> str:
        """Hash of everything that its scores depend on."""

    def score(self, features: pl.DataFrame) -> pl.DataFrame:
        """One row per row of `features`: `score`, `decision`, `threshold`."""

    def reasons(self, features: pl.DataFrame, k: int) -> list[list[str]]:
        """For each row, at least one and at most `k` sentences about why it is suspicious."""


@dataclass(frozen=True)
class FraudModel:
    """A verified model, ready to score; `bundle.load_bundle` makes one."""

    estimator: Estimator
    encoder: FeatureEncoder
    calibrator: Calibrator
    policy: DecisionPolicy
    manifest: ModelManifest
    version: str
    model_hash: str

    def probabilities(self, features: pl.DataFrame) -> npt.NDArray[np.float64]:
        """Calibrated probabilities of fraud, shape (rows,), inside (0, 1).

        Raises:
            MissingFeaturesError: the frame lacks a column that the model was trained on.
        """
        matrix = self.encoder.encode(features)
        if matrix.shape[0] == 0:
            return np.empty(0)
        return self.calibrator.apply(self.estimator.margin(matrix))

    def score(self, features: pl.DataFrame) -> pl.DataFrame:
        """`score` (Float64), `decision` ("alert" or "pass") and `threshold` (Float64) per row.

        Raises:
            MissingFeaturesError: the frame lacks a column that the model was trained on.
        """
        return decided(self.probabilities(features), self.policy.threshold)

    def reasons(self, features: pl.DataFrame, k: int = 3) -> list[list[str]]:
        """The `k` features that raised each row's score most, as sentences; see `explain`."""
        if features.is_empty():
            return []
        contributions = self.estimator.contributions(self.encoder.encode(features))
        return reason_codes(
            features.select(self.encoder.columns),
            contributions,
            self.manifest.typical_values,
            k,
        )

    def importance(self, features: pl.DataFrame) -> dict[str, float]:
        """Each feature's share of what the model says of these rows; see `mean_contributions`.

        Comparable with `manifest.feature_importance`, which is that of validation days.

        Raises:
            MissingFeaturesError: the frame lacks a column that the model was trained on.
        """
        matrix = self.encoder.encode(features)
        return mean_contributions(self.estimator, matrix, self.encoder.columns)


def decided(score: npt.NDArray[np.float64], threshold: float) -> pl.DataFrame:
    """The columns `score`, `decision` and `threshold` for scores of shape (rows,)."""
    return pl.DataFrame({SCORE: pl.Series(score, dtype=pl.Float64)}).with_columns(
        pl.when(pl.col(SCORE) >= threshold)
        .then(pl.lit(ALERT))
        .otherwise(pl.lit(PASS))
        .alias(DECISION),
        pl.lit(threshold, dtype=pl.Float64).alias(THRESHOLD),
    )


def score_day(
    model: Scorer, features: pl.DataFrame, *, reasons_for_alerts: bool = True, k: int = 3
) -> pl.DataFrame:
    """The predictions for a frame of features, row by row in its order.

    Args:
        model: a model or the rules.
        features: `transaction_id`, `event_time`, `payer_id`, `amount` and the model's features.
        reasons_for_alerts: whether alerts get their reasons; they take a few milliseconds per
            hundred alerts.
        k: most reasons of one alert.

    Returns:
        transaction_id, event_time, payer_id, amount, score, decision, threshold, reasons (a list,
        empty except for alerts), model_version, model_hash.

    Raises:
        MissingFeaturesError: the frame lacks a column.
    """
    identity = (TRANSACTION_ID, EVENT_TIME, PAYER, AMOUNT)
    absent = [name for name in identity if name not in features.columns]
    if absent:
        raise MissingFeaturesError(
            f"predictions need {', '.join(absent)}; the frame has {', '.join(features.columns)}"
        )
    scored = model.score(features)
    alerts = np.flatnonzero((scored.get_column(DECISION) == ALERT).to_numpy())
    sentences: list[list[str]] = []
    position = np.zeros(features.height, dtype=np.uint32)
    if reasons_for_alerts and alerts.size:
        sentences = model.reasons(features[alerts], k)
        position[alerts] = np.arange(1, alerts.size + 1)
    # Gathered from the few lists there are: a list for each row took six times the scoring.
    reasons = pl.Series(REASONS, [[], *sentences], dtype=pl.List(pl.String)).gather(position)
    return pl.concat([features.select(identity), scored], how="horizontal").with_columns(
        reasons,
        pl.lit(model.version).alias(MODEL_VERSION),
        pl.lit(model.model_hash).alias(MODEL_HASH),
    )
