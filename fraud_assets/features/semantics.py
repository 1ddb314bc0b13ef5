"""What windows, sums and missing values mean, to the bit, for every engine.

Only constants and their arithmetic belong here: the batch compiler and an online state read the
same ones, so that their values can be equal rather than close.

- **Order.** `event_order_us` orders all transactions strictly; a transaction never sees a
  simultaneous one that arrived after it.
- **Window.** The window of w days at key t covers keys k with `t - window_reach_us(w) <= k <= t`:
  the half-open (t - w, t] of the Handbook, and the transaction itself. The reach is a millisecond
  short of w days, because the order key nudges ties apart by microseconds: a row at exactly t - w
  stays out although its key, or that of t, was nudged.
- **Amounts** are summed as integers, in ten-thousandths of the currency's unit, rounded half up.
  Integer sums do not depend on the order of adding, hence not on chunks or engines. An aggregate
  becomes a float once, at the end: a mean is `sum / (count * 10_000)`.
- **Labels** are events of their entity, at the moment when they may be used, see `known_us` in
  `batch.label_events`. One that becomes known at exactly t counts at t.
- **Missing.** Without its entity a feature over that entity's history is null, never 0.
"""

from __future__ import annotations

from typing import Final

SECOND_US: Final = 1_000_000
HOUR_US: Final = 3_600 * SECOND_US
DAY_US: Final = 24 * HOUR_US

TIE_ALLOWANCE_US: Final = 1_000
"""How far ties may be nudged apart before a row at exactly t - w slips into a window."""

AMOUNT_SCALE: Final = 10_000
"""Ten-thousandths: the finest minor unit of ISO 4217 (CLF, UYW) has four decimals."""

LAST_NIGHT_HOUR: Final = 6
"""Night is hour 0 to 6, UTC, as in the Handbook."""

EPOCH_WEEKDAY: Final = 3
"""1970-01-01 was a Thursday, counting from Monday = 0."""

FIRST_WEEKEND_DAY: Final = 5


def window_reach_us(window_days: int) -> int:
    """How far back, in microseconds, a window of `window_days` includes keys, both ends in."""
    return window_days * DAY_US - TIE_ALLOWANCE_US
