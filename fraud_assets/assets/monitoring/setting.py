"""What the monitoring assets share: their settings, file names, and the reports of earlier days."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

import dagster as dg
from pydantic import BaseModel

from fraud_assets.assets import OWNERS
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.lake import Lake, MissingDayError
from fraud_assets.modeling.splits import days_looked_at
from fraud_assets.monitoring.drift import DriftColumns, drift_columns
from fraud_assets.partitions import SimulationDays
from fraud_assets.transactions.profile import Profile

RECORD_FILE: Final = "record.json"
TABLES_FILE: Final = "tables.json"
REPORT_FILE: Final = "report.html"
DASHBOARD_FILE: Final = "dashboard.html"

TREND_DAYS: Final = 60
"""Days that the pictures go back; further back nothing can be told apart."""

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class MonitoringSetting:
    """What every monitoring asset is built with."""

    days: SimulationDays
    profile: Profile
    features: FeatureSet
    ui_url: str

    @cached_property
    def columns(self) -> DriftColumns:
        """The inputs that are compared."""
        return drift_columns(self.features)

    @property
    def delay(self) -> int:
        """Days after which labels count as mature."""
        return self.profile.label_delay_days

    @property
    def history(self) -> int:
        """Days before a day that its reports, and what is decided on them, may look at."""
        return days_looked_at(self.delay, self.profile.training)

    @property
    def common(self) -> dict[str, Any]:
        """Arguments of every asset of the group."""
        return {
            "group_name": "monitoring",
            "owners": OWNERS,
            "partitions_def": self.days.definition,
            "backfill_policy": dg.BackfillPolicy.single_run(),
        }


class Records(Mapping[date, R], Generic[R]):
    """The records of an asset's days up to `last`, each read when it is first asked for.

    Only days up to `last` are there, so that nothing can be decided on later ones.
    """

    def __init__(self, lake: Lake, asset: str, record: type[R], days: list[date]) -> None:
        self._lake, self._asset, self._record = lake, asset, record
        self._days = days
        self._read: dict[date, R | None] = {}

    def up_to(self, days: list[date]) -> "Records[R]":
        """The same records over other days; what was read is kept."""
        other = Records(self._lake, self._asset, self._record, days)
        other._read = self._read
        return other

    def put(self, day: date, record: R) -> None:
        """A record that has just been written."""
        self._read[day] = record

    def __getitem__(self, day: date) -> R:
        """The record of a day; KeyError where there is none."""
        if day not in self._days:
            raise KeyError(day)
        if day not in self._read:
            try:
                content = self._lake.read_document(self._asset, day, RECORD_FILE)
            except MissingDayError:
                self._read[day] = None
            else:
                self._read[day] = self._record.model_validate_json(content)
        found = self._read[day]
        if found is None:
            raise KeyError(day)
        return found

    def __iter__(self) -> Iterator[date]:
        """The days that have a record, in order."""
        return (day for day in self._days if self.get(day) is not None)

    def __len__(self) -> int:
        """How many days have a record."""
        return sum(1 for _ in self)
