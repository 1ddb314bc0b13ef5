"""Reads one CSV or Parquet file, whole or in batches, with nothing interpreted.

Every CSV column is text: what a value says is the profile's business. What a broken file says of
itself is worked out in `diagnosis`; which rows belong to which day is not known here.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import polars as pl

from fraud_assets.transactions.profile import CsvFormat
from fraud_assets.transactions.sources.base import SourceError
from fraud_assets.transactions.sources.diagnosis import explain_csv, explain_encoding

PARQUET_SUFFIXES = (".parquet", ".pq")
CSV_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")

BATCH_ROWS = 200_000
"""Rows in memory at a time: splitting 6.4 million rows (535 MB of CSV) then peaks at 700 MB."""

_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
_FOREIGN = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook: unpack it, or export it as CSV",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard: decompress it, or use gzip",
    b"BZh": "compressed with bzip2: decompress it, or use gzip",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: export it as CSV",
}


def is_table(path: Path) -> bool:
    """Whether the name says that the file holds transactions this module can read."""
    return path.name.lower().endswith(PARQUET_SUFFIXES + CSV_SUFFIXES)


def table_batches(
    path: Path, csv: CsvFormat, scratch: Path, batch_rows: int = BATCH_ROWS
) -> Iterator[pl.DataFrame]:
    """The rows of a file in its order, `batch_rows` at a time, in bounded memory.

    The first frame has no rows and tells the columns; a file without rows gives it alone.

    Args:
        path: a Parquet file by its suffix, otherwise CSV, which may be compressed with gzip.
        csv: how a CSV file is written; ignored for Parquet.
        scratch: an existing folder for a UTF-8 copy, where the file is not plain UTF-8.
        batch_rows: at most so many rows in one frame.

    Raises:
        SourceError: no such file, an empty one, or one that is not what its name or the
            profile's `csv` settings say; the message has the line or byte where possible.
    """
    start = _first_bytes(path)
    if path.name.lower().endswith(PARQUET_SUFFIXES):
        yield from _parquet_batches(path, batch_rows)
        return
    if start.startswith(b"PAR1"):
        raise SourceError(f"{path}: this is Parquet although its name says CSV; name it .parquet")
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            raise SourceError(f"{path}: not CSV but {what}")
    yield from _csv_batches(path, csv, _as_utf8(path, csv, scratch, start), batch_rows)


def read_table(path: Path, csv: CsvFormat) -> pl.DataFrame:
    """A whole file as one frame, possibly without rows; raises as `table_batches` does."""
    with TemporaryDirectory(prefix="fraud-assets-") as scratch:
        return pl.concat(table_batches(path, csv, Path(scratch)), rechunk=True)


def _first_bytes(path: Path) -> bytes:
    if not path.exists():
        raise SourceError(f"{path}: no such file; check the path in the settings")
    if not path.is_file():
        raise SourceError(f"{path}: not a file; a folder of daily files is a landing folder")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    if not start:
        raise SourceError(f"{path}: the file is empty (0 bytes); export it again")
    return start


def _parquet_batches(path: Path, batch_rows: int) -> Iterator[pl.DataFrame]:
    try:
        # A path is a name here, never a pattern, and its folders are not columns.
        scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        yield pl.DataFrame(schema=scan.collect_schema())
        yield from scan.collect_batches(chunk_size=batch_rows, lazy=True)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise SourceError(
            f"{path}: not a readable Parquet file ({str(error).splitlines()[0]}); it is damaged, "
            "cut short or of another format: write it again, or name a CSV file .csv"
        ) from error


def _csv_batches(
    path: Path, csv: CsvFormat, plain: Path, batch_rows: int
) -> Iterator[pl.DataFrame]:
    try:
        scan = pl.scan_csv(
            plain,
            separator=csv.separator,
            quote_char=csv.quote or None,
            infer_schema=False,
            glob=False,
        )
        yield pl.DataFrame(schema=scan.collect_schema())
        yield from scan.collect_batches(chunk_size=batch_rows, lazy=True)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(explain_csv(path, plain, csv, str(error))) from error


def _as_utf8(path: Path, csv: CsvFormat, scratch: Path, start: bytes) -> Path:
    """The file itself where it is plain UTF-8, otherwise a copy that is."""
    try:
        encoding = codecs.lookup(csv.encoding).name
    except LookupError as error:
        raise SourceError(
            f"{path}: csv.encoding '{csv.encoding}' is not a known encoding; "
            "examples: utf-8, cp1252, iso-8859-1, utf-16"
        ) from error
    utf8 = encoding in ("utf-8", "utf-8-sig")
    if utf8 and start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SourceError(
            f"{path}: byte 0: the file is UTF-16 and read as {csv.encoding}; "
            "set csv.encoding: utf-16 in the profile"
        )
    compressed = start.startswith(_GZIP)
    if utf8 and not compressed:
        return path
    copy = scratch / "utf8.csv"
    try:
        with path.open("rb") as raw, copy.open("wb") as out:
            content: IO[bytes] = gzip.GzipFile(fileobj=raw) if compressed else raw  # type: ignore[assignment]
            if utf8:
                while block := content.read(_BLOCK):
                    out.write(block)
            else:
                _transcode(path, content, out, encoding)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(
            f"{path}: the gzip stream is damaged or cut short ({error}); copy the file again"
        ) from error
    return copy


def _transcode(path: Path, content: IO[bytes], out: IO[bytes], encoding: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0
    while True:
        block = content.read(_BLOCK)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            at = offset - pending + error.start
            raise SourceError(explain_encoding(path, encoding, at)) from error
        out.write(text.encode("utf-8"))
        if not block:
            return
        offset += len(block)
