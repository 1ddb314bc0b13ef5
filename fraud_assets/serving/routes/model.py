"""Which model answers now, what its card says, and the share of another version.

A version is trained and promoted elsewhere; how the service follows the registry is the business
of `serving.lineup`.
"""

from __future__ import annotations

import logging
from typing import Final

from fastapi import APIRouter, Request, Response

from fraud_assets.modeling.bundle import ModelIntegrityError
from fraud_assets.modeling.encoding import MissingFeaturesError
from fraud_assets.modeling.registry import ModelNotFoundError
from fraud_assets.serving.bodies import ModelState, NewTraffic, Scorer, Traffic
from fraud_assets.serving.cards import ModelCards, RegistryUnavailableError
from fraud_assets.serving.compiled import RULES, ModelRow, RowScorer
from fraud_assets.serving.problems import ProblemError
from fraud_assets.serving.routes.common import Reader, Service, Trainer, problems
from fraud_assets.serving.service import ScoringService
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.traffic import current, set_share

router = APIRouter(prefix="/v1/model", tags=["model"])

_log = logging.getLogger(__name__)

_WINDOWS: Final = ("trained_as_of", "train_window", "validation_window", "gate_window")


@router.get("", responses=problems())
def state(service: Service, request: Request, _caller: Reader) -> ModelState:
    """What answers now. While the registry is away, the windows of training are left out."""
    lineup = service.models.lineup
    cards: ModelCards = request.app.state.cards
    found = list(service.models.problems)

    def shown(scorer: RowScorer) -> Scorer:
        windows: dict[str, str] = {}
        if scorer.form != RULES:
            try:
                windows = cards.tags(scorer.version)
            except RegistryUnavailableError as error:
                found.append(str(error))
        return Scorer(
            version=scorer.version,
            model_hash=scorer.model_hash,
            form=scorer.form,
            why_native=scorer.why_native if isinstance(scorer, ModelRow) else None,
            threshold=scorer.threshold,
            **{name: windows.get(name) for name in _WINDOWS},
        )

    champion = shown(lineup.champion)
    challenger = None if lineup.challenger is None else shown(lineup.challenger)
    traffic = None if lineup.traffic is None else shown(lineup.traffic)
    return ModelState(
        champion=champion,
        fallback=lineup.fallback,
        challenger=challenger,
        traffic=traffic,
        share=lineup.share,
        features=list(service.features.names),
        problems=list(dict.fromkeys(found)),
    )


@router.get(
    "/card",
    response_class=Response,
    responses={
        200: {
            "description": "The model card",
            "content": {"text/markdown": {"schema": {"type": "string"}}},
        },
        **problems(404),
    },
)
def card(service: Service, request: Request, _caller: Reader) -> Response:
    """The champion's model card: what it was trained on, how good it is, and for what."""
    champion = service.models.lineup.champion
    if champion.form == RULES:
        raise ProblemError(404, "the rules answer now; they have no model card")
    cards: ModelCards = request.app.state.cards
    try:
        text = cards.card(champion.version)
    except RegistryUnavailableError as error:
        raise ProblemError(503, str(error), headers={"Retry-After": "10"}) from error
    if not text:
        raise ProblemError(404, f"version {champion.version} was registered without a card")
    return Response(text, media_type="text/markdown")


@router.get("/traffic", responses=problems())
def traffic_now(service: Service, _caller: Reader) -> Traffic:
    """The share of the transactions that another version answers."""
    return _traffic(service.store)


@router.put("/traffic", responses=problems(409, 422, body=True))
def share_traffic(wanted: NewTraffic, service: Service, caller: Trainer) -> Traffic:
    """Let another version answer a share of the transactions; `version: null` ends it.

    The version is loaded first, so that one that cannot serve is refused here. Every worker
    follows within FRAUD_API__REFRESH_SECONDS.
    """
    if wanted.version is None and wanted.share > 0:
        message = "without a version the share is 0"
        raise ProblemError(
            422, "the request is refused", problems=[{"field": "share", "message": message}]
        )
    if wanted.version is not None:
        _must_load(service, wanted.version)
    set_share(
        service.store,
        wanted.version,
        wanted.share,
        author=caller.name,
        reason=wanted.reason,
    )
    return _traffic(service.store)


def _must_load(service: ScoringService, version: str) -> None:
    try:
        service.models.prepare(version)
    except ModelNotFoundError as error:
        raise ProblemError(
            422,
            "the request is refused",
            problems=[{"field": "version", "message": str(error)}],
        ) from error
    except (ModelIntegrityError, MissingFeaturesError) as error:
        raise ProblemError(409, f"version {version} cannot serve: {error}") from error
    except Exception as error:
        _log.exception("version %s cannot be loaded", version)
        raise ProblemError(
            503,
            f"version {version} cannot be loaded now ({type(error).__name__}); the server's log "
            "says more",
            headers={"Retry-After": "10"},
        ) from error


def _traffic(store: PredictionStore) -> Traffic:
    found = current(store)
    if found is None:
        return Traffic(version=None, share=0.0, author=None, reason=None, created_at=None)
    return Traffic(
        version=found.version,
        share=found.share,
        author=found.author,
        reason=found.reason,
        created_at=found.created_at,
    )
