"""The asset graph's side of the backfill benchmark: history and a champion, then the timed run.

`backfill.py` starts it, in a process of its own so that the peak memory is its own:
`python benchmarks/graph.py prepare|run --folder F --rows N --days D`. What is compared with it
belongs in `bare.py` and `rolling.py`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import date, timedelta
from math import ceil
from pathlib import Path
from typing import Any

import dagster as dg

from fraud_assets.assets import CHAMPION, EVALUATION, FEATURES, LABELS, QUARANTINED, RAW, VALIDATED
from fraud_assets.definitions import build_defs
from fraud_assets.jobs import DAILY_PIPELINE, RETRAINING
from fraud_assets.lake import Lake
from fraud_assets.metadata import RANGE_END_TAG, RANGE_START_TAG
from fraud_assets.settings import Settings
from fraud_assets.simulation import quiet_logs
from fraud_assets.transactions.simulator import Simulator, SimulatorConfig

FIRST_DAY = date(2025, 1, 1)
HISTORY_DAYS = 21
"""As in the demo: enough for a first champion whose reference days have full windows."""

SMALL_WORLD = 1_000
QUIET: Mapping[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def settings_of(folder: Path, rows: int, days: int) -> Settings:
    """An installation in `folder` whose `days` days after the history hold at least `rows` rows."""
    simulator = SimulatorConfig(transactions_per_day=transactions_per_day(rows, days))
    return Settings(
        _env_file=None,
        data_dir=folder / "data",
        first_day=FIRST_DAY,
        days=HISTORY_DAYS + days,
        history_days=HISTORY_DAYS,
        simulator=simulator,
    )


def transactions_per_day(rows: int, days: int) -> int:
    """The simulator's mean, two per cent above what is needed.

    The volume of a day depends on its weekday and on the change half-way, and not on the size of
    the world: it is counted in a small one.
    """
    small = Simulator(SimulatorConfig(transactions_per_day=SMALL_WORLD))
    counted: int = sum(
        small.day(i, FIRST_DAY + timedelta(days=i)).height
        for i in range(HISTORY_DAYS, HISTORY_DAYS + days)
    )
    return ceil(1.02 * rows * SMALL_WORLD / counted)


def benchmark_days(settings: Settings) -> list[date]:
    """The days that are backfilled under the clock."""
    return [
        settings.first_day + timedelta(days=i) for i in range(settings.history_days, settings.days)
    ]


def prepare(settings: Settings, instance: dg.DagsterInstance) -> dict[str, Any]:
    """Materialise the history up to its features, then train and promote a champion on it.

    Raises:
        RuntimeError: the candidate did not clear the gate, so there would be nothing to measure.
    """
    repository = build_defs(settings).get_repository_def()
    last = settings.first_day + timedelta(days=settings.history_days - 1)
    history = [dg.AssetKey(k) for k in (RAW, VALIDATED, QUARANTINED, LABELS, FEATURES)]
    repository.get_job(DAILY_PIPELINE).execute_in_process(
        instance=instance,
        asset_selection=history,
        tags={RANGE_START_TAG: settings.first_day.isoformat(), RANGE_END_TAG: last.isoformat()},
        run_config=QUIET,
    )
    # Without a search: the number of trials changes the time of the training, which is not
    # measured here, and hardly the size of the model.
    config = {**QUIET, "ops": {"fraud_model": {"config": {"trials": 0}}}}
    repository.get_job(RETRAINING).execute_in_process(
        instance=instance, partition_key=last.isoformat(), run_config=config
    )
    lake = Lake(settings.lake_root)
    promotion = lake.read_json(CHAMPION, last, "promotion.json")
    if promotion["action"] != "promote":
        raise RuntimeError(f"no champion to measure with: {promotion['reason']}")
    report = lake.read_json(EVALUATION, last, "evaluation.json")
    return {"champion": promotion["version"], "evaluation": report["record"]}


def run(settings: Settings, instance: dg.DagsterInstance) -> dict[str, Any]:
    """The daily pipeline over the days after the history, as one single-run backfill."""
    days = benchmark_days(settings)
    job = build_defs(settings).get_repository_def().get_job(DAILY_PIPELINE)
    started, cpu = time.perf_counter(), time.process_time()
    result = job.execute_in_process(
        instance=instance,
        tags={RANGE_START_TAG: str(days[0]), RANGE_END_TAG: str(days[-1])},
        run_config=QUIET,
    )
    wall = time.perf_counter() - started
    used, peak = time.process_time() - cpu, peak_mb()
    lake = Lake(settings.lake_root)
    bodies = step_seconds(instance, result.run_id)
    return {
        "days": len(days),
        "rows": sum(lake.row_count(RAW, day) for day in days),
        "seconds": wall,
        "cpu_seconds": used,
        "stages": bodies,
        "peak_mb": peak,
        "run_id": result.run_id,
    }


def step_seconds(instance: dg.DagsterInstance, run_id: str) -> dict[str, float]:
    """Seconds inside each asset's body: from the step's start to its first output event.

    What Dagster does of a step (resources, outputs, one materialisation event for each day) comes
    before or behind, and is left out.
    """
    started: dict[str, float] = {}
    ended: dict[str, float] = {}
    for entry in instance.all_logs(run_id):
        if entry.dagster_event is None or entry.step_key is None:
            continue
        kind = entry.dagster_event.event_type
        if kind is dg.DagsterEventType.STEP_START:
            started[entry.step_key] = entry.timestamp
        elif kind is dg.DagsterEventType.STEP_OUTPUT:
            ended.setdefault(entry.step_key, entry.timestamp)
    return {step: ended[step] - started[step] for step in started if step in ended}


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB of a million bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    """Run one of the two parts, and write what it found to `<folder>/<part>.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("prepare", "run"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--days", type=int, required=True)
    given = parser.parse_args()
    settings = settings_of(given.folder, given.rows, given.days)
    with ExitStack() as stack:
        stack.enter_context(quiet_logs())
        (given.folder / "instance").mkdir(parents=True, exist_ok=True)
        instance = stack.enter_context(
            dg.DagsterInstance.local_temp(str(given.folder / "instance"))
        )
        found = (prepare if given.part == "prepare" else run)(settings, instance)
    (given.folder / f"{given.part}.json").write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main()
