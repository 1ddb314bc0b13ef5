"""The features of the next transaction, from all transactions and labels so far.

One object, one thread. What comes in is one event at a time (`observe`, `add_label`), or days at
once (`load_transactions`, `load_labels`). The values equal those of `batch.compute_features`.

- **Order.** In order of arrival, the key is the event time, a microsecond past the last key where
  that is taken: the chain of `transactions.validation`. A late transaction keeps its own time,
  moved only past equal keys of its own payer and payee.
- **Late.** A transaction older than the newest is answered as of its own time and remembered at
  its place. Answers given before do not change; those given after see it. Older than the newest
  by more than `late_days`, it is answered from what is kept, and not remembered.
- **Twice.** The state does not know ids: a transaction observed twice counts twice. Whoever calls
  keeps it from that.
"""

from __future__ import annotations

from math import floor
from typing import Final

import polars as pl

from fraud_assets.features.batch import label_events
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.features.expressions import KNOWN
from fraud_assets.features.online.entities import Entities
from fraud_assets.features.online.events import LabelEvent, Observation, OnlineTransaction, Value
from fraud_assets.features.online.labels import NO_AMOUNT, ticks_of
from fraud_assets.features.online.loading import load_amounts, load_pairs, load_told
from fraud_assets.features.online.pairs import Pairs, pair_name
from fraud_assets.features.online.plan import compile_plan
from fraud_assets.features.online.rounds import VISITS
from fraud_assets.features.semantics import (
    AMOUNT_SCALE,
    DAY_US,
    EPOCH_WEEKDAY,
    FIRST_WEEKEND_DAY,
    HOUR_US,
    LAST_NIGHT_HOUR,
)
from fraud_assets.transactions.columns import AMOUNT, EVENT_ORDER, EVENT_TIME, LABEL, PAYEE, PAYER

_SCALE: Final = float(AMOUNT_SCALE)


