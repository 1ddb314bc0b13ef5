"""Which payer paid which payee, and when: the one feature that reads both.

Most pairs meet once: a pair is a number as long as one key is all there is of it, and an array from
the second on. Expired keys go as in `entities`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from typing import Final

from fraud_assets.features.online.amounts import SLACK_US
from fraud_assets.features.online.events import Value
from fraud_assets.features.online.rounds import Rounds

_FIRST_TRIM: Final = 16


def pair_name(payer_id: str, payee_id: str) -> str:
    """One text for two ids. A text costs a third of a tuple, and its length keeps it unambiguous.

    >>> pair_name("C1", "M9")
    '2:C1M9'
    """
    return f"{len(payer_id)}:{payer_id}{payee_id}"


class Pairs:
    """The order keys of each pair's transactions, as far back as they are needed.

    Attributes:
        once: the key of a pair with one.
        often: the keys of a pair with more, oldest first; it is not in `once` too.
        kept_us: how far behind the largest key they are kept.
        rounds: let go of what has expired.
    """

    def __init__(self, reach_us: int, place: int, late_us: int) -> None:
        self.once: dict[str, int] = {}
        self.often: dict[str, array[int]] = {}
        self.kept_us = reach_us + late_us + SLACK_US
        self.rounds = Rounds(self.kept_us, self._visit)
        self._reach_us = reach_us
        self._place = place

    def observe(self, values: list[Value], name: str, key: int) -> None:
        """Fill in whether the pair is new to a transaction newer than all, and remember it."""
        previous = self.once.get(name)
        if previous is not None:
            oldest = key - self.kept_us
            if previous < oldest:
                self.once[name] = key
            else:
                del self.once[name]
                self.often[name] = array("q", (previous, key))
        else:
            held = self.often.get(name)
            if held is None:
                self.once[name] = key
                self.rounds.add(name)
            else:
                previous = held[-1] if held else None
                held.append(key)
                if len(held) >= _FIRST_TRIM and held[len(held) >> 1] < key - self.kept_us:
                    del held[: bisect_left(held, key - self.kept_us)]
        is_known = previous is not None and key - previous <= self._reach_us
        values[self._place] = 0.0 if is_known else 1.0

    def observe_late(self, values: list[Value], name: str, key: int) -> None:
        """Fill in whether the pair was new as of `key`, without remembering it."""
        earlier = self._keys_of(name)
        at = bisect_left(earlier, key)
        is_known = at > 0 and key - earlier[at - 1] <= self._reach_us
        values[self._place] = 0.0 if is_known else 1.0

    def insert(self, name: str, key: int) -> None:
        """Remember a transaction at its place."""
        if name in self.often:
            insort(self.often[name], key)
        elif name in self.once:
            self.often[name] = array("q", sorted((self.once.pop(name), key)))
        else:
            self.once[name] = key
            self.rounds.add(name)

    def forget(self, name: str, newest_key: int) -> None:
        """Drop everything of one pair that has expired; see `Entities.forget`."""
        kept = self._keys_of(name)
        del kept[: bisect_left(kept, newest_key - self.kept_us)]
        if self.once.pop(name, None) is not None or name in self.often:
            self.often[name] = kept

    def start_rounds(self) -> None:
        """Let every pair have its turn; after the dictionaries were filled at once."""
        self.rounds.reset([*self.once, *self.often])

    def _keys_of(self, name: str) -> array[int]:
        held = self.often.get(name)
        if held is None:
            held = array("q", (self.once[name],) if name in self.once else ())
        return held

    def _visit(self, name: str, newest_key: int) -> bool:
        oldest = newest_key - self.kept_us
        key = self.once.get(name)
        if key is not None:
            if key < oldest:
                del self.once[name]
            return key >= oldest
        held = self.often[name]
        if not held or held[-1] < oldest:
            del self.often[name]
            return False
        if held[0] < oldest:
            del held[: bisect_left(held, oldest)]
        return True
