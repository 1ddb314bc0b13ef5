"""A raw day divided into validated, quarantined and duplicate rows, with every reason.

Only the division belongs here: values are read in `canonical`, the rules stand in `schema`.
No row is ever lost: the three parts always add up to what came in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from fraud_assets.transactions import columns as c
from fraud_assets.transactions.canonical import CanonicalDay, canonical_schema, canonicalise
from fraud_assets.transactions.profile import Profile
from fraud_assets.transactions.reading import verbatim
from fraud_assets.transactions.schema import (
    required_columns,
    transaction_rules,
    transaction_schema,
)

_SHOWN = 60
_GIVEN = r"(?s) \((source_row \d+|'.*')\)$"


class RowConservationError(RuntimeError):
    """Rows were lost or invented between the raw day and its parts: a defect of this program."""


@dataclass(frozen=True)
class ValidationOutcome:
    """A divided day.

    Attributes:
        validated: the canonical transactions, sorted by `event_order_us`.
        quarantined: the raw columns as text, `source_row`, `transaction_id` where it could be
            read, and `reject_reasons`, a list of every rule that the row broke. A raw column
            whose name is one of these is kept as `raw_<name>`.
        duplicates: the same columns; rows whose id was validated before.
        raw_rows: how many rows came in.
    """

    validated: pl.DataFrame
    quarantined: pl.DataFrame
    duplicates: pl.DataFrame
    raw_rows: int

    def __post_init__(self) -> None:
        parts = (self.validated.height, self.quarantined.height, self.duplicates.height)
        if sum(parts) != self.raw_rows:
            raise RowConservationError(
                f"{self.raw_rows} raw rows became {parts[0]} validated + {parts[1]} quarantined "
                f"+ {parts[2]} duplicates = {sum(parts)}; nothing of this day may be written"
            )

    @property
    def reject_share(self) -> float:
        """Quarantined rows as a share of the raw ones; 0 for a day without rows."""
        return self.quarantined.height / self.raw_rows if self.raw_rows else 0.0

    def reasons_table(self) -> pl.DataFrame:
        """`reason` (without the offending value) and `rows`, most frequent first.

        A row counts under each rule that it broke, so the rows may add up to more than there
        are. Duplicates are included.
        """
        return counted_reasons(pl.concat([self.quarantined[c.REASON], self.duplicates[c.REASON]]))


def counted_reasons(reasons: pl.Series) -> pl.DataFrame:
    """`reason` (without the offending value) and `rows`, most frequent first.

    Args:
        reasons: a list of reasons per row.
    """
    return (
        pl.DataFrame({"reason": reasons.explode(empty_as_null=False)})
        .with_columns(pl.col("reason").str.replace(_GIVEN, ""))
        .group_by("reason")
        .agg(pl.len().cast(pl.Int64).alias("rows"))
        .sort(["rows", "reason"], descending=[True, False])
    )


def validate_day(
    raw: pl.DataFrame, profile: Profile, day: date, known_ids: pl.Series | None = None
) -> ValidationOutcome:
    """Divide a raw day by the profile's rules.

    A row that breaks a rule is quarantined, whatever its id. Of the rows that keep every rule,
    the first to arrive (lowest `source_row`) with an id is validated, and later ones are
    duplicates; so is every row whose id is in `known_ids`. Where the profile maps no transaction
    id, ids are made from the position of the row, and duplicates cannot be seen.

    Args:
        raw: columns as the source gave them, and `source_row`, unique integers.
        profile: the roles and limits.
        day: the partition that the rows must belong to.
        known_ids: ids validated on earlier days (`String`); never those of this day.

    Raises:
        MissingColumnError: a column that the profile names is not there.
        DerivedColumnError: a `derived` expression does not parse or cannot be computed.
        ValueError: `source_row` is missing, incomplete, or not unique.
        pandera.errors.SchemaErrors: the rows that kept every rule do not fit the schema; a defect
            of this program, raised before anything wrong is passed on.
    """
    _check_source_rows(raw)
    canonical = canonicalise(raw, profile, day)
    frame = canonical.frame
    reasons = pl.DataFrame(schema={"row": pl.UInt32, c.REASON: pl.List(pl.String)})
    good = pl.arange(0, frame.height, dtype=pl.UInt32, eager=True)
    if canonical.unreadable or not _fits(frame, profile, day):
        reasons = _broken_rules(canonical, profile, day)
        good = good.filter(~good.is_in(reasons["row"].implode()))
        frame = frame[good]
        _validate(frame, profile, day)
    if not frame[c.SOURCE_ROW].is_sorted():
        arrival = frame[c.SOURCE_ROW].arg_sort()
        frame, good = frame[arrival], good[arrival]
    repeats = _repeats(frame.select(c.TRANSACTION_ID, c.SOURCE_ROW), known_ids)
    kept = frame
    if repeats.height:
        mask = pl.arange(0, frame.height, dtype=pl.UInt32, eager=True).is_in(
            repeats["row"].implode()
        )
        kept = frame.filter(~mask)
    ids = canonical.frame[c.TRANSACTION_ID]
    return ValidationOutcome(
        validated=_ordered(kept, profile),
        quarantined=_set_aside(raw, ids, reasons),
        duplicates=_set_aside(raw, ids, repeats.with_columns(row=good.gather(repeats["row"]))),
        raw_rows=raw.height,
    )


def _check_source_rows(raw: pl.DataFrame) -> None:
    if c.SOURCE_ROW not in raw.columns:
        raise ValueError(f"the raw frame has no '{c.SOURCE_ROW}' column: its source must add it")
    rows = raw[c.SOURCE_ROW]
    if raw.height and not rows.dtype.is_integer():
        raise ValueError(f"'{c.SOURCE_ROW}' must be integers, not {rows.dtype}")
    if rows.null_count() or rows.n_unique() != raw.height:
        raise ValueError(f"'{c.SOURCE_ROW}' must name each row once: it has nulls or repeats")


def _validate(frame: pl.DataFrame, profile: Profile, day: date) -> None:
    from pandera.config import ValidationDepth, config_context

    # Forced, as an environment variable of Pandera's may turn the checks off.
    with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        transaction_schema(profile, day).validate(frame, lazy=True)


def _fits(frame: pl.DataFrame, profile: Profile, day: date) -> bool:
    from pandera.errors import SchemaErrors

    try:
        _validate(frame, profile, day)
    except SchemaErrors:
        return False
    return True


def _broken_rules(canonical: CanonicalDay, profile: Profile, day: date) -> pl.DataFrame:
    """`row` (position in the day, ascending) and `reject_reasons` of the rows that broke rules."""
    frame = canonical.frame
    found: list[pl.DataFrame] = []

    def note(broken: pl.Series, rule: str, given: pl.Series | None) -> None:
        rows = broken.arg_true()
        if rows.is_empty():
            return
        text = pl.lit(rule)
        if given is not None:
            value = pl.col("given")
            short = (
                pl.when(value.str.len_chars() > _SHOWN)
                .then(value.str.slice(0, _SHOWN) + "…")
                .otherwise(value)
            )
            text = pl.format("{} ('{}')", pl.lit(rule), short)
        offenders = pl.DataFrame({"row": rows.cast(pl.UInt32)})
        if given is not None:
            offenders = offenders.with_columns(given=verbatim(given.gather(rows)))
        found.append(offenders.select("row", text.alias(c.REASON)))

    for column in canonical.unreadable.values():
        note(column.rows, column.rule, column.given)
    for name in required_columns(profile):
        missing = frame[name].is_null()
        if name in canonical.unreadable:
            missing &= ~canonical.unreadable[name].rows
        note(missing, f"{name}: missing", None)
    rules = transaction_rules(profile, day)
    broken = frame.select(
        (~rule.holds).fill_null(value=False).alias(str(i)) for i, rule in enumerate(rules)
    )
    for i, rule in enumerate(rules):
        note(broken[str(i)], rule.name, frame[rule.column])
    if not found:
        return pl.DataFrame(schema={"row": pl.UInt32, c.REASON: pl.List(pl.String)})
    return (
        pl.concat(found)
        .sort("row", maintain_order=True)
        .group_by("row", maintain_order=True)
        .agg(c.REASON)
    )


def _repeats(frame: pl.DataFrame, known_ids: pl.Series | None) -> pl.DataFrame:
    """`row` (position in `frame`) and `reject_reasons` of ids seen before; rows by arrival."""
    empty = pl.DataFrame(schema={"row": pl.UInt32, c.REASON: pl.List(pl.String)})
    numbered = frame.with_row_index("row")
    found = []
    if known_ids is not None and len(known_ids) and frame.height:
        known = known_ids.cast(pl.String).alias(c.TRANSACTION_ID).to_frame()
        # The table is built of the day's ids, which are few, and the known ones stream past it.
        seen = known.join(frame.select(c.TRANSACTION_ID), on=c.TRANSACTION_ID, how="semi")
        if seen.height:
            old = numbered.join(seen, on=c.TRANSACTION_ID, how="semi", maintain_order="left")
            reason = pl.lit(f"{c.TRANSACTION_ID}: duplicate of a transaction of an earlier day")
            found.append(old.select("row", reason.alias(c.REASON)))
            numbered = numbered.join(seen, on=c.TRANSACTION_ID, how="anti", maintain_order="left")
    if numbered[c.TRANSACTION_ID].n_unique() != numbered.height:
        first = pl.col(c.SOURCE_ROW).first().over(c.TRANSACTION_ID)
        reason = pl.format(
            "{}: duplicate of an earlier row of the day (source_row {})",
            pl.lit(c.TRANSACTION_ID),
            first,
        )
        again = numbered.with_columns(reason.alias(c.REASON)).filter(
            ~pl.col(c.TRANSACTION_ID).is_first_distinct()
        )
        found.append(again.select("row", c.REASON))
    if not found:
        return empty
    return pl.concat(found).sort("row").with_columns(pl.concat_list(c.REASON))


def _ordered(frame: pl.DataFrame, profile: Profile) -> pl.DataFrame:
    """Sort by event time and arrival, and give each row its strictly increasing order key.

    The key is `cummax(epoch_us - i) + i` with i the row's position: the event time itself, but
    for rows of one instant, each of which is a microsecond after the one before.
    """
    if not frame[c.EVENT_TIME].is_sorted():
        frame = frame.sort(c.EVENT_TIME, maintain_order=True)  # arrival order within an instant
    position = pl.int_range(pl.len(), dtype=pl.Int64)
    epoch = pl.col(c.EVENT_TIME).cast(pl.Int64)
    order = (epoch - position).cum_max() + position
    return frame.with_columns(order.alias(c.EVENT_ORDER)).select(
        pl.col(name).cast(dtype) for name, dtype in canonical_schema(profile).items()
    )


def _set_aside(raw: pl.DataFrame, ids: pl.Series, reasons: pl.DataFrame) -> pl.DataFrame:
    """The raw rows at `reasons.row` as text, with their id and the reasons.

    As text, whatever the source: types differ from day to day when a column has bad values, and
    the quarantined days must still read as one frame.
    """
    rows = reasons["row"]
    ours = (c.TRANSACTION_ID, c.REASON)
    given = {name: raw[name].gather(rows) for name in raw.columns if name != c.SOURCE_ROW}
    return pl.DataFrame(
        [
            *(
                verbatim(values).alias(f"raw_{name}" if name in ours else name)
                for name, values in given.items()
            ),
            raw[c.SOURCE_ROW].gather(rows).cast(pl.Int64),
            ids.gather(rows).alias(c.TRANSACTION_ID),
            reasons[c.REASON],
        ]
    )
