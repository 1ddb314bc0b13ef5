"""Many days with the real sensors: the loop closes, and nothing leaks or is lost."""

import shutil
from datetime import date, timedelta

import dagster as dg
import polars as pl
import pytest

from fraud_assets.assets import (
    CHAMPION,
    DASHBOARD,
    DECISION,
    DRIFT,
    EVALUATION,
    FEATURES,
    LABELS,
    PERFORMANCE,
    PREDICTIONS,
    QUARANTINED,
    RAW,
    VALIDATED,
)
from fraud_assets.assets.monitoring.setting import DASHBOARD_FILE, RECORD_FILE
from fraud_assets.definitions import build_defs
from fraud_assets.metadata import (
    DashboardRecord,
    DecisionRecord,
    DriftRecord,
    EvaluationRecord,
    PerformanceRecord,
    PredictionRecord,
    PromotionRecord,
    ValidationRecord,
    latest_by_day,
)
from fraud_assets.modeling.splits import training_end
from fraud_assets.sensors import LOOP_SENSOR
from fraud_assets.simulation import Simulation, quiet_logs
from fraud_assets.store import decisions as decision_log
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.predictions import counts_by_day
from fraud_assets.store.promotions import champion_on, history
from fraud_assets.transactions.profile import load_profile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FIRST = date(2025, 1, 1)


def day(index: int) -> date:
    return FIRST + timedelta(days=index)


def test_history_is_closed_in_one_run_and_live_days_one_by_one(installation) -> None:
    first, *rest = installation.closed
    assert (first.first_day, first.last_day) == (day(0), day(20))
    assert len([run for run in first.runs if not run.is_retraining]) == 1
    assert [closed.last_day for closed in rest] == [day(21 + i) for i in range(len(rest))]


def test_every_day_of_every_daily_asset_is_in_the_lake_and_in_the_instance(installation) -> None:
    expected = [day(i) for i in range(20 + len(installation.closed))]
    for asset in (RAW, VALIDATED, QUARANTINED, LABELS, FEATURES, PREDICTIONS):
        assert installation.lake.days(asset) == expected, asset
    for asset in (RAW, FEATURES, PREDICTIONS, DRIFT, PERFORMANCE, DECISION, DASHBOARD):
        keys = installation.instance.get_materialized_partitions(dg.AssetKey(asset))
        assert keys == {d.isoformat() for d in expected}, asset


def test_each_day_of_the_history_run_has_its_own_metadata(installation) -> None:
    records = latest_by_day(installation.instance, VALIDATED, ValidationRecord)
    assert len({records[day(i)].sha256 for i in range(21)}) == 21


def test_rows_are_conserved_every_day(installation) -> None:
    records = latest_by_day(installation.instance, VALIDATED, ValidationRecord)
    for one, record in records.items():
        raw = installation.lake.row_count(RAW, one)
        rejected = installation.lake.row_count(QUARANTINED, one)
        assert raw == record.raw_rows == record.validated_rows + rejected, one
        assert rejected == record.quarantined_rows + record.duplicate_rows, one
    assert sum(r.quarantined_rows for r in records.values()) > 0
    assert sum(r.duplicate_rows for r in records.values()) > 0


def test_a_transaction_is_validated_once_over_all_days(installation) -> None:
    ids = installation.lake.read_days(
        VALIDATED, installation.lake.days(VALIDATED), ["transaction_id"]
    )
    assert ids["transaction_id"].is_unique().all()


def test_labels_lie_in_the_day_on_which_they_became_known(installation) -> None:
    for one in installation.lake.days(LABELS):
        labels = installation.lake.read_days(LABELS, [one])
        known = labels["label_known_at"].dt.date().unique().to_list()
        assert known in ([], [one])
        assert (labels["label_known_at"] >= labels["event_time"]).all()


def test_the_first_model_is_trained_at_the_end_of_the_history_and_beats_the_rules(
    installation,
) -> None:
    trained = [run for run in installation.closed[0].runs if run.is_retraining]
    assert [run.last_day for run in trained] == [day(20)]
    judged = latest_by_day(installation.instance, EVALUATION, EvaluationRecord)[day(20)]
    assert judged.champion_version == "rules-1"
    assert judged.promote, judged.reasons


def test_the_champion_of_a_day_is_the_latest_promotion_before_it(installation) -> None:
    scored = latest_by_day(installation.instance, PREDICTIONS, PredictionRecord)
    with PredictionStore(installation.settings.store_sqlalchemy_url) as store:
        for one, record in scored.items():
            champion = champion_on(store, one)
            assert record.model_version == (champion.version if champion else "rules-1"), one
    assert scored[day(20)].model_version == "rules-1"
    assert scored[day(21)].model_version == "1"


