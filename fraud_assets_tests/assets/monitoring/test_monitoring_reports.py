"""What the reports of a day measure, and that they do not depend on the run that made them."""

from __future__ import annotations

import re
from statistics import fmean
from typing import Any

import polars as pl
import pytest

from fraud_assets.assets import DRIFT, EVALUATION, LABELS, PERFORMANCE, PREDICTIONS
from fraud_assets.assets.models.setting import EVALUATION_FILE
from fraud_assets.assets.monitoring.setting import RECORD_FILE, REPORT_FILE, TABLES_FILE
from fraud_assets.metadata import EvaluationRecord, PerformanceRecord
from fraud_assets.monitoring.performance import JUDGED_SCHEMA

pytestmark = pytest.mark.slow

KEY = ["transaction_id", "model_version"]


def judged(made: Any, index: int) -> pl.DataFrame:
    return made.lake.read_days(PERFORMANCE, [made.day(index)])


# --- judged rows ----------------------------------------------------------------------------------


def test_each_judged_transaction_has_one_row_per_model(served) -> None:
    rows = judged(served, 13)
    assert rows.schema == pl.Schema(JUDGED_SCHEMA)
    assert not rows.select(KEY).is_duplicated().any()
    assert rows["day"].unique().to_list() == [served.day(12)]
    ids = rows.group_by("model_version").agg(pl.col("transaction_id").sort())
    assert sorted(ids["model_version"]) == ["1", "2", "rules-1"]
    assert len({tuple(one) for one in ids["transaction_id"]}) == 1
    assert rows.height == 3 * served.performance(13).judged_rows


def test_rows_in_force_are_the_predictions_as_they_were_made(served) -> None:
    rows = judged(served, 13).filter("in_force")
    assert rows["model_version"].unique().to_list() == ["2"]
    made_then = served.lake.read_days(PREDICTIONS, [served.day(12)]).with_columns(
        (pl.col("decision") == "alert").alias("was_alert")
    )
    joined = rows.join(made_then, on="transaction_id", suffix="_then")
    assert joined.height == rows.height
    assert joined["score"].equals(joined["score_then"], check_names=False)
    assert joined["alert"].equals(joined["was_alert"], check_names=False)
    assert rows["label"].sum() == served.performance(13).positives > 0


@pytest.mark.parametrize(
    ("index", "in_force", "shadows"),
    [
        # Version 1 was trained as of day 9, which is judged at the close of day 10.
        (10, "rules-1", []),
        (11, "1", ["rules-1"]),
        # Version 2, in force since day 12, was trained as of day 11.
        (12, "1", ["rules-1"]),
        (13, "2", ["1", "rules-1"]),
    ],
)
def test_a_model_is_compared_only_on_days_after_the_day_as_of_which_it_was_trained(
    served, index, in_force, shadows
) -> None:
    rows = judged(served, index)
    assert rows.filter("in_force")["model_version"].unique().to_list() == [in_force]
    others = rows.filter(~pl.col("in_force"))["model_version"].unique().sort().to_list()
    assert others == shadows


def test_a_shadow_score_is_what_the_model_itself_gives(served) -> None:
    from fraud_assets.assets import FEATURES

    model = served.registry.load("1")
    features = served.lake.read_days(FEATURES, [served.day(12)])
    own = features.select("transaction_id").with_columns(model.score(features)["score"])
    rows = judged(served, 13).filter(pl.col("model_version") == "1").join(own, on="transaction_id")
    assert rows["score"].to_list() == pytest.approx(rows["score_right"].to_list(), abs=1e-12)


def test_other_models_are_compared_with_the_champion_over_their_common_days(served) -> None:
    kinds = {one.version: (one.kind, one.days) for one in served.performance(13).alternatives}
    assert kinds == {"rules-1": ("rules", 1), "1": ("former", 1)}
    [rules] = [one for one in served.performance(13).alternatives if one.kind == "rules"]
    assert rules.gain < -0.3  # the rules do not know of the age of devices
    said = served.said(PERFORMANCE, 13, PerformanceRecord)
    assert said.alternatives == served.performance(13).alternatives


# --- the same bytes -------------------------------------------------------------------------------


