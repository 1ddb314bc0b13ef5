"""Ticks of the new-day sensor over a clock and over real files, and of the nightly schedule."""

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from fraud_assets.assets import FEATURES, PERFORMANCE, RAW
from fraud_assets.clock import SimulationClock
from fraud_assets.sensors import NEW_DAY_SENSOR

FIRST = date(2025, 1, 1)


def day(index: int) -> date:
    return FIRST + timedelta(days=index)


def reason(tick: Any) -> str:
    """The skip reason; every one carries a number."""
    assert not tick.run_requests
    assert re.search(r"\d", tick.skip_message), tick.skip_message
    return tick.skip_message


def only_request(tick: Any) -> Any:
    assert len(tick.run_requests) == 1, tick.skip_message
    return tick.run_requests[0]


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
    pipeline.report(PERFORMANCE, day(9))
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


def scheduled(pipeline: Any) -> Any:
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
