"""Whether the process lives, whether it can answer, and its metrics; none asks the store."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fraud_assets.serving.bodies import Alive, Ready
from fraud_assets.serving.metrics import CONTENT_TYPE
from fraud_assets.serving.problems import ProblemError
from fraud_assets.serving.routes.common import Service, TheGate, problems

router = APIRouter(tags=["operation"])


@router.get("/health", responses=problems())
async def health() -> Alive:
    """Whether the process lives; it may not be able to answer transactions yet."""
    return Alive()


@router.get("/ready", responses=problems())
async def ready(service: Service, gate: TheGate) -> Ready:
    """Whether transactions are answered; 503 and the reasons otherwise.

    While the rules answer in a model's place, this is 200 and `degraded` says why: a server that
    can do that much must not be taken out of service.
    """
    reasons = service.readiness()
    if not gate.knows_the_keys:
        reasons = [*reasons, "the API keys have not been read from the store yet"]
    if reasons:
        raise ProblemError(503, "; ".join(reasons), headers={"Retry-After": "1"})
    return Ready(degraded=service.degraded)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus' text format",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **problems(),
    },
)
async def metrics(request: Request, service: Service, gate: TheGate) -> Response:
    """Counts and times of the scoring. Open on loopback; elsewhere the scope `read` is needed."""
    gate.authorise_metrics(request.scope)
    return Response(service.metrics.render(), media_type=CONTENT_TYPE)
