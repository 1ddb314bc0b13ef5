"""What fraudsters do: the four behaviours, and the episodes in which they act.

Only frauds belong here. A fraud starts as an ordinary transaction of its victim (`behaviour`)
and each behaviour changes some of it; a disguised fraud changes nothing that can be seen.
Episodes are a pure function of the configuration and the day: those that began on a day are
drawn from a stream of that day, so no day needs to be generated to know the next one's.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Final

import numpy as np

from fraud_assets.transactions.simulator.behaviour import (
    DAY_US,
    Draft,
    inside_day,
    ordinary,
)
from fraud_assets.transactions.simulator.config import FraudScenario, SimulatorConfig
from fraud_assets.transactions.simulator.population import (
    ACCOUNT,
    CASH_OUT,
    MERCHANT,
    PAYMENT,
    TRANSFER,
    Ints,
    Population,
)

EPISODE_STREAM: Final = 2
SCENARIO_STREAM: Final = 3
MIN_ACTIVE_EPISODES: Final = 3
_BEFORE_FIRST_DAY: Final = 1_000
"""Seeds are not negative, and the episodes of the first day began up to 90 days before it."""

_NOBODY: Final = np.empty(0, dtype=np.int64)


def scenario_day(
    config: SimulatorConfig,
    population: Population,
    scenario: FraudScenario,
    rng: np.random.Generator,
    index: int,
) -> Draft:
    """The frauds of a scenario on a day; an empty draft where it is not active."""
    strength = scenario.strength(index)
    targets = active_targets(config, population, scenario, index) if strength > 0 else _NOBODY
    counts = rng.poisson(_frauds_per_episode_day(config, scenario) * strength, targets.size)
    target = np.repeat(targets, counts)
    by_customer = scenario.kind in ("account_takeover", "card_testing")
    payers = target if by_customer else rng.integers(0, population.customers, target.size)
    base = ordinary(config, population, rng, index, payers)
    if scenario.kind == "account_takeover":
        changed = _take_over(population, scenario, rng, base)
    elif scenario.kind == "mule_payees":
        changed = _send_to_mules(scenario, rng, base, target)
    elif scenario.kind == "compromised_merchant":
        changed = _pay_merchants(scenario, rng, base, target)
    else:
        changed = _test_cards(population, scenario, rng, base, counts)
    disguised = rng.random(len(base)) < scenario.disguised_share
    return replace(
        base,
        time_us=np.where(disguised, base.time_us, changed.time_us),
        payee=np.where(disguised, base.payee, changed.payee),
        kind=np.where(disguised, base.kind, changed.kind),
        amount=np.where(disguised, base.amount, changed.amount),
    )


def scenario_stream(
    config: SimulatorConfig, scenario: FraudScenario, index: int
) -> np.random.Generator:
    """The random numbers of a scenario's day; by name, so that the list's order is free."""
    key = zlib.crc32(scenario.name.encode())
    return np.random.default_rng(np.random.SeedSequence([config.seed, SCENARIO_STREAM, key, index]))


def active_targets(
    config: SimulatorConfig, population: Population, scenario: FraudScenario, index: int
) -> Ints:
    """Customers or payees in the hands of a scenario on a day; indices into the population.

    New episodes begin at an even rate, not at random: their number is small, and the frauds of a
    day would swing with it.
    """
    longest = scenario.episode_days + scenario.episode_days // 2
    frauds = scenario.share * config.transactions_per_day
    if frauds == 0.0:
        return _NOBODY
    rate = frauds / (_frauds_per_episode_day(config, scenario) * scenario.episode_days)
    key = zlib.crc32(scenario.name.encode())
    offset = (key % 997) / 997
    found = []
    for start in range(index - longest + 1, index + 1):
        began = _BEFORE_FIRST_DAY + start
        count = int(np.floor((began + 1) * rate + offset) - np.floor(began * rate + offset))
        rng = np.random.default_rng(
            np.random.SeedSequence([config.seed, EPISODE_STREAM, key, began])
        )
        shortest = scenario.episode_days - scenario.episode_days // 2
        length = rng.integers(shortest, longest + 1, count)
        targets = _draw_targets(population, scenario, rng, count)
        found.append(targets[length > index - start])
    return np.concatenate(found)


def _frauds_per_episode_day(config: SimulatorConfig, scenario: FraudScenario) -> float:
    """The size of an episode, smaller where the world has room for few: else days go without."""
    room = scenario.share * config.transactions_per_day / MIN_ACTIVE_EPISODES
    return min(scenario.frauds_per_episode_day, room)


def _draw_targets(
    population: Population, scenario: FraudScenario, rng: np.random.Generator, count: int
) -> Ints:
    if scenario.kind == "mule_payees":
        return population.draw_any_payees(rng, ACCOUNT, count)
    if scenario.kind == "compromised_merchant":
        return population.draw_any_payees(rng, MERCHANT, count)
    return rng.integers(0, population.customers, count)


def _take_over(
    population: Population, scenario: FraudScenario, rng: np.random.Generator, base: Draft
) -> Draft:
    """Amounts several times the victim's usual, mostly to payees they never paid, at odd hours."""
    size = len(base)
    kind = rng.choice([CASH_OUT, PAYMENT, TRANSFER], size, p=[0.25, 0.35, 0.40])
    stranger = np.where(
        kind == PAYMENT,
        population.draw_payees(rng, MERCHANT, size),
        population.draw_payees(rng, ACCOUNT, size),
    )
    new = rng.random(size) < 0.8
    odd = rng.random(size) < 0.5
    return replace(
        base,
        time_us=np.where(odd, rng.integers(0, DAY_US // 4, size), base.time_us),
        payee=np.where(new, stranger, base.payee),
        kind=np.where(new, kind, base.kind),
        amount=base.amount * rng.lognormal(np.log(scenario.amount_factor), 0.6, size),
    )


def _send_to_mules(
    scenario: FraudScenario, rng: np.random.Generator, base: Draft, mules: Ints
) -> Draft:
    """Many payers send transfers and cash to the same few accounts."""
    size = len(base)
    return replace(
        base,
        payee=mules,
        kind=np.where(rng.random(size) < 0.7, TRANSFER, CASH_OUT),
        amount=base.amount * rng.lognormal(np.log(scenario.amount_factor), 0.6, size),
    )


def _pay_merchants(
    scenario: FraudScenario, rng: np.random.Generator, base: Draft, merchants: Ints
) -> Draft:
    """Payments of ordinary amounts at ordinary hours: only the merchant's record tells."""
    size = len(base)
    return replace(
        base,
        payee=merchants,
        kind=np.full(size, PAYMENT),
        amount=base.amount * rng.lognormal(np.log(scenario.amount_factor), 0.1, size),
    )


def _test_cards(
    population: Population,
    scenario: FraudScenario,
    rng: np.random.Generator,
    base: Draft,
    counts: Ints,
) -> Draft:
    """Bursts of tiny payments at merchants drawn without regard to popularity, in minutes."""
    size = len(base)
    opening = np.repeat(rng.integers(0, DAY_US, counts.size), counts)
    waits = rng.exponential(45e6, size).astype(np.int64) + 1
    passed = np.cumsum(waits)
    # What had passed before a burst's own first row is taken off again.
    before = np.repeat(np.cumsum(counts) - counts, counts)
    first = np.concatenate(([0], passed))[before]
    return replace(
        base,
        time_us=inside_day(opening + passed - first),
        payee=population.draw_any_payees(rng, MERCHANT, size),
        kind=np.full(size, PAYMENT),
        amount=base.amount * rng.lognormal(np.log(scenario.amount_factor), 0.7, size),
    )
