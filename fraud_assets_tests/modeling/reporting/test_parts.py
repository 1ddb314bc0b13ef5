"""Scales hold what is drawn on them, and only pictures become pictures."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.modeling.reporting.parts import Scale, picture

VALUES = st.lists(st.none() | st.floats(-1e6, 1e6), max_size=10)


@given(values=VALUES)
def test_every_value_and_zero_lie_on_the_scale_with_room_at_both_ends(values):
    scale = Scale.around(values)

    known = [0.0, *(value for value in values if value is not None)]
    places = [scale.place(value) for value in known]
    assert all(0 < place < 100 for place in places)
    assert sorted(places) == [scale.place(value) for value in sorted(known)]


@given(ends=st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(sorted))
def test_a_span_begins_at_its_low_end_and_stops_at_its_high_end(ends):
    low, high = ends
    scale = Scale.around(ends)
    span = scale.span(low, high)

    assert span.left == scale.place(low)
    assert span.left + span.width == pytest.approx(scale.place(high), abs=0.01)


def test_what_is_not_computable_has_no_place():
    scale = Scale(0.0, 1.0)

    assert scale.point(None) is None
    assert scale.span(None, 0.4) is None
    assert scale.span(0.4, None) is None
    assert scale.point(0.25) == 25.0


def test_a_picture_is_in_the_page_byte_by_byte():
    png = b"\x89PNG\r\n\x1a\n and more"
    made = picture("cost", "What a day costs.", png)

    head, data = made.source.split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == png


def test_what_is_no_png_is_refused_by_name():
    with pytest.raises(ValueError, match="'cost' is not a PNG"):
        picture("cost", "What a day costs.", b"<svg>")
