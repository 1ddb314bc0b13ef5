"""The lake: one Parquet file per asset and day, on a local disk or any object store.

Only storage belongs here. What the columns mean is said in `transactions.columns` and by the
assets that write them. Any engine reads the layout: `<root>/<asset>/day=YYYY-MM-DD/data.parquet`.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

import polars as pl
from upath import UPath

VALIDATED: Final = "validated_transactions"
LABELS: Final = "fraud_labels"
"""The two assets from which services outside the graph read too; the others are named there."""


class MissingDayError(FileNotFoundError):
    """A day of an asset was asked for that has not been materialised."""


class OtherColumnsError(ValueError):
    """Days of one asset have different columns; the message names two of them and the remedy."""


@dataclass(frozen=True)
class WrittenDay:
    """What was written for one day."""

    path: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Lake:
    """Reads and writes days under `root`, a folder or a URL such as `s3://bucket/lake`.

    A write replaces the whole day at once: readers and crashes see the old day or the new one.
    The same frame always gives the same bytes.
    """

    root: str
    storage_options: dict[str, Any] = field(default_factory=dict)

    @property
    def _root(self) -> UPath:
        root: UPath = UPath(self.root, **self.storage_options)
        return root

    @property
    def is_local(self) -> bool:
        """Whether the lake is a folder of this machine."""
        return self._root.protocol in ("", "file", "local")

    def path(self, asset: str, day: date, name: str = "data.parquet") -> UPath:
        """Where a file of a day lies, whether or not it exists."""
        return self._root / asset / f"day={day.isoformat()}" / name

    def has_day(self, asset: str, day: date, name: str = "data.parquet") -> bool:
        """Whether the day has been written."""
        return self.path(asset, day, name).exists()

    def days(self, asset: str, name: str = "data.parquet") -> list[date]:
        """The days of an asset that have been written, oldest first."""
        folder = self._root / asset
        if not folder.exists():
            return []
        found = (
            date.fromisoformat(entry.name.removeprefix("day="))
            for entry in folder.iterdir()
            if entry.name.startswith("day=") and (entry / name).exists()
        )
        return sorted(found)

    def write_day(self, asset: str, day: date, frame: pl.DataFrame) -> WrittenDay:
        """Replace a day of an asset by `frame`."""
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="zstd", compression_level=1, statistics=True)
        content = buffer.getvalue()
        path = self._replace(self.path(asset, day), content)
        return WrittenDay(path, frame.height, len(content), hashlib.sha256(content).hexdigest())

    def write_document(self, asset: str, day: date, name: str, content: str | bytes) -> str:
        """Replace a small file (JSON, HTML) that stands beside a day's data; returns its path."""
        data = content.encode() if isinstance(content, str) else content
        return self._replace(self.path(asset, day, name), data)

    def read_document(self, asset: str, day: date, name: str) -> bytes:
        """The content of a small file of a day.

        Raises:
            MissingDayError: it was never written.
        """
        path = self.path(asset, day, name)
        if not path.exists():
            raise MissingDayError(_missing(asset, [day], f"{name} not found"))
        return bytes(path.read_bytes())

    def read_json(self, asset: str, day: date, name: str) -> dict[str, Any]:
        """A JSON document of a day, parsed; raises as `read_document` does."""
        content: dict[str, Any] = json.loads(self.read_document(asset, day, name))
        return content

    def read_days(
        self, asset: str, days: Iterable[date], columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """The rows of several days as one frame, in the order of the days.

        Raises:
            MissingDayError: a day was never written; the message names the days and the remedy.
            OtherColumnsError: the days were written with different columns.
        """
        wanted = list(days)
        missing = [day for day in wanted if not self.has_day(asset, day)]
        if missing or not wanted:
            raise MissingDayError(_missing(asset, missing, "not materialised"))
        frames = [self._read(self.path(asset, day), columns) for day in wanted]
        if len(frames) == 1:
            return frames[0]
        other = next((i for i, f in enumerate(frames) if f.columns != frames[-1].columns), None)
        if other is not None:
            old, new = frames[other].columns, frames[-1].columns
            raise OtherColumnsError(
                f"{asset} of {wanted[other]} and of {wanted[-1]} differ in the columns "
                f"{', '.join(sorted({*old} ^ {*new})) or 'by order'}: the profile or the code has "
                f"changed in between; materialise {asset} of the older days again"
            )
        return pl.concat(frames, how="vertical_relaxed")

    def read_existing(
        self, asset: str, days: Iterable[date], columns: Sequence[str] | None = None
    ) -> pl.DataFrame | None:
        """Like `read_days`, over those of the days that exist; None where none does."""
        present = [day for day in days if self.has_day(asset, day)]
        return self.read_days(asset, present, columns) if present else None

    def row_count(self, asset: str, day: date) -> int:
        """Rows of a day, from the file's footer."""
        path = self.path(asset, day)
        file = path.path if self.is_local else io.BytesIO(path.read_bytes())
        return int(pl.scan_parquet(file, hive_partitioning=False).select(pl.len()).collect().item())

    def chunks_by_rows(self, asset: str, days: Sequence[date], rows: int) -> list[list[date]]:
        """Split `days` into runs of consecutive entries with about `rows` rows at most.

        Raises:
            MissingDayError: a day was never written.
        """
        missing = [day for day in days if not self.has_day(asset, day)]
        if missing:
            raise MissingDayError(_missing(asset, missing, "not materialised"))
        chunks: list[list[date]] = []
        held = 0
        for day in days:
            count = self.row_count(asset, day)
            if not chunks or held + count > rows:
                chunks.append([])
                held = 0
            chunks[-1].append(day)
            held += count
        return chunks

    def _read(self, path: UPath, columns: Sequence[str] | None) -> pl.DataFrame:
        chosen = list(columns) if columns is not None else None
        if self.is_local:
            return pl.read_parquet(path.path, columns=chosen, hive_partitioning=False)
        return pl.read_parquet(
            io.BytesIO(path.read_bytes()), columns=chosen, hive_partitioning=False
        )

    def _replace(self, path: UPath, content: bytes) -> str:
        if not self.is_local:
            path.write_bytes(content)  # an object store shows an object only once it is whole
            return str(path)
        target = Path(path.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            temporary.write_bytes(content)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return str(target)


def _missing(asset: str, days: Sequence[date], what: str) -> str:
    names = ", ".join(day.isoformat() for day in days) or "no day at all"
    return f"{asset} for {names}: {what}; materialise {asset} for these days first"
