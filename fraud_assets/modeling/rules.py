"""Rules for the days on which there is no model, or its predictions may not be used.

Every number is a constant of the rule set: nothing is computed over the day that is scored, so one
transaction's score does not depend on the others. The rules use whatever features are there. They
are a fallback, never a challenger.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeVar

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from fraud_assets.modeling.encoding import MissingFeaturesError
from fraud_assets.modeling.explain import sentence
from fraud_assets.modeling.scoring import decided
from fraud_assets.transactions.columns import AMOUNT, SCORE

Weight = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
_Number = TypeVar("_Number", float, pl.Expr)

BASE: Final = 0.001
AMOUNT_SHARE: Final = 0.01
"""How far the amount moves the score within the rows on which the same rules fired."""


@dataclass(frozen=True)
class _Rule:
    """`column`, or its ratio to the column `over`, at or above `limit`; told as `name`.

    Null and NaN fire nothing. `value` reads a frame and `of` one transaction.
    """

    name: str
    column: str
    limit: float
    over: str | None = None

    @property
    def value(self) -> pl.Expr:
        value = pl.col(self.column).cast(pl.Float64)
        if self.over is not None:
            value = pl.when(pl.col(self.over) > 0).then(value / pl.col(self.over))
        return value.fill_nan(None)

    @property
    def fires(self) -> pl.Expr:
        return (self.value >= self.limit).fill_null(value=False)

    def of(self, row: Mapping[str, float | None]) -> float | None:
        value = row[self.column]
        if value is not None and self.over is not None:
            over = row[self.over]
            value = value / over if over is not None and over > 0 else None
        return None if value is None or value != value else value  # noqa: PLR0124  NaN


@dataclass(frozen=True)
class _Family:
    """Rules of which one is enough, such as one feature over several windows."""

    weight: float
    rules: tuple[_Rule, ...]


class RuleSet(BaseModel):
    """Fixed rules whose weights add up as independent evidence does, 1 - Π(1 - weight).

    The larger amount ranks first where the same rules fired. A feature over several windows counts
    once. Scores rank and decide; they are not calibrated.

    `high_amount` is off until it is set: no amount is high in every currency.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal["rules-1"] = "rules-1"
    threshold: Annotated[float, Field(gt=0.05, lt=1)] = 0.4

    high_amount: Positive | None = None
    high_amount_weight: Weight = 0.45
    amount_ratio: Positive = 4.0
    """Over a mean that includes the transaction itself: below the number of transactions."""

    amount_ratio_weight: Weight = 0.3
    fraud_rate: Positive = 0.5
    """One half: a tenth gave 286 alerts a day instead of 104 on a week of the Handbook's data, and
    caught 5 % more of the frauds."""

    fraud_rate_weight: Weight = 0.5
    new_payee_weight: Weight = 0.2
    transactions_per_day: Positive = 10.0
    transactions_per_day_weight: Weight = 0.2
    night_weight: Weight = 0.05
    amount_scale: Positive = 1_000.0

    @property
    def model_hash(self) -> str:
        """SHA-256 of every parameter, in hexadecimal."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def score(self, features: pl.DataFrame) -> pl.DataFrame:
        """`score` in (0, 1), `decision` ("alert" or "pass") and `threshold` per row.

        Raises:
            MissingFeaturesError: the frame lacks `amount`; any other feature may be absent.
        """
        if AMOUNT not in features.columns:
            raise MissingFeaturesError("the rules need the column 'amount'")
        passes = pl.lit(1.0 - BASE)
        for family in self._families(features.columns):
            fired = pl.any_horizontal(rule.fires for rule in family.rules)
            passes = passes * pl.when(fired).then(1.0 - family.weight).otherwise(1.0)
        amount = pl.col(AMOUNT).cast(pl.Float64).fill_nan(None).fill_null(0.0)
        passes = self._with_amount(passes, amount.clip(lower_bound=0.0))
        score = features.select((1.0 - passes).cast(pl.Float64).alias(SCORE)).to_series()
        return decided(score.to_numpy(), self.threshold)

    def reasons(self, features: pl.DataFrame, k: int = 3) -> list[list[str]]:
        """For each row, the rules that fired, the heaviest first, at most `k` of them."""
        found: list[list[str]] = [[] for _ in range(features.height)]
        for family in sorted(self._families(features.columns), key=lambda one: -one.weight):
            told: set[int] = set()
            for rule in family.rules:
                fired = features.select(rule.fires).to_series().arg_true().to_list()
                values = features.select(rule.value).to_series()
                for row in fired:
                    if row not in told and len(found[row]) < k:
                        found[row].append(sentence(rule.name, values[row]))
                    told.add(row)
        return found

    def on_rows(self, columns: Sequence[str]) -> RowRules:
        """The same rules for single transactions that have the features `columns`.

        Raises:
            MissingFeaturesError: `amount` is not among them.
        """
        if AMOUNT not in columns:
            raise MissingFeaturesError("the rules need the column 'amount'")
        return RowRules(self, tuple(self._families(columns)))

    def importance(self, columns: Sequence[str]) -> dict[str, float]:
        """Each feature's share of the weight of the rules, the largest first; they sum to 1.

        The weight of a family is shared among its rules, and that of a rule among the columns that
        it reads. This is what could be lost with a feature, and is told without any rows, unlike
        `FraudModel.importance`. Empty where no rule can be applied.

        Args:
            columns: the features that there are; those that no rule reads are left out.
        """
        shares: dict[str, float] = {}
        for family in self._families(columns):
            for rule in family.rules:
                reads = set(rule.value.meta.root_names())
                for name in reads:
                    share = family.weight / len(family.rules) / len(reads)
                    shares[name] = shares.get(name, 0.0) + share
        total = sum(shares.values())
        if not total > 0:
            return {}
        return {
            name: share / total
            for name, share in sorted(shares.items(), key=lambda one: (-one[1], one[0]))
        }

    def _with_amount(self, passes: _Number, amount: _Number) -> _Number:
        return passes * (1.0 - AMOUNT_SHARE * amount / (amount + self.amount_scale))

    def _families(self, columns: Sequence[str]) -> list[_Family]:
        families = [
            (r"amount", self.high_amount, self.high_amount_weight),
            (r"payer_amount_ratio", self.amount_ratio, self.amount_ratio_weight),
            (r"(payer|payee)_risk_\d+d", self.fraud_rate, self.fraud_rate_weight),
            (r"is_new_payee", 1.0, self.new_payee_weight),
            (r"payer_count_1d", self.transactions_per_day, self.transactions_per_day_weight),
            (r"is_night", 1.0, self.night_weight),
        ]
        found = []
        for pattern, limit, weight in families:
            if limit is not None:
                rules = tuple(
                    _Rule(name, name, limit) for name in columns if re.fullmatch(pattern, name)
                )
                found.append(_Family(weight, rules))
        if "payer_amount_ratio" not in columns:
            # The Handbook's features hold the mean and not the ratio.
            rules = tuple(
                _Rule("payer_amount_ratio", AMOUNT, self.amount_ratio, over=name)
                for name in columns
                if re.fullmatch(r"payer_mean_amount_\d+d", name)
            )
            found.append(_Family(self.amount_ratio_weight, rules))
        return [family for family in found if family.rules]


@dataclass(frozen=True)
class RowRules:
    """A rule set on the plain values of one transaction; `RuleSet.on_rows` makes it.

    The families and the numbers are the rule set's own, and so are the scores to the last bit: a
    frame for one row takes a millisecond.
    """

    rules: RuleSet
    families: tuple[_Family, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The features that are read, each once; `amount` is the first."""
        read = [AMOUNT]
        for family in self.families:
            for rule in family.rules:
                read += [rule.column] if rule.over is None else [rule.column, rule.over]
        return tuple(dict.fromkeys(read))

    def score(self, row: Mapping[str, float | None]) -> float:
        """The score of a row with all of `columns`; see `RuleSet.score`."""
        passes = 1.0 - BASE
        for family in self.families:
            for rule in family.rules:
                value = rule.of(row)
                if value is not None and value >= rule.limit:
                    passes *= 1.0 - family.weight
                    break
        amount = row[AMOUNT]
        known = amount if amount is not None and amount > 0.0 else 0.0
        return 1.0 - self.rules._with_amount(passes, known)  # noqa: SLF001  the same module

    def reasons(self, row: Mapping[str, float | None], k: int = 3) -> list[str]:
        """The rules that fired on a row with all of `columns`; see `RuleSet.reasons`."""
        found: list[str] = []
        for family in sorted(self.families, key=lambda one: -one.weight):
            for rule in family.rules:
                value = rule.of(row)
                if value is not None and value >= rule.limit:
                    found.append(sentence(rule.name, value))
                    break
        return found[:k]
