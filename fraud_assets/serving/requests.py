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
from fraud_assets.store.answers import StoredAnswer
from fraud_assets.store.records import EPOCH, MICROSECOND
from fraud_assets.transactions.profile import Profile
from fraud_assets.transactions.schema import MAX_TEXT_BYTES

Identifier = str | int
"""Ids are texts. A whole number is taken as its digits, as the daily reading takes it."""

Problem = dict[str, str]
Check = Callable[[object], str | None]


class ScoreRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """One transaction, as a payment system describes it when it happens."""

    transaction_id: Identifier
    event_time: Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339, with its zone")]
    amount: Annotated[float, msgspec.Meta(description="In the currency's main unit")]
    payer_id: Identifier | None = None
    payee_id: Identifier | None = None
    kind: str | None = None
    extras: dict[str, float | str | None] = {}
    """The profile's extra numbers and categories, by name."""

    def transaction(self) -> OnlineTransaction:
        """The transaction in the form of the feature state."""
        payer, payee = self.payer_id, self.payee_id
        return OnlineTransaction(
            transaction_id=str(self.transaction_id),
            event_time_us=(self.event_time - EPOCH) // MICROSECOND,
            amount=self.amount,
            payer_id=None if payer is None else str(payer),
            payee_id=None if payee is None else str(payee),
            kind=self.kind,
            extras=self.extras,
        )


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
    """The profile's rules for single transactions, compiled once.

    They are those of `transactions.schema.transaction_rules`, said over values instead of columns;
    a test holds the two against each other.
    """

    def __init__(self, profile: Profile, *, max_ahead_seconds: float) -> None:
        roles = profile.columns
        self._ahead = timedelta(seconds=max_ahead_seconds)
        self._ahead_seconds = max_ahead_seconds
        self._earliest, self._latest = roles.time.earliest, roles.time.latest
        self._amount = _number(roles.amount.minimum, roles.amount.maximum)
        self._payer = _role("payer", mapped=roles.payer is not None, needed=True)
        self._payee = _role("payee", mapped=roles.payee is not None, needed=False)
        self._kind: Check
        if roles.kind is None:
            self._kind = _role("kind", mapped=False, needed=False)
        else:
            self._kind = _category(roles.kind.allowed, nullable=False)
        self._extras: dict[str, Check] = {}
        for number in profile.numeric:
            check = _number(number.minimum, number.maximum)
            self._extras[number.name] = _optional(check) if number.nullable else check
        for category in profile.categorical:
            self._extras[category.name] = _category(category.allowed, nullable=category.nullable)
        self._required = [
            *(one.name for one in profile.numeric if not one.nullable),
            *(one.name for one in profile.categorical if not one.nullable),
        ]

    def check(self, request: ScoreRequest, now: datetime) -> None:
        """Refuse what the daily validation would set aside, or what lies in the future.

        Raises:
            RefusedTransactionError: names every field that is wrong.
        """
        found = [
            *_problem("transaction_id", _identifier(request.transaction_id)),
            *_problem("event_time", self._time(request.event_time, now)),
            *_problem("amount", self._amount(request.amount)),
            *_problem("payer_id", self._payer(request.payer_id)),
            *_problem("payee_id", self._payee(request.payee_id)),
            *_problem("kind", self._kind(request.kind)),
        ]
        if self._extras or request.extras:
            found += self._problems_of_extras(request.extras)
        if found:
            raise RefusedTransactionError(found)

    def _time(self, event_time: datetime, now: datetime) -> str | None:
        if not self._earliest <= event_time <= self._latest:
            return f"not a time from {self._earliest:%Y-%m-%d} to {self._latest:%Y-%m-%d}"
        if event_time > now + self._ahead:
            # One clock that is a year ahead would make everything after it late.
            return (
                f"more than {self._ahead_seconds:.0f} seconds in the future of this server's clock"
            )
        return None

    def _problems_of_extras(self, extras: Mapping[str, float | str | None]) -> list[Problem]:
        found = []
        for name, value in extras.items():
            check = self._extras.get(name)
            if check is None:
                known = ", ".join(self._extras) or "none"
                found.append(_field(f"extras.{name[:64]}", f"unknown; the profile has: {known}"))
            else:
                found += _problem(f"extras.{name}", check(value))
        missing = [name for name in self._required if name not in extras]
        return found + [_field(f"extras.{name}", "missing") for name in missing]


def _field(name: str, message: str) -> Problem:
    return {"field": name, "message": message}


def _problem(name: str, message: str | None) -> list[Problem]:
    return [] if message is None else [_field(name, message)]


def _identifier(value: object) -> str | None:
    text = str(value)
    if not text.strip():
        return "empty"
    if len(text) > MAX_TEXT_BYTES or len(text.encode()) > MAX_TEXT_BYTES:
        return f"longer than {MAX_TEXT_BYTES} bytes"
    if "\x00" in text:
        return "contains a NUL character"
    return None


def _role(name: str, *, mapped: bool, needed: bool) -> Check:
    def check(value: object) -> str | None:
        if value is None:
            return "missing" if mapped and needed else None
        return _identifier(value) if mapped else f"the profile has no {name}: leave it out"

    return check


def _number(minimum: float | None, maximum: float | None) -> Check:
    def check(value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return "missing" if value is None else "not a number"
        if not math.isfinite(value):
            return "not finite"
        if minimum is not None and value < minimum:
            return f"below {minimum:g}"
        if maximum is not None and value > maximum:
            return f"above {maximum:g}"
        return None

    return check


def _category(allowed: list[str] | None, *, nullable: bool) -> Check:
    # As in `transaction_rules`: the reader writes whole numbers without a fraction.
    values = None if allowed is None else [_WHOLE.sub(r"\1", one.strip()) for one in allowed]

    def check(value: object) -> str | None:
        if value is None:
            return None if nullable else "missing"
        if not isinstance(value, str):
            return "not a text"
        if values is not None:
            return None if value in values else f"not one of {', '.join(values)}"
        return _identifier(value)

    return check


def _optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


_WHOLE: Final = re.compile(r"^(-?\d+)\.0$")
