"""The project's simulator as a source of transactions.

What is simulated belongs to `transactions.simulator`; here a day becomes an index.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import polars as pl

from fraud_assets.transactions.simulator import Simulator, SimulatorConfig
from fraud_assets.transactions.sources.base import SourceError, with_source_row


@dataclass(frozen=True)
class SimulatorSource:
    """`day_count` simulated days from `first_day`; a day is the same whenever it is read."""

    config: SimulatorConfig
    first_day: date
    day_count: int

    @cached_property
    def _simulator(self) -> Simulator:
        return Simulator(self.config)

    def days(self) -> list[date]:
        """All simulated days."""
        return [self.first_day + timedelta(days=index) for index in range(self.day_count)]

    def read_day(self, day: date) -> pl.DataFrame:
        """The simulated rows of a day in order of arrival.

        Raises:
            SourceError: the day is not among the simulated ones.
        """
        return with_source_row(self._simulator.day(self._index(day), day), f"simulation of {day}")

    def note(self, day: date) -> dict[str, int | str]:
        """The day's index, counted from zero."""
        return {"simulated_day": self._index(day)}

    def _index(self, day: date) -> int:
        index = (day - self.first_day).days
        if not 0 <= index < self.day_count:
            last = self.first_day + timedelta(days=self.day_count - 1)
            raise SourceError(
                f"{day} is not simulated: the simulation runs from {self.first_day} to {last}; "
                "raise its number of days"
            )
        return index
