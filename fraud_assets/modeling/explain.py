"""Why a transaction was alerted: TreeSHAP contributions turned into sentences.

One template per family of features; the names of the families are those of
`features.definitions`. The contributions come from the estimator: they are exact, and add up to
the margin. What is said is what raised the score, not what caused a fraud.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

Value = float | str | None
_Say = Callable[[re.Match[str], Value, Value], str]


def reason_codes(
    rows: pl.DataFrame,
    contributions: npt.NDArray[Any],
    typical: Mapping[str, Value],
    k: int = 3,
) -> list[list[str]]:
    """For each row, sentences about the `k` features that raised its margin most.

    Only positive contributions count, the largest first, equal ones in the order of the columns.
    Where none is positive (the base alone makes the alert) the largest one is named, so that there
    is always a reason.

    Args:
        rows: the features as they are (not encoded), shape (n, f).
        contributions: shape (n, f + 1), in the order of the columns; the last is the base value.
        typical: per feature the value that is usual in training; may lack some.
        k: most reasons per row, at least 1.

    Raises:
        ValueError: the shapes do not fit, or `k` is less than 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}: an alert has at least one reason")
    if contributions.shape != (rows.height, rows.width + 1):
        raise ValueError(
            f"contributions of shape {contributions.shape} for {rows.height} rows and "
            f"{rows.width} features: expected one more column, the base"
        )
    names = rows.columns
    reasons = []
    for values, shares in zip(rows.iter_rows(), contributions[:, :-1], strict=True):
        order = np.argsort(-shares, kind="stable")
        chosen = [i for i in order[:k] if shares[i] > 0] or [order[0]]
        reasons.append([sentence(names[i], values[i], typical.get(names[i])) for i in chosen])
    return reasons


def sentence(name: str, value: Value, typical: Value = None) -> str:
    """One feature's value in words, with the typical one where that helps.

    >>> sentence("payer_amount_ratio", 12.34)
    "amount is 12.3 times the payer's usual"
    >>> sentence("payee_risk_7d", 0.21, 0.0)
    "payee's fraud rate over 7 days is 21 % (typical 0 %)"
    >>> sentence("account_age", 3.0, 120.0)
    'account_age = 3 (typical 120)'
    """
    known = None if isinstance(value, float) and math.isnan(value) else value
    for pattern, say in _TEMPLATES:
        match = pattern.fullmatch(name)
        if match is not None:
            return say(match, known, typical)
    return f"{name} = {_number(known)}{_typically(typical)}"


def _number(value: Value) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, str):
        return value
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.2g}"


def _percent(value: Value) -> str:
    return f"{float(value) * 100:.3g} %" if isinstance(value, int | float) else _number(value)


def _money(value: Value) -> str:
    return f"{value:,.2f}" if isinstance(value, int | float) else _number(value)


def _duration(value: Value) -> str:
    if not isinstance(value, int | float):
        return _number(value)
    for unit, seconds in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if value >= seconds:
            return f"{value / seconds:.1f} {unit}"
    return f"{value:.0f} seconds"


def _typically(typical: Value, show: Callable[[Value], str] = _number) -> str:
    return "" if typical is None else f" (typical {show(typical)})"


def _over(match: re.Match[str]) -> str:
    return " over 1 day" if match["days"] == "1" else f" over {match['days']} days"


def _history(what: str, show: Callable[[Value], str] = _number) -> _Say:
    def say(match: re.Match[str], value: Value, typical: Value) -> str:
        subject = f"{match['entity']}'s {what}{_over(match)}"
        return f"{subject} is {show(value)}{_typically(typical, show)}"

    return say


def _since_last(match: re.Match[str], value: Value, typical: Value) -> str:
    if value is None:
        return f"first transaction of the {match['entity']} in recent days"
    before = f"{match['entity']}'s previous transaction was {_duration(value)} before"
    return before + _typically(typical, _duration)


def _ratio(match: re.Match[str], value: Value, _: Value) -> str:
    if value is None:
        return f"no earlier amounts of the {match['entity']} to compare with"
    shown = f"{value:.1f}" if isinstance(value, int | float) else value
    return f"amount is {shown} times the {match['entity']}'s usual"


def _flag(yes: str, no: str) -> _Say:
    def say(match: re.Match[str], value: Value, _: Value) -> str:
        return f"{match[0]} is unknown" if value is None else yes if value else no

    return say


def _amount(_: re.Match[str], value: Value, typical: Value) -> str:
    return f"amount is {_money(value)}{_typically(typical, _money)}"


_ENTITY = r"(?P<entity>payer|payee)"
_WINDOW = r"_(?P<days>\d+)d"

_TEMPLATES: Final[tuple[tuple[re.Pattern[str], _Say], ...]] = tuple(
    (re.compile(pattern), say)
    for pattern, say in (
        (r"amount", _amount),
        (r"hour", lambda _m, v, _t: f"it happened at {_number(v)} h UTC"),
        (r"kind", lambda _m, v, t: f"kind is {_number(v)}{_typically(t)}"),
        (r"is_night", _flag("it happened at night", "it happened by day")),
        (r"is_weekend", _flag("it happened on a weekend", "it happened on a weekday")),
        (
            r"is_new_payee",
            _flag("first payment to this payee in recent days", "payee was paid before"),
        ),
        (rf"{_ENTITY}_amount_ratio", _ratio),
        (rf"{_ENTITY}_count{_WINDOW}", _history("number of transactions")),
        (rf"{_ENTITY}_sum_amount{_WINDOW}", _history("total amount", _money)),
        (rf"{_ENTITY}_mean_amount{_WINDOW}", _history("mean amount", _money)),
        (rf"{_ENTITY}_max_amount{_WINDOW}", _history("largest amount", _money)),
        (rf"{_ENTITY}_risk{_WINDOW}", _history("fraud rate", _percent)),
        (rf"{_ENTITY}_labelled_count{_WINDOW}", _history("number of checked transactions")),
        (rf"{_ENTITY}_seconds_since_last", _since_last),
    )
)
