"""What the loop decided at the close of a day, on an append-only record."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg

from fraud_assets.assets import (
    CHAMPION,
    DECISION,
    DRIFT,
    PERFORMANCE,
    PREDICTIONS,
    RETRAINING,
    VALIDATED,
)
from fraud_assets.assets.champion import ChampionInForce, Service, service_of
from fraud_assets.assets.decorator import asset
from fraud_assets.assets.describe import column_schema, table
from fraud_assets.assets.monitoring.setting import RECORD_FILE, MonitoringSetting, Records
from fraud_assets.lake import Lake
from fraud_assets.metadata import DecisionRecord, ValidationRecord, latest
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.monitoring.facts import LoopState, facts_of_day
from fraud_assets.monitoring.policy import Decision, decide
from fraud_assets.monitoring.records import DayDrift, DayPerformance
from fraud_assets.partitions import run_days, trailing_mapping
from fraud_assets.store.decisions import StoredDecision
from fraud_assets.store.engine import PredictionStore

LOGGED = 30
"""Decisions that are shown with a day."""


@dataclass(frozen=True)
class _Told:
    """The reports of the days so far, as the lake has them."""

    drifts: Records[DayDrift]
    performances: Records[DayPerformance]

    @classmethod
    def of(cls, lake: Lake) -> "_Told":
        return cls(
            Records(lake, DRIFT, DayDrift, []), Records(lake, PERFORMANCE, DayPerformance, [])
        )

    def up_to(self, days: list[date]) -> "_Told":
        return _Told(self.drifts.up_to(days), self.performances.up_to(days))


def build_loop_decision(setting: MonitoringSetting) -> dg.AssetsDefinition:
    """The asset `loop_decision`."""

    @asset(
        key=DECISION,
        kinds={"python", "sqlalchemy"},
        code_version="1",
        deps=[
            dg.AssetDep(VALIDATED),
            dg.AssetDep(PREDICTIONS),
            dg.AssetDep(DRIFT, partition_mapping=trailing_mapping(setting.history)),
            dg.AssetDep(PERFORMANCE, partition_mapping=trailing_mapping(setting.history)),
        ],
        description=(
            "What to do at the close of the day, by one pure policy over drift, performance, data "
            "quality, cooldown, mature frauds and running retrainings: nothing, warn, retrain, "
            "fall back, roll back or restore, with the reason in numbers. An append-only record; "
            "loop_sensor acts on it. Only the newest day decides anything."
        ),
        metadata=column_schema(
            [
                ("action", "string", "nothing, warn, retrain, fall_back, roll_back or restore"),
                ("rule", "string", "the rule of the policy that decided"),
                ("target", "string", "the version that is to serve, if it changes"),
                ("since", "date", "first day of the change that is to be learnt"),
                (
                    "waiting_for",
                    "string",
                    "what a retraining waits for",
                ),
                ("reason", "string", "in words, with the numbers"),
            ]
        ),
        **setting.common,
    )
    def loop_decision(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        store: dg.ResourceParam[PredictionStore],
        registry: dg.ResourceParam[ModelRegistry],
    ) -> None:
        from fraud_assets.store.decisions import history

        loaded: dict[str, ChampionInForce] = {}
        told = _Told.of(lake)
        days = run_days(context)
        newest = _newest_day(context.instance, days)
        recent = history(store, limit=LOGGED + len(days), newest_first=True)
        for day in days:
            choices = setting.profile.monitoring
            service = service_of(
                store,
                registry,
                day,
                most_formers=choices.former_champions,
                loaded=loaded,
                log=context.log,
            )
            scored_by = set(lake.read_days(PREDICTIONS, [day], ["model_version"])["model_version"])
            state = _state(
                context.instance, store, day, newest=newest, service=service, scored_by=scored_by
            )
            quality = latest(context.instance, VALIDATED, day, ValidationRecord)
            share = quality.reject_share if quality is not None else None
            upto = told.up_to(_looked_at(setting, day, state.last_trained))
            facts = facts_of_day(
                day,
                upto.drifts,
                upto.performances,
                quarantine_share=share,
                first_day=setting.days.first_day,
                state=state,
                profile=setting.profile,
                rules=RuleSet().version,
            )
            decision = decide(facts, setting.profile)
            stored, repeated = _record(
                store, decision, fingerprint(lake, day, share), context.run_id
            )
            context.log.info(f"{day}: {stored.action}: {stored.reason}")
            recent = [stored, *(one for one in recent if one.id != stored.id)]
            log = [one for one in recent if one.day <= day][:LOGGED]
            context.add_asset_metadata(
                {
                    **decision_record(stored, repeated=repeated).to_dagster(),
                    "numbers": dg.MetadataValue.json(stored.numbers),
                    **table("decision_log", [_row(one) for one in log]),
                },
                partition_key=day.isoformat(),
            )

    return loop_decision


def fingerprint(lake: Lake, day: date, quarantine_share: float | None) -> str:
    """Hash of the reports that a decision rests on: the same reports are decided on once.

    Not of the state of the installation: a retraining that runs by now would make another decision
    of a day that is only reported again. Nor of where the page lies: a lake may be moved.
    """
    drift, performance = (lake.read_json(one, day, RECORD_FILE) for one in (DRIFT, PERFORMANCE))
    drift.pop("report_path")
    parts = json.dumps([drift, performance, quarantine_share])
    return hashlib.sha256(parts.encode()).hexdigest()


def _newest_day(instance: dg.DagsterInstance, days: Sequence[date]) -> date:
    """The newest day that has both reports, this run's days included."""
    reported = [instance.get_materialized_partitions(dg.AssetKey(a)) for a in (DRIFT, PERFORMANCE)]
    return max([*days, *map(date.fromisoformat, set.intersection(*map(set, reported)))])


