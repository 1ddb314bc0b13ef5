"""What a client may ask the scoring routes, checked against the profile, and what it is answered.

A transaction that the daily validation would set aside is refused here, for the same reasons, with
every field that is wrong. How an answer comes about belongs in `service`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final, Self

import msgspec

from fraud_assets.features.online.events import OnlineTransaction
from fraud_assets.serving.texts import Identifier, text_reader
from fraud_assets.store.answers import StoredAnswer
from fraud_assets.store.records import EPOCH, MICROSECOND
from fraud_assets.transactions.profile import Profile
from fraud_assets.transactions.schema import MAX_TEXT_BYTES

Extra = float | str | None
Problem = dict[str, str]
Check = Callable[[object], str | None]


class ScoreRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """One transaction, as a payment system describes it when it happens.

    Ids and categories mean what they mean in the daily files: blanks around them do not count,
    "596.0" is "596", and the profile's null values, as "" and "NA", say that there is none.
    """

    transaction_id: Identifier
    event_time: Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339, with its zone")]
    amount: Annotated[float, msgspec.Meta(description="In the currency's main unit")]
    payer_id: Identifier | None = None
    payee_id: Identifier | None = None
    kind: str | None = None
    extras: dict[str, Extra] = {}
    """The profile's extra numbers and categories, by name."""


class BatchRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Several transactions, answered one by one and in their order."""

    transactions: list[msgspec.Raw]


class AnswerBody(msgspec.Struct, frozen=True, gc=False):
    """What is answered about one transaction."""

    transaction_id: str
    probability: float
    decision: str
    threshold: float
    reasons: list[str]
    model_version: str
    model_hash: str
    served_by: str
    fallback: str | None
    repeated: bool
    scored_at: datetime

    @classmethod
    def of(cls, answer: StoredAnswer, *, repeated: bool) -> Self:
        """The answer as it is sent; a repeated one is word for word what was said first."""
        return cls(
            transaction_id=answer.transaction_id,
            probability=answer.score,
            decision=answer.decision,
            threshold=answer.threshold,
            reasons=answer.reasons,
            model_version=answer.model_version,
            model_hash=answer.model_hash,
            served_by=answer.served_by,
            fallback=answer.fallback,
            repeated=repeated,
            scored_at=EPOCH + answer.scored_at_us * MICROSECOND,
        )


class RefusedTransactionError(ValueError):
    """A transaction that cannot be scored; `problems` holds a `field` and a `message` for each."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{one['field']}: {one['message']}" for one in problems))


class ConflictError(ValueError):
    """A transaction id that has been answered for other content."""


class UnavailableError(RuntimeError):
    """The service cannot answer now; asking again later is safe."""


_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")


def digest_of(transaction: OnlineTransaction) -> str:
    """A hash of all that was said of a transaction: 32 hexadecimal characters."""
    return hashlib.blake2b(_encoder.encode(transaction), digest_size=16).hexdigest()


