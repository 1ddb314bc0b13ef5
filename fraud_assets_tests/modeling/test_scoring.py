"""Scores, decisions and the frame of predictions."""

from __future__ import annotations

import polars as pl
import pytest

from fraud_assets.modeling.encoding import MissingFeaturesError
from fraud_assets.modeling.metrics import average_precision
from fraud_assets.modeling.scoring import FraudModel, score_day

PREDICTIONS = {
    "transaction_id": pl.String,
    "event_time": pl.Datetime("us", "UTC"),
    "payer_id": pl.String,
    "amount": pl.Float64,
    "score": pl.Float64,
    "decision": pl.String,
    "threshold": pl.Float64,
    "reasons": pl.List(pl.String),
    "model_version": pl.String,
    "model_hash": pl.String,
}


@pytest.fixture
def day(labelled: pl.DataFrame) -> pl.DataFrame:
    """The last of the gate days, without its labels."""
    return labelled.filter(pl.col("day") == pl.col("day").max()).drop("label", "day")


def test_predictions_have_the_agreed_columns_row_by_row(model: FraudModel, day) -> None:
    found = score_day(model, day)

    assert dict(found.schema) == PREDICTIONS
    assert found["transaction_id"].to_list() == day["transaction_id"].to_list()
    assert found["model_version"].unique().to_list() == ["3"]
    assert found["model_hash"].unique().to_list() == [model.model_hash]
    assert found["score"].is_between(0, 1, closed="none").all()


def test_alerts_are_the_scores_from_the_threshold_on_and_only_they_have_reasons(
    model: FraudModel, day
) -> None:
    found = score_day(model, day, k=2)
    alerts = found.filter(pl.col("decision") == "alert")

    assert 0 < alerts.height < day.height
    assert (alerts["score"] >= model.policy.threshold).all()
    assert (found.filter(pl.col("decision") == "pass")["score"] < model.policy.threshold).all()
    assert alerts["reasons"].list.len().is_between(1, 2).all()
    assert (found.filter(pl.col("decision") == "pass")["reasons"].list.len() == 0).all()


def test_reasons_can_be_left_out(model: FraudModel, day) -> None:
    found = score_day(model, day, reasons_for_alerts=False)

    assert found["reasons"].list.len().sum() == 0
    assert found["score"].equals(score_day(model, day)["score"])


def test_a_score_does_not_depend_on_the_other_rows(model: FraudModel, day) -> None:
    whole = score_day(model, day)

    assert score_day(model, day[17:18]).equals(whole[17:18])


def test_scoring_a_day_twice_gives_equal_frames(model: FraudModel, day) -> None:
    assert score_day(model, day).equals(score_day(model, day))


def test_later_days_are_ranked_well(model: FraudModel, labelled: pl.DataFrame) -> None:
    later = labelled.filter(pl.col("day") > model.manifest.train_window.last)

    value = average_precision(later["label"].to_numpy(), model.probabilities(later))

    assert value > 3 * later["label"].mean()


def test_a_lacking_feature_is_named(model: FraudModel, day) -> None:
    with pytest.raises(MissingFeaturesError, match="lacks payee_risk_7d"):
        score_day(model, day.drop("payee_risk_7d"))
    with pytest.raises(MissingFeaturesError, match="predictions need payer_id"):
        score_day(model, day.drop("payer_id"))


def test_a_day_without_transactions_gives_a_frame_without_rows(model: FraudModel, day) -> None:
    found = score_day(model, day.head(0))

    assert (found.height, dict(found.schema)) == (0, PREDICTIONS)
    assert model.reasons(day.head(0)) == []


def test_a_payer_column_without_values_is_kept_as_it_is(model: FraudModel, day) -> None:
    nobody = day.with_columns(pl.lit(None, dtype=pl.String).alias("payer_id"))

    assert score_day(model, nobody)["payer_id"].null_count() == day.height


def test_importance_is_of_the_given_rows_and_takes_their_features_as_they_are(
    model: FraudModel, day
) -> None:
    risky = day.filter(pl.col("payee_risk_7d") > 0.5)

    whole, found = model.importance(day), model.importance(risky)

    assert list(whole) == list(model.importance(day.reverse()))
    assert set(found) == set(whole) == set(model.manifest.feature_importance)
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["payee_risk_7d"] > whole["payee_risk_7d"] + 0.1


def test_importance_of_no_rows_is_empty_and_of_rows_without_a_feature_an_error(
    model: FraudModel, day
) -> None:
    assert model.importance(day.head(0)) == {}
    with pytest.raises(MissingFeaturesError, match="lacks kind"):
        model.importance(day.drop("kind"))
