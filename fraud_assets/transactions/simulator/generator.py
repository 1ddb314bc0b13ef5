"""The simulator: a day of raw transactions as a user's own system would deliver it.

Only the delivery belongs here: order, ids, balances, labels and their delay, noise, re-sent and
spoiled rows. Who transacts and how is in `population`, `behaviour` and `scenarios`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_assets.transactions.simulator.behaviour import (
    DAY_US,
    MAX_AMOUNT,
    Draft,
    concatenate,
    legitimate_day,
)
from fraud_assets.transactions.simulator.config import FALSE_REPORT, SimulatorConfig
from fraud_assets.transactions.simulator.population import (
    CASH_IN,
    KINDS,
    MERCHANT,
    TRANSFER,
    Floats,
    Ints,
    Population,
    build_population,
)
from fraud_assets.transactions.simulator.scenarios import scenario_day, scenario_stream

DAY_STREAM: Final = 1
HOUR_US: Final = 3_600_000_000
RETRY_US: Final = 30 * 60 * 1_000_000
"""A transaction is sent again within half an hour or not at all."""

FLAG_LIMIT: Final = 200_000.0
"""PaySim flags transfers above this amount."""

UNKNOWN_KIND: Final = "REFUND"
"""A kind that PaySim does not have, for spoiled rows."""

LEGITIMATE: Final = -1
NOBODY: Final = -1
MAX_ROWS_PER_DAY: Final = 1_000_000_000
CLEAN, NEGATIVE_AMOUNT, UNKNOWN_TYPE, NO_PAYER, NAN_AMOUNT, OTHER_DAY = range(6)


@dataclass(frozen=True)
class Simulator:
    """Generates any day on its own: the same configuration, index and day give the same bytes.

    The balances are plausible within a row (the payer's and the payee's balance move by the
    amount; merchants show zeros, as in PaySim) but they are not carried from row to row or from
    day to day: the shipped profile keeps them out of the model.

    >>> from fraud_assets.transactions.simulator.config import SimulatorConfig
    >>> Simulator(SimulatorConfig(transactions_per_day=500)).day(0, date(2026, 1, 1)).width
    15
    """

    config: SimulatorConfig

    @cached_property
    def population(self) -> Population:
        """Customers and payees; built once, when the first day is asked for."""
        return build_population(self.config)

    def day(self, index: int, day: date) -> pl.DataFrame:
        """The raw transactions of a day, sorted by timestamp.

        Args:
            index: days since the start of the simulation, from zero; places the scenarios.
            day: the calendar date (UTC) that the timestamps get; its weekday sets the volume.

        Returns:
            PaySim's columns `step` (hours since the first day, from one), `type`, `amount`,
            `nameOrig`, `oldbalanceOrg`, `newbalanceOrig`, `nameDest`, `oldbalanceDest`,
            `newbalanceDest`, `isFraud`, `isFlaggedFraud`, and `timestamp`, `transactionId`,
            `labelKnownAt`, `scenario` (null for legitimate rows).

        Raises:
            ValueError: the index is negative.
        """
        if index < 0:
            raise ValueError(f"simulated day {day.isoformat()} has index {index}: must be >= 0")
        config, people = self.config, self.population
        rng = np.random.default_rng(np.random.SeedSequence([config.seed, DAY_STREAM, index]))
        draft, scenario = self._transactions(rng, index, day)
        scenario, delay_us = self._labels(rng, scenario)
        cents = np.rint(np.clip(draft.amount, 0.01, MAX_AMOUNT) * 100).astype(np.int64)
        balances = _balances(people, rng, draft, cents)
        defect = _defects(rng, scenario == LEGITIMATE, config.dirty_share)
        amount = np.where(defect == NEGATIVE_AMOUNT, -cents, cents) / 100
        amount[defect == NAN_AMOUNT] = np.nan
        rows, time_us = self._delivery(rng, draft.time_us, defect)
        known_us = (time_us[: len(draft)] + delay_us)[rows]
        order = np.argsort(time_us, kind="stable")
        rows, time_us = rows[order], time_us[order]
        # A re-sent row keeps the moment of its original, but nothing is known before it is sent.
        known_us = np.maximum(known_us[order], time_us)
        midnight_us = (day - date(1970, 1, 1)).days * DAY_US
        kind = np.where(defect == UNKNOWN_TYPE, len(KINDS), draft.kind)
        payer = pl.Series(np.where(defect == NO_PAYER, NOBODY, draft.payer)[rows])
        flagged = (draft.kind == TRANSFER) & (cents > FLAG_LIMIT * 100)
        return pl.DataFrame(
            {
                "step": index * 24 + time_us // HOUR_US + 1,
                "timestamp": _instants(midnight_us + time_us),
                "type": pl.Series([*KINDS, UNKNOWN_KIND]).gather(kind[rows]),
                "amount": amount[rows],
                "nameOrig": _names(people.payer_names, payer),
                "oldbalanceOrg": balances[0][rows],
                "newbalanceOrig": balances[1][rows],
                "nameDest": people.payee_names.gather(draft.payee[rows]),
                "oldbalanceDest": balances[2][rows],
                "newbalanceDest": balances[3][rows],
                "isFraud": (scenario != LEGITIMATE)[rows].astype(np.int8),
                "isFlaggedFraud": flagged[rows].astype(np.int8),
                "transactionId": _ids(index, rows),
                "labelKnownAt": _instants(midnight_us + known_us),
                "scenario": _names(self._scenario_names, pl.Series(scenario[rows])),
            }
        )

    @property
    def _scenario_names(self) -> pl.Series:
        names = [scenario.name for scenario in self.config.scenarios]
        return pl.Series([*names, FALSE_REPORT], dtype=pl.String)

    def _transactions(self, rng: np.random.Generator, index: int, day: date) -> tuple[Draft, Ints]:
        """The day's transactions by time, and the number of the scenario of each."""
        drafts = [legitimate_day(self.config, self.population, rng, index, day)]
        for scenario in self.config.scenarios:
            # A stream of its own: another scenario in the list does not change what this one does.
            own = scenario_stream(self.config, scenario, index)
            drafts.append(scenario_day(self.config, self.population, scenario, own, index))
        numbers = np.repeat(np.arange(len(drafts)) - 1, [len(draft) for draft in drafts])
        together = concatenate(drafts)
        order = np.argsort(together.time_us, kind="stable")
        return together.take(order), numbers[order]

    def _labels(self, rng: np.random.Generator, scenario: Ints) -> tuple[Ints, Ints]:
        """What is reported of each row, noise included, and after how many microseconds."""
        config = self.config
        is_fraud = scenario != LEGITIMATE
        chance = rng.random(scenario.size)
        frauds = int(is_fraud.sum())
        false_rate = config.label_noise_share * frauds / max(scenario.size - frauds, 1)
        reported = np.where(is_fraud & (chance < config.label_noise_share), LEGITIMATE, scenario)
        reported = np.where(~is_fraud & (chance < false_rate), len(config.scenarios), reported)
        delay_days = rng.uniform(
            config.fraud_delay_min_days, config.fraud_delay_max_days, scenario.size
        )
        delay_days[reported == LEGITIMATE] = config.legitimate_delay_days
        return reported, np.rint(delay_days * DAY_US).astype(np.int64)

    def _delivery(self, rng: np.random.Generator, time_us: Ints, defect: Ints) -> tuple[Ints, Ints]:
        """Which row is sent when: every row once, in order, then those that are sent again.

        Spoiled clocks are off by days; a re-sent row follows its original on the same day.
        """
        off_days = rng.choice([-3, -2, 2, 3], time_us.size)
        sent = time_us + np.where(defect == OTHER_DAY, off_days * DAY_US, 0)
        again = np.flatnonzero(
            (rng.random(time_us.size) < self.config.duplicates_share) & (defect == CLEAN)
        )
        later = time_us[again] + rng.integers(1, RETRY_US, again.size)
        rows = np.concatenate([np.arange(time_us.size), again])
        return rows, np.concatenate([sent, np.minimum(later, DAY_US - 1)])


