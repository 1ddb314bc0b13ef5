"""Raw columns, as a source gave them, turned into the canonical columns of a profile.

Which raw column plays which role belongs here; what a single value says is read in `reading`.
Nothing is judged: a value that cannot be read becomes null and is noted, and whether a row is
good is decided in `validation` by the rules of `schema`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from fraud_assets.transactions import columns as c
from fraud_assets.transactions.profile import CsvFormat, Profile, TimeColumn
from fraud_assets.transactions.reading import (
    INSTANT,
    identifiers,
    instants,
    labels,
    numbers,
    texts,
)


class MissingColumnError(ValueError):
    """The data lacks columns that the profile names."""


class DerivedColumnError(ValueError):
    """A `derived` expression of the profile cannot be parsed or computed."""


@dataclass(frozen=True)
class Unreadable:
    """Rows whose raw value is there and cannot be read as what its role needs.

    `rows` is a Boolean mask over the day, `given` the raw values as text, `rule` what they broke.
    """

    rows: pl.Series
    given: pl.Series
    rule: str


@dataclass(frozen=True)
class CanonicalDay:
    """A raw day in canonical columns, unjudged.

    `frame` holds `source_row` and the canonical columns without `event_order_us`, one row for
    each raw row and in its order; `unreadable` is by canonical column, only where there is any.
    """

    frame: pl.DataFrame
    unreadable: dict[str, Unreadable]


def canonical_schema(profile: Profile) -> dict[str, pl.DataType]:
    """Names and types of the validated transactions of a profile, in their order."""
    return {
        c.TRANSACTION_ID: pl.String(),
        c.EVENT_TIME: INSTANT,
        c.EVENT_ORDER: pl.Int64(),
        c.AMOUNT: pl.Float64(),
        c.PAYER: pl.String(),
        c.PAYEE: pl.String(),
        c.KIND: pl.String(),
        **{extra.name: pl.Float64() for extra in profile.numeric},
        **{extra.name: pl.String() for extra in profile.categorical},
        c.SOURCE_LABEL: pl.Int8(),
        c.SOURCE_LABEL_KNOWN_AT: INSTANT,
        c.SOURCE_SCENARIO: pl.String(),
    }


def event_time_expression(
    profile: Profile, schema: pl.Schema | Mapping[str, pl.DataType]
) -> pl.Expr:
    """The event time of a raw frame as one expression over its columns, for lazy scans.

    Null where the raw value is missing, cannot be read, or lies outside the profile's
    `time.earliest` and `time.latest`. Clock times without a zone are taken in `time.timezone`;
    one that occurs twice (the end of summer time) is the earlier, one that never occurs is null.

    Args:
        profile: says which column, unit and format.
        schema: the raw frame's names and types.

    Raises:
        MissingColumnError: the raw column, or one that its `derived` expression uses, is not
            there.
        DerivedColumnError: the `derived` expression does not parse.
    """
    time = profile.columns.time
    _require({time.column: ["event_time"]}, profile, schema)
    source = _source(time.column, profile)
    dtype = pl.LazyFrame(schema=schema).select(source).collect_schema().dtypes()[0]
    return instants(source, dtype, time, profile.csv).alias(c.EVENT_TIME)


def canonicalise(raw: pl.DataFrame, profile: Profile, day: date) -> CanonicalDay:
    """Read a raw day by its profile; every row comes back, in the same order.

    NaN counts as missing, as pandas writes it so. Without a mapped transaction id the id is the
    day and `source_row`. Without `label.known_at`, and where that column is empty, a label is
    known `delay_days` after the transaction.

    Args:
        raw: columns as the source gave them, and `source_row` (`Int64`).
        profile: the roles of the columns.
        day: the partition, used to make ids.

    Raises:
        MissingColumnError: columns that the profile names are not there. A frame without rows
            and without columns (a query that found nothing) is an empty day and no error.
        DerivedColumnError: a `derived` expression does not parse or cannot be computed.
    """
    if raw.height == 0 and raw.columns == [c.SOURCE_ROW]:
        names = {k: v for k, v in canonical_schema(profile).items() if k != c.EVENT_ORDER}
        return CanonicalDay(pl.DataFrame(schema={c.SOURCE_ROW: pl.Int64(), **names}), {})
    _require(_roles(profile), profile, raw.schema)
    reader = _Reader(_with_derived(raw, profile), profile.csv)
    roles, label = profile.columns, profile.columns.label
    if roles.transaction_id is None:
        ids = pl.format("{}-{}", pl.lit(day.isoformat()), pl.col(c.SOURCE_ROW))
        reader.put(c.TRANSACTION_ID, raw.select(ids.cast(pl.String)).to_series())
    else:
        reader.identifier(c.TRANSACTION_ID, roles.transaction_id)
    reader.instant(c.EVENT_TIME, roles.time)
    reader.number(c.AMOUNT, roles.amount.column)
    reader.identifier(c.PAYER, roles.payer)
    reader.identifier(c.PAYEE, roles.payee)
    reader.identifier(c.KIND, roles.kind.column if roles.kind else None)
    for number in profile.numeric:
        reader.number(number.name, number.column)
    for category in profile.categorical:
        reader.identifier(category.name, category.column)
    known_at = reader.known_at(profile)
    if label is None:
        reader.put(c.SOURCE_LABEL, pl.Series([None], dtype=pl.Int8).new_from_index(0, raw.height))
    else:
        reader.label(label.column, label.fraud_values, label.legitimate_values)
    mature = pl.col(c.EVENT_TIME) + timedelta(days=profile.label_delay_days)
    reader.put(c.SOURCE_LABEL_KNOWN_AT, known_at)
    reader.identifier(c.SOURCE_SCENARIO, label.scenario if label else None)
    frame = pl.DataFrame([raw[c.SOURCE_ROW].cast(pl.Int64), *reader.values]).with_columns(
        # Nothing is known of a transaction without a label: its moment is null as well.
        pl.when(pl.col(c.SOURCE_LABEL).is_not_null()).then(
            pl.coalesce(c.SOURCE_LABEL_KNOWN_AT, mature)
        )
    )
    return CanonicalDay(frame, reader.unreadable)


class _Reader:
    """Collects canonical columns, and notes the raw values that could not be read."""

    def __init__(self, source: pl.DataFrame, csv: CsvFormat) -> None:
        self.source = source
        self.csv = csv
        self.values: list[pl.Series] = []
        self.unreadable: dict[str, Unreadable] = {}

    def put(self, name: str, values: pl.Series) -> None:
        self.values.append(values.alias(name))

    def identifier(self, name: str, column: str | None) -> None:
        if column is None:
            self.put(name, pl.Series([None], dtype=pl.String).new_from_index(0, self.source.height))
        else:
            self.put(name, identifiers(self.source[column], self.csv))

    def number(self, name: str, column: str) -> None:
        values = numbers(self.source[column], self.csv)
        self._note(name, column, values, "not a number")
        self.put(name, values)

    def instant(self, name: str, time: TimeColumn) -> None:
        values = self._instants(time)
        self._note(name, time.column, values, _time_rule(time))
        self.put(name, values)

    def label(self, column: str, fraud: list[str], legitimate: list[str]) -> None:
        values = labels(self.source[column], fraud, legitimate, self.csv)
        self._note(c.SOURCE_LABEL, column, values, "neither a fraud nor a legitimate value")
        self.put(c.SOURCE_LABEL, values)

    def known_at(self, profile: Profile) -> pl.Series:
        """When the source's labels became known, null where it does not say."""
        event, label = profile.columns.time, profile.columns.label
        if label is None or label.known_at is None:
            return pl.Series([None], dtype=INSTANT).new_from_index(0, self.source.height)
        clock = event.model_copy(update={"column": label.known_at})
        plain = clock.model_copy(update={"unit": "timestamp", "format": None})
        if event.unit == "timestamp":
            values = self._instants(clock)
        else:
            # A source that counts its events may count here too, or give date-times.
            counted, dated = self._instants(clock), self._instants(plain)
            values = counted.to_frame("a").select(pl.coalesce("a", dated.alias("b"))).to_series()
        self._note(c.SOURCE_LABEL_KNOWN_AT, label.known_at, values, _time_rule(plain))
        return values

    def _instants(self, time: TimeColumn) -> pl.Series:
        given = pl.col(time.column)
        dtype = self.source.schema[time.column]
        return self.source.select(instants(given, dtype, time, self.csv)).to_series()

    def _note(self, name: str, column: str, values: pl.Series, rule: str) -> None:
        source = self.source[column]
        if values.null_count() == source.null_count():
            return  # the usual case; the texts below cost more than the reading
        given = texts(source, self.csv)
        rows = given.is_not_null() & values.is_null()
        if rows.any():
            self.unreadable[name] = Unreadable(rows, given, f"{name}: {rule}")


