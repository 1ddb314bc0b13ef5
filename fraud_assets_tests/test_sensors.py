"""Real ticks of the sensors on a real instance and a real store, over reports made by hand."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from fraud_assets.assets import DRIFT, FEATURES, PERFORMANCE, RAW, VALIDATED
from fraud_assets.clock import SimulationClock
from fraud_assets.definitions import build_defs
from fraud_assets.jobs import RETRAINING
from fraud_assets.metadata import DriftRecord, PerformanceRecord, Record, ValidationRecord
from fraud_assets.resources import store_resource
from fraud_assets.sensors import DRIFT_SENSOR, NEW_DAY_SENSOR, PERFORMANCE_SENSOR
from fraud_assets.settings import Settings
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.migrate import migrate
from fraud_assets.store.promotions import Promotion, record
from fraud_assets.transactions.profile import load_profile, shipped_profiles

FIRST = date(2025, 1, 1)
CHANGE = 14
"""Index of the day from which on inputs have drifted, or the champion has become worse."""

LATE = 20
"""A day on which the frauds since the change are among the days that a training learns from."""


def day(index: int) -> date:
    return FIRST + timedelta(days=index)


PROFILE = {
    "name": "small",
    "columns": {
        "transaction_id": "id",
        "time": {"column": "at"},
        "amount": {"column": "amount"},
        "payer": "from",
        "label": {"column": "fraud", "delay_days": 1},
    },
    "features": {"payer": {"windows_days": [1], "aggregates": ["count"]}},
    "training": {"window_days": 7, "validation_days": 1, "gate_days": 2},
    "monitoring": {
        "drift_share_threshold": 0.3,
        "min_rows": 100,
        "max_quarantine_share": 0.02,
        "cooldown_days": 2,
        "min_mature_positives": 30,
        "performance_drop": 0.25,
        "performance_days": 4,
    },
}


class Pipeline:
    """An installation whose days are reported by hand instead of computed."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings, self.instance = settings, instance
        self.defs = build_defs(settings)
        self.repository = self.defs.get_repository_def()
        migrate(settings.store_sqlalchemy_url)

    def report(self, asset: str, one: date, metadata: Record | None = None) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset, partition=str(one), metadata=metadata.to_dagster() if metadata else {}
            )
        )

    def drift(self, one: date, share: float | None = 0.1, **changes: Any) -> None:
        values: dict[str, Any] = {
            "day": one, "status": "measured", "drift_share": share,
            "drifted_columns": ["amount"], "score_drift": 0.2, "rows": 5000,
            "reference_rows": 5000, "reference": "earlier", "method": "distance",
            "column_threshold": 0.1, "champion_version": "1", "report_path": "",
        }  # fmt: skip
        self.report(DRIFT, one, DriftRecord(**{**values, **changes}))

    def performance(self, one: date, precision: float | None = 0.8, **changes: Any) -> None:
        fields = dict.fromkeys(PerformanceRecord.model_fields)
        values: dict[str, Any] = {
            **fields, "day": one, "matured_day": one - timedelta(days=1), "rows": 5000,
            "positives": 15, "average_precision": precision, "model_version": "1",
            "champion_gate_average_precision": 0.8,
        }  # fmt: skip
        self.report(PERFORMANCE, one, PerformanceRecord(**{**values, **changes}))

    def validation(self, one: date, reject_share: float = 0.0) -> None:
        values = {"raw_rows": 5000, "validated_rows": 5000, "quarantined_rows": 0}
        account = ValidationRecord(
            **values, duplicate_rows=0, reject_share=reject_share, sha256="x"
        )
        self.report(VALIDATED, one, account)

    def close(self, last: int, *, drift_from: int = 999, worse_from: int = 999) -> None:
        """Reports of the days 0 to `last`; of the last one too."""
        for index in range(last + 1):
            one = day(index)
            self.report(FEATURES, one)
            self.validation(one)
            self.drift(one, 0.6 if index >= drift_from else 0.1)
            self.performance(one, 0.4 if index > worse_from else 0.8)

    def promote(self, one: date, version: str = "1") -> None:
        with PredictionStore(self.settings.store_sqlalchemy_url) as store:
            record(
                store,
                Promotion(day=one, action="promote", version=version, model_hash="h", reason="r"),
            )

    def tick(self, sensor: str, cursor: str | None = None) -> Any:
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=cursor,
            definitions=self.defs,
            sensor_name=sensor,
            resources={"store": store_resource(self.settings)},
        ) as context:
            return self.repository.get_sensor_def(sensor).evaluate_tick(context)

    def run(
        self,
        tags: dict[str, str],
        status: dg.DagsterRunStatus = dg.DagsterRunStatus.SUCCESS,
    ) -> None:
        """A run of the retraining job, as the daemon would have made it from a request."""
        job = self.repository.get_job(RETRAINING)
        self.instance.create_run_for_job(job, status=status, tags=tags)


