"""Dagster's own command line on a fresh installation, each command a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from fraud_assets.assets import DRIFT, FEATURES, LABELS, PERFORMANCE, PREDICTIONS, RAW, VALIDATED
from fraud_assets.lake import Lake
from fraud_assets.metadata import ValidationRecord, latest_by_day

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
FIRST = date(2025, 1, 1)
DAILY = "group:transactions or group:features or group:scoring or group:monitoring"


def day(index: int) -> date:
    return FIRST + timedelta(days=index)


class Home:
    """A folder with our dagster.yaml, and the environment in which commands run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(REPOSITORY / name, folder / name)
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("FRAUD_", "DAGSTER_"))
        }
        self.environment = {
            **inherited,
            "DAGSTER_HOME": str(folder),
            "FRAUD_FIRST_DAY": FIRST.isoformat(),
            "FRAUD_DAYS": "12",
            "FRAUD_HISTORY_DAYS": "5",
            "FRAUD_THREADS": "1",
            "FRAUD_SIMULATOR__TRANSACTIONS_PER_DAY": "300",
            "OMP_NUM_THREADS": "1",
        }
        self.lake = Lake(str(folder / "data" / "lake"))

    def dagster(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("dagster")), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def materialize(self, selection: str, *arguments: str) -> None:
        done = self.dagster(
            "asset", "materialize", "-m", "fraud_assets.definitions",
            "--select", selection, *arguments,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Three days closed by one command over their range."""
    made = Home(tmp_path_factory.mktemp("home"))
    made.materialize(DAILY, "--partition-range", f"{day(0)}...{day(2)}")
    return made


@pytest.fixture
def instance(home, monkeypatch) -> Iterator[dg.DagsterInstance]:
    """The instance that the commands wrote to; its folders are relative to the home."""
    monkeypatch.chdir(home.folder)
    with dg.DagsterInstance.from_config(str(home.folder)) as found:
        yield found


def test_the_definitions_are_valid(home) -> None:
    done = home.dagster("definitions", "validate", "-w", "workspace.yaml")
    assert done.returncode == 0, done.stderr
    assert "Validation successful" in done.stdout + done.stderr


def test_a_range_of_days_is_one_run_with_metadata_of_each_day(home, instance) -> None:
    for asset in (RAW, VALIDATED, LABELS, FEATURES, PREDICTIONS):
        assert home.lake.days(asset)[:3] == [day(0), day(1), day(2)], asset
    for asset in (RAW, PREDICTIONS, DRIFT, PERFORMANCE):
        keys = instance.get_materialized_partitions(dg.AssetKey(asset))
        assert {str(day(i)) for i in range(3)} <= keys, asset
    runs = instance.get_runs(
        dg.RunsFilter(tags={"dagster/asset_partition_range_start": str(day(0))})
    )
    assert len(runs) == 1
    records = latest_by_day(instance, VALIDATED, ValidationRecord)
    assert len({records[day(i)].sha256 for i in range(3)}) == 3


def test_a_day_of_a_range_materialised_again_by_itself_gives_the_same_bytes(home) -> None:
    paths = [home.lake.path(a, day(2)) for a in (RAW, VALIDATED, LABELS, FEATURES, PREDICTIONS)]
    first = [path.read_bytes() for path in paths]
    home.materialize(DAILY, "--partition", str(day(2)))
    assert [path.read_bytes() for path in paths] == first


def test_a_day_outside_the_installation_is_refused(home) -> None:
    done = home.dagster(
        "asset", "materialize", "-m", "fraud_assets.definitions",
        "--select", RAW, "--partition", str(day(12)),
    )  # fmt: skip
    assert done.returncode != 0
    assert str(day(12)) in done.stdout + done.stderr
    assert not home.lake.has_day(RAW, day(12))
