"""Dagster's own daemon keeps the loop going without our help, also after it was killed twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from fraud_assets.clock import SimulationClock
from fraud_assets.jobs import DAILY_PIPELINE, RETRAINING
from fraud_assets.sensors.new_day import closed_days
from fraud_assets.store.decisions import StoredDecision, latest_of
from fraud_assets.store.engine import PredictionStore, StoreError
from fraud_assets.store.promotions import champion_on, history
from fraud_assets.transactions.profile import load_profile
from fraud_assets.transactions.simulator import CovariateShift
from fraud_assets.transactions.simulator.config import CHANGE_DAY, default_scenarios

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]
FIRST = date(2025, 1, 1)
CHANGE = 14
"""Index of the first changed day, and number of the days of history before it."""

LEARNABLE = 22
"""Index of the first day as of which labels of a changed day can be learnt."""

PATIENCE_S = 240.0
"""Several times what any step takes on an idle machine with two cores."""


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


def quick_profile(folder: Path) -> Path:
    """The simulator's profile with short windows and a gate that few frauds can pass."""
    content = load_profile("simulator").model_dump(mode="json")
    content["columns"]["label"]["delay_days"] = 1
    content["training"] |= {
        "window_days": 7, "validation_days": 2, "gate_days": 5, "folds": 1, "trials": 0,
        "max_rounds": 60, "min_train_positives": 10,
    }  # fmt: skip
    content["gate"] |= {
        "min_positives": 10, "bootstrap_samples": 200, "confidence": 0.6,
        "max_calibration_ratio": 5.0,
    }  # fmt: skip
    content["monitoring"] |= {
        "cooldown_days": 1, "min_rows": 500, "min_mature_positives": 10, "performance_days": 2,
        "page_columns": 2,
    }  # fmt: skip
    path = folder / "quick.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    return path


def early_change() -> list[dict[str, Any]]:
    """The demo's frauds, changing on day `CHANGE`."""
    scenarios = [one.model_dump(mode="json") for one in default_scenarios()]
    for one in scenarios:
        for end in ("start_day", "end_day"):
            one[end] = CHANGE if one[end] == CHANGE_DAY else one[end]
    return scenarios


@pytest.fixture
def daemon(tmp_path: Path, webhook, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("FRAUD_", "DAGSTER_"))}
    environment = {
        **inherited,
        "DAGSTER_HOME": str(tmp_path),
        "FRAUD_PROFILE": str(quick_profile(tmp_path)),
        "FRAUD_FIRST_DAY": FIRST.isoformat(),
        "FRAUD_DAYS": "30",
        "FRAUD_HISTORY_DAYS": str(CHANGE),
        "FRAUD_THREADS": "1",
        "FRAUD_ALERTS__URLS": webhook.url(),
        "FRAUD_SIMULATOR__TRANSACTIONS_PER_DAY": "3000",
        "FRAUD_SIMULATOR__SCENARIOS": json.dumps(early_change()),
        "FRAUD_SIMULATOR__SHIFT": CovariateShift(start_day=CHANGE).model_dump_json(),
        "FRAUD_SIMULATOR__FRAUD_DELAY_MAX_DAYS": "1",
        "FRAUD_SIMULATOR__LEGITIMATE_DELAY_DAYS": "1",
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


class Store:
    """The store of the installation, which is not there before its first run."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'data' / 'store.db'}"

    def read(self, question: Callable[[PredictionStore], Any]) -> Any:
        try:
            with PredictionStore(self.url) as store:
                return question(store)
        except StoreError:
            return None

    def champion(self) -> str:
        found = self.read(lambda store: champion_on(store, date.max))
        return found.version if found is not None else ""

    def decision(self, one: date) -> StoredDecision | None:
        return self.read(lambda store: latest_of(store, one))


def test_drifting_days_that_land_lead_to_a_new_champion_and_alerts_over_two_kills(
    daemon, webhook
) -> None:
    clock, store = SimulationClock(daemon.folder / "data"), Store(daemon.folder)
    clock.set(day(CHANGE - 1))
    daemon.start()
    with dg.DagsterInstance.from_config(str(daemon.folder)) as instance:
        wait_for(lambda: store.champion() == "1", "the first champion")

        clock.set(day(LEARNABLE))

        def asked_to_close() -> list[dg.DagsterRun]:
            tags = {"dagster/asset_partition_range_end": str(day(LEARNABLE))}
            return list(instance.get_runs(dg.RunsFilter(job_name=DAILY_PIPELINE, tags=tags)))

        wait_for(lambda: bool(asked_to_close()), "the request to close the changed days")
        daemon.kill()
        daemon.start()
        wait_for(lambda: store.decision(day(LEARNABLE)) is not None, "a decision on them")
        daemon.kill()
        daemon.start()
        wait_for(lambda: store.champion() == "2", "the new champion")
        wait_for(
            lambda: any("become worse" in title for title in webhook.titles), "an alert of decay"
        )
        wait_for(lambda: all(r.is_finished for r in instance.get_runs()), "the end of all runs")

        decision = store.decision(day(LEARNABLE))
        assert (decision.action, decision.rule) == ("retrain", "decay")
        assert decision.since is not None
        assert decision.since >= day(CHANGE)
        runs = instance.get_runs()
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        assert sorted(run.job_name for run in runs) == sorted([DAILY_PIPELINE, RETRAINING] * 2)
        keys = [run.tags["dagster/run_key"] for run in runs]
        assert len(set(keys)) == len(keys)

        assert closed_days(instance) == {day(index) for index in range(LEARNABLE + 1)}
        for asset in ("raw_transactions", "fraud_predictions", "loop_decision"):
            events = instance.fetch_materializations(dg.AssetKey(asset), limit=50).records
            days = sorted(event.partition_key or "" for event in events)
            assert days == [str(day(index)) for index in range(LEARNABLE + 1)], asset

    promoted = store.read(history)
    assert [(one.day, one.action) for one in promoted] == [
        (day(CHANGE - 1), "promote"),
        (day(LEARNABLE), "promote"),
    ]
    assert any("have drifted" in title for title in webhook.titles)
    decay = next(m for m in webhook.got if "become worse" in m["title"])
    assert "http://127.0.0.1:3000/assets/debugging_dashboard" in decay["message"]
    assert "at the gate: drop" in decay["message"]
    page = daemon.folder / "data" / "lake" / "debugging_dashboard" / f"day={day(LEARNABLE)}"
    assert (page / "dashboard.html").is_file()
