"""Every day has its place, a day that is not known is a gap, and models are named if they fit."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.monitoring.reporting.day_axis import DayAxis, short_name, unmathematical

FIRST = date(2026, 10, 1)
DAYS = st.integers(0, 80).map(lambda at: FIRST + timedelta(days=at))
VALUES = st.dictionaries(DAYS, st.none() | st.floats(0, 1), min_size=1, max_size=30)


@given(values=VALUES)
def test_each_known_value_stands_on_its_day_and_everything_else_is_a_gap(values):
    axis = DayAxis.of(values)
    heights = axis.heights(values)

    assert len(heights) == axis.length == (max(values) - min(values)).days + 1
    for at, height in enumerate(heights):
        value = values.get(axis.first + timedelta(days=at))
        assert np.isnan(height) if value is None else height == value


@given(values=VALUES)
def test_a_level_fills_its_whole_day(values):
    axis = DayAxis.of(values)
    edges, levels = axis.steps(values)

    assert (edges[0], edges[-1]) == (-0.5, axis.length - 0.5)
    np.testing.assert_array_equal(np.diff(edges)[0::2], 1.0)
    np.testing.assert_array_equal(levels[0::2], axis.heights(values))
    np.testing.assert_array_equal(levels[1::2], axis.heights(values))


@pytest.mark.parametrize("length", [1, 2, 8, 9, 60, 400])
def test_few_days_are_named_however_many_there_are(length):
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    DayAxis(FIRST, FIRST + timedelta(days=length - 1)).label(axes)

    names = [one.get_text() for one in axes.get_xticklabels()]
    assert names[0] == "01 Oct"
    assert min(length, 4) <= len(names) <= 8
    assert axes.get_xlim() == (-0.5, length - 0.5)


def marked(versions: list[str]) -> tuple[list[float], dict[str, str]]:
    """Where lines stand, and each name with the side of it that is on its place."""
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    days = [FIRST + timedelta(days=at) for at in range(len(versions))]
    DayAxis.of(days).mark_champions(axes, dict(zip(days, versions, strict=True)))
    names = {one.get_text(): one.get_horizontalalignment() for one in axes.texts}
    return [line.get_xdata()[0] for line in axes.lines], names


def test_a_line_stands_where_another_model_takes_over():
    assert marked(["1"] * 10 + ["2"] * 10) == ([9.5], {"v1": "left", "v2": "left"})
    assert marked(["1"] * 10) == ([], {"v1": "left"})


def test_a_model_of_a_day_is_not_named_unless_it_is_the_last():
    assert marked(["1"] * 15 + ["rules-1"] + ["2"] * 14)[1] == {"v1": "left", "v2": "left"}
    assert marked(["1"] * 29 + ["2"])[1] == {"v1": "left", "v2": "right"}


def test_a_day_that_nobody_scored_is_no_change_of_model():
    assert marked(["1", "", "1", "", "2"])[0] == [3.5]


def test_an_axis_without_days_or_that_runs_backwards_is_refused():
    with pytest.raises(ValueError, match="needs a day"):
        DayAxis.of([])
    with pytest.raises(ValueError, match="before its first day"):
        DayAxis(FIRST, FIRST - timedelta(days=1))


@pytest.mark.parametrize("version", ["rules-1", "$\\frac$", "12a"])
def test_a_name_that_is_no_number_is_shown_as_it_is_and_never_as_a_formula(version):
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    shown = Text(0, 0, short_name(version))
    shown.figure = Figure()
    assert shown._preprocess_math(shown.get_text()) == (version, False)
    assert unmathematical("payer") == "payer"