def test_drift_is_quiet_before_the_change_and_loud_after_it(installation) -> None:
    reports = latest_by_day(installation.instance, DRIFT, DriftRecord)
    quiet = [reports[day(i)].drift_share for i in range(21, 29)]
    loud = [reports[day(i)].drift_share for i in range(29, 33)]
    assert max(quiet) < 0.3 <= min(loud)
    assert reports[day(5)].drift_share is None
    assert "no champion" in reports[day(5)].status


def test_drift_alone_warns_and_decay_retrains_once_its_frauds_can_be_learnt(installation) -> None:
    decided = latest_by_day(installation.instance, DECISION, DecisionRecord)
    retrained = [one for one in decided.values() if one.action == "retrain"]
    # A calendar of its own retrains too: the model is young, or a week old.
    for_the_change = [one for one in retrained if one.rule in ("decay", "episode", "drift")]
    first = min(for_the_change, key=lambda one: one.day)
    assert (first.rule, bool(first.findings)) == ("decay", True)
    assert first.since is not None
    assert abs((first.since - day(29)).days) <= 1
    # Not before a training would learn from days after the change; until then it is a warning.
    profile = load_profile(installation.settings.profile)
    assert training_end(first.day, profile.label_delay_days, profile.training) >= first.since
    until_then = [decided[day(i)] for i in range(29, (first.day - FIRST).days)]
    assert all(any("drift share" in text for text in one.findings) for one in until_then)
    assert "frauds" in [one.waiting_for for one in until_then]
    assert {one.action for one in until_then if one.rule not in ("age", "growth")} == {"warn"}


def test_each_decision_to_retrain_is_acted_on_once_and_nothing_else_is(installation) -> None:
    with PredictionStore(installation.settings.store_sqlalchemy_url) as store:
        decisions = decision_log.history(store)
    asked = [one for one in decisions if one.action == "retrain"]
    assert {"first_training", "decay"} <= {one.rule for one in asked}
    ran = installation.retrainings
    assert {run.sensor for run in ran} == {LOOP_SENSOR}
    assert [(run.last_day, run.reason) for run in ran] == [(one.day, one.reason) for one in asked]
    tags = [
        record.dagster_run.tags["fraud_assets/decision"]
        for record in installation.instance.get_run_records(dg.RunsFilter(job_name="retraining"))
    ]
    assert sorted(map(int, tags)) == [one.id for one in asked]
    assert [run for closed in installation.closed for run in closed.runs if run.is_rollback] == []


def test_only_days_with_findings_have_a_dashboard(installation) -> None:
    decided = latest_by_day(installation.instance, DECISION, DecisionRecord)
    shown = latest_by_day(installation.instance, DASHBOARD, DashboardRecord)
    for one, record in shown.items():
        eventful = bool(decided[one].findings) or decided[one].action != "nothing"
        assert bool(record.page) is eventful, one
        assert installation.lake.has_day(DASHBOARD, one, DASHBOARD_FILE) is eventful, one
    assert {bool(record.page) for record in shown.values()} == {True, False}


def test_a_challenger_is_promoted_after_the_change_and_average_precision_recovers(
    installation,
) -> None:
    promotions = latest_by_day(installation.instance, CHAMPION, PromotionRecord)
    after = [d for d, r in promotions.items() if r.action == "promote" and d > day(29)]
    assert after
    realised = {
        r.matured_day: r.average_precision
        for r in latest_by_day(installation.instance, PERFORMANCE, PerformanceRecord).values()
    }
    # The loop goes on learning the change, so that the last promotion may be of the last days.
    first = min(after)
    before = [realised[d] for d in realised if d and day(29) <= d <= first]
    recovered = [realised[d] for d in realised if d and d > first]
    assert recovered
    assert sum(recovered) / len(recovered) > sum(before) / len(before)


def test_every_day_is_decided_once_and_every_promotion_has_its_reason(installation) -> None:
    with PredictionStore(installation.settings.store_sqlalchemy_url) as store:
        promotions, decisions = history(store), decision_log.history(store)
    assert [one.day for one in decisions] == [day(i) for i in range(len(decisions))]
    assert len(decisions) == 20 + len(installation.closed)
    assert {one.rule for one in decisions[:20]} == {"outdated"}
    assert [one.day for one in promotions] == [run.last_day for run in installation.retrainings]
    assert all(one.reason for one in (*promotions, *decisions))


