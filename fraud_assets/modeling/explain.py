"""What a model goes by: TreeSHAP contributions as reasons for an alert, and as shares of many rows.

A reason is plain data, the same for a day's batch and for a service that answers one transaction:
both come through `reasons`. There is one template per family of features; the names of the
families are those of `features.declarations`. The contributions come from the estimator, which
makes them add up to its margin. What is said is what raised the score, not what caused a fraud.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.modeling.encoding import Matrix
from fraud_assets.modeling.estimators import Estimator

Value = float | str | None
_Show = Callable[[Value], str]
_Say = Callable[[re.Match[str], Value, Value], str]


@dataclass(frozen=True)
class Reason:
    """One feature that raised a score: what it was, what is usual, and how much it added.

    `value` and `typical` are in the feature's own unit, None where missing or not known.
    `contribution` is on the margin's scale: log-odds for boosted trees and the logistic
    regression, 4 (p - 1/2) for the forest. Those of all features and the base add up to the margin.
    """

    feature: str
    value: Value
    typical: Value
    contribution: float
    sentence: str


def reasons(
    rows: pl.DataFrame,
    contributions: npt.NDArray[Any],
    typical: Mapping[str, Value],
    k: int = 3,
) -> list[list[Reason]]:
    """For each row, the `k` features that raised its margin most.

    Only positive contributions count, the largest first, equal ones in the order of the columns.
    Where none is positive (the base alone makes the alert) the largest one is named, so that there
    is always a reason.

    Args:
        rows: the features as they are (not encoded), shape (n, f).
        contributions: shape (n, f + 1), in the order of the columns; the last is the base value.
        typical: per feature the value that is usual in training; may lack some.
        k: most reasons per row, at least 1.

    Raises:
        ValueError: the shapes do not fit, a contribution is not finite, or `k` is less than 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}: an alert has at least one reason")
    if rows.width == 0 or contributions.shape != (rows.height, rows.width + 1):
        raise ValueError(
            f"contributions of shape {contributions.shape} for {rows.height} rows and "
            f"{rows.width} features: expected one more column, the base, and at least one feature"
        )
    if not np.isfinite(contributions).all():
        raise ValueError(
            "contributions are not finite, so that no feature can be named as the reason: "
            "the estimator, or its input, is broken"
        )
    shares = contributions[:, :-1]
    order = np.argsort(-shares, axis=1, kind="stable")[:, :k]
    largest = np.take_along_axis(shares, order, axis=1)
    names = rows.columns
    usual = [_known(typical.get(name)) for name in names]
    found = []
    for values, columns, added in zip(
        rows.iter_rows(), order.tolist(), largest.tolist(), strict=True
    ):
        count = max(1, sum(share > 0 for share in added))
        found.append(
            [
                Reason(
                    feature=names[i],
                    value=_known(values[i]),
                    typical=usual[i],
                    contribution=share,
                    sentence=sentence(names[i], values[i], usual[i]),
                )
                for i, share in zip(columns[:count], added[:count], strict=True)
            ]
        )
    return found


def reason_codes(
    rows: pl.DataFrame,
    contributions: npt.NDArray[Any],
    typical: Mapping[str, Value],
    k: int = 3,
) -> list[list[str]]:
    """The sentences of `reasons`, for where only text is kept; arguments and errors as there."""
    return [[one.sentence for one in row] for row in reasons(rows, contributions, typical, k)]


def mean_contributions(
    estimator: Estimator, matrix: Matrix, names: Sequence[str]
) -> dict[str, float]:
    """Each feature's share of the mean absolute contributions to the margin; they sum to 1.

    The global importance of Lundberg et al. 2020 (section "SHAP summary plots"), the largest
    first. Empty for a model that says the same of every row, and without rows.

    Args:
        estimator: fitted.
        matrix: rows to explain, shape (n, features).
        names: of the columns.
    """
    if matrix.shape[0] == 0:
        return {}
    found = np.abs(estimator.contributions(matrix)[:, :-1]).astype(np.float64).mean(axis=0)
    total = float(found.sum())
    if not total > 0:
        return {}
    order = np.argsort(-found, kind="stable")
    return {names[i]: float(found[i]) / total for i in order}


