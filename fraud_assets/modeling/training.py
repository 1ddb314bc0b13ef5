"""Trains a candidate: tune on a fold in time, calibrate, choose the threshold, refit.

Which days are used comes from `splits`, which rows from `dataset`. Whether the candidate is any
good is decided by `gate` on days that nothing here touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.modeling import metrics
from fraud_assets.modeling.calibration import Calibrator, choose_calibrator
from fraud_assets.modeling.decision import DecisionPolicy, choose_policy
from fraud_assets.modeling.encoding import FeatureEncoder, fit_encoder
from fraud_assets.modeling.estimator import Estimator, LabelledMatrix, make_estimator
from fraud_assets.modeling.manifest import DayWindow, ModelManifest, reference_window
from fraud_assets.modeling.splits import SplitPlan
from fraud_assets.modeling.tuning import OnTrial, tune
from fraud_assets.transactions.columns import AMOUNT, DAY, LABEL, PAYER, SCORE
from fraud_assets.transactions.profile import Profile

WATCHED_PART: Final = 4
"""Rows that early stopping measures, as a part of the rows that may be trained on."""

MIN_VALIDATION_POSITIVES: Final = 5
"""On fewer frauds a threshold and a calibration are accidents."""


class NotEnoughLabelsError(ValueError):
    """Too few frauds are known to learn from; carries the numbers and says what to do."""


@dataclass(frozen=True)
class Candidate:
    """A trained model that nobody has judged yet; `bundle.save_bundle` writes it to disk."""

    estimator: Estimator
    encoder: FeatureEncoder
    calibrator: Calibrator
    policy: DecisionPolicy
    manifest: ModelManifest
    trials: list[dict[str, Any]]


def train_candidate(
    rows: pl.DataFrame,
    split: SplitPlan,
    feature_names: tuple[Sequence[str], Sequence[str]],
    profile: Profile,
    *,
    threads: int,
    on_trial: OnTrial | None = None,
    lookback_days: int = 0,
    history_start: date | None = None,
    estimator_name: str = "xgboost",
) -> Candidate:
    """Train one candidate from labelled rows.

    The fold's model (fitted on `split.fold_train_days`) gives the parameters, the rounds, the
    calibration and the threshold on `split.validation_days`; the final model is refitted with them
    on `split.train_days`. The gate days are not read, even where `rows` holds them.

    Args:
        rows: features with `amount`, `payer_id`, `label` (0 or 1) and `day`, in the order of
            time; as `dataset.labelled_rows` gives them.
        split: the days.
        feature_names: numeric and categorical features, as in `FeatureSet`.
        profile: choices of training and decision.
        threads: threads for fitting; does not change the result.
        on_trial: told of every trial.
        lookback_days: the longest rolling window, for the reference of the drift report.
        history_start: first day of the history behind the features; default: the first train day.
        estimator_name: a key of `ESTIMATORS`.

    Raises:
        NotEnoughLabelsError: fewer frauds than `training.min_train_positives` on the fold's
            training days, or than `MIN_VALIDATION_POSITIVES` on the validation days.
        MissingFeaturesError: a feature is not among the columns.
    """
    training = profile.training
    fold_rows = _of_days(rows, split.fold_train_days)
    validation_rows = _of_days(rows, split.validation_days)
    train_rows = _of_days(rows, split.train_days)
    _check_labels(fold_rows, validation_rows, split, profile)

    fold_encoder = fit_encoder(fold_rows, *feature_names)
    validation = _labelled(validation_rows, fold_encoder)
    tuned = tune(
        estimator_name,
        _thinned(fold_rows, fold_encoder, training.max_train_rows, training.seed),
        validation,
        training,
        threads=threads,
        watched=_thinned(
            validation_rows, fold_encoder, training.max_train_rows // WATCHED_PART, training.seed
        ),
        feature_names=fold_encoder.columns,
        on_trial=on_trial,
    )
    margin = tuned.estimator.margin(validation.matrix)
    day = validation_rows.get_column(DAY).cast(pl.Int32).to_numpy()
    calibrator = choose_calibrator(margin, validation.label, day)
    score = calibrator.apply(margin)
    amount = validation_rows.get_column(AMOUNT).to_numpy()
    policy = choose_policy(
        score, validation.label, amount, len(split.validation_days), profile.decision
    )
    measured = _validation_metrics(validation_rows, score, policy, profile)

    encoder = fit_encoder(train_rows, *feature_names)
    final_rows = _thinned(train_rows, encoder, training.max_train_rows, training.seed)
    estimator = make_estimator(estimator_name)
    estimator.fit(
        final_rows,
        None,
        tuned.params,
        rounds=tuned.rounds,
        seed=training.seed,
        threads=threads,
        feature_names=encoder.columns,
    )
    reference, warm = reference_window(
        split.train_days, history_start or split.train_days[0], lookback_days
    )
    manifest = ModelManifest(
        profile=profile.name,
        estimator=estimator_name,
        features={name: str(train_rows.schema[name]) for name in encoder.columns},
        trained_as_of=split.day,
        label_delay_days=split.label_delay_days,
        train_window=DayWindow.of(split.train_days),
        fold_train_window=DayWindow.of(split.fold_train_days),
        validation_window=DayWindow.of(split.validation_days),
        gate_window=DayWindow.of(split.gate_days),
        lookback_days=lookback_days,
        reference_window=reference,
        reference_is_warm=warm,
        train_rows=train_rows.height,
        train_rows_used=final_rows.label.size,
        train_positives=int(train_rows.get_column(LABEL).sum()),
        validation_rows=validation_rows.height,
        validation_positives=int(validation_rows.get_column(LABEL).sum()),
        params=tuned.params,
        rounds=tuned.rounds,
        trials=len(tuned.trials),
        seed=training.seed,
        policy_version=policy.version,
        metrics=measured,
        typical_values=typical_values(train_rows, encoder),
        versions=_versions(),
    )
    return Candidate(estimator, encoder, calibrator, policy, manifest, tuned.trials)


def thin_negatives(
    label: npt.NDArray[Any], max_rows: int, seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]] | None:
    """Positions to keep, in order, and their weights, so that at most `max_rows` remain.

    Every fraud is kept. Legitimate rows are drawn at random and weigh as many as they stand for,
    so that the probabilities stay those of all rows (undersampling without weights shifts them,
    Dal Pozzolo et al. 2015). At least as many legitimate rows as frauds are kept, even beyond
    `max_rows`. None where nothing has to go.
    """
    if label.size <= max_rows:
        return None
    frauds, legitimate = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    kept = min(max(max_rows - frauds.size, frauds.size), legitimate.size)
    drawn = np.random.default_rng(seed).choice(legitimate, kept, replace=False)
    rows = np.sort(np.concatenate([frauds, drawn]))
    weight = np.where(label[rows] == 1, 1.0, legitimate.size / max(kept, 1)).astype(np.float32)
    return rows, weight


def typical_values(rows: pl.DataFrame, encoder: FeatureEncoder) -> dict[str, float | str | None]:
    """Per feature the median, or the most frequent category; None where all are missing."""
    medians = rows.select(pl.col(name).cast(pl.Float64).median() for name in encoder.numeric)
    frequent = {name: next(iter(words), None) for name, words in encoder.vocabularies.items()}
    return {**(medians.row(0, named=True) if encoder.numeric else {}), **frequent}


def _of_days(rows: pl.DataFrame, days: Sequence[date]) -> pl.DataFrame:
    return rows.filter(pl.col(DAY).is_between(days[0], days[-1]))


def _labelled(rows: pl.DataFrame, encoder: FeatureEncoder) -> LabelledMatrix:
    return LabelledMatrix(encoder.encode(rows), rows.get_column(LABEL).to_numpy())


def _thinned(
    rows: pl.DataFrame, encoder: FeatureEncoder, max_rows: int, seed: int
) -> LabelledMatrix:
    label = rows.get_column(LABEL).to_numpy()
    chosen = thin_negatives(label, max_rows, seed)
    if chosen is None:
        return _labelled(rows, encoder)
    kept, weight = chosen
    return LabelledMatrix(encoder.encode(rows[kept]), label[kept], weight)


def _check_labels(
    fold: pl.DataFrame, validation: pl.DataFrame, split: SplitPlan, profile: Profile
) -> None:
    for what, days, frame, needed, remedy in (
        (
            "fold's training days", split.fold_train_days, fold,
            profile.training.min_train_positives,
            "lengthen training.window_days, lower training.min_train_positives",
        ),
        (
            "validation days", split.validation_days, validation, MIN_VALIDATION_POSITIVES,
            "lengthen training.validation_days",
        ),
    ):  # fmt: skip
        frauds = int(frame.get_column(LABEL).sum())
        if frauds < needed or frauds == frame.height:
            raise NotEnoughLabelsError(
                f"cannot train as of {split.day}: {frauds} known frauds among {frame.height} "
                f"labelled rows on the {what} {days[0]} to {days[-1]}, at least {needed} and some "
                f"legitimate rows are needed; {remedy}, or train on a later day"
            )


def _validation_metrics(
    rows: pl.DataFrame, score: npt.NDArray[np.float64], policy: DecisionPolicy, profile: Profile
) -> dict[str, float | None]:
    label, amount = rows.get_column(LABEL).to_numpy(), rows.get_column(AMOUNT).to_numpy()
    budget = profile.decision.alert_budget_per_day
    cards = None
    if PAYER in rows.columns:
        cards = metrics.card_precision_at_k(rows.with_columns(pl.Series(SCORE, score)), budget)
    money = (profile.decision.review_cost, profile.decision.loss_share)
    counts = metrics.confusion_at_threshold(label, score, policy.threshold)
    return {
        "average_precision": metrics.average_precision(label, score),
        "roc_auc": metrics.roc_auc(label, score),
        "brier": metrics.brier(label, score),
        "calibration_error": metrics.expected_calibration_error(label, score),
        "recall_at_budget": metrics.recall_at_budget(
            label, score, rows.get_column(DAY).cast(pl.Int32).to_numpy(), budget
        ),
        "card_precision": cards.value if cards else None,
        "card_precision_ceiling": cards.achievable if cards else None,
        "alert_precision": counts.precision,
        "alert_recall": counts.recall,
        "savings": metrics.savings(label, amount, policy.alerts(score), *money),
    }


def _versions() -> dict[str, str]:
    names = ("fraud-assets", "numpy", "optuna", "polars", "xgboost-cpu", "xgboost")
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # xgboost comes under one of two names, the project may run from a checkout
    return found