def reason(tick: Any) -> str:
    """The skip reason; every one carries a number."""
    assert not tick.run_requests
    assert re.search(r"\d", tick.skip_message), tick.skip_message
    return tick.skip_message


def only_request(tick: Any) -> Any:
    assert len(tick.run_requests) == 1, tick.skip_message
    return tick.run_requests[0]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    instances = []

    def build(
        profile: dict[str, Any] | str = PROFILE, *, on_disk: bool = False, **changes: Any
    ) -> Pipeline:
        name = profile
        if isinstance(profile, dict):
            name = str(tmp_path / "profile.yaml")
            Path(name).write_text(yaml.safe_dump(profile), "utf-8")
        settings = Settings(
            **{"_env_file": None, "data_dir": tmp_path / "data", "profile": name, **changes}
        )
        settings.data_dir.mkdir(exist_ok=True)
        home = tmp_path / "dagster"
        home.mkdir()
        instances.append(
            dg.DagsterInstance.local_temp(str(home)) if on_disk else dg.DagsterInstance.ephemeral()
        )
        return Pipeline(settings, instances[-1])

    yield build
    for instance in instances:
        instance.dispose()


@pytest.fixture
def pipeline(make) -> Pipeline:
    """A champion since day 5, whose days are closed up to day 20 without anything remarkable."""
    made = make()
    made.promote(day(5))
    return made


# --- drift ---------------------------------------------------------------------------------------


def test_lasting_drift_asks_for_one_retraining_of_the_reported_day(pipeline) -> None:
    pipeline.close(LATE, drift_from=CHANGE)
    request = only_request(pipeline.tick(DRIFT_SENSOR))
    assert request.partition_key == str(day(LATE))
    assert request.tags["fraud_assets/report"].startswith("drift_report:")
    assert "drift share 0.60 >= 0.30" in request.tags["fraud_assets/reason"]


def test_a_report_that_was_read_is_not_read_again(pipeline) -> None:
    pipeline.close(LATE, drift_from=CHANGE)
    first = pipeline.tick(DRIFT_SENSOR)
    again = pipeline.tick(DRIFT_SENSOR, first.cursor)
    assert reason(again) == f"no new report since {first.cursor}"
    assert again.cursor == first.cursor


def test_a_lost_cursor_does_not_fire_again_for_a_report_that_a_run_carries(make) -> None:
    impatient = {**PROFILE["monitoring"], "cooldown_days": 0}
    pipeline = make({**PROFILE, "monitoring": impatient})
    pipeline.promote(day(5))
    pipeline.close(LATE, drift_from=CHANGE)
    first = pipeline.tick(DRIFT_SENSOR)
    pipeline.run(only_request(first).tags)
    assert "was handled before" in reason(pipeline.tick(DRIFT_SENSOR, None))


