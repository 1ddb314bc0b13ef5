"""One entity's labels: the moments from which they may be used, and of the frauds the amounts.

Only the arrays and their upkeep belong here. Labels may arrive in any order, and before they may
be used: a question at t sees those with a moment up to and including t.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from math import floor, isfinite
from typing import Final

import msgspec
import numpy as np

from fraud_assets.features.semantics import AMOUNT_SCALE

NO_AMOUNT: Final = (1 << 63) - 1
"""Stands for a fraud without an amount; no smallest amount reaches it."""

_FEW: Final = 256
_SCALE: Final = float(AMOUNT_SCALE)


def ticks_of(amount: float | None) -> int:
    """A label's amount in ticks; `NO_AMOUNT` where it is unknown, or no amount can be like that.

    Whoever labels gives an amount by hand: one that is not finite, or beyond 9.2e14, must not cost
    the label.
    """
    if amount is None or not isfinite(amount):
        return NO_AMOUNT
    ticks = floor(amount * _SCALE + 0.5) if abs(amount) < NO_AMOUNT else NO_AMOUNT
    return ticks if -NO_AMOUNT < ticks < NO_AMOUNT else NO_AMOUNT


class LabelHistory(msgspec.Struct, gc=False):
    """The labels of one entity, in the order in which they may be used.

    Attributes:
        known: moments of all labels, in microseconds; several may be equal.
        frauds: those of the frauds among them; None where there was none yet.
        ticks: the amounts of the frauds.
    """

    known: array[int]
    frauds: array[int] | None = None
    ticks: array[int] | None = None

    def add(self, known_us: int, label: int, ticks: int) -> None:
        """Add a label; those of the same moment keep the order of arrival.

        Raises:
            OverflowError: a number has more than 64 bits; nothing has been changed.
        """
        _check(known_us, ticks)
        _insort(self.known, known_us)
        if label == 1:
            self.add_fraud(known_us, ticks)

    def add_fraud(self, known_us: int, ticks: int) -> None:
        """Say of a label that was added that it is a fraud.

        Raises:
            OverflowError: a number has more than 64 bits; nothing has been changed.
        """
        _check(known_us, ticks)
        if self.frauds is None or self.ticks is None:
            self.frauds, self.ticks = array("q"), array("q")
        self.ticks.insert(_insort(self.frauds, known_us), ticks)

    def smallest(self, start: int, end: int) -> int | None:
        """The smallest amount of the frauds start..end-1; None if none of them has one."""
        if self.ticks is None:
            return None
        if end - start <= _FEW:
            found = min(self.ticks[start:end])
        else:
            found = int(np.frombuffer(self.ticks, np.int64)[start:end].min())
        return None if found == NO_AMOUNT else found

    def trim(self, oldest: int) -> None:
        """Drop the labels with moments below `oldest`."""
        del self.known[: bisect_left(self.known, oldest)]
        if self.frauds is not None and self.ticks is not None:
            gone = bisect_left(self.frauds, oldest)
            if gone == len(self.frauds):
                self.frauds = self.ticks = None
            else:
                del self.frauds[:gone]
                del self.ticks[:gone]


def _check(*numbers: int) -> None:
    # The arrays belong together: what one of them refuses must not be in another already.
    array("q", numbers)


def _insort(moments: array[int], moment: int) -> int:
    if not moments or moments[-1] <= moment:
        moments.append(moment)
        return len(moments) - 1
    at = bisect_right(moments, moment)
    moments.insert(at, moment)
    return at
