"""Ticks of the alert sensor that find runs that failed, and days that are late or do not come."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pytest

from fraud_assets.clock import SimulationClock
from fraud_assets.metadata import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG

FIRST = date(2025, 1, 1)
UI = "http://ui:3000"


def day(index: int) -> date:
    return FIRST + timedelta(days=index)


# --- runs that failed ----------------------------------------------------------------------------


def test_a_failed_run_is_told_with_its_step_its_error_and_its_days(told, webhook) -> None:
    run_id = told.fail(**{RANGE_START_TAG: str(day(3)), RANGE_END_TAG: str(day(7))})
    assert told.tick() == "1 alert raised, 1 sent"
    (got,) = webhook.got
    assert got["title"] == f"Warning: Run failed: nightly of {day(3)} to {day(7)}"
    assert f"nightly of {day(3)} to {day(7)} failed at close_the_day" in got["message"]
    assert "OSError: the disk of the lake is full" in got["message"]
    assert f"{UI}/runs/{run_id}" in got["message"]
    assert told.tick() == "0 alerts raised, 1 repeated"  # ticks look back a minute
    assert (len(webhook.got), told.only().occurrences) == (1, 1)


def test_the_remedy_that_an_asset_gives_reaches_the_message(told, webhook) -> None:
    told.fail(dg.Failure("2025-01-04: nothing decided; materialise loop_decision first"))
    told.tick()
    assert "materialise loop_decision first" in webhook.got[0]["message"]


def test_a_run_that_fails_before_its_first_step_is_told_with_what_is_known(told, webhook) -> None:
    run = dg.DagsterRun(job_name="nightly", status=dg.DagsterRunStatus.STARTED)
    told.instance.add_run(run)
    told.instance.report_run_failed(run, "the worker ran out of memory")
    assert told.tick() == "1 alert raised, 1 sent"
    assert "nightly failed\n\nthe worker ran out of memory" in webhook.got[0]["message"]


def test_a_run_that_will_be_tried_again_is_not_told_and_the_last_one_is(told, webhook) -> None:
    told.fail(**{"dagster/will_retry": "true"})
    assert told.tick() == "0 alerts raised"
    last = told.fail(**{"dagster/will_retry": "false"})
    assert told.tick() == "1 alert raised, 1 sent"
    assert told.only().source == f"run:{last}"


def test_a_step_that_fails_again_soon_is_one_episode(told, webhook) -> None:
    for _ in range(3):
        told.fail()
        told.tick()
    assert len(webhook.got) == 1
    assert told.only().occurrences == 3


def test_a_run_of_other_jobs_whose_partition_is_no_day_is_told_all_the_same(told, webhook) -> None:
    told.fail(**{PARTITION_TAG: "europe|2025-01"})
    assert told.tick() == "1 alert raised, 1 sent"
    assert webhook.titles == ["Warning: Run failed: nightly"]


def test_a_run_that_succeeds_is_no_alert(told) -> None:
    @dg.job
    def nightly() -> None: ...

    assert nightly.execute_in_process(instance=told.instance).success
    assert told.tick() == "0 alerts raised"


# --- days that are late --------------------------------------------------------------------------


def land(told: Any, last: int) -> None:
    SimulationClock(told.pipeline.settings.data_dir).set(day(last))


@pytest.fixture
def simulated(build) -> Callable[..., Any]:
    return lambda **choices: build(source={"profile": "simulator"}, **choices)


def test_a_landed_day_that_stays_open_is_told_after_the_time_that_was_set(
    simulated, webhook
) -> None:
    told = simulated(stale_after_minutes=30)
    told.pipeline.close(8)
    land(told, 9)
    assert told.tick() == "0 alerts raised"
    told.age(29)
    assert told.tick() == "0 alerts raised"
    told.age(1)
    assert told.tick() == "1 alert raised, 1 sent"
    (got,) = webhook.got
    assert got["title"] == f"Critical: Not closed: {day(9)}"
    assert f"The transactions of {day(9)} landed 30 minutes ago" in got["message"]
    assert f"{UI}/assets/fraud_predictions?partition={day(9)}" in got["message"]
    assert told.tick() == "0 alerts raised, 1 repeated"


def test_a_day_that_is_closed_in_time_is_not_told_and_not_remembered(simulated) -> None:
    told = simulated(stale_after_minutes=30)
    land(told, 1)
    told.tick()
    assert list(json.loads(told.cursor)["waiting"]) == [str(day(0)), str(day(1))]
    told.pipeline.close(1)
    told.age(60)
    assert told.tick() == "0 alerts raised"
    assert json.loads(told.cursor)["waiting"] == {}


def test_silence_is_told_only_where_a_time_is_set_and_ends_with_a_new_day(
    simulated, webhook
) -> None:
    told = simulated(silent_after_minutes=60)
    told.pipeline.close(10)
    land(told, 9)
    told.tick()
    told.age(59)
    assert told.tick() == "0 alerts raised"
    told.age(121)
    assert told.tick() == "1 alert raised, 1 sent"
    assert webhook.titles == ["Warning: No new transactions"]
    assert (
        f"Nothing new for 3 hours; the last day that landed: {day(9)}."
        in (webhook.got[0]["message"])
    )
    assert f"{UI}/assets/raw_transactions?partition={day(9)}" in webhook.got[0]["message"]
    land(told, 10)
    assert told.tick() == "0 alerts raised"


def test_without_a_time_that_is_set_no_silence_is_too_long(simulated) -> None:
    told = simulated()
    told.tick()
    told.age(100_000)
    assert told.tick() == "0 alerts raised"


def test_after_the_last_day_of_the_installation_silence_is_expected(build) -> None:
    told = build(source={"profile": "simulator", "days": 22}, silent_after_minutes=60)
    told.pipeline.close(21)
    land(told, 21)
    told.tick()
    told.age(100_000)
    assert told.tick() == "0 alerts raised"


def test_a_source_that_is_down_keeps_nothing_back_and_its_days_wait_on(
    build, webhook, tmp_path
) -> None:
    folder = tmp_path / "landing"
    folder.mkdir()
    for index in (0, 1):
        (folder / f"{day(index)}.csv").write_text("id,at,amount,from,fraud\n", "utf-8")
    told = build(source={"source": "folder", "source_path": folder}, stale_after_minutes=30)
    told.tick()
    folder.rename(tmp_path / "unmounted")
    told.drift(20)
    assert told.tick() == "1 alert raised, 1 sent"
    told.age(45)
    assert told.tick() == "1 alert raised, 1 repeated, 1 sent"
    assert webhook.titles[1] == f"Critical: Not closed: {day(1)}"
    assert webhook.got[1]["message"].endswith(f"2 times from {day(0)} to {day(1)}")


def test_a_source_that_cannot_name_its_days_is_no_silence_while_days_are_closed(build) -> None:
    source = {"source": "sql", "source_url": "sqlite://", "source_query": "select 1"}
    told = build(source=source, silent_after_minutes=60)
    told.pipeline.close(1)
    told.tick()
    told.age(59)
    told.pipeline.close(2)
    told.tick()
    told.age(59)
    assert told.tick() == "0 alerts raised"
    told.age(1)
    assert told.tick() == "1 alert raised, 1 sent"
