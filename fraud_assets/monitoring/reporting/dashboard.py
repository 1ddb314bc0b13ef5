"""The page behind an alert: what was decided about a day, why, what to do, and all that is known.

The page stands alone, like an evaluation's: it runs no script and asks nobody for anything, so that
it can be read years later. Its text is in `templates/dashboard.html.j2`, what it advises in
`remedies`; here the facts are checked and put in order. Nothing is measured or decided.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from fraud_assets.modeling.reporting.parts import Picture, Scale, Span, picture
from fraud_assets.modeling.reporting.rendering import render_template
from fraud_assets.modeling.reporting.wording import NOT_COMPUTABLE, count, metric, share
from fraud_assets.monitoring.policy import Decision
from fraud_assets.monitoring.records import Alternative, DayDrift, DayPerformance
from fraud_assets.monitoring.reporting import remedies
from fraud_assets.monitoring.reporting.trends import drift_trend, performance_trend, rates_trend
from fraud_assets.transactions.columns import SCORE
from fraud_assets.transactions.profile import MonitoringChoices

PACKAGE: Final = "fraud_assets.monitoring.reporting"

LOG_DAYS: Final = 14
"""Days that the tables of days and the log of decisions go back; the pictures show all."""

MOST_REASONS: Final = 20
"""Reasons for a quarantine that are listed; a broken feed may have thousands."""

Rows = Sequence[Mapping[str, Any]]

_NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "columns": ("column", "value", "threshold", "drifted", "current", "reference", "reason"),
    "causes": ("feature", "trained_share", "today_share", "weight"),
    "quality": (
        "column", "broken", "missing", "reference_missing", "unseen_share", "out_of_range_share",
        "stuck", "reason",
    ),
    "quarantine": ("reason", "rows"),
    "top_alerts": ("transaction_id", "payer_id", "amount", "score", "reasons"),
}  # fmt: skip

_SCHEME: Final = re.compile(r"(?i)^(?!https?:)[a-z][a-z0-9+.-]*:|^//|[\x00-\x20]")


@dataclass(frozen=True)
class DashboardFacts:
    """All that is on the page of the day of `decision`; nothing may be of a later day.

    Attributes:
        profile: its name.
        decision: of the day.
        choices: the limits that the advice speaks of.
        champion_since: first day on which `decision.champion` was in force, None if not known.
        drift_days: records of the days to draw, in any order; the day's own among them if it has
            one.
        performance_days: likewise.
        past_decisions: in the order of the record; those of the last `LOG_DAYS` days are shown.
        suspended: the champion that was fallen back from, if there is one.
        columns: rows of `DriftResult.table`, the score's among them.
        causes: rows of `causes.cause_table`.
        quality: rows of `QualityResult.table`.
        quarantine: `reason` and `rows`, of the day.
        quarantined_rows: of the day, None if not known; a row counts under each of its reasons.
        raw_rows: of the day before validation, None if not known.
        top_alerts: `transaction_id`, `payer_id`, `amount`, `score` and `reasons` (a list), the
            highest score first.
        links: by their text: names of files relative to the page, or http addresses.

    Raises:
        ValueError: something is of a later day, a table lacks a column, or a link is neither.
    """

    profile: str
    decision: Decision
    choices: MonitoringChoices
    champion_since: date | None = None
    drift_days: Sequence[DayDrift] = ()
    performance_days: Sequence[DayPerformance] = ()
    past_decisions: Sequence[Decision] = ()
    suspended: str | None = None
    columns: Rows = ()
    causes: Rows = ()
    quality: Rows = ()
    quarantine: Rows = ()
    quarantined_rows: int | None = None
    raw_rows: int | None = None
    top_alerts: Rows = ()
    links: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        days = [one.day for one in self.drift_days]
        days += [one.day for one in self.performance_days]
        days += [one.day for one in self.past_decisions]
        newest = max(days, default=self.day)
        if newest > self.day:
            raise ValueError(
                f"a page of {self.day} cannot know of {newest}: hand in what was known by then"
            )
        for name, needed in _NEEDED.items():
            for row in getattr(self, name):
                absent = [column for column in needed if column not in row]
                if absent:
                    raise ValueError(f"the table '{name}' lacks {', '.join(absent)}")
        for text, target in self.links.items():
            if not target or target.startswith("/") or _SCHEME.search(target):
                raise ValueError(f"link '{text}' is no relative name and no http address: {target}")

    @property
    def day(self) -> date:
        """The day of the decision."""
        return self.decision.day

    @property
    def drift(self) -> DayDrift | None:
        """The day's own drift record."""
        return next((one for one in self.drift_days if one.day == self.day), None)

    @property
    def performance(self) -> DayPerformance | None:
        """The day's own performance record."""
        return next((one for one in self.performance_days if one.day == self.day), None)