def test_a_day_that_is_reported_again_fires_again_under_another_run_key(make) -> None:
    impatient = {**PROFILE["monitoring"], "cooldown_days": 0}
    pipeline = make({**PROFILE, "monitoring": impatient})
    pipeline.promote(day(5))
    pipeline.close(LATE, drift_from=CHANGE)
    first = pipeline.tick(DRIFT_SENSOR)
    pipeline.run(only_request(first).tags)
    pipeline.drift(day(LATE), 0.7)
    second = only_request(pipeline.tick(DRIFT_SENSOR, first.cursor))
    assert second.partition_key == str(day(LATE))
    assert second.run_key != only_request(first).run_key


def test_many_unread_reports_lead_to_one_retraining_of_the_newest(pipeline) -> None:
    pipeline.close(LATE - 1, drift_from=CHANGE)
    cursor = pipeline.tick(DRIFT_SENSOR).cursor
    for index in (LATE, LATE + 1, LATE + 2):
        pipeline.validation(day(index))
        pipeline.performance(day(index))
        pipeline.drift(day(index), 0.6)
    assert only_request(pipeline.tick(DRIFT_SENSOR, cursor)).partition_key == str(day(LATE + 2))


def test_below_the_threshold_nothing_happens_and_the_numbers_are_said(pipeline) -> None:
    pipeline.close(LATE)
    tick = pipeline.tick(DRIFT_SENSOR)
    assert reason(tick) == "drift share 0.10 < 0.30"
    assert tick.cursor is not None


def test_drift_that_was_not_measured_says_why(pipeline) -> None:
    pipeline.close(LATE - 1)
    pipeline.validation(day(LATE))
    pipeline.drift(day(LATE), None, status="the reference window is not warm")
    assert "the reference window is not warm" in reason(pipeline.tick(DRIFT_SENSOR))


def test_a_day_with_few_rows_is_no_evidence(pipeline) -> None:
    pipeline.close(LATE, drift_from=CHANGE)
    pipeline.drift(day(LATE), 0.9, rows=99)
    assert reason(pipeline.tick(DRIFT_SENSOR)) == "too few rows: 99 < 100"


def test_a_broken_feed_is_repaired_and_not_learnt(pipeline) -> None:
    pipeline.close(LATE, drift_from=CHANGE)
    pipeline.validation(day(LATE), reject_share=0.034)
    assert "quarantined 3.4% > 2.0%" in reason(pipeline.tick(DRIFT_SENSOR))


def test_a_day_whose_data_quality_is_unknown_is_not_learnt_from(pipeline) -> None:
    pipeline.close(LATE - 1, drift_from=CHANGE)
    pipeline.drift(day(LATE), 0.6)
    assert "is not known" in reason(pipeline.tick(DRIFT_SENSOR))


def test_a_retraining_waits_for_the_cooldown_and_fires_after_it(pipeline) -> None:
    pipeline.close(LATE, drift_from=CHANGE)
    pipeline.run({"dagster/partition": str(day(LATE - 1))})
    waiting = pipeline.tick(DRIFT_SENSOR)
    assert f"1 days since the retraining of {day(LATE - 1)} < 2" in reason(waiting)
    pipeline.validation(day(LATE + 1))
    pipeline.performance(day(LATE + 1))
    pipeline.drift(day(LATE + 1), 0.6)
    assert only_request(pipeline.tick(DRIFT_SENSOR, waiting.cursor))


@pytest.mark.parametrize(
    "status",
    [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED],
)
def test_there_is_one_retraining_at_a_time(pipeline, status) -> None:
    pipeline.close(LATE, drift_from=CHANGE)
    pipeline.run({"dagster/partition": str(day(CHANGE))}, status)
    assert "a retraining is running: 1 at a time" in reason(pipeline.tick(DRIFT_SENSOR))


def test_a_retraining_that_failed_counts_for_the_cooldown_but_does_not_block(pipeline) -> None:
    pipeline.close(LATE, drift_from=CHANGE)
    pipeline.run({"dagster/partition": str(day(CHANGE))}, dg.DagsterRunStatus.FAILURE)
    assert only_request(pipeline.tick(DRIFT_SENSOR))


