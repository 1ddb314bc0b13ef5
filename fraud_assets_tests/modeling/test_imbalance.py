"""Weights, undersampling and SMOTE on training rows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.modeling.estimators import LabelledMatrix
from fraud_assets.modeling.imbalance import rebalanced

METHODS = ("class_weight", "undersample", "smote")
CODES = 4


def sample(
    n: int,
    frauds: int,
    seed: int,
    *,
    weight: float | None = None,
    category: bool = True,
    missing: bool = True,
) -> LabelledMatrix:
    """Column 0 counts the rows, 1 and 2 are numbers with gaps, 3 is a code where asked for."""
    rng = np.random.default_rng(seed)
    matrix = rng.lognormal(3, 2, (n, 4)).astype(np.float32)
    matrix[:, 0] = np.arange(n)
    if missing:
        matrix[rng.random(n) < 0.3, 1] = np.nan
        matrix[rng.random(n) < 0.1, 2] = np.nan
    if category:
        matrix[:, 3] = rng.integers(0, CODES, n)
        matrix[rng.random(n) < 0.2, 3] = np.nan
    label = np.zeros(n, dtype=np.int8)
    label[rng.choice(n, frauds, replace=False)] = 1
    weights = None
    if weight is not None:
        weights = np.where(label == 1, 1, weight).astype(np.float32)
    return LabelledMatrix(matrix, label, weights, (3,) if category else ())


def weights(rows: LabelledMatrix) -> np.ndarray:
    return np.ones(rows.label.size) if rows.weight is None else rows.weight.astype(float)


def odds(rows: LabelledMatrix) -> float:
    weight = weights(rows)
    return float(weight[rows.label == 1].sum() / weight[rows.label == 0].sum())


samples = st.builds(
    sample,
    n=st.integers(30, 120),
    frauds=st.integers(2, 20),
    seed=st.integers(0, 1_000),
    weight=st.sampled_from([None, 1.0, 3.5]),
    category=st.booleans(),
    missing=st.booleans(),
)
ratios = st.sampled_from([0.05, 0.2, 0.5, 1.0])


@settings(max_examples=60, deadline=None)
@given(rows=samples, ratio=ratios, seed=st.integers(0, 5))
def test_no_fraud_is_ever_lost_and_no_row_changed(rows, ratio, seed):
    before = {row.tobytes() for row in np.column_stack([rows.matrix, rows.label])}
    for method in METHODS:
        after = rebalanced(rows, method, ratio, seed)
        given_rows = min(after.label.size, rows.label.size)
        kept = np.column_stack([after.matrix, after.label])[:given_rows]
        assert {row.tobytes() for row in kept} <= before
        originals = after.label[:given_rows]
        assert np.count_nonzero(originals) == np.count_nonzero(rows.label)
        assert after.categorical == rows.categorical
        assert (after.weight is None) == (rows.weight is None) or method == "class_weight"


@settings(max_examples=60, deadline=None)
@given(rows=samples, ratio=ratios, seed=st.integers(0, 5))
def test_sampling_arrives_at_the_ratio_by_weight_to_one_row(rows, ratio, seed):
    by_label = [weights(rows)[rows.label == label] for label in (0, 1)]
    for method in ("undersample", "smote"):
        after = rebalanced(rows, method, ratio, seed)
        if odds(rows) >= ratio:
            assert after is rows
        elif method == "smote":
            one_row = by_label[0].max() / by_label[0].sum()
            assert ratio - one_row <= odds(after) <= ratio * (1 + 1e-6)
            assert rebalanced(after, method, ratio, seed) is after
        else:  # legitimate rows come whole: half a row more or less than asked for
            asked = by_label[1].sum() / ratio
            assert 1 / odds(after) == pytest.approx(1 / ratio, rel=0.51 / asked)


@settings(max_examples=40, deadline=None)
@given(rows=samples)
def test_class_weights_give_both_classes_one_sum_and_keep_the_total(rows):
    after = rebalanced(rows, "class_weight", 0.1, 0)

    assert odds(after) == pytest.approx(1, rel=1e-5)
    assert after.weight.sum() == pytest.approx(weights(rows).sum(), rel=1e-5)
    for label in (0, 1):
        factor = (after.weight / weights(rows))[rows.label == label]
        np.testing.assert_allclose(factor, factor[0], rtol=1e-6)
    assert after.matrix is rows.matrix


@settings(max_examples=40, deadline=None)
@given(rows=samples, seed=st.integers(0, 5))
def test_new_frauds_lie_between_the_frauds_that_there_are(rows, seed):
    after = rebalanced(rows, "smote", 1.0, seed)
    new = after.matrix[rows.label.size :]
    frauds = rows.matrix[rows.label == 1]

    assert (after.label[rows.label.size :] == 1).all()
    for column in range(4):
        known, drawn = frauds[:, column], new[:, column]
        gaps, gap = np.isnan(known), np.isnan(drawn)
        assert not gap.any() or gaps.any()
        assert gap.all() or not gaps.all()
        if column in rows.categorical:
            assert set(drawn[~gap]) <= set(known[~gaps])
        else:
            # A gap that becomes a number was the median for the time being.
            if not gaps.all():
                assert (drawn[~gap] >= np.nanmin(known)).all()
                assert (drawn[~gap] <= np.nanmax(known)).all()


def test_undersampling_keeps_the_order_of_time_and_draws_at_random():
    rows = sample(500, 10, 1)

    time = rebalanced(rows, "undersample", 0.1, 7).matrix[:, 0]

    assert time.size == 110
    assert (np.diff(time) > 0).all()
    other = rebalanced(rows, "undersample", 0.1, 8).matrix[:, 0]
    assert not np.array_equal(time, other)


def test_undersampling_of_thinned_rows_throws_no_more_away_than_the_ratio_asks_for():
    rows = sample(300, 10, 1, weight=4.0)

    plenty = rebalanced(rows, "undersample", 0.1, 7)
    scarce = rebalanced(rows, "undersample", 0.01, 7)

    assert (plenty.label == 0).sum() == 100
    np.testing.assert_allclose(plenty.weight, 1)
    assert (scarce.label == 0).sum() == 290  # all, standing for 1,000 instead of 1,160
    assert odds(scarce) == pytest.approx(0.01)
    np.testing.assert_array_equal(scarce.weight[scarce.label == 1], 1)


def test_a_new_fraud_weighs_as_much_as_a_thinned_legitimate_row():
    rows = sample(310, 10, 1, weight=4.0)  # 300 rows that stand for 1,200

    after = rebalanced(rows, "smote", 0.1, 7)

    np.testing.assert_array_equal(after.weight[:310], rows.weight)
    np.testing.assert_array_equal(after.weight[310:], np.full(27, 4.0))  # 10 + 27 * 4 of 120


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_rows(method):
    first, second = (rebalanced(sample(400, 12, 3), method, 0.3, 7) for _ in range(2))

    np.testing.assert_array_equal(first.matrix, second.matrix)
    np.testing.assert_array_equal(first.label, second.label)
    np.testing.assert_array_equal(weights(first), weights(second))


def test_another_seed_draws_other_frauds():
    rows = sample(400, 12, 3)
    new = [rebalanced(rows, "smote", 0.3, seed).matrix[400:] for seed in (7, 8)]

    assert new[0].shape == new[1].shape
    assert not np.array_equal(*new, equal_nan=True)


def test_none_gives_the_rows_themselves():
    rows = sample(40, 0, 1)

    assert rebalanced(rows, "none", 0.1, 7) is rows


@pytest.mark.parametrize("category", [True, False])
@pytest.mark.parametrize("frauds", [2, 3, 6])
def test_smote_makes_do_with_fewer_frauds_than_neighbours(frauds, category):
    rows = sample(60, frauds, 1, category=category, missing=False)

    after = rebalanced(rows, "smote", 0.5, 7)

    assert np.count_nonzero(after.label) == (60 - frauds) // 2


def test_smote_of_one_fraud_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"draws between two frauds.*take more days"):
        rebalanced(sample(60, 1, 1), "smote", 0.5, 7)


def test_smote_without_a_number_is_refused_with_what_to_do():
    rows = sample(60, 5, 1)
    codes = LabelledMatrix(rows.matrix[:, 3:], rows.label, None, (0,))

    with pytest.raises(ValueError, match="needs a numeric feature"):
        rebalanced(codes, "smote", 0.5, 7)


def test_scales_of_the_numbers_do_not_choose_the_neighbours():
    rows = sample(300, 20, 5, missing=False)
    stretched = rows.matrix * np.array([1, 1024, 1, 1], dtype=np.float32)

    plain = rebalanced(rows, "smote", 0.5, 7).matrix[300:]
    wide = rebalanced(
        LabelledMatrix(stretched, rows.label, None, rows.categorical), "smote", 0.5, 7
    ).matrix[300:]

    np.testing.assert_allclose(wide[:, 1], plain[:, 1] * 1024, rtol=1e-5)
    np.testing.assert_allclose(wide[:, 2], plain[:, 2], rtol=1e-5)


def test_a_number_that_most_frauds_lack_is_missing_in_the_new_ones():
    rows = sample(200, 20, 2, missing=False)
    matrix = rows.matrix.copy()
    matrix[np.flatnonzero(rows.label)[:16], 1] = np.nan

    new = rebalanced(LabelledMatrix(matrix, rows.label), "smote", 0.5, 7).matrix[200:]

    assert 0.6 < np.isnan(new[:, 1]).mean() <= 1


def test_a_number_that_all_frauds_lack_stays_missing_without_a_warning():
    rows = sample(200, 20, 2, missing=False)
    matrix = rows.matrix.copy()
    matrix[rows.label == 1, 1] = np.nan

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new = rebalanced(LabelledMatrix(matrix, rows.label), "smote", 0.5, 7).matrix[200:]

    assert np.isnan(new[:, 1]).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("frauds", [0, 30])
def test_one_class_is_refused(method, frauds):
    with pytest.raises(ValueError, match=f"{frauds} frauds among 30 training rows"):
        rebalanced(sample(30, frauds, 1), method, 0.1, 7)


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="there are: none, class_weight, undersample, smote"):
        rebalanced(sample(30, 5, 1), "oversample", 0.1, 7)


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.5, float("nan")])
def test_a_ratio_that_is_none_is_refused(ratio):
    with pytest.raises(ValueError, match="frauds_per_legitimate"):
        rebalanced(sample(30, 5, 1), "undersample", ratio, 7)