def _looked_at(setting: MonitoringSetting, day: date, last_trained: date | None) -> list[date]:
    """The days whose reports matter: those before `day`, and those that were learnt last."""
    days = set(setting.days.trailing(day, setting.history))
    if last_trained is not None:
        days |= set(setting.days.trailing(last_trained, setting.history))
    return sorted(days)


def _state(
    instance: dg.DagsterInstance,
    store: PredictionStore,
    day: date,
    *,
    newest: date,
    service: Service,
    scored_by: set[str],
) -> LoopState:
    from fraud_assets.store.decisions import last_retraining, latest_of

    running = instance.get_runs_count(dg.RunsFilter(job_name=RETRAINING, statuses=UNFINISHED))
    trained = [
        date.fromisoformat(key)
        for key in instance.get_materialized_partitions(dg.AssetKey(CHAMPION))
        if date.fromisoformat(key) <= day
    ]
    last_trained = max(trained, default=None)
    asked = last_retraining(store, day)
    requests = [one for one in (last_trained, asked.day if asked else None) if one is not None]
    champion, watched = service.champion, service.watched
    # Whoever scored the day counts: a registry that answers now may not have answered then.
    by_rules = RuleSet().version in scored_by
    before = latest_of(store, day - timedelta(days=1))
    waited = before is not None and before.rule == "decay" and before.waiting_for is not None
    return LoopState(
        newest_day=newest,
        champion=champion.meant or champion.version,
        never_trained=service.never_trained,
        champion_since=service.since,
        unloadable=champion.fallback if champion.is_missing and by_rules else "",
        stood_in=by_rules and isinstance(champion.model, FraudModel),
        suspended=service.suspended,
        suspended_for=service.suspended_for,
        suspended_loads=watched.suspended is not None,
        formers=tuple(one.version for one in watched.formers),
        episode_since=asked.since if asked else None,
        waiting_since=before.since if before is not None and waited else None,
        by_hand=service.by_hand,
        retraining_running=running > 0,
        last_requested=max(requests, default=None),
        last_trained=last_trained,
    )


UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def _record(
    store: PredictionStore, decision: Decision, fingerprint_: str, run_id: str
) -> tuple[StoredDecision, bool]:
    """The row of the decision, and whether the same reports had been decided on before."""
    from fraud_assets.store.decisions import record

    content = decision.model_dump(mode="json")
    wanted = StoredDecision.model_validate(
        {**content, "fingerprint": fingerprint_, "run_id": run_id}
    )
    stored = record(store, wanted)
    return stored, stored.run_id != run_id


def decision_record(stored: StoredDecision, *, repeated: bool) -> DecisionRecord:
    """The metadata of a stored decision."""
    assert stored.id is not None  # noqa: S101  what is stored has one
    return DecisionRecord(
        day=stored.day,
        decision_id=stored.id,
        action=stored.action,
        rule=stored.rule,
        champion=stored.champion,
        target=stored.target or "",
        since=stored.since,
        waiting_for=stored.waiting_for or "",
        reason=stored.reason,
        findings=[str(one["text"]) for one in stored.findings],
        repeated=repeated,
    )


def _row(stored: StoredDecision) -> dict[str, Any]:
    return {
        "day": str(stored.day),
        "action": stored.action,
        "rule": stored.rule,
        "champion": stored.champion,
        "target": stored.target,
        "waiting_for": stored.waiting_for,
        "reason": stored.reason,
    }
