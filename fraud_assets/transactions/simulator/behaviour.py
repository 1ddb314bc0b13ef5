"""What customers ordinarily do in a day: when, what, to whom and how much.

Legitimate behaviour only, including what looks suspicious and is not: large purchases, payees
never seen before, bursts of small payments. Frauds start from an ordinary transaction too, and
`scenarios` says what the fraudster changes about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraud_assets.transactions.simulator.config import KindMix, SimulatorConfig
from fraud_assets.transactions.simulator.population import (
    FAVOURITES,
    GROUP_OF_KIND,
    MERCHANT,
    PAYMENT,
    Floats,
    Ints,
    Population,
)

DAY_US: Final = 86_400_000_000
HOURLY_WEIGHTS: Final = np.array(
    [8, 5, 4, 3, 4, 7, 14, 26, 40, 52, 60, 64, 66, 62, 58, 57, 60, 66, 70, 66, 54, 40, 26, 14],
    dtype=np.float64,
)
"""Relative volume of each hour of the day: quiet nights, a midday and an evening peak."""

WEEKEND_VOLUME: Final = 0.95
"""Small on purpose: a weekend must not look like drift."""

KIND_AMOUNT: Final = np.array([1.7, 1.6, 0.9, 1.0, 2.2])
"""Amount of each kind relative to the customer's payments, in the order of `KINDS`."""

LARGE_PURCHASES: Final = 0.012
BURSTS: Final = 0.0016
"""Share of legitimate transactions that open a burst of further ones within minutes."""

MAX_AMOUNT: Final = 1_000_000.0


@dataclass(frozen=True)
class Draft:
    """Transactions of a day before they are sorted and named; arrays of one length.

    `time_us` counts from midnight, `kind` indexes `KINDS`, `payer` and `payee` the population,
    `amount` is in the main unit and not yet rounded.
    """

    time_us: Ints
    payer: Ints
    payee: Ints
    kind: Ints
    amount: Floats

    def __len__(self) -> int:
        return self.time_us.size

    def take(self, rows: Ints) -> Draft:
        """The given rows, in the given order."""
        return Draft(
            time_us=self.time_us[rows],
            payer=self.payer[rows],
            payee=self.payee[rows],
            kind=self.kind[rows],
            amount=self.amount[rows],
        )


def legitimate_day(
    config: SimulatorConfig,
    population: Population,
    rng: np.random.Generator,
    index: int,
    day: date,
) -> Draft:
    """All legitimate transactions of a day, in no particular order."""
    volume = config.transactions_per_day * (WEEKEND_VOLUME if day.weekday() >= 5 else 1.0)
    rate = population.activity * volume
    adopters = adopted(config, population, index)
    if config.shift is not None and adopters.any():
        rate = np.where(adopters, rate * config.shift.activity_factor, rate)
    payers = np.repeat(np.arange(population.customers), rng.poisson(rate))
    draft = ordinary(config, population, rng, index, payers)
    large = rng.random(len(draft)) < LARGE_PURCHASES
    factor = np.where(large, rng.lognormal(np.log(4.0), 0.5, len(draft)), 1.0)
    unusual = large & (rng.random(len(draft)) < 0.5)
    payee = np.where(unusual, _popular_payees(population, rng, draft.kind), draft.payee)
    draft = Draft(draft.time_us, draft.payer, payee, draft.kind, draft.amount * factor)
    return concatenate([draft, _bursts(population, rng, draft)])


