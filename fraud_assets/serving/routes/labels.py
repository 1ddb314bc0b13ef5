"""What became known of transactions: appended to the store, where the whole system reads it.

What a label means, and from when on it may be used, is the business of `store.labels` and
`features.semantics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Path, Response
from pydantic import Field, ValidationError

from fraud_assets.serving.bodies import Label, Labels, NewLabel, label_name
from fraud_assets.serving.problems import ProblemError
from fraud_assets.serving.routes.common import Labeller, Reader, Service, problems
from fraud_assets.serving.service import ScoringService
from fraud_assets.store.answers import get_answer
from fraud_assets.store.decisions import last_closed_day
from fraud_assets.store.labels import MAX_AMOUNT, AnalystLabel, append_unsaid, label_history
from fraud_assets.store.predictions import get
from fraud_assets.store.records import EPOCH, MICROSECOND

router = APIRouter(prefix="/v1/labels", tags=["labels"])

MAX_LABELS: Final = 1_000
_NAMED: Final = 20
"""Unknown transactions that a refusal names."""


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": Labels, "description": "All of it had been said before; nothing is added"},
        **problems(404, 422, body=True),
    },
)
def add(
    given: NewLabel | Annotated[list[NewLabel], Field(min_length=1, max_length=MAX_LABELS)],
    service: Service,
    caller: Labeller,
    response: Response,
) -> Labels:
    """Append one label, or a list of them: all or none.

    What is known of a transaction here counts more than what comes with its label.

    Sending a request again is safe. A label that its author has given before, of the same
    transaction, with the same note and the same `labelled_at`, is answered and not added. Without
    `labelled_at` the author's last word on the transaction counts, for 24 hours. A request of which
    nothing is added is answered 200.
    """
    new = given if isinstance(given, list) else [given]
    known = _known_of(service, new)
    limits = _Limits.of(service)
    labels: list[AnalystLabel] = []
    refused: list[dict[str, str]] = []
    for position, one in enumerate(new):
        about = known[one.transaction_id] or _described(one)
        try:
            labels.append(_label(one, about, limits, author=one.author or caller.name))
        except _RefusedLabelError as error:
            prefix = f"{position}." if isinstance(given, list) else ""
            refused.append({"field": f"{prefix}{error.field}", "message": str(error)})
    if refused:
        raise ProblemError(422, "refused, and nothing is stored", problems=refused)
    undated = {position for position, one in enumerate(new) if one.labelled_at is None}
    stored, added = append_unsaid(service.store, labels, undated=undated)
    if not added:
        response.status_code = 200
    return Labels(labels=[_shown(label) for label in stored])


@router.get("/{transaction_id:path}", responses=problems(404, 422))
def list_of(
    transaction_id: Annotated[str, Path(pattern=r"^[^\x00]+$")], service: Service, _caller: Reader
) -> Labels:
    """Everything that was said of a transaction, oldest first."""
    labels = label_history(service.store, transaction_id)
    if not labels and _known(service, transaction_id) is None:
        raise ProblemError(404, f"transaction {transaction_id} is unknown here")
    return Labels(labels=[_shown(label) for label in labels])


class _RefusedLabelError(ValueError):
    """A label that cannot be stored; the message is for whoever sent it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class _Limits:
    """What a label may say, as of one request.

    Attributes:
        now: by this server's clock.
        ahead: how much further than that its sender's clock may be.
        earliest: event times before it are wrong.
        latest: event times after it are wrong.
        open_from: the first moment whose labels training will still read; None: any.
        max_amount: of a transaction.
    """

    now: datetime
    ahead: timedelta
    earliest: datetime
    latest: datetime
    open_from: datetime | None
    max_amount: float

    @classmethod
    def of(cls, service: ScoringService) -> Self:
        columns = service.profile.columns
        closed = last_closed_day(service.store)
        return cls(
            now=datetime.now(UTC),
            ahead=timedelta(seconds=service.settings.api.max_ahead_seconds),
            earliest=columns.time.earliest,
            latest=columns.time.latest,
            open_from=None
            if closed is None
            else datetime.combine(closed + timedelta(days=1), time.min, tzinfo=UTC),
            max_amount=min(columns.amount.maximum, MAX_AMOUNT),
        )


