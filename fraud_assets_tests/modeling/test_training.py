"""Training a candidate end to end, on small days."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from fraud_assets.modeling.calibration import CalibrationError
from fraud_assets.modeling.decision import NEVER
from fraud_assets.modeling.encoding import MissingFeaturesError
from fraud_assets.modeling.estimator import LabelledMatrix, XGBoostEstimator
from fraud_assets.modeling.manifest import DayWindow, reference_window
from fraud_assets.modeling.splits import SplitPlan
from fraud_assets.modeling.training import (
    Candidate,
    NotEnoughLabelsError,
    thin_negatives,
    train_candidate,
)
from fraud_assets.transactions.profile import Profile


def with_training(profile: Profile, **choices: object) -> Profile:
    return profile.model_copy(update={"training": profile.training.model_copy(update=choices)})


def test_the_manifest_says_what_the_model_was_made_from(
    candidate: Candidate, labelled: pl.DataFrame, split: SplitPlan
) -> None:
    manifest = candidate.manifest
    train = labelled.filter(pl.col("day").is_in(split.train_days))

    assert manifest.feature_names == candidate.encoder.columns
    assert manifest.features["amount"] == "Float64"
    assert manifest.features["kind"] == "String"
    assert manifest.train_window == DayWindow(first=split.train_days[0], last=split.train_days[-1])
    assert manifest.validation_window == DayWindow.of(split.validation_days)
    assert manifest.gate_window == DayWindow.of(split.gate_days)
    assert manifest.trained_as_of == split.day
    assert manifest.train_rows == manifest.train_rows_used == train.height
    assert manifest.train_positives == train["label"].sum()
    assert manifest.policy_version == candidate.policy.version
    assert manifest.rounds == candidate.trials[0]["rounds"] or manifest.trials > 1
    assert manifest.typical_values["amount"] == train["amount"].median()
    assert manifest.typical_values["kind"] == "PAYMENT"
    assert manifest.versions["xgboost-cpu"] or manifest.versions["xgboost"]


def test_the_validation_metrics_are_those_of_a_model_that_learnt(candidate: Candidate) -> None:
    values = candidate.manifest.metrics
    prevalence = candidate.manifest.validation_positives / candidate.manifest.validation_rows

    assert values["average_precision"] > 3 * prevalence
    assert values["calibration_error"] < 0.02
    assert values["savings"] > 0.2
    assert values["card_precision"] <= values["card_precision_ceiling"]


def test_the_threshold_is_chosen_and_not_one_half(candidate: Candidate) -> None:
    policy = candidate.policy

    assert policy.threshold not in (0.5, NEVER)
    assert 0 < policy.alerts_per_day <= policy.alert_budget_per_day
    assert policy.validation_cost < policy.validation_cost_without_alerts
    assert policy.validation_days == 3


def test_gate_days_change_nothing(
    candidate: Candidate, labelled: pl.DataFrame, split, feature_names, small_profile
) -> None:
    poisoned = labelled.with_columns(
        pl.when(pl.col("day") > split.train_days[-1])
        .then(1 - pl.col("label"))
        .otherwise(pl.col("label"))
        .cast(pl.Int8)
        .alias("label")
    )
    without = labelled.filter(pl.col("day") <= split.train_days[-1])

    for rows in (poisoned, without):
        again = train_candidate(rows, split, feature_names, small_profile, threads=1)
        assert again.policy == candidate.policy
        assert again.calibrator == candidate.calibrator
        assert again.manifest == candidate.manifest


def test_every_trial_is_told(labelled, split, feature_names, small_profile) -> None:
    told: list[int] = []

    found = train_candidate(
        labelled, split, feature_names, small_profile, threads=1,
        on_trial=lambda number, _params, _value: told.append(number),
    )  # fmt: skip

    assert told == [0, 1]
    assert found.manifest.trials == 2


def test_too_few_frauds_are_counted_and_a_remedy_is_named(
    labelled, split, feature_names, small_profile
) -> None:
    demanding = with_training(small_profile, min_train_positives=5_000)

    with pytest.raises(NotEnoughLabelsError, match=r"known frauds .* 5000 .*window_days"):
        train_candidate(labelled, split, feature_names, demanding, threads=1)


def test_validation_days_without_fraud_stop_the_training(
    labelled, split, feature_names, small_profile
) -> None:
    clean = labelled.with_columns(
        pl.when(pl.col("day").is_in(split.validation_days))
        .then(0)
        .otherwise(pl.col("label"))
        .cast(pl.Int8)
        .alias("label")
    )

    with pytest.raises(NotEnoughLabelsError, match=r"0 known frauds .*validation days"):
        train_candidate(clean, split, feature_names, small_profile, threads=1)


def test_days_without_any_labelled_row_stop_the_training(
    labelled, split, feature_names, small_profile
) -> None:
    with pytest.raises(NotEnoughLabelsError, match="0 known frauds among 0 labelled rows"):
        train_candidate(labelled.head(0), split, feature_names, small_profile, threads=1)


def test_an_absent_feature_is_named(labelled, split, feature_names, small_profile) -> None:
    with pytest.raises(MissingFeaturesError, match="payee_risk_7d"):
        train_candidate(
            labelled.drop("payee_risk_7d"), split, feature_names, small_profile, threads=1
        )


def test_a_category_of_the_validation_days_is_unknown_to_the_fold(
    labelled, split, feature_names, small_profile
) -> None:
    novel = labelled.with_columns(
        pl.when(pl.col("day") == split.validation_days[0])
        .then(pl.lit("NEW"))
        .otherwise(pl.col("kind"))
        .alias("kind")
    )

    found = train_candidate(novel, split, feature_names, small_profile, threads=1)

    assert "NEW" in found.encoder.vocabularies["kind"]  # of the refit, which may know those days


def test_thinning_keeps_every_fraud_and_the_weight_of_the_rest() -> None:
    label = (np.random.default_rng(1).random(10_000) < 0.02).astype(np.int8)

    rows, weight = thin_negatives(label, 2_000, seed=7)

    assert rows.size == 2_000
    assert (np.diff(rows) > 0).all()
    assert label[rows].sum() == label.sum()
    assert weight[label[rows] == 1].tolist() == [1.0] * int(label.sum())
    assert weight.sum() == pytest.approx(10_000, rel=1e-4)
    assert thin_negatives(label, 10_000, seed=7) is None
    np.testing.assert_array_equal(rows, thin_negatives(label, 2_000, seed=7)[0])


def test_thinning_never_leaves_frauds_alone() -> None:
    label = np.repeat(np.array([0, 1], dtype=np.int8), 100)

    rows, _ = thin_negatives(label, 50, seed=1)

    assert (label[rows] == 0).sum() == 100


def test_thinned_training_predicts_the_level_of_training_on_all_rows() -> None:
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(20_000, 3)).astype(np.float32)
    label = (rng.random(20_000) < 1 / (1 + np.exp(4 - matrix[:, 0]))).astype(np.int8)
    rows, weight = thin_negatives(label, 4_000, seed=7)

    def mean_score(train: LabelledMatrix) -> float:
        estimator = XGBoostEstimator()
        estimator.fit(train, None, {"max_depth": 2}, rounds=60, seed=1, threads=1)
        return float((1 / (1 + np.exp(-estimator.margin(matrix)))).mean())

    full = mean_score(LabelledMatrix(matrix, label))

    thinned = mean_score(LabelledMatrix(matrix[rows], label[rows], weight))
    unweighted = mean_score(LabelledMatrix(matrix[rows], label[rows]))

    assert thinned == pytest.approx(full, rel=0.05)
    assert unweighted > 2 * full


def test_a_limit_on_rows_is_written_into_the_manifest(
    labelled, split, feature_names, small_profile
) -> None:
    limited = with_training(small_profile, max_train_rows=1_000, trials=0)

    manifest = train_candidate(labelled, split, feature_names, limited, threads=1).manifest

    assert manifest.train_rows_used == 1_000 < manifest.train_rows


def test_the_reference_is_older_than_the_longest_window() -> None:
    days = [date(2025, 3, 1) + timedelta(days=i) for i in range(10)]

    window, warm = reference_window(days, date(2025, 3, 1), 7)

    assert (window.first, window.last, warm) == (date(2025, 3, 8), date(2025, 3, 10), True)
    assert reference_window(days, date(2025, 1, 1), 7)[0].first == days[0]
    assert reference_window(days, date(2025, 3, 1), 30) == (DayWindow.of(days[-1:]), False)


def test_calibration_errors_are_value_errors() -> None:
    assert issubclass(CalibrationError, ValueError)