def _time_rule(time: TimeColumn) -> str:
    return f"not a time from {time.earliest:%Y-%m-%d} to {time.latest:%Y-%m-%d}"


def _source(column: str, profile: Profile) -> pl.Expr:
    """A column of the profile as an expression over the raw ones."""
    if column not in profile.derived:
        return pl.col(column)
    expression = profile.derived[column]
    try:
        return pl.sql_expr(expression).alias(column)
    except pl.exceptions.PolarsError as error:
        raise DerivedColumnError(
            f"derived.{column}: '{expression}' is not a Polars SQL expression: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _with_derived(raw: pl.DataFrame, profile: Profile) -> pl.DataFrame:
    out = raw
    for name, expression in profile.derived.items():
        try:
            # Over the raw columns always, so that the order of the expressions means nothing.
            out = out.with_columns(raw.select(_source(name, profile)).to_series())
        except pl.exceptions.PolarsError as error:
            raise DerivedColumnError(
                f"derived.{name}: '{expression}' cannot be computed: {_first_line(error)}. "
                "CSV columns are text: use TRY_CAST(column AS DOUBLE), which leaves a bad value "
                "empty"
            ) from error
    return out


def _roles(profile: Profile) -> dict[str, list[str]]:
    """Raw (or derived) column names to the fields of the profile that use them."""
    roles = profile.columns
    uses: list[tuple[str | None, str]] = [
        (roles.transaction_id, c.TRANSACTION_ID),
        (roles.time.column, c.EVENT_TIME),
        (roles.amount.column, c.AMOUNT),
        (roles.payer, c.PAYER),
        (roles.payee, c.PAYEE),
        (roles.kind.column if roles.kind else None, c.KIND),
        *((number.column, number.name) for number in profile.numeric),
        *((category.column, category.name) for category in profile.categorical),
    ]
    if roles.label:
        uses += [
            (roles.label.column, c.SOURCE_LABEL),
            (roles.label.known_at, c.SOURCE_LABEL_KNOWN_AT),
            (roles.label.scenario, c.SOURCE_SCENARIO),
        ]
    out: dict[str, list[str]] = {}
    for column, role in uses:
        if column is not None:
            out.setdefault(column, []).append(role)
    return out


def _require(uses: dict[str, list[str]], profile: Profile, schema: Iterable[str]) -> None:
    """Raise one error that names every missing raw column, its role and the nearest match."""
    needed: dict[str, list[str]] = {}
    for column, roles in uses.items():
        if column in profile.derived:
            for root in _source(column, profile).meta.root_names():
                needed.setdefault(root, []).append(f"derived.{column} ({', '.join(roles)})")
        else:
            needed.setdefault(column, []).extend(roles)
    there = [name for name in schema if name != c.SOURCE_ROW]
    by_lower = {name.lower(): name for name in there}
    problems = []
    for column, roles in needed.items():
        if column in schema:
            continue
        near = difflib.get_close_matches(column.lower(), by_lower, n=1, cutoff=0.5)
        hint = f"; did you mean '{by_lower[near[0]]}'?" if near else ""
        problems.append(f"'{column}' ({', '.join(roles)}){hint}")
    if problems:
        raise MissingColumnError(
            f"profile {profile.name}: columns are missing: {'; '.join(problems)}. "
            f"The data has: {', '.join(there) or 'no columns'}"
        )