def sentence(name: str, value: Value, typical: Value = None) -> str:
    """One feature's value in words, with the usual one where that helps.

    Windows are rolling: "today" is the 24 hours that end with the transaction.

    >>> sentence("payer_count_1d", 5.0, 1.2)
    '5th transaction of the payer today; usual is 1.2'
    >>> sentence("payer_amount_ratio", 12.34)
    "amount is 12.3 times the payer's usual"
    >>> sentence("payee_risk_7d", 0.21, 0.0)
    "of the payee's transactions checked in 7 days, 21 % were frauds; usual is 0 %"
    >>> sentence("account_age", 3.0, 120.0)
    'account_age = 3; usual is 120'
    """
    value, typical = _known(value), _known(typical)
    template = _template(name)
    if template is None:
        return f"{name} = {_number(value)}{_usually(value, typical)}"
    match, say = template
    return say(match, value, typical)


def _known(value: Value) -> Value:
    return None if isinstance(value, float) and math.isnan(value) else value


def _number(value: Value) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return f"{value}"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    if abs(value) < 1:
        return f"{value:.2g}"
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def _percent(value: Value) -> str:
    return f"{value * 100:.3g} %" if isinstance(value, int | float) else _number(value)


def _money(value: Value) -> str:
    return f"{value:,.2f}" if isinstance(value, int | float) else _number(value)


def _duration(value: Value) -> str:
    if not isinstance(value, int | float):
        return _number(value)
    for unit, seconds in (("day", 86_400.0), ("hour", 3_600.0), ("minute", 60.0), ("second", 1.0)):
        if value >= seconds:
            shown = f"{value / seconds:.1f}".removesuffix(".0")
            return f"{shown} {unit}{'' if shown == '1' else 's'}"
    return "less than a second"


def _ordinal(value: float) -> str:
    number = int(value)
    endings = {1: "st", 2: "nd", 3: "rd"}
    ending = "th" if number % 100 in (11, 12, 13) else endings.get(number % 10, "th")
    return f"{number:,}{ending}"


def _usually(value: Value, typical: Value, show: _Show = _number) -> str:
    if typical is None:
        return ""
    usual = show(typical)
    return ", as usual" if show(value) == usual else f"; usual is {usual}"


def _window(match: re.Match[str], before: str) -> str:
    return "today" if match["days"] == "1" else f"{before} {match['days']} days"


def _history(what: str, show: _Show = _number) -> _Say:
    def say(match: re.Match[str], value: Value, typical: Value) -> str:
        subject = f"{match['entity']}'s {what} {_window(match, 'over')}"
        return f"{subject} is {show(value)}{_usually(value, typical, show)}"

    return say


def _nth(match: re.Match[str], value: Value, typical: Value) -> str:
    """A count that includes the transaction: which one of the window it is."""
    if not isinstance(value, int | float) or value < 1 or not float(value).is_integer():
        return _history("number of transactions")(match, value, typical)
    which = f"{_ordinal(value)} transaction of the {match['entity']} {_window(match, 'in')}"
    return which + _usually(value, typical)


def _risk(match: re.Match[str], value: Value, typical: Value) -> str:
    """Labels come days after their transactions: a rate "of today" would be taken for today's."""
    if value is None:
        return f"share of frauds among the {match['entity']}'s checked transactions is unknown"
    checked = f"of the {match['entity']}'s transactions checked {_window(match, 'in')}"
    return f"{checked}, {_percent(value)} were frauds{_usually(value, typical, _percent)}"


def _labelled_count(match: re.Match[str], value: Value, typical: Value) -> str:
    if value is None:
        return f"how many transactions of the {match['entity']} came to be checked is unknown"
    shown = f"{'no' if value == 0 else _number(value)} transaction{'' if value == 1 else 's'}"
    came = f"{shown} of the {match['entity']} came to be checked {_window(match, 'in')}"
    return came + _usually(value, typical)


