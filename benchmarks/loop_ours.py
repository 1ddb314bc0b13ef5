"""The application's own policy: its records of each day, its facts, its decision.

Nothing is decided here. The records are made by `monitoring.daily`, the facts by
`monitoring.facts`, the decision by `monitoring.policy`, as the graph has them made.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
from loop_candidates import RULES
from loop_replay import Choice, State
from loop_watch import Watch

from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.monitoring.daily.drift import drift_of_day
from fraud_assets.monitoring.daily.models import Watched
from fraud_assets.monitoring.daily.performance import WEEK, Matured, performance_of_day
from fraud_assets.monitoring.facts import LoopState, facts_of_day
from fraud_assets.monitoring.policy import Decision, decide
from fraud_assets.monitoring.records import DayDrift, DayPerformance


class Ours:
    """Keeps the reports of the days so far, as the lake does, and decides by them."""

    name = "ours"
    gated = True

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._drifts: dict[date, DayDrift] = {}
        self._performances: dict[date, DayPerformance] = {}
        self._judged: dict[date, pl.DataFrame] = {}
        self.decisions: list[Decision] = []

    def decide(self, state: State) -> Choice:
        """Report on the day, and decide on what the reports say."""
        world, profile = self._watch.candidates.world, self._watch.profile
        watched = self._watched(state)
        self._forget(state.day - timedelta(days=world.lookback))
        self._report(state, watched)
        facts = facts_of_day(
            state.day,
            self._drifts,
            self._performances,
            quarantine_share=world.quarantine[state.day],
            first_day=world.plan.first_day,
            state=LoopState(
                newest_day=state.day,
                champion=state.champion,
                never_trained=state.last_trained is None,
                champion_since=state.champion_since,
                suspended=state.suspended,
                suspended_for=state.suspended_for,
                formers=tuple(one.version for one in watched.formers),
                episode_since=state.episode_since,
                waiting_since=self._waiting_since(),
                last_requested=state.last_requested,
                last_trained=state.last_trained,
            ),
            profile=profile,
            rules=RULES.version,
        )
        decision = decide(facts, profile)
        self.decisions.append(decision)
        action = "nothing" if decision.action == "warn" else decision.action
        return Choice(action, decision.rule, decision.reason, decision.target, decision.since)

    def _waiting_since(self) -> date | None:
        """The first day of the decay that was found the day before, and had to wait."""
        before = self.decisions[-1] if self.decisions else None
        waited = before is not None and before.rule == "decay" and before.waiting_for is not None
        return before.since if before is not None and waited else None

    def _watched(self, state: State) -> Watched:
        candidates, choices = self._watch.candidates, self._watch.profile.monitoring
        in_force = candidates.model(state.champion)
        suspended = candidates.model(state.suspended) if state.suspended else None
        others = [v for v in state.formers if v not in (state.champion, state.suspended)]
        formers = [candidates.model(v) for v in others[: choices.former_champions]]
        return Watched(
            in_force=in_force,
            rules=RULES,
            formers=tuple(one for one in formers if isinstance(one, FraudModel)),
            suspended=suspended if isinstance(suspended, FraudModel) else None,
        )

    def _report(self, state: State, watched: Watched) -> None:
        """The two reports of the day, by the models of the day."""
        day, watch, profile = state.day, self._watch, self._watch.profile
        version = watched.in_force.version
        model = watched.reference_model
        self._drifts[day] = drift_of_day(
            day,
            watch.current(version, day),
            watch.reference(model.version) if model else None,
            watched=watched,
            columns=watch.columns,
            profile=profile,
            scored_by=version,
            html=False,
        ).record
        found = performance_of_day(
            day,
            watch.predictions(version, day),
            self._matured(state),
            judged_before=pl.concat(self._judged.values()) if self._judged else None,
            earlier=dict(self._performances),
            watched=watched,
            gate=watch.gate_level(version) if model and version == model.version else None,
            profile=profile,
        )
        self._performances[day] = found.record
        if found.judged is not None and found.record.matured_day is not None:
            self._judged[found.record.matured_day] = found.judged
        kept = max(WEEK, profile.monitoring.compared_days, profile.monitoring.performance_days)
        self._judged = {d: self._judged[d] for d in sorted(self._judged)[-kept + 1 :]}

    def _forget(self, before: date) -> None:
        """What lies further back than the graph looks."""
        self._drifts = {d: one for d, one in self._drifts.items() if d >= before}
        self._performances = {d: one for d, one in self._performances.items() if d >= before}

    def _matured(self, state: State) -> Matured | None:
        world = self._watch.candidates.world
        matured = state.day - timedelta(days=world.delay)
        if matured not in state.scored_by:
            return None
        return Matured(
            day=matured,
            predictions=self._watch.predictions(state.scored_by[matured], matured),
            labels=world.judging_labels(matured, state.day),
            features=lambda: world.features[matured],
        )
