"""The yardsticks: one rule and a logistic regression, fitted on training days, judged later."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import average_precision_score, roc_auc_score

from fraud_assets.modeling.baselines import (
    LOGISTIC,
    ONE_RULE,
    Baselines,
    evaluate_baselines,
    fit_baselines,
)
from fraud_assets.modeling.encoding import MissingFeaturesError
from fraud_assets.modeling.evaluation import compare
from fraud_assets.modeling.metrics import card_precision_at_k
from fraud_assets.transactions.profile import DecisionChoices

FIRST = date(2026, 1, 1)
NUMERIC = ("amount", "age_days", "risk", "noise")
CATEGORICAL = ("kind",)


def bank(days=6, per_day=500, seed=0):
    """Young accounts are the fraudulent ones; risk and kind add to it, noise does not."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    age = rng.lognormal(4, 1, n)
    risk = np.where(rng.random(n) < 0.2, rng.random(n), 0.0)
    kind = rng.choice(["PAYMENT", "TRANSFER", "CASH_OUT"], n, p=[0.6, 0.3, 0.1])
    logit = 2 - 1.6 * np.log(age) + 2 * risk + 1.5 * (kind == "TRANSFER")
    return pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(n)],
            "day": [FIRST + timedelta(days=i // per_day) for i in range(n)],
            "payer_id": [f"p{i}" for i in rng.integers(0, 400, n)],
            "amount": rng.lognormal(3, 1, n),
            "age_days": age,
            "risk": [None if i % 13 == 0 else v for i, v in enumerate(risk)],
            "noise": rng.normal(0, 1, n),
            "kind": [None if i % 17 == 0 else k for i, k in enumerate(kind.tolist())],
            "label": (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8),
        }
    )


def fitted(frame, numeric=NUMERIC, categorical=CATEGORICAL, **changed):
    arguments = {"threads": 1, "seed": 7} | changed
    return fit_baselines(frame, numeric, categorical, **arguments)


@pytest.fixture(scope="module")
def train():
    return bank()


@pytest.fixture(scope="module")
def later():
    return bank(days=5, seed=1)


@pytest.fixture(scope="module")
def baselines(train):
    return fitted(train)


def test_the_rule_is_the_best_of_all_features_in_both_directions(train, baselines):
    label = train["label"].to_numpy()
    reached = {}
    for name in NUMERIC:
        column = train[name].to_numpy().astype(np.float64)
        for direction, sign in (("up", 1), ("down", -1)):
            score = np.where(np.isnan(column), -1e300, sign * column)
            reached[name, direction] = average_precision_score(label, score)
    best = max(reached, key=reached.get)
    assert best == ("age_days", "down")
    assert (baselines.one_rule.feature, baselines.one_rule.direction) == best
    assert baselines.one_rule.average_precision == pytest.approx(reached[best], rel=1e-3)
    assert baselines.details()[ONE_RULE] == "ranks by age_days, the smaller the more suspicious"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_missing_number_ranks_below_all_others_in_either_direction(direction):
    value = np.arange(1.0, 41.0) * (1 if direction == "up" else -1)
    label = (np.abs(value) > 30).astype(np.int8)
    frame = pl.DataFrame({"x": [*value, None, float("nan")], "label": [*label, 0, 0]})
    found = fitted(frame, ("x",), ())
    assert (found.one_rule.direction, found.one_rule.average_precision) == (direction, 1.0)
    score = found.scores(frame)[ONE_RULE]
    assert np.isfinite(score).all()
    assert score[-2:].max() < score[:-2].min()


def test_of_equal_features_the_earlier_one_is_the_rule_upwards():
    flat = pl.DataFrame({"a": [1.0] * 8, "b": [1.0] * 8, "label": [1, 0] * 4})
    rule = fitted(flat, ("b", "a"), ()).one_rule
    assert (rule.feature, rule.direction, rule.average_precision) == ("b", "up", 0.5)


