"""The job `rollback`: another model in force, by the policy's decision or by hand."""

from datetime import date
from typing import Literal

import dagster as dg

from fraud_assets.assets import CHAMPION, PERFORMANCE
from fraud_assets.metadata import PromotionRecord
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.partitions import day_after
from fraud_assets.store.engine import PredictionStore

ROLLBACK = "rollback"
MOVE_CHAMPION = "move_champion"


class RollbackConfig(dg.Config):
    """Which model is to serve, from the day after the newest closed one on.

    A `day` is given where the decision is of a later day than that. `instead_of` is the version
    that was judged: if another is in force by the time the run starts, nothing is done.
    """

    to: str = "previous"
    day: str = ""
    action: Literal["rollback", "fallback", "restore"] = "rollback"
    instead_of: str = ""
    reason: str = "by hand"
    rule: str = ""
    decision_id: int = 0


@dg.op(
    name=MOVE_CHAMPION,
    description="Records the change and moves the alias; the model serves from the next day on.",
)
def move_champion(
    context: dg.OpExecutionContext,
    config: RollbackConfig,
    store: dg.ResourceParam[PredictionStore],
    registry: dg.ResourceParam[ModelRegistry],
) -> None:
    """Put `config.to` in force, and tell of it on the asset `champion_model`."""
    from fraud_assets.modeling.promotion import (
        AlreadyInForceError,
        NothingToRollBackToError,
        SupersededError,
        roll_back,
    )
    from fraud_assets.modeling.registry import ModelNotFoundError

    # Not before the newest closed day: what has been scored was scored by another model.
    closed = _newest_day(context.instance, needed=not config.day)
    given = date.fromisoformat(config.day) if config.day else closed
    day = max(given, closed)
    try:
        moved = roll_back(
            store,
            registry,
            day,
            config.to,
            action=config.action,
            instead_of=config.instead_of or None,
            reason=config.reason,
            numbers={"rule": config.rule, "decision_id": config.decision_id},
            run_id=context.run_id,
        )
    except (NothingToRollBackToError, ModelNotFoundError) as error:
        if config.decision_id and isinstance(error, AlreadyInForceError | SupersededError):
            # A day that is reported again decides again, and what it asks for has been done; or a
            # retraining was faster, and its champion was never compared with the target.
            context.log.info(str(error))
            return
        raise dg.Failure(str(error), allow_retries=False) from error
    record = PromotionRecord(
        action=moved.action,
        version=moved.version,
        previous_version=moved.previous_version or "",
        effective_from=day_after(moved.day),
        reason=moved.reason,
    )
    context.log_event(
        dg.AssetObservation(CHAMPION, partition=str(moved.day), metadata=record.to_dagster())
    )
    context.log.info(f"{moved.action}: {moved.version} serves from {day_after(moved.day)} on")


def build_rollback() -> dg.JobDefinition:
    """The job."""

    @dg.job(
        name=ROLLBACK,
        description=(
            "Put another model in force: the previous champion, a version, or the rules. "
            "`fraud-assets rollback` launches it; loop_sensor does when the policy says so."
        ),
    )
    def rollback() -> None:
        move_champion()

    return rollback


def _newest_day(instance: dg.DagsterInstance, *, needed: bool) -> date:
    closed = instance.get_materialized_partitions(dg.AssetKey(PERFORMANCE))
    if not closed and needed:
        raise dg.Failure(
            "no day has been closed yet: there is nothing to roll back", allow_retries=False
        )
    return date.fromisoformat(max(closed)) if closed else date.min