def test_a_backfilled_old_day_retrains_nothing(pipeline) -> None:
    pipeline.close(LATE)
    cursor = pipeline.tick(DRIFT_SENSOR).cursor
    pipeline.drift(day(LATE - 3), 0.9)
    said = reason(pipeline.tick(DRIFT_SENSOR, cursor))
    assert f"report of {day(LATE - 3)} is older than the newest, {day(LATE)}" in said


def test_drift_that_has_just_begun_waits_for_its_frauds_to_mature(pipeline) -> None:
    pipeline.close(LATE, drift_from=LATE)
    assert "mature frauds 0 < 30" in reason(pipeline.tick(DRIFT_SENSOR))


def test_drift_without_a_champion_is_left_to_the_first_training(make) -> None:
    pipeline = make()
    pipeline.close(LATE, drift_from=CHANGE)
    tick = pipeline.tick(DRIFT_SENSOR)
    assert not tick.run_requests
    assert "no champion yet" in tick.skip_message


def test_a_report_that_other_code_wrote_stops_the_sensor_and_names_the_field(pipeline) -> None:
    pipeline.instance.report_runless_asset_event(
        dg.AssetMaterialization(DRIFT, partition=str(day(1)), metadata={"day": str(day(1))})
    )
    with pytest.raises(Exception, match="drift_share") as caught:
        pipeline.tick(DRIFT_SENSOR)
    assert "DriftRecord" in str(caught.value.__cause__ or caught.value)


# --- performance ---------------------------------------------------------------------------------


def test_the_first_training_waits_for_days_enough(make) -> None:
    pipeline = make()
    pipeline.close(6)
    assert "7 labelled days < 8" in reason(pipeline.tick(PERFORMANCE_SENSOR))


def test_the_first_training_comes_from_the_performance_sensor(make) -> None:
    pipeline = make()
    pipeline.close(LATE)
    assert not pipeline.tick(DRIFT_SENSOR).run_requests
    request = only_request(pipeline.tick(PERFORMANCE_SENSOR))
    assert request.partition_key == str(day(LATE))
    assert "no champion yet, 21 labelled days >= 8" in request.tags["fraud_assets/reason"]
    assert request.run_key.startswith("first_training-")


def test_the_first_training_waits_for_frauds_enough(make) -> None:
    pipeline = make()
    for index in range(LATE + 1):
        pipeline.report(FEATURES, day(index))
        pipeline.validation(day(index))
        pipeline.performance(day(index), positives=1)
    assert re.search(r"mature frauds \d+ < 30", reason(pipeline.tick(PERFORMANCE_SENSOR)))


def test_a_champion_that_became_worse_is_retrained(pipeline) -> None:
    pipeline.close(LATE, worse_from=CHANGE)
    request = only_request(pipeline.tick(PERFORMANCE_SENSOR))
    assert "average precision 0.400 over 4 matured days" in request.tags["fraud_assets/reason"]
    assert request.tags["fraud_assets/report"].startswith("performance_report:")


@pytest.mark.parametrize("name", shipped_profiles())
def test_a_lasting_drop_leads_to_a_retraining_under_every_shipped_profile(make, name) -> None:
    profile = load_profile(name)
    delay = timedelta(days=profile.label_delay_days)
    pipeline = make(name, days=120)
    pipeline.promote(day(20))
    cursor = None
    for index in range(100):
        one = day(index)
        pipeline.validation(one)
        matured = one - delay
        precision = 0.3 if matured > day(50) else 0.8
        pipeline.performance(one, precision, matured_day=matured, positives=60)
    tick = pipeline.tick(PERFORMANCE_SENSOR, cursor)
    assert tick.run_requests, tick.skip_message


