from __future__ import annotations

import pytest

from fraud_assets.features.definitions import (
    DelayedRiskFeature,
    FeatureNameError,
    FeatureSet,
    VelocityFeature,
)
from fraud_assets.transactions.profile import Profile, load_profile, shipped_profiles

HANDBOOK = {
    "amount", "is_weekend", "is_night",
    "payer_count_1d", "payer_mean_amount_1d", "payer_count_7d", "payer_mean_amount_7d",
    "payer_count_30d", "payer_mean_amount_30d",
    "payee_labelled_count_1d", "payee_risk_1d", "payee_labelled_count_7d", "payee_risk_7d",
    "payee_labelled_count_30d", "payee_risk_30d",
}  # fmt: skip


def test_the_cards_profile_declares_the_fifteen_features_of_the_handbook_and_its_winners():
    features = FeatureSet.from_profile(load_profile("cards"))
    assert set(features.names) >= HANDBOOK
    assert {
        "payer_max_amount_14d", "payer_amount_ratio", "payee_last_label",
        "payee_seconds_since_first_known_fraud", "payee_smallest_known_fraud",
    } <= set(features.names)  # fmt: skip
    assert features.categorical_names == ()
    assert features.lookback_days == 60


def test_label_lookback_reaches_labels_known_at_once_and_used_after_the_delay():
    assert FeatureSet.from_profile(load_profile("cards")).label_lookback_days == 30 + 7


def test_risk_carries_the_label_delay_of_the_profile():
    features = FeatureSet.from_profile(load_profile("cards"))
    delays = {d.delay_days for d in features.definitions if isinstance(d, DelayedRiskFeature)}
    assert delays == {7}


@pytest.mark.parametrize("name", shipped_profiles())
def test_every_feature_has_one_column_and_a_sentence(name):
    features = FeatureSet.from_profile(load_profile(name))
    assert len(set(features.names)) == len(features.names) > 0
    assert sorted(features.numeric_names + features.categorical_names) == sorted(features.names)
    for feature in features.names:
        assert features.describe(feature).endswith(".")


def test_balances_of_paysim_are_no_features_unless_asked_for():
    profile = load_profile("paysim")
    assert not any("balance" in n for n in FeatureSet.from_profile(profile).names)
    opted = [extra.model_copy(update={"feature": True}) for extra in profile.numeric]
    wanted = profile.model_copy(update={"numeric": opted})
    assert "payer_balance_before" in FeatureSet.from_profile(wanted).numeric_names


def test_kind_is_a_feature_only_where_the_data_has_it():
    assert FeatureSet.from_profile(load_profile("paysim")).categorical_names == ("kind",)
    assert "kind" not in FeatureSet.from_profile(load_profile("cards")).names


def test_an_extra_column_with_the_name_of_a_generated_feature_is_refused():
    content = load_profile("cards").model_dump(mode="json")
    content["numeric"] = [{"name": "payer_count_1d", "column": "c"}]
    with pytest.raises(FeatureNameError, match="payer_count_1d"):
        FeatureSet.from_profile(Profile.model_validate(content))


def test_equal_declarations_are_equal_and_hashable():
    assert VelocityFeature("payer", 7, "mean") == VelocityFeature("payer", 7, "mean")
    assert hash(FeatureSet.from_profile(load_profile("cards"))) == hash(
        FeatureSet.from_profile(load_profile("cards"))
    )