@dataclass(frozen=True)
class InputRow:
    """An input in the table of drift: how far it has moved, and what the model makes of it."""

    feature: str
    distance: float | None
    drifted: bool | None
    current: object
    reference: object
    reason: str | None
    trained_share: float | None = None
    today_share: float | None = None
    weight: float | None = None
    length: float | None = None


@dataclass(frozen=True)
class AlternativeRow:
    """Another model, and where its gain is on the scale of all of them."""

    name: str
    record: Alternative
    at: float | None
    span: Span | None


def dashboard_page(facts: DashboardFacts) -> bytes:
    """The page, as HTML in UTF-8; the same facts give the same bytes."""
    decision, drift, seen = facts.decision, facts.drift, facts.performance
    inputs = _inputs(facts)
    alternatives, zero = _alternatives(seen)
    judged = _last_matured(facts.performance_days)
    page = render_template(
        "dashboard.html.j2",
        {
            "title": f"{remedies.headline(decision)} {facts.day}",
            "facts": facts,
            "decision": decision,
            "drift": drift,
            "seen": seen,
            "headline": remedies.headline(decision),
            "tone": remedies.TONES[decision.action],
            "rule": remedies.RULES[decision.rule],
            "kinds": remedies.FINDINGS,
            "rules": remedies.RULES,
            "model_name": remedies.model_name,
            "steps": remedies.steps(decision, facts.choices),
            "tiles": _tiles(facts),
            "numbers": [(_named(key), _number(key, v)) for key, v in decision.numbers.items()],
            "trends": _trends(facts),
            "score": next((one for one in inputs if one.feature == SCORE), None),
            "drifted": [one for one in inputs if one.drifted and one.feature != SCORE],
            "still": [one for one in inputs if not one.drifted and one.feature != SCORE],
            "broken": [one for one in facts.quality if one["broken"]],
            "reasons": _most_frequent(facts.quarantine)[:MOST_REASONS],
            "more_reasons": max(0, len(facts.quarantine) - MOST_REASONS),
            "unjudged": [one for one in facts.quality if one["broken"] is None],
            "judged": [(one, _why_blind(one)) for one in judged],
            "alternatives": alternatives,
            "zero": zero,
            "log": _log(facts),
            "log_days": LOG_DAYS,
        },
        package=PACKAGE,
    )
    return page.encode()


def _inputs(facts: DashboardFacts) -> list[InputRow]:
    """What was compared, the heaviest causes first, then the furthest moved."""
    causes = {one["feature"]: one for one in facts.causes}
    largest = max((one["weight"] or 0.0 for one in facts.causes), default=0.0)
    rows = []
    for one in facts.columns:
        cause = causes.get(one["column"], {})
        weight = cause.get("weight")
        length = round(100 * weight / largest, 1) if weight is not None and largest > 0 else None
        rows.append(
            InputRow(
                feature=one["column"], distance=one["value"], drifted=one["drifted"],
                current=one["current"], reference=one["reference"], reason=one["reason"],
                trained_share=cause.get("trained_share"), today_share=cause.get("today_share"),
                weight=weight, length=length,
            )
        )  # fmt: skip
    return sorted(rows, key=lambda one: (-(one.weight or 0.0), -(one.distance or 0.0), one.feature))


def _most_frequent(reasons: Rows) -> Rows:
    return sorted(reasons, key=lambda one: (-one["rows"], one["reason"]))


def _trends(facts: DashboardFacts) -> list[Picture]:
    threshold = facts.choices.drift_share_threshold
    return [
        picture(
            "performance",
            "Realised by matured day with its interval, beside the gate's level and what was "
            "estimated without labels. The gate's level holds at the gate's rate of frauds.",
            performance_trend(facts.performance_days),
        ),
        picture(
            "drift",
            "Share of the inputs that drifted, the share of the contributions that comes from "
            "them, and how far the scores have moved, in standard deviations.",
            drift_trend(facts.drift_days, threshold),
        ),
        picture(
            "rates",
            "Alerts by day beside the gate days' rate, and frauds by matured day beside the "
            "training days' rate.",
            rates_trend(facts.drift_days, facts.performance_days),
        ),
    ]


