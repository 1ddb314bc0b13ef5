"""From the reports of the days so far to the facts that the policy decides on.

Only derivation from records belongs here: since when, how long, how many. What follows from it is
decided in `policy`; where the records and the state of the installation come from is the caller's
business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from fraud_assets.modeling.splits import days_needed
from fraud_assets.monitoring.policy import Facts, is_drifting
from fraud_assets.monitoring.records import DayDrift, DayPerformance
from fraud_assets.transactions.profile import MonitoringChoices, Profile

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class LoopState:
    """What the policy must know of the installation beside the reports; fields as in `Facts`."""

    newest_day: date
    champion: str
    never_trained: bool
    champion_since: date | None = None
    unloadable: str = ""
    suspended: str | None = None
    suspended_for: str = ""
    suspended_loads: bool = True
    formers: tuple[str, ...] = ()
    episode_since: date | None = None
    waiting_since: date | None = None
    by_hand: bool = False
    stood_in: bool = False
    retraining_running: bool = False
    last_requested: date | None = None
    last_trained: date | None = None


def facts_of_day(
    day: date,
    drifts: Mapping[date, DayDrift],
    performances: Mapping[date, DayPerformance],
    *,
    quarantine_share: float | None,
    first_day: date,
    state: LoopState,
    profile: Profile,
    rules: str,
) -> Facts:
    """Put together what is known at the end of `day`; later reports are not looked at.

    Args:
        day: a day with both reports.
        drifts: drift reports by their day, without gaps as far back as they go.
        performances: performance reports by their day, likewise.
        quarantine_share: of the day's rows, None if it is not known.
        first_day: the first day with data.
        state: of the installation, as of the day.
        profile: the choices.
        rules: name of the rule set.
    """
    performance = performances[day]
    return Facts(
        day=day,
        newest_day=state.newest_day,
        champion=state.champion,
        never_trained=state.never_trained,
        drift=drifts[day],
        performance=performance,
        quarantine_share=quarantine_share,
        labelled_days=(day - first_day).days + 1,
        needed_days=days_needed(profile.label_delay_days, profile.training),
        frauds_by_day=_frauds_by_day(day, performances),
        champion_since=state.champion_since,
        unloadable=state.unloadable,
        suspended=state.suspended,
        suspended_for=state.suspended_for,
        suspended_loads=state.suspended_loads,
        formers=state.formers,
        healthy_days=_healthy_days(day, drifts, state.suspended, profile.monitoring),
        drifting_since=drifting_since(day, drifts, profile.monitoring),
        decaying_since=decaying_since(day, performances, profile.monitoring),
        episode_since=state.episode_since,
        waiting_since=state.waiting_since,
        blind_days=_blind_days(day, performances) if profile.columns.label else 0,
        by_hand=state.by_hand,
        stood_in=state.stood_in,
        retraining_running=state.retraining_running,
        last_requested=state.last_requested,
        last_trained=state.last_trained,
        rules=rules,
    )


def drifting_since(
    day: date, drifts: Mapping[date, DayDrift], choices: MonitoringChoices
) -> date | None:
    """The first of the consecutive days up to `day` with drift; None if `day` has none."""
    first = None
    at = day
    while (report := drifts.get(at)) is not None and is_drifting(report, choices):
        first, at = at, at - ONE_DAY
    return first


def decaying_since(
    day: date, performances: Mapping[date, DayPerformance], choices: MonitoringChoices
) -> date | None:
    """The first matured day of the decay that lasts on `day`; None without one.

    Goes back over matured days, each by the champion of its report against that champion's own
    gate, until two in a row were good: average precision of a single day is too noisy for one to
    end a decay. A rollback to a model that does no better does not begin a new one.
    """
    first, good, at = None, 0, day
    while (report := performances.get(at)) is not None and good < 2:
        at -= ONE_DAY
        value, gate = report.average_precision_at_gate_rate, report.champion_gate_average_precision
        if report.matured_day is None:
            break
        if value is None or gate is None:
            continue
        if value >= (1.0 - choices.performance_drop) * gate:
            good += 1
        else:
            good, first = 0, report.matured_day
    return first


def _frauds_by_day(day: date, performances: Mapping[date, DayPerformance]) -> dict[date, int]:
    return {
        report.matured_day: report.positives
        for at, report in performances.items()
        if at <= day and report.matured_day is not None
    }


def _blind_days(day: date, performances: Mapping[date, DayPerformance]) -> int:
    """Consecutive matured days up to the report of `day` without an average precision."""
    count, at = 0, day
    while (report := performances.get(at)) is not None and report.rows:
        if report.average_precision is not None:
            break
        count, at = count + 1, at - ONE_DAY
    return count


def _healthy_days(
    day: date,
    drifts: Mapping[date, DayDrift],
    suspended: str | None,
    choices: MonitoringChoices,
) -> int:
    """Consecutive days up to `day` on which what the suspended champion goes by was whole."""
    if suspended is None:
        return 0
    count, at = 0, day
    while (report := drifts.get(at)) is not None:
        if report.broken_weights.get(suspended, 1.0) >= choices.max_broken_weight:
            break
        count, at = count + 1, at - ONE_DAY
    return count
