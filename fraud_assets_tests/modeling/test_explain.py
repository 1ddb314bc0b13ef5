"""Reasons for alerts: contributions that add up, and sentences that say them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling.explain import reason_codes, sentence
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.transactions.profile import load_profile, shipped_profiles


def test_contributions_of_a_trained_model_add_up_to_its_margins(
    model: FraudModel, labelled: pl.DataFrame
) -> None:
    matrix = model.encoder.encode(labelled.head(500))

    contributions = model.estimator.contributions(matrix)

    np.testing.assert_allclose(contributions.sum(axis=1), model.estimator.margin(matrix), atol=1e-4)


def test_only_what_raised_the_score_is_named_largest_first() -> None:
    rows = pl.DataFrame({"amount": [900.0], "is_night": [1.0], "account_age": [3.0]})

    found = reason_codes(rows, np.array([[0.5, -1.0, 2.0, -4.0]]), {"amount": 50.0}, k=3)

    assert found == [["account_age = 3", "amount is 900.00 (typical 50.00)"]]


def test_there_are_at_most_k_reasons_and_equal_ones_keep_the_columns_order() -> None:
    rows = pl.DataFrame({"a": [1.0], "b": [2.0], "c": [3.0]})

    assert reason_codes(rows, np.array([[1.0, 1.0, 1.0, 0.0]]), {}, k=2) == [["a = 1", "b = 2"]]


def test_an_alert_by_the_base_alone_still_has_a_reason() -> None:
    rows = pl.DataFrame({"a": [1.0], "b": [2.0]})

    assert reason_codes(rows, np.array([[-3.0, -1.0, 9.0]]), {}) == [["b = 2"]]


def test_each_row_gets_its_own_reasons() -> None:
    rows = pl.DataFrame({"a": [1.0, 7.0], "b": [2.0, 8.0]})

    found = reason_codes(rows, np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), {})

    assert found == [["a = 1"], ["b = 8"]]


@pytest.mark.parametrize(
    ("name", "value", "typical", "said"),
    [
        ("amount", 1234.5, 60.0, "amount is 1,234.50 (typical 60.00)"),
        ("payer_amount_ratio", 12.34, 1.0, "amount is 12.3 times the payer's usual"),
        ("payee_amount_ratio", None, 1.0, "no earlier amounts of the payee to compare with"),
        ("is_new_payee", 1.0, 0.0, "first payment to this payee in recent days"),
        ("is_new_payee", 0.0, 0.0, "payee was paid before"),
        ("is_new_payee", None, 0.0, "is_new_payee is unknown"),
        ("payee_risk_7d", 0.2099, 0.0, "payee's fraud rate over 7 days is 21 % (typical 0 %)"),
        ("payee_risk_1d", 1.0, 0.004, "payee's fraud rate over 1 day is 100 % (typical 0.4 %)"),
        ("payer_count_1d", 12.0, 2.0,
         "payer's number of transactions over 1 day is 12 (typical 2)"),
        ("payee_sum_amount_7d", 12000.0, 10.0,
         "payee's total amount over 7 days is 12,000.00 (typical 10.00)"),
        ("payee_mean_amount_30d", float("nan"), None,
         "payee's mean amount over 30 days is unknown"),
        ("payer_seconds_since_last", 90.0, 86_400.0,
         "payer's previous transaction was 1.5 minutes before (typical 1.0 days)"),
        ("payer_seconds_since_last", None, 60.0,
         "first transaction of the payer in recent days"),
        ("hour", 3.0, 14.0, "it happened at 3 h UTC"),
        ("is_night", 1.0, 0.0, "it happened at night"),
        ("is_weekend", 0.0, 0.0, "it happened on a weekday"),
        ("kind", "TRANSFER", "PAYMENT", "kind is TRANSFER (typical PAYMENT)"),
        ("card_network", "visa", "visa", "card_network = visa (typical visa)"),
        ("distance", 0.0123, None, "distance = 0.012"),
        ("distance", None, 3.0, "distance = unknown (typical 3)"),
    ],
)  # fmt: skip
def test_sentences(name: str, value: object, typical: object, said: str) -> None:
    assert sentence(name, value, typical) == said


@pytest.mark.parametrize("profile", shipped_profiles())
def test_every_generated_feature_of_a_profile_has_a_sentence_of_its_own(profile: str) -> None:
    known = load_profile(profile)
    extras = {extra.name for extra in (*known.numeric, *known.categorical)}

    for name in FeatureSet.from_profile(known).names:
        if name not in extras:
            assert " = " not in sentence(name, 1.0, 1.0), name


def test_shapes_that_do_not_fit_are_refused() -> None:
    rows = pl.DataFrame({"a": [1.0]})

    with pytest.raises(ValueError, match="one more column"):
        reason_codes(rows, np.zeros((1, 1)), {})
    with pytest.raises(ValueError, match="at least one reason"):
        reason_codes(rows, np.zeros((1, 2)), {}, k=0)
