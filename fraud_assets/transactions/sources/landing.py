"""A folder in which files land, one or more for each day.

Which day a file belongs to belongs here; how a file is read is in `tables`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl

from fraud_assets.transactions.profile import CsvFormat
from fraud_assets.transactions.sources.base import SourceError, with_source_row
from fraud_assets.transactions.sources.tables import is_table, read_table

_DATE = re.compile(r"(?<!\d)(\d{4})(?:-(\d{2})-(\d{2})|(\d{2})(\d{2}))(?!\d)")
_UNFINISHED = (".tmp", ".part")


@dataclass(frozen=True)
class LandingFolderSource:
    """Daily CSV or Parquet files under `folder`; the date is read from the name.

    `2026-01-05.csv`, `tx_20260105.csv.gz`, `day=2026-01-05/part.parquet`: the first date in the
    file's name counts, else that of the nearest folder. Names that start with `.` or `_`, or end
    in `.tmp` or `.part`, are unfinished and not seen; a writer uses such a name and renames.
    """

    folder: Path
    csv: CsvFormat = field(default_factory=CsvFormat)

    def days(self) -> list[date]:
        """The days for which a file has landed; none yet is an empty list.

        Raises:
            SourceError: no such folder, or it holds data files and none of them has a date.
        """
        dated, undated = self._files()
        if undated and not dated:
            raise SourceError(
                f"{self.folder}: no date in the name of {_names(undated)}; name the files by "
                "their day, such as 2026-01-05.csv or day=2026-01-05/part.parquet"
            )
        return sorted(dated)

    def read_day(self, day: date) -> pl.DataFrame:
        """The rows of the day's files in the order of their names.

        Raises:
            SourceError: no file of the day has landed, one cannot be read, or they differ in a
                column's type.
        """
        paths = self._of(day)
        frames = [read_table(path, self.csv) for path in paths]
        try:
            frame = pl.concat(frames, how="diagonal_relaxed") if len(frames) > 1 else frames[0]
        except pl.exceptions.PolarsError as error:
            raise SourceError(
                f"{self.folder}, {day}: the files {_names(paths)} do not fit together "
                f"({str(error).splitlines()[0]}); write a day's files in one format"
            ) from error
        return with_source_row(frame, ", ".join(str(path) for path in paths))

    def note(self, day: date) -> dict[str, int | str]:
        """The day's files, and those that were passed over because no name of theirs has a date."""
        paths = self._of(day)
        note: dict[str, int | str] = {"source_file": _names(paths), "source_files": len(paths)}
        _, undated = self._files()
        if undated:
            note |= {"undated_files": len(undated), "undated_file_names": _names(undated)}
        return note

    def _of(self, day: date) -> list[Path]:
        dated, undated = self._files()
        if day not in dated:
            known = f"{min(dated)} to {max(dated)}" if dated else "no day yet"
            passed = f"; without a date: {_names(undated)}" if undated else ""
            raise SourceError(
                f"{self.folder}: no file of {day} has landed (the folder holds {known}{passed})"
            )
        return dated[day]

    def _files(self) -> tuple[dict[date, list[Path]], list[Path]]:
        if not self.folder.is_dir():
            raise SourceError(f"{self.folder}: no such folder; create it, or set the landing path")
        dated: dict[date, list[Path]] = {}
        undated: list[Path] = []
        for path in sorted(self.folder.rglob("*")):
            parts = path.relative_to(self.folder).parts
            hidden = any(p.startswith((".", "_")) or p.lower().endswith(_UNFINISHED) for p in parts)
            if hidden or not is_table(path) or not path.is_file():
                continue
            day = next((d for d in map(_date_in, reversed(parts)) if d is not None), None)
            if day is None:
                undated.append(path)
            else:
                dated.setdefault(day, []).append(path)
        return dated, undated


def _date_in(name: str) -> date | None:
    for match in _DATE.finditer(name):
        year, month, day = (int(part) for part in match.groups() if part is not None)
        if not 1970 <= year <= 2199:
            continue  # eight digits that are a number, not a day
        try:
            return date(year, month, day)
        except ValueError:
            continue
    return None


def _names(paths: list[Path]) -> str:
    shown = ", ".join(path.name for path in paths[:5])
    return shown if len(paths) <= 5 else f"{shown} and {len(paths) - 5} more"
