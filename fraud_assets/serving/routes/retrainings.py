"""Starting retrainings and following them. What they are is said in `serving.retraining`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from fraud_assets.serving.bodies import NewRetraining, Retraining, StartedRetraining
from fraud_assets.serving.problems import ProblemError
from fraud_assets.serving.retraining import (
    DagsterUnavailableError,
    Retrainings,
    UnderWayError,
    UnknownRunError,
)
from fraud_assets.serving.routes.common import Reader, Service, Trainer, problems
from fraud_assets.serving.service import ScoringService
from fraud_assets.store.decisions import last_closed_day

router = APIRouter(prefix="/v1/retrainings", tags=["retrainings"])

RunId = Annotated[str, Path(pattern=r"^[A-Za-z0-9-]{1,64}$")]


@router.post("", status_code=202, responses=problems(409, 422, body=True))
def start(
    wanted: NewRetraining, request: Request, response: Response, service: Service, caller: Trainer
) -> StartedRetraining:
    """Ask Dagster to train a model as of a day, and to let the gate judge it; one at a time."""
    day = wanted.day or _last_closed_day(service)
    first, last = service.settings.first_day, service.settings.last_day
    if not first <= day <= last:
        message = f"the installation has the days {first} to {last}"
        raise ProblemError(
            422, "the request is refused", problems=[{"field": "day", "message": message}]
        )
    try:
        run_id = _retrainings(request).start(day, reason=wanted.reason, author=caller.name)
    except UnderWayError as error:
        raise ProblemError(409, str(error)) from error
    except DagsterUnavailableError as error:
        raise _unavailable(error) from error
    response.headers["Location"] = f"{router.prefix}/{run_id}"
    return StartedRetraining(run_id=run_id, day=day)


@router.get("/{run_id}", responses=problems(404, 422))
def follow(run_id: RunId, request: Request, _caller: Reader) -> Retraining:
    """What has become of a retraining."""
    try:
        return Retraining(**asdict(_retrainings(request).find(run_id)))
    except UnknownRunError as error:
        raise ProblemError(404, str(error)) from error
    except DagsterUnavailableError as error:
        raise _unavailable(error) from error


def _retrainings(request: Request) -> Retrainings:
    found: Retrainings = request.app.state.retrainings
    return found


def _last_closed_day(service: ScoringService) -> date:
    closed = last_closed_day(service.store)
    if closed is None:
        raise ProblemError(409, "no day has been closed yet: give the `day` to train as of")
    return closed


def _unavailable(error: DagsterUnavailableError) -> ProblemError:
    return ProblemError(503, str(error), headers={"Retry-After": "10"})
