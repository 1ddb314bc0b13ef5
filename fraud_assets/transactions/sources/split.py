"""Splits a stream of rows into one Parquet file per day, once, whatever their order.

The folder that results, its index and how it comes into being safely belong here; which file is
split and when a split is out of date is `files`' business.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from fraud_assets.transactions.canonical import (
    DerivedColumnError,
    MissingColumnError,
    event_time_expression,
)
from fraud_assets.transactions.profile import Profile
from fraud_assets.transactions.sources.base import SourceError, with_source_row

if sys.platform != "win32":
    import fcntl

_INDEX = "index.json"
_COLUMNS = "columns.parquet"
_LEADING = "leading"
_DAY = "\x00day"
_UNPLACED = "\x00unplaced"


@dataclass(frozen=True)
class DayCount:
    """Rows of a day, and how many of them are there only because of the row before them."""

    rows: int
    unplaced: int


@dataclass(frozen=True)
class DaySplit:
    """A finished split: `folder` holds `day=YYYY-MM-DD.parquet` for each of `days`."""

    folder: Path
    days: dict[date, DayCount]

    @classmethod
    def open(cls, folder: Path) -> DaySplit | None:
        """The split in `folder`, or None where there is none that can be used."""
        try:
            content = json.loads((folder / _INDEX).read_text("utf-8"))
            days = {date.fromisoformat(k): DayCount(**v) for k, v in content["days"].items()}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return cls(folder, days)

    def read(self, day: date) -> pl.DataFrame:
        """The rows of a day in the order of the file, or none with the same columns."""
        name = _day_file(day) if day in self.days else _COLUMNS
        path = self.folder / name
        try:
            return pl.read_parquet(path, glob=False, hive_partitioning=False)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise SourceError(
                f"{path}: the cached rows of {day} cannot be read ({error}); "
                f"delete the folder {self.folder} and they are made again"
            ) from error


def split_once(
    folder: Path, make: Callable[[Path], Iterator[pl.DataFrame]], profile: Profile, what: str
) -> DaySplit:
    """The split in `folder`, made first if it is not there.

    Several processes may call this at once: one splits, the others wait for it, and a folder
    appears only when it is whole. After a crash the next call starts anew.

    Args:
        folder: where the split belongs; its parent is created.
        make: given a scratch folder, gives the rows in order of arrival, the columns first (see
            `tables.table_batches`).
        profile: says what the event time is.
        what: the file's name for messages.

    Raises:
        SourceError: the rows cannot be read, there are none, or none has a readable time.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if (found := DaySplit.open(folder)) is not None:
        return found
    with _only_one(folder.with_name(f".{folder.name}.lock")) as alone:
        if (found := DaySplit.open(folder)) is not None:
            return found
        if alone:  # whatever a crashed process has left of this split
            for stale in folder.parent.glob(f".{folder.name}.tmp-*"):
                shutil.rmtree(stale, ignore_errors=True)
        temporary = folder.with_name(f".{folder.name}.tmp-{secrets.token_hex(4)}")
        scratch = temporary / "scratch"
        try:
            scratch.mkdir(parents=True)
            _split(make(scratch), profile, temporary, what)
            shutil.rmtree(scratch)
            _put_in_place(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    split = DaySplit.open(folder)
    if split is None:
        raise SourceError(f"{folder}: the split of {what} is not there; is the disk full?")
    return split


def _put_in_place(temporary: Path, folder: Path) -> None:
    try:
        temporary.replace(folder)
    except OSError:
        if DaySplit.open(folder) is not None:
            return  # another process without locks was first, with the same rows
        shutil.rmtree(folder)  # there, and of no use: damaged from outside
        temporary.replace(folder)


def _split(batches: Iterator[pl.DataFrame], profile: Profile, folder: Path, what: str) -> None:
    columns = with_source_row(next(batches), what)
    placed = _day_expression(profile, columns, what)
    columns.write_parquet(folder / _COLUMNS)
    first_row = 0
    last_day: date | None = None
    rows: dict[date | None, int] = {}
    unplaced: dict[date | None, int] = {}
    parts: dict[date | None, list[Path]] = {}
    for number, batch in enumerate(batches):
        frame = with_source_row(batch, what, first_row)
        first_row += batch.height
        days = _evaluated(frame, placed, profile, what)
        filled = days.fill_null(strategy="forward")
        if last_day is not None:
            filled = filled.fill_null(last_day)
        last_day = filled[-1] if filled.len() else last_day
        marked = frame.with_columns(filled.alias(_DAY), days.is_null().alias(_UNPLACED))
        for (day,), group in marked.partition_by(
            _DAY, as_dict=True, maintain_order=True, include_key=False
        ).items():
            path = folder / _part_folder(day) / f"{number:06d}.parquet"
            path.parent.mkdir(exist_ok=True)
            group.drop(_UNPLACED).write_parquet(path, compression="lz4", statistics=False)
            parts.setdefault(day, []).append(path)
            rows[day] = rows.get(day, 0) + group.height
            unplaced[day] = unplaced.get(day, 0) + int(group[_UNPLACED].sum())
    if first_row == 0:
        raise SourceError(f"{what}: there is a header and no row; export the transactions again")
    known = [day for day in parts if day is not None]
    if not known:
        raise SourceError(_no_time(profile, parts[None][0], what))
    if None in parts:
        # Rows before the first placed one: they were spooled first, so they stay first.
        first = known[0]
        parts[first] = parts.pop(None) + parts[first]
        rows[first] += rows.pop(None)
        unplaced[first] += unplaced.pop(None)
    counts = {}
    for day in sorted(known):
        pieces = [pl.read_parquet(p, glob=False, hive_partitioning=False) for p in parts[day]]
        pl.concat(pieces).write_parquet(
            folder / _day_file(day), compression="zstd", compression_level=1
        )
        counts[day.isoformat()] = {"rows": rows[day], "unplaced": unplaced[day]}
    for part_folder in {path.parent for paths in parts.values() for path in paths}:
        shutil.rmtree(part_folder)
    (folder / _INDEX).write_text(json.dumps({"source": what, "days": counts}, indent=1), "utf-8")


def _day_expression(profile: Profile, columns: pl.DataFrame, what: str) -> pl.Expr:
    try:
        return event_time_expression(profile, columns.schema).dt.date()
    except MissingColumnError as error:
        hint = ""
        if columns.width == 2:
            hint = "; only one column was found: is csv.separator right?"
        raise SourceError(f"{what}: {error}{hint}") from error
    except DerivedColumnError as error:
        raise SourceError(f"{what}: {error}") from error


def _evaluated(frame: pl.DataFrame, placed: pl.Expr, profile: Profile, what: str) -> pl.Series:
    try:
        return frame.select(placed).to_series()
    except pl.exceptions.PolarsError as error:
        rows = f"rows {frame['source_row'][0]:,} to {frame['source_row'][-1]:,}"
        raise SourceError(
            f"{what}, {rows}: the event time cannot be computed from column "
            f"'{profile.columns.time.column}' ({error}); check columns.time and derived in the "
            "profile"
        ) from error


def _no_time(profile: Profile, part: Path, what: str) -> str:
    time = profile.columns.time
    head = pl.read_parquet(part, glob=False, hive_partitioning=False).head(3)
    values = head[time.column].to_list() if time.column in head.columns else "a derived column"
    return (
        f"{what}: no row has a readable time in '{time.column}' (unit {time.unit}, format "
        f"{time.format or 'ISO 8601'}, from {time.earliest:%Y-%m-%d} to {time.latest:%Y-%m-%d}); "
        f"the first values are {values}: set columns.time in the profile"
    )


def _day_file(day: date) -> str:
    return f"day={day.isoformat()}.parquet"


def _part_folder(day: date | None) -> str:
    return _LEADING if day is None else f"parts-{day.isoformat()}"


@contextmanager
def _only_one(lock: Path) -> Iterator[bool]:
    """Hold `lock` among the machine's processes; gives False where that is not possible.

    Without it the result is as safe (a folder is renamed when it is whole); the work is done
    twice, no more.
    """
    if sys.platform == "win32":
        yield False
        return
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            held = True
        except OSError:  # some network file systems
            held = False
        yield held
