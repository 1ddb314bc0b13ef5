"""Compiles declarations of features to Ibis, whose expressions DuckDB and Spark run alike.

Only expressions belong here: which rows to feed them, and running them, is `batch`'s business.
A history feature is made of *measures* (a count, a sum of ticks, a previous key) of one *frame*
(an entity and a window); measures are integers, and a feature becomes a float once, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal

from fraud_assets.features.definitions import (
    ENTITY_COLUMN,
    AmountFeature,
    AmountRatioFeature,
    CalendarFeature,
    DelayedRiskFeature,
    FeatureDefinition,
    FeatureSet,
    KnownFraudFeature,
    NewPairFeature,
    RecencyFeature,
    VelocityFeature,
)
from fraud_assets.features.semantics import (
    AMOUNT_SCALE,
    EPOCH_WEEKDAY,
    FIRST_WEEKEND_DAY,
    LAST_NIGHT_HOUR,
    SECOND_US,
    window_reach_us,
)
from fraud_assets.transactions.columns import (
    AMOUNT,
    EVENT_ORDER,
    EVENT_TIME,
    LABEL,
    PAYEE,
    PAYER,
    TRANSACTION_ID,
)
from fraud_assets.transactions.profile import KnownFraudAspect

if TYPE_CHECKING:
    import ibis.expr.types as ir

KNOWN = "known_us"
"""When a label event may be used, in microseconds since the epoch."""

POSITION = "position"
"""Which row of the result a row asks for; negative: it is history only."""

MeasureKind = Literal[
    "count", "sum", "max", "previous",
    "labelled", "frauds", "last_fraud", "last_legitimate", "first_fraud", "smallest_fraud",
]  # fmt: skip
Source = Literal["transactions", "labels"]

OF_LABELS: frozenset[MeasureKind] = frozenset(
    {"labelled", "frauds", "last_fraud", "last_legitimate", "first_fraud", "smallest_fraud"}
)
LARGEST: frozenset[MeasureKind] = frozenset({"max", "previous", "last_fraud", "last_legitimate"})
SMALLEST: frozenset[MeasureKind] = frozenset({"first_fraud", "smallest_fraud"})
"""How totals of two stretches are joined: the larger, the smaller, else their sum."""

OF_ASPECT: dict[KnownFraudAspect, tuple[MeasureKind, ...]] = {
    "last_label": ("last_fraud", "last_legitimate"),
    "last_fraud": ("last_fraud",),
    "first_fraud": ("first_fraud",),
    "smallest_fraud": ("smallest_fraud",),
}


@dataclass(frozen=True)
class Measure:
    """An integer over the window of `window_days` of the rows that share `keys`.

    `previous` is the order key of the preceding row, however old: the feature cuts it off.
    """

    kind: MeasureKind
    keys: tuple[str, ...]
    window_days: int

    @property
    def name(self) -> str:
        """A column name that no other measure and no feature has."""
        return f"__{self.kind}_{'_'.join(self.keys)}_{self.window_days}"

    @property
    def source(self) -> Source:
        """What the measure counts."""
        return "labels" if self.kind in OF_LABELS else "transactions"


def measures_of(definition: FeatureDefinition) -> tuple[Measure, ...]:
    """The measures that a feature is made of, all of one frame; () if it reads no history."""
    kinds: tuple[MeasureKind, ...]
    match definition:
        case VelocityFeature(entity, window, aggregate):
            kinds = ("sum", "count") if aggregate == "mean" else (aggregate,)
        case AmountRatioFeature(entity, window):
            kinds = ("sum", "count")
        case RecencyFeature(entity, window):
            kinds = ("previous",)
        case DelayedRiskFeature(entity, window, _, aggregate=wanted):
            kinds = ("labelled", "frauds") if wanted == "risk" else ("labelled",)
        case KnownFraudFeature(entity, window, aspect=aspect):
            kinds = OF_ASPECT[aspect]
        case NewPairFeature(window):
            return (Measure("previous", (PAYER, PAYEE), window),)
        case _:
            return ()
    return tuple(Measure(kind, (ENTITY_COLUMN[entity],), window) for kind in kinds)


def _distinct_measures(definitions: Iterable[FeatureDefinition]) -> list[Measure]:
    return list(dict.fromkeys(m for d in definitions for m in measures_of(d)))


def _ticks(rows: ir.Table) -> ir.IntegerValue:
    # floor(x + .5), not round: engines disagree on how to round a half
    return (rows[AMOUNT] * AMOUNT_SCALE + 0.5).floor().cast("int64")


def _summed(rows: ir.Table, measure: Measure) -> ir.IntegerScalar:
    match measure.kind:
        case "count":
            return rows.count()
        case "sum":
            return _ticks(rows).sum()
        case "max":
            return _ticks(rows).max()
        case "previous":
            return rows[EVENT_ORDER].max()
        case kind:
            return _summed_labels(rows, kind)


def _summed_labels(rows: ir.Table, kind: MeasureKind) -> ir.IntegerScalar:
    match kind:
        case "labelled":
            return rows[LABEL].count()
        case "frauds":
            return rows[LABEL].cast("int64").sum()
        case "last_fraud":
            return rows[EVENT_ORDER].max(where=rows[LABEL] == 1)
        case "last_legitimate":
            return rows[EVENT_ORDER].max(where=rows[LABEL] == 0)
        case "first_fraud":
            return rows[EVENT_ORDER].min(where=rows[LABEL] == 1)
        case "smallest_fraud":
            return _ticks(rows).min(where=rows[LABEL] == 1)
        case _:  # pragma: no cover - `OF_LABELS` lists the kinds
            raise AssertionError(f"{kind} is no measure of labels")


def _framed(rows: ir.Table, measure: Measure) -> ir.IntegerColumn:
    import ibis

    keys = [rows[key] for key in measure.keys]
    if measure.kind == "previous":
        return rows[EVENT_ORDER].lag().over(group_by=keys, order_by=rows[EVENT_ORDER])
    window = ibis.range_window(
        preceding=window_reach_us(measure.window_days),
        following=0,
        group_by=keys,
        order_by=rows[EVENT_ORDER],
    )
    return _summed(rows, measure).over(window)


def _with_carried(framed: ir.Table, carried: ir.Table, measures: Sequence[Measure]) -> ir.Table:
    import ibis

    keys = list(measures[0].keys)
    totals = carried.group_by(keys).aggregate(
        **{f"{m.name}_carried": _summed(carried, m) for m in measures}
    )
    joined = framed.left_join(totals, keys)
    merged: dict[str, Any] = {}
    for measure in measures:
        near, far = joined[measure.name], joined[f"{measure.name}_carried"]
        # each stands in for the other where it is missing: engines differ on null in greatest
        both = (ibis.coalesce(near, far), ibis.coalesce(far, near))
        if measure.kind in LARGEST:
            merged[measure.name] = ibis.greatest(*both)
        elif measure.kind in SMALLEST:
            merged[measure.name] = ibis.least(*both)
        else:
            merged[measure.name] = ibis.coalesce(near, 0) + ibis.coalesce(far, 0)
    return joined.mutate(**merged)


def _calendar(definition: CalendarFeature, rows: ir.Table) -> ir.NumericValue:
    seconds = rows[EVENT_TIME].epoch_seconds()
    hour = (seconds // 3600) % 24
    if definition.part == "hour":
        return hour
    if definition.part == "is_night":
        return (hour <= LAST_NIGHT_HOUR).cast("int64")
    weekday = (seconds // 86400 + EPOCH_WEEKDAY) % 7
    return (weekday >= FIRST_WEEKEND_DAY).cast("int64")


def _history(  # noqa: PLR0911 - one return a kind of feature
    definition: FeatureDefinition, rows: ir.Table
) -> ir.NumericValue:
    import ibis

    measures = measures_of(definition)
    first, *others = (rows[measure.name] for measure in measures)
    reach = window_reach_us(measures[0].window_days)
    match definition:
        case VelocityFeature(aggregate="count"):
            return first
        case VelocityFeature(aggregate="mean"):
            return first.cast("float64") / (others[0] * AMOUNT_SCALE).cast("float64")
        case VelocityFeature():
            return first.cast("float64") / float(AMOUNT_SCALE)
        case AmountRatioFeature():
            own = _ticks(rows).cast("float64") * others[0].cast("float64")
            return own / first.cast("float64").nullif(0.0)
        case RecencyFeature():
            elapsed = rows[EVENT_ORDER] - first
            return ibis.ifelse(elapsed <= reach, elapsed, ibis.null("int64")).cast("float64") / (
                float(SECOND_US)
            )
        case NewPairFeature():
            return ibis.ifelse(ibis.coalesce(rows[EVENT_ORDER] - first <= reach, False), 0, 1)
        case _:
            return _label_history(definition, rows)


def _label_history(definition: FeatureDefinition, rows: ir.Table) -> ir.NumericValue:
    import ibis

    first, *others = (rows[measure.name] for measure in measures_of(definition))
    match definition:
        case DelayedRiskFeature(aggregate="labelled_count"):
            return first
        case KnownFraudFeature(aspect="last_label"):
            # null where neither is: no label is known
            fraud_is_later = ibis.coalesce(first, -1) >= ibis.coalesce(others[0], -1)
            known = first.notnull() | others[0].notnull()
            return ibis.ifelse(known, fraud_is_later.cast("int64"), ibis.null("int64"))
        case KnownFraudFeature(aspect="smallest_fraud"):
            return first.cast("float64") / float(AMOUNT_SCALE)
        case KnownFraudFeature():
            return (rows[EVENT_ORDER] - first).cast("float64") / float(SECOND_US)
        case _:
            share = others[0].cast("float64") / first.cast("float64").nullif(0.0)
            return ibis.coalesce(share, 0.0)


def feature_value(definition: FeatureDefinition, rows: ir.Table) -> ir.Value:
    """The feature over `rows`, which have its columns and the measures of `measures_of`.

    Numbers are `float32` (the amount stays `float64`); categories are text.
    """
    import ibis

    measures = measures_of(definition)
    if isinstance(definition, AmountFeature) or definition.is_categorical:
        return rows[definition.name]
    if isinstance(definition, CalendarFeature):
        return _calendar(definition, rows).cast("float32")
    if not measures:
        return rows[definition.name].cast("float32")
    present = reduce(lambda a, b: a & b, (rows[key].notnull() for key in measures[0].keys))
    value = _history(definition, rows).cast("float32")
    return ibis.ifelse(present, value, ibis.null("float32"))


def label_rows(rows: ir.Table, label_events: ir.Table, keys: Sequence[str]) -> ir.Table:
    """`rows` and label events as one stream per entity, for one window pass over both.

    Args:
        rows: transactions with `keys`, `event_order_us` and `position`.
        label_events: `keys`, `known_us`, `label` (0 or 1, never null), `amount`.
        keys: the entity's columns.

    Returns:
        `keys`, `event_order_us`, `position` (-1 for labels), `label` and `amount` (both null for
        transactions).
    """
    import ibis

    nothing = {LABEL: ibis.null("int8"), AMOUNT: ibis.null("float64")}
    asking = rows.select(*keys, EVENT_ORDER, POSITION, **nothing)
    told = label_events.select(
        *keys,
        **{
            EVENT_ORDER: label_events[KNOWN],
            POSITION: ibis.literal(-1, "int32"),
            LABEL: label_events[LABEL].cast("int8"),
            AMOUNT: label_events[AMOUNT],
        },
    )
    return asking.union(told, distinct=False)


def chunk_expression(
    definitions: Sequence[FeatureDefinition], rows: ir.Table, carried: ir.Table | None
) -> ir.Table:
    """Features of one entity for the rows of a chunk of days: `position` and one column each.

    Args:
        definitions: history features of one source and one entity (or pair), or calendar ones.
        rows: the rows of the chunk (`position` >= 0) and the history whose membership in a window
            differs from row to row (`position` < 0); for labels, as `label_rows` returns them.
        carried: history that lies in the window of every row of the chunk; its totals are added
            once per entity instead of being framed for each row. None: there is none.
    """
    measures = _distinct_measures(definitions)
    framed = rows.mutate(**{m.name: _framed(rows, m) for m in measures}) if measures else rows
    asked = framed.filter(framed[POSITION] >= 0)
    if carried is not None:
        asked = _with_carried(asked, carried, measures)
    return asked.select(POSITION, **{d.name: feature_value(d, asked) for d in definitions})


def feature_expression(
    feature_set: FeatureSet, transactions_table: ir.Table, label_events_table: ir.Table
) -> ir.Table:
    """All features of all rows as one backend-neutral expression, ordered by `event_order_us`.

    `batch.compute_features` gives the same values from the same declarations, but feeds DuckDB
    only the history that the asked days need.

    Args:
        feature_set: the declarations.
        transactions_table: canonical transactions, with `feature_set.required_columns`.
        label_events_table: `payer_id`, `payee_id`, `known_us` (`int64`), `label`, `amount`; see
            `batch.label_events`. Unused if no feature reads labels.

    Returns:
        `transaction_id`, `event_time`, `event_order_us`, `payer_id`, `amount`, the features.
    """
    measures = _distinct_measures(feature_set.definitions)
    velocity = [m for m in measures if m.source == "transactions"]
    table = transactions_table
    rows = table.mutate(**{m.name: _framed(table, m) for m in velocity}) if velocity else table
    for keys in dict.fromkeys(m.keys for m in measures if m.source == "labels"):
        asking = transactions_table.mutate(**{POSITION: 0}).cast({POSITION: "int32"})
        stream = label_rows(asking, label_events_table, keys)
        wanted = [m for m in measures if m.source == "labels" and m.keys == keys]
        framed = stream.mutate(**{m.name: _framed(stream, m) for m in wanted})
        known = framed.filter(framed[POSITION] >= 0).select(EVENT_ORDER, *(m.name for m in wanted))
        rows = rows.join(known, EVENT_ORDER)
    own = (TRANSACTION_ID, EVENT_TIME, EVENT_ORDER, PAYER, AMOUNT)
    values = {d.name: feature_value(d, rows) for d in feature_set.definitions if d.name not in own}
    return rows.select(*own, **values).order_by(EVENT_ORDER)
