"""The picture of the experiment: average precision by day, and where the loop retrained.

Drawing only, in the look of the application's own pictures.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from loop_measures import smoothed
from loop_policies import DAILY, NEVER, OURS
from loop_world import WorldResult

from fraud_assets.modeling.reporting.plots import CANDIDATE, CHAMPION, QUIET, STYLE
from fraud_assets.monitoring.reporting.timeline import PROMOTED, REFUSED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RETURNED = "#7d3c98"
CHANGED = "#f4e3c1"
LINES = ((NEVER, QUIET, 1.2), (DAILY, CHAMPION, 1.4), (OURS, CANDIDATE, 1.8))
WIDTH = 9.6
TALL, SMALL = 3.3, 2.2


def picture(results: Sequence[WorldResult]) -> bytes:
    """PNG with the first world large, and the others two by two below it."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    rows = (len(results) - 1 + 1) // 2
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, TALL + SMALL * rows), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(1 + rows, 2, height_ratios=[TALL, *[SMALL] * rows])
        for place, result in enumerate(results):
            wide = place == 0 or (place == len(results) - 1 and place % 2 == 1)
            row, column = (place + 1) // 2, (place + 1) % 2
            spot = grid[row, :] if wide else grid[row, column]
            draw(figure.add_subplot(spot), result, large=place == 0)
        canvas.draw()
        shown = np.asarray(canvas.buffer_rgba())
    buffer = io.BytesIO()
    pixels = Image.fromarray(shown).convert("RGB")
    pixels.quantize(256, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def draw(axes: Axes, result: WorldResult, *, large: bool) -> None:
    """One world: three policies, the changes, and what ours did."""
    plan = result.plan
    axes.set_title(plan.title[0].upper() + plan.title[1:])
    axes.set(ylabel="average precision", ylim=(0, 1.0 if large else None))
    for change in plan.changes:
        end = max(change.complete, change.first + 0.4)
        axes.axvspan(change.first - 0.5, end, color=CHANGED, zorder=0)
    if plan.covariate_shift is not None:
        axes.axvline(plan.covariate_shift - 0.5, color=QUIET, linestyle=":", linewidth=1.0)
    place = {day: index for index, day in enumerate(plan.days)}
    for name, colour, width in LINES:
        if name in result.days:
            curve = smoothed(result.days[name])
            days = [place[day] for day in curve]
            axes.plot(days, list(curve.values()), color=colour, linewidth=width, label=name)
    top = axes.get_ylim()[1]
    for event in result.runs[OURS].events if OURS in result.runs else ():
        colour = RETURNED if event.promoted is None else PROMOTED if event.promoted else REFUSED
        at = place[event.day] + 0.5
        axes.axvline(at, color=colour, linestyle="--", linewidth=1.1)
        if large:
            axes.text(
                at + 0.2, top, event.rule.replace("_", " "), color=colour, fontsize=7.5,
                rotation=90, ha="left", va="top",
            )  # fmt: skip
    if large:
        axes.plot([], [], "--", color=PROMOTED, label="ours trained, promoted")
        axes.plot([], [], "--", color=REFUSED, label="ours trained, refused")
        axes.plot([], [], "--", color=RETURNED, label="ours put another model in force")
        axes.fill_between([], [], color=CHANGED, label="the frauds change")
        axes.plot([], [], ":", color=QUIET, label="customers move to a new channel")
        axes.legend(loc="upper left", ncols=4, fontsize=7.5, bbox_to_anchor=(0, -0.1))
    axes.set_ylim(0, top)
    live = [place[day] for day in plan.live]
    axes.set_xlim(live[0] - 0.5, live[-1] + 0.5)
    step = max(1, len(live) // (10 if large else 6))
    axes.set_xticks(live[::step], [f"{plan.days[i]:%m-%d}" for i in live[::step]])
