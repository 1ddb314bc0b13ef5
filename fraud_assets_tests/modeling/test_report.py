"""The gate's report gathers everything about one candidate, as values that JSON can hold."""

from __future__ import annotations

import json

import polars as pl
import pytest

from fraud_assets.modeling.dataset import known_payers_by_day
from fraud_assets.modeling.leakage import ShuffledLabelControl
from fraud_assets.modeling.report import GateReport, judge_candidate
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.transactions.labels import LABELS_SCHEMA

CONTROL = ShuffledLabelControl(
    rows=900, positives=40, fraud_share=40 / 900, roc_auc=0.51, average_precision=0.05,
    limit=0.68, passed=True, note="",
)  # fmt: skip


@pytest.fixture(scope="module")
def gate_rows(labelled, split) -> pl.DataFrame:
    return labelled.filter(pl.col("day").is_in(list(split.gate_days)))


@pytest.fixture(scope="module")
def nobody(split):
    return known_payers_by_day(pl.DataFrame(schema=LABELS_SCHEMA), split.gate_days)


@pytest.fixture(scope="module")
def judge(model, gate_rows, nobody, small_profile, feature_names, candidate):
    def judged(**changed) -> GateReport:
        arguments = {
            "known_by_day": nobody, "profile": small_profile,
            "feature_names": (*feature_names[0], *feature_names[1]),
            "champion_title": "the rule set", "baselines": candidate.baselines,
        }  # fmt: skip
        return judge_candidate(model, RuleSet(), gate_rows, **(arguments | changed))

    return judged


@pytest.fixture(scope="module")
def report(judge) -> GateReport:
    return judge(control=CONTROL)


def test_the_document_is_json_with_every_part(report):
    document = json.loads(json.dumps(report.document(), allow_nan=False))
    assert set(document) == {
        "decision", "comparison", "candidate", "champion", "champion_title", "confusion",
        "baselines", "best_single_feature", "best_single_feature_auc", "control", "latency_ms",
    }  # fmt: skip
    assert document["champion_title"] == "the rule set"
    assert document["control"] == CONTROL.model_dump(mode="json")
    assert [one["name"] for one in document["baselines"]] == ["one rule", "logistic regression"]
    gain = document["baselines"][0]["candidate_gain"]
    assert set(gain) == {"estimate", "low", "high", "probability_better"}
    dimensions = [one["dimension"] for one in document["candidate"]["false_positive_ratios"]]
    assert dimensions == ["kind", "amount", "hour"]
    assert document["candidate"]["slices"][0]["recall_low"] is not None
    assert 0.5 <= document["best_single_feature_auc"] <= 1.0


def test_the_candidate_is_compared_with_champion_and_baselines_on_the_same_rows(report, gate_rows):
    assert report.candidate.rows == report.champion.rows == gate_rows.height
    precision = report.candidate.average_precision.estimate
    assert report.comparison.candidate_average_precision == pytest.approx(precision)
    for one in report.baselines:
        assert one.candidate_gain.estimate == pytest.approx(precision - one.average_precision)
    assert sum(report.confusion().values()) == gate_rows.height


def test_a_control_that_found_a_leak_refuses_the_candidate(judge):
    failed = CONTROL.model_copy(update={"roc_auc": 0.9, "passed": False})
    decision = judge(control=failed).decision
    assert not decision.promote
    assert [c.passed for c in decision.checks if c.name == "leakage"] == [False]
    assert "shuffled labels" in " ".join(decision.reasons)


def test_baselines_are_told_and_do_not_decide(judge, report):
    assert [c.passed for c in judge(baselines=None).decision.checks if c.name != "latency"] == [
        c.passed for c in report.decision.checks if c.name != "latency"
    ]
    bare = judge(baselines=None).document()
    assert (bare["baselines"], bare["control"]) == ([], None)


def test_payers_known_before_the_day_are_left_out_of_all_models_alike(judge, gate_rows, nobody):
    first = min(nobody)
    known = nobody | {first: gate_rows.filter(pl.col("day") == first)["payer_id"].unique().sort()}
    found = judge(known_by_day=known)
    rest = gate_rows.filter(pl.col("day") != first)
    assert found.candidate.rows == found.comparison.rows == found.champion.rows == rest.height
    precision = found.candidate.average_precision.estimate
    for one in found.baselines:
        assert one.candidate_gain.estimate == pytest.approx(precision - one.average_precision)


def test_the_pictures_are_png_files(report, small_profile):
    pictures = report.pictures(small_profile)
    assert list(pictures) == ["precision_recall", "calibration", "cost_curve", "by_day", "slices"]
    assert all(png.startswith(b"\x89PNG") for png in pictures.values())
