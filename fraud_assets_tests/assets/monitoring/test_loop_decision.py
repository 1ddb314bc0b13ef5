"""What is decided at the close of a day: on the record, once, and from that day's knowledge."""

from __future__ import annotations

import shutil
from typing import Any

import dagster as dg
import polars as pl
import pytest

from fraud_assets.assets import (
    CHAMPION,
    DECISION,
    DRIFT,
    LABELS,
    PERFORMANCE,
    PREDICTIONS,
    VALIDATED,
)
from fraud_assets.assets.monitoring.setting import RECORD_FILE, TABLES_FILE
from fraud_assets.jobs import RETRAINING
from fraud_assets.metadata import DecisionRecord, ValidationRecord
from fraud_assets.store.decisions import StoredDecision
from fraud_assets.store.decisions import record as record_decision
from fraud_assets.store.migrate import migrate
from fraud_assets.store.promotions import record as record_promotion

pytestmark = pytest.mark.slow

STORED_ONCE = {"id", "run_id", "created_at"}


def content(decision: StoredDecision) -> dict[str, Any]:
    """What was decided, without where and when it was recorded."""
    return decision.model_dump(exclude=STORED_ONCE)


def reports(made: Any, index: int) -> list[bytes]:
    """The bytes that a day's decision rests on."""
    names = [(DRIFT, RECORD_FILE), (DRIFT, TABLES_FILE), (PERFORMANCE, RECORD_FILE)]
    return [made.lake.read_document(asset, made.day(index), name) for asset, name in names]


def metadata(made: Any, asset: str) -> dict[str, Any]:
    """Of the newest materialisation."""
    found = made.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records[0]
    return {name: value.value for name, value in found.asset_materialization.metadata.items()}


# --- on the record --------------------------------------------------------------------------------


def test_a_days_decision_is_on_the_record_and_in_the_metadata(served) -> None:
    stored = served.decided(13)
    said = served.said(DECISION, 13, DecisionRecord)
    assert (said.decision_id, said.day, said.action) == (stored.id, stored.day, stored.action)
    assert (said.rule, said.champion, said.reason) == (stored.rule, "2", stored.reason)
    assert (said.findings, said.repeated) == ([one["text"] for one in stored.findings], False)
    assert (stored.action, stored.rule) == ("nothing", "quiet")
    gate = served.performance(13).champion_gate_average_precision
    assert f"{gate:.3f} at the gate" in stored.reason
    shown = metadata(served, DECISION)
    assert shown["numbers"] == stored.numbers
    assert stored.numbers["drift_share"] == served.drift(13).drift_share
    log = [row.data for row in shown["decision_log"].records]
    assert [row["day"] for row in log] == [str(served.day(i)) for i in range(13, -1, -1)]
    assert log[0]["reason"] == stored.reason


def test_the_run_that_trains_carries_the_decision_that_asked_for_it(young) -> None:
    [asked] = [one for one in young.decisions() if one.action == "retrain"]
    assert (asked.day, asked.rule) == (young.day(9), "first_training")
    [run] = young.instance.get_runs(dg.RunsFilter(job_name=RETRAINING))
    assert run.tags["fraud_assets/decision"] == str(asked.id)
    assert run.tags["fraud_assets/reason"] == asked.reason
    assert run.tags["dagster/partition"] == str(asked.day)


def test_of_many_days_in_one_run_only_the_last_decides(young) -> None:
    history = young.decisions()[:10]
    assert [one.day for one in history] == [young.day(i) for i in range(10)]
    assert {one.rule for one in history[:9]} == {"outdated"}
    assert {one.action for one in history[:9]} == {"nothing"}
    assert (
        f"{young.day(4)} is older than the newest closed day, {young.day(9)}" in history[4].reason
    )
    assert history[9].action == "retrain"
    assert len({one.run_id for one in history}) == 1
    found = young.instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(DECISION), asset_partitions=[str(young.day(9))]), limit=1
    ).records[0]
    log = found.asset_materialization.metadata["decision_log"].value.records
    assert [row.data["day"] for row in log] == [str(young.day(i)) for i in range(9, -1, -1)]


# --- once -----------------------------------------------------------------------------------------


def test_a_day_that_is_closed_again_adds_no_decision_and_writes_the_same_bytes(
    branch, served
) -> None:
    made = branch(served)
    made.live()
    before, bytes_before = made.decisions(), reports(made, 14)
    assert made.said(DECISION, 14, DecisionRecord).repeated is False
    run_id = made.close(14)
    assert made.decisions() == before
    assert reports(made, 14) == bytes_before
    said = made.said(DECISION, 14, DecisionRecord)
    assert (said.repeated, said.decision_id) == (True, before[-1].id)
    assert before[-1].run_id != run_id
    log = [row.data["day"] for row in metadata(made, DECISION)["decision_log"].records]
    assert log == [str(made.day(i)) for i in range(14, -1, -1)]


