"""The lake replaces days whole and always with the same bytes."""

from datetime import date

import polars as pl
import pytest

from fraud_assets.lake import Lake, MissingDayError, OtherColumnsError

DAY = date(2025, 1, 2)
NEXT = date(2025, 1, 3)


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_a_day_is_read_back_as_it_was_written(lake: Lake) -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None], "c": [[], ["y"]]})
    written = lake.write_day("things", DAY, frame)
    assert lake.read_days("things", [DAY]).equals(frame)
    assert written.rows == 2
    assert written.path.endswith("things/day=2025-01-02/data.parquet")


def test_writing_a_day_twice_leaves_the_same_bytes(lake: Lake) -> None:
    frame = pl.DataFrame({"a": range(1000), "b": [f"id{i}" for i in range(1000)]})
    first = lake.write_day("things", DAY, frame)
    second = lake.write_day("things", DAY, frame.clone())
    assert first.sha256 == second.sha256


def test_a_write_that_fails_leaves_the_old_day(lake: Lake, monkeypatch) -> None:
    lake.write_day("things", DAY, pl.DataFrame({"a": [1]}))

    def broken(*_args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        lake.write_day("things", DAY, pl.DataFrame({"a": [2]}))
    assert lake.read_days("things", [DAY])["a"].to_list() == [1]
    assert [p.name for p in lake.path("things", DAY).parent.iterdir()] == ["data.parquet"]


def test_a_missing_day_is_named_with_the_remedy(lake: Lake) -> None:
    lake.write_day("things", DAY, pl.DataFrame({"a": [1]}))
    with pytest.raises(MissingDayError, match=r"things for 2025-01-03.*materialise things"):
        lake.read_days("things", [DAY, NEXT])
    assert lake.read_existing("things", [DAY, NEXT]).height == 1
    assert lake.read_existing("things", [NEXT]) is None


def test_no_days_at_all_are_an_error_and_not_an_empty_frame(lake: Lake) -> None:
    with pytest.raises(MissingDayError, match="no day at all"):
        lake.read_days("things", [])


def test_days_come_in_the_order_that_was_asked_for_and_empty_days_count(lake: Lake) -> None:
    lake.write_day("things", NEXT, pl.DataFrame({"a": [3]}))
    lake.write_day("things", DAY, pl.DataFrame({"a": []}, schema={"a": pl.Int64}))
    assert lake.days("things") == [DAY, NEXT]
    assert lake.read_days("things", [DAY, NEXT])["a"].to_list() == [3]
    assert lake.row_count("things", DAY) == 0


def test_chunks_keep_every_day_and_the_order(lake: Lake) -> None:
    days = [date(2025, 1, d) for d in range(1, 7)]
    for day in days:
        lake.write_day("things", day, pl.DataFrame({"a": range(10)}))
    chunks = lake.chunks_by_rows("things", days, 25)
    assert [day for chunk in chunks for day in chunk] == days
    assert [len(chunk) for chunk in chunks] == [2, 2, 2]
    assert lake.chunks_by_rows("things", days[:1], 1) == [days[:1]]


def test_documents_stand_beside_the_data(lake: Lake) -> None:
    lake.write_document("things", DAY, "facts.json", '{"a": 1}')
    assert lake.read_json("things", DAY, "facts.json") == {"a": 1}
    assert lake.days("things") == []
    assert lake.days("things", "facts.json") == [DAY]
    with pytest.raises(MissingDayError, match=r"facts.json not found"):
        lake.read_json("things", NEXT, "facts.json")


def test_days_with_other_columns_are_told_apart_with_the_remedy(tmp_path):
    lake = Lake(str(tmp_path))
    older, newer = date(2026, 1, 1), date(2026, 1, 2)
    lake.write_day("labels", older, pl.DataFrame({"id": ["a"]}))
    lake.write_day("labels", newer, pl.DataFrame({"id": ["b"], "amount": [1.0]}))
    with pytest.raises(OtherColumnsError, match=r"labels of 2026-01-01 .* amount.* again"):
        lake.read_days("labels", [older, newer])
    assert lake.read_days("labels", [older, newer], ["id"]).height == 2
