"""Simulators small enough for tests, with rows enough for shares to be stable."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest

from fraud_assets.transactions.simulator import Simulator, SimulatorConfig

Day = Callable[[int], pl.DataFrame]
FIRST_DAY = date(2026, 1, 1)


def _days_of(simulator: Simulator) -> Day:
    known: dict[int, pl.DataFrame] = {}

    def day(index: int) -> pl.DataFrame:
        if index not in known:
            known[index] = simulator.day(index, FIRST_DAY + timedelta(days=index))
        return known[index]

    return day


@pytest.fixture(scope="session")
def default_day() -> Day:
    """A day of the shipped schedule at its full volume, generated once per index."""
    return _days_of(Simulator(SimulatorConfig()))


@pytest.fixture(scope="session")
def clean_day() -> Day:
    """The same without spoiled rows, re-sent rows and label noise."""
    config = SimulatorConfig(dirty_share=0.0, duplicates_share=0.0, label_noise_share=0.0)
    return _days_of(Simulator(config))