def written(made: Any, index: int) -> dict[str, bytes]:
    """The bytes of a day's reports, without the folder of the lake that they name."""
    names = [(DRIFT, name) for name in (RECORD_FILE, TABLES_FILE, REPORT_FILE)]
    names += [(PERFORMANCE, RECORD_FILE), (PERFORMANCE, "data.parquet")]
    return {
        f"{asset}/{name}": re.sub(
            rb'"[^"]*/data/lake/', b'"', made.lake.read_document(asset, made.day(index), name)
        )
        for asset, name in names
        if made.lake.has_day(asset, made.day(index), name)
    }


def test_days_that_are_reported_in_one_run_are_as_each_alone(branch, served) -> None:
    """Days 10 to 13 were closed one by one; two champions were in force on them."""
    made = branch(served)
    made.close(10, DRIFT, PERFORMANCE, until=13)
    for index in range(10, 14):
        alone, together = written(served, index), written(made, index)
        assert len(alone) == 5
        assert [name for name in alone if alone[name] != together[name]] == [], index


def test_a_day_of_the_history_run_is_the_same_alone(branch, served) -> None:
    made = branch(served)
    made.close(5, DRIFT, PERFORMANCE)
    assert written(made, 5) == written(served, 5)
    assert not made.lake.has_day(DRIFT, made.day(5), REPORT_FILE)  # there was no model yet


# --- estimates and levels -------------------------------------------------------------------------


def test_the_rules_scores_give_no_label_free_estimate(served) -> None:
    by_rules, by_model = served.performance(8), served.performance(13)
    estimates = [name for name in PerformanceRecord.model_fields if "estimate" in name]
    assert len(estimates) == 7
    assert [getattr(by_rules, name) for name in estimates] == [None] * 7
    assert None not in [getattr(by_model, name) for name in estimates]
    # Day 10 is the first of the model, and judges the last of the rules.
    first = served.performance(10)
    assert first.model_version == "rules-1"
    assert first.estimated_frauds is not None
    assert first.matured_estimated_frauds is first.frauds_surprise is None


def test_the_estimate_is_reconciled_with_what_was_realised(served) -> None:
    then, now = served.performance(12), served.performance(13)
    assert now.matured_day == then.day
    assert now.matured_estimated_average_precision == pytest.approx(
        then.estimated_average_precision,
        abs=0.05,  # some payers were known by then
    )
    assert now.estimate_error == pytest.approx(
        now.matured_estimated_average_precision - now.average_precision
    )


def test_the_gate_level_is_the_mean_over_the_days_of_the_champions_gate(served) -> None:
    report = served.lake.read_json(EVALUATION, served.day(11), EVALUATION_FILE)
    daily = [one["average_precision"] for one in report["candidate"]["by_day"]]
    assert len(daily) == 2
    found = served.performance(13)
    assert found.champion_version == "2"
    assert found.champion_gate_average_precision == pytest.approx(fmean(daily))
    assert served.performance(8).champion_gate_average_precision is None  # of the rules


def test_a_gate_report_of_another_version_or_none_is_no_level(branch, served) -> None:
    made = branch(served)
    report = made.lake.read_json(EVALUATION, made.day(11), EVALUATION_FILE)
    record = EvaluationRecord.model_validate(report["record"])
    other = record.model_copy(update={"candidate_version": "7"}).model_dump_json()
    text = f'{{"record": {other}, "candidate": null}}'
    made.lake.write_document(EVALUATION, made.day(11), EVALUATION_FILE, text)
    made.close(13, PERFORMANCE)
    assert made.performance(13).champion_gate_average_precision is None
    made.lake.path(EVALUATION, made.day(11), EVALUATION_FILE).unlink()
    made.close(13, PERFORMANCE)
    found = made.performance(13)
    assert found.champion_gate_average_precision is None
    assert found.recent_average_precision is not None


def test_labels_that_become_known_later_do_not_change_a_report(branch, served) -> None:
    made = branch(served)
    before = written(made, 12)
    for index in (13, 12):  # from the day after on, and then on the day itself
        labels = made.lake.read_days(LABELS, [made.day(index)])
        made.lake.write_day(
            LABELS, made.day(index), labels.with_columns((1 - pl.col("label")).alias("label"))
        )
        made.close(12, PERFORMANCE)
        assert (written(made, 12) == before) is (index == 13)
