"""Small pictures of a training, as PNG bytes: how the search went, and what mattered in the model.

Drawing only: every number is handed in, as the manifest and the search give it. The style is that
of `plots`, where the evaluation is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fraud_assets.modeling.reporting.plots import (
    CANDIDATE,
    CHAMPION,
    QUIET,
    placeholder,
    render,
    shortened,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAMILY_COLOURS: Final = {
    "xgboost": CANDIDATE,
    "lightgbm": CHAMPION,
    "random_forest": "#2e8b57",
    "logistic_regression": "#8e5aa8",
}
"""By name and not by place, so that a family looks the same in every search."""


def feature_importance(shares: Mapping[str, float], most: int = 15) -> bytes:
    """The `most` features that move the margin most, as shares of all contributions.

    `shares` are mean absolute contributions that sum to 1 over all features.
    """
    return _share_bars(
        shares,
        most,
        title="What moves the score",
        xlabel="share of the mean absolute contribution",
        nothing="no contributions were measured",
    )


def param_importance(shares: Mapping[str, float], most: int = 15) -> bytes:
    """The `most` parameters whose choice made most difference in the search.

    `shares` come from `optuna.importance` and sum to 1; none where too few trials finished.
    """
    return _share_bars(
        shares,
        most,
        title="Which parameters mattered in the search",
        xlabel="share of the variance of average precision",
        nothing="too few finished trials: not computable",
    )


def search_history(trials: Sequence[Mapping[str, Any]]) -> bytes:
    """Average precision of every trial in the order of the search, and the best so far.

    Args:
        trials: `state` and `average_precision` of each, in order, and its `family` if there are
            several. A trial that was stopped early has no average precision: it is a cross at
            the bottom, never a zero.
    """
    values = [one["average_precision"] for one in trials]
    families = [str(one.get("family", "")) for one in trials]
    place = np.arange(1, len(trials) + 1)

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        axes.set(title="The search", xlabel="trial", ylabel="mean average precision")
        finished = np.array([np.nan if one is None else one for one in values], dtype=np.float64)
        if not np.isfinite(finished).any():
            placeholder(axes, "no trial was finished: not computable")
            return
        best = np.fmax.accumulate(finished)
        axes.step(place, best, where="post", color="black", linewidth=1.0, label="best so far")
        for family in dict.fromkeys(families):
            own = np.array([one == family for one in families])
            colour = FAMILY_COLOURS.get(family, CANDIDATE)
            name = family.replace("_", " ") or "trial"
            axes.plot(place[own], finished[own], "o", color=colour, markersize=5, label=name)
            cut = place[own & ~np.isfinite(finished)]
            axes.plot(
                cut, np.full(cut.size, 0.03), "x", color=colour, markersize=5,
                transform=axes.get_xaxis_transform(), clip_on=False,
            )  # fmt: skip
        if not np.isfinite(finished).all():
            axes.plot([], [], "x", color=QUIET, label="stopped early")
        low, high = float(np.nanmin(finished)), float(np.nanmax(finished))
        room = max(0.02, high - low)
        axes.set(ylim=(max(0.0, low - 0.25 * room), min(1.0, high + 0.15 * room)))
        axes.set(xlim=(0.5, len(trials) + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, borderaxespad=0.0)

    return render(draw, height=3.6)


def _share_bars(
    shares: Mapping[str, float], most: int, *, title: str, xlabel: str, nothing: str
) -> bytes:
    largest = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:most][::-1]

    def draw(axes: Axes) -> None:
        axes.set(title=title, xlabel=xlabel)
        if not largest:
            placeholder(axes, nothing)
            return
        values = [value for _, value in largest]
        axes.barh(range(len(largest)), values, color=CANDIDATE, height=0.7)
        for at, value in enumerate(values):
            axes.annotate(
                f"{value:.1%}", (value, at), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize=8,
            )  # fmt: skip
        axes.set_yticks(range(len(largest)), [shortened(name) for name, _ in largest])
        axes.tick_params(axis="y", labelsize=8.5, length=0)
        axes.grid(visible=False, axis="y")
        # A single bar as high as the picture would look like all of it.
        axes.set(xlim=(0, 1.15 * max(*values, 1e-9)), ylim=(min(-0.6, len(largest) - 4.4), None))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
        left_out = len(shares) - len(largest)
        if left_out:
            axes.text(
                1.0, 0.02, f"and {left_out} more", ha="right", color=QUIET, size=8,
                transform=axes.transAxes,
            )  # fmt: skip

    return render(draw, height=1.3 + 0.22 * max(len(largest), 4))
