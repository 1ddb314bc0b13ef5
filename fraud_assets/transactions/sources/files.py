"""One CSV or Parquet file that holds all days.

When a split of the file is out of date, and what is told of a day, belong here; how a file is
read is in `tables`, how it is split in `split`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from fraud_assets.transactions.profile import Profile
from fraud_assets.transactions.sources.base import SourceError
from fraud_assets.transactions.sources.split import DaySplit, split_once
from fraud_assets.transactions.sources.tables import BATCH_ROWS, table_batches

_VERSION = 1
"""Part of every fingerprint: raise it when a split of the same file would look different."""


@dataclass(frozen=True)
class FileSource:
    """All transactions in one file, split into days at first use.

    The split is kept under `cache_dir` and made again when the file or the profile's time, CSV
    or derived settings change. A row whose time cannot be read goes with the row before it, so
    that it is quarantined on a day and never lost; `source_row` is its position in the file.
    """

    path: Path
    profile: Profile
    cache_dir: Path
    batch_rows: int = BATCH_ROWS

    def days(self) -> list[date]:
        """The days of the file's rows; raises `SourceError` as `read_day` does."""
        return sorted(self.split().days)

    def read_day(self, day: date) -> pl.DataFrame:
        """The file's rows of a day, CSV columns as text; no rows for a gap between its days.

        Raises:
            SourceError: the file cannot be read, or ends before the day, or starts after it.
        """
        split = self.split()
        self._require(day, split)
        return split.read(day)

    def note(self, day: date) -> dict[str, int | str]:
        """The file, the day's rows, and those without a readable time (`unplaced_rows`)."""
        split = self.split()
        self._require(day, split)
        count = split.days.get(day)
        return {
            "source_file": str(self.path),
            "source_rows": count.rows if count else 0,
            "unplaced_rows": count.unplaced if count else 0,
        }

    def split(self) -> DaySplit:
        """The file by days, made now if it has changed or was never split.

        Raises:
            SourceError: see `tables.table_batches` and `split.split_once`.
        """
        before = self._state()
        settings = self._settings()
        folder = self.cache_dir / f"{self._stem()}-{settings}-{before}"
        split = split_once(folder, self._batches, self.profile, str(self.path))
        if self._state() != before:
            shutil.rmtree(folder, ignore_errors=True)
            raise SourceError(
                f"{self.path}: the file changed while it was being read; wait until it is written"
            )
        for old in self.cache_dir.glob(f"*-{settings}-*"):
            # The same file before it changed; a name with a dot is being made at this moment.
            if old != folder and not old.name.startswith("."):
                shutil.rmtree(old, ignore_errors=True)
        return split

    def _batches(self, scratch: Path) -> Iterator[pl.DataFrame]:
        return table_batches(self.path, self.profile.csv, scratch, self.batch_rows)

    def _stem(self) -> str:
        return "".join(c if c.isalnum() else "_" for c in self.path.name)[:40]

    def _settings(self) -> str:
        used = self.profile.model_dump(mode="json", include={"csv": True, "derived": True})
        time = self.profile.columns.time.model_dump(mode="json")
        return _digest([_VERSION, str(self.path.resolve()), used, time])

    def _state(self) -> str:
        try:
            stat = self.path.stat()
        except OSError as error:
            raise SourceError(
                f"{self.path}: no such file ({error.strerror}); check the path in the settings"
            ) from error
        return _digest([stat.st_size, stat.st_mtime_ns])

    def _require(self, day: date, split: DaySplit) -> None:
        first, last = min(split.days), max(split.days)
        if not first <= day <= last:
            raise SourceError(
                f"{self.path}: no rows of {day}: the file holds {first} to {last}; "
                "choose a day within, or set columns.time in the profile if these days are wrong"
            )


def _digest(content: list[object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
