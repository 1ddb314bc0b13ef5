"""Dagster's own daemon closes the days that land, without our help, also after it was killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from fraud_assets.clock import SimulationClock
from fraud_assets.jobs import DAILY_PIPELINE
from fraud_assets.sensors import closed_days

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
FIRST = date(2025, 1, 1)
PATIENCE_S = 180.0
"""Far more than the minute that it takes on an idle machine with two cores."""


def day(index: int) -> date:
    return FIRST + timedelta(days=index)


def command(name: str, *arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name(name)), *arguments, "-w", "workspace.yaml"]


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE_S:.0f} s"
        time.sleep(0.5)


class Daemon:
    """`dagster-daemon run` in a session of its own, so that its children can be ended with it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        with (self.folder / "daemon.log").open("ab") as log:
            self.started.append(
                subprocess.Popen(
                    command("dagster-daemon", "run"),
                    cwd=self.folder,
                    env=self.environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def kill(self) -> None:
        """As the kernel does when memory is short: no clean-up, and its children stay."""
        self.started[-1].kill()
        self.started[-1].wait()

    def end(self) -> None:
        for process in self.started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            process.wait()


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("FRAUD_", "DAGSTER_"))}
    environment = {
        **inherited,
        "DAGSTER_HOME": str(tmp_path),
        "FRAUD_FIRST_DAY": FIRST.isoformat(),
        "FRAUD_DAYS": "12",
        "FRAUD_HISTORY_DAYS": "2",
        "FRAUD_THREADS": "1",
        "FRAUD_SIMULATOR__TRANSACTIONS_PER_DAY": "300",
        "OMP_NUM_THREADS": "1",
    }
    monkeypatch.chdir(tmp_path)  # the instance's folders are relative to its home
    started = subprocess.run(
        [*command("dagster", "sensor", "start"), "--start-all"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    made = Daemon(tmp_path, environment)
    yield made
    made.end()


def test_a_landed_day_is_closed_once_by_the_daemon_even_if_it_is_killed(daemon) -> None:
    clock = SimulationClock(daemon.folder / "data")
    clock.set(day(1))
    daemon.start()
    with dg.DagsterInstance.from_config(str(daemon.folder)) as instance:
        wait_for(lambda: closed_days(instance) == {day(0), day(1)}, "the close of the history")
        clock.set(day(2))

        def requested() -> list[dg.DagsterRun]:
            tags = {"dagster/partition": str(day(2))}
            return list(instance.get_runs(dg.RunsFilter(job_name=DAILY_PIPELINE, tags=tags)))

        wait_for(lambda: bool(requested()), "the request for the next day")
        daemon.kill()
        daemon.start()
        wait_for(lambda: day(2) in closed_days(instance), "the close after the restart")
        clock.set(day(3))
        wait_for(lambda: day(3) in closed_days(instance), "the close of one more day")
        wait_for(lambda: all(r.is_finished for r in instance.get_runs()), "the end of all runs")
        runs = instance.get_runs(dg.RunsFilter(job_name=DAILY_PIPELINE))
        assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] * 3
        for asset in ("raw_transactions", "fraud_predictions", "performance_report"):
            events = instance.fetch_materializations(dg.AssetKey(asset), limit=50).records
            days = sorted(event.partition_key or "" for event in events)
            assert days == [str(day(index)) for index in range(4)], asset