class OnlineFeatures:
    """The state of a feature set.

    Args:
        feature_set: the declarations.
        late_days: how much older than the newest a transaction may be to be remembered; so much
            history is kept beyond the longest window.

    Attributes:
        names: of the values, `feature_set.names`.
        newest_us: the newest event time seen; None before the first.
        payers: the payers' histories; for `snapshot`.
        payees: the payees' histories.
        pairs: who paid whom; None where no feature asks.
        last_key: the largest order key given.
    """

    def __init__(self, feature_set: FeatureSet, *, late_days: float = 2.0) -> None:
        plan = compile_plan(feature_set)
        self.feature_set = feature_set
        self.names = feature_set.names
        self.newest_us: int | None = None
        self.last_key = 0
        self.late_us = int(late_days * DAY_US)
        self.payers = Entities(plan.payer, self.late_us)
        self.payees = Entities(plan.payee, self.late_us)
        self.pairs = Pairs(*plan.new_pair, self.late_us) if plan.new_pair is not None else None
        self._plan = plan
        self._rounds = [*self.payers.rounds, *self.payees.rounds]
        if self.pairs is not None:
            self._rounds.append(self.pairs.rounds)
        self._round = 0
        self._has_calendar = max(plan.hour, plan.is_night, plan.is_weekend) >= 0

    @property
    def size(self) -> int:
        """Transactions held: by the payers or by the payees, whichever hold more."""
        return max(self.payers.events, self.payees.events)

    def observe(self, transaction: OnlineTransaction) -> Observation:
        """The features of a transaction, itself included; it is then part of the history.

        Raises:
            OverflowError, ValueError: the amount is not finite, or beyond 9.2e14; nothing has
                been changed.
        """
        time_us = transaction.event_time_us
        ticks = floor(transaction.amount * _SCALE + 0.5)
        if not -NO_AMOUNT < ticks < NO_AMOUNT:
            raise OverflowError("an amount beyond 9.2e14 cannot be summed up")
        newest = self.newest_us
        if newest is not None and time_us < newest:
            return self._observe_late(transaction, newest, ticks)
        key = self.last_key + 1
        if newest is None or time_us > key:
            key = time_us
        self.newest_us = time_us
        self.last_key = key
        values = self._own_values(transaction)
        payer_id, payee_id = transaction.payer_id, transaction.payee_id
        if payer_id is not None:
            self.payers.observe(values, payer_id, key, ticks)
            if payee_id is not None and self.pairs is not None:
                self.pairs.observe(values, pair_name(payer_id, payee_id), key)
        if payee_id is not None:
            self.payees.observe(values, payee_id, key, ticks)
        self._sweep(key)
        return Observation(values, key, is_late=False, is_forgotten=False)

    def add_label(self, label: LabelEvent) -> None:
        """Learn a label, whenever it may be used; answers given before do not change.

        An amount that cannot be one counts as unknown.

        Raises:
            OverflowError: the moment has more than 64 bits; nothing has been changed.
        """
        ticks = ticks_of(label.amount)
        if label.payer_id is not None:
            self.payers.add_label(label.payer_id, label.known_us, label.label, ticks)
        if label.payee_id is not None:
            self.payees.add_label(label.payee_id, label.known_us, label.label, ticks)

    def load_transactions(self, frame: pl.DataFrame) -> None:
        """Remember transactions without answering: the same state as after observing them.

        Args:
            frame: canonical transactions in order of `event_order_us`; keys that two transactions
                of one entity share are moved apart. They may be older than what is held already.

        Raises:
            ValueError: the rows are not in order.
        """
        if frame.height == 0:
            return
        if not frame[EVENT_ORDER].is_sorted():
            raise ValueError(f"transactions are not in order of {EVENT_ORDER}: sort them")
        newest = int(frame.select(pl.col(EVENT_TIME).dt.epoch("us").max()).item())
        self.newest_us = newest if self.newest_us is None else max(self.newest_us, newest)
        self.last_key = max(self.last_key, int(frame[EVENT_ORDER][-1]))
        ticks = (pl.col(AMOUNT) * _SCALE + 0.5).floor().cast(pl.Int64)
        rows = frame.select(PAYER, PAYEE, EVENT_ORDER, ticks.alias(AMOUNT))
        load_amounts(self.payers, rows, PAYER, self.last_key)
        load_amounts(self.payees, rows, PAYEE, self.last_key)
        if self.pairs is not None:
            load_pairs(self.pairs, rows, self.last_key)

    def load_labels(self, frame: pl.DataFrame) -> None:
        """Learn the labels of a frame with the columns of the lake's `fraud_labels`.

        An amount that cannot be one counts as unknown.
        """
        wanted = (pl.col(AMOUNT) * _SCALE + 0.5).floor()
        # NaN is above every number here.
        is_usable = wanted.is_between(-float(NO_AMOUNT), float(NO_AMOUNT), closed="none")
        ticks = pl.when(is_usable).then(wanted).cast(pl.Int64).fill_null(NO_AMOUNT).alias(AMOUNT)
        told = label_events(frame, self._plan.delay_days).select(PAYER, PAYEE, KNOWN, LABEL, ticks)
        load_told(self.payers, told, PAYER)
        load_told(self.payees, told, PAYEE)

    def _observe_late(self, transaction: OnlineTransaction, newest: int, ticks: int) -> Observation:
        payer_id, payee_id = transaction.payer_id, transaction.payee_id
        asked = ((self.payers, payer_id), (self.payees, payee_id))
        parties = [(entities, name) for entities, name in asked if name is not None]
        pair = None
        if self.pairs is not None and payer_id is not None and payee_id is not None:
            pair = pair_name(payer_id, payee_id)
        is_forgotten = newest - transaction.event_time_us > self.late_us
        if is_forgotten:
            self._forget(parties, pair)
        key = transaction.event_time_us
        while any(entities.has(name, key) for entities, name in parties):
            key += 1
        values = self._own_values(transaction)
        for entities, name in parties:
            entities.observe_late(values, name, key, ticks)
            if not is_forgotten:
                entities.insert(name, key, ticks)
        if pair is not None and self.pairs is not None:
            self.pairs.observe_late(values, pair, key)
            if not is_forgotten:
                self.pairs.insert(pair, key)
        if not is_forgotten:
            self.last_key = max(self.last_key, key)
            self._sweep(self.last_key)
        return Observation(values, key, is_late=True, is_forgotten=is_forgotten)

    def _forget(self, parties: list[tuple[Entities, str]], pair: str | None) -> None:
        """Drop what has expired of the parties: then the answer does not depend on sweeps."""
        for entities, name in parties:
            entities.forget(name, self.last_key)
        if pair is not None and self.pairs is not None:
            self.pairs.forget(pair, self.last_key)

    def _own_values(self, transaction: OnlineTransaction) -> list[Value]:
        """The values that need no history; all others missing."""
        plan = self._plan
        values: list[Value] = [None] * plan.width
        if plan.amount >= 0:
            values[plan.amount] = transaction.amount
        if plan.kind >= 0:
            values[plan.kind] = transaction.kind
        if self._has_calendar:
            hours = transaction.event_time_us // HOUR_US
            hour = hours % 24
            if plan.hour >= 0:
                values[plan.hour] = hour
            if plan.is_night >= 0:
                values[plan.is_night] = 1.0 if hour <= LAST_NIGHT_HOUR else 0.0
            if plan.is_weekend >= 0:
                weekday = (hours // 24 + EPOCH_WEEKDAY) % 7
                values[plan.is_weekend] = 1.0 if weekday >= FIRST_WEEKEND_DAY else 0.0
        for place, name in plan.extras:
            values[place] = transaction.extras.get(name)
        return values

    def _sweep(self, newest_key: int) -> None:
        """One of the rounds, so that no single event pays for all of them."""
        if self._rounds:
            self._round = (self._round + 1) % len(self._rounds)
            self._rounds[self._round].go_on(newest_key, VISITS * len(self._rounds))
