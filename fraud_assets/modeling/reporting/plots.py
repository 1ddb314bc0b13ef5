"""Small pictures of an evaluation, as PNG bytes for metadata, model cards and reports.

Drawing only: every number comes from `metrics` or is handed in. How a training went is drawn in
`training_plots`, with the style and the `render` that stand here. A picture is 500 pixels wide, at
most 40 kB, and the same bytes for the same input. No pyplot: its global figures outlive a run.
"""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Final

import numpy as np

from fraud_assets.modeling import metrics
from fraud_assets.modeling.slices import SliceEvaluation, wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = metrics.Array

CANDIDATE: Final = "#0b5fa5"
CHAMPION: Final = "#d1731c"
QUIET: Final = "#777777"

STYLE: Final = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


def precision_recall(
    label: Array,
    candidate: Array,
    champion: Array | None = None,
    *,
    day: Array | None = None,
    alerts_per_day: int | None = None,
) -> bytes:
    """Precision over recall of the candidate and the champion, with the share of fraud.

    With `day` and `alerts_per_day` a dot marks where the daily review budget leaves each.
    """

    def draw(axes: Axes) -> None:
        from sklearn.metrics import precision_recall_curve

        axes.set(title="Precision and recall", xlabel="recall (share of frauds caught)")
        axes.set(ylabel="precision (share of alerts right)", xlim=(-0.02, 1.02), ylim=(0, 1.05))
        if not np.any(label):
            placeholder(axes, "no frauds: not computable")
            return
        share = float(np.mean(label))
        axes.axhline(share, color=QUIET, linestyle=":", label=f"chance ({share:.2%})")
        shown = [("champion", champion, CHAMPION), ("candidate", candidate, CANDIDATE)]
        for name, score, colour in shown:
            if score is None:
                continue
            precision, recall, _ = precision_recall_curve(label, score)
            steps = np.flatnonzero(np.diff(recall, append=-1.0))  # where a fraud is gained
            recall, precision = _thinned(recall[steps], precision[steps])
            area = metrics.average_precision(label, score)
            axes.step(
                recall, precision, where="post", color=colour, label=f"{name} (AP {area:.3f})"
            )
            if day is not None and alerts_per_day is not None:
                caught = metrics.recall_at_budget(label, score, day, alerts_per_day) or 0.0
                _, rows_per_day = np.unique(day, return_counts=True)
                alerts = np.minimum(rows_per_day, alerts_per_day).sum()
                right = caught * float(np.sum(label)) / alerts
                axes.plot(caught, right, "o", color=colour, markersize=7, zorder=3)
        if alerts_per_day is not None and day is not None:
            axes.plot([], [], "o", color=QUIET, label=f"at {alerts_per_day} alerts a day")
        # Below: a good model's curve fills the corner, a bad one's the other.
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, borderaxespad=0.0)

    return render(draw, height=3.7)


def reliability(label: Array, score: Array, bins: int = 20) -> bytes:
    """Observed share of fraud over the predicted probability, on logarithmic axes.

    Bins hold equal numbers of rows, joined from the lowest upwards until each holds five
    frauds: a bin without fraud has no place on a logarithmic axis and says little. A bar spans
    the 95 % Wilson interval of the share.
    """

    def draw(axes: Axes) -> None:
        axes.set(title="Reliability of the probabilities")
        axes.set(xlabel="predicted probability of fraud", ylabel="observed share of fraud")
        found = _joined(metrics.reliability(label, score, bins), least_frauds=5.0)
        found = [one for one in found if one.observed > 0 and one.predicted > 0]
        if not found:
            placeholder(axes, "too few frauds: not computable")
            return
        predicted = np.array([one.predicted for one in found])
        observed = np.array([one.observed for one in found])
        ends = [wilson_interval(round(one.observed * one.rows), one.rows, 0.95) for one in found]
        low, high = np.array(ends, dtype=np.float64).T
        edge = 10 ** np.floor(np.log10(min(predicted.min(), low.min())))
        axes.set(xscale="log", yscale="log", xlim=(edge, 1.3), ylim=(edge, 1.3))
        axes.plot([edge, 1], [edge, 1], color=QUIET, linestyle=":", label="perfect")
        error = metrics.expected_calibration_error(label, score)
        axes.errorbar(
            predicted, observed, yerr=np.clip([observed - low, high - observed], 0, None),
            fmt="o-", color=CANDIDATE, capsize=3, markersize=5,
            label=f"model (calibration error {error:.4f})",
        )  # fmt: skip
        axes.legend(loc="upper left")

    return render(draw)


