"""Declarations compiled to places in the list of values, once, so that no event asks for types.

A place is the index of a feature in `FeatureSet.names`; `ABSENT` says that the feature was not
asked for. How the values come about belongs in `entities` and `pairs`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final, NamedTuple

from fraud_assets.features.definitions import (
    AmountFeature,
    AmountRatioFeature,
    CalendarFeature,
    CategoricalFeature,
    DelayedRiskFeature,
    Entity,
    FeatureSet,
    KindFeature,
    KnownFraudFeature,
    LabelHistory,
    NewPairFeature,
    NumericFeature,
    RecencyFeature,
    VelocityFeature,
)
from fraud_assets.features.semantics import window_reach_us

ABSENT: Final = -1


class Window(NamedTuple):
    """What is asked of one entity's amounts over one window."""

    reach_us: int
    rows: int = ABSENT
    total: int = ABSENT
    mean: int = ABSENT
    largest: int = ABSENT
    ratio: int = ABSENT


_FIELD: Final[dict[str, str]] = {"count": "rows", "sum": "total", "mean": "mean", "max": "largest"}
"""Where a window holds the place of an aggregate; a tuple has a `count` of its own."""


class RiskWindow(NamedTuple):
    """What is asked of one entity's labels over one window."""

    reach_us: int
    labelled_count: int = ABSENT
    risk: int = ABSENT


class KnownWindow(NamedTuple):
    """What is asked of one entity's known frauds over one window."""

    reach_us: int
    last_label: int = ABSENT
    last_fraud: int = ABSENT
    first_fraud: int = ABSENT
    smallest_fraud: int = ABSENT


@dataclass(frozen=True)
class EntityPlan:
    """Everything asked of one kind of entity.

    Attributes:
        windows: longest first, so that the start of one bounds the search for the next.
        recency: reach and place of the time since the previous transaction.
        risks: windows over labels.
        known: windows over known frauds.
    """

    windows: tuple[Window, ...]
    recency: tuple[int, int] | None
    risks: tuple[RiskWindow, ...]
    known: tuple[KnownWindow, ...]

    @property
    def reach_us(self) -> int:
        """The longest reach into the entity's transactions; 0: none are kept."""
        return max([*(w.reach_us for w in self.windows), *(self.recency or (0,))[:1]])

    @property
    def label_reach_us(self) -> int:
        """The longest reach into the entity's labels; 0: none are kept."""
        return max([0, *(w.reach_us for w in self.risks), *(w.reach_us for w in self.known)])

    @property
    def has_max(self) -> bool:
        """Whether a largest amount is asked for."""
        return any(window.largest != ABSENT for window in self.windows)


@dataclass(frozen=True)
class Plan:
    """A feature set as places; `delay_days` is that of the label features, 0 without any."""

    width: int
    amount: int
    kind: int
    hour: int
    is_night: int
    is_weekend: int
    extras: tuple[tuple[int, str], ...]
    payer: EntityPlan
    payee: EntityPlan
    new_pair: tuple[int, int] | None
    delay_days: int


def compile_plan(feature_set: FeatureSet) -> Plan:
    """The places of a feature set's features."""
    single: dict[str, int] = {}
    extras: list[tuple[int, str]] = []
    new_pair: tuple[int, int] | None = None
    for place, definition in enumerate(feature_set.definitions):
        match definition:
            case NewPairFeature(window):
                new_pair = (window_reach_us(window), place)
            case NumericFeature(column) | CategoricalFeature(column):
                extras.append((place, column))
            case AmountFeature() | CalendarFeature() | KindFeature():
                single[definition.name] = place
            case _:
                pass  # of an entity, see below
    delays = {d.delay_days for d in feature_set.definitions if isinstance(d, LabelHistory)}
    return Plan(
        width=len(feature_set.definitions),
        amount=single.get("amount", ABSENT),
        kind=single.get("kind", ABSENT),
        hour=single.get("hour", ABSENT),
        is_night=single.get("is_night", ABSENT),
        is_weekend=single.get("is_weekend", ABSENT),
        extras=tuple(extras),
        payer=_entity_plan(feature_set, "payer"),
        payee=_entity_plan(feature_set, "payee"),
        new_pair=new_pair,
        delay_days=max(delays, default=0),
    )


def _entity_plan(feature_set: FeatureSet, entity: Entity) -> EntityPlan:
    windows: dict[int, dict[str, int]] = defaultdict(dict)
    risks: dict[int, dict[str, int]] = defaultdict(dict)
    known: dict[int, dict[str, int]] = defaultdict(dict)
    recency: tuple[int, int] | None = None
    for place, definition in enumerate(feature_set.definitions):
        match definition:
            case VelocityFeature(of, days, aggregate) if of == entity:
                windows[days][_FIELD[aggregate]] = place
            case AmountRatioFeature(of, days) if of == entity:
                windows[days]["ratio"] = place
            case RecencyFeature(of, days) if of == entity:
                recency = (window_reach_us(days), place)
            case DelayedRiskFeature(of, days, _, wanted) if of == entity:
                risks[days][wanted] = place
            case KnownFraudFeature(of, days, _, aspect) if of == entity:
                known[days][aspect] = place
            case _:
                pass  # of the other entity, or of none
    longest_first = sorted(windows, reverse=True)
    return EntityPlan(
        windows=tuple(Window(window_reach_us(d), **windows[d]) for d in longest_first),
        recency=recency,
        risks=tuple(RiskWindow(window_reach_us(d), **risks[d]) for d in sorted(risks)),
        known=tuple(KnownWindow(window_reach_us(d), **known[d]) for d in sorted(known)),
    )
