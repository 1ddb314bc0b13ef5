"""The sensor that does what the policy has decided."""

from collections.abc import Sequence
from typing import Final

import dagster as dg

from fraud_assets.jobs import RETRAINING, ROLLBACK, Job
from fraud_assets.rollback import MOVE_CHAMPION
from fraud_assets.store.decisions import StoredDecision
from fraud_assets.store.engine import PredictionStore
from fraud_assets.transactions.profile import Profile

LOOP_SENSOR: Final = "loop_sensor"

DECISION_TAG: Final = "fraud_assets/decision"
REASON_TAG: Final = "fraud_assets/reason"

_MOVES: Final = {"fall_back": "fallback", "roll_back": "rollback", "restore": "restore"}


def build_loop_sensor(profile: Profile, retraining: Job, rollback: Job) -> dg.SensorDefinition:
    """The sensor `loop_sensor`."""
    choices = profile.monitoring

    @dg.sensor(
        name=LOOP_SENSOR,
        jobs=[retraining, rollback],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            "Does what loop_decision says: retrains, falls back, rolls back, restores. Once per "
            "decision, over restarts and days that are reported again."
        ),
    )
    def loop_sensor(
        context: dg.SensorEvaluationContext, store: dg.ResourceParam[PredictionStore]
    ) -> dg.SensorResult:
        from fraud_assets.store.decisions import history

        seen = int(context.cursor) if context.cursor else 0
        unread = history(store, since_id=seen)
        if not unread:
            return dg.SensorResult(skip_reason=f"no decision since {seen}", cursor=context.cursor)
        due = decisions_to_act_on(unread, choices.cooldown_days)
        cursor = str(unread[-1].id)
        if not due:
            last = unread[-1]
            reason = f"{last.day}: {last.action}: {last.reason}"
            return dg.SensorResult(skip_reason=reason, cursor=cursor)
        return dg.SensorResult(run_requests=[_request(one) for one in due], cursor=cursor)

    return loop_sensor


def decisions_to_act_on(
    unread: Sequence[StoredDecision], cooldown_days: int
) -> list[StoredDecision]:
    """What is to be done of `unread`, in order: at most one retraining and one change of service.

    Several unread decisions mean that the sensor stood still while days were closed. A change of
    service counts only if the last decision of the newest day asks for it: it is decided anew every
    day. Of the retrainings the newest counts, unless a cooldown or more has passed since, as the
    policy has looked again by then, or its own day was decided otherwise later.
    """
    newest = max(one.day for one in unread)
    last_of_day = {one.day: one for one in unread}
    last = last_of_day[newest]
    due = [last] if last.action in _MOVES else []
    retrainings = [
        one
        for one in last_of_day.values()
        if one.action == "retrain" and (newest - one.day).days < max(1, cooldown_days)
    ]
    due += sorted(retrainings, key=lambda one: one.day)[-1:]
    return sorted(due, key=lambda one: one.id or 0)


def _request(decision: StoredDecision) -> dg.RunRequest:
    # From the id and not from the day: a run key is used up for ever, and a day that is reported
    # again with other numbers must be able to act again.
    key = f"decision-{decision.id}"
    tags = {DECISION_TAG: str(decision.id), REASON_TAG: decision.reason}
    if decision.action == "retrain":
        return dg.RunRequest(
            run_key=key, job_name=RETRAINING, partition_key=decision.day.isoformat(), tags=tags
        )
    config = {
        "to": decision.target,
        "day": decision.day.isoformat(),
        "action": _MOVES[decision.action],
        "instead_of": decision.champion,
        "reason": decision.reason,
        "rule": decision.rule,
        "decision_id": decision.id,
    }
    return dg.RunRequest(
        run_key=key,
        job_name=ROLLBACK,
        run_config={"ops": {MOVE_CHAMPION: {"config": config}}},
        tags=tags,
    )
