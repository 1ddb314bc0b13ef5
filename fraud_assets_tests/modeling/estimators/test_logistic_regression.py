"""The preparation of the logistic regression, and the file that it is kept in."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from fraud_assets.modeling.estimators import LabelledMatrix, LogisticRegressionEstimator
from fraud_assets.modeling.estimators.logistic_regression import MAX_CODES
from fraud_assets.modeling.metrics import average_precision


def fitted(rows: LabelledMatrix, *names: str, **params: float) -> LogisticRegressionEstimator:
    estimator = LogisticRegressionEstimator()
    estimator.fit(rows, None, params, rounds=1, seed=1, threads=1, feature_names=names or None)
    return estimator


def columns_of(estimator: LogisticRegressionEstimator) -> list[dict]:
    return json.loads(estimator.to_json())["columns"]


def noisy(score: np.ndarray, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random(score.size) < 1 / (1 + np.exp(-score))).astype(np.int8)


def row(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float32)


def test_it_is_scikit_learns_regression_on_the_prepared_inputs():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(2_000, 2)).astype(np.float32)
    label = noisy(2 * matrix[:, 0] - 2)
    low, high = np.quantile(matrix.astype(float), [0.001, 0.999], axis=0)
    capped, log = np.clip(matrix, low, high), np.sign(matrix) * np.log1p(np.abs(matrix))
    inputs = StandardScaler().fit_transform(np.hstack([capped, log]))

    expected = LogisticRegression(C=0.1, tol=1e-8).fit(inputs, label).decision_function(inputs)

    margin = fitted(LabelledMatrix(matrix, label), C=0.1).margin(matrix)
    np.testing.assert_allclose(margin, expected, atol=1e-3)


def test_a_few_huge_amounts_do_not_hide_the_rest():
    rng = np.random.default_rng(2)
    amount = rng.lognormal(4, 1.5, 6_000).astype(np.float32)
    label = noisy(1.5 * np.log(amount) - 10)
    amount[::500] = 1e9
    matrix = amount[:, np.newaxis]

    margin = fitted(LabelledMatrix(matrix, label)).margin(matrix)

    usual = amount < 1e8
    assert average_precision(label[usual], margin[usual]) > 3 * label.mean()


def test_the_median_stands_in_for_a_missing_number_and_absence_has_its_own_weight():
    rng = np.random.default_rng(3)
    matrix = rng.normal(3, 1, size=(3_000, 2)).astype(np.float32)
    absent = rng.random(3_000) < 0.2
    matrix[absent, 1] = np.nan
    estimator = fitted(LabelledMatrix(matrix, noisy(3.0 * absent - 3)), "count", "ratio")
    count, ratio = columns_of(estimator)

    assert count["missing"] is None
    assert ratio["median"] == pytest.approx(np.nanmedian(matrix[:, 1]))
    assert ratio["missing"]["mean"] == pytest.approx(absent.mean())
    assert ratio["missing"]["coefficient"] == pytest.approx(3, abs=0.5)
    gap, median = estimator.margin(row(3, np.nan)), estimator.margin(row(3, ratio["median"]))
    assert gap - median == pytest.approx(ratio["missing"]["coefficient"], abs=1e-6)
    # Nothing was learnt about a missing count: it reads as the usual one.
    assert estimator.margin(row(np.nan, 3)) == estimator.margin(row(count["median"], 3))


def test_frequent_categories_have_a_term_each_and_rare_ones_none():
    rng = np.random.default_rng(4)
    code = np.minimum(rng.geometric(0.08, 6_000) - 1, 60).astype(np.float32)
    code[rng.random(6_000) < 0.02] = np.nan
    risky = np.isin(code, [1, 3])
    rows = LabelledMatrix(code[:, np.newaxis], noisy(4.0 * risky - 3), categorical=(0,))
    estimator = fitted(rows, "kind")

    (kind,) = columns_of(estimator)
    assert kind["kind"] == "category"
    assert len(kind["codes"]) == MAX_CODES
    margin = {code: float(estimator.margin(row(code))[0]) for code in (0, 1, 2, 3, 40, 59)}
    assert min(margin[1], margin[3]) > max(margin[0], margin[2]) + 2
    assert margin[40] == margin[59]  # an order that a number would have is not seen
    assert kind["missing"] is not None


def test_a_category_of_a_few_rows_does_not_escape_the_penalty():
    rng = np.random.default_rng(5)
    matrix = rng.normal(size=(5_000, 2)).astype(np.float32)
    matrix[:, 1] = 0
    matrix[:3, 1] = 1
    label = noisy(matrix[:, 0] - 2)
    label[:3] = 0

    rare = fitted(LabelledMatrix(matrix, label, categorical=(1,)))

    assert -2 < rare.margin(row(0, 1)) - rare.margin(row(0, 0)) < 0


def test_a_rare_flag_is_not_capped_away():
    rng = np.random.default_rng(6)
    matrix = np.zeros((8_000, 2), dtype=np.float32)
    matrix[:, 0] = rng.normal(size=8_000)
    matrix[:6, 1] = 1
    label = noisy(matrix[:, 0] - 4)
    label[:6] = 1
    estimator = fitted(LabelledMatrix(matrix, label), "amount", "flag")

    assert estimator.margin(row(0, 1)) > estimator.margin(row(0, 0)) + 1
    assert columns_of(estimator)[1]["log"] is None  # of two values it would be the same line


def test_rounding_gives_a_constant_number_no_spread():
    rng = np.random.default_rng(9)
    matrix = rng.normal(size=(1_000, 2)).astype(np.float32)
    matrix[:, 1] = 0.1
    weight = rng.random(1_000).astype(np.float32)

    _, constant = columns_of(fitted(LabelledMatrix(matrix, noisy(matrix[:, 0] - 2), weight)))

    assert constant["capped"] == {"mean": float(np.float32(0.1)), "scale": 1, "coefficient": 0}


def test_contributions_compare_a_row_with_the_mean_of_the_training_rows():
    rng = np.random.default_rng(7)
    matrix = rng.normal(5, 2, size=(2_000, 3)).astype(np.float32)
    weight = rng.choice([1.0, 4.0], 2_000).astype(np.float32)
    rows = LabelledMatrix(matrix, noisy(matrix[:, 0] - 7), weight)

    contributions = fitted(rows).contributions(matrix)

    np.testing.assert_allclose(np.average(contributions[:, :3], 0, weight), 0, atol=1e-6)


def test_a_stronger_penalty_flattens_the_slopes(sample):
    rows = sample(1_000, 1)

    assert np.std(fitted(rows, C=1e-3).margin(rows.matrix)) < 0.5 * np.std(
        fitted(rows, C=10.0).margin(rows.matrix)
    )


def test_many_rows_are_scored_in_chunks_as_they_are_alone(sample):
    rows = sample(1_000, 1)
    estimator = fitted(rows)
    many = np.tile(rows.matrix, (70, 1))

    np.testing.assert_array_equal(
        estimator.margin(many), np.tile(estimator.margin(rows.matrix), 70)
    )


def test_the_text_that_it_is_kept_in_gives_the_same_model(sample):
    rows = sample(500, 1)
    estimator, again = fitted(rows), LogisticRegressionEstimator()

    again.read_json(estimator.to_json())

    np.testing.assert_array_equal(again.margin(rows.matrix), estimator.margin(rows.matrix))
    assert again.to_json() == estimator.to_json()


@pytest.mark.parametrize(
    ("old", "new"),
    [('"scale": 1.0', '"scale": 0.0'), ('"base": ', '"base": "x", "was": '), ('"f0"', "3")],
)
def test_a_text_with_a_wrong_field_is_refused(sample, old, new):
    text = fitted(sample(500, 1)).to_json()
    assert old in text

    with pytest.raises(ValueError, match="LinearModel"):
        LogisticRegressionEstimator().read_json(text.replace(old, new, 1))


def test_a_matrix_of_another_width_is_refused(sample):
    estimator = fitted(sample(500, 1))

    with pytest.raises(ValueError, match=r"fitted on 5 features.*shape \(1, 4\)"):
        estimator.margin(row(1, 2, 3, 4))


def test_separable_rows_are_fitted_without_a_warning():
    matrix = np.linspace(-1, 1, 200, dtype=np.float32)[:, np.newaxis]
    label = (matrix[:, 0] > 0.5).astype(np.int8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        margin = fitted(LabelledMatrix(matrix, label), C=100.0).margin(matrix)

    assert np.isfinite(margin).all()
    assert average_precision(label, margin) == 1