def test_a_day_that_is_closed_again_in_a_lake_that_was_moved_is_the_same_day(
    branch, served
) -> None:
    made = branch(served)
    before = made.decisions()
    made.close(13, DRIFT, PERFORMANCE, DECISION)
    assert reports(made, 13) != reports(served, 13)  # the record names the page's place
    assert made.decisions() == before


def forget_frauds(made: Any, index: int) -> None:
    """The labels that became known on a day say by now that all is well."""
    labels = made.lake.read_days(LABELS, [made.day(index)])
    made.lake.write_day(LABELS, made.day(index), labels.with_columns(pl.col("label") * 0))


def test_a_backfill_of_old_days_decides_nothing_and_does_nothing(branch, served) -> None:
    made = branch(served)
    before = made.decisions()
    forget_frauds(made, 11)
    made.close(11, PERFORMANCE, DECISION, until=12)
    added = made.decisions()[len(before) :]
    assert made.decisions()[: len(before)] == before
    assert [one.day for one in added] == [made.day(11), made.day(12)]
    assert {(one.action, one.rule) for one in added} == {("nothing", "outdated")}
    # The loop sensor has nothing to do for them, and the next day is decided as ever.
    closed = made.live()
    assert [run.job for run in closed.runs] == ["daily_pipeline"]
    assert made.decided(14).rule != "outdated"


def test_a_newest_day_whose_reports_change_is_decided_again(branch, served) -> None:
    made = branch(served)
    before = made.decisions()
    forget_frauds(made, 13)
    made.close(13, PERFORMANCE, DECISION)
    [added] = made.decisions()[len(before) :]
    assert added.day == made.day(13)
    assert added.rule != "outdated"
    assert added.fingerprint != before[-1].fingerprint
    assert made.performance(13).positives == 0
    assert [one["kind"] for one in added.findings] == ["estimate"]
    assert before[-1].findings == []
    assert made.said(DECISION, 13, DecisionRecord).repeated is False


# --- from what was known then ---------------------------------------------------------------------


def decide_anew(made: Any, index: int) -> StoredDecision:
    """The decision of a day by an instance and a store that know of nothing after it.

    Whatever is told there of the days before is what was known at the end of the day.
    """
    promotions = [one for one in made.promotions() if one.day < made.day(index)]
    decisions = [one for one in made.decisions() if one.day < made.day(index)]
    quality = made.said(VALIDATED, index, ValidationRecord)
    (made.folder / "data" / "store.db").unlink()
    migrate(made.settings.store_sqlalchemy_url)
    with made.store() as store:
        for promotion in promotions:
            record_promotion(store, promotion)
        for decision in decisions:
            record_decision(store, decision)
    with dg.DagsterInstance.ephemeral() as made.instance:
        known = [(CHAMPION, 9, {}), (CHAMPION, 11, {}), (VALIDATED, index, quality.to_dagster())]
        for asset, of, metadata in known:
            made.instance.report_runless_asset_event(
                dg.AssetMaterialization(asset, partition=str(made.day(of)), metadata=metadata)
            )
        made.close(index, DECISION)
    return made.decided(index)


def test_a_decision_does_not_change_when_later_days_are_gone(branch, served, copies) -> None:
    long, short = copies(served), branch(served)
    for folder in (short.folder / "data" / "lake").glob("*/day=*"):
        if folder.name > f"day={short.day(12)}":
            shutil.rmtree(folder)
    assert not short.lake.has_day(PREDICTIONS, short.day(13))
    assert long.lake.has_day(PREDICTIONS, long.day(13))
    found = [content(decide_anew(made, 12)) for made in (long, short)]
    assert found[0] == found[1] == content(served.decided(12))


# --- one retraining at a time ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "waiting_for"),
    [
        (dg.DagsterRunStatus.NOT_STARTED, "running"),
        (dg.DagsterRunStatus.STARTED, "running"),
        (dg.DagsterRunStatus.FAILURE, None),
    ],
)
def test_a_retraining_that_runs_is_waited_for(branch, served, status, waiting_for) -> None:
    made = branch(served, max_model_age_days=3)
    made.instance.create_run_for_job(
        made.repository.get_job(RETRAINING),
        status=status,
        tags={"dagster/partition": str(made.day(11))},
    )
    made.land(14)
    made.close(14)
    found = made.decided(14)
    assert (found.rule, found.waiting_for) == ("age", waiting_for)
    assert found.action == ("nothing" if waiting_for else "retrain")
    assert "the last training was 3 days ago" in found.reason
    assert found.reason.startswith("a retraining is running: one at a time") is bool(waiting_for)
    assert made.said(DECISION, 14, DecisionRecord).waiting_for == (waiting_for or "")