def test_a_champion_that_is_as_good_as_ever_is_kept_and_the_numbers_are_said(pipeline) -> None:
    pipeline.close(LATE)
    said = reason(pipeline.tick(PERFORMANCE_SENSOR))
    assert "average precision 0.800 over 4 matured days, 0.800 at the gate: drop 0.0%" in said


def test_bad_days_of_an_earlier_champion_are_not_held_against_the_new_one(pipeline) -> None:
    pipeline.close(LATE - 2, worse_from=CHANGE)
    pipeline.promote(day(LATE - 3), version="2")
    for index in (LATE - 1, LATE):
        pipeline.validation(day(index))
        pipeline.performance(day(index), 0.75, model_version="2")
    assert reason(pipeline.tick(PERFORMANCE_SENSOR)).startswith(
        "2 matured days with an average precision < 4"
    )


def test_a_drop_without_a_number_from_the_gate_is_not_computable(pipeline) -> None:
    pipeline.close(LATE, worse_from=CHANGE)
    pipeline.performance(day(LATE), 0.4, champion_gate_average_precision=None)
    tick = pipeline.tick(PERFORMANCE_SENSOR)
    assert not tick.run_requests
    assert "at its gate is None" in tick.skip_message


def test_days_without_fraud_are_passed_over_and_not_counted_as_zero(pipeline) -> None:
    pipeline.close(LATE)
    pipeline.performance(day(LATE - 1), None, positives=0)
    pipeline.performance(day(LATE), None, positives=0)
    assert "average precision 0.800 over 4" in reason(pipeline.tick(PERFORMANCE_SENSOR))


def test_a_performance_report_fires_once(pipeline) -> None:
    pipeline.close(LATE, worse_from=CHANGE)
    first = pipeline.tick(PERFORMANCE_SENSOR)
    pipeline.run(only_request(first).tags)
    assert "no new report" in reason(pipeline.tick(PERFORMANCE_SENSOR, first.cursor))
    assert "was handled before" in reason(pipeline.tick(PERFORMANCE_SENSOR, None))


# --- new days ------------------------------------------------------------------------------------


def test_without_a_clock_the_simulator_has_landed_nothing(make) -> None:
    assert reason(make("simulator").tick(NEW_DAY_SENSOR)) == (
        "no new day: 0 landed, the newest is none"
    )


def test_many_landed_days_are_one_run_and_then_nothing(make) -> None:
    pipeline = make("simulator")
    SimulationClock(pipeline.settings.data_dir).set(day(9))
    first = pipeline.tick(NEW_DAY_SENSOR)
    request = only_request(first)
    assert request.tags["dagster/asset_partition_range_start"] == str(day(0))
    assert request.tags["dagster/asset_partition_range_end"] == str(day(9))
    again = pipeline.tick(NEW_DAY_SENSOR, first.cursor)
    assert reason(again) == f"no new day: 10 landed, the newest is {day(9)}"
    assert again.cursor == first.cursor


def test_one_landed_day_is_a_run_of_its_partition(make) -> None:
    pipeline = make("simulator")
    SimulationClock(pipeline.settings.data_dir).set(day(9))
    cursor = pipeline.tick(NEW_DAY_SENSOR).cursor
    SimulationClock(pipeline.settings.data_dir).set(day(10))
    request = only_request(pipeline.tick(NEW_DAY_SENSOR, cursor))
    assert (request.partition_key, request.run_key) == (str(day(10)), f"day:{day(10)}")


def test_a_lost_cursor_closes_no_closed_day_again(make) -> None:
    pipeline = make("simulator")
    SimulationClock(pipeline.settings.data_dir).set(day(9))
    pipeline.close(8)
    assert only_request(pipeline.tick(NEW_DAY_SENSOR)).partition_key == str(day(9))


