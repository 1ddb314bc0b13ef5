"""One model's report and the comparison of two, on a small bank of known frauds."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from fraud_assets.modeling.evaluation import Comparison, Evaluation, compare, evaluate
from fraud_assets.transactions.profile import DecisionChoices

DECISION = DecisionChoices(alert_budget_per_day=10, review_cost=2.0)
FIRST = date(2026, 1, 1)


def judged(days=5, per_day=400, skill=3.0, seed=0):
    rng = np.random.default_rng(seed)
    rows = days * per_day
    truth_logit = rng.normal(-4, 1.5, rows)
    label = (rng.random(rows) < 1 / (1 + np.exp(-truth_logit))).astype(np.int8)
    noise = np.random.default_rng(seed + 1).normal(0, 3 / skill, rows)
    score = 1 / (1 + np.exp(-(truth_logit + noise)))
    return pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(rows)],
            "day": [FIRST + timedelta(days=i // per_day) for i in range(rows)],
            "payer_id": [f"p{i}" for i in rng.integers(0, 300, rows)],
            "kind": rng.choice(["CASH_OUT", "TRANSFER"], rows),
            "amount": np.round(rng.lognormal(3, 2, rows), 2),
            "label": label,
            "scenario": [("scam" if i % 2 else "mule") if y else None for i, y in enumerate(label)],
            "score": score,
            "decision": np.where(score > 0.1, "alert", "pass"),
        }
    )


def nobody_known(frame):
    return {day: pl.Series([], dtype=pl.String) for day in frame["day"].unique()}


def test_the_numbers_are_those_of_the_metrics():
    frame = judged()
    found = evaluate(frame, decision=DECISION)
    label, score = frame["label"].to_numpy(), frame["score"].to_numpy()
    precision = average_precision_score(label, score)
    assert found.average_precision.estimate == pytest.approx(precision)
    assert found.average_precision.low < precision < found.average_precision.high
    assert found.roc_auc == pytest.approx(roc_auc_score(label, score))
    assert found.rows == 2000
    assert found.positives == label.sum()
    assert found.alerts == (score > 0.1).sum()
    assert found.card_precision <= found.card_precision_achievable
    missed = frame.filter((pl.col("label") == 1) & (pl.col("decision") == "pass"))["amount"].sum()
    assert found.cost == pytest.approx(missed + 2.0 * found.alerts)


def test_the_days_add_up_to_the_whole():
    found = evaluate(judged(), decision=DECISION)
    assert [one.day for one in found.by_day] == [FIRST + timedelta(days=i) for i in range(5)]
    for name in ("rows", "positives", "alerts", "caught", "cost"):
        whole = getattr(found, name)
        assert sum(getattr(one, name) for one in found.by_day) == pytest.approx(whole)


def test_calibration_at_the_budget_is_that_of_each_days_highest_scores():
    frame = judged()
    found = evaluate(frame, decision=DECISION)
    top = frame.sort("score", descending=True).group_by("day").head(10)
    assert top.height == 50
    assert found.calibration_ratio_at_budget == pytest.approx(
        top["score"].sum() / top["label"].sum()
    )
    everything = DecisionChoices(alert_budget_per_day=400)
    assert evaluate(frame, decision=everything).calibration_ratio_at_budget == pytest.approx(
        found.calibration_ratio
    )


def test_slices_are_cut_from_the_rows_that_are_judged():
    frame = judged()
    known = nobody_known(frame)
    known[FIRST] = pl.Series(["p1", "p2"])
    found = evaluate(frame, decision=DECISION, known_by_day=known)
    assert {one.dimension for one in found.slices} == {"kind", "amount", "scenario"}
    for dimension in ("kind", "amount"):
        of_dimension = [one for one in found.slices if one.dimension == dimension]
        for name in ("rows", "positives", "alerts", "caught"):
            assert sum(getattr(one, name) for one in of_dimension) == getattr(found, name)
    assert [one.dimension for one in found.false_positive_ratios] == ["kind", "amount"]


def test_slices_have_the_confidence_of_the_report():
    narrow, wide = (
        evaluate(judged(), decision=DECISION, confidence=level).slices[0] for level in (0.8, 0.99)
    )
    for metric in ("average_precision", "recall", "false_positive_rate"):
        low, high = f"{metric}_low", f"{metric}_high"
        assert getattr(wide, low) < getattr(narrow, low) < getattr(narrow, metric)
        assert getattr(narrow, metric) < getattr(narrow, high) < getattr(wide, high)


def test_a_report_needs_neither_kind_nor_scenario_nor_payer():
    frame = judged().drop("kind", "scenario").with_columns(payer_id=pl.lit(None, pl.String))
    found = evaluate(frame, decision=DECISION)
    assert {one.dimension for one in found.slices} == {"amount"}
    assert found.card_precision is None
    assert found.average_precision.estimate is not None


def test_payers_known_before_the_day_are_left_out_of_everything():
    frame = judged()
    known = nobody_known(frame)
    known[FIRST] = pl.Series(["p1", "p2"])
    found = evaluate(frame, decision=DECISION, known_by_day=known)
    gone = frame.filter((pl.col("day") == FIRST) & pl.col("payer_id").is_in(["p1", "p2"]))
    assert found.known_payer_rows == gone.height > 0
    assert found.rows == frame.height - gone.height
    rest = frame.join(gone, on="transaction_id", how="anti")
    assert found.average_precision.estimate == pytest.approx(
        average_precision_score(rest["label"], rest["score"])
    )


def test_days_without_frauds_are_none_and_the_rest_is_computed():
    frame = judged().with_columns(
        label=pl.when(pl.col("day") == FIRST).then(0).otherwise("label").cast(pl.Int8)
    )
    found = evaluate(frame, decision=DECISION)
    assert found.by_day[0].average_precision is None
    assert found.by_day[0].card_precision is None
    assert found.by_day[1].average_precision is not None
    assert found.average_precision.low is not None


def test_without_any_fraud_the_report_says_so_instead_of_zero():
    found = evaluate(judged().with_columns(label=pl.lit(0, pl.Int8)), decision=DECISION)
    for name in ("roc_auc", "card_precision", "recall_at_budget", "alert_recall", "savings",
                 "calibration_ratio_at_budget"):  # fmt: skip
        assert getattr(found, name) is None
    assert found.average_precision.estimate is None
    assert found.brier is not None


def test_an_empty_frame_is_reported_and_compared_as_not_computable():
    empty = judged().clear()
    found = evaluate(empty, decision=DECISION)
    assert (found.rows, found.first_day, found.average_precision.estimate) == (0, None, None)
    assert (found.slices, found.false_positive_ratios) == ((), ())
    assert found.cost is None
    assert compare(empty, empty, decision=DECISION).average_precision_gain.estimate is None


def test_an_unknown_label_is_refused():
    frame = judged().with_columns(
        label=pl.when(pl.col("transaction_id") == "t0").then(None).otherwise("label")
    )
    with pytest.raises(ValueError, match="1 labels are unknown"):
        evaluate(frame, decision=DECISION)


def test_reports_survive_json():
    frame = judged()
    found = evaluate(frame, decision=DECISION)
    assert Evaluation.model_validate_json(found.model_dump_json()) == found
    gains = compare(frame, judged(skill=1.0), decision=DECISION)
    assert Comparison.model_validate_json(gains.model_dump_json()) == gains


def test_the_same_frame_gives_the_same_report():
    assert evaluate(judged(), decision=DECISION) == evaluate(judged(), decision=DECISION)


def test_a_better_candidate_has_a_positive_gain_whatever_the_champions_row_order():
    candidate, champion = judged(skill=6.0), judged(skill=1.0)
    gains = compare(candidate, champion.sample(fraction=1.0, shuffle=True, seed=1),
                    decision=DECISION)  # fmt: skip
    assert gains.average_precision_gain.low > 0
    assert gains.candidate_average_precision > gains.champion_average_precision
    assert gains.cost_gain_per_day.estimate == pytest.approx(
        (gains.champion_cost - gains.candidate_cost) / gains.days
    )
    assert gains == compare(candidate, champion, decision=DECISION)


def test_models_scored_on_different_rows_are_not_compared():
    frame = judged()
    with pytest.raises(ValueError, match=r"2000 rows.*1999 rows"):
        compare(frame, frame.head(1999), decision=DECISION)