def ordinary(
    config: SimulatorConfig,
    population: Population,
    rng: np.random.Generator,
    index: int,
    payers: Ints,
) -> Draft:
    """One ordinary transaction of each of `payers`, in their order."""
    size = payers.size
    adopters = adopted(config, population, index)[payers]
    kind = _draw(config.kind_mix, rng.random(size))
    loyalty = population.loyalty[payers]
    if config.shift is not None and adopters.any():
        kind = np.where(adopters, _draw(config.shift.kind_mix, rng.random(size)), kind)
        loyalty = np.where(adopters, loyalty * (1.0 - config.shift.new_payee_share), loyalty)
    payee = _popular_payees(population, rng, kind)
    habitual = rng.random(size) < loyalty
    # Squaring a uniform draw makes the first favourites the dearest.
    position = rng.random(size) ** 2
    for group, count in enumerate(FAVOURITES):
        rows = np.flatnonzero(habitual & (GROUP_OF_KIND[kind] == group))
        chosen = (position[rows] * count).astype(np.int64)
        payee[rows] = population.favourites[group][payers[rows], chosen]
    logs = population.log_amount[payers] + population.spread[payers] * rng.standard_normal(size)
    amount = np.exp(logs) * KIND_AMOUNT[kind] * population.price_level[payee]
    if config.shift is not None and adopters.any():
        amount = np.where(adopters, amount * config.shift.amount_factor, amount)
    time_us = (times_of_day(rng, size) + population.chronotype_us[payers]) % DAY_US
    return Draft(time_us, payers, payee, kind, amount)


def adopted(config: SimulatorConfig, population: Population, index: int) -> NDArray[np.bool_]:
    """Which customers use the new channel on a day; shape (customers,)."""
    share = config.shift.adopted_share(index) if config.shift is not None else 0.0
    users: NDArray[np.bool_] = population.adoption < share
    return users


def times_of_day(rng: np.random.Generator, size: int) -> Ints:
    """Microseconds after midnight, drawn from the hour-of-day profile."""
    cumulative = np.concatenate(([0.0], np.cumsum(HOURLY_WEIGHTS) / HOURLY_WEIGHTS.sum()))
    hours = np.interp(rng.random(size), cumulative, np.arange(25.0))
    drawn: Ints = np.minimum((hours * 3_600e6).astype(np.int64), DAY_US - 1)
    return drawn


def inside_day(time_us: Ints) -> Ints:
    """Fold times that ran past midnight back into the day, without piling them up at its end."""
    return np.where(time_us >= DAY_US, 2 * (DAY_US - 1) - time_us, time_us)


def concatenate(drafts: list[Draft]) -> Draft:
    """The rows of several drafts, one after another."""
    return Draft(
        time_us=np.concatenate([draft.time_us for draft in drafts]),
        payer=np.concatenate([draft.payer for draft in drafts]),
        payee=np.concatenate([draft.payee for draft in drafts]),
        kind=np.concatenate([draft.kind for draft in drafts]),
        amount=np.concatenate([draft.amount for draft in drafts]),
    )


def _bursts(population: Population, rng: np.random.Generator, draft: Draft) -> Draft:
    """Legitimate bursts of small payments: games, parking, tips; the look-alike of testing."""
    opening = np.flatnonzero(rng.random(len(draft)) < BURSTS)
    length = rng.integers(2, 8, opening.size)
    rows = np.repeat(opening, length)
    gaps = rng.exponential(60e6, rows.size).astype(np.int64) + 1_000_000
    within = np.arange(rows.size) - np.repeat(np.cumsum(length) - length, length)
    base = np.exp(population.log_amount[draft.payer[rows]])
    level = np.repeat(rng.lognormal(np.log(0.18), 0.9, opening.size), length)
    amount = base * level * rng.lognormal(0.0, 0.4, rows.size)
    return Draft(
        time_us=inside_day(draft.time_us[rows] + gaps * (within + 1)),
        payer=draft.payer[rows],
        payee=population.draw_payees(rng, MERCHANT, rows.size),
        kind=np.full(rows.size, PAYMENT),
        amount=amount,
    )


def _popular_payees(population: Population, rng: np.random.Generator, kind: Ints) -> Ints:
    payee = np.empty(kind.size, dtype=np.int64)
    for group in range(len(FAVOURITES)):
        rows = np.flatnonzero(GROUP_OF_KIND[kind] == group)
        payee[rows] = population.draw_payees(rng, group, rows.size)
    return payee


def _draw(mix: KindMix, uniform: Floats) -> Ints:
    shares = np.array([mix.cash_in, mix.cash_out, mix.debit, mix.payment, mix.transfer])
    limits = np.cumsum(shares)[:-1]
    return np.searchsorted(limits, uniform, side="right").astype(np.int64)
