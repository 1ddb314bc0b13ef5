"""What is LightGBM's own."""

from __future__ import annotations

import warnings

import numpy as np

from fraud_assets.modeling.estimators import LabelledMatrix, LightGBMEstimator

NAMES = ["amount", "risk", "count", "ratio", "kind"]


def test_the_file_is_text_with_the_names_and_without_the_threads(sample, tmp_path):
    estimator = LightGBMEstimator()

    estimator.fit(sample(300, 1), None, {}, rounds=2, seed=1, threads=2, feature_names=NAMES)
    estimator.save(tmp_path / "model.txt")

    text = (tmp_path / "model.txt").read_text("utf-8")
    assert f"feature_names={' '.join(NAMES)}" in text
    assert "[num_threads: 0]" in text


def test_only_the_rounds_that_are_kept_are_saved(sample, tmp_path):
    estimator = LightGBMEstimator()

    kept = estimator.fit(
        sample(1_000, 1), sample(500, 2), {"learning_rate": 0.5}, rounds=300, seed=1, threads=1
    )
    estimator.save(tmp_path / "model.txt")

    assert kept < 60
    assert (tmp_path / "model.txt").read_text("utf-8").count("\nTree=") == kept


def test_rows_are_binned_once_and_the_watched_ones_alike_without_a_warning(sample):
    rows, watched = sample(300, 1), sample(300, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for leaves, smallest in ((6, 5), (20, 50)):
            LightGBMEstimator().fit(
                rows,
                watched,
                {"num_leaves": leaves, "min_data_in_leaf": smallest},
                rounds=2,
                seed=leaves,
                threads=1,
                monotone=[1, 0, 0, 0, 0] if leaves == 6 else None,
            )

    assert list(rows.prepared) == [("lightgbm bins", 1024, None)]
    assert len(watched.prepared) == 1


def test_rows_are_sampled_by_the_seed(sample):
    rows = sample(500, 1)
    margins = []
    for seed in (1, 2):
        estimator = LightGBMEstimator()
        estimator.fit(rows, None, {"bagging_fraction": 0.6}, rounds=5, seed=seed, threads=1)
        margins.append(estimator.margin(rows.matrix))

    assert not np.array_equal(*margins)


def test_watched_rows_are_binned_again_for_other_training_rows(sample):
    watched = sample(500, 2)
    told: dict[str, list[float]] = {"alone": [], "after another": []}
    for key, before in (("alone", None), ("after another", sample(400, 5))):
        rows = LabelledMatrix(watched.matrix, watched.label)
        if before is not None:
            shifted = LabelledMatrix(before.matrix * 1_000, before.label)
            LightGBMEstimator().fit(shifted, rows, {}, rounds=2, seed=1, threads=1)
        LightGBMEstimator().fit(
            sample(400, 1), rows, {}, rounds=5, seed=1, threads=1,
            on_round=lambda _, value, key=key: told[key].append(value),
        )  # fmt: skip

    assert told["after another"] == told["alone"]


def test_many_rows_give_the_same_model_with_one_thread_and_with_several(tmp_path):
    rng = np.random.default_rng(2)
    matrix = rng.lognormal(0, 2, (30_000, 12)).astype(np.float32)
    label = (np.log(matrix[:, 0] * matrix[:, 1]) + rng.normal(size=30_000) > 5).astype(np.int8)
    weight = rng.choice([1.0, 7.3], 30_000).astype(np.float32)
    contents = []
    for threads in (1, 3):
        estimator = LightGBMEstimator()
        rows = LabelledMatrix(matrix, label, weight)
        estimator.fit(
            rows, None, {"bagging_fraction": 0.7, "num_leaves": 40},
            rounds=10, seed=1, threads=threads,
        )  # fmt: skip
        estimator.save(tmp_path / "model.txt")
        contents.append((tmp_path / "model.txt").read_bytes())

    assert contents[0] == contents[1]