def test_without_numbers_there_is_no_rule(train, later):
    found = fitted(train, (), CATEGORICAL)
    assert found.one_rule is None
    assert list(found.scores(later)) == list(found.details()) == [LOGISTIC]


def test_the_logistic_regression_ranks_later_days_better_than_the_rule(baselines, later):
    scores = baselines.scores(later)
    reached = {name: average_precision_score(later["label"], one) for name, one in scores.items()}
    assert list(reached) == [ONE_RULE, LOGISTIC]
    assert reached[LOGISTIC] > reached[ONE_RULE] > 2 * later["label"].mean()
    assert baselines.details()[LOGISTIC] == "logistic regression on all 5 features"


def test_a_row_has_the_same_score_in_any_company(baselines, later):
    whole, part = baselines.scores(later), baselines.scores(later[100:110])
    for name in (ONE_RULE, LOGISTIC):
        np.testing.assert_array_equal(part[name], whole[name][100:110])


def test_gaps_and_unseen_categories_still_get_finite_scores(baselines, later):
    gaps = later.head(20).with_columns(
        pl.lit(None, pl.Float64).alias("age_days"),
        pl.lit(float("nan")).alias("risk"),
        kind=pl.lit("CRYPTO"),
    )
    assert all(np.isfinite(one).all() for one in baselines.scores(gaps).values())


def test_an_empty_frame_has_no_scores(baselines, later):
    assert {name: one.shape for name, one in baselines.scores(later.clear()).items()} == {
        ONE_RULE: (0,), LOGISTIC: (0,),
    }  # fmt: skip


def test_baselines_survive_json_with_the_same_scores(baselines, later):
    again = Baselines.model_validate_json(baselines.model_dump_json())
    assert again == baselines
    for name, score in baselines.scores(later).items():
        np.testing.assert_array_equal(again.scores(later)[name], score)


def test_the_same_rows_give_the_same_baselines_for_any_number_of_threads(train, baselines):
    assert fitted(train, threads=2) == baselines
    thinned = fitted(train, max_rows=1_500)
    assert fitted(train, max_rows=1_500, threads=2) == thinned != baselines
    assert fitted(train, max_rows=1_500, seed=8) != thinned


def test_thinning_hardly_moves_what_was_found(train, later, baselines):
    frauds = int(train["label"].sum())
    assert 2 * frauds < 1_500 < train.height
    thinned = fitted(train, max_rows=1_500)
    assert thinned.one_rule.feature == baselines.one_rule.feature
    assert thinned.one_rule.average_precision == pytest.approx(
        baselines.one_rule.average_precision, abs=0.04
    )
    whole, part = (
        average_precision_score(later["label"], one.scores(later)[LOGISTIC])
        for one in (baselines, thinned)
    )
    assert part == pytest.approx(whole, abs=0.04)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_the_rule_ranks_at_least_as_well_as_every_feature_however_they_are_tied(data):
    n = data.draw(st.integers(4, 30))
    values = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, None]), min_size=n, max_size=n)
    label = data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(
        lambda one: 0 < sum(one) < len(one)
    ))  # fmt: skip
    frame = pl.DataFrame(
        {"a": data.draw(values), "b": data.draw(values), "label": label},
        schema={"a": pl.Float64, "b": pl.Float64, "label": pl.Int8},
    )
    rule = fitted(frame, ("a", "b"), ()).one_rule
    for name in ("a", "b"):
        for sign in (1, -1):
            score = (sign * frame[name]).fill_null(-10.0)
            reached = average_precision_score(frame["label"], score)
            assert rule.average_precision >= reached - 1e-12


@pytest.mark.parametrize("label", [0, 1])
def test_rows_of_one_class_are_refused(train, label):
    with pytest.raises(ValueError, match=r"frauds among 3000 training rows.*train on more days"):
        fitted(train.with_columns(label=pl.lit(label, pl.Int8)))


