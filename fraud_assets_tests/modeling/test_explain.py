"""Reasons for alerts: contributions that add up, and sentences and shares that say them."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling.estimators import (
    ESTIMATORS,
    LabelledMatrix,
    XGBoostEstimator,
    make_estimator,
)
from fraud_assets.modeling.explain import (
    Reason,
    mean_contributions,
    reason_codes,
    reasons,
    sentence,
)
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.transactions.profile import load_profile, shipped_profiles

SAID = (
    "amount", "hour", "is_night", "is_new_payee", "kind", "payer_amount_ratio",
    "payer_count_1d", "payee_risk_7d", "payee_labelled_count_7d", "payee_last_label",
    "payee_smallest_known_fraud", "payee_seconds_since_known_fraud", "payer_seconds_since_last",
)  # fmt: skip
FEATURES = ("amount", "payer_count_1d", "payee_risk_7d", "is_night")


@pytest.fixture(scope="module", params=tuple(ESTIMATORS))
def explained(request) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """Rows, contributions and margins of a small model of each family."""
    rng = np.random.default_rng(5)
    matrix = rng.lognormal(0, 1, (600, len(FEATURES))).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.05] = np.nan
    odds = np.nan_to_num(matrix[:, 0]) + 2 * np.nan_to_num(matrix[:, 2])
    label = (odds > np.quantile(odds, 0.9)).astype(np.int8)
    model = make_estimator(request.param)
    model.fit(
        LabelledMatrix(matrix, label), None, model.defaults, rounds=20, seed=3, threads=1,
        feature_names=FEATURES,
    )  # fmt: skip
    rows = pl.DataFrame(matrix, schema=dict.fromkeys(FEATURES, pl.Float32)).fill_nan(None)
    return rows, model.contributions(matrix), model.margin(matrix)


def test_reasons_and_what_spoke_against_add_up_to_the_margin_in_every_family(explained) -> None:
    rows, contributions, margin = explained

    found = reasons(rows, contributions, {}, k=len(FEATURES))

    for told, shares, whole in zip(found, contributions, margin, strict=True):
        named = {one.feature: one.contribution for one in told}
        rest = sum(s for n, s in zip(FEATURES, shares, strict=False) if n not in named)
        assert sum(named.values()) + rest + shares[-1] == pytest.approx(whole, abs=1e-3)


def test_the_first_reason_is_the_largest_contribution_in_every_family(explained) -> None:
    rows, contributions, _ = explained

    found = reasons(rows, contributions, {}, k=2)

    first = [FEATURES.index(told[0].feature) for told in found]
    np.testing.assert_array_equal(first, contributions[:, :-1].argmax(axis=1))


def test_contributions_of_a_trained_model_add_up_to_its_margins(
    model: FraudModel, labelled: pl.DataFrame
) -> None:
    matrix = model.encoder.encode(labelled.head(500))

    contributions = model.estimator.contributions(matrix)

    np.testing.assert_allclose(contributions.sum(axis=1), model.estimator.margin(matrix), atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    shares=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(2, 6)),
        elements=st.floats(-8, 8, width=32),
    ),
    k=st.integers(1, 7),
)
def test_reasons_are_the_k_largest_positive_contributions_in_order(shares, k) -> None:
    names = [f"f{i}" for i in range(shares.shape[1] - 1)]
    rows = pl.DataFrame({name: np.arange(shares.shape[0], dtype=float) for name in names})

    found = reasons(rows, shares, {}, k=k)

    assert len(found) == shares.shape[0]
    for number, (told, row) in enumerate(zip(found, shares[:, :-1], strict=True)):
        expected = sorted((s for s in row.tolist() if s > 0), reverse=True)[:k]
        assert [one.contribution for one in told] == (expected or [row.max()])
        assert all(one.contribution == row[names.index(one.feature)] for one in told)
        assert len({one.feature for one in told}) == len(told)
        assert {one.value for one in told} == {float(number)}


def test_a_reason_holds_the_feature_its_values_and_its_share() -> None:
    rows = pl.DataFrame({"amount": [900.0], "payer_count_1d": [5.0], "kind": ["TRANSFER"]})
    typical = {"amount": 50.0, "payer_count_1d": 1.2}

    found = reasons(rows, np.array([[0.5, 2.0, 1.0, -4.0]]), typical, k=2)

    assert found == [
        [
            Reason(
                "payer_count_1d", 5.0, 1.2, 2.0, "5th transaction of the payer today; usual is 1.2"
            ),
            Reason("kind", "TRANSFER", None, 1.0, "kind is TRANSFER"),
        ]
    ]


def test_a_reason_is_plain_data_that_json_can_carry() -> None:
    rows = pl.DataFrame({"a": pl.Series([float("nan")], dtype=pl.Float32)})

    ((found,),) = reasons(rows, np.array([[1.0, 0.0]], dtype=np.float32), {"a": float("nan")})

    assert json.loads(json.dumps(asdict(found), allow_nan=False)) == {
        "feature": "a", "value": None, "typical": None, "contribution": 1.0,
        "sentence": "a = unknown",
    }  # fmt: skip


def test_only_what_raised_the_score_is_named_largest_first() -> None:
    rows = pl.DataFrame({"amount": [900.0], "is_night": [1.0], "account_age": [3.0]})

    found = reason_codes(rows, np.array([[0.5, -1.0, 2.0, -4.0]]), {"amount": 50.0}, k=3)

    assert found == [["account_age = 3", "amount is 900.00; usual is 50.00"]]


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


def test_no_rows_have_no_reasons() -> None:
    rows = pl.DataFrame({"a": [1.0]}).clear()

    assert reasons(rows, np.zeros((0, 2)), {}) == []


@pytest.mark.parametrize(
    ("name", "value", "typical", "said"),
    [
        ("amount", 1234.5, 60.0, "amount is 1,234.50; usual is 60.00"),
        ("amount", 60.0, 60.0, "amount is 60.00, as usual"),
        ("amount", None, 60.0, "amount is unknown; usual is 60.00"),
        ("payer_amount_ratio", 12.34, 1.0, "amount is 12.3 times the payer's usual"),
        ("payee_amount_ratio", None, 1.0, "no earlier amounts of the payee to compare with"),
        ("is_new_payee", 1.0, 0.0, "first payment to this payee in recent days"),
        ("is_new_payee", 0.0, 0.0, "payee was paid before"),
        ("is_new_payee", None, 0.0, "is_new_payee is unknown"),
        ("payee_risk_7d", 0.2099, 0.0,
         "of the payee's transactions checked in 7 days, 21 % were frauds; usual is 0 %"),
        ("payee_risk_1d", 1.0, 0.004,
         "of the payee's transactions checked today, 100 % were frauds; usual is 0.4 %"),
        ("payee_risk_7d", None, 0.004,
         "share of frauds among the payee's checked transactions is unknown"),
        ("payer_sum_amount_1d", 12000.0, 10.0,
         "payer's total amount today is 12,000.00; usual is 10.00"),
        ("payee_sum_amount_7d", 12000.0, None, "payee's total amount over 7 days is 12,000.00"),
        ("payee_max_amount_30d", 7.0, None, "payee's largest amount over 30 days is 7.00"),
        ("payee_mean_amount_30d", float("nan"), None,
         "payee's mean amount over 30 days is unknown"),
        ("payer_seconds_since_last", 90.0, 86_400.0,
         "payer's previous transaction was 1.5 minutes before; usual is 1 day"),
        ("payer_seconds_since_last", 3600.0, None,
         "payer's previous transaction was 1 hour before"),
        ("payer_seconds_since_last", 0.0, None,
         "payer's previous transaction was less than a second before"),
        ("payer_seconds_since_last", None, 60.0,
         "first transaction of the payer in recent days"),
        ("hour", 3.0, 14.0, "it happened at 3 h UTC; usual is 14"),
        ("is_night", 1.0, 0.0, "it happened at night"),
        ("is_weekend", 0.0, 0.0, "it happened on a weekday"),
        ("kind", "TRANSFER", "PAYMENT", "kind is TRANSFER; usual is PAYMENT"),
        ("card_network", "visa", "visa", "card_network = visa, as usual"),
        ("distance", 0.0123, None, "distance = 0.012"),
        ("distance", 1.5, float("nan"), "distance = 1.5"),
        ("distance", float("inf"), None, "distance = inf"),
        ("distance", None, 3.0, "distance = unknown; usual is 3"),
        ("payer_amount_ratios", 2.0, None, "payer_amount_ratios = 2"),
    ],
)  # fmt: skip
def test_sentences(name: str, value: object, typical: object, said: str) -> None:
    assert sentence(name, value, typical) == said


@pytest.mark.parametrize(
    ("name", "value", "typical", "said"),
    [
        ("payer_count_1d", 5.0, 1.2, "5th transaction of the payer today; usual is 1.2"),
        ("payee_count_1d", 1.0, 1.0, "1st transaction of the payee today, as usual"),
        ("payer_count_7d", 22.0, 3.0, "22nd transaction of the payer in 7 days; usual is 3"),
        ("payer_count_30d", 1013.0, None, "1,013th transaction of the payer in 30 days"),
        ("payer_count_1d", 3.0, 0.4, "3rd transaction of the payer today; usual is 0.4"),
        ("payee_count_7d", 11.0, 2.0, "11th transaction of the payee in 7 days; usual is 2"),
        ("payee_count_1d", 103.0, 4.0, "103rd transaction of the payee today; usual is 4"),
        ("payer_count_1d", 0.5, None, "payer's number of transactions today is 0.5"),
        ("payer_count_1d", None, 2.0,
         "payer's number of transactions today is unknown; usual is 2"),
    ],
)  # fmt: skip
def test_counts_that_include_the_transaction_are_told_as_ordinals(
    name: str, value: object, typical: object, said: str
) -> None:
    assert sentence(name, value, typical) == said


@pytest.mark.parametrize(
    ("name", "value", "typical", "said"),
    [
        ("payee_labelled_count_7d", 40.0, 3.0,
         "40 transactions of the payee came to be checked in 7 days; usual is 3"),
        ("payee_labelled_count_1d", 1.0, None,
         "1 transaction of the payee came to be checked today"),
        ("payee_labelled_count_30d", 0.0, 0.0,
         "no transactions of the payee came to be checked in 30 days, as usual"),
        ("payer_labelled_count_7d", None, None,
         "how many transactions of the payer came to be checked is unknown"),
        ("payee_seconds_since_known_fraud", 86_400.0 * 3.25, 86_400.0 * 20,
         "payee's latest fraud became known 3.2 days before; usual is 20 days"),
        ("payee_seconds_since_known_fraud", None, None,
         "no fraud of the payee became known in recent days"),
        ("payer_seconds_since_first_known_fraud", 7200.0, None,
         "payer's first recent fraud became known 2 hours before"),
        ("payer_seconds_since_first_known_fraud", float("nan"), 5.0,
         "no fraud of the payer became known in recent days"),
        ("payee_smallest_known_fraud", 221.5, 900.0,
         "smallest recent fraud of the payee was 221.50; usual is 900.00"),
        ("payee_smallest_known_fraud", None, None,
         "no fraud of the payee became known in recent days"),
        ("payer_last_label", 1.0, 0.0, "payer's latest checked transaction was a fraud"),
        ("payee_last_label", 0.0, 0.0, "payee's latest checked transaction was legitimate"),
        ("payee_last_label", None, 0.0,
         "no transaction of the payee has been checked in recent days"),
    ],
)  # fmt: skip
def test_what_is_known_of_frauds_is_told_in_words(
    name: str, value: object, typical: object, said: str
) -> None:
    assert sentence(name, value, typical) == said


@pytest.mark.parametrize("profile", shipped_profiles())
def test_every_generated_feature_of_a_profile_has_a_sentence_of_its_own(profile: str) -> None:
    known = load_profile(profile)
    extras = {extra.name for extra in (*known.numeric, *known.categorical)}

    for name in FeatureSet.from_profile(known).names:
        if name not in extras:
            assert " = " not in sentence(name, 1.0, 1.0), name


VALUES = st.one_of(st.none(), st.floats(width=32), st.text("xyz", max_size=5))


@given(name=st.one_of(st.sampled_from(SAID), st.text("xyz_0")), value=VALUES, typical=VALUES)
def test_any_value_of_any_feature_can_be_said_and_what_is_no_number_is_unknown(
    name, value, typical
) -> None:
    said = sentence(name, value, typical)

    assert said
    assert "nan" not in said
    assert "None" not in said


def test_shapes_that_do_not_fit_are_refused() -> None:
    rows = pl.DataFrame({"a": [1.0]})

    with pytest.raises(ValueError, match="one more column"):
        reason_codes(rows, np.zeros((1, 1)), {})
    with pytest.raises(ValueError, match="at least one feature"):
        reasons(pl.DataFrame(), np.zeros((0, 1)), {})
    with pytest.raises(ValueError, match="at least one reason"):
        reason_codes(rows, np.zeros((1, 2)), {}, k=0)


def test_contributions_that_are_no_numbers_are_refused_rather_than_blamed_on_a_feature() -> None:
    with pytest.raises(ValueError, match="not finite"):
        reasons(pl.DataFrame({"a": [1.0]}), np.array([[np.nan, 0.0]]), {})


def test_mean_contributions_are_shares_of_the_mean_absolute_contribution(
    model: FraudModel, labelled: pl.DataFrame
) -> None:
    matrix, names = model.encoder.encode(labelled.tail(700)), model.encoder.columns
    found = np.abs(model.estimator.contributions(matrix)[:, :-1]).mean(axis=0)

    shares = mean_contributions(model.estimator, matrix, names)

    np.testing.assert_allclose([shares[name] for name in names], found / found.sum(), rtol=1e-5)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_mean_contributions_do_not_depend_on_the_order_of_the_rows(
    model: FraudModel, labelled: pl.DataFrame
) -> None:
    matrix, names = model.encoder.encode(labelled.head(300)), model.encoder.columns

    assert mean_contributions(model.estimator, matrix[::-1], names) == pytest.approx(
        mean_contributions(model.estimator, matrix, names)
    )


def test_a_model_that_says_the_same_of_every_row_has_no_mean_contributions() -> None:
    matrix = np.zeros((100, 2), dtype=np.float32)
    estimator = XGBoostEstimator()
    label = (np.arange(100) % 10 == 0).astype(np.int8)
    estimator.fit(LabelledMatrix(matrix, label), None, {}, rounds=2, seed=1, threads=1)

    assert mean_contributions(estimator, matrix, ["a", "b"]) == {}


def test_no_rows_have_no_mean_contributions(model: FraudModel) -> None:
    columns = model.encoder.columns

    assert mean_contributions(model.estimator, np.empty((0, 5), np.float32), columns) == {}