def test_the_prediction_store_holds_what_the_lake_holds(installation) -> None:
    with PredictionStore(installation.settings.store_sqlalchemy_url) as store:
        counted = counts_by_day(store)
    for row in counted.iter_rows(named=True):
        frame = installation.lake.read_days(PREDICTIONS, [row["day"]])
        assert row["predictions"] == frame.height
        assert row["alerts"] == (frame["decision"] == "alert").sum()
    assert counted["day"].to_list() == installation.lake.days(PREDICTIONS)


def test_alerts_of_a_model_carry_reasons(installation) -> None:
    frame = installation.lake.read_days(PREDICTIONS, [day(25)])
    alerts = frame.filter(pl.col("decision") == "alert")
    assert alerts.height > 0
    assert (alerts["reasons"].list.len() > 0).all()


def test_running_the_clock_again_repeats_nothing(installation) -> None:
    """The sensors are asked again at the same clock: no day closes twice, no report fires twice."""
    simulation = Simulation(installation.settings, installation.instance)
    before = installation.instance.get_runs_count()
    with quiet_logs():
        assert list(simulation.tick()) == []
    assert installation.instance.get_runs_count() == before


def test_a_day_that_is_run_again_has_the_same_bytes(installation) -> None:
    """Also when it was first computed within a run of many days."""
    for again in (day(12), day(30)):
        assets = (VALIDATED, QUARANTINED, LABELS, FEATURES, PREDICTIONS)
        files = [installation.lake.path(a, again) for a in assets]
        files += [installation.lake.path(a, again, RECORD_FILE) for a in (DRIFT, PERFORMANCE)]
        before = {file: file.read_bytes() for file in files}
        job = build_defs(installation.settings).get_repository_def().get_job("daily_pipeline")
        with quiet_logs():
            result = job.execute_in_process(
                instance=installation.instance, partition_key=again.isoformat()
            )
        assert result.success
        for file in files:
            assert file.read_bytes() == before[file], file


def test_an_old_day_that_is_reported_again_decides_and_retrains_nothing(installation) -> None:
    simulation = Simulation(installation.settings, installation.instance)
    job = build_defs(installation.settings).get_repository_def().get_job("daily_pipeline")
    with PredictionStore(installation.settings.store_sqlalchemy_url) as store:
        before = decision_log.history(store)
        with quiet_logs():
            job.execute_in_process(instance=installation.instance, partition_key=str(day(31)))
            assert list(simulation.tick()) == []
        assert decision_log.history(store) == before


def test_retraining_a_day_again_gives_the_same_model(installation) -> None:
    judged = latest_by_day(installation.instance, EVALUATION, EvaluationRecord)
    job = build_defs(installation.settings).get_repository_def().get_job("retraining")
    with quiet_logs():
        assert job.execute_in_process(
            instance=installation.instance, partition_key=str(day(20))
        ).success
    again = latest_by_day(installation.instance, EVALUATION, EvaluationRecord)[day(20)]
    assert again.candidate_version == judged[day(20)].candidate_version
    with PredictionStore(installation.settings.store_sqlalchemy_url) as store:
        assert champion_on(store, day(60)).version == history(store)[-1].version or (
            history(store)[-1].action == "keep"
        )


def test_predictions_of_a_day_do_not_change_when_later_days_are_gone(
    installation, tmp_path
) -> None:
    """Leakage: features of day 12 from a lake that ends on day 12 equal those of the long run."""
    lake = installation.lake
    cut = tmp_path / "data" / "lake"
    for asset in (RAW, VALIDATED, LABELS):
        for one in lake.days(asset):
            if one <= day(12):
                target = cut / asset / f"day={one}"
                target.mkdir(parents=True)
                shutil.copy(lake.path(asset, one), target / "data.parquet")
    settings = installation.settings.model_copy(update={"data_dir": tmp_path / "data"})
    defs = build_defs(settings)
    with dg.DagsterInstance.ephemeral() as instance, quiet_logs():
        result = (
            defs.get_repository_def()
            .get_job("daily_pipeline")
            .execute_in_process(
                instance=instance,
                partition_key=str(day(12)),
                asset_selection=[dg.AssetKey(FEATURES)],
            )
        )
    assert result.success
    fresh = (cut / FEATURES / f"day={day(12)}" / "data.parquet").read_bytes()
    assert fresh == lake.path(FEATURES, day(12)).read_bytes()