def cost_curve(
    label: Array,
    amount: Array,
    score: Array,
    *,
    review_cost: float,
    loss_share: float,
    days: int,
    threshold: float | None = None,
) -> bytes:
    """Cost per day over the alert threshold, beside the cost of doing nothing."""

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import FuncFormatter

        axes.set(title="Cost per day by threshold", xlabel="threshold on the probability of fraud")
        axes.set(ylabel="cost per day (losses and reviews)")
        truth, value = metrics.checked(label, score)
        if value.size == 0:
            placeholder(axes, "no rows: not computable")
            return
        ends, order = metrics.tie_groups(value)
        lost = truth[order] * np.asarray(amount, dtype=np.float64)[order] * loss_share
        nothing = float(lost.sum()) / days
        costs = (review_cost * (ends + 1) + lost.sum() - np.cumsum(lost)[ends]) / days
        top = 1.6 * max(nothing, float(costs.min())) or 1.0
        seen = costs <= top  # alerting almost everything would flatten the rest
        at, per_day = _thinned(np.maximum(value[order][ends], 1e-6)[seen], costs[seen])
        axes.plot(at, per_day, color=CANDIDATE, label="model")
        axes.axhline(nothing, color=QUIET, linestyle=":", label="doing nothing")
        if threshold is not None:
            axes.axvline(
                threshold, color=CHAMPION, linestyle="--", label=f"threshold {threshold:.3g}"
            )
        axes.set(xscale="log", ylim=(0, top))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
        axes.legend(loc="best")

    return render(draw)


def average_precision_by_day(
    days: Sequence[date],
    candidate: Sequence[float | None],
    champion: Sequence[float | None] | None = None,
) -> bytes:
    """AP per day; a day on which it is not computable is a cross on the axis, not a zero."""

    def draw(axes: Axes) -> None:
        axes.set(title="Average precision by day", xlabel="day", ylabel="average precision")
        place = np.arange(len(days))
        shown = [("champion", champion, CHAMPION), ("candidate", candidate, CANDIDATE)]
        for name, values, colour in shown:
            if values is None:
                continue
            heights = np.array([np.nan if one is None else one for one in values])
            axes.plot(place, heights, "o-", color=colour, label=name, markersize=4)
        absent = [at for at, one in enumerate(candidate) if one is None]
        if absent:
            axes.plot(absent, np.full(len(absent), 0.02), "x", color=QUIET, label="no frauds known")
        step = max(1, -(-len(days) // 8))
        axes.set_xticks(place[::step], [f"{one:%d %b}" for one in days[::step]])
        axes.set(ylim=(0, 1.05))
        axes.legend(loc="upper left", ncols=3)

    return render(draw)


def drift_bars(distances: Mapping[str, float], threshold: float, most: int = 12) -> bytes:
    """The `most` largest drift distances, by column, against the threshold."""
    largest = sorted(distances.items(), key=lambda item: (-item[1], item[0]))[:most][::-1]

    def draw(axes: Axes) -> None:
        over = sum(value > threshold for value in distances.values())
        axes.set(title=f"Drift: {over} of {len(distances)} columns")
        axes.set(xlabel="distance from the reference days")
        if not largest:
            placeholder(axes, "no columns were compared")
            return
        values = [value for _, value in largest]
        axes.barh(
            [shortened(name) for name, _ in largest],
            values,
            color=[CHAMPION if value > threshold else CANDIDATE for value in values],
        )
        axes.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:g}")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", labelsize=8.5)
        axes.set(xlim=(0, 1.15 * max(threshold, *values)))
        axes.legend(loc="lower right")

    return render(draw, height=1.3 + 0.24 * max(len(largest), 4))


