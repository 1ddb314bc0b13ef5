"""What single raw values say: text, numbers, labels and instants from a column of any type.

Values only: which column is read as what is decided in `canonical`. A value that cannot be read
becomes null here, never an error, so that one bad cell cannot stop a day.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import polars as pl

from fraud_assets.transactions.profile import CsvFormat, TimeColumn

INSTANT: Final = pl.Datetime("us", "UTC")

_MICROSECONDS: Final = {
    "epoch_seconds": 10**6,
    "epoch_milliseconds": 10**3,
    "seconds": 10**6,
    "hours": 3600 * 10**6,
}
# Most frequent first: a later format is only tried on what the earlier ones left unread.
_ISO_FORMATS: Final = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M%#z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
)
_PER_MICROSECOND: Final = {"ns": 1e3, "us": 1.0, "ms": 1e-3, "d": 1 / 86_400e6}
_CALENDAR: Final = {"ns": 2**63 - 1, "us": 8e18, "ms": 8e15, "d": 9e7}
"""Counts from 1970 that Polars can write as a date: about 250,000 years either way."""

_THOUSANDS: Final = r"^[+-]?\d{1,3}(\.\d{3})+(,\d+)?$"


def texts(values: pl.Series, csv: CsvFormat) -> pl.Series:
    """Any column as text: trimmed, whole numbers without a fraction, missing values null.

    `csv.null_values` apply to text whatever the source, since exports keep such marks.
    """
    dtype = values.dtype
    if dtype.is_float():
        values = values.cast(pl.Float64).fill_nan(None)
        whole = (values == values.floor()) & (values.abs() < 2**53)
        out = values.cast(pl.Int64, strict=False).cast(pl.String)
        out = out.zip_with(whole.fill_null(value=False), values.cast(pl.String))
    elif dtype.is_decimal():
        out = values.cast(pl.String).str.replace(r"\.0+$", "")
    else:
        out = verbatim(values)
    if dtype.is_numeric():
        return out
    out = out.str.strip_chars()
    missing = out.is_in(csv.null_values)
    return out.set(missing, None) if missing.any() else out


def verbatim(values: pl.Series) -> pl.Series:
    """Any column as text, changed in nothing else; it never fails."""
    dtype = values.dtype
    if dtype.is_nested() or dtype in (pl.Object, pl.Binary):
        return pl.Series(values.name, [_as_text(v) for v in values.to_list()], dtype=pl.String)
    if isinstance(dtype, pl.Datetime | pl.Date):
        # Polars panics on years that its calendar lacks; their count is shown instead.
        count = values.to_physical().cast(pl.Int64)
        sane = (count.abs() < _CALENDAR[_unit(dtype)]).fill_null(value=False)
        if not sane.all():
            shown = values.set(~sane, None).cast(pl.String)
            return shown.zip_with(sane, count.cast(pl.String))
    return values.cast(pl.String, strict=False)


def identifiers(values: pl.Series, csv: CsvFormat) -> pl.Series:
    """Ids and categories as text, the same from every source: 596, 596.0 and "596.0" are "596"."""
    out = texts(values, csv)
    return out.str.replace(r"^(-?\d+)\.0$", "$1") if out.str.ends_with(".0").any() else out


def numbers(values: pl.Series, csv: CsvFormat) -> pl.Series:
    """Any column as `Float64`; null where it is missing, NaN, or not a number.

    With `csv.decimal_comma`, text has a comma before the decimals and a point only between
    groups of three digits, so that "1.5" is refused instead of being read as fifteen.
    """
    dtype = values.dtype
    if dtype.is_temporal() or dtype.is_nested():
        return pl.Series(values.name, [None], dtype=pl.Float64).new_from_index(0, len(values))
    if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        values = texts(values, csv)
        if csv.decimal_comma:
            grouped = values.str.contains(_THOUSANDS)
            bare = values.str.replace_all(".", "", literal=True).zip_with(grouped, values)
            refused = bare.str.contains(".", literal=True)
            values = bare.set(refused, None).str.replace(",", ".", literal=True)
    return values.cast(pl.Float64, strict=False).fill_nan(None)


def labels(values: pl.Series, fraud: list[str], legitimate: list[str], csv: CsvFormat) -> pl.Series:
    """Any column as `Int8`: 1 for a fraud value, 0 for a legitimate one, null for all others.

    Letter case does not matter, and 1, "1", "1.0" and 1.0 are the same value.
    """
    known = dict.fromkeys(_normal(legitimate), 0) | dict.fromkeys(_normal(fraud), 1)
    if values.dtype == pl.Boolean:  # a profile may say 1 and 0 of a column that is true and false
        known = {
            "true": known.get("true", known.get("1", 1)),
            "false": known.get("false", known.get("0", 0)),
        }
    given = identifiers(values, csv).str.to_lowercase()
    return given.replace_strict(known, default=None, return_dtype=pl.Int8)


def _normal(words: Iterable[str]) -> list[str]:
    return [word.strip().lower().removesuffix(".0") for word in words]


def _as_text(value: object) -> str | None:
    if value is None:
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def instants(given: pl.Expr, dtype: pl.DataType, time: TimeColumn, csv: CsvFormat) -> pl.Expr:
    """A raw column as an expression for its instants, `Datetime("us", "UTC")`.

    Null where a value is missing, cannot be read, or lies outside the bounds of `time`.
    Dates and date-times of any unit are taken as they are, numbers count in `time.unit`, and text
    is read as either. A clock time without a zone is one of `time.timezone`.
    """
    low, high = _epoch_us(time.earliest), _epoch_us(time.latest)
    if time.unit != "timestamp":
        if dtype.is_numeric():
            count = given.cast(pl.Float64)
        else:
            count = given.map_batches(
                lambda s: numbers(s, csv), return_dtype=pl.Float64, is_elementwise=True
            )
        origin = _epoch_us(time.origin) if time.origin and "epoch" not in time.unit else 0
        moment = (count - time.first_value) * _MICROSECONDS[time.unit] + origin
        # Bounded before the cast: a float beyond 64 bits has no integer.
        return (
            pl.when(moment.is_between(low, high)).then(moment.round()).cast(pl.Int64).cast(INSTANT)
        )
    if isinstance(dtype, pl.Datetime | pl.Date):
        read = _typed_instant(given, dtype, low, high, time.timezone)
    else:
        read = given.map_batches(
            lambda s: _parsed(texts(s, csv), time), return_dtype=INSTANT, is_elementwise=True
        )
    within = read.is_between(pl.lit(low).cast(INSTANT), pl.lit(high).cast(INSTANT))
    return pl.when(within).then(read)


def _typed_instant(
    given: pl.Expr, dtype: pl.Datetime | pl.Date, low: int, high: int, timezone: str
) -> pl.Expr:
    per_us = _PER_MICROSECOND[_unit(dtype)]
    slack = 2 * 86_400e6  # a zone moves an instant by less than two days
    # Bounded in its own unit first: an absurd date overflows when its unit is changed.
    sane = given.to_physical().cast(pl.Float64).is_between(
        (low - slack) * per_us, (high + slack) * per_us
    )  # fmt: skip
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    moment = pl.when(sane).then(given).cast(pl.Datetime("us", zone))
    return _to_utc(moment, timezone) if zone is None else moment.dt.convert_time_zone("UTC")


def _unit(dtype: pl.Datetime | pl.Date) -> str:
    return dtype.time_unit if isinstance(dtype, pl.Datetime) else "d"


def _to_utc(naive: pl.Expr, timezone: str) -> pl.Expr:
    local = naive.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone("UTC")


def _parsed(given: pl.Series, time: TimeColumn) -> pl.Series:
    """Date-times from text, in UTC; formats after the first are tried on the rest only."""
    formats = [time.format] if time.format else list(_ISO_FORMATS)
    if not time.format:
        if given.str.ends_with(" UTC").any():  # BigQuery's notation
            given = given.str.replace(" UTC", "Z", literal=True)
        given = given.str.replace("T", " ", literal=True)
    out: pl.Series | None = None
    for pattern in formats:
        if out is None:
            out = _by_format(given, pattern, time.timezone)
        else:
            left = (out.is_null() & given.is_not_null()).arg_true()
            if left.is_empty():
                break
            out = out.scatter(left, _by_format(given.gather(left), pattern, time.timezone))
    if out is None:
        raise AssertionError("there is always a format to try")
    return out


def _by_format(given: pl.Series, pattern: str, timezone: str) -> pl.Series:
    try:
        read = given.str.to_datetime(pattern, time_unit="us", strict=False)
    except pl.exceptions.ComputeError as error:
        raise ValueError(f"columns.time.format '{pattern}' cannot be used: {error}") from error
    moment = pl.col(read.name)
    zone = read.dtype.time_zone if isinstance(read.dtype, pl.Datetime) else None
    in_utc = _to_utc(moment, timezone) if zone is None else moment.dt.convert_time_zone("UTC")
    return read.to_frame().select(in_utc).to_series()


def _epoch_us(moment: datetime) -> int:
    return round(moment.timestamp()) * 10**6 + moment.microsecond
