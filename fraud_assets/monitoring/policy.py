"""Whether to retrain: one pure decision per report, with its reason in numbers.

Only the rules belong here. Facts and state are collected by the sensors, which act on the answer;
a retraining makes a challenger, and whether that goes live is the gate's business. An estimate
of performance (`estimation`) is no fact here.

The order of the guards matters. First what makes the report irrelevant (handled before, older
than the newest, nothing to replace), then what makes it untrustworthy (too few rows, bad data:
drift is often a broken feed, and retraining would learn the breakage), then the finding itself,
and only then what speaks against acting now (a running retraining, the cooldown, too few mature
frauds to learn from).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Literal

from fraud_assets.transactions.profile import MonitoringChoices

Trigger = Literal["drift", "performance", "first_training"]

Guard = Literal[
    "handled", "outdated", "no_champion", "has_champion", "too_few_rows", "data_quality",
    "not_computable", "below_threshold", "running", "cooldown", "too_few_positives",
    "too_few_days",
]  # fmt: skip
"""The rule that stopped a retraining, for counting and tests; people read `reason`."""


@dataclass(frozen=True)
class DriftFacts:
    """A drift report: of which day, under which storage id of the event log, with what result.

    `drift_share` is None where it could not be measured, and `not_measured` says why.
    """

    day: date
    storage_id: int
    rows: int
    drift_share: float | None
    drifted_columns: tuple[str, ...] = ()
    score_drift: float | None = None
    not_measured: str | None = None


@dataclass(frozen=True)
class PerformanceFacts:
    """A report on matured days: `average_precisions` of all of them so far, oldest first.

    None stands for a day whose value is not computable. `gate_average_precision` is the
    champion's own on the days on which it was promoted, None if it was not recorded.
    """

    day: date
    storage_id: int
    average_precisions: tuple[float | None, ...]
    gate_average_precision: float | None


@dataclass(frozen=True)
class FirstTrainingFacts:
    """New labels while there is no champion: how many labelled days there are, and are needed."""

    day: date
    storage_id: int
    labelled_days: int
    needed_days: int


@dataclass(frozen=True)
class PipelineState:
    """What the pipeline was doing when the report arrived.

    `quarantine_share` is that of the report's day, None if it is not known. `mature_positives`
    are the frauds that a training as of the report's day would learn from, on the days since the
    change that is reported: a retraining before these have matured learns the old world again.
    `newest_report_day` is the latest day with a report of the same asset, and `handled_ids` are
    the storage ids that were decided before.
    """

    quarantine_share: float | None
    last_retraining_day: date | None
    retraining_running: bool
    mature_positives: int
    newest_report_day: date | None
    handled_ids: frozenset[int]
    champion_version: str | None


@dataclass(frozen=True)
class RetrainingDecision:
    """What to do about one report, and why. `guard` is None exactly when it says retrain."""

    action: Literal["retrain", "skip"]
    reason: str
    trigger: Trigger
    day: date
    storage_id: int
    guard: Guard | None

    @property
    def run_key(self) -> str:
        """Name of the run to request.

        From the storage id and not from the day: a run key is used up for ever, and a day that
        is reported again must be able to fire again.
        """
        return f"{self.trigger}-{self.storage_id}"


_Facts = DriftFacts | PerformanceFacts | FirstTrainingFacts
_Refusal = tuple[Guard, str]


def decide_on_drift(
    facts: DriftFacts, state: PipelineState, choices: MonitoringChoices
) -> RetrainingDecision:
    """Retrain when the share of drifted inputs reaches `drift_share_threshold`, guards allowing."""
    share, limit = facts.drift_share, choices.drift_share_threshold
    finding: _Refusal | None = None
    if share is None:
        why = facts.not_measured or "no reason was recorded"
        finding = "not_computable", f"drift of {facts.day} was not measured: {why}"
    elif share < limit:
        finding = "below_threshold", f"drift share {share:.2f} < {limit:.2f}"
    found = "" if share is None else f"drift share {share:.2f} >= {limit:.2f}"
    if facts.drifted_columns:
        found += f" ({', '.join(facts.drifted_columns[:5])}"
        more = len(facts.drifted_columns) - 5
        found += f" and {more} more)" if more > 0 else ")"
    if facts.score_drift is not None:
        found += f", score drift {facts.score_drift:.2f}"
    refusals = (
        _irrelevant(facts, state),
        _no_champion(state),
        _too_few_rows(facts.rows, choices),
        _bad_data(facts.day, state, choices),
        finding,
        *_not_now(facts.day, state, choices),
    )
    return _decision("drift", facts, refusals, found, state)


def decide_on_performance(
    facts: PerformanceFacts, state: PipelineState, choices: MonitoringChoices
) -> RetrainingDecision:
    """Retrain when the champion has become worse than it was at its gate, guards allowing.

    Compared is the mean average precision of the last `performance_days` matured days that have
    one; the drop is relative to the gate's. Days without frauds are passed over, not counted as 0.
    """
    known = [value for value in facts.average_precisions if value is not None]
    recent, needed = known[-choices.performance_days :], choices.performance_days
    gate, allowed = facts.gate_average_precision, choices.performance_drop
    finding: _Refusal | None = None
    found = ""
    if len(recent) < needed:
        finding = (
            "not_computable",
            f"{len(recent)} matured days with an average precision < {needed}",
        )
    elif gate is None or gate <= 0.0:
        finding = "not_computable", f"the champion's average precision at its gate is {gate}"
    else:
        mean = sum(recent) / len(recent)
        drop = 1.0 - mean / gate
        found = (
            f"average precision {mean:.3f} over {len(recent)} matured days, {gate:.3f} at the "
            f"gate: drop {drop:.1%}"
        )
        if drop <= allowed:
            finding = "below_threshold", f"{found} <= {allowed:.1%}"
        found += f" > {allowed:.1%}"
    refusals = (
        _irrelevant(facts, state),
        _no_champion(state),
        _bad_data(facts.day, state, choices),
        finding,
        *_not_now(facts.day, state, choices),
    )
    return _decision("performance", facts, refusals, found, state)


def first_training_decision(
    facts: FirstTrainingFacts, state: PipelineState, choices: MonitoringChoices
) -> RetrainingDecision:
    """Train the first model as soon as there are days and frauds enough to do so.

    The cooldown holds here too: after a first training without a champion, because its challenger
    failed the gate, the next one waits for more labels.
    """
    champion: _Refusal | None = None
    if state.champion_version is not None:
        champion = "has_champion", f"there is a champion, version {state.champion_version}"
    days: _Refusal | None = None
    counts = f"{facts.labelled_days} labelled days"
    if facts.labelled_days < facts.needed_days:
        days = "too_few_days", f"{counts} < {facts.needed_days}"
    refusals = (
        _irrelevant(facts, state),
        champion,
        _bad_data(facts.day, state, choices),
        days,
        *_not_now(facts.day, state, choices),
    )
    found = f"no champion yet, {counts} >= {facts.needed_days}"
    return _decision("first_training", facts, refusals, found, state)


def _irrelevant(facts: _Facts, state: PipelineState) -> _Refusal | None:
    day = facts.day
    if facts.storage_id in state.handled_ids:
        return "handled", f"report {facts.storage_id} of {day} was handled before"
    newest = state.newest_report_day
    if newest is not None and day < newest:
        return "outdated", f"report of {day} is older than the newest, {newest}: a backfill"
    return None


def _no_champion(state: PipelineState) -> _Refusal | None:
    if state.champion_version is None:
        return "no_champion", "no champion yet: the first training is decided on its own"
    return None


def _too_few_rows(rows: int, choices: MonitoringChoices) -> _Refusal | None:
    if rows < choices.min_rows:
        return "too_few_rows", f"too few rows: {rows} < {choices.min_rows}"
    return None


def _bad_data(day: date, state: PipelineState, choices: MonitoringChoices) -> _Refusal | None:
    share, limit = state.quarantine_share, choices.max_quarantine_share
    if share is None:
        return "data_quality", f"share of quarantined rows of {day} is not known"
    if share > limit:
        return "data_quality", f"quarantined {share:.1%} > {limit:.1%} of {day}: repair the data"
    return None


def _not_now(
    day: date, state: PipelineState, choices: MonitoringChoices
) -> Iterable[_Refusal | None]:
    if state.retraining_running:
        yield "running", "a retraining is running: 1 at a time"
    last = state.last_retraining_day
    if last is not None and (day - last).days < choices.cooldown_days:
        yield (
            "cooldown",
            f"{(day - last).days} days since the retraining of {last} < {choices.cooldown_days}",
        )
    if state.mature_positives < choices.min_mature_positives:
        yield (
            "too_few_positives",
            f"mature frauds {state.mature_positives} < {choices.min_mature_positives}",
        )


def _decision(
    trigger: Trigger,
    facts: _Facts,
    refusals: Iterable[_Refusal | None],
    found: str,
    state: PipelineState,
) -> RetrainingDecision:
    """The first refusal in order, or else the retraining."""
    day, storage_id = facts.day, facts.storage_id
    for refusal in refusals:
        if refusal is not None:
            guard, reason = refusal
            if guard in ("running", "cooldown", "too_few_positives"):
                reason = f"{reason}; waiting: {found}"
            return RetrainingDecision("skip", reason, trigger, day, storage_id, guard)
    reason = f"{found}; {state.mature_positives} mature frauds to learn from"
    return RetrainingDecision("retrain", reason, trigger, day, storage_id, None)
