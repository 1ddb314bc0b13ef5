"""That XGBoost's parallel trees are a forest that averages shares of fraud."""

from __future__ import annotations

import numpy as np
import pytest

from fraud_assets.modeling.estimators import LabelledMatrix, RandomForestEstimator
from fraud_assets.modeling.metrics import average_precision

WHOLE = {"max_samples": 1.0, "max_features": 1.0}


def fitted(rows: LabelledMatrix, **params: float) -> RandomForestEstimator:
    forest = RandomForestEstimator()
    forest.fit(rows, None, params, rounds=1, seed=7, threads=1)
    return forest


@pytest.mark.parametrize("weighted", [False, True])
def test_a_leafs_margin_is_an_affine_function_of_its_share_of_fraud(sample, weighted):
    given = sample(2_000, 1)
    weight = np.random.default_rng(3).choice([1, 2, 5], 2_000) if weighted else np.ones(2_000)
    rows = LabelledMatrix(given.matrix, given.label, weight.astype(np.float32))

    margin = fitted(rows, n_estimators=1, max_depth=4, **WHOLE).margin(rows.matrix)

    leaves = np.unique(margin)
    assert leaves.size > 8
    for leaf in leaves:
        inside = margin == leaf
        share = np.average(rows.label[inside], weights=weight[inside])
        assert leaf == pytest.approx(4 * (share - 0.5), abs=1e-5)


def impurity(share: np.ndarray) -> float:
    """Gini impurity of a partition of the rows whose parts have `share` of fraud."""
    return float(np.mean(2 * share * (1 - share)))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_its_splits_are_those_of_the_gini_impurity(sample, depth, seed):
    from sklearn.tree import DecisionTreeClassifier

    rows = sample(500, seed)
    matrix = np.nan_to_num(rows.matrix)
    filled = LabelledMatrix(matrix, rows.label)
    tree = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=4, random_state=0)
    theirs = tree.fit(matrix, rows.label).predict_proba(matrix)[:, 1]

    ours = fitted(filled, n_estimators=1, max_depth=depth, **WHOLE).margin(matrix) / 4 + 0.5

    # Splits may be equally good, so the partitions are compared by how pure they are.
    assert impurity(ours) == pytest.approx(impurity(theirs), rel=1e-4)
    assert impurity(ours) < impurity(np.full(500, rows.label.mean())) - 0.01


def test_a_forests_margin_is_the_mean_over_its_trees(sample):
    rows = sample(2_000, 1)

    one = fitted(rows, n_estimators=1, **WHOLE).margin(rows.matrix)
    many_alike = fitted(rows, n_estimators=7, **WHOLE).margin(rows.matrix)
    forest = fitted(rows, n_estimators=50).margin(rows.matrix)

    np.testing.assert_allclose(many_alike, one, atol=1e-5)
    assert not np.allclose(forest, one, atol=0.1)
    assert forest.min() >= -2 - 1e-5
    assert forest.max() <= 2 + 1e-5


def test_it_ranks_as_well_as_scikit_learns_forest():
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(6)
    matrix = rng.lognormal(0, 1, (8_000, 8)).astype(np.float32)
    logit = 2 * np.log(matrix[:, 0]) + np.log(matrix[:, 1]) * np.log(matrix[:, 2]) - 5
    label = (rng.random(8_000) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    early, late = slice(0, 4_000), slice(4_000, 8_000)

    ours = fitted(LabelledMatrix(matrix[early], label[early])).margin(matrix[late])
    theirs = RandomForestClassifier(100, min_samples_leaf=4, random_state=7)
    theirs.fit(matrix[early], label[early])
    reached = average_precision(label[late], ours)
    expected = average_precision(label[late], theirs.predict_proba(matrix[late])[:, 1])

    assert expected > 5 * label.mean()
    assert reached == pytest.approx(expected, abs=0.03)


def test_no_leaf_is_smaller_than_asked_for(sample):
    rows = sample(1_000, 1)

    margin = fitted(rows, n_estimators=1, min_samples_leaf=40, **WHOLE).margin(rows.matrix)

    assert np.unique(margin, return_counts=True)[1].min() >= 40


def test_rounds_mean_nothing_to_it(sample):
    rows = sample(500, 1)
    margins = []
    for rounds in (1, 50):
        forest = RandomForestEstimator()
        kept = forest.fit(rows, None, {"n_estimators": 5}, rounds=rounds, seed=1, threads=1)
        assert kept == 1
        margins.append(forest.margin(rows.matrix))

    np.testing.assert_array_equal(*margins)
