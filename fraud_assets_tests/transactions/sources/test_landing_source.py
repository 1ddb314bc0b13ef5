"""A folder in which daily files land."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from fraud_assets.transactions.profile import CsvFormat
from fraud_assets.transactions.sources import LandingFolderSource, SourceError, TransactionSource

D5, D6 = date(2026, 1, 5), date(2026, 1, 6)


def land(folder: Path, name: str, *ids: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame({"id": list(ids), "sum": ["1"] * len(ids)})
    frame.write_parquet(path) if name.endswith(".parquet") else frame.write_csv(path)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "2026-01-05.csv", "tx_20260105.csv", "tx_20260105T101500.CSV", "99123456_20260105.txt",
        "2026-01-05.parquet", "day=2026-01-05/part.parquet", "2026/20260105/00.csv",
        "v2-2026-01-05-made-2026-01-06.csv", "2026-01-06/2026-01-05.csv",
    ],
)  # fmt: skip
def test_the_day_is_read_from_the_name(tmp_path: Path, name: str) -> None:
    land(tmp_path, name, "a", "b")
    landing = LandingFolderSource(tmp_path)
    assert isinstance(landing, TransactionSource)
    assert landing.days() == [D5]
    assert landing.read_day(D5)["id"].to_list() == ["a", "b"]


def test_several_files_of_a_day_are_joined_in_the_order_of_their_names(tmp_path: Path) -> None:
    land(tmp_path, "2026-01-05_b.csv", "c")
    land(tmp_path, "2026-01-05_a.parquet", "a", "b")
    land(tmp_path, "2026-01-06.csv", "d")
    landing = LandingFolderSource(tmp_path)
    assert landing.days() == [D5, D6]
    assert landing.read_day(D5).rows() == [("a", "1", 0), ("b", "1", 1), ("c", "1", 2)]
    assert landing.note(D5) == {
        "source_file": "2026-01-05_a.parquet, 2026-01-05_b.csv",
        "source_files": 2,
    }


@pytest.mark.parametrize(
    "name", [".2026-01-05.csv", "_2026-01-05.csv", "2026-01-05.csv.tmp", "2026-01-05.csv.part",
             "_temporary/2026-01-05.csv", "2026-01-05.md"],
)  # fmt: skip
def test_files_that_are_not_finished_or_not_data_are_not_seen(tmp_path: Path, name: str) -> None:
    land(tmp_path, name, "a")
    assert LandingFolderSource(tmp_path).days() == []


def test_a_file_without_a_date_is_reported_and_blocks_nothing_else(tmp_path: Path) -> None:
    land(tmp_path, "new.csv", "x")
    landing = LandingFolderSource(tmp_path)
    with pytest.raises(SourceError, match=r"no date in the name of new\.csv"):
        landing.days()
    land(tmp_path, "2026-01-05.csv", "a")
    assert landing.days() == [D5]
    assert landing.note(D5)["undated_file_names"] == "new.csv"


def test_a_file_with_a_header_only_is_an_empty_day(tmp_path: Path) -> None:
    (tmp_path / "2026-01-05.csv").write_text("id,sum\n")
    day = LandingFolderSource(tmp_path).read_day(D5)
    assert day.height == 0
    assert day.columns == ["id", "sum", "source_row"]


def test_a_day_that_has_not_landed_is_named(tmp_path: Path) -> None:
    land(tmp_path, "2026-01-05.csv", "a")
    with pytest.raises(SourceError, match=r"no file of 2026-01-06 has landed.*2026-01-05"):
        LandingFolderSource(tmp_path).read_day(D6)
    with pytest.raises(SourceError, match="nowhere: no such folder"):
        LandingFolderSource(tmp_path / "nowhere").days()


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "2026-01-05.csv").write_bytes(b"id\n\xff\n")
    with pytest.raises(SourceError, match=r"2026-01-05\.csv: byte 3"):
        LandingFolderSource(tmp_path).read_day(D5)
    assert LandingFolderSource(tmp_path, CsvFormat(encoding="cp1252")).read_day(D5).height == 1


def test_files_of_a_day_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    land(tmp_path, "2026-01-05_a.csv", "a")
    pl.DataFrame({"id": [[1]], "sum": [2.5]}).write_parquet(tmp_path / "2026-01-05_b.parquet")
    with pytest.raises(SourceError, match=r"2026-01-05.*_a\.csv.*_b\.parquet do not fit together"):
        LandingFolderSource(tmp_path).read_day(D5)
