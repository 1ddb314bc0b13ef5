"""Simulation days: the one partitions definition, and the windows that look back over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg


@dataclass(frozen=True)
class SimulationDays:
    """The days of an installation: `count` of them from `first_day`."""

    first_day: date
    count: int

    @property
    def last_day(self) -> date:
        """The last partition."""
        return self.first_day + timedelta(days=self.count - 1)

    @property
    def definition(self) -> dg.DailyPartitionsDefinition:
        """One partition per day, keyed by its date."""
        return dg.DailyPartitionsDefinition(
            start_date=self.first_day.isoformat(),
            end_date=(self.last_day + timedelta(days=1)).isoformat(),
        )

    def trailing(self, day: date, days: int) -> list[date]:
        """`day` and the `days` before it, oldest first, from the first day on.

        >>> SimulationDays(date(2025, 1, 1), 9).trailing(date(2025, 1, 2), 5)
        [datetime.date(2025, 1, 1), datetime.date(2025, 1, 2)]
        """
        first = max(self.first_day, day - timedelta(days=days))
        return [first + timedelta(days=i) for i in range((day - first).days + 1)]

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and self.first_day <= day <= self.last_day


def trailing_mapping(days: int) -> dg.TimeWindowPartitionMapping:
    """A day depends on itself and on the `days` before it."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-days, allow_nonexistent_upstream_partitions=True
    )


def earlier_mapping(days: int) -> dg.TimeWindowPartitionMapping:
    """A day depends on the `days` before it and not on itself."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-days, end_offset=-1, allow_nonexistent_upstream_partitions=True
    )


def run_days(context: dg.AssetExecutionContext) -> list[date]:
    """The days that this run materialises, oldest first; a single-run backfill has many."""
    return sorted(date.fromisoformat(key) for key in context.partition_keys)


def day_after(day: date) -> date:
    """The next day."""
    return day + timedelta(days=1)


def span(days: Sequence[date]) -> str:
    """Readable name of a set of days: one day, or the first and the last."""
    if not days:
        return "no day"
    return str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]}"
