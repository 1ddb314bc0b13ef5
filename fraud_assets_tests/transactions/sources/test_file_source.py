"""One file with all days: nothing lost, split once, and clear about bad files."""

from __future__ import annotations

import gzip
import multiprocessing
import os
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.transactions.profile import Profile
from fraud_assets.transactions.sources import FileSource, SourceError, TransactionSource

HEADER = "id,paid_at,sum,who\n"
ROWS = (
    "a,2026-01-05 10:00:00,1.50,x\n"
    "b,2026-01-06 00:00:00,2,y\n"
    "c,2026-01-05 23:59:59,007,\n"
    "d,2026-01-08T01:02:03,4,'z'\n"
)
D5, D6, D7, D8 = (date(2026, 1, day) for day in (5, 6, 7, 8))


def profile(**more: object) -> Profile:
    columns = {"transaction_id": "id", "time": {"column": "paid_at"}, "amount": {"column": "sum"}}
    return Profile.model_validate({"name": "mine", "columns": columns, **more})


def source(folder: Path, content: str | bytes, name: str = "all.csv", **more: object) -> FileSource:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    batch_rows = 3 if len(content) < 10_000 else 50_000
    return FileSource(path, profile(**more), folder / "cache", batch_rows=batch_rows)


def ids(frame: pl.DataFrame) -> list[str]:
    return frame["id"].to_list()


def test_rows_come_back_by_day_as_the_file_gave_them(tmp_path: Path) -> None:
    file = source(tmp_path, HEADER + ROWS)
    assert isinstance(file, TransactionSource)
    assert file.days() == [D5, D6, D8]
    fifth = file.read_day(D5)
    assert fifth.schema == {
        **dict.fromkeys(["id", "paid_at", "sum", "who"], pl.String),
        "source_row": pl.Int64,
    }
    assert fifth.rows() == [
        ("a", "2026-01-05 10:00:00", "1.50", "x", 0),
        ("c", "2026-01-05 23:59:59", "007", None, 2),
    ]
    assert file.note(D5)["source_rows"] == 2
    assert file.note(D5)["unplaced_rows"] == 0


def test_a_gap_between_the_days_is_an_empty_day_with_the_columns(tmp_path: Path) -> None:
    file = source(tmp_path, HEADER + ROWS)
    gap = file.read_day(D7)
    assert gap.height == 0
    assert gap.schema == file.read_day(D5).schema
    assert file.note(D7)["source_rows"] == 0


@pytest.mark.parametrize("day", [date(2026, 1, 4), date(2026, 1, 9)])
def test_a_day_before_or_after_the_file_is_refused(tmp_path: Path, day: date) -> None:
    file = source(tmp_path, HEADER + ROWS)
    with pytest.raises(SourceError, match=f"no rows of {day}: the file holds 2026-01-05 to"):
        file.read_day(day)


def test_rows_without_a_readable_time_go_with_the_row_before(tmp_path: Path) -> None:
    file = source(
        tmp_path,
        HEADER + "p,soon,1,x\nq,,1,x\nr,1870-01-01 00:00:00,1,x\ns,?,1,x\n"
        "a,2026-01-06 10:00:00,1,x\nt,later,1,x\nb,2026-01-05 10:00:00,1,x\nu,x,1,x\nv,,1,x\n",
    )
    assert ids(file.read_day(D6)) == ["p", "q", "r", "s", "a", "t"]
    assert ids(file.read_day(D5)) == ["b", "u", "v"]
    assert file.note(D6)["unplaced_rows"] == 5
    assert file.note(D5)["unplaced_rows"] == 2


MOMENTS = st.one_of(
    st.none(),
    st.sampled_from(["", "never", "1800-01-01 00:00:00", "2026-13-40 99:00:00"]),
    st.integers(0, 6 * 86_400).map(
        lambda s: f"{datetime(2026, 1, 5, tzinfo=UTC) + timedelta(seconds=s):%Y-%m-%d %H:%M:%S}"
    ),
)


