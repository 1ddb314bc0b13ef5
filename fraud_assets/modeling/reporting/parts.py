"""What pages of every kind are put together from: spans on a scale, and pictures in the text.

Only what several pages use belongs here; which numbers a page shows is its own module's business.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Where something begins on a scale and how long it is, in percent of the scale."""

    left: float
    width: float


@dataclass(frozen=True)
class Scale:
    """The values from the left end of a scale to its right end."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Iterable[float | None]) -> Scale:
        """A scale that holds zero and all values, with a little room at both ends."""
        known = [0.0, *(value for value in values if value is not None)]
        low, high = min(known), max(known)
        room = 0.05 * (high - low) or 0.01
        return cls(low - room, high + room)

    def place(self, value: float) -> float:
        """Where a value is, in percent from the left."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def point(self, value: float | None) -> float | None:
        """Where a value is; None if there is none."""
        return None if value is None else self.place(value)

    def span(self, low: float | None, high: float | None) -> Span | None:
        """Where an interval is; None if there is none."""
        if low is None or high is None:
            return None
        left = self.place(low)
        return Span(left, round(self.place(high) - left, 2))


@dataclass(frozen=True)
class Picture:
    """A picture in a page: its name and its caption in words, and its file as a data URI."""

    name: str
    caption: str
    source: str


def picture(name: str, caption: str, png: bytes) -> Picture:
    """A PNG for a page.

    Raises:
        ValueError: it is not a PNG.
    """
    if not png.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError(f"picture '{name}' is not a PNG: render it with `plots.render`")
    data = base64.b64encode(png).decode("ascii")
    return Picture(name, caption, f"data:image/png;base64,{data}")
