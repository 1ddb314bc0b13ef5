"""Training a candidate end to end, on small days."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraud_assets.modeling import metrics
from fraud_assets.modeling.bundle import save_bundle
from fraud_assets.modeling.calibration import CalibrationError
from fraud_assets.modeling.dataset import thin_negatives
from fraud_assets.modeling.decision import NEVER
from fraud_assets.modeling.encoding import MissingFeaturesError
from fraud_assets.modeling.estimators import ESTIMATORS, LabelledMatrix, XGBoostEstimator
from fraud_assets.modeling.explain import mean_contributions
from fraud_assets.modeling.manifest import DayWindow, reference_window
from fraud_assets.modeling.search.families import forget_searches
from fraud_assets.modeling.splits import SplitPlan
from fraud_assets.modeling.training import (
    IMPORTANCE_ROWS,
    Candidate,
    NotEnoughLabelsError,
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
    assert manifest.trials == len(candidate.trials) == 2
    assert manifest.estimator == "xgboost"
    assert manifest.imbalance == "none"
    assert manifest.monotone == {}
    (chosen,) = (t for t in candidate.trials if t["params"] == manifest.params)
    assert manifest.fold_average_precision == chosen["average_precision"]
    assert manifest.training["trials"] == 2
    assert manifest.typical_values["amount"] == train["amount"].median()
    assert manifest.typical_values["kind"] == "PAYMENT"
    assert {"lightgbm", "scikit-learn", "imbalanced-learn", "optuna"} <= set(manifest.versions)
    assert {"xgboost", "xgboost-cpu"} & set(manifest.versions)


def test_the_validation_metrics_are_those_of_a_model_that_learnt(candidate: Candidate) -> None:
    values = candidate.manifest.metrics
    prevalence = candidate.manifest.validation_positives / candidate.manifest.validation_rows

    assert values["average_precision"] > 3 * prevalence
    assert values["calibration_error"] < 0.02
    assert values["savings"] > 0.2
    assert values["card_precision"] <= values["card_precision_ceiling"]


def test_the_manifest_has_every_fold_with_its_own_metrics(
    candidate: Candidate, labelled: pl.DataFrame, split: SplitPlan
) -> None:
    manifest = candidate.manifest

    assert len(manifest.folds) == len(split.folds) == 3
    for record, days in zip(manifest.folds, split.folds, strict=True):
        train = labelled.filter(pl.col("day").is_in(days.train_days))
        validation = labelled.filter(pl.col("day").is_in(days.validation_days))
        assert record.train_window == DayWindow.of(days.train_days)
        assert record.validation_window == DayWindow.of(days.validation_days)
        assert (record.train_rows, record.train_positives) == (train.height, train["label"].sum())
        assert (record.rows, record.positives) == (validation.height, validation["label"].sum())
    values = [record.average_precision for record in manifest.folds]
    assert manifest.fold_average_precision == pytest.approx(np.mean(values))
    assert manifest.fold_deviation == pytest.approx(np.std(values, ddof=1))
    assert [record.brier is None for record in manifest.folds] == [True, True, False]


def test_features_that_tell_something_are_important_and_the_shares_sum_to_one(
    candidate: Candidate,
) -> None:
    shares = candidate.manifest.feature_importance

    assert set(shares) == set(candidate.encoder.columns)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert shares["is_night"] < 0.1 < shares["payee_risk_7d"]


def test_the_manifests_importance_is_that_of_a_sample_of_the_validation_days(
    candidate: Candidate, labelled: pl.DataFrame, split: SplitPlan
) -> None:
    rows = labelled.filter(pl.col("day").is_in(split.validation_days))
    matrix, names = candidate.encoder.encode(rows), candidate.encoder.columns

    shares = mean_contributions(candidate.estimator, matrix, names)

    assert rows.height > IMPORTANCE_ROWS
    assert candidate.manifest.feature_importance == pytest.approx(shares, abs=0.03)
    assert candidate.manifest.feature_importance != shares


@pytest.mark.parametrize("family", ESTIMATORS)
def test_the_same_data_and_seed_give_the_same_bundle_for_any_number_of_threads(
    family: str, labelled, split, feature_names, small_profile, tmp_path: Path
) -> None:
    chosen = with_training(small_profile, estimator=family)

    one, other = (
        train_candidate(labelled, split, feature_names, chosen, threads=threads)
        for threads in (1, 2)
    )

    assert one.manifest.estimator == family
    assert one.manifest.metrics["average_precision"] > 0.1
    assert save_bundle(one, tmp_path / "one") == save_bundle(other, tmp_path / "other")


def test_auto_searches_every_family_and_trains_the_best(
    labelled, split, feature_names, small_profile
) -> None:
    chosen = with_training(small_profile, estimator="auto", trials=1)
    told: list[int] = []

    found = train_candidate(
        labelled, split, feature_names, chosen, threads=1,
        on_trial=lambda number, _params, _value: told.append(number),
    )  # fmt: skip

    table = found.manifest.families
    assert tuple(row.family for row in table) == tuple(ESTIMATORS)
    best = max(table, key=lambda row: row.average_precision)
    assert best.chosen
    assert found.manifest.estimator == found.estimator.name == best.family
    assert found.manifest.fold_average_precision == best.average_precision
    assert told == [trial["number"] for trial in found.trials] == [0, 1, 2, 3]
    assert found.manifest.trials == 4


def test_a_directed_feature_moves_the_score_in_its_direction_only(
    labelled, split, feature_names, small_profile
) -> None:
    chosen = with_training(small_profile, monotone={"payee_risk_7d": 1, "amount": -1})

    found = train_candidate(labelled, split, feature_names, chosen, threads=1)

    assert found.manifest.monotone == {"payee_risk_7d": 1, "amount": -1}
    grid = pl.concat([labelled.head(1)] * 60)
    for name, low, high, direction in (
        ("payee_risk_7d", 0.0, 1.0, 1),
        ("amount", 1.0, 2_000.0, -1),
    ):
        rows = grid.with_columns(pl.Series(name, np.linspace(low, high, 60)))
        margin = found.estimator.margin(found.encoder.encode(rows))
        assert (np.diff(margin) * direction >= 0).all()


def test_a_direction_of_an_unknown_feature_is_refused_before_anything_is_fitted(
    labelled, split, feature_names, small_profile
) -> None:
    wrong = with_training(small_profile, monotone={"payee_risk": 1})

    with pytest.raises(ValueError, match=r"payee_risk, .*payee_risk_7d"):
        train_candidate(labelled, split, feature_names, wrong, threads=1)


@pytest.mark.parametrize("imbalance", ["class_weight", "undersample", "smote"])
def test_rebalancing_touches_training_rows_only_and_calibration_puts_it_right(
    imbalance: str, candidate: Candidate, labelled, split, feature_names, small_profile
) -> None:
    chosen = with_training(small_profile, imbalance=imbalance, frauds_per_legitimate=0.5)

    found = train_candidate(labelled, split, feature_names, chosen, threads=1)

    manifest, plain = found.manifest, candidate.manifest
    assert manifest.imbalance == imbalance
    assert (manifest.validation_rows, manifest.validation_positives) == (
        plain.validation_rows,
        plain.validation_positives,
    )
    assert [(fold.rows, fold.train_rows) for fold in manifest.folds] == [
        (fold.rows, fold.train_rows) for fold in plain.folds
    ]
    used = manifest.train_rows_used - plain.train_rows_used
    assert np.sign(used) == {"class_weight": 0, "undersample": -1, "smote": 1}[imbalance]
    rows = labelled.filter(pl.col("day").is_in(split.validation_days))
    margin = found.estimator.margin(found.encoder.encode(rows))
    as_it_is = metrics.calibration_ratio(rows["label"].to_numpy(), 1 / (1 + np.exp(-margin)))
    assert as_it_is > 2
    assert manifest.metrics["calibration_error"] < 0.02


def test_an_older_fold_with_too_few_frauds_takes_no_part_and_is_shown_without_metrics(
    candidate: Candidate, labelled, split, feature_names, small_profile
) -> None:
    oldest = split.folds[0].validation_days
    clean = labelled.with_columns(
        pl.when(pl.col("day").is_in(oldest)).then(0).otherwise(pl.col("label"))
        .cast(pl.Int8).alias("label")
    )  # fmt: skip

    manifest = train_candidate(clean, split, feature_names, small_profile, threads=1).manifest

    assert [fold.average_precision is None for fold in manifest.folds] == [True, False, False]
    assert (manifest.folds[0].rows, manifest.folds[0].positives) == (1_200, 0)
    assert manifest.families[0].folds == 2
    values = [fold.average_precision for fold in manifest.folds[1:]]
    assert manifest.fold_average_precision == pytest.approx(np.mean(values))


def test_payers_that_were_known_before_a_validation_day_are_left_out_of_it(
    candidate: Candidate, labelled, split, feature_names, small_profile
) -> None:
    days = [day for fold in split.folds for day in fold.validation_days]
    nobody = {day: pl.Series([], dtype=pl.String) for day in days}
    last = split.validation_days[-1]
    rows = labelled.filter(pl.col("day") == last)
    gone = rows["payer_id"].unique().sort().head(30)

    same = train_candidate(
        labelled, split, feature_names, small_profile, threads=1, known_by_day=nobody
    )
    fewer = train_candidate(
        labelled, split, feature_names, small_profile, threads=1,
        known_by_day={**nobody, last: gone},
    ).manifest  # fmt: skip

    assert same.manifest == candidate.manifest
    blocked = rows.filter(pl.col("payer_id").is_in(gone.to_list())).height
    assert blocked > 0
    assert fewer.validation_rows == candidate.manifest.validation_rows - blocked
    assert fewer.folds[-1].rows == candidate.manifest.folds[-1].rows - blocked
    assert fewer.folds[0].rows == candidate.manifest.folds[0].rows
    assert fewer.train_rows == candidate.manifest.train_rows


class InterruptedTrainingError(Exception):
    """Raised in the middle of a training."""


def test_an_interrupted_training_goes_on_and_its_search_is_kept_until_it_is_forgotten(
    candidate: Candidate, labelled, split, feature_names, small_profile, tmp_path: Path
) -> None:
    def interrupt(_number: int, _params: Any, _value: Any) -> None:
        raise InterruptedTrainingError

    told: list[int] = []
    arguments, folder = (labelled, split, feature_names, small_profile), tmp_path / "2025-03-16"
    with pytest.raises(InterruptedTrainingError):
        train_candidate(*arguments, threads=1, on_trial=interrupt, study_folder=folder)
    assert list(folder.iterdir())

    found = train_candidate(
        *arguments, threads=1, study_folder=folder,
        on_trial=lambda number, _params, _value: told.append(number),
    )  # fmt: skip

    assert told == [1]
    assert found.manifest == candidate.manifest
    assert list(folder.iterdir())  # registering it may fail yet
    forget_searches(folder)
    assert list(tmp_path.iterdir()) == []


def test_the_baselines_are_fitted_on_the_training_days(
    candidate: Candidate, labelled: pl.DataFrame, split: SplitPlan
) -> None:
    rows = labelled.filter(pl.col("day").is_in(split.validation_days))

    scores = candidate.baselines.scores(rows)

    assert set(scores) == {"one rule", "logistic regression"}
    assert candidate.baselines.one_rule.feature in candidate.encoder.numeric
    for score in scores.values():
        value = metrics.average_precision(rows["label"].to_numpy(), score)
        assert value > 2 * rows["label"].mean()


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
