"""Ticks of the retraining sensors on a real instance and a real store: when they fire, and once."""

import re
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pytest

from fraud_assets.assets import DRIFT, FEATURES
from fraud_assets.sensors import DRIFT_SENSOR, PERFORMANCE_SENSOR
from fraud_assets.transactions.profile import load_profile, shipped_profiles

FIRST = date(2025, 1, 1)
CHANGE = 14
"""Index of the day from which on inputs have drifted, or the champion has become worse."""

LATE = 20
"""A day on which the frauds since the change are among the days that a training learns from."""


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


def test_a_lost_cursor_does_not_fire_again_for_a_report_that_a_run_carries(
    make, small_profile
) -> None:
    impatient = {**small_profile["monitoring"], "cooldown_days": 0}
    pipeline = make({**small_profile, "monitoring": impatient})
    pipeline.promote(day(5))
    pipeline.close(LATE, drift_from=CHANGE)
    first = pipeline.tick(DRIFT_SENSOR)
    pipeline.run(only_request(first).tags)
    assert "was handled before" in reason(pipeline.tick(DRIFT_SENSOR, None))


def test_a_day_that_is_reported_again_fires_again_under_another_run_key(
    make, small_profile
) -> None:
    impatient = {**small_profile["monitoring"], "cooldown_days": 0}
    pipeline = make({**small_profile, "monitoring": impatient})
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
