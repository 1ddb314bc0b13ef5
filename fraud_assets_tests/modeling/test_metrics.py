"""Metrics against examples worked by hand, scikit-learn, and the Handbook's own procedure."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss

from fraud_assets.modeling import metrics as m

LABEL = np.array([1, 0, 1, 0, 0])
SCORE = np.array([0.9, 0.8, 0.7, 0.4, 0.2])
ONE = date(2026, 1, 1)
TWO = date(2026, 1, 2)

scored = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), min_size=1, max_size=60)


def arrays(rows):
    label = np.array([row[0] for row in rows])
    return label, np.array([row[1] for row in rows]) / 10.0


def cards(rows):
    columns = {"day": pl.Date, "payer_id": pl.String, "label": pl.Int8, "score": pl.Float64}
    return pl.DataFrame(rows, schema=columns, orient="row")


def test_average_precision_by_hand():
    assert m.average_precision(LABEL, SCORE) == pytest.approx((1 + 2 / 3) / 2)


@settings(max_examples=60, deadline=None)
@given(scored)
def test_average_precision_is_scikit_learns_with_ties(rows):
    label, score = arrays(rows)
    expected = average_precision_score(label, score) if label.any() else None
    assert m.average_precision(label, score) == pytest.approx(expected)


def test_average_precision_at_a_fraud_share_by_hand():
    """Two frauds of 20 %: the three legitimate rows stand for eight, the one in between for 8/3."""
    value = m.average_precision(LABEL, SCORE, fraud_share=0.2)
    assert value == pytest.approx((1 + 2 / (2 + 8 / 3)) / 2)


@settings(max_examples=60, deadline=None)
@given(scored, st.integers(1, 5))
def test_average_precision_at_a_fraud_share_is_that_of_repeated_legitimate_rows(rows, times):
    label, score = arrays(rows)
    repeated = np.where(label == 1, 1, times)
    many, ranks = np.repeat(label, repeated), np.repeat(score, repeated)
    expected = average_precision_score(many, ranks) if 0 < many.mean() < 1 else None
    share = many.mean() if expected is not None else 0.5
    assert m.average_precision(label, score, fraud_share=share) == pytest.approx(expected)


def test_thinning_the_legitimate_rows_moves_only_the_plain_average_precision():
    rng = np.random.default_rng(3)
    label = (np.arange(300_000) < 3_000).astype(int)
    score = 2.0 * label + rng.normal(size=label.size)
    kept = (label == 1) | (rng.random(label.size) < 0.2)
    plain = [m.average_precision(label[rows], score[rows]) for rows in (label >= 0, kept)]
    level = [
        m.average_precision(label[rows], score[rows], fraud_share=0.01)
        for rows in (label >= 0, kept)
    ]
    assert plain[1] > 1.8 * plain[0]
    assert level[0] == pytest.approx(plain[0])
    assert level[1] == pytest.approx(level[0], rel=0.05)


def test_a_fraud_share_needs_both_classes():
    ones = np.ones(3)
    assert m.average_precision(ones, SCORE[:3]) == 1.0
    assert m.average_precision(ones, SCORE[:3], fraud_share=0.1) is None
    assert m.average_precision(0 * ones, SCORE[:3], fraud_share=0.1) is None


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, np.nan])
def test_a_fraud_share_that_no_weights_give_is_refused(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        m.average_precision(LABEL, SCORE, fraud_share=share)


@settings(max_examples=40, deadline=None)
@given(scored)
def test_ranking_metrics_ignore_monotone_transforms_and_row_order(rows):
    label, score = arrays(rows)
    turned = np.argsort(score - label, kind="stable")
    for metric in (m.average_precision, m.roc_auc, m.precision_at_recall):
        value = metric(label, score)
        assert metric(label, np.exp(3 * score) - 7) == pytest.approx(value)
        assert metric(label[turned], score[turned]) == pytest.approx(value)


def test_without_positives_nothing_is_computable_rather_than_zero():
    none, score = np.zeros(3), np.array([0.1, 0.2, 0.3])
    day, amount = np.array([1, 1, 2]), np.ones(3)
    assert m.average_precision(none, score) is None
    assert m.roc_auc(none, score) is None
    assert m.recall_at_budget(none, score, day, 1) is None
    assert m.precision_at_recall(none, score) is None
    assert m.calibration_ratio(none, score) is None
    assert m.savings(none, amount, score > 0.1, 1.0, 1.0) is None
    assert m.confusion(none, np.zeros(3)).precision is None
    assert m.confusion(none, np.zeros(3)).recall is None


def test_without_rows_nothing_is_computable():
    empty = np.array([])
    assert m.average_precision(empty, empty) is None
    assert m.brier(empty, empty) is None
    assert m.expected_calibration_error(empty, empty) is None
    assert m.cost(empty, empty, empty, 1.0, 1.0) is None


def test_recall_at_budget_takes_each_days_own_top():
    day = np.array([1, 1, 2, 2, 2])
    assert m.recall_at_budget(LABEL, SCORE, day, 1) == 1.0
    assert m.recall_at_budget(LABEL, SCORE, np.ones(5), 2) == 0.5


def test_precision_at_recall_by_hand():
    assert m.precision_at_recall(LABEL, SCORE, 0.5) == 1.0
    assert m.precision_at_recall(LABEL, SCORE, 0.9) == pytest.approx(2 / 3)


def test_brier_score_is_scikit_learns():
    assert m.brier(LABEL, SCORE) == pytest.approx(brier_score_loss(LABEL, SCORE))


def test_calibration_error_by_hand():
    label = np.array([0, 0, 0, 1, 1, 1, 0, 1])
    score = np.array([0.1, 0.1, 0.3, 0.3, 0.6, 0.6, 0.8, 0.8])
    # two bins of four: predicted .2 and .7, observed .25 and .75
    assert m.expected_calibration_error(label, score, bins=2) == pytest.approx(0.05)
    assert m.calibration_ratio(label, score) == pytest.approx(3.6 / 4)


@settings(max_examples=40, deadline=None)
@given(scored)
def test_calibration_bins_keep_every_row_and_ignore_row_order(rows):
    label, score = arrays(rows)
    bins = m.reliability(label, score)
    assert sum(one.rows for one in bins) == label.size
    assert sum(one.rows * one.observed for one in bins) == pytest.approx(label.sum())
    assert m.reliability(label[::-1], score[::-1]) == [
        m.ReliabilityBin(one.rows, pytest.approx(one.predicted), pytest.approx(one.observed))
        for one in bins
    ]


def test_probabilities_that_are_right_have_a_small_calibration_error():
    rng = np.random.default_rng(3)
    score = rng.beta(0.5, 20, size=50_000)
    label = (rng.random(50_000) < score).astype(int)
    right = m.expected_calibration_error(label, score)
    assert right < 0.003
    assert m.expected_calibration_error(label, np.minimum(1, 4 * score)) > 10 * right


def test_costs_and_savings_by_hand():
    amount, alert = np.array([100.0, 7.0, 50.0, 9.0, 9.0]), SCORE >= 0.75
    # two reviews at 5, and half of the missed 50
    assert m.cost(LABEL, amount, alert, 5.0, 0.5) == pytest.approx(35.0)
    assert m.savings(LABEL, amount, alert, 5.0, 0.5) == pytest.approx(1 - 35 / 75)
    assert m.savings(LABEL, amount, np.zeros(5), 5.0, 0.5) == 0.0
    assert m.savings(LABEL, amount, np.ones(5), 50.0, 0.5) < 0


def test_confusion_at_threshold_counts_the_threshold_as_an_alert():
    found = m.confusion_at_threshold(LABEL, SCORE, 0.7)
    assert found == m.Confusion(2, 1, 2, 0)
    assert (found.precision, found.recall) == (2 / 3, 1.0)


@pytest.mark.parametrize(
    ("label", "score", "reason"),
    [
        ([1, 0], [0.5], "one length"),
        ([2, 0], [0.5, 0.1], "0 or 1"),
        ([np.nan, 0], [0.5, 0.1], "0 or 1"),
        ([1, 0], [np.nan, 0.1], "missing"),
        ([1, 0], [1.5, 0.1], "probabilities"),
    ],
)
def test_wrong_input_is_refused_with_its_reason(label, score, reason):
    with pytest.raises(ValueError, match=reason):
        m.brier(np.array(label), np.array(score))


def test_card_precision_by_hand():
    frame = cards(
        [
            (ONE, "a", 0, 0.9), (ONE, "a", 1, 0.1),  # ranked by its highest score, compromised
            (ONE, "b", 0, 0.8), (ONE, "c", 1, 0.7), (ONE, "d", 0, 0.2),
            (TWO, "a", 1, 0.9),  # found yesterday: gone
            (TWO, "c", 1, 0.8), (TWO, "b", 0, 0.3), (TWO, "d", 0, 0.2),
        ]
    )  # fmt: skip
    found = m.card_precision_at_k(frame, 2)
    assert [day.value for day in found.days] == [0.5, 0.5]
    assert [(day.cards, day.compromised, day.detected) for day in found.days] == [
        (4, 2, 1),
        (3, 1, 1),
    ]
    assert (found.value, found.achievable) == (0.5, 0.5)  # two cards in four reviews at best
    again = m.card_precision_at_k(frame, 2, drop_detected=False)
    assert [day.value for day in again.days] == [0.5, 1.0]
    assert (again.value, again.achievable) == (0.75, 1.0)


def test_cards_known_before_the_day_are_not_counted_as_found():
    frame = cards([(ONE, "a", 1, 0.9), (ONE, "b", 1, 0.8), (ONE, "c", 0, 0.7)])
    known = {ONE: pl.Series(["a"])}
    found = m.card_precision_at_k(frame, 2, known)
    assert (found.value, found.achievable) == (0.5, 0.5)
    assert found.days[0].cards == 2


def test_a_day_without_compromised_cards_is_not_computable_and_not_in_the_mean():
    frame = cards([(ONE, "a", 1, 0.9), (ONE, "b", 0, 0.8), (TWO, "b", 0, 0.8)])
    found = m.card_precision_at_k(frame, 1)
    assert [day.value for day in found.days] == [1.0, None]
    assert (found.value, found.achievable) == (1.0, 1.0)
    nobody = m.card_precision_at_k(cards([(ONE, "b", 0, 0.8)]), 1)
    assert (nobody.value, nobody.achievable) == (None, None)
    unmapped = m.card_precision_at_k(cards([(ONE, None, 1, 0.8)]), 1)
    assert (unmapped.value, unmapped.achievable) == (None, None)


def test_the_ceiling_plans_ahead_which_card_to_find_on_which_day():
    # With one review a day both cards can be found only if "a" waits until the second day.
    frame = cards([(ONE, "a", 1, 0.9), (ONE, "b", 1, 0.1), (TWO, "a", 1, 0.9)])
    found = m.card_precision_at_k(frame, 1)
    assert (found.value, found.achievable) == (0.5, 1.0)


card_rows = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from("abcdef"), st.integers(0, 1), st.integers(0, 5)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(rows=card_rows, k=st.integers(1, 4), drop=st.booleans())
def test_card_precision_never_exceeds_its_ceiling(rows, k, drop):
    frame = cards([(ONE + timedelta(days=d), c, label, s / 5) for d, c, label, s in rows])
    found = m.card_precision_at_k(frame, k, drop_detected=drop)
    if found.value is None:
        assert frame["label"].sum() == 0
    else:
        assert 0 <= found.value <= found.achievable + 1e-12 <= 1 + 2e-12


@settings(max_examples=30, deadline=None)
@given(rows=card_rows, k=st.integers(1, 4))
def test_card_precision_is_the_handbooks(rows, k):
    # Distinct scores, so that the Handbook's unstable sort has one answer only.
    frame = cards(
        [
            (ONE + timedelta(days=d), c, label, s + i / 100)
            for i, (d, c, label, s) in enumerate(rows)
        ]
    )
    found, values = [], []
    for _, day in frame.to_pandas().groupby("day"):
        left = day[~day.payer_id.isin(found)]
        top = left.groupby("payer_id").max().sort_values("score", ascending=False).head(k)
        hits = list(top[top.label == 1].index)
        values.append(len(hits) / k)
        found.extend(hits)
    computed = m.card_precision_at_k(frame, k)
    assert [one.value or 0.0 for one in computed.days] == values
