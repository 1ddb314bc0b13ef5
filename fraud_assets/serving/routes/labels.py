"""What became known of transactions: appended to the store, where the whole system reads it.

What a label means, and from when on it may be used, is the business of `store.labels` and
`features.semantics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from pydantic import Field, ValidationError

from fraud_assets.serving.bodies import Label, Labels, NewLabel, label_name
from fraud_assets.serving.problems import ProblemError
from fraud_assets.serving.routes.common import Labeller, Reader, Service, problems
from fraud_assets.serving.service import ScoringService
from fraud_assets.store.answers import get_answer
from fraud_assets.store.labels import AnalystLabel, append_labels, label_history
from fraud_assets.store.predictions import get
from fraud_assets.store.records import EPOCH, MICROSECOND

router = APIRouter(prefix="/v1/labels", tags=["labels"])

MAX_LABELS: Final = 1_000
_NAMED: Final = 20
"""Unknown transactions that a refusal names."""


@router.post("", status_code=201, responses=problems(404, 422, body=True))
def add(
    given: NewLabel | Annotated[list[NewLabel], Field(min_length=1, max_length=MAX_LABELS)],
    service: Service,
    caller: Labeller,
) -> Labels:
    """Append one label, or a list of them: all or none.

    What is known of a transaction here counts more than what comes with its label.
    """
    new = given if isinstance(given, list) else [given]
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
    now = datetime.now(UTC)
    ahead = timedelta(seconds=service.settings.api.max_ahead_seconds)
    roles = service.profile.columns.time
    labels: list[AnalystLabel] = []
    refused: list[dict[str, str]] = []
    for position, one in enumerate(new):
        about = known[one.transaction_id] or _described(one)
        # Without a time of its own it is known now, by a clock that may differ from the sender's.
        at = one.labelled_at or max(now, about["event_time"])
        prefix = f"{position}." if isinstance(given, list) else ""
        if not roles.earliest <= about["event_time"] <= roles.latest:
            message = f"not a time from {roles.earliest:%Y-%m-%d} to {roles.latest:%Y-%m-%d}"
            refused.append({"field": f"{prefix}event_time", "message": message})
            continue
        if at - max(now, about["event_time"]) > ahead:
            # Nobody would hear of it before that day is closed, if it ever is.
            message = "in the future of this server's clock"
            refused.append({"field": f"{prefix}labelled_at", "message": message})
            continue
        try:
            labels.append(
                AnalystLabel(
                    transaction_id=one.transaction_id,
                    label=1 if one.label == "fraud" else 0,
                    labelled_at=at,
                    author=one.author or caller.name,
                    note=one.note,
                    **about,
                )
            )
        except ValidationError as error:
            reasons = "; ".join(item["msg"] for item in error.errors(include_input=False))
            refused.append({"field": f"{prefix}labelled_at", "message": reasons})
    if refused:
        raise ProblemError(422, "refused, and nothing is stored", problems=refused)
    append_labels(service.store, labels)
    return Labels(labels=[_shown(label) for label in labels])


@router.get("/{transaction_id:path}", responses=problems(404, 422))
def list_of(
    transaction_id: Annotated[str, Path(pattern=r"^[^\x00]+$")], service: Service, _caller: Reader
) -> Labels:
    """Everything that was said of a transaction, oldest first."""
    labels = label_history(service.store, transaction_id)
    if not labels and _known(service, transaction_id) is None:
        raise ProblemError(404, f"transaction {transaction_id} is unknown here")
    return Labels(labels=[_shown(label) for label in labels])


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
