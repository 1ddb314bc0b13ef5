"""What is XGBoost's own."""

from __future__ import annotations

import numpy as np

from fraud_assets.modeling.estimators import LabelledMatrix, XGBoostEstimator


def test_the_names_of_the_features_stand_in_the_file(sample, tmp_path):
    estimator = XGBoostEstimator()
    names = ["amount", "risk", "count", "ratio", "kind"]

    estimator.fit(sample(300, 1), None, {}, rounds=2, seed=1, threads=1, feature_names=names)
    estimator.save(tmp_path / "model.ubj")

    content = (tmp_path / "model.ubj").read_bytes()
    assert all(name.encode() in content for name in names)


def test_a_fit_that_was_watched_leaves_the_same_file_as_one_of_its_rounds(sample, tmp_path):
    rows, contents = sample(500, 1), []
    estimator = XGBoostEstimator()
    kept = estimator.fit(rows, sample(500, 2), {}, rounds=200, seed=1, threads=1)
    for watched, rounds in ((sample(500, 2), 200), (None, kept)):
        estimator.fit(rows, watched, {}, rounds=rounds, seed=1, threads=1)
        estimator.save(tmp_path / "model.ubj")
        contents.append((tmp_path / "model.ubj").read_bytes())

    assert kept < 200
    assert contents[0] == contents[1]


def test_rows_are_binned_once_per_number_of_bins(sample):
    rows, watched = sample(300, 1), sample(300, 2)
    for max_bin in (256, 512, 256, 512):
        XGBoostEstimator().fit(rows, watched, {"max_bin": max_bin}, rounds=2, seed=1, threads=1)

    assert list(rows.prepared) == [("xgboost quantiles", 256), ("xgboost quantiles", 512)]
    assert list(watched.prepared) == ["xgboost plain"]


def test_fraud_in_the_far_tail_needs_the_many_bins_of_the_defaults():
    rng = np.random.default_rng(1)
    matrix = rng.random((40_000, 1)).astype(np.float32)
    label = ((matrix[:, 0] > 0.999) & (rng.random(40_000) < 0.9)).astype(np.int8)
    rows = LabelledMatrix(matrix, label)

    def apart(params: dict[str, int]) -> float:
        estimator = XGBoostEstimator()
        estimator.fit(rows, None, params, rounds=20, seed=1, threads=1)
        low, high = estimator.margin(np.array([[0.9985], [0.9995]], dtype=np.float32))
        return float(high - low)

    assert apart({}) > 3
    assert apart({"max_bin": 64}) < 0.1
