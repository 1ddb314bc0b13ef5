"""The threshold: least cost under the alert budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.modeling import metrics
from fraud_assets.modeling.decision import NEVER, DecisionError, DecisionPolicy, choose_policy
from fraud_assets.transactions.profile import DecisionChoices


def choices(budget: int = 100, review_cost: float = 5.0, loss: float = 1.0) -> DecisionChoices:
    return DecisionChoices(alert_budget_per_day=budget, review_cost=review_cost, loss_share=loss)


def test_a_hand_made_case() -> None:
    # Two alerts prevent 100 and 30 for 10; a third costs 5 more and prevents 4.
    score = np.array([0.9, 0.8, 0.6, 0.4, 0.2])
    label = np.array([1, 1, 1, 0, 0])
    amount = np.array([100.0, 30.0, 4.0, 50.0, 50.0])

    policy = choose_policy(score, label, amount, 1, choices())

    assert policy.threshold == pytest.approx(0.7)
    assert policy.validation_cost == pytest.approx(4 + 10)
    assert policy.validation_cost_without_alerts == pytest.approx(134)
    assert (policy.validation_alerts, policy.validation_frauds_caught) == (2, 2)


def test_a_cheap_mistake_on_the_way_to_a_large_fraud_is_accepted() -> None:
    score = np.array([0.9, 0.8, 0.1])
    label = np.array([0, 1, 0])

    policy = choose_policy(score, label, np.array([1.0, 500.0, 1.0]), 1, choices())

    assert policy.alerts(score).tolist() == [True, True, False]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 60),
    days=st.integers(1, 4),
    budget=st.integers(1, 12),
    review_cost=st.floats(0, 40),
    levels=st.integers(2, 30),
)
def test_no_threshold_within_the_budget_is_cheaper(
    seed: int, n: int, days: int, budget: int, review_cost: float, levels: int
) -> None:
    rng = np.random.default_rng(seed)
    score = rng.integers(1, levels, n) / levels
    label = (rng.random(n) < score).astype(int)
    label[0] = 1
    amount = rng.lognormal(3, 1, n).round(2)

    policy = choose_policy(score, label, amount, days, choices(budget, review_cost, 0.8))

    alerts = policy.alerts(score)
    spent = metrics.cost(label, amount, alerts, review_cost, 0.8)
    assert alerts.sum() == policy.validation_alerts <= budget * days
    assert spent == pytest.approx(policy.validation_cost)
    for threshold in [*np.unique(score), NEVER]:
        flags = score >= threshold
        if flags.sum() <= budget * days:
            assert metrics.cost(label, amount, flags, review_cost, 0.8) >= spent - 1e-9


def test_the_budget_holds_on_average_over_the_days() -> None:
    score = np.linspace(0.01, 0.99, 99)
    label = np.ones(99)

    policy = choose_policy(score, label, np.full(99, 1_000.0), 3, choices(budget=10))

    assert policy.validation_alerts == 30
    assert policy.alerts_per_day == 10


def test_nothing_is_alerted_where_no_alert_pays_for_its_review() -> None:
    score = np.array([0.9, 0.5])

    policy = choose_policy(score, np.array([1, 0]), np.array([3.0, 3.0]), 1, choices())

    assert policy.threshold == NEVER
    assert not policy.alerts(score).any()
    assert policy.validation_cost == policy.validation_cost_without_alerts == 3.0


def test_a_tie_that_exceeds_the_budget_is_not_broken_at_random() -> None:
    score = np.full(20, 0.9)

    policy = choose_policy(score, np.ones(20), np.full(20, 100.0), 1, choices(budget=10))

    assert policy.threshold == NEVER


def test_a_threshold_below_every_score_is_still_positive() -> None:
    score = np.array([0.4, 0.6])

    policy = choose_policy(score, np.ones(2), np.full(2, 100.0), 1, choices())

    assert 0 < policy.threshold < 0.4


def test_neighbouring_floats_are_kept_apart() -> None:
    low = 0.5
    high = float(np.nextafter(low, 1))

    policy = choose_policy(
        np.array([low, high]), np.array([0, 1]), np.array([100.0, 100.0]), 1, choices(budget=1)
    )

    assert policy.alerts(np.array([low, high])).tolist() == [False, True]


def test_without_fraud_there_is_no_threshold() -> None:
    with pytest.raises(DecisionError, match="no fraud among 3 validation rows"):
        choose_policy(np.full(3, 0.5), np.zeros(3), np.ones(3), 1, choices())


@pytest.mark.parametrize(
    ("score", "amount", "days"),
    [([0.5, 1.0], [1.0, 1.0], 1), ([0.5, 0.4], [1.0, np.nan], 1), ([0.5, 0.4], [1.0, 1.0], 0),
     ([0.5], [1.0, 1.0], 1)],
)  # fmt: skip
def test_what_is_not_a_probability_an_amount_or_a_day_is_refused(score, amount, days) -> None:
    with pytest.raises(DecisionError):
        choose_policy(np.array(score), np.ones(2), np.array(amount), days, choices())


def test_the_version_names_the_content() -> None:
    score, label, amount = np.array([0.9, 0.1]), np.array([1, 0]), np.array([50.0, 50.0])
    one = choose_policy(score, label, amount, 1, choices())

    assert one.version == choose_policy(score, label, amount, 1, choices()).version
    assert one.version != choose_policy(score, label, amount, 1, choices(budget=99)).version
    assert DecisionPolicy.model_validate_json(one.model_dump_json()).version == one.version
