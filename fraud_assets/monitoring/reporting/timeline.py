"""The picture of a simulation: drift and realised performance over the days, with what was done.

Drawing only; `summary` collects the days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

from fraud_assets.modeling.reporting.plots import CANDIDATE, CHAMPION, QUIET, placeholder, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REFUSED: Final = "#b03a2e"
PROMOTED: Final = "#1e8449"


@dataclass(frozen=True)
class TimelineDay:
    """One day; None is not computable, or not known yet. `trained` is None without a training."""

    day: date
    average_precision: float | None
    drift_share: float | None
    scored_by: str
    promoted: bool | None


def timeline(days: Sequence[TimelineDay], drift_threshold: float) -> bytes:
    """PNG with average precision and drift share by day, and a line at each training."""

    def draw(axes: Axes) -> None:
        axes.set(title="Realised average precision and input drift by day", ylim=(0, 1.02))
        if not days:
            placeholder(axes, "no days yet")
            return
        axes.set(xlabel="day", ylabel="average precision, share of drifted inputs")
        place = range(len(days))
        axes.step(
            place,
            [_or_gap(one.drift_share) for one in days],
            where="mid",
            color=CHAMPION,
            alpha=0.8,
            label="drifted inputs",
        )
        axes.axhline(drift_threshold, color=CHAMPION, linestyle=":", linewidth=0.8)
        axes.plot(
            place,
            [_or_gap(one.average_precision) for one in days],
            "o-",
            color=CANDIDATE,
            markersize=3.5,
            label="average precision",
        )
        for at, one in enumerate(days):
            if one.promoted is not None:
                colour = PROMOTED if one.promoted else REFUSED
                axes.axvline(at + 0.5, color=colour, linestyle="--", linewidth=1.2)
        axes.plot([], [], "--", color=PROMOTED, label="trained, promoted")
        axes.plot([], [], "--", color=REFUSED, label="trained, refused")
        _name_champions(axes, days)
        step = max(1, len(days) // 10)
        axes.set_xticks(list(place)[::step], [f"{one.day:%m-%d}" for one in days][::step])
        axes.legend(loc="upper left", ncols=2)

    return render(draw, width=9.0, height=3.6)


def _name_champions(axes: Axes, days: Sequence[TimelineDay]) -> None:
    starts = [
        at for at, one in enumerate(days) if at == 0 or days[at - 1].scored_by != one.scored_by
    ]
    for start, end in zip(starts, [*starts[1:], len(days)], strict=True):
        name = days[start].scored_by
        label = f"v{name}" if name.isdigit() else name
        axes.text((start + end - 1) / 2, 0.02, label, ha="center", color=QUIET, fontsize=8)


def _or_gap(value: float | None) -> float:
    return float("nan") if value is None else value
