"""All entities of one kind, payers or payees: their histories, and the features made of them.

The arithmetic is that of `expressions`, value by value. Order keys, and what the two kinds have to
do with each other, belong in `state`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import Final

from fraud_assets.features.online.amounts import LIMIT, SLACK_US, AmountHistory, wrapped
from fraud_assets.features.online.events import Value
from fraud_assets.features.online.labels import LabelHistory
from fraud_assets.features.online.plan import ABSENT, EntityPlan
from fraud_assets.features.online.rounds import Rounds
from fraud_assets.features.semantics import AMOUNT_SCALE, SECOND_US

_SCALE: Final = float(AMOUNT_SCALE)
_SECOND: Final = float(SECOND_US)
_NOTHING: Final = AmountHistory.empty()
"""The history of an entity before its first transaction; never added to."""


class Entities:
    """The entities of one kind by id.

    Transactions are kept as far back as the longest window reaches from a transaction that is late
    by `late_us`, and labels alike. What is older goes, a little with each event.

    Attributes:
        plan: what is asked of them.
        histories: transactions by entity; empty where no feature reads any.
        labels: labels by entity.
        events: transactions held.
        keeps: whether a feature reads transactions.
        kept_us: how far behind the largest key transactions are kept.
        reads_labels: whether a feature reads labels.
        labels_kept_us: how far behind the largest key labels are kept.
    """

    def __init__(self, plan: EntityPlan, late_us: int) -> None:
        self.plan = plan
        self.histories: dict[str, AmountHistory] = {}
        self.labels: dict[str, LabelHistory] = {}
        self.events = 0
        self.keeps = plan.reach_us > 0
        self._has_max = plan.has_max
        self.kept_us = plan.reach_us + late_us + SLACK_US
        self.labels_kept_us = plan.label_reach_us + late_us + SLACK_US
        self._windows = plan.windows
        self._recency = plan.recency
        self.reads_labels = plan.label_reach_us > 0
        self._without_labels = tuple(
            (place, value)
            for window in plan.risks
            for place, value in ((window.labelled_count, 0.0), (window.risk, 0.0))
            if place != ABSENT
        )
        self._rounds = Rounds(self.kept_us, self._visit)
        self._label_rounds = Rounds(self.labels_kept_us, self._visit_labels)

    def free_key(self, entity_id: str, key: int) -> int:
        """The key, or the next one that the entity does not have yet."""
        while self.has(entity_id, key):
            key += 1
        return key

    def has(self, entity_id: str, key: int) -> bool:
        """Whether the entity has a transaction with this key."""
        history = self.histories.get(entity_id)
        if history is None:
            return False
        at = bisect_left(history.keys, key)
        return at < len(history.keys) and history.keys[at] == key

    def observe(self, values: list[Value], entity_id: str, key: int, ticks: int) -> None:
        """Fill in the features of a transaction newer than all, and remember it."""
        if self.reads_labels:
            self._fill_labels(values, self.labels.get(entity_id), key)
        if not self.keeps:
            return
        history = self.histories.get(entity_id)
        if history is None:
            self._fill(values, _NOTHING, 0, key, ticks)
            history = self.histories[entity_id] = AmountHistory.empty()
            self._rounds.add(entity_id)
        else:
            self._fill(values, history, len(history.keys), key, ticks)
        history.append(key, ticks, with_peaks=self._has_max)
        self.events += 1
        if len(history.keys) >= history.trim_at:
            self.events -= history.trim(key - self.kept_us)

    def observe_late(self, values: list[Value], entity_id: str, key: int, ticks: int) -> None:
        """Fill in the features of a transaction as of its own time, without remembering it."""
        if self.reads_labels:
            self._fill_labels(values, self.labels.get(entity_id), key)
        if self.keeps:
            history = self.histories.get(entity_id, _NOTHING)
            self._fill(values, history, bisect_left(history.keys, key), key, ticks)

    def insert(self, entity_id: str, key: int, ticks: int) -> None:
        """Remember a transaction at its place; the key must be free."""
        if not self.keeps:
            return
        history = self.histories.get(entity_id)
        if history is None:
            history = self.histories[entity_id] = AmountHistory.empty()
            self._rounds.add(entity_id)
        history.insert(key, ticks)
        self.events += 1

    def forget(self, entity_id: str, newest_key: int) -> None:
        """Drop everything of one entity that has expired.

        What is asked as of a time before the kept history then does not depend on when the entity
        was last looked at.
        """
        history = self.histories.get(entity_id)
        if history is not None:
            self.events -= history.trim(newest_key - self.kept_us)
        labels = self.labels.get(entity_id)
        if labels is not None:
            labels.trim(newest_key - self.labels_kept_us)

    def add_label(self, entity_id: str, known_us: int, label: int, ticks: int) -> None:
        """Remember a label.

        Raises:
            OverflowError: a number has more than 64 bits; nothing has been changed.
        """
        if not self.reads_labels:
            return
        held = self.labels.get(entity_id)
        if held is not None:
            held.add(known_us, label, ticks)
            return
        held = LabelHistory(array("q"))
        held.add(known_us, label, ticks)
        self.labels[entity_id] = held
        self._label_rounds.add(entity_id)

    @property
    def rounds(self) -> list[Rounds]:
        """The rounds that let go of what has expired."""
        asked = ((self.keeps, self._rounds), (self.reads_labels, self._label_rounds))
        return [rounds for is_asked, rounds in asked if is_asked]

    def _visit(self, entity_id: str, newest_key: int) -> bool:
        history = self.histories[entity_id]
        keys = history.keys
        oldest = newest_key - self.kept_us
        if not keys or keys[-1] < oldest:
            self.events -= len(keys)
            del self.histories[entity_id]
            return False
        if keys[len(keys) >> 2] < oldest:
            self.events -= history.trim(oldest)
        return True

    def _visit_labels(self, entity_id: str, newest_key: int) -> bool:
        labels = self.labels[entity_id]
        known = labels.known
        oldest = newest_key - self.labels_kept_us
        if not known or known[-1] < oldest:
            del self.labels[entity_id]
            return False
        if known[len(known) >> 2] < oldest:
            labels.trim(oldest)
        return True

    def start_rounds(self) -> None:
        """Let every entity have its turn; after the dictionaries were filled at once."""
        self._rounds.reset(self.histories)
        self._label_rounds.reset(self.labels)
        self.events = sum(len(history.keys) for history in self.histories.values())

    def _fill(  # noqa: C901 - one pass: a call per aggregate would double its time
        self, values: list[Value], history: AmountHistory, end: int, key: int, ticks: int
    ) -> None:
        """The features at `key`, before which the entity has `end` transactions."""
        keys, sums = history.keys, history.sums
        until = sums[end] + ticks
        start, searched, largest = 0, -1, ticks
        for reach, count, total, mean, peak, ratio in self._windows:
            start = bisect_left(keys, key - reach, start, end)
            rows = end - start + 1
            if count >= 0:
                values[count] = rows
            added = until - sums[start]
            if not -LIMIT <= added < LIMIT:
                added = wrapped(added)
            if mean >= 0:
                values[mean] = added / (rows * _SCALE)
            if peak >= 0:
                if start != searched:
                    searched = start
                    found = history.largest(start, end) if start < end else ticks
                    largest = found if found > ticks else ticks
                values[peak] = largest / _SCALE
            if total >= 0:
                values[total] = added / _SCALE
            if ratio >= 0 and added:
                values[ratio] = ticks * float(rows) / added
        if self._recency is not None and end:
            elapsed = key - keys[end - 1]
            if elapsed <= self._recency[0]:
                values[self._recency[1]] = elapsed / _SECOND

    def _fill_labels(self, values: list[Value], labels: LabelHistory | None, key: int) -> None:
        for place, value in self._without_labels:
            values[place] = value
        if labels is None:
            return
        end = bisect_right(labels.known, key)
        if end:
            frauds_end = bisect_right(labels.frauds, key) if labels.frauds is not None else 0
            self._fill_risks(values, labels, key, (end, frauds_end))
            if self.plan.known:
                self._fill_known(values, labels, key, (end, frauds_end))

    def _fill_risks(
        self, values: list[Value], labels: LabelHistory, key: int, ends: tuple[int, int]
    ) -> None:
        """The shares; `ends` are how many labels, and how many frauds, may be used at `key`."""
        known, frauds = labels.known, labels.frauds
        end, frauds_end = ends
        for reach, labelled_count, risk in self.plan.risks:
            rows = end - bisect_left(known, key - reach, 0, end)
            if labelled_count >= 0:
                values[labelled_count] = rows
            if risk >= 0 and frauds_end and frauds is not None:
                caught = frauds_end - bisect_left(frauds, key - reach, 0, frauds_end)
                if caught:
                    values[risk] = caught / rows

    def _fill_known(
        self, values: list[Value], labels: LabelHistory, key: int, ends: tuple[int, int]
    ) -> None:
        frauds = labels.frauds
        newest_label = labels.known[ends[0] - 1]
        frauds_end = ends[1]
        for reach, last_label, last_fraud, first_fraud, smallest_fraud in self.plan.known:
            if newest_label < key - reach:
                continue
            if last_label >= 0:
                values[last_label] = 0.0
            if not frauds_end or frauds is None or frauds[frauds_end - 1] < key - reach:
                continue
            newest_fraud = frauds[frauds_end - 1]
            start = bisect_left(frauds, key - reach, 0, frauds_end)
            if last_label >= 0 and newest_fraud == newest_label:
                values[last_label] = 1.0  # of labels of the same moment a fraud wins
            if last_fraud >= 0:
                values[last_fraud] = (key - newest_fraud) / _SECOND
            if first_fraud >= 0:
                values[first_fraud] = (key - frauds[start]) / _SECOND
            if smallest_fraud >= 0:
                least = labels.smallest(start, frauds_end)
                values[smallest_fraud] = None if least is None else least / _SCALE
