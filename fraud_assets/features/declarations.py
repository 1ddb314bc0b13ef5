"""Declarations of features: what each means, independent of the engine that computes it.

A declaration is plain data. `expressions` compiles declarations to Ibis for batch; an online
state can be compiled from the same objects. No computation belongs here. What windows and sums
mean to the bit is said in `semantics`; which declarations a profile asks for, in `definitions`.
"""
# ruff: noqa: D102 - the properties are documented once, at `Declaration`

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fraud_assets.transactions.columns import AMOUNT, EVENT_ORDER, EVENT_TIME, KIND, PAYEE, PAYER
from fraud_assets.transactions.profile import Aggregate, KnownFraudAspect

Entity = Literal["payer", "payee"]
CalendarName = Literal["hour", "is_night", "is_weekend"]

ENTITY_COLUMN: dict[Entity, str] = {"payer": PAYER, "payee": PAYEE}


def _days(count: int) -> str:
    return "day" if count == 1 else f"{count} days"


@dataclass(frozen=True)
class Declaration:
    """What all features share. `name` is the column; `description` a sentence for an analyst."""

    @property
    def name(self) -> str:
        """Name of the feature's column."""
        raise NotImplementedError

    @property
    def description(self) -> str:
        """What the feature tells, in one sentence an analyst understands."""
        raise NotImplementedError

    @property
    def is_categorical(self) -> bool:
        """Whether the values are text rather than numbers."""
        return False

    @property
    def lookback_days(self) -> int:
        """Days of earlier transactions that the feature reads."""
        return 0

    @property
    def label_lookback_days(self) -> int:
        """Days of earlier labels, by the day they became known, that the feature reads."""
        return 0

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Columns of the canonical transactions that the feature reads."""
        return ()


@dataclass(frozen=True)
class AmountFeature(Declaration):
    """The amount itself, in the currency's unit."""

    @property
    def name(self) -> str:
        return AMOUNT

    @property
    def description(self) -> str:
        return "Amount of the transaction."

    @property
    def required_columns(self) -> tuple[str, ...]:
        return (AMOUNT,)


@dataclass(frozen=True)
class CalendarFeature(Declaration):
    """A part of the event time, in UTC; flags are 1 or 0."""

    part: CalendarName

    @property
    def name(self) -> str:
        return self.part

    @property
    def description(self) -> str:
        return {
            "hour": "Hour of the day of the transaction, UTC, 0 to 23.",
            "is_night": "Whether the transaction happened at night, from 0:00 to 6:59 UTC.",
            "is_weekend": "Whether the transaction happened on a Saturday or Sunday (UTC).",
        }[self.part]

    @property
    def required_columns(self) -> tuple[str, ...]:
        return (EVENT_TIME,)


@dataclass(frozen=True)
class KindFeature(Declaration):
    """The transaction's kind, as text."""

    @property
    def name(self) -> str:
        return KIND

    @property
    def description(self) -> str:
        return "Kind of the transaction."

    @property
    def is_categorical(self) -> bool:
        return True

    @property
    def required_columns(self) -> tuple[str, ...]:
        return (KIND,)


@dataclass(frozen=True)
class CategoricalFeature(Declaration):
    """An extra category of the profile, passed through as text."""

    column: str

    @property
    def name(self) -> str:
        return self.column

    @property
    def description(self) -> str:
        return f"The transaction's {self.column.replace('_', ' ')}, as delivered."

    @property
    def is_categorical(self) -> bool:
        return True

    @property
    def required_columns(self) -> tuple[str, ...]:
        return (self.column,)


@dataclass(frozen=True)
class NumericFeature(Declaration):
    """An extra number of the profile, passed through."""

    column: str

    @property
    def name(self) -> str:
        return self.column

    @property
    def description(self) -> str:
        return f"The transaction's {self.column.replace('_', ' ')}, as delivered."

    @property
    def required_columns(self) -> tuple[str, ...]:
        return (self.column,)


@dataclass(frozen=True)
class EntityHistory(Declaration):
    """A feature over one entity's own transactions in a window that ends with this one."""

    entity: Entity
    window_days: int

    @property
    def lookback_days(self) -> int:
        return self.window_days

    @property
    def required_columns(self) -> tuple[str, ...]:
        return (EVENT_ORDER, AMOUNT, ENTITY_COLUMN[self.entity])


@dataclass(frozen=True)
class VelocityFeature(EntityHistory):
    """Count, sum, mean or maximum amount of the window, this transaction included."""

    aggregate: Aggregate

    @property
    def name(self) -> str:
        suffix = "" if self.aggregate == "count" else "_amount"
        return f"{self.entity}_{self.aggregate}{suffix}_{self.window_days}d"

    @property
    def description(self) -> str:
        what = {
            "count": "Number of transactions",
            "sum": "Sum of the amounts",
            "mean": "Mean amount",
            "max": "Largest amount",
        }[self.aggregate]
        return f"{what} of the {self.entity} in the last {_days(self.window_days)}, this included."


