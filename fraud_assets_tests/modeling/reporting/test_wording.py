"""Numbers are written one way everywhere, and what could not be computed is never a zero."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.modeling.bootstrap import Interval
from fraud_assets.modeling.reporting import wording


@pytest.mark.parametrize("write", [wording.metric, wording.signed, wording.share, wording.money])
def test_none_is_not_computable_and_zero_is_zero(write):
    assert write(None) == "not computable"
    assert "0" in write(0.0)
    assert write(0.0) != write(None)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.4813, "48.1%"), (1.0, "100%"), (0.0, "0%"), (0.00084, "0.084%"), (0.001, "0.1%"),
        (0.00846, "0.85%"), (0.0123, "1.2%"), (0.9999, "100%"),
        (-0.25, "-25%"), (4.1e-7, "4.1e-05%"),
    ],
)  # fmt: skip
def test_shares(value, said):
    assert wording.share(value) == said


@pytest.mark.parametrize(
    ("interval", "said", "gained"),
    [
        (Interval(0.482, 0.41, 0.55), "0.482 (0.410 to 0.550)", "+0.482 (+0.410 to +0.550)"),
        (Interval(0.482, None, None), "0.482 (no interval)", "+0.482 (no interval)"),
        (Interval(None, None, None), "not computable", "not computable"),
    ],
)
def test_estimates_and_gains_carry_their_interval(interval, said, gained):
    assert wording.estimate(interval) == said
    assert wording.gain(interval) == gained


def test_money_gains_have_no_decimals_and_their_thousands_apart():
    assert wording.gain(Interval(6491.2, -1008.4, 13989.0), 0) == "+6,491 (-1,008 to +13,989)"


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 days"), (1, "1 day"), (2, "2 days"), (1200, "1,200 days")]
)
def test_things_are_counted_in_the_right_number(number, said):
    assert wording.count(number, "day") == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.083451, "0.08345"), (1e-6, "1e-06"), (5, "5"), ("x", "x"), (None, "unknown")],
)
def test_values_of_any_kind(value, said):
    assert wording.plain(value) == said


@pytest.mark.parametrize(
    ("name", "said"),
    [("hour", "hour (UTC)"), ("new_payee", "payee"), ("scenario", "fraud scenario"),
     ("kind", "kind"), ("card_network", "card network")],
)  # fmt: skip
def test_dimensions_are_named_for_readers(name, said):
    assert wording.dimension(name) == said


@given(value=st.floats(0, 1))
def test_a_share_that_is_not_zero_is_not_written_as_zero(value):
    assert (wording.share(value) == "0%") == (value == 0)
