"""The newest answers in memory, so that a repeated request needs no question to the store.

What is kept for longer belongs in `store.answers`; the state of the features in
`features.online`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from fraud_assets.store.answers import StoredAnswer

_NEVER: Final = -(2**63)
_ALWAYS: Final = 2**63


class RecentAnswers:
    """Answers by transaction id; the one that was put first goes first.

    They do not go by the time of their transaction: a late transaction's answer would be forgotten
    at once, and asked for again before the store has it. All times are microseconds since 1970.

    Args:
        capacity: how many are kept, at least 1.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}: at least one answer must be kept")
        self._capacity = capacity
        # Taking the first key of a plain dict walks over all those that were taken before it.
        self._answers: OrderedDict[str, StoredAnswer] = OrderedDict()
        self._forgotten_up_to = _NEVER

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, transaction_id: str) -> StoredAnswer | None:
        """The answer; None if it is not here, see `may_be_forgotten`."""
        return self._answers.get(transaction_id)

    def put(self, answer: StoredAnswer) -> None:
        """Remember an answer; takes the same time however many there are."""
        answers = self._answers
        before = answers.get(answer.transaction_id)
        answers[answer.transaction_id] = answer
        if before is None and len(answers) > self._capacity:
            _, before = answers.popitem(last=False)
        if before is not None and before.event_time_us > self._forgotten_up_to:
            self._forgotten_up_to = before.event_time_us

    def may_be_forgotten(self, event_time_us: int) -> bool:
        """Whether an unknown id with this event time may have been answered: look in the store."""
        return event_time_us <= self._forgotten_up_to

    def load(self, answers: Iterable[StoredAnswer], *, complete: bool) -> None:
        """Begin with what the store has.

        Args:
            answers: the answers for the latest transactions, oldest first (`newest_answers`).
            complete: whether these are all; False if the store has others, older than these.
        """
        oldest: StoredAnswer | None = None
        for answer in answers:
            oldest = oldest or answer
            self.put(answer)
        if not complete:
            # An event's place is at or behind its time, so no older one has a time beyond it.
            up_to = _ALWAYS if oldest is None else oldest.event_order_us
            self._forgotten_up_to = max(self._forgotten_up_to, up_to)