def test_a_missing_column_is_named(train, baselines, later):
    with pytest.raises(MissingFeaturesError, match="risk"):
        fitted(train.drop("risk"))
    with pytest.raises(MissingFeaturesError, match="risk"):
        baselines.scores(later.drop("risk"))


def test_a_rule_on_a_feature_that_is_not_encoded_is_refused(baselines):
    content = baselines.model_dump(mode="json")
    content["one_rule"]["feature"] = "kind"
    with pytest.raises(ValidationError, match="ranks by kind, which is not among the numbers"):
        Baselines.model_validate(content)


def test_a_regression_on_other_columns_than_its_encoders_is_refused(baselines):
    content = baselines.model_dump(mode="json")
    content["logistic"]["encoder"]["numeric"].reverse()
    with pytest.raises(ValidationError, match="its encoder makes noise, risk, age_days, amount"):
        Baselines.model_validate(content)


def with_candidate(frame, noise=0.1, seed=3):
    """Scores of a candidate that all but knows the answer."""
    blurred = frame["label"].to_numpy() + np.random.default_rng(seed).normal(0, noise, frame.height)
    return frame.with_columns(score=pl.Series(1 / (1 + np.exp(-blurred))))


def judged(baselines, frame, **changed):
    arguments = {"known_by_day": None, "alert_budget_per_day": 10, "samples": 200} | changed
    return {one.name: one for one in evaluate_baselines(baselines, frame, **arguments)}


def test_each_baseline_has_its_metrics_and_the_candidates_gain(baselines, later):
    candidate = with_candidate(later)
    found = judged(baselines, candidate)
    assert list(found) == [ONE_RULE, LOGISTIC]
    for name, score in baselines.scores(later).items():
        one, precision = found[name], average_precision_score(later["label"], score)
        assert one.detail == baselines.details()[name]
        assert one.average_precision == pytest.approx(precision)
        assert one.roc_auc == pytest.approx(roc_auc_score(later["label"], score))
        ranked = later.with_columns(score=pl.Series(score))
        assert one.card_precision == card_precision_at_k(ranked, 10).value > 0
        ours = average_precision_score(later["label"], candidate["score"])
        assert one.candidate_gain.estimate == pytest.approx(ours - precision)
        assert 0 < one.candidate_gain.low < one.candidate_gain.estimate < one.candidate_gain.high


def test_the_gain_is_that_of_the_gates_own_comparison(baselines, later):
    candidate = with_candidate(later, noise=0.8).with_columns(decision=pl.lit("pass"))
    rival = candidate.with_columns(score=pl.Series(baselines.scores(later)[LOGISTIC]))
    expected = compare(candidate, rival, decision=DecisionChoices(), samples=200)
    found = judged(baselines, candidate)[LOGISTIC].candidate_gain
    assert found == expected.average_precision_gain


def test_a_candidate_that_guesses_loses_against_the_baselines(baselines, later):
    guesses = later.with_columns(score=pl.Series(np.random.default_rng(0).random(later.height)))
    assert all(one.candidate_gain.high < 0 for one in judged(baselines, guesses).values())


def test_payers_known_before_the_day_are_left_out(baselines, later):
    candidate = with_candidate(later)
    nobody = {day: pl.Series([], dtype=pl.String) for day in later["day"].unique()}
    known = nobody | {FIRST: later["payer_id"].unique().sort()}
    rest = candidate.filter(pl.col("day") != FIRST)
    assert judged(baselines, candidate, known_by_day=known) == judged(baselines, rest)
    assert judged(baselines, candidate, known_by_day=nobody) == judged(baselines, candidate)


def test_without_frauds_nothing_is_computable(baselines, later):
    honest = with_candidate(later).with_columns(label=pl.lit(0, pl.Int8))
    for frame in (honest, honest.clear()):
        for one in judged(baselines, frame).values():
            assert one.average_precision is one.card_precision is one.roc_auc is None
            assert one.candidate_gain.estimate is None
