"""A whole installation, simulated once: what the end-to-end tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from fraud_assets.lake import Lake
from fraud_assets.settings import Settings
from fraud_assets.simulation import ClosedDays, Simulation, quiet_logs
from fraud_assets.transactions.simulator import SimulatorConfig

HISTORY_DAYS = 21
LIVE_DAYS = 28


@dataclass(frozen=True)
class Installation:
    """Settings, instance, lake, and what the simulation did day by day."""

    settings: Settings
    instance: dg.DagsterInstance
    lake: Lake
    closed: list[ClosedDays]

    @property
    def retrainings(self) -> list:
        return [run for day in self.closed for run in day.runs if run.is_retraining]


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """History, then live days past the simulator's change, on a small population."""
    folder: Path = tmp_path_factory.mktemp("installation")
    settings = Settings(
        _env_file=None,
        data_dir=folder / "data",
        first_day=date(2025, 1, 1),
        days=HISTORY_DAYS + 31,
        history_days=HISTORY_DAYS,
        threads=1,
        simulator=SimulatorConfig(transactions_per_day=8000),
    )
    (folder / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(folder / "instance")) as instance:
        with quiet_logs():  # not for the tests that follow: it silences the whole process
            closed = list(Simulation(settings, instance).run(LIVE_DAYS))
        yield Installation(settings, instance, Lake(settings.lake_root), closed)
