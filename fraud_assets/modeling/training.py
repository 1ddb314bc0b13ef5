"""Trains a candidate: search on folds in time, calibrate, choose the threshold, refit.

Which days are used comes from `splits`, which rows from `dataset`. Whether the candidate is any
good is decided by `gate` on days that nothing here touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.modeling import metrics
from fraud_assets.modeling.baselines import Baselines, fit_baselines
from fraud_assets.modeling.calibration import Calibrator, choose_calibrator
from fraud_assets.modeling.dataset import KnownPayers, without_known_payers
from fraud_assets.modeling.decision import DecisionPolicy, choose_policy
from fraud_assets.modeling.encoding import FeatureEncoder, fit_encoder
from fraud_assets.modeling.estimators import Estimator, make_estimator
from fraud_assets.modeling.explain import mean_contributions
from fraud_assets.modeling.manifest import (
    DayWindow,
    ModelManifest,
    library_versions,
    reference_window,
)
from fraud_assets.modeling.matrices import (
    FeatureNames,
    column_directions,
    day_numbers,
    fold_rows,
    known_before,
    needed_columns,
    of_days,
    rows_to_fit,
)
from fraud_assets.modeling.prequential import JudgedFold, fold_records
from fraud_assets.modeling.search.families import (
    FamilyChoice,
    families_of,
    search_families,
)
from fraud_assets.modeling.search.tuning import FoldRows, OnTrial, margin_to_calibrate
from fraud_assets.modeling.splits import FoldDays, SplitPlan
from fraud_assets.transactions.columns import AMOUNT, DAY, LABEL, PAYER, SCORE
from fraud_assets.transactions.profile import Profile, TrainingChoices

MIN_VALIDATION_POSITIVES: Final = 5
"""On fewer frauds a threshold and a calibration are accidents."""

IMPORTANCE_ROWS: Final = 500
"""Rows whose contributions say which features matter; a deep forest explains some thirty a second.
"""


class NotEnoughLabelsError(ValueError):
    """Too few frauds are known to learn from; carries the numbers and says what to do."""


@dataclass(frozen=True)
class Candidate:
    """A trained model that nobody has judged yet; `bundle.save_bundle` writes it to disk.

    `trials` are those of every family that was searched. `baselines` are what simple methods
    learnt from the same training days.
    """

    estimator: Estimator
    encoder: FeatureEncoder
    calibrator: Calibrator
    policy: DecisionPolicy
    manifest: ModelManifest
    baselines: Baselines
    trials: list[dict[str, Any]]


def train_candidate(
    rows: pl.DataFrame,
    split: SplitPlan,
    feature_names: FeatureNames,
    profile: Profile,
    *,
    threads: int,
    on_trial: OnTrial | None = None,
    lookback_days: int = 0,
    history_start: date | None = None,
    known_by_day: KnownPayers | None = None,
    study_folder: Path | None = None,
) -> Candidate:
    """Train one candidate from labelled rows.

    The folds give the family, the parameters and the rounds, and the newest fold the
    calibration and the threshold, on `split.validation_days`, by a model of as many rounds as the
    final one will have. The final model is refitted on
    `split.train_days`. The gate days are not read, even where `rows` holds them.

    Rows to be fitted on are thinned to `training.max_train_rows` and then rebalanced; validation
    rows never are. An older fold with too few frauds takes no part in the search, and the manifest
    shows it without metrics.

    Args:
        rows: features with `amount`, `payer_id`, `label` (0 or 1) and `day`, in the order of
            time; as `dataset.labelled_rows` gives them for `split.learning_days`.
        split: the days.
        feature_names: numeric and categorical features.
        profile: choices of training and decision.
        threads: threads for fitting; does not change the result.
        on_trial: told of every trial.
        lookback_days: the longest rolling window, for the reference of the drift report.
        history_start: first day of the history behind the features; default: the first train day.
        known_by_day: payers known to be compromised before each validation day, left out of it as
            they are at the gate; None leaves none out.
        study_folder: where the search is kept while it goes, a folder for this training alone: a
            second call with the same data and choices goes on where the first was interrupted. It
            is the caller's to remove, by `families.forget_searches`, once the candidate is safe.

    Raises:
        NotEnoughLabelsError: fewer frauds than `training.min_train_positives` on the newest fold's
            training days, or than `MIN_VALIDATION_POSITIVES` on its validation days.
        MissingFeaturesError: a feature is not among the columns.
        ValueError: `training.monotone` names something else than a numeric feature, or
            `training.estimator` cannot keep it.
    """
    training = profile.training
    monotone = column_directions(training.monotone, feature_names)
    rows = needed_columns(rows, feature_names)
    choice, judged, margin = _search(
        rows, split, feature_names, training, known_by_day,
        threads=threads, monotone=monotone, on_trial=on_trial, study_folder=study_folder,
    )  # fmt: skip
    tuned, newest = choice.chosen, judged[-1]
    validation_rows = newest.validation
    label = validation_rows.get_column(LABEL).to_numpy()
    calibrator = choose_calibrator(margin, label, day_numbers(validation_rows))
    score = calibrator.apply(margin)
    amount = validation_rows.get_column(AMOUNT).to_numpy()
    policy = choose_policy(score, label, amount, len(split.validation_days), profile.decision)

    train_rows = of_days(rows, split.train_days)
    encoder = fit_encoder(train_rows, *feature_names)
    final_rows = rows_to_fit(train_rows, encoder, training)
    estimator = make_estimator(tuned.family)
    estimator.fit(
        final_rows,
        None,
        tuned.params,
        rounds=tuned.rounds,
        seed=training.seed,
        threads=threads,
        feature_names=encoder.columns,
        monotone=monotone,
    )
    reference, warm = reference_window(
        split.train_days, history_start or split.train_days[0], lookback_days
    )
    manifest = ModelManifest(
        profile=profile.name,
        estimator=tuned.family,
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
        validation_positives=int(label.sum()),
        params=tuned.params,
        rounds=tuned.rounds,
        trials=len(choice.trials),
        seed=training.seed,
        training=training.model_dump(mode="json"),
        imbalance=training.imbalance,
        monotone=dict(training.monotone),
        folds=fold_records(
            judged,
            label_delay_days=split.label_delay_days,
            alert_budget_per_day=profile.decision.alert_budget_per_day,
        ),
        fold_average_precision=tuned.average_precision,
        fold_deviation=tuned.deviation,
        families=choice.table,
        param_importance=tuned.param_importance,
        feature_importance=mean_contributions(
            estimator,
            encoder.encode(_sample(validation_rows, IMPORTANCE_ROWS, training.seed)),
            encoder.columns,
        ),
        policy_version=policy.version,
        metrics=_validation_metrics(validation_rows, score, policy, profile),
        typical_values=typical_values(train_rows, encoder),
        versions=library_versions(),
    )
    baselines = fit_baselines(train_rows, *feature_names, threads=threads, seed=training.seed)
    return Candidate(estimator, encoder, calibrator, policy, manifest, baselines, choice.trials)


def typical_values(rows: pl.DataFrame, encoder: FeatureEncoder) -> dict[str, float | str | None]:
    """Per feature the median, or the most frequent category; None where all are missing."""
    medians = rows.select(pl.col(name).cast(pl.Float64).median() for name in encoder.numeric)
    frequent = {name: next(iter(words), None) for name, words in encoder.vocabularies.items()}
    return {**(medians.row(0, named=True) if encoder.numeric else {}), **frequent}


def _search(
    rows: pl.DataFrame,
    split: SplitPlan,
    feature_names: FeatureNames,
    training: TrainingChoices,
    known_by_day: KnownPayers | None,
    *,
    threads: int,
    monotone: Sequence[int] | None,
    on_trial: OnTrial | None,
    study_folder: Path | None,
) -> tuple[FamilyChoice, list[JudgedFold], npt.NDArray[Any]]:
    """Search on the folds. Their matrices are gone when it returns, before the final fit.

    Returns:
        What was found, every fold as judged, and the margins to calibrate and to set the threshold
        by.
    """
    frames: list[tuple[FoldDays, int, int, pl.DataFrame]] = []
    searched: dict[int, FoldRows] = {}
    for place, days in enumerate(split.folds):
        train = known_before(of_days(rows, days.train_days), days.validation_days[0])
        validation = without_known_payers(of_days(rows, days.validation_days), known_by_day)
        frames.append((days, train.height, int(train.get_column(LABEL).sum()), validation))
        lacking = _lacking_labels(train, validation, days, training)
        if lacking is None:
            searched[place] = fold_rows(train, validation, feature_names, training)
        elif days is split.folds[-1]:
            raise NotEnoughLabelsError(f"cannot train as of {split.day}: {lacking}")
    columns = [name for kind in feature_names for name in kind]
    choice = search_families(
        families_of(training),
        list(searched.values()),
        training,
        threads=threads,
        monotone=monotone,
        feature_names=columns,
        on_trial=on_trial,
        study_folder=study_folder,
    )
    margin = margin_to_calibrate(
        choice.chosen, searched[len(split.folds) - 1], training,
        threads=threads, monotone=monotone, feature_names=columns,
    )  # fmt: skip
    margins = {place: fit.margin for place, fit in zip(searched, choice.chosen.folds, strict=True)}
    judged = [JudgedFold(*frame, margins.get(place)) for place, frame in enumerate(frames)]
    return choice, judged, margin


def _sample(rows: pl.DataFrame, size: int, seed: int) -> pl.DataFrame:
    if rows.height <= size:
        return rows
    drawn = np.random.default_rng(seed).choice(rows.height, size, replace=False)
    return rows[np.sort(drawn)]


def _lacking_labels(
    train: pl.DataFrame, validation: pl.DataFrame, days: FoldDays, training: TrainingChoices
) -> str | None:
    """What a fold lacks to be searched on, and the remedy; None if nothing."""
    for what, slice_days, frame, needed, remedy in (
        (
            "fold's training days", days.train_days, train, training.min_train_positives,
            "lengthen training.window_days, lower training.min_train_positives",
        ),
        (
            "validation days", days.validation_days, validation, MIN_VALIDATION_POSITIVES,
            "lengthen training.validation_days",
        ),
    ):  # fmt: skip
        frauds = int(frame.get_column(LABEL).sum())
        if frauds < needed or frauds == frame.height:
            return (
                f"{frauds} known frauds among {frame.height} labelled rows on the {what} "
                f"{slice_days[0]} to {slice_days[-1]}, at least {needed} and some legitimate rows "
                f"are needed; {remedy}, or train on a later day"
            )
    return None


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
