"""Whole days brought into the histories at once: grouped by Polars, cut into arrays by NumPy.

The histories are those that observing the rows one by one would leave. Only the filling belongs
here; ticks, keys and moments come from `state`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.features.expressions import KNOWN
from fraud_assets.features.online.amounts import AmountHistory
from fraud_assets.features.online.entities import Entities
from fraud_assets.features.online.labels import LabelHistory
from fraud_assets.features.online.pairs import Pairs
from fraud_assets.transactions.columns import AMOUNT, EVENT_ORDER, LABEL, PAYEE, PAYER

Integers = npt.NDArray[np.int64]


def load_amounts(entities: Entities, rows: pl.DataFrame, column: str, newest_key: int) -> None:
    """Add transactions to the entities of `column`.

    Args:
        entities: what to add to.
        rows: ids, `event_order_us` and `amount` in ticks, in order of the keys.
        column: the ids; rows without one are left out.
        newest_key: the largest key of all.
    """
    if not entities.keeps:
        return
    oldest = newest_key - entities.kept_us
    kept = rows.filter(pl.col(column).is_not_null() & (pl.col(EVENT_ORDER) >= oldest))
    ids, bounds, keys, ticks = _grouped(kept, column, EVENT_ORDER, AMOUNT)
    sums = np.concatenate(([0], np.cumsum(ticks)))  # wraps; only differences matter
    steps = np.diff(keys)
    steps[bounds[1:-1] - 1] = 1  # from one entity to the next
    if not (steps > 0).all():
        for _, start, end in _spans(ids, bounds):
            keys[start:end] = _distinct(keys[start:end])
    for entity_id, start, end in _spans(ids, bounds):
        own = keys[start:end]
        history = entities.histories.get(entity_id)
        if history is None:
            # one sum more than keys: the first is what the differences start from
            entities.histories[entity_id] = AmountHistory(
                as_array(own), as_array(sums[start : end + 1])
            )
            continue
        for key, amount in zip(own.tolist(), ticks[start:end].tolist(), strict=True):
            entities.insert(entity_id, entities.free_key(entity_id, key), amount)
    entities.start_rounds()


def load_pairs(pairs: Pairs, rows: pl.DataFrame, newest_key: int) -> None:
    """Add transactions to the pairs; as `load_amounts`."""
    kept = rows.filter(
        pl.col(PAYER).is_not_null()
        & pl.col(PAYEE).is_not_null()
        & (pl.col(EVENT_ORDER) >= newest_key - pairs.kept_us)
    )
    name = pl.format("{}:{}{}", pl.col(PAYER).str.len_chars(), PAYER, PAYEE)
    ids, bounds, keys, _ = _grouped(
        kept.with_columns(name.alias(PAYER)), PAYER, EVENT_ORDER, AMOUNT
    )
    is_empty = not pairs.once and not pairs.often
    for pair, start, end in _spans(ids, bounds):
        if is_empty and end - start == 1:
            pairs.once[pair] = int(keys[start])
            continue
        for key in keys[start:end].tolist():
            pairs.insert(pair, key)
    pairs.start_rounds()


def load_told(entities: Entities, told: pl.DataFrame, column: str) -> None:
    """Add labels to the entities of `column`.

    Args:
        entities: what to add to.
        told: ids, `known_us`, `label` and `amount` in ticks, in order of `known_us`.
        column: the ids; rows without one are left out.
    """
    if not entities.reads_labels:
        return
    kept = told.filter(pl.col(column).is_not_null() & pl.col(LABEL).is_not_null())
    ids, bounds, known, _ = _grouped(kept, column, KNOWN, LABEL)
    frauds = kept.filter(pl.col(LABEL) == 1)
    for entity_id, start, end in _spans(ids, bounds):
        held = entities.labels.get(entity_id)
        if held is None:
            entities.labels[entity_id] = LabelHistory(as_array(known[start:end]))
            continue
        for moment in known[start:end].tolist():
            held.add(moment, 0, 0)
    for entity_id, moment, ticks in frauds.select(column, KNOWN, AMOUNT).iter_rows():
        entities.labels[entity_id].add_fraud(moment, ticks)
    entities.start_rounds()


def _grouped(
    rows: pl.DataFrame, column: str, key: str, value: str
) -> tuple[list[str], Integers, Integers, Integers]:
    """Ids, where each one's rows begin (and the last one's end), and two columns by id."""
    groups = rows.group_by(column, maintain_order=True).agg(pl.col(key), pl.col(value))
    bounds = np.concatenate(([0], groups[key].list.len().to_numpy().astype(np.int64).cumsum()))
    flat = [
        np.array(groups[name].explode(empty_as_null=False).to_numpy(), np.int64)
        for name in (key, value)
    ]
    return groups[column].to_list(), bounds, flat[0], flat[1]


def _spans(ids: list[str], bounds: Integers) -> Iterator[tuple[str, int, int]]:
    edges = bounds.tolist()
    return zip(ids, edges, edges[1:], strict=False)


def _distinct(keys: Integers) -> Integers:
    """The keys, each a microsecond past the one before where they are equal."""
    position = np.arange(len(keys))
    return np.maximum.accumulate(keys - position) + position


def as_array(numbers: Integers) -> array[int]:
    """The same integers as an array that can grow."""
    found = array("q")
    found.frombytes(numbers.tobytes())
    return found