def _since(what: str, never: str) -> _Say:
    """Seconds since something; `what` and `never` say whose by `{entity}`."""

    def say(match: re.Match[str], value: Value, typical: Value) -> str:
        entity = match["entity"]
        if value is None:
            return never.format(entity=entity)
        usual = _usually(value, typical, _duration)
        return f"{what.format(entity=entity)} {_duration(value)} before{usual}"

    return say


def _ratio(match: re.Match[str], value: Value, _: Value) -> str:
    if value is None:
        return f"no earlier amounts of the {match['entity']} to compare with"
    shown = f"{value:.1f}" if isinstance(value, int | float) else value
    return f"amount is {shown} times the {match['entity']}'s usual"


def _last_label(match: re.Match[str], value: Value, _: Value) -> str:
    if value is None:
        return f"no transaction of the {match['entity']} has been checked in recent days"
    verdict = "a fraud" if value else "legitimate"
    return f"{match['entity']}'s latest checked transaction was {verdict}"


def _flag(yes: str, no: str) -> _Say:
    def say(match: re.Match[str], value: Value, _: Value) -> str:
        return f"{match[0]} is unknown" if value is None else yes if value else no

    return say


def _hour(_: re.Match[str], value: Value, typical: Value) -> str:
    return f"it happened at {_number(value)} h UTC{_usually(value, typical)}"


def _plainly(show: _Show) -> _Say:
    def say(match: re.Match[str], value: Value, typical: Value) -> str:
        return f"{match[0]} is {show(value)}{_usually(value, typical, show)}"

    return say


def _smallest_fraud(match: re.Match[str], value: Value, typical: Value) -> str:
    if value is None:
        return _NO_FRAUD.format(entity=match["entity"])
    smallest = f"smallest recent fraud of the {match['entity']} was {_money(value)}"
    return smallest + _usually(value, typical, _money)


_NO_FRAUD: Final = "no fraud of the {entity} became known in recent days"
_ENTITY = r"(?P<entity>payer|payee)"
_WINDOW = r"_(?P<days>\d+)d"

_TEMPLATES: Final[tuple[tuple[re.Pattern[str], _Say], ...]] = tuple(
    (re.compile(pattern), say)
    for pattern, say in (
        (r"amount", _plainly(_money)),
        (r"kind", _plainly(_number)),
        (r"hour", _hour),
        (r"is_night", _flag("it happened at night", "it happened by day")),
        (r"is_weekend", _flag("it happened on a weekend", "it happened on a weekday")),
        (
            r"is_new_payee",
            _flag("first payment to this payee in recent days", "payee was paid before"),
        ),
        (rf"{_ENTITY}_amount_ratio", _ratio),
        (rf"{_ENTITY}_count{_WINDOW}", _nth),
        (rf"{_ENTITY}_sum_amount{_WINDOW}", _history("total amount", _money)),
        (rf"{_ENTITY}_mean_amount{_WINDOW}", _history("mean amount", _money)),
        (rf"{_ENTITY}_max_amount{_WINDOW}", _history("largest amount", _money)),
        (rf"{_ENTITY}_risk{_WINDOW}", _risk),
        (rf"{_ENTITY}_labelled_count{_WINDOW}", _labelled_count),
        (rf"{_ENTITY}_last_label", _last_label),
        (rf"{_ENTITY}_smallest_known_fraud", _smallest_fraud),
        (
            rf"{_ENTITY}_seconds_since_last",
            _since(
                "{entity}'s previous transaction was",
                "first transaction of the {entity} in recent days",
            ),
        ),
        (
            rf"{_ENTITY}_seconds_since_known_fraud",
            _since("{entity}'s latest fraud became known", _NO_FRAUD),
        ),
        (
            rf"{_ENTITY}_seconds_since_first_known_fraud",
            _since("{entity}'s first recent fraud became known", _NO_FRAUD),
        ),
    )
)


@lru_cache(maxsize=1024)
def _template(name: str) -> tuple[re.Match[str], _Say] | None:
    """How to say a feature; remembered, as the same few names come with every alert."""
    for pattern, say in _TEMPLATES:
        match = pattern.fullmatch(name)
        if match is not None:
            return match, say
    return None
