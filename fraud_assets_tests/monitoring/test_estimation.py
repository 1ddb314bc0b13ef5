"""CBPE: right on calibrated scores, blind to concept drift, and refused on anything else."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from fraud_assets.modeling import metrics
from fraud_assets.monitoring.estimation import estimate_performance


def scored_days(rng, rows, days):
    """Calibrated scores with ties, as isotonic calibration gives, and labels drawn from them."""
    for _ in range(days):
        score = np.round(rng.beta(0.25, 6.0, rows), 2)
        yield score, (rng.random(rows) < score).astype(np.int8)


def test_on_calibrated_scores_the_estimate_is_what_happens():
    rng = np.random.default_rng(11)
    estimated, realised = [], []
    for score, label in scored_days(rng, 20_000, 8):
        alert = score >= 0.2
        found = estimate_performance(score, alert)
        counts = metrics.confusion(label, alert)
        assert abs(label.sum() - found.expected_frauds) < 4 * found.expected_frauds_deviation
        estimated.append((found.precision, found.recall, found.average_precision, found.roc_auc))
        realised.append(
            (counts.precision, counts.recall, metrics.average_precision(label, score),
             metrics.roc_auc(label, score))
        )  # fmt: skip
    np.testing.assert_allclose(np.mean(estimated, 0), np.mean(realised, 0), atol=0.012)


def test_under_concept_drift_the_estimate_stays_confident_and_is_wrong():
    """The same scores, but the frauds now come from those that look harmless: the known limit."""
    rng = np.random.default_rng(12)
    score, label = next(scored_days(rng, 20_000, 1))
    alert = score >= 0.2
    before = estimate_performance(score, alert)
    drifted = rng.permutation(label)
    after = estimate_performance(score, alert)
    assert after == before
    assert after.average_precision > 2 * metrics.average_precision(drifted, score)
    assert after.recall > 2 * metrics.confusion(drifted, alert).recall


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), min_size=1, max_size=7))
def test_expectations_are_those_of_listing_every_outcome(scores):
    p = np.array(scores)
    ap = positives = ordered = pairs = 0.0
    for outcome in itertools.product((0, 1), repeat=p.size):
        y = np.array(outcome)
        chance = float(np.prod(np.where(y == 1, p, 1 - p)))
        n = int(y.sum())
        if n:
            ap += chance * n * average_precision_score(y, p)
            positives += chance * n
        if 0 < n < p.size:
            ordered += chance * n * (p.size - n) * roc_auc_score(y, p)
            pairs += chance * n * (p.size - n)
    found = estimate_performance(p, p >= 0.5)
    assert found.expected_frauds == pytest.approx(positives)
    if positives:
        assert found.average_precision == pytest.approx(ap / positives)
    else:
        assert found.average_precision is None
    if pairs:
        assert found.roc_auc == pytest.approx(ordered / pairs)
    else:
        assert found.roc_auc is None


def test_nothing_to_expect_is_none_with_its_reason():
    none = np.array([])
    assert estimate_performance(none, none).reason == "no predictions"
    assert estimate_performance(none, none).expected_frauds is None
    zeros = estimate_performance(np.zeros(3), np.zeros(3, bool))
    assert (zeros.expected_frauds, zeros.recall, zeros.average_precision) == (0.0, None, None)
    assert zeros.precision is None
    assert zeros.reason == "every score is 0"


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1, np.inf])
def test_scores_that_are_not_probabilities_are_refused(bad):
    with pytest.raises(ValueError, match="1 of 2 scores are not probabilities"):
        estimate_performance(np.array([0.5, bad]), np.array([True, False]))


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="one length"):
        estimate_performance(np.array([0.5]), np.array([True, False]))
