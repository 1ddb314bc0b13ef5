"""The features that a profile asks for, as an ordered set of declarations.

What a single declaration means is in `declarations`; all of them can be imported from here too.
No computation belongs here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fraud_assets.features.declarations import (
    ENTITY_COLUMN,
    AmountFeature,
    AmountRatioFeature,
    CalendarFeature,
    CategoricalFeature,
    Declaration,
    DelayedRiskFeature,
    Entity,
    FeatureDefinition,
    KindFeature,
    KnownFraudFeature,
    LabelHistory,
    NewPairFeature,
    NumericFeature,
    RecencyFeature,
    VelocityFeature,
)
from fraud_assets.transactions.columns import AMOUNT, EVENT_ORDER, EVENT_TIME, PAYER, TRANSACTION_ID
from fraud_assets.transactions.profile import EntityFeatures, Profile

__all__ = [
    "ENTITY_COLUMN",
    "AmountFeature",
    "AmountRatioFeature",
    "CalendarFeature",
    "CategoricalFeature",
    "Declaration",
    "DelayedRiskFeature",
    "Entity",
    "FeatureDefinition",
    "FeatureNameError",
    "FeatureSet",
    "KindFeature",
    "KnownFraudFeature",
    "LabelHistory",
    "NewPairFeature",
    "NumericFeature",
    "RecencyFeature",
    "VelocityFeature",
]

DEFAULT_RECENCY_DAYS = 7
"""How far back recency looks for an entity without velocity windows."""


class FeatureNameError(ValueError):
    """Two features of a profile have the same name; the message names them."""


def _entity_features(
    entity: Entity, choices: EntityFeatures, delay_days: int
) -> list[FeatureDefinition]:
    windows = sorted(set(choices.windows_days))
    longest = max(windows, default=DEFAULT_RECENCY_DAYS)
    found: list[FeatureDefinition] = [
        VelocityFeature(entity, window, aggregate)
        for window in windows
        for aggregate in dict.fromkeys(choices.aggregates)
    ]
    if choices.recency:
        found.append(RecencyFeature(entity, longest))
    if choices.amount_ratio:
        found.append(AmountRatioFeature(entity, longest))
    if choices.risk is not None:
        found += [
            DelayedRiskFeature(entity, window, delay_days, measure)
            for window in sorted(set(choices.risk.windows_days))
            for measure in dict.fromkeys(choices.risk.aggregates)
        ]
    if choices.known_frauds is not None:
        found += [
            KnownFraudFeature(entity, choices.known_frauds.window_days, delay_days, aspect)
            for aspect in dict.fromkeys(choices.known_frauds.aspects)
        ]
    return found


@dataclass(frozen=True)
class FeatureSet:
    """The features of a profile, in the order of their columns; hashable.

    >>> from fraud_assets.transactions.profile import load_profile
    >>> FeatureSet.from_profile(load_profile("cards")).names[:4]
    ('amount', 'is_weekend', 'is_night', 'payer_count_1d')
    """

    definitions: tuple[FeatureDefinition, ...]

    @classmethod
    def from_profile(cls, profile: Profile) -> FeatureSet:
        """The declarations that a profile asks for.

        Raises:
            FeatureNameError: an extra column has the name of a generated feature.
        """
        choices, delay = profile.features, profile.label_delay_days
        found: list[FeatureDefinition] = [AmountFeature()] if choices.amount else []
        found += [CalendarFeature(part) for part in dict.fromkeys(choices.calendar)]
        found += _entity_features("payer", choices.payer, delay)
        found += _entity_features("payee", choices.payee, delay)
        if choices.new_pair:
            found.append(NewPairFeature(choices.new_pair_window_days))
        found += [NumericFeature(extra.name) for extra in profile.numeric if extra.feature]
        if choices.kind and profile.columns.kind is not None:
            found.append(KindFeature())
        found += [CategoricalFeature(extra.name) for extra in profile.categorical if extra.feature]
        names = [definition.name for definition in found]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise FeatureNameError(
                f"profile '{profile.name}': extra columns {', '.join(twice)} have the names of "
                "generated features: rename them in `numeric` or `categorical`"
            )
        return cls(tuple(found))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Columns of the features, in order."""
        return tuple(definition.name for definition in self.definitions)

    @cached_property
    def numeric_names(self) -> tuple[str, ...]:
        """Columns with numbers, in order."""
        return tuple(d.name for d in self.definitions if not d.is_categorical)

    @cached_property
    def categorical_names(self) -> tuple[str, ...]:
        """Columns with text, in order."""
        return tuple(d.name for d in self.definitions if d.is_categorical)

    @cached_property
    def lookback_days(self) -> int:
        """Days of transactions needed before the first day computed."""
        return max((d.lookback_days for d in self.definitions), default=0)

    @cached_property
    def label_lookback_days(self) -> int:
        """Days of labels (by the day known) needed before the first day computed; 0: no labels."""
        return max((d.label_lookback_days for d in self.definitions), default=0)

    @cached_property
    def required_columns(self) -> tuple[str, ...]:
        """Columns of the canonical transactions that a computation reads, output ones included."""
        own = (TRANSACTION_ID, EVENT_TIME, EVENT_ORDER, PAYER, AMOUNT)
        needed = (column for d in self.definitions for column in d.required_columns)
        return tuple(dict.fromkeys((*own, *needed)))

    def describe(self, name: str) -> str:
        """The description of one feature; KeyError if there is no such feature."""
        return {d.name: d.description for d in self.definitions}[name]