def _defects(rng: np.random.Generator, legitimate: NDArray[np.bool_], share: float) -> Ints:
    """Which rows are spoiled, and how. Only legitimate ones: every fraud must stay usable."""
    spoiled = legitimate & (rng.random(legitimate.size) < share)
    return np.where(spoiled, rng.integers(NEGATIVE_AMOUNT, OTHER_DAY + 1, legitimate.size), CLEAN)


def _balances(
    people: Population, rng: np.random.Generator, draft: Draft, cents: Ints
) -> tuple[Floats, Floats, Floats, Floats]:
    """Old and new balance of payer and payee in the main unit, exact to the cent."""
    wealth = people.wealth[draft.payer] * rng.lognormal(0.0, 0.3, len(draft))
    cash_in = draft.kind == CASH_IN
    # Whoever gives has at least what they give, so that no balance falls below zero.
    old_payer = np.rint(wealth * 100).astype(np.int64) + np.where(cash_in, 0, cents)
    new_payer = old_payer + np.where(cash_in, cents, -cents)
    held = np.rint(rng.lognormal(7.0, 1.0, len(draft)) * 100).astype(np.int64)
    merchant = draft.payee < people.payee_start[MERCHANT + 1]
    old_payee = np.where(merchant, 0, held + np.where(cash_in, cents, 0))
    moved = np.where(cash_in, -cents, cents)
    new_payee = np.where(merchant, 0, old_payee + moved)
    return old_payer / 100, new_payer / 100, old_payee / 100, new_payee / 100


def _instants(microseconds: Ints) -> pl.Series:
    return pl.Series(microseconds).cast(pl.Datetime("us", "UTC"))


def _names(names: pl.Series, numbers: pl.Series) -> pl.Series:
    """The names of the numbers, null for negative numbers."""
    return names.gather(numbers.set(numbers < 0, None))


def _ids(index: int, rows: Ints) -> pl.Series:
    """Ids from the day's index and the row's place in the order of time: no id is used twice."""
    numbers = pl.Series(index * MAX_ROWS_PER_DAY + rows).cast(pl.String)
    return "T" + numbers.str.zfill(14)