@dataclass(frozen=True)
class RecencyFeature(EntityHistory):
    """Seconds since the entity's previous transaction; null if the window holds none."""

    @property
    def name(self) -> str:
        return f"{self.entity}_seconds_since_last"

    @property
    def description(self) -> str:
        return (
            f"Seconds since the {self.entity}'s previous transaction; missing if there was none "
            f"in the last {_days(self.window_days)}."
        )


@dataclass(frozen=True)
class AmountRatioFeature(EntityHistory):
    """This amount over the entity's mean amount of the window, this transaction included.

    Included, so that an entity's first transaction has the ratio 1 instead of none. Null if the
    mean is 0.
    """

    @property
    def name(self) -> str:
        return f"{self.entity}_amount_ratio"

    @property
    def description(self) -> str:
        return (
            f"Amount relative to the {self.entity}'s mean amount in the last "
            f"{_days(self.window_days)}, this included."
        )


@dataclass(frozen=True)
class NewPairFeature(Declaration):
    """1 if the payer did not pay this payee earlier in the window, else 0."""

    window_days: int

    @property
    def name(self) -> str:
        return "is_new_payee"

    @property
    def description(self) -> str:
        return f"Whether the payer had not paid this payee in the last {_days(self.window_days)}."

    @property
    def lookback_days(self) -> int:
        return self.window_days

    @property
    def required_columns(self) -> tuple[str, ...]:
        return (EVENT_ORDER, PAYER, PAYEE)


@dataclass(frozen=True)
class LabelHistory(Declaration):
    """A feature over an entity's labels that became usable in a window that ends at the row.

    A label becomes usable at the later of `event_time + delay_days` and the moment it was known.
    Each label row is one event: a transaction that was labelled twice counts twice.
    """

    entity: Entity
    window_days: int
    delay_days: int

    @property
    def label_lookback_days(self) -> int:
        # A label known at once is filed under its own day, and used only after the delay.
        return self.window_days + self.delay_days

    @property
    def required_columns(self) -> tuple[str, ...]:
        return (EVENT_ORDER, ENTITY_COLUMN[self.entity])


@dataclass(frozen=True)
class DelayedRiskFeature(LabelHistory):
    """Share of frauds among the entity's labels that became usable in the window, or their number.

    The risk is 0 when there is no label. With a constant delay this is
    `get_count_risk_rolling_window` of the Fraud Detection Handbook, chapter 3:
    `NB_TX_DELAY_WINDOW - NB_TX_DELAY`.
    """

    aggregate: Literal["risk", "labelled_count"]

    @property
    def name(self) -> str:
        return f"{self.entity}_{self.aggregate}_{self.window_days}d"

    @property
    def description(self) -> str:
        labels = (
            f"the {self.entity}'s transactions whose label became usable in the last "
            f"{_days(self.window_days)} (at least {_days(self.delay_days)} after the transaction)"
        )
        return {
            "risk": f"Share of frauds among {labels}.",
            "labelled_count": f"Number of {labels}.",
        }[self.aggregate]


@dataclass(frozen=True)
class KnownFraudFeature(LabelHistory):
    """One aspect of the entity's frauds that became usable in the window; null without any.

    `last_label` is 1 if the latest label is a fraud and 0 if it is not, null without labels; of
    labels of the same moment a fraud wins. Times are in seconds since the label became usable,
    amounts in the currency's unit.
    """

    aspect: KnownFraudAspect

    @property
    def name(self) -> str:
        suffix = {
            "last_label": "last_label",
            "last_fraud": "seconds_since_known_fraud",
            "first_fraud": "seconds_since_first_known_fraud",
            "smallest_fraud": "smallest_known_fraud",
        }[self.aspect]
        return f"{self.entity}_{suffix}"

    @property
    def description(self) -> str:
        window = f"the last {_days(self.window_days)}"
        return {
            "last_label": f"Whether the latest known label of the {self.entity} is a fraud; "
            f"missing if none became usable in {window}.",
            "last_fraud": f"Seconds since a fraud of the {self.entity} last became known; missing "
            f"if none did in {window}.",
            "first_fraud": f"Seconds since the first of the {self.entity}'s frauds of {window} "
            "became known; missing if none did.",
            "smallest_fraud": f"Smallest amount among the {self.entity}'s frauds that became known "
            f"in {window}; missing if none did.",
        }[self.aspect]


FeatureDefinition = (
    AmountFeature
    | CalendarFeature
    | KindFeature
    | CategoricalFeature
    | NumericFeature
    | VelocityFeature
    | RecencyFeature
    | AmountRatioFeature
    | NewPairFeature
    | DelayedRiskFeature
    | KnownFraudFeature
)
