"""How numbers are written where people read them: in model cards and on evaluation pages.

One way for each kind of number, and one word for what could not be computed. What the numbers
mean belongs in `caveats`, sentences about single transactions in `explain`.
"""

from __future__ import annotations

from typing import Final

from fraud_assets.modeling.bootstrap import Interval

NOT_COMPUTABLE: Final = "not computable"

_DIMENSIONS: Final = {"new_payee": "payee", "hour": "hour (UTC)", "scenario": "fraud scenario"}


def metric(value: float | None, digits: int = 3) -> str:
    """A metric or an error of one, with fixed digits so that a column lines up.

    >>> metric(0.48249), metric(None)
    ('0.482', 'not computable')
    """
    return NOT_COMPUTABLE if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A gain, whose sign is the news.

    >>> signed(0.0211), signed(-3.5, 0), signed(0.0)
    ('+0.021', '-4', '+0.000')
    """
    return NOT_COMPUTABLE if value is None else f"{value:+,.{digits}f}"


def share(value: float | None) -> str:
    """A part of a whole as a percentage, with two digits where it is below one.

    >>> share(0.4813), share(0.0084), share(0.00084), share(1.0), share(0.0)
    ('48.1%', '0.84%', '0.084%', '100%', '0%')
    """
    if value is None:
        return NOT_COMPUTABLE
    percent = 100 * value
    if 0 < abs(percent) < 1:
        return f"{percent:.2g}%"
    return f"{percent:.1f}".removesuffix(".0") + "%"


def money(value: float | None) -> str:
    """An amount in the profile's currency, in whole units.

    >>> money(455961.4), money(None)
    ('455,961', 'not computable')
    """
    return NOT_COMPUTABLE if value is None else f"{value:,.0f}"


def count(value: int, what: str = "", plural: str | None = None) -> str:
    """A number of things, with the thing's name in the right number if it is given.

    >>> count(12345), count(1, "fraud"), count(2, "fraud"), count(0, "day")
    ('12,345', '1 fraud', '2 frauds', '0 days')
    """
    if not what:
        return f"{value:,}"
    return f"{value:,} {what if value == 1 else plural or what + 's'}"


def limits(low: float | None, high: float | None, digits: int = 3) -> str:
    """The two ends of an interval of metrics; empty if there is none.

    >>> limits(0.4, 0.51), limits(None, 1.0)
    ('0.400 to 0.510', '')
    """
    return "" if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}"


def share_limits(low: float | None, high: float | None) -> str:
    """The two ends of an interval of shares; empty if there is none.

    >>> share_limits(0.4, 0.517)
    '40% to 51.7%'
    """
    return "" if low is None or high is None else f"{share(low)} to {share(high)}"


def estimate(interval: Interval, digits: int = 3) -> str:
    """An estimate with its interval.

    >>> estimate(Interval(0.482, 0.41, 0.55))
    '0.482 (0.410 to 0.550)'
    >>> estimate(Interval(0.482, None, None))
    '0.482 (no interval)'
    """
    if interval.estimate is None:
        return NOT_COMPUTABLE
    ends = limits(interval.low, interval.high, digits) or "no interval"
    return f"{metric(interval.estimate, digits)} ({ends})"


def gain(interval: Interval, digits: int = 3) -> str:
    """A gain with its interval, all signed.

    >>> gain(Interval(0.02, -0.01, 0.05))
    '+0.020 (-0.010 to +0.050)'
    """
    if interval.estimate is None:
        return NOT_COMPUTABLE
    if interval.low is None or interval.high is None:
        return f"{signed(interval.estimate, digits)} (no interval)"
    ends = f"{signed(interval.low, digits)} to {signed(interval.high, digits)}"
    return f"{signed(interval.estimate, digits)} ({ends})"


def dimension(name: str) -> str:
    """What the slices of a dimension are told apart by.

    >>> dimension("hour")
    'hour (UTC)'
    """
    return _DIMENSIONS.get(name, name.replace("_", " "))


def plain(value: object) -> str:
    """A value of any kind: parameters, typical values.

    >>> plain(0.125), plain(1e-06), plain(3), plain("TRANSFER"), plain(None)
    ('0.125', '1e-06', '3', 'TRANSFER', 'unknown')
    """
    if value is None:
        return "unknown"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
