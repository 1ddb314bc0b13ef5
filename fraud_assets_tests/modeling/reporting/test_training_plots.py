"""Pictures of a training: small, repeatable, sorted, and a stopped trial is never a zero."""

import numpy as np
import pytest

from fraud_assets.modeling.estimators import ESTIMATORS
from fraud_assets.modeling.reporting import training_plots as plots

SHARES = {f"payer_count_{days}d": 2.0**-days for days in range(1, 25)}
TRIALS = [
    {
        "number": number,
        "state": "pruned" if number % 5 == 4 else "complete",
        "average_precision": None if number % 5 == 4 else 0.5 + 0.01 * (number * 7 % 11),
        "family": family,
    }
    for family in ESTIMATORS
    for number in range(10)
]

PICTURES = {
    "feature_importance": lambda: plots.feature_importance(SHARES),
    "feature_importance of one": lambda: plots.feature_importance({"amount": 1.0}),
    "param_importance": lambda: plots.param_importance({"max_depth": 0.7, "eta": 0.3}),
    "search_history": lambda: plots.search_history(TRIALS),
    "search_history of one trial": lambda: plots.search_history(TRIALS[:1]),
}
OF_NOTHING = {
    "feature_importance": lambda: plots.feature_importance({}),
    "param_importance": lambda: plots.param_importance({}),
    "search_history": lambda: plots.search_history([]),
    "search_history without a finished trial": lambda: plots.search_history(TRIALS[4:5]),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_small_and_500_pixels_wide(name, small_picture):
    small_picture(PICTURES[name]())


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_input_gives_the_same_bytes(name):
    assert PICTURES[name]() == PICTURES[name]()


@pytest.mark.parametrize("name", OF_NOTHING)
def test_what_is_not_computable_is_drawn_as_such(name, opened, painted):
    png = OF_NOTHING[name]()

    assert opened(png).width == 500
    assert painted(png, plots.CANDIDATE)[0].size == 0


def test_importances_are_sorted_whatever_the_order_of_the_features():
    backwards = dict(reversed(SHARES.items()))

    assert plots.feature_importance(SHARES) == plots.feature_importance(backwards)


def test_only_the_largest_importances_are_drawn(opened):
    largest = dict(sorted(SHARES.items(), key=lambda item: -item[1])[:5])

    assert plots.feature_importance(SHARES, most=5) != plots.feature_importance(largest, most=5)
    assert opened(plots.feature_importance(SHARES, most=5)).height < (
        opened(plots.feature_importance(SHARES, most=15)).height
    )


def test_the_largest_importance_is_on_top(painted):
    rows, columns = painted(plots.feature_importance({"a": 0.2, "b": 0.8}), plots.CANDIDATE)

    assert columns[rows == rows.min() + 3].max() > columns[rows == rows.max() - 3].max()


@pytest.mark.parametrize("family", list(ESTIMATORS))
def test_every_family_has_a_colour_of_its_own(family, painted):
    others = set(plots.FAMILY_COLOURS.values()) - {plots.FAMILY_COLOURS[family]}

    png = plots.search_history([one for one in TRIALS if one["family"] == family])

    assert painted(png, plots.FAMILY_COLOURS[family])[0].size > 20
    assert all(painted(png, other)[0].size == 0 for other in others)


def test_a_stopped_trial_is_a_cross_below_the_others_and_does_not_stretch_the_scale_to_zero(
    painted,
):
    finished = [one for one in TRIALS if one["average_precision"] is not None][:8]
    stopped = {**TRIALS[0], "state": "pruned", "average_precision": None}

    colour = plots.FAMILY_COLOURS["xgboost"]
    with_cross = painted(plots.search_history([*finished, stopped]), colour)
    without = painted(plots.search_history(finished), colour)

    assert np.ptp(without[0]) > 100  # at a scale from zero they would lie on one line
    assert with_cross[0].max() > without[0].max()


def test_the_best_so_far_never_falls(painted):
    falling = [{"state": "complete", "average_precision": value} for value in (0.6, 0.5, 0.55)]

    png = plots.search_history(falling)
    dots, across = painted(png, plots.CANDIDATE)
    line, _ = painted(png, "#000000")

    highest = slice(dots.min(), dots.min() + 9)
    assert np.bincount(line)[highest].max() == pytest.approx(np.ptp(across), rel=0.1)


def test_drawing_leaves_no_global_figure_behind():
    PICTURES["search_history"]()
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []
