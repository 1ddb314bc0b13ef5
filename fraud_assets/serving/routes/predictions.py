"""What was scored, online and in batch: lists of it, single transactions, and counts by day.

How the rows are found is the business of `store.listing`; here are the filters, the cursors and
the words in which it is told.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Path, Query

from fraud_assets.modeling.decision import ALERT, PASS
from fraud_assets.serving.bodies import Day, DayCounts, Page, Prediction, Statistics
from fraud_assets.serving.cursors import read_cursor, write_cursor
from fraud_assets.serving.problems import ProblemError
from fraud_assets.serving.routes.common import Reader, Service, problems
from fraud_assets.store.answers import get_answer
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.labels import label_history
from fraud_assets.store.listing import (
    LabelState,
    ListingFilter,
    Origin,
    list_scored,
    page_end,
    statistics,
)
from fraud_assets.store.predictions import get

router = APIRouter(prefix="/v1", tags=["predictions"])

MAX_LIMIT: Final = 1_000
MAX_STATISTICS_DAYS: Final = 366

Score = Annotated[float | None, Query(ge=0, le=1, allow_inf_nan=False)]
Text = Annotated[str | None, Query(pattern=r"^[^\x00]+$", max_length=1_024)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[
    str | None, Query(description="`next_cursor` of the page before, for what follows it")
]


def _filter(
    *,
    first_day: Annotated[Day | None, Query()] = None,
    last_day: Annotated[Day | None, Query()] = None,
    payer_id: Text = None,
    min_score: Score = None,
    max_score: Score = None,
    model_version: Text = None,
    label: Annotated[LabelState | None, Query(description="The latest an analyst said")] = None,
    origin: Annotated[Origin | None, Query(description="API or daily batch")] = None,
) -> ListingFilter:
    return ListingFilter(
        first_day=first_day,
        last_day=last_day,
        payer_id=payer_id,
        min_score=min_score,
        max_score=max_score,
        model_version=model_version,
        label=label,
        origin=origin,
    )


Wanted = Annotated[ListingFilter, Depends(_filter)]


@router.get("/predictions", responses=problems(400, 422))
def list_predictions(
    wanted: Wanted,
    service: Service,
    _caller: Reader,
    decision: Annotated[Literal["alert", "pass"] | None, Query()] = None,
    *,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Prediction]:
    """Scored transactions: the newest day first, then the highest score.

    A transaction that was answered online and scored with its day is listed twice. Filters by
    payer, score or version look through every transaction of the days: give a range of days too.
    """
    return _page(service.store, replace(wanted, decision=decision), limit, cursor)


@router.get("/frauds", responses=problems(400, 422))
def list_frauds(
    wanted: Wanted, service: Service, _caller: Reader, *, limit: Limit = 100, cursor: Cursor = None
) -> Page[Prediction]:
    """The alerts: transactions that were predicted to be fraud."""
    return _page(service.store, replace(wanted, decision=ALERT), limit, cursor)


@router.get("/non-frauds", responses=problems(400, 422))
def list_non_frauds(
    wanted: Wanted, service: Service, _caller: Reader, *, limit: Limit = 100, cursor: Cursor = None
) -> Page[Prediction]:
    """Transactions that were predicted to be legitimate."""
    return _page(service.store, replace(wanted, decision=PASS), limit, cursor)


@router.get("/predictions/{transaction_id:path}", responses=problems(404, 422))
def find_prediction(
    transaction_id: Annotated[str, Path(pattern=r"^[^\x00]+$")], service: Service, _caller: Reader
) -> Prediction:
    """One transaction: what was answered, else what the batch said."""
    # What was answered a moment ago may not be in the store yet.
    answer = service.remembered(transaction_id) or get_answer(service.store, transaction_id)
    said = label_history(service.store, transaction_id)
    label = sorted(said, key=lambda one: one.labelled_at)[-1].label if said else None
    if answer is not None:
        return Prediction.of_answer(answer, label)
    predicted = get(service.store, transaction_id)
    if predicted is None:
        raise ProblemError(404, f"transaction {transaction_id} was never scored here")
    return Prediction.of_batch(predicted, label)


@router.get("/statistics", responses=problems(422))
def count_by_day(
    first_day: Annotated[Day, Query()],
    last_day: Annotated[Day, Query()],
    service: Service,
    _caller: Reader,
) -> Statistics:
    """Counts by day, origin and model version; both days are included."""
    if not 0 <= (last_day - first_day).days < MAX_STATISTICS_DAYS:
        message = f"not from first_day to {MAX_STATISTICS_DAYS - 1} days after it"
        raise ProblemError(
            422, "the request is refused", problems=[{"field": "last_day", "message": message}]
        )
    days = statistics(service.store, first_day, last_day)
    return Statistics(days=[DayCounts.of(one) for one in days])


def _page(
    store: PredictionStore, wanted: ListingFilter, limit: int, cursor: str | None
) -> Page[Prediction]:
    after = None if cursor is None else read_cursor(cursor, wanted)
    # One more than asked for tells whether there is another page.
    rows = list_scored(store, wanted, limit=limit + 1, after=after)
    end = page_end(rows[:limit]) if len(rows) > limit else None
    return Page(
        items=[Prediction.of_row(row) for row in rows[:limit]],
        next_cursor=None if end is None else write_cursor(end, wanted),
    )
