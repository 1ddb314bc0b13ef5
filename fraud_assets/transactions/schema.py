"""The rules that a canonical transaction keeps, made from the profile.

Each rule is written once, as a Polars expression with a readable name. The Pandera schema is
built of them, and `validation` uses the same expressions to say which row broke which rule.
How values are read is the business of `canonical`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import polars as pl

from fraud_assets.transactions import columns as c
from fraud_assets.transactions.canonical import canonical_schema
from fraud_assets.transactions.profile import Profile

if TYPE_CHECKING:
    import pandera.polars as pa

MAX_TEXT_BYTES: Final = 256
"""Longest id or category: anything longer is a misread file, not a name."""

_EXAMPLES: Final = 10


@dataclass(frozen=True)
class Rule:
    """A condition on the values of a column.

    `holds` is true or null where a row keeps it; `name` says what a row that breaks it is, such
    as "amount: below 0".
    """

    column: str
    name: str
    holds: pl.Expr


def required_columns(profile: Profile) -> list[str]:
    """Canonical columns that may not be null.

    A mapped payee may be missing: cash has none, and merchants are often undisclosed.
    """
    roles = profile.columns
    required = [c.TRANSACTION_ID, c.EVENT_TIME, c.AMOUNT]
    required += [c.PAYER] if roles.payer else []
    required += [c.KIND] if roles.kind else []
    required += [number.name for number in profile.numeric if not number.nullable]
    return required + [category.name for category in profile.categorical if not category.nullable]


def transaction_rules(profile: Profile, day: date) -> list[Rule]:
    """Every rule about values, nullability apart, in the order of the columns."""
    roles = profile.columns
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    time = pl.col(c.EVENT_TIME)
    rules = [
        *_text_rules(c.TRANSACTION_ID),
        Rule(
            c.EVENT_TIME,
            f"{c.EVENT_TIME}: outside {day.isoformat()}",
            time.is_between(midnight, midnight + timedelta(days=1), closed="left"),
        ),
        *_number_rules(c.AMOUNT, roles.amount.minimum, roles.amount.maximum),
    ]
    if roles.payer:
        rules += _text_rules(c.PAYER)
    if roles.payee:
        rules += _text_rules(c.PAYEE)
    if roles.kind:
        rules += _text_rules(c.KIND, roles.kind.allowed)
    for number in profile.numeric:
        rules += _number_rules(number.name, number.minimum, number.maximum)
    for category in profile.categorical:
        rules += _text_rules(category.name, category.allowed)
    if roles.label:
        known_at = pl.col(c.SOURCE_LABEL_KNOWN_AT)
        rules += [
            Rule(
                c.SOURCE_LABEL,
                f"{c.SOURCE_LABEL}: neither 0 nor 1",
                pl.col(c.SOURCE_LABEL).is_in([0, 1]),
            ),
            Rule(
                c.SOURCE_LABEL_KNOWN_AT,
                f"{c.SOURCE_LABEL_KNOWN_AT}: before the transaction",
                known_at >= time,
            ),
        ]
        if roles.label.scenario:
            rules += _text_rules(c.SOURCE_SCENARIO)
    return rules


def transaction_schema(profile: Profile, day: date) -> pa.DataFrameSchema:
    """The Pandera schema of a day's canonical transactions.

    It holds for the validated frame; before the rows are ordered, `event_order_us` may be
    absent and `source_row` present. Validate eager frames: on a lazy frame Pandera looks at the
    types only, and bad values pass in silence.
    """
    import pandera.polars as pa

    def check(rule: Rule) -> pa.Check:
        return pa.Check(
            lambda data: data.lazyframe.select(rule.holds.alias(rule.column)),
            name=rule.name,
            error=rule.name,
            # Every failing row as an example would take minutes on a bad file.
            n_failure_cases=_EXAMPLES,
        )

    order = pl.col(c.EVENT_ORDER)
    rules = [
        *transaction_rules(profile, day),
        Rule(c.EVENT_ORDER, f"{c.EVENT_ORDER}: not strictly increasing", order.diff() > 0),
    ]
    required = {*required_columns(profile), c.EVENT_ORDER}
    return pa.DataFrameSchema(
        {
            name: pa.Column(
                dtype,
                [check(rule) for rule in rules if rule.column == name],
                nullable=name not in required,
                required=name != c.EVENT_ORDER,
            )
            for name, dtype in canonical_schema(profile).items()
        },
        name=f"transactions of {profile.name} on {day.isoformat()}",
    )


def _number_rules(name: str, minimum: float | None, maximum: float | None) -> list[Rule]:
    value = pl.col(name)
    rules = [Rule(name, f"{name}: not finite", value.is_finite())]
    # Infinity and NaN are told once, as such.
    if minimum is not None:
        low = (value >= minimum) | ~value.is_finite()
        rules.append(Rule(name, f"{name}: below {_plain(minimum)}", low))
    if maximum is not None:
        high = (value <= maximum) | ~value.is_finite()
        rules.append(Rule(name, f"{name}: above {_plain(maximum)}", high))
    return rules


def _text_rules(name: str, allowed: list[str] | None = None) -> list[Rule]:
    value = pl.col(name)
    if allowed is not None:
        # The reader writes whole numbers without a fraction; so must the list.
        values = [re.sub(r"^(-?\d+)\.0$", r"\1", text.strip()) for text in allowed]
        return [Rule(name, f"{name}: not one of {', '.join(values)}", value.is_in(values))]
    return [
        Rule(
            name,
            f"{name}: longer than {MAX_TEXT_BYTES} bytes",
            value.str.len_bytes() <= MAX_TEXT_BYTES,
        ),
        # PostgreSQL refuses such a text, and with it the whole day.
        Rule(
            name,
            f"{name}: contains a NUL character",
            ~value.str.contains("\x00", literal=True),
        ),
    ]


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)