def slice_bars(slices: Sequence[SliceEvaluation], overall: float | None = None) -> bytes:
    """Recall of each slice with its interval and its counts, dimension by dimension.

    A slice without frauds has no recall: it keeps its line and says so. With `overall`, a line
    marks the recall over all rows.
    """
    shown = list(slices)[::-1]
    breaks = [
        at + 0.5
        for at, (one, above) in enumerate(itertools.pairwise(shown))
        if one.dimension != above.dimension
    ]

    def draw(axes: Axes) -> None:
        whole = "" if overall is None else f" (all rows {overall:.0%}, dotted)"
        axes.set(title=f"Recall by slice{whole}")
        axes.set(xlabel="share of frauds caught, with its interval")
        if not shown:
            placeholder(axes, "no slices")
            return
        for at, one in enumerate(shown):
            if one.recall is None:
                axes.text(0.01, at, "no frauds: not computable", color=QUIET, va="center", size=7.5)
                continue
            axes.barh(at, one.recall, color=CANDIDATE, alpha=0.85, height=0.7)
            if one.recall_low is not None and one.recall_high is not None:
                around = [[one.recall - one.recall_low], [one.recall_high - one.recall]]
                axes.errorbar(
                    one.recall, at, xerr=np.clip(around, 0, None), color="black", capsize=2.5,
                    elinewidth=1.0,
                )  # fmt: skip
            axes.text(1.02, at, f"{one.caught:,} of {one.positives:,}", va="center", size=8)
        for between in breaks:
            axes.axhline(between, color="#c8c8c8", linewidth=0.8)
        if overall is not None:
            axes.axvline(overall, color=QUIET, linestyle=":")
        names = [shortened(f"{one.dimension.replace('_', ' ')}: {one.value}") for one in shown]
        axes.set_yticks(range(len(shown)), names)
        axes.tick_params(axis="y", labelsize=8, length=0)
        axes.grid(visible=False, axis="y")
        axes.set(xlim=(0, 1), ylim=(-0.6, len(shown) - 0.4))
        axes.spines["bottom"].set_visible(False)

    return render(draw, height=1.2 + 0.22 * max(len(shown), 4))


def as_markdown_image(png: bytes, alt: str = "plot") -> str:
    """The picture as a Markdown image with a data URI, which Dagster's UI shows in place."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})"


def render(draw: Callable[[Axes], None], *, width: float = 5.0, height: float = 3.3) -> bytes:
    """PNG of one pair of axes in the house style; width and height in hundreds of pixels."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    with rc_context(STYLE):  # type: ignore[arg-type]  # its keys are literals, ours plain text
        figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        draw(figure.add_subplot())
        canvas.draw()  # type: ignore[no-untyped-call]
        shown = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    pixels = Image.fromarray(shown).convert("RGB")
    buffer = io.BytesIO()
    # 64 colours lose nothing in a line plot and make a third of the size.
    pixels.quantize(64, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def placeholder(axes: Axes, why: str) -> None:
    """Say why there is nothing to draw, in the middle of the axes."""
    axes.text(0.5, 0.5, why, ha="center", va="center", color=QUIET, transform=axes.transAxes)


def _thinned(x: Array, y: Array, points: int = 2000) -> tuple[Array, Array]:
    """At most about `points` points, first and last among them."""
    keep = np.unique(np.linspace(0, len(x) - 1, min(points, len(x))).astype(np.intp))
    return x[keep], y[keep]


def shortened(name: str, longest: int = 28) -> str:
    """The name, cut where it would take the place of the picture."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _joined(
    bins: Sequence[metrics.ReliabilityBin], least_frauds: float
) -> list[metrics.ReliabilityBin]:
    joined: list[metrics.ReliabilityBin] = []
    rows, predicted, frauds = 0, 0.0, 0.0
    for one in bins:
        rows += one.rows
        predicted += one.rows * one.predicted
        frauds += one.rows * one.observed
        if frauds >= least_frauds - 1e-9:
            joined.append(metrics.ReliabilityBin(rows, predicted / rows, frauds / rows))
            rows, predicted, frauds = 0, 0.0, 0.0
    return joined