def _label(
    given: NewLabel, about: Mapping[str, Any], limits: _Limits, *, author: str
) -> AnalystLabel:
    """A label as it is to be stored.

    Raises:
        _RefusedLabelError: it cannot be.
    """
    event_time = about["event_time"]
    if not limits.earliest <= event_time <= limits.latest:
        raise _RefusedLabelError(
            "event_time", f"not a time from {limits.earliest:%Y-%m-%d} to {limits.latest:%Y-%m-%d}"
        )
    if given.amount is not None and given.amount > limits.max_amount:
        raise _RefusedLabelError("amount", f"greater than {limits.max_amount:g}")
    # Without a time of its own it is known now, by a clock that may differ from the sender's.
    soonest = max(limits.now, event_time)
    at = given.labelled_at
    if at is None:
        at = soonest if limits.open_from is None else max(soonest, limits.open_from)
    elif at - soonest > limits.ahead:
        # Nobody would hear of it before that day is closed, if it ever is.
        raise _RefusedLabelError("labelled_at", "in the future of this server's clock")
    elif limits.open_from is not None and event_time <= at < limits.open_from:
        # The labels of a closed day have been read: this one would be learnt here alone.
        raise _RefusedLabelError(
            "labelled_at",
            f"before {limits.open_from:%Y-%m-%d}, on a day that is closed: leave it out, and the "
            "label counts from now on",
        )
    try:
        return AnalystLabel(
            transaction_id=given.transaction_id,
            label=1 if given.label == "fraud" else 0,
            labelled_at=at,
            author=author,
            note=given.note,
            **about,
        )
    except ValidationError as error:
        wrong = error.errors(include_input=False)
        # The one rule about two fields has no place of its own.
        field = str(wrong[0]["loc"][0]) if wrong[0]["loc"] else "labelled_at"
        raise _RefusedLabelError(field, "; ".join(item["msg"] for item in wrong)) from error


def _known_of(
    service: ScoringService, new: Iterable[NewLabel]
) -> dict[str, Mapping[str, Any] | None]:
    """What is known of each transaction; None for one that its label describes.

    Raises:
        ProblemError: 404, one is unknown and not described either.
    """
    known = {label.transaction_id: _known(service, label.transaction_id) for label in new}
    unknown = [
        one.transaction_id
        for one in new
        if known[one.transaction_id] is None and one.event_time is None
    ]
    if unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        raise ProblemError(
            404,
            f"nothing is stored; not scored here: {', '.join(unknown[:_NAMED])}{more}; with an "
            "event_time such a transaction can be labelled too",
        )
    return known


def _known(service: ScoringService, transaction_id: str) -> Mapping[str, Any] | None:
    """What the service knows of a transaction, as fields of `AnalystLabel`; None if nothing."""
    answer = service.remembered(transaction_id) or get_answer(service.store, transaction_id)
    if answer is not None:
        return {
            "event_time": EPOCH + answer.event_time_us * MICROSECOND,
            "event_order_us": answer.event_order_us,
            "payer_id": answer.payer_id,
            "payee_id": answer.payee_id,
            "amount": answer.amount,
        }
    predicted = get(service.store, transaction_id)
    if predicted is None:
        return None
    return {name: predicted[name] for name in ("event_time", "payer_id", "amount")}


def _described(label: NewLabel) -> Mapping[str, Any]:
    """What the sender says of a transaction that nobody scored here."""
    return label.model_dump(include={"event_time", "payer_id", "payee_id", "amount"})


def _shown(label: AnalystLabel) -> Label:
    return Label(
        transaction_id=label.transaction_id,
        label=label_name(label.label),
        labelled_at=label.labelled_at,
        author=label.author,
        source=label.source,
        note=label.note,
        event_time=label.event_time,
        payer_id=label.payer_id,
        payee_id=label.payee_id,
        amount=label.amount,
    )
