"""Models that were not in force, on the days and rows of the one that was."""

from datetime import UTC, date, datetime, timedelta
from statistics import fmean

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score

from fraud_assets.modeling.bootstrap import paired_day_bootstrap
from fraud_assets.modeling.encoding import MissingFeaturesError
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.modeling.scoring import decided
from fraud_assets.monitoring.comparison import compare_models, shadow_rows
from fraud_assets.monitoring.performance import JUDGED_SCHEMA
from fraud_assets.monitoring.records import Alternative
from fraud_assets.transactions.profile import DecisionChoices, GateChoices

FIRST = date(2026, 3, 1)
DECISION = DecisionChoices(review_cost=5.0, loss_share=0.8)
GATE = GateChoices(bootstrap_samples=200, confidence=0.9)
HOW = {"decision": DECISION, "gate": GATE, "seed": 3}


def world(days=5, rows=400, seed=1):
    """The transactions that every model's rows are of, with a noise that the models share."""
    rng = np.random.default_rng(seed)
    n = days * rows
    return pl.DataFrame(
        {
            "transaction_id": [f"t{one}" for one in range(n)],
            "day": [FIRST + timedelta(days=one // rows) for one in range(n)],
            "payer_id": [f"c{one}" for one in rng.integers(0, 200, n)],
            "amount": rng.exponential(100.0, n),
            "label": (rng.random(n) < 0.05).astype(np.int8),
            "noise": rng.normal(size=n),
        }
    )


def rows_of(frame, version, skill, *, in_force=False, seed=2):
    """Judged rows of a model; the more skill, the further apart it holds the classes."""
    own = np.random.default_rng(seed).normal(size=frame.height)
    margin = skill * frame["label"].to_numpy() + frame["noise"].to_numpy() + 0.5 * own
    return frame.with_columns(
        model_version=pl.lit(version),
        score=1 / (1 + np.exp(3 - margin)),
        alert=margin > 2,
        in_force=pl.lit(in_force),
    ).select(pl.col(name).cast(kind) for name, kind in JUDGED_SCHEMA.items())


@pytest.fixture(scope="module")
def judged():
    """Version 3 in force on five days; 2 was better, the rules worse and only from day 2 on."""
    frame = world()
    late = frame.filter(pl.col("day") > FIRST)
    return pl.concat(
        [
            rows_of(frame, "3", 2.0, in_force=True),
            rows_of(frame, "2", 4.0),
            rows_of(late, "rules-1", 1.0),
        ]
    )


def test_a_better_model_gains_and_a_worse_one_loses(judged):
    better, worse = compare_models(judged, "3", {"2": "former", "rules-1": "rules"}, **HOW)
    assert (better.version, better.kind, better.days) == ("2", "former", 5)
    assert 0 < better.gain_low < better.gain < better.gain_high
    assert better.cost_gain > 0
    assert (worse.version, worse.kind, worse.days) == ("rules-1", "rules", 4)
    assert worse.gain_low < worse.gain < worse.gain_high < 0
    assert better.average_precision > worse.average_precision


def test_the_gains_are_those_of_the_gates_paired_bootstrap(judged):
    found = compare_models(judged, "3", {"rules-1": "rules"}, **HOW)[0]
    a, b = (
        judged.filter(pl.col("model_version") == one, pl.col("day") > FIRST)
        for one in ("rules-1", "3")
    )
    paired = a.select("day", "label", "amount", score_a="score", decision_a="alert").with_columns(
        score_b=b["score"], decision_b=b["alert"]
    )
    gains = paired_day_bootstrap(
        paired, samples=200, seed=3, confidence=0.9, review_cost=5.0, loss_share=0.8
    )
    gain, cost = gains.average_precision, gains.cost_per_day
    assert (found.gain, found.gain_low, found.gain_high) == (gain.estimate, gain.low, gain.high)
    assert (found.cost_gain, found.cost_gain_low, found.cost_gain_high) == (
        cost.estimate, cost.low, cost.high,
    )  # fmt: skip
    assert found.frauds == a["label"].sum()
    assert found.average_precision == pytest.approx(
        fmean(
            average_precision_score(part["label"].to_numpy(), part["score"].to_numpy())
            for part in a.partition_by("day")
        )
    )


def test_the_order_of_rows_changes_nothing(judged):
    others = {"rules-1": "rules", "2": "suspended"}
    mixed = judged.sample(fraction=1, shuffle=True, seed=1)
    for one, other in zip(
        compare_models(mixed, "3", others, **HOW),
        compare_models(judged, "3", others, **HOW),
        strict=True,
    ):
        assert one.model_dump() == pytest.approx(other.model_dump())


def test_others_come_back_in_the_order_in_which_they_were_given(judged):
    others = {"rules-1": "rules", "9": "former", "2": "suspended"}
    found = compare_models(judged, "3", others, **HOW)
    assert [(one.version, one.kind) for one in found] == list(others.items())
    assert compare_models(judged, "3", {}, **HOW) == []


def test_without_a_common_day_there_are_no_values(judged):
    nothing = {
        "days": 0, "frauds": 0, "average_precision": None, "gain": None, "gain_low": None,
        "gain_high": None, "cost_gain": None, "cost_gain_low": None, "cost_gain_high": None,
    }  # fmt: skip
    apart = judged.filter((pl.col("model_version") == "3") == (pl.col("day") == FIRST))
    for frame, champion in ((apart, "3"), (judged, "7"), (judged.clear(), "3")):
        assert compare_models(frame, champion, {"2": "former"}, **HOW) == [
            Alternative(version="2", kind="former", **nothing)
        ]


def test_one_common_day_gives_gains_without_an_interval(judged):
    found = compare_models(judged.filter(pl.col("day") == FIRST), "3", {"2": "former"}, **HOW)[0]
    assert found.days == 1
    assert found.gain > 0
    assert (found.gain_low, found.gain_high, found.cost_gain_low) == (None, None, None)


def test_days_without_frauds_count_as_days_and_still_cost_money(judged):
    quiet = judged.with_columns(label=pl.lit(0, pl.Int8))
    found = compare_models(quiet, "3", {"2": "former"}, **HOW)[0]
    assert (found.days, found.frauds) == (5, 0)
    assert (found.average_precision, found.gain, found.gain_low) == (None, None, None)
    alerts = {one: quiet.filter(model_version=one)["alert"].sum() for one in "23"}
    assert found.cost_gain == pytest.approx(5.0 * (alerts["3"] - alerts["2"]) / 5)


def test_a_day_of_other_transactions_is_refused_by_name(judged):
    second = (pl.col("day") == FIRST + timedelta(days=1)) & (pl.col("model_version") == "2")
    short = pl.concat([judged.filter(~second), judged.filter(second).head(-1)])
    with pytest.raises(ValueError, match=r"2026-03-02: version 2 \(399 rows\).*\(400 rows\)"):
        compare_models(short, "3", {"2": "former"}, **HOW)
    renamed = judged.with_columns(
        pl.when(second & (pl.col("transaction_id") == "t400"))
        .then(pl.lit("other"))
        .otherwise("transaction_id")
        .alias("transaction_id")
    )
    with pytest.raises(ValueError, match=r"2026-03-02.*share 399 transactions"):
        compare_models(renamed, "3", {"2": "former"}, **HOW)
    relabelled = judged.with_columns(
        pl.when(second).then(1 - pl.col("label")).otherwise("label").cast(pl.Int8).alias("label")
    )
    with pytest.raises(ValueError, match=r"2026-03-02.*share 0 transactions with one label"):
        compare_models(relabelled, "3", {"2": "former"}, **HOW)


def test_two_scores_of_one_transaction_are_refused(judged):
    again = judged.filter(pl.col("model_version") == "3").head(3)
    with pytest.raises(ValueError, match="2026-03-01: version 3 has several scores of 3"):
        compare_models(pl.concat([judged, again]), "3", {"2": "former"}, **HOW)


def test_a_model_is_not_compared_with_itself(judged):
    with pytest.raises(ValueError, match="version 3 would be compared with itself"):
        compare_models(judged, "3", {"3": "former"}, **HOW)


class ByAmount:
    """Suspects large amounts: a model that needs nothing to be trained."""

    model_hash = "none"

    def __init__(self, version, limit=100.0):
        self.version, self.limit = version, limit

    def score(self, features):
        return decided((features["amount"] / (features["amount"] + self.limit)).to_numpy(), 0.5)

    def reasons(self, features, k):
        return [["amount"]] * features.height


def features_of(judged):
    return judged.select("transaction_id", "amount").with_columns(
        event_time=pl.lit(datetime(2026, 3, 1, 12, tzinfo=UTC)),
        payer_amount_ratio=pl.col("amount") / 50.0,
    )


@pytest.fixture
def in_force():
    return rows_of(world(days=1, rows=50), "3", 2.0, in_force=True)


def test_shadow_rows_are_the_judged_rows_with_each_models_own_scores(in_force):
    rules, model = RuleSet(high_amount=200.0), ByAmount("2")
    features = features_of(in_force)
    more = features.with_columns(pl.col("transaction_id") + "-not-judged")
    shuffled = pl.concat([more, features]).sample(fraction=1, shuffle=True, seed=1)
    found = shadow_rows(shuffled, in_force, [rules, model])
    assert found.schema == JUDGED_SCHEMA
    assert not found["in_force"].any()
    assert found["model_version"].to_list() == ["rules-1"] * 50 + ["2"] * 50
    for version, scorer in (("rules-1", rules), ("2", model)):
        own, expected = found.filter(model_version=version), scorer.score(features)
        assert own["score"].to_list() == expected["score"].to_list()
        assert own["alert"].to_list() == (expected["decision"] == "alert").to_list()
        assert 0 < own["alert"].sum() < 50
        kept = ["transaction_id", "day", "payer_id", "amount", "label"]
        assert own.select(kept).equals(in_force.select(kept))


def test_shadow_rows_can_be_compared_with_the_rows_in_force(in_force):
    later = in_force.with_columns(
        pl.col("transaction_id") + "-later", pl.col("day") + pl.duration(days=1)
    )
    both = pl.concat([in_force, later])
    rows = pl.concat([both, shadow_rows(features_of(both), both, [ByAmount("2")])])
    found = compare_models(rows, "3", {"2": "former"}, **HOW)[0]
    assert (found.days, found.frauds) == (2, both["label"].sum())
    assert found.gain_high is not None


def test_a_model_does_not_score_again_what_it_scored_in_force(in_force):
    mixed = in_force.with_columns(model_version=pl.Series(["3"] * 20 + ["4"] * 30, dtype=pl.String))
    found = shadow_rows(features_of(mixed), mixed, [ByAmount("3"), ByAmount("4"), ByAmount("5")])
    whole = pl.concat([mixed, found])
    assert found["model_version"].to_list() == ["3"] * 30 + ["4"] * 20 + ["5"] * 50
    for version in "345":
        one = whole.filter(model_version=version)
        assert sorted(one["transaction_id"]) == sorted(in_force["transaction_id"])


def test_without_models_or_judged_rows_there_are_no_shadow_rows(in_force):
    for rows, models in ((in_force, []), (in_force.clear(), [RuleSet()])):
        found = shadow_rows(features_of(in_force), rows, models)
        assert found.is_empty()
        assert found.schema == JUDGED_SCHEMA


def test_judged_transactions_without_features_are_refused_with_the_remedy(in_force):
    with pytest.raises(
        ValueError, match=r"2 of 50 judged.*materialise the features of 2026-03-01 again"
    ):
        shadow_rows(features_of(in_force).head(48), in_force, [RuleSet()])


def test_several_rows_of_features_are_refused(in_force):
    features = features_of(in_force)
    with pytest.raises(ValueError, match="1 judged transactions have several rows of features"):
        shadow_rows(pl.concat([features, features.head(1)]), in_force, [RuleSet()])


def test_a_feature_that_the_model_lacks_is_named(in_force):
    with pytest.raises(MissingFeaturesError, match="amount"):
        shadow_rows(features_of(in_force).drop("amount"), in_force, [RuleSet()])
