"""What is wrong with a CSV file that could not be read: the line, the byte and the remedy.

Runs on the error path only, so it may read the file again with slower tools. Reading the good
files is the business of `tables`.
"""

from __future__ import annotations

import codecs
import csv as csv_module
from pathlib import Path

from fraud_assets.transactions.profile import CsvFormat

_BLOCK = 1 << 20


def explain_csv(path: Path, plain: Path, csv: CsvFormat, message: str) -> str:
    """One message for a CSV file that Polars refused.

    Args:
        path: the user's file, which the message names.
        plain: the UTF-8 copy that was read, or the file itself.
        csv: how the file was said to be written.
        message: what Polars said.
    """
    lower = message.lower()
    if "utf-8" in lower or "utf8" in lower:
        at = _first_bad_byte(plain)
        if at is not None:
            return explain_encoding(path, csv.encoding, at)
    if "empty csv" in lower:
        return f"{path}: the file is empty but for blank lines; export it again"
    if "more fields" in lower:
        return f"{path}: {_ragged_line(plain, csv)}"
    first = message.splitlines()[0] if message else "no reason given"
    return (
        f"{path}: cannot be read as CSV with separator {csv.separator!r} and quote "
        f"{csv.quote!r} ({first[:200]}); often a quote that is never closed: repair the line, or "
        "set csv.separator and csv.quote ('' for none) in the profile"
    )


def explain_encoding(path: Path, encoding: str, at: int) -> str:
    """The message for bytes that are not text in the encoding that was named."""
    return (
        f"{path}: byte {at:,} is not {encoding} text; set csv.encoding in the profile to the "
        "file's encoding (spreadsheets often write cp1252), or export the file as UTF-8"
    )


def _first_bad_byte(plain: Path) -> int | None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    with plain.open("rb") as file:
        while True:
            block = file.read(_BLOCK)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return offset - pending + error.start
            if not block:
                return None
            offset += len(block)


def _ragged_line(plain: Path, csv: CsvFormat) -> str:
    remedy = "quote values that contain the separator, or set csv.separator in the profile"
    with plain.open(encoding="utf-8-sig", newline="") as file:
        reader = csv_module.reader(
            file,
            delimiter=csv.separator,
            quotechar=csv.quote or None,
            quoting=csv_module.QUOTE_MINIMAL if csv.quote else csv_module.QUOTE_NONE,
        )
        try:
            width = len(next(reader))
            line = reader.line_num + 1
            for row in reader:
                if len(row) > width:
                    return (
                        f"line {line:,} has {len(row)} fields and the header has {width}; {remedy}"
                    )
                line = reader.line_num + 1
        except (csv_module.Error, UnicodeDecodeError, StopIteration):
            pass  # the two parsers disagree on this file: the line stays unnamed
    return f"a line has more fields than the header; {remedy}"
