"""What all pictures over days share: the axis of days, the gaps in it, and who was in force.

Only the axis belongs here; what is drawn on it is the business of `trends`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from fraud_assets.modeling.reporting.plots import QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]

MOST_TICKS: Final = 8

LEAST_NAME_ROOM: Final = 0.1
"""Share of the axis that the name of a model takes."""


@dataclass(frozen=True)
class DayAxis:
    """The days from `first` to `last`, a place for each, from 0: a day without a record is a gap.

    Raises:
        ValueError: `last` is before `first`.
    """

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"the axis ends on {self.last}, before its first day {self.first}")

    @classmethod
    def of(cls, days: Iterable[date]) -> DayAxis:
        """The axis that holds all of `days`, of which there must be one.

        Raises:
            ValueError: there is none.
        """
        known = sorted(days)
        if not known:
            raise ValueError("an axis of days needs a day")
        return cls(known[0], known[-1])

    @property
    def length(self) -> int:
        """How many days it has."""
        return (self.last - self.first).days + 1

    @property
    def places(self) -> npt.NDArray[np.intp]:
        """The places of all days."""
        return np.arange(self.length)

    @property
    def marker_size(self) -> float:
        """Of dots that do not run into each other."""
        return 4.0 if self.length <= 31 else 2.5

    def place(self, day: date) -> int:
        """Where a day is."""
        return (day - self.first).days

    def heights(self, values: Mapping[date, float | None]) -> Floats:
        """One height per day, NaN where a value is not known: drawn as a gap, never as zero."""
        found = np.full(self.length, np.nan)
        for day, value in values.items():
            if value is not None:
                found[self.place(day)] = value
        return found

    def steps(self, values: Mapping[date, float | None]) -> tuple[Floats, Floats]:
        """Coordinates of a level that holds for whole days, so that one day alone is seen too."""
        heights = np.repeat(self.heights(values), 2)
        edges = np.repeat(self.places.astype(np.float64), 2)
        edges[0::2] -= 0.5
        edges[1::2] += 0.5
        return edges, heights

    def label(self, axes: Axes) -> None:
        """Name some of the days, and leave half a day of room at both ends."""
        step = -(-self.length // MOST_TICKS)
        shown = range(0, self.length, step)
        names = [f"{self.first + timedelta(days=at):%d %b}" for at in shown]
        axes.set_xticks(list(shown), names)
        axes.set(xlim=(-0.5, self.length - 0.5))

    def mark_champions(self, axes: Axes, versions: Mapping[date, str]) -> None:
        """A line where another model takes over, and the models' names along the top.

        A model of a few days has no room for its name, unless it is the last: that one counts.
        """
        changes: list[tuple[float, str]] = []
        for day in sorted(versions):
            if versions[day] and (not changes or changes[-1][1] != versions[day]):
                changes.append((self.place(day) - 0.5, versions[day]))
        for place, (start, version) in enumerate(changes):
            is_last = place == len(changes) - 1
            end = self.length - 0.5 if is_last else changes[place + 1][0]
            if place > 0:
                axes.axvline(start, color=QUIET, linestyle="--", linewidth=0.9)
            has_room = end - start >= LEAST_NAME_ROOM * self.length
            if has_room or is_last:
                axes.text(
                    start if has_room else end, 1.0, short_name(version),
                    ha="left" if has_room else "right", va="bottom", color=QUIET, fontsize=8,
                    transform=axes.get_xaxis_transform(),
                )  # fmt: skip


def short_name(version: str) -> str:
    """A model's name where there is little room.

    >>> short_name("4"), short_name("rules-1")
    ('v4', 'rules-1')
    """
    return f"v{version}" if version.isdigit() else unmathematical(version)


def unmathematical(words: str) -> str:
    r"""Words of unknown origin for a picture, in which Matplotlib takes nothing for a formula.

    >>> unmathematical("$x^2$")
    '\\$x^2\\$'
    """
    return words.replace("$", r"\$")
