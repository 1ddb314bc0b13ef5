"""One entity's transactions: sorted keys, running sums, and the peaks that answer any maximum.

Only the arrays and their upkeep belong here; which windows are asked for is said in `plan`.

`sums` has one number more than `keys`, so that the sum of the transactions i..j-1 is
`sums[j] - sums[i]`, and one amount is the difference of two neighbours. `peaks` are the positions
of the transactions that are larger than every later one: the first of them within a window holds
the window's maximum, whichever the window, as long as it ends with the newest transaction.
Running sums wrap at 64 bits, as only their differences matter: those are right as long as what one
entity moves within a window stays below 9.2e14 of the currency's unit.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Final

import msgspec
import numpy as np

from fraud_assets.features.semantics import SECOND_US

_WRAP: Final = 1 << 64
LIMIT: Final = 1 << 63
_FEW: Final = 48
"""Up to so many numbers, a loop is faster than a call of NumPy."""

_FIRST_TRIM: Final = 16

SLACK_US: Final = SECOND_US
"""Kept beyond what windows reach: ties move keys ahead of the time, by a microsecond each."""


def wrapped(number: int) -> int:
    """A number modulo 2**64 as a signed 64-bit integer."""
    return (number + LIMIT) % _WRAP - LIMIT


class AmountHistory(msgspec.Struct, gc=False):
    """The transactions of one entity, oldest first.

    Attributes:
        keys: order keys, strictly increasing.
        sums: running sums of the ticks, one more than keys.
        peaks: positions of the amounts larger than all later ones, plus `dropped`; None: to be
            made when first asked for.
        dropped: how many transactions were dropped at the front, so that dropping leaves the
            positions in `peaks` valid.
        trim_at: with so many transactions, expired ones are looked for.
    """

    keys: array[int]
    sums: array[int]
    peaks: array[int] | None = None
    dropped: int = 0
    trim_at: int = _FIRST_TRIM

    @classmethod
    def empty(cls) -> AmountHistory:
        """A history without transactions."""
        return cls(array("q"), array("q", (0,)))

    def append(self, key: int, ticks: int, *, with_peaks: bool) -> None:
        """Add a transaction that is newer than all."""
        sums = self.sums
        if with_peaks:
            peaks = self.peaks
            if peaks is None:
                peaks = self.make_peaks()
            dropped = self.dropped
            while peaks:
                at = peaks[-1] - dropped
                held = sums[at + 1] - sums[at]
                if (held if -LIMIT <= held < LIMIT else wrapped(held)) > ticks:
                    break
                peaks.pop()
            peaks.append(dropped + len(self.keys))
        self.keys.append(key)
        try:
            sums.append(sums[-1] + ticks)
        except OverflowError:
            sums.append(wrapped(sums[-1] + ticks))

    def insert(self, key: int, ticks: int) -> None:
        """Add a transaction at its place; the key must be free."""
        keys, sums = self.keys, self.sums
        at = bisect_left(keys, key)
        keys.insert(at, key)
        sums.insert(at + 1, wrapped(sums[at] + ticks))
        add_to(sums, at + 2, ticks)
        if self.peaks is not None:
            self._insert_peak(self.peaks, at, ticks)

    def _insert_peak(self, peaks: array[int], at: int, ticks: int) -> None:
        place = bisect_left(peaks, at + self.dropped)
        add_to(peaks, place, 1)
        if place < len(peaks) and self.ticks_at(peaks[place] - self.dropped) >= ticks:
            return  # a later one is at least as large
        peaks.insert(place, at + self.dropped)
        first = place
        while first and self.ticks_at(peaks[first - 1] - self.dropped) <= ticks:
            first -= 1
        del peaks[first:place]

    def ticks_at(self, at: int) -> int:
        """One transaction's amount."""
        return wrapped(self.sums[at + 1] - self.sums[at])

    def largest(self, start: int, end: int) -> int:
        """The largest amount of the transactions start..end-1, of which there is one at least."""
        peaks = self.peaks
        if peaks is None:
            peaks = self.make_peaks()
        at = peaks[bisect_left(peaks, start + self.dropped)] - self.dropped
        if at < end:
            sums = self.sums
            ticks = sums[at + 1] - sums[at]
            return ticks if -LIMIT <= ticks < LIMIT else wrapped(ticks)
        # A late transaction asks, and the largest amount came after it.
        if end - start <= _FEW:
            return max(self.ticks_at(i) for i in range(start, end))
        return int(np.diff(np.frombuffer(self.sums, np.int64)[start : end + 1]).max())

    def make_peaks(self) -> array[int]:
        """The peaks from the sums: after a load, and once per entity."""
        sums, dropped = self.sums, self.dropped
        self.peaks = peaks = array("q")
        if len(sums) <= _FEW:
            for at in range(len(sums) - 1):
                ticks = self.ticks_at(at)
                while peaks and self.ticks_at(peaks[-1] - dropped) <= ticks:
                    peaks.pop()
                peaks.append(at + dropped)
            return peaks
        backwards = np.diff(np.frombuffer(sums, np.int64))[::-1]
        so_far = np.maximum.accumulate(backwards)
        larger = np.flatnonzero(np.concatenate(([True], backwards[1:] > so_far[:-1])))
        peaks.frombytes((len(backwards) - 1 - larger[::-1] + dropped).astype(np.int64).tobytes())
        return peaks

    def trim(self, oldest: int) -> int:
        """Drop the transactions with keys below `oldest`; returns how many."""
        keys = self.keys
        gone = bisect_left(keys, oldest)
        if gone:
            del keys[:gone]
            del self.sums[:gone]
            self.dropped += gone
            if self.peaks is not None:
                del self.peaks[: bisect_left(self.peaks, self.dropped)]
        # Not before it has doubled: dropping then costs a constant per transaction.
        self.trim_at = max(_FIRST_TRIM, 2 * len(keys))
        return gone


def add_to(numbers: array[int], start: int, amount: int) -> None:
    """Add to all numbers from `start` on, wrapping at 64 bits."""
    if len(numbers) - start <= _FEW:
        for i in range(start, len(numbers)):
            numbers[i] = wrapped(numbers[i] + amount)
    else:
        view = np.frombuffer(numbers, np.int64)
        view[start:] += np.int64(amount)
