"""Visits to all entries of a dictionary in turn, a few with each event, to let go of old ones.

A round begins when a quarter of the kept time has passed since the last one began: rarely enough
to cost little, and often enough that at most about a quarter more is held than needed. There is
never a moment at which everything is looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

_ROUNDS: Final = 4
"""Rounds within the time for which entries are kept."""

VISITS: Final = 2
"""Entries to visit per event. Events add one at most, so a round ends however many come anew."""


class Rounds:
    """Whose turn it is.

    Args:
        kept_us: for how long an entry is kept.
        visit: looks at the entry of a name as of a key, and says whether it is to stay.
    """

    def __init__(self, kept_us: int, visit: Callable[[str, int], bool]) -> None:
        self._visit = visit
        self._pause_us = kept_us // _ROUNDS
        self._turn: deque[str] = deque()
        self._left = 0
        self._next_round = 0

    def add(self, name: str) -> None:
        """A new entry; it is visited last."""
        self._turn.append(name)

    def reset(self, names: Iterable[str]) -> None:
        """All entries anew, after they were filled in at once."""
        self._turn = deque(names)
        self._left = 0

    def go_on(self, newest_key: int, visits: int) -> None:
        """Visit the next entries of this round, or begin one if it is time."""
        if not self._left:
            if newest_key < self._next_round:
                return
            self._left = len(self._turn)
            self._next_round = newest_key + self._pause_us
        now = min(visits, self._left)
        self._left -= now
        turn = self._turn
        for _ in range(now):
            name = turn.popleft()
            if self._visit(name, newest_key):
                turn.append(name)
