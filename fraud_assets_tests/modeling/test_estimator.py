"""XGBoost behind the estimator protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fraud_assets.modeling.estimator import (
    ESTIMATORS,
    LabelledMatrix,
    XGBoostEstimator,
    make_estimator,
)
from fraud_assets.modeling.metrics import average_precision


def sample(n: int, seed: int) -> LabelledMatrix:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, 5)).astype(np.float32)
    logit = 2 * matrix[:, 0] + matrix[:, 1] * matrix[:, 2] - 3
    label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    matrix[rng.random((n, 5)) < 0.05] = np.nan
    return LabelledMatrix(matrix, label)


def fitted(threads: int = 1, seed: int = 7, rounds: int = 15) -> XGBoostEstimator:
    estimator = XGBoostEstimator()
    params = {"subsample": 0.7, "colsample_bytree": 0.7}
    estimator.fit(sample(3_000, 1), None, params, rounds=rounds, seed=seed, threads=threads)
    return estimator


def saved(estimator: XGBoostEstimator, path: Path) -> bytes:
    estimator.save(path)
    return path.read_bytes()


def test_the_same_data_and_seed_give_the_same_bytes_whatever_the_threads(tmp_path: Path) -> None:
    one = saved(fitted(threads=1), tmp_path / "one.ubj")

    assert saved(fitted(threads=1), tmp_path / "again.ubj") == one
    assert saved(fitted(threads=2), tmp_path / "threads.ubj") == one
    assert saved(fitted(seed=8), tmp_path / "seed.ubj") != one


def test_a_loaded_model_scores_as_the_saved_one(tmp_path: Path) -> None:
    estimator = fitted()
    estimator.save(tmp_path / "model.ubj")
    again = make_estimator("xgboost")
    again.load(tmp_path / "model.ubj", threads=1)
    later = sample(500, 2).matrix

    np.testing.assert_array_equal(again.margin(later), estimator.margin(later))
    assert again.feature_count == 5


def test_contributions_add_up_to_the_margin() -> None:
    estimator = fitted()
    later = sample(500, 2).matrix

    contributions = estimator.contributions(later)

    assert contributions.shape == (500, 6)
    np.testing.assert_allclose(contributions.sum(axis=1), estimator.margin(later), atol=1e-4)


def test_later_days_stop_the_training_at_their_best_round() -> None:
    train, validation = sample(1_000, 1), sample(1_000, 2)
    seen: list[float] = []
    estimator = XGBoostEstimator()

    kept = estimator.fit(
        train,
        validation,
        {"learning_rate": 0.5, "max_depth": 8},
        rounds=300,
        seed=1,
        threads=1,
        on_round=lambda _, value: seen.append(value),
    )

    assert kept == int(np.argmax(seen)) + 1
    assert kept < len(seen) < 300


def test_it_learns() -> None:
    later = sample(3_000, 2)

    value = average_precision(later.label, fitted().margin(later.matrix))

    assert value is not None
    assert value > 3 * later.label.mean()


def test_weights_stand_for_repeated_rows() -> None:
    rows = sample(400, 1)
    doubled = LabelledMatrix(np.repeat(rows.matrix, 2, axis=0), np.repeat(rows.label, 2))
    weighted = LabelledMatrix(rows.matrix, rows.label, np.full(400, 2, dtype=np.float32))
    margins = []
    for train in (doubled, weighted):
        estimator = XGBoostEstimator()
        estimator.fit(train, None, {}, rounds=5, seed=1, threads=1)
        margins.append(estimator.margin(rows.matrix))

    # The candidate splits may differ by a quantile, the probabilities hardly.
    assert np.abs(margins[0] - margins[1]).mean() < 0.05


def test_an_unknown_estimator_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="there are: xgboost"):
        make_estimator("perceptron")
    assert all(make().name == name for name, make in ESTIMATORS.items())


def test_scoring_before_fitting_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="neither fitted nor loaded"):
        XGBoostEstimator().margin(np.zeros((1, 2), dtype=np.float32))
    with pytest.raises(ValueError, match=r"use \.ubj"):
        fitted().save(tmp_path / "model.json")