def test_a_day_that_stopped_half_way_is_not_taken_for_closed(make) -> None:
    pipeline = make("simulator")
    SimulationClock(pipeline.settings.data_dir).set(day(9))
    pipeline.close(8)
    pipeline.report(RAW, day(9))
    pipeline.performance(day(9))
    assert only_request(pipeline.tick(NEW_DAY_SENSOR)).partition_key == str(day(9))


def landing(folder: Path, *indices: int) -> Path:
    folder.mkdir(exist_ok=True)
    for index in indices:
        (folder / f"{day(index)}.csv").write_text("id,at,amount,from,fraud\n", "utf-8")
    return folder


def test_a_late_file_in_a_landing_folder_is_waited_for_and_then_closed(make, tmp_path) -> None:
    folder = landing(tmp_path / "landing", 0, 1, 3, 4)
    pipeline = make(source="folder", source_path=folder)
    first = pipeline.tick(NEW_DAY_SENSOR)
    assert only_request(first).tags["dagster/asset_partition_range_end"] == str(day(1))
    said = reason(pipeline.tick(NEW_DAY_SENSOR, first.cursor))
    assert f"2 wait for {day(2)}, which has not landed" in said
    landing(folder, 2)
    late = only_request(pipeline.tick(NEW_DAY_SENSOR, first.cursor))
    assert late.tags["dagster/asset_partition_range_start"] == str(day(2))
    assert late.tags["dagster/asset_partition_range_end"] == str(day(4))


def test_closed_days_may_be_taken_out_of_the_landing_folder(make, tmp_path) -> None:
    pipeline = make(source="folder", source_path=landing(tmp_path / "landing", 5))
    pipeline.close(4)
    assert only_request(pipeline.tick(NEW_DAY_SENSOR)).partition_key == str(day(5))


def test_an_empty_landing_folder_says_so(make, tmp_path) -> None:
    pipeline = make(source="folder", source_path=landing(tmp_path / "landing"))
    assert reason(pipeline.tick(NEW_DAY_SENSOR)) == "no new day: 0 landed, the newest is none"


def test_an_empty_day_between_two_days_of_a_file_is_closed_with_them(make, tmp_path) -> None:
    file = tmp_path / "all.csv"
    lines = [f"t{i},{day(i)}T10:00:00,5.0,a,0" for i in (0, 1, 3)]
    file.write_text("\n".join(["id,at,amount,from,fraud", *lines]) + "\n", "utf-8")
    pipeline = make(source="file", source_path=file)
    request = only_request(pipeline.tick(NEW_DAY_SENSOR))
    assert request.tags["dagster/asset_partition_range_end"] == str(day(3))


def test_days_outside_the_installation_are_not_closed(make, tmp_path) -> None:
    folder = landing(tmp_path / "landing", -1, 0, 1, 2, 3)
    pipeline = make(source="folder", source_path=folder, days=3, history_days=1)
    request = only_request(pipeline.tick(NEW_DAY_SENSOR))
    assert request.tags["dagster/asset_partition_range_start"] == str(day(0))
    assert request.tags["dagster/asset_partition_range_end"] == str(day(2))


# --- the schedule --------------------------------------------------------------------------------


def scheduled(pipeline: Pipeline) -> Any:
    """A tick of the schedule, which reaches its instance by reference: it must be on disk."""
    schedule = pipeline.repository.get_schedule_def("daily_retraining")
    with dg.build_schedule_context(
        instance=pipeline.instance, repository_def=pipeline.repository
    ) as context:
        return schedule.evaluate_tick(context)


def test_the_schedule_asks_for_the_newest_day_that_has_features(make) -> None:
    pipeline = make("simulator", on_disk=True)
    for index in (3, 9, 5):
        pipeline.report(FEATURES, day(index))
    assert only_request(scheduled(pipeline)).partition_key == str(day(9))


def test_the_schedule_has_nothing_to_train_on_before_the_first_features(make) -> None:
    tick = scheduled(make("simulator", on_disk=True))
    assert not tick.run_requests
    assert "no day of transaction_features" in tick.skip_message
