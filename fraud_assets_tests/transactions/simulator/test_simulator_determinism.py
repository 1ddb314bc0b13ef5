"""A day depends on the configuration, its index and its date, and on nothing else."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.transactions.simulator import Simulator, SimulatorConfig
from fraud_assets.transactions.simulator.config import default_scenarios

FIRST_DAY = date(2026, 1, 1)
SMALL = SimulatorConfig(transactions_per_day=1_000)


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def generate(config: SimulatorConfig, index: int) -> pl.DataFrame:
    return Simulator(config).day(index, FIRST_DAY + timedelta(days=index))


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert parquet_bytes(generate(SMALL, 30)) == parquet_bytes(generate(SMALL, 30))


def test_another_process_gives_the_same_bytes() -> None:
    program = (
        "import hashlib, io, datetime\n"
        "from fraud_assets.transactions.simulator import Simulator, SimulatorConfig\n"
        "s = Simulator(SimulatorConfig(transactions_per_day=1000))\n"
        "b = io.BytesIO()\n"
        "s.day(30, datetime.date(2026, 1, 31)).write_parquet(b)\n"
        "print(hashlib.sha256(b.getvalue()).hexdigest())\n"
    )
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == hashlib.sha256(parquet_bytes(generate(SMALL, 30))).hexdigest()


def test_different_seeds_give_different_days_and_populations() -> None:
    other = Simulator(SMALL.model_copy(update={"seed": SMALL.seed + 1}))
    assert not other.day(3, date(2026, 1, 4))["amount"].equals(generate(SMALL, 3)["amount"])
    assert (other.population.activity != Simulator(SMALL).population.activity).all()


def test_two_days_of_one_simulation_differ() -> None:
    simulator = Simulator(SMALL.model_copy(update={"scenarios": (), "shift": None}))
    one, other = (simulator.day(index, FIRST_DAY)["amount"].to_list() for index in (3, 4))
    assert len(set(one) & set(other)) < 0.3 * len(one)


@settings(max_examples=10, deadline=None)
@given(st.permutations([0, 5, 28, 29, 30]))
def test_the_order_of_the_days_does_not_matter(order: list[int]) -> None:
    simulator = Simulator(SMALL)
    for index in order:
        day = simulator.day(index, FIRST_DAY + timedelta(days=index))
        assert day.equals(generate(SMALL, index)), index


def test_the_order_of_the_scenarios_does_not_change_what_they_do() -> None:
    turned = SMALL.model_copy(update={"scenarios": tuple(reversed(default_scenarios()))})
    wanted = ["scenario", "timestamp", "amount", "nameOrig", "nameDest"]
    # Label noise is drawn over the whole day, so it may hide one fraud here and another there.
    quiet = {"label_noise_share": 0.0, "duplicates_share": 0.0}
    one, other = (
        generate(config.model_copy(update=quiet), 30).drop_nulls("scenario").select(wanted)
        for config in (SMALL, turned)
    )
    assert one.height > 0
    assert one.sort(wanted).equals(other.sort(wanted))


def test_a_negative_index_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="2026-01-01 has index -1"):
        Simulator(SMALL).day(-1, FIRST_DAY)