class RequestRules:
    """How the profile reads and judges single transactions, compiled once.

    What is read is what `transactions.canonical` reads, and the rules are those of
    `transactions.schema.transaction_rules`, said over values instead of columns; tests hold the
    two against each other.
    """

    def __init__(self, profile: Profile, *, max_ahead_seconds: float) -> None:
        roles = profile.columns
        self._text = text_reader(profile.csv)
        self._ahead = timedelta(seconds=max_ahead_seconds)
        self._ahead_seconds = max_ahead_seconds
        self._earliest, self._latest = roles.time.earliest, roles.time.latest
        self._transaction_id = _needed(_identifier)
        self._amount = _number(roles.amount.minimum, roles.amount.maximum)
        self._payer = _unmapped("payer") if roles.payer is None else _needed(_identifier)
        self._payee = _unmapped("payee") if roles.payee is None else _optional(_identifier)
        self._kind = (
            _unmapped("kind") if roles.kind is None else _needed(_category(roles.kind.allowed))
        )
        self._categories = frozenset(one.name for one in profile.categorical)
        self._extras: dict[str, Check] = {
            **{one.name: _number(one.minimum, one.maximum) for one in profile.numeric},
            **{one.name: _category(one.allowed) for one in profile.categorical},
        }
        self._required = [
            *(one.name for one in profile.numeric if not one.nullable),
            *(one.name for one in profile.categorical if not one.nullable),
        ]

    def read(self, request: ScoreRequest, now: datetime) -> OnlineTransaction:
        """The transaction as the daily files would tell it.

        Two requests that say the same in other words are read as the same transaction: an extra
        that is null is left out, and a time is an instant whatever its zone.

        Args:
            request: as it came.
            now: what lies further ahead of it than is allowed is refused.

        Raises:
            RefusedTransactionError: names every field for which the daily validation would set
                the transaction aside, or that lies in the future.
        """
        text = self._text
        name, event_time = text(request.transaction_id), request.event_time
        payer, payee, kind = text(request.payer_id), text(request.payee_id), text(request.kind)
        extras, wrong_extras = self._read_extras(request.extras)
        told = (
            ("transaction_id", self._transaction_id(name)),
            ("event_time", self._time(event_time, now)),
            ("amount", self._amount(request.amount)),
            ("payer_id", self._payer(payer)),
            ("payee_id", self._payee(payee)),
            ("kind", self._kind(kind)),
        )
        found = [_field(field, problem) for field, problem in told if problem is not None]
        found += wrong_extras
        if name is None or found:
            raise RefusedTransactionError(found)
        return OnlineTransaction(
            transaction_id=name,
            event_time_us=(event_time - EPOCH) // MICROSECOND,
            amount=request.amount,
            payer_id=payer,
            payee_id=payee,
            kind=kind,
            extras=extras,
        )

    def _time(self, event_time: datetime, now: datetime) -> str | None:
        if not self._earliest <= event_time <= self._latest:
            return f"not a time from {self._earliest:%Y-%m-%d} to {self._latest:%Y-%m-%d}"
        if event_time > now + self._ahead:
            # One clock that is a year ahead would make everything after it late.
            return (
                f"more than {self._ahead_seconds:.0f} seconds in the future of this server's clock"
            )
        return None

    def _read_extras(self, given: Mapping[str, Extra]) -> tuple[dict[str, Extra], list[Problem]]:
        """The extras that are there, and what is wrong with all of them."""
        extras: dict[str, Extra] = {}
        found: list[Problem] = []
        for name, value in given.items():
            check = self._extras.get(name)
            if check is None:
                known = ", ".join(self._extras) or "none"
                found.append(_field(f"extras.{name[:64]}", f"unknown; the profile has: {known}"))
                continue
            if isinstance(value, str) and name in self._categories:
                value = self._text(value)  # noqa: PLW2901
            if value is None:
                continue
            extras[name] = value
            problem = check(value)
            if problem is not None:
                found.append(_field(f"extras.{name}", problem))
        missing = [name for name in self._required if name not in extras]
        return extras, found + [_field(f"extras.{name}", "missing") for name in missing]


def _field(name: str, message: str) -> Problem:
    return {"field": name, "message": message}


def _identifier(value: object) -> str | None:
    if not isinstance(value, str):
        return "not a text"
    if not value:
        return "empty"
    if len(value) > MAX_TEXT_BYTES or len(value.encode()) > MAX_TEXT_BYTES:
        return f"longer than {MAX_TEXT_BYTES} bytes"
    if "\x00" in value:
        return "contains a NUL character"
    return None


def _needed(check: Check) -> Check:
    return lambda value: "missing" if value is None else check(value)


def _optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _unmapped(role: str) -> Check:
    return lambda value: None if value is None else f"the profile has no {role}: leave it out"


def _number(minimum: float | None, maximum: float | None) -> Check:
    def check(value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return "not a number"
        if not math.isfinite(value):
            return "not finite"
        if minimum is not None and value < minimum:
            return f"below {minimum:g}"
        if maximum is not None and value > maximum:
            return f"above {maximum:g}"
        return None

    return check


def _category(allowed: list[str] | None) -> Check:
    if allowed is None:
        return _identifier
    # As in `transaction_rules`: the reader writes whole numbers without a fraction.
    values = [_WHOLE.sub(r"\1", one.strip()) for one in allowed]

    def check(value: object) -> str | None:
        if not isinstance(value, str):
            return "not a text"
        return None if value in values else f"not one of {', '.join(values)}"

    return check


_WHOLE: Final = re.compile(r"^(-?\d+)\.0$")
