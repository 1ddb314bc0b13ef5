"""Pictures over days, as PNG bytes: drift, realised performance, rates; and what drifted most.

Drawing only: every number comes from the records. The style and the `render` are those of
`modeling.reporting.plots`. A day without a value is a gap, never a zero, and a picture without any
value says why.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from fraud_assets.modeling.reporting.plots import (
    CANDIDATE,
    CHAMPION,
    QUIET,
    placeholder,
    render,
    shortened,
)
from fraud_assets.monitoring.records import DayDrift, DayPerformance
from fraud_assets.monitoring.reporting.day_axis import DayAxis, unmathematical

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORE_COLOUR: Final = "#8e5aa8"
FRAUD_COLOUR: Final = "#a3301f"
ESTIMATED: Final = "#333333"
NOT_MATURE: Final = "#efece6"

Values = Mapping[date, float | None]


class MovedInput(Protocol):
    """What `cause_bars` needs of an input; None where something is not computable."""

    @property
    def feature(self) -> str:
        """Its name."""
        ...

    @property
    def distance(self) -> float | None:
        """How far it has moved."""
        ...

    @property
    def drifted(self) -> bool | None:
        """Whether that is drift."""
        ...

    @property
    def weight(self) -> float | None:
        """Its drift times its contribution, to rank by."""
        ...


def drift_trend(days: Sequence[DayDrift], threshold: float) -> bytes:
    """Share of drifted inputs, their weight in the model, and drift of the score, by day.

    The score's distance is in standard deviations and may exceed 1: then it is a triangle on the
    top edge. Its dots are filled on days on which it counts as drift.

    Args:
        days: in any order, each day once.
        threshold: share of drifted inputs at which the policy speaks of drift.
    """
    title = "Drift of the inputs and of the score"
    shares = {one.day: one.drift_share for one in days}
    weights = {one.day: one.drifted_weight for one in days}
    scores = {one.day: one.score_drift for one in days}
    if not _any(shares, weights, scores):
        last = max(days, key=lambda one: one.day, default=None)
        return _nothing(title, "no days yet" if last is None else f"not computable: {last.status}")

    def draw(axes: Axes) -> None:
        axes.set(title=f"{title}\n", ylim=(0, 1.02), ylabel="share; distance of the score")
        axis = DayAxis.of(shares)
        if _any(shares):
            axes.plot(*axis.steps(shares), color=CHAMPION, linewidth=1.8, label="drifted inputs")
        axes.axhline(threshold, color=CHAMPION, linestyle="--", linewidth=0.9, label="threshold")
        if _any(weights):
            axes.plot(
                axis.places, axis.heights(weights), "o-", color=CANDIDATE,
                markersize=axis.marker_size, label="their weight in the model",
            )  # fmt: skip
        _score_line(axes, axis, days)
        _finish(axes, axis, {one.day: one.champion_version for one in days})

    return render(draw, height=3.6)


def performance_trend(days: Sequence[DayPerformance]) -> bytes:
    """Average precision of each matured day, its weekly mean, the gate's level, the estimates.

    The axis has the matured days, and behind them the days whose labels are not mature yet, for
    which there is only the label-free estimate, as it was made on the day. The gate's level of a
    day is that of the model that scored it. A day whose labels are mature, but whose average
    precision is not computable, is a cross at the bottom.

    Args:
        days: in any order, each day once.
    """
    matured = {one.matured_day: one for one in days if one.matured_day is not None}
    last = max(matured, default=None)
    later = {one.day: one for one in days if last is None or one.day > last}
    realised: Values = {day: one.average_precision for day, one in matured.items()}
    estimated = {day: one.matured_estimated_average_precision for day, one in matured.items()}
    estimated |= {day: one.estimated_average_precision for day, one in later.items()}
    if not _any(realised, estimated):
        return _nothing("Average precision", _why_nothing_realised(days, matured))

    def draw(axes: Axes) -> None:
        axes.set(title="Average precision\n", ylabel="average precision")
        axis = DayAxis.of([*matured, *later])
        if later:
            start = -0.5 if last is None else axis.place(last) + 0.5
            axes.axvspan(start, axis.length - 0.5, color=NOT_MATURE, label="labels not mature yet")
        weeks: Values = {day: one.week_average_precision for day, one in matured.items()}
        lows: Values = {day: one.week_low for day, one in matured.items()}
        highs: Values = {day: one.week_high for day, one in matured.items()}
        versions = {day: one.model_version for day, one in matured.items()}
        versions |= {day: one.champion_version for day, one in later.items()}
        gates = _gate_levels(days)
        levels = {day: gates.get(version) for day, version in versions.items()}
        edges, band_low = axis.steps(lows)
        axes.fill_between(edges, band_low, axis.steps(highs)[1], color=CANDIDATE, alpha=0.18, lw=0)
        if _any(weeks):
            axes.plot(
                axis.places, axis.heights(weeks), ".-", color=CANDIDATE, linewidth=1.8,
                markersize=3, label="mean of 7 days",
            )  # fmt: skip
        _days_with_intervals(axes, axis, matured)
        if _any(levels):
            axes.plot(*axis.steps(levels), color=CHAMPION, label="at the gate")
        if _any(estimated):
            axes.plot(
                axis.places, axis.heights(estimated), ":.", color=ESTIMATED, markersize=3,
                label="estimated without labels",
            )  # fmt: skip
        ends = {day: one.average_precision_high for day, one in matured.items()}
        drawn = [one.values() for one in (realised, ends, highs, levels, estimated)]
        top = max(value for values in drawn for value in values if value is not None)
        axes.set(ylim=(0, min(1.04, math.ceil(10 * top) / 10 + 0.04)))
        _finish(axes, axis, versions)

    return render(draw, height=3.9)


def rates_trend(
    drift_days: Sequence[DayDrift], performance_days: Sequence[DayPerformance]
) -> bytes:
    """Share of alerts by day and share of frauds by matured day, each with its reference.

    The references are the alerts of the champion's gate days, and the frauds of its training days.
    """
    matured = {one.matured_day: one for one in performance_days if one.matured_day is not None}
    alerts: Values = {one.day: one.alert_share for one in drift_days}
    usual_alerts: Values = {one.day: one.reference_alert_share for one in drift_days}
    frauds: Values = {day: one.fraud_share for day, one in matured.items()}
    usual_frauds: Values = {day: one.reference_fraud_share for day, one in matured.items()}
    if not _any(alerts, frauds):
        why = "not computable: no alerts to compare with, and no labels are mature yet"
        return _nothing(
            "Alerts and frauds", why if drift_days or performance_days else "no days yet"
        )

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import PercentFormatter

        axes.set(title="Alerts and frauds\n", ylabel="share of the rows")
        axes.margins(y=0.12)
        axis = DayAxis.of([*alerts, *frauds])
        size = axis.marker_size
        for name, seen, usual, colour in (
            ("alerts", alerts, usual_alerts, CANDIDATE),
            ("frauds", frauds, usual_frauds, FRAUD_COLOUR),
        ):
            if _any(seen):
                axes.plot(
                    axis.places, axis.heights(seen), "o-", color=colour, markersize=size, label=name
                )
            if _any(usual):
                of = "gate" if name == "alerts" else "training"
                axes.plot(
                    *axis.steps(usual), "--", color=colour, linewidth=1.0,
                    label=f"{name} of the {of} days",
                )  # fmt: skip
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        _finish(axes, axis, {one.day: one.champion_version for one in drift_days})

    return render(draw, height=3.6)


def cause_bars(causes: Sequence[MovedInput], most: int = 12) -> bytes:
    """The `most` inputs with the largest drift times contribution, with their distances.

    Inputs without a weight, or with none, are not drawn.
    """
    known = [(one.weight, one) for one in causes if one.weight is not None and one.weight > 0.0]
    known.sort(key=lambda pair: (-pair[0], pair[1].feature))
    shown = known[:most][::-1]
    title = "Inputs by drift and weight in the model"
    if not shown:
        why = "no input that the model goes by has moved" if causes else "not measured"
        return _nothing(title, why)

    def draw(axes: Axes) -> None:
        axes.set(title=title, xlabel="drift times share of the contributions")
        weights = [weight for weight, _ in shown]
        axes.barh(
            range(len(shown)), weights, height=0.7,
            color=[CHAMPION if one.drifted else CANDIDATE for _, one in shown],
        )  # fmt: skip
        for at, (weight, one) in enumerate(shown):
            moved = "no distance" if one.distance is None else f"moved {one.distance:.2g}"
            axes.annotate(
                moved, (weight, at), xytext=(4, 0), textcoords="offset points", va="center",
                fontsize=8,
            )  # fmt: skip
        names = [unmathematical(shortened(one.feature)) for _, one in shown]
        axes.set_yticks(range(len(shown)), names)
        axes.tick_params(axis="y", labelsize=8.5, length=0)
        axes.grid(visible=False, axis="y")
        # A single bar as high as the picture would look like all of it.
        axes.set(xlim=(0, 1.3 * max(weights)), ylim=(min(-0.6, len(shown) - 4.4), None))
        for colour, name, drifted in (
            (CHAMPION, "drifted", True),
            (CANDIDATE, "not drifted", False),
        ):
            if any(bool(one.drifted) is drifted for _, one in shown):
                axes.barh([np.nan], [np.nan], color=colour, label=name)
        axes.legend(loc="lower right")

    return render(draw, height=1.4 + 0.24 * max(len(shown), 4))


def _score_line(axes: Axes, axis: DayAxis, days: Sequence[DayDrift]) -> None:
    scores = axis.heights({one.day: one.score_drift for one in days})
    if np.isnan(scores).all():
        return
    drifted = np.zeros(axis.length, dtype=bool)
    for one in days:
        drifted[axis.place(one.day)] = bool(one.score_drifted)
    over = scores > 1.0
    heights = np.minimum(scores, 0.99)
    style: dict[str, Any] = {"color": SCORE_COLOUR, "markersize": axis.marker_size}
    axes.plot(axis.places, heights, color=SCORE_COLOUR, linewidth=1.0)
    for where, marker, fill, name in (
        (~drifted & ~over, "o", "white", "score, no drift"),
        (drifted & ~over, "o", SCORE_COLOUR, "score, drifted"),
        (over, "^", SCORE_COLOUR, "score, above 1"),
    ):
        if np.isfinite(heights[where]).any():
            axes.plot(
                axis.places[where], heights[where], marker, markerfacecolor=fill, label=name,
                **style,
            )  # fmt: skip


def _days_with_intervals(axes: Axes, axis: DayAxis, matured: Mapping[date, DayPerformance]) -> None:
    """A dot per matured day with its interval, if it has one, and a cross where there is none."""
    heights = axis.heights({day: one.average_precision for day, one in matured.items()})
    low = axis.heights({day: one.average_precision_low for day, one in matured.items()})
    high = axis.heights({day: one.average_precision_high for day, one in matured.items()})
    if np.isfinite(heights).any():
        around = np.nan_to_num(np.clip([heights - low, high - heights], 0.0, None), nan=0.0)
        axes.errorbar(
            axis.places, heights, yerr=around, fmt="o", color=QUIET, elinewidth=0.8,
            markersize=axis.marker_size, label="matured day",
        )  # fmt: skip
    absent = [axis.place(day) for day, one in matured.items() if one.average_precision is None]
    if absent:
        axes.plot(
            absent, np.full(len(absent), 0.03), "x", color=QUIET, markersize=5,
            transform=axes.get_xaxis_transform(), label="not computable",
        )  # fmt: skip


def _gate_levels(days: Iterable[DayPerformance]) -> dict[str, float | None]:
    """By version, its average precision at its gate, as the reports of its days tell it."""
    return {
        one.champion_version: one.champion_gate_average_precision
        for one in sorted(days, key=lambda one: one.day)
        if one.champion_gate_average_precision is not None
    }


def _why_nothing_realised(
    days: Sequence[DayPerformance], matured: Mapping[date, DayPerformance]
) -> str:
    if not days:
        return "no days yet"
    if not matured:
        return "not computable: no labels are mature yet"
    return "not computable: no fraud is known on the matured days"


def _finish(axes: Axes, axis: DayAxis, versions: Mapping[date, str]) -> None:
    axis.label(axes)
    axis.mark_champions(axes, versions)
    # Below the picture: lines that go up and down leave no corner free.
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, borderaxespad=0.0,
        columnspacing=1.2, handlelength=1.8,
    )  # fmt: skip


def _nothing(title: str, why: str) -> bytes:
    """A picture that says why there is nothing to draw."""

    def draw(axes: Axes) -> None:
        axes.set(title=title)
        axes.set_axis_off()
        placeholder(axes, "\n".join(textwrap.wrap(unmathematical(why), 64)[:6]))

    return render(draw, height=1.6)


def _any(*all_values: Values) -> bool:
    return any(value is not None for values in all_values for value in values.values())