@settings(max_examples=25, deadline=None)
@given(
    moments=st.lists(MOMENTS, min_size=1, max_size=40),
    batch_rows=st.integers(1, 50),
    parquet=st.booleans(),
)
def test_every_row_is_on_exactly_one_day_whatever_the_order_and_the_broken_times(
    moments: list[str | None], batch_rows: int, parquet: bool
) -> None:
    frame = pl.DataFrame(
        {"id": [f"{i}" for i in range(len(moments))], "paid_at": moments},
        schema={"id": pl.String, "paid_at": pl.String},
    ).with_columns(sum=pl.lit("1"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("all.parquet" if parquet else "all.csv")
        if parquet:
            frame.write_parquet(path)
        else:
            frame.write_csv(path)
        file = FileSource(path, profile(), Path(folder) / "cache", batch_rows=batch_rows)
        good = [moment if moment and moment.startswith("2026-01-") else None for moment in moments]
        if not any(good):
            with pytest.raises(SourceError, match="no row has a readable time"):
                file.days()
            return
        first = next(moment for moment in good if moment)
        expected: dict[date, list[int]] = {}
        last = first
        for row, moment in enumerate(good):
            last = moment or last
            expected.setdefault(date.fromisoformat(last[:10]), []).append(row)
        assert {day: file.read_day(day)["source_row"].to_list() for day in file.days()} == expected
        days = [file.read_day(day) for day in file.days()]
        assert pl.concat(days).sort("source_row")["id"].to_list() == frame["id"].to_list()
        assert sum(int(file.note(day)["unplaced_rows"]) for day in file.days()) == good.count(None)


def test_the_second_use_reads_the_cache(tmp_path: Path) -> None:
    file = source(tmp_path, HEADER + ROWS)
    file.days()
    index = file.split().folder / "index.json"
    made = index.stat().st_mtime_ns
    again = FileSource(file.path, profile(), file.cache_dir)
    assert again.read_day(D5).equals(file.read_day(D5))
    assert index.stat().st_mtime_ns == made
    assert again.split().folder == file.split().folder


def test_a_changed_file_is_split_anew_and_its_old_split_goes(tmp_path: Path) -> None:
    file = source(tmp_path, HEADER + ROWS)
    old = file.split().folder
    with file.path.open("a") as out:
        out.write("e,2026-01-09 00:00:00,1,x\n")
    assert file.days()[-1] == date(2026, 1, 9)
    assert not old.exists()


def test_a_change_of_the_same_length_is_seen_by_its_time(tmp_path: Path) -> None:
    file = source(tmp_path, HEADER + ROWS)
    assert ids(file.read_day(D6)) == ["b"]
    before = file.path.stat()
    file.path.write_text((HEADER + ROWS).replace("b,", "B,"))
    os.utime(file.path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert ids(file.read_day(D6)) == ["B"]


def test_other_time_settings_have_their_own_split(tmp_path: Path) -> None:
    file = source(tmp_path, HEADER + ROWS)
    columns = file.profile.columns
    west = file.profile.model_copy(
        update={
            "columns": columns.model_copy(
                update={"time": columns.time.model_copy(update={"timezone": "America/New_York"})}
            )
        }
    )
    moved = FileSource(file.path, west, file.cache_dir)
    assert ids(file.read_day(D5)) == ["a", "c"]
    assert ids(moved.read_day(D6)) == ["b", "c"]
    assert file.split().folder.exists()


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    file = source(tmp_path, HEADER + ROWS)
    (file.split().folder / "index.json").write_text("{")
    assert ids(file.read_day(D5)) == ["a", "c"]


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    file = source(tmp_path, HEADER + ROWS)
    other = FileSource(file.path, profile(), tmp_path / "cache2", batch_rows=2)

    def content(which: FileSource) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted(which.split().folder.iterdir())}

    assert content(file) == content(other)


def test_a_failed_split_leaves_nothing_that_counts(tmp_path: Path) -> None:
    file = source(tmp_path, HEADER + ROWS + "e,2026-01-09 00:00:00,1,x,surplus\n")
    with pytest.raises(SourceError):
        file.days()
    assert [p for p in file.cache_dir.iterdir() if p.is_dir()] == []
    file.path.write_text(HEADER + ROWS)
    assert file.days() == [D5, D6, D8]


def _read(path: Path, cache: Path) -> int:
    file = FileSource(path, profile(), cache, batch_rows=500)
    return sum(file.read_day(day).height for day in file.days())


def test_processes_that_start_together_share_one_split(tmp_path: Path) -> None:
    days = [f"{i},2026-01-{5 + i % 20:02d} 00:00:00,1,x\n" for i in range(5_000)]
    file = source(tmp_path, HEADER + "".join(days))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        jobs = [pool.apply_async(_read, (file.path, file.cache_dir)) for _ in range(4)]
        assert [job.get(120) for job in jobs] == [5_000] * 4
    assert len([p for p in file.cache_dir.iterdir() if p.is_dir()]) == 1


def test_parquet_keeps_its_types_even_nanoseconds(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "id": [1, 2],
            "paid_at": pl.Series(["2026-01-05 00:00:00", "2026-01-06 23:00:00"]).str.to_datetime(
                time_unit="ns"
            ),
            "sum": [1.5, None],
        }
    )
    frame.write_parquet(tmp_path / "all.parquet")
    file = FileSource(tmp_path / "all.parquet", profile(), tmp_path / "cache")
    assert file.days() == [D5, D6]
    assert file.read_day(D6).drop("source_row").equals(frame[1:])
    assert file.read_day(D6).schema["paid_at"] == pl.Datetime("ns")


def test_a_derived_time_places_rows_and_is_not_stored(tmp_path: Path) -> None:
    derived = {"paid_at": "day || ' ' || clock"}
    file = source(tmp_path, "id,day,clock,sum\na,2026-01-05,10:00:00,1\n", derived=derived)
    assert file.days() == [D5]
    assert file.read_day(D5).columns == ["id", "day", "clock", "sum", "source_row"]


def test_values_with_separators_and_line_breaks_stay_whole(tmp_path: Path) -> None:
    file = source(tmp_path, HEADER + 'a,2026-01-05 10:00:00,"1,5","two\nlines ""q"""\n')
    assert file.read_day(D5).row(0) == ("a", "2026-01-05 10:00:00", "1,5", 'two\nlines "q"', 0)


def test_a_short_line_is_kept_with_nulls(tmp_path: Path) -> None:
    file = source(tmp_path, HEADER + "a,2026-01-05 10:00:00\n")
    assert file.read_day(D5).row(0) == ("a", "2026-01-05 10:00:00", None, None, 0)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8-sig", "iso-8859-15"])
def test_the_encoding_of_the_profile_is_read(tmp_path: Path, encoding: str) -> None:
    content = (HEADER + "ä,2026-01-05 10:00:00,1,é\n").encode(encoding)
    file = source(tmp_path, content, csv={"encoding": encoding})
    assert file.read_day(D5).row(0)[:4] == ("ä", "2026-01-05 10:00:00", "1", "é")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_gzip_is_read(tmp_path: Path, encoding: str) -> None:
    content = gzip.compress((HEADER + "ä,2026-01-05 10:00:00,1,x\n").encode(encoding))
    file = source(tmp_path, content, "all.csv.gz", csv={"encoding": encoding})
    assert ids(file.read_day(D5)) == ["ä"]
    assert not list(file.cache_dir.rglob("utf8.csv"))


def test_a_name_with_pattern_characters_is_one_file(tmp_path: Path) -> None:
    source(tmp_path, HEADER + "other,2026-01-05 10:00:00,1,x\n", "a1.csv")
    assert ids(source(tmp_path, HEADER + ROWS, "a[1]*.csv").read_day(D6)) == ["b"]


LATIN = HEADER.encode() + ROWS.encode() * 50_000 + b"\xe9,2026-01-05 10:00:00,1,x\n"


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "all.csv", "the file is empty .0 bytes."),
        (b"\n\n", "all.csv", "empty but for blank lines"),
        (HEADER.encode(), "all.csv", "a header and no row"),
        (b"PAR1 something", "all.csv", "this is Parquet although"),
        (b"PK\x03\x04 something", "all.xlsx", "Excel workbook.*CSV"),
        (b"not parquet at all", "all.parquet", "not a readable Parquet file"),
        (b"", "all.parquet", "the file is empty"),
        (LATIN, "all.csv", rf"byte {len(HEADER + ROWS * 50_000):,} is not utf-8.*csv\.encoding"),
        ((HEADER + ROWS).encode("utf-16"), "all.csv", r"csv\.encoding: utf-16"),
        ((HEADER + 'a,"2026\n",1,x\na,b,1,x,5\n').encode(), "all.csv", "line 4 has 5 fields and"),
        ((HEADER + 'a,"2026-01-05,1,x\n').encode(), "all.csv", r"csv\.quote"),
        (b"id,paidat,sum\na,b,c\n", "all.csv", "'paid_at'.*did you mean 'paidat'.*id, paidat, sum"),
        (b"id;paid_at;sum\na;b;c\n", "all.csv", r"only one column.*csv\.separator"),
        (b"id,paid_at,sum\na,b,c\n", "all.csv", r"no row has a readable.*\['b'\].*columns.time"),
        (b"id,paid_at,sum,source_row\na,b,c,d\n", "all.csv", "'source_row'.*rename"),
        (gzip.compress(HEADER.encode() * 99)[:-9], "all.csv.gz", "gzip stream is damaged"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named_with_the_remedy(
    tmp_path: Path, content: bytes, name: str, message: str
) -> None:
    with pytest.raises(SourceError, match=f"(?s){name}.*{message}"):
        source(tmp_path, content, name).days()


def test_a_parquet_file_cut_short_is_named(tmp_path: Path) -> None:
    pl.DataFrame({"paid_at": range(1000)}).write_parquet(tmp_path / "whole.parquet")
    half = (tmp_path / "whole.parquet").read_bytes()[:500]
    with pytest.raises(SourceError, match=r"half.parquet: not a readable Parquet.*cut short"):
        source(tmp_path, half, "half.parquet").days()


def test_a_byte_that_the_named_encoding_lacks_is_found(tmp_path: Path) -> None:
    file = source(tmp_path, b"id,paid_at\n\x81,x\n", csv={"encoding": "cp1252"})
    with pytest.raises(SourceError, match=r"byte 11 is not cp1252"):
        file.days()


def test_an_unknown_encoding_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"csv\.encoding 'utf-9' is not a known encoding"):
        source(tmp_path, HEADER + ROWS, csv={"encoding": "utf-9"}).days()
    with pytest.raises(SourceError, match=r"nothing\.csv: no such file"):
        FileSource(tmp_path / "nothing.csv", profile(), tmp_path).days()
