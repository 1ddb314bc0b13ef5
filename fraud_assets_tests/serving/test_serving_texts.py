"""A single text is read as the daily reading reads the column that it stands in."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fraud_assets.serving.texts import text_reader
from fraud_assets.transactions.profile import CsvFormat
from fraud_assets.transactions.reading import identifiers

CSV = CsvFormat()
OTHER = CsvFormat(null_values=["?", "0", "1.0"])

BLANKS = [chr(i) for i in range(0x11000) if chr(i).isspace()]  # U+001C to U+001F among them
NOT_BLANK = ["\u200b", "\ufeff", "\u180e", "\u2060"]
STEMS = [
    "1",
    "-3",
    "596",
    "0",
    "-0",
    "00",
    "1e5",
    "NA",
    "null",
    "None",
    "",
    "\uff10",
    "٣",
    "C",
    "1.0",
]
ENDS = ["", ".0", ".00", ".", ".5", "0", ".0\n", ".\uff10"]

nasty = st.builds(
    lambda *parts: "".join(parts),
    st.lists(st.sampled_from([*BLANKS, *NOT_BLANK, "+"]), max_size=2).map("".join),
    st.sampled_from([*STEMS, *CSV.null_values, *OTHER.null_values]),
    st.sampled_from(ENDS),
    st.lists(st.sampled_from([*BLANKS, *NOT_BLANK]), max_size=2).map("".join),
)


@settings(max_examples=400, deadline=None)
@given(texts=st.lists(st.one_of(nasty, st.text(max_size=8)), min_size=1, max_size=40))
@example(texts=[f"{blank}1.0{blank}" for blank in BLANKS + NOT_BLANK])
@example(texts=[stem + end for stem in STEMS for end in ENDS])
@example(texts=["1.0\n", "-3.0", "1e5", "NA ", " null", "\uff10", "\uff10.0", "\u3000C1"])
@pytest.mark.parametrize("csv", [CSV, OTHER], ids=["usual", "other"])
def test_a_text_is_read_as_in_a_column(texts: list[str], csv: CsvFormat) -> None:
    column = pl.Series(texts, dtype=pl.String)
    read = text_reader(csv)
    assert [read(text) for text in texts] == identifiers(column, csv).to_list()


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_whole_number_is_read_as_in_a_column(number: int) -> None:
    assert text_reader(OTHER)(number) == identifiers(pl.Series([number]), OTHER).item()


def test_nothing_stays_nothing() -> None:
    assert text_reader(CSV)(None) is None
