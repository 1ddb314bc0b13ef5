"""Old days leave the store by a job, and by a schedule where the settings say so."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl

from fraud_assets.definitions import build_defs
from fraud_assets.settings import Settings
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.migrate import migrate
from fraud_assets.store.predictions import counts_by_day, replace_day


def scored(day: date) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "transaction_id": [f"{day}-{n}" for n in range(3)],
            "event_time": [datetime(day.year, day.month, day.day, 12, tzinfo=UTC)] * 3,
            "payer_id": ["a"] * 3,
            "amount": [1.0] * 3,
            "score": [0.5] * 3,
            "decision": ["pass"] * 3,
            "threshold": [0.9] * 3,
            "reasons": pl.Series([[]] * 3, dtype=pl.List(pl.String)),
            "model_version": ["1"] * 3,
            "model_hash": ["h"] * 3,
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )


def test_the_job_keeps_the_newest_days(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)
    migrate(settings.store_sqlalchemy_url)
    days = [date(2026, 3, 1) + timedelta(days=n) for n in range(5)]
    with PredictionStore(settings.store_sqlalchemy_url) as store:
        for day in days:
            replace_day(store, day, scored(day))
        job = build_defs(settings).get_repository_def().get_job("retention")
        config = {"ops": {"delete_old_days": {"config": {"keep_days": 2}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(run_config=config, instance=instance)
        assert result.success
        assert counts_by_day(store)["day"].to_list() == days[-2:]


def schedules(settings: Settings) -> dict[str, dg.DefaultScheduleStatus]:
    found = build_defs(settings).get_repository_def().schedule_defs
    return {one.name: one.default_status for one in found}


def test_days_are_deleted_by_themselves_only_where_the_settings_say_how_many_are_kept() -> None:
    assert "daily_retention" not in schedules(Settings(_env_file=None))
    kept = schedules(Settings(_env_file=None, keep_days=90))
    assert kept["daily_retention"] == dg.DefaultScheduleStatus.RUNNING


def test_the_schedule_asks_for_what_the_settings_say() -> None:
    repository = build_defs(Settings(_env_file=None, keep_days=90)).get_repository_def()
    schedule = repository.get_schedule_def("daily_retention")
    moment = datetime(2026, 3, 5, 4, tzinfo=UTC)
    with dg.build_schedule_context(scheduled_execution_time=moment) as context:
        (request,) = schedule.evaluate_tick(context).run_requests
    assert request.run_config["ops"]["delete_old_days"]["config"] == {"keep_days": 90}