def _tiles(facts: DashboardFacts) -> list[tuple[str, object, str, str]]:
    """Name, value (None is not computable), the value as shown, and what stands below it."""
    drift, seen, decision = facts.drift, facts.performance, facts.decision
    since = f"since {facts.champion_since}" if facts.champion_since else "since when is not known"
    tiles: list[tuple[str, object, str, str]] = [
        ("In force", decision.champion, remedies.model_name(decision.champion), since)
    ]
    recent = seen.recent_average_precision if seen else None
    gate = seen.champion_gate_average_precision if seen else None
    of_days = f" of {count(seen.recent_days, 'matured day')}" if seen and recent else ""
    tiles.append(
        (f"Average precision{of_days}", recent, metric(recent), f"{metric(gate)} at the gate")
    )
    weight = drift.drifted_weight if drift else None
    moved = drift.drift_share if drift else None
    tiles.append(("Inputs that drifted", moved, share(moved), f"{share(weight)} of the model"))
    alerts = drift.alert_share if drift else None
    usual = drift.reference_alert_share if drift else None
    tiles.append(("Alerts", alerts, share(alerts), f"of the rows; usual {share(usual)}"))
    broken = len(drift.broken_columns) if drift and facts.quality else None
    tiles.append(("Broken inputs", broken, count(broken or 0), f"of {len(facts.quality)}"))
    out, raw = facts.quarantined_rows, facts.raw_rows
    part = out / raw if out is not None and raw else None
    tiles.append(("Quarantined", part, share(part), f"{out or 0:,} of {raw or 0:,} rows"))
    frauds = seen.fraud_share if seen else None
    before = seen.reference_fraud_share if seen else None
    day = f" of {seen.matured_day}" if seen and seen.matured_day else ""
    tiles.append((f"Frauds{day}", frauds, share(frauds), f"of the rows; usual {share(before)}"))
    guess = seen.estimated_average_precision if seen else None
    tiles.append(("Average precision, estimated", guess, metric(guess), "of the day, no labels"))
    return [
        (name, value, shown if value is not None else NOT_COMPUTABLE, more)
        for name, value, shown, more in tiles
    ]


def _last_matured(days: Sequence[DayPerformance]) -> list[DayPerformance]:
    matured = [one for one in days if one.matured_day is not None]
    return sorted(matured, key=lambda one: one.day, reverse=True)[:LOG_DAYS]


def _why_blind(one: DayPerformance) -> str:
    """Why a matured day has no average precision; empty if it has one."""
    if one.average_precision is not None:
        return ""
    if not one.rows:
        return "no predictions"
    return "no fraud is known" if one.judged_rows else "no labels"


def _alternatives(seen: DayPerformance | None) -> tuple[list[AlternativeRow], float]:
    """The other models on one scale of gains, the best first, and where its zero is."""
    found = seen.alternatives if seen else []
    scale = Scale.around(end for one in found for end in (one.gain, one.gain_low, one.gain_high))
    kinds = {"former": "former champion", "suspended": "suspended champion", "rules": "rule set"}
    rows = [
        AlternativeRow(
            name=f"{kinds[one.kind]} {one.version}",
            record=one,
            at=scale.point(one.gain),
            span=scale.span(one.gain_low, one.gain_high),
        )
        for one in sorted(found, key=lambda one: (one.gain is None, -(one.gain or 0.0)))
    ]
    return rows, scale.place(0.0)


def _log(facts: DashboardFacts) -> list[Decision]:
    """The decisions of the last days, the newest first; of one day, the last recorded first."""
    first = facts.day - timedelta(days=LOG_DAYS)
    newest_first = reversed(facts.past_decisions)
    recent = [one for one in newest_first if one.day >= first and one != facts.decision]
    return sorted(recent, key=lambda one: one.day, reverse=True)


_NUMBERS: Final = {
    "drifted_weight": "share of the contributions from drifted inputs",
    "alert_rate_ratio": "alerts, times the usual",
    "fraud_rate_ratio": "frauds, times the usual",
    "recent_average_precision": "average precision of the last matured days",
    "recent_high": "its upper end",
    "gate_average_precision": "average precision at the gate",
    "quarantine_share": "share of quarantined rows",
    "learnable_frauds": "frauds that can be learnt",
    "learnt_frauds": "frauds that were learnt",
    "needed_frauds": "frauds that are needed",
}


def _named(key: str) -> str:
    return _NUMBERS.get(key, key.replace("_", " "))


def _number(key: str, value: object) -> str:
    if value is None:
        return NOT_COMPUTABLE
    if isinstance(value, float):
        return share(value) if key.endswith(("_share", "_weight")) else f"{value:.4g}"
    return count(value) if isinstance(value, int) else str(value)
