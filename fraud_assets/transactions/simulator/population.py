"""Who transacts: returning customers with habits, and the payees that they pay.

Only what stays the same from day to day belongs here; what happens on a day is in `behaviour`
and `scenarios`. The population depends on the seed and the sizes alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_assets.transactions.simulator.config import SimulatorConfig

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

KINDS: Final = ("CASH_IN", "CASH_OUT", "DEBIT", "PAYMENT", "TRANSFER")
CASH_IN, CASH_OUT, DEBIT, PAYMENT, TRANSFER = range(5)

MERCHANT, AGENT, ACCOUNT, BANK = range(4)
PAYEE_SHARES: Final = (0.58, 0.10, 0.30, 0.02)
"""Shares of merchants, cash agents, other people's accounts and banks among the payees."""

GROUP_OF_KIND: Final = np.array([AGENT, AGENT, BANK, MERCHANT, ACCOUNT])
FAVOURITES: Final = (6, 2, 4, 1)
"""How many habitual payees of each group a customer has."""

POPULATION_STREAM: Final = 0
"""First element of the seeds' spawn key, so that no two uses of the seed share a stream."""


@dataclass(frozen=True)
class Population:
    """Customers (index 0..customers-1) and payees, grouped by what they are.

    `payee_start[g]:payee_start[g + 1]` are the payees of group g. `favourites[g]` has shape
    (customers, FAVOURITES[g]) and holds payee indices, the dearest first.
    """

    payer_names: pl.Series
    payee_names: pl.Series
    payee_start: Ints
    popularity: tuple[Floats, ...]
    price_level: Floats
    log_amount: Floats
    spread: Floats
    activity: Floats
    loyalty: Floats
    chronotype_us: Ints
    wealth: Floats
    adoption: Floats
    favourites: tuple[NDArray[np.int32], ...]

    @property
    def customers(self) -> int:
        """Number of payers."""
        return self.activity.size

    def draw_payees(self, rng: np.random.Generator, group: int, size: int) -> Ints:
        """Draw payees of a group by popularity; returns `size` payee indices."""
        cumulative = self.popularity[group]
        found = np.searchsorted(cumulative, rng.random(size), side="right")
        drawn: Ints = found.astype(np.int64) + self.payee_start[group]
        return drawn

    def draw_any_payees(self, rng: np.random.Generator, group: int, size: int) -> Ints:
        """Draw payees of a group whatever their popularity; returns `size` payee indices."""
        return rng.integers(self.payee_start[group], self.payee_start[group + 1], size)


def build_population(config: SimulatorConfig) -> Population:
    """Draw the population: O(customers + payees) memory, deterministic in seed and sizes.

    Amounts, activity and popularity are log-normal or gamma, as spending usually is; the numbers
    are chosen so that one customer's large purchase is another's ordinary one.
    """
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, POPULATION_STREAM]))
    customers, payees = config.customer_count, config.payee_count
    sizes = np.maximum(1, np.round(np.array(PAYEE_SHARES) * payees).astype(np.int64))
    sizes[MERCHANT] += payees - sizes.sum()
    start = np.concatenate(([0], np.cumsum(sizes)))
    popularity = tuple(_cumulative(rng.lognormal(0.0, 0.9, size)) for size in sizes)
    activity = rng.gamma(2.0, 0.5, customers) + 0.05
    without_habits = Population(
        payer_names=_names("C", 1_000_000_000, customers),
        payee_names=pl.concat(
            [
                _names("M", 1_000_000_000, int(sizes[MERCHANT])),
                _names("C", 5_000_000_000, int(sizes[AGENT:].sum())),
            ]
        ),
        payee_start=start,
        popularity=popularity,
        price_level=rng.lognormal(0.0, 0.3, int(start[-1])),
        log_amount=rng.normal(np.log(45.0), 0.55, customers),
        spread=rng.uniform(0.35, 0.8, customers),
        activity=activity / activity.sum(),
        loyalty=rng.beta(8.0, 2.5, customers),
        chronotype_us=np.round(rng.normal(0.0, 1.5, customers) * 3_600e6).astype(np.int64),
        wealth=rng.lognormal(6.5, 1.0, customers),
        adoption=rng.random(customers),
        favourites=(),
    )
    favourites = tuple(
        without_habits.draw_payees(rng, group, customers * count)
        .reshape(customers, count)
        .astype(np.int32)
        for group, count in enumerate(FAVOURITES)
    )
    return replace(without_habits, favourites=favourites)


def _cumulative(weights: Floats) -> Floats:
    """Cumulative shares whose last element is exactly one, so that no draw falls outside."""
    cumulative = np.cumsum(weights)
    cumulative /= cumulative[-1]
    cumulative[-1] = 1.0
    return cumulative


def _names(prefix: str, first: int, count: int) -> pl.Series:
    numbers = pl.int_range(first, first + count, dtype=pl.Int64, eager=True)
    return (prefix + numbers.cast(pl.String)).alias("name")
