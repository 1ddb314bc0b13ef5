"""The rules that stand in for a model."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling.encoding import MissingFeaturesError
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.modeling.scoring import score_day
from fraud_assets.transactions.profile import load_profile, shipped_profiles


def day(**columns: list[float | None]) -> pl.DataFrame:
    n = len(columns["amount"])
    return pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(n)],
            "event_time": pl.Series(
                [datetime(2025, 3, 1, tzinfo=UTC)] * n, dtype=pl.Datetime("us", "UTC")
            ),
            "payer_id": [None] * n,
            **{name: pl.Series(values, dtype=pl.Float64) for name, values in columns.items()},
        },
        schema_overrides={"payer_id": pl.String},
    )


def test_predictions_carry_the_rules_version_and_hash() -> None:
    rules = RuleSet()

    found = score_day(rules, day(amount=[10.0], payee_risk_7d=[0.5]))

    assert found["model_version"].to_list() == ["rules-1"]
    assert found["model_hash"].to_list() == [rules.model_hash]
    assert found["decision"].to_list() == ["alert"]
    assert found["threshold"].to_list() == [0.4]
    assert found["reasons"].to_list() == [
        ["of the payee's transactions checked in 7 days, 50 % were frauds"]
    ]


def test_only_alerts_have_reasons_the_heaviest_first() -> None:
    rows = day(
        amount=[10.0, 10.0],
        is_night=[1.0, 1.0],
        is_new_payee=[1.0, 1.0],
        payer_amount_ratio=[9.0, 1.0],
    )

    found = score_day(RuleSet(), rows)

    assert found["decision"].to_list() == ["alert", "pass"]
    assert found["reasons"].to_list() == [
        [
            "amount is 9.0 times the payer's usual",
            "first payment to this payee in recent days",
            "it happened at night",
        ],
        [],
    ]


def test_several_windows_of_one_feature_count_once() -> None:
    once = RuleSet().score(day(amount=[1.0], payee_risk_1d=[0.0], payee_risk_7d=[0.5]))
    twice = RuleSet().score(day(amount=[1.0], payee_risk_1d=[0.5], payee_risk_7d=[0.5]))

    assert once.equals(twice)


def test_the_mean_stands_in_where_there_is_no_ratio() -> None:
    rows = day(amount=[500.0, 50.0, 50.0], payer_mean_amount_7d=[100.0, 100.0, 0.0])

    score = RuleSet().score(rows)["score"]

    assert score[0] > 0.3
    assert max(score[1], score[2]) < 0.02
    assert RuleSet().reasons(rows, 3)[0] == ["amount is 5.0 times the payer's usual"]


def test_missing_values_fire_nothing() -> None:
    rows = day(amount=[5.0], payer_amount_ratio=[None], payee_risk_7d=[None], is_night=[None])

    assert RuleSet().score(rows)["score"][0] < 0.02


def test_a_high_amount_raises_an_alert_where_it_is_set_and_changes_the_hash() -> None:
    rules = RuleSet(high_amount=1_000.0)

    assert rules.model_hash != RuleSet().model_hash
    assert rules.score(day(amount=[2_000.0]))["decision"].to_list() == ["alert"]
    assert RuleSet().score(day(amount=[2_000.0]))["decision"].to_list() == ["pass"]


def test_the_default_rules_have_the_hash_that_stored_predictions_carry() -> None:
    assert RuleSet().model_hash == (
        "ea97263aea19b81b1776574b845d9cb41f574740887f33cd1cf05f87fe4d5f1b"
    )


def test_importance_is_the_weight_of_the_rules_shared_within_a_family() -> None:
    rules = RuleSet(amount_ratio_weight=0.3, fraud_rate_weight=0.6, night_weight=0.1)

    found = rules.importance(
        ["amount", "payer_amount_ratio", "payee_risk_1d", "payee_risk_7d", "is_night", "kind"]
    )

    assert found == pytest.approx(
        {"payee_risk_1d": 0.3, "payee_risk_7d": 0.3, "payer_amount_ratio": 0.3, "is_night": 0.1}
    )


def test_importance_is_that_of_the_columns_which_stand_in_for_the_ratio() -> None:
    found = RuleSet().importance(["amount", "payer_mean_amount_1d", "payer_mean_amount_7d"])

    assert found == pytest.approx(
        {"amount": 1 / 2, "payer_mean_amount_1d": 1 / 4, "payer_mean_amount_7d": 1 / 4}
    )


def test_a_high_amount_makes_the_amount_important() -> None:
    columns = ["amount", "is_new_payee"]

    assert RuleSet().importance(columns) == {"is_new_payee": 1.0}
    assert RuleSet(high_amount=500.0, high_amount_weight=0.6).importance(columns) == pytest.approx(
        {"amount": 0.75, "is_new_payee": 0.25}
    )


def test_where_no_rule_can_be_applied_nothing_is_important() -> None:
    assert RuleSet().importance(["amount", "kind"]) == {}
    assert RuleSet(night_weight=0.0).importance(["is_night"]) == {}


@pytest.mark.parametrize("profile", shipped_profiles())
def test_importance_is_shares_of_features_the_largest_first(profile: str) -> None:
    names = FeatureSet.from_profile(load_profile(profile)).names

    found = RuleSet().importance(names)

    assert set(found) <= {*names, "amount"}
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert sum(found.values()) == pytest.approx(1.0)
    assert list(RuleSet().importance(names[::-1])) == list(found)


@settings(max_examples=40, deadline=None)
@given(
    amounts=st.lists(st.floats(0, 1e9), min_size=2, max_size=12),
    risks=st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=12, max_size=12),
)
def test_a_score_lies_inside_zero_and_one_and_does_not_depend_on_other_rows(
    amounts: list[float], risks: list[float | None]
) -> None:
    rows = day(amount=amounts, payee_risk_7d=risks[: len(amounts)])
    rules = RuleSet(high_amount=1_000.0)

    whole = rules.score(rows)

    assert whole["score"].is_between(0, 1, closed="none").all()
    for i in range(len(amounts)):
        assert rules.score(rows[i : i + 1]).equals(whole[i : i + 1])


def test_the_larger_amount_ranks_first_where_the_same_rules_fired() -> None:
    score = RuleSet().score(day(amount=[10.0, 1_000.0], payee_risk_7d=[0.5, 0.5]))["score"]

    assert score[1] > score[0]


def test_rows_without_any_feature_but_the_amount_can_be_scored() -> None:
    assert score_day(RuleSet(), day(amount=[3.0]))["decision"].to_list() == ["pass"]
    with pytest.raises(MissingFeaturesError, match="amount"):
        RuleSet().score(pl.DataFrame({"kind": ["a"]}))


def test_a_threshold_that_alerts_without_a_rule_is_refused() -> None:
    with pytest.raises(ValidationError):
        RuleSet(threshold=0.01)
