"""What people should know of, in words: alerts made from decisions, promotions, runs and days.

Only what is worth telling, how urgent it is, and how it reads belongs here. Whether it is told
again is the outbox's business (`store.alerts`), and how it travels that of `resources.alerts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal, get_args
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict

from fraud_assets.monitoring.policy import Action, Decision, Finding, FindingKind

Severity = Literal["info", "warning", "critical"]

SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
"""From the least to the most urgent."""

LONGEST_ERROR: Final = 1_000
"""Characters of an error's beginning that are told; the rest is in the run's log."""

RAW_ASSET: Final = "raw_transactions"
PREDICTIONS_ASSET: Final = "fraud_predictions"
CHAMPION_ASSET: Final = "champion_model"
DECISION_ASSET: Final = "loop_decision"
DASHBOARD_ASSET: Final = "debugging_dashboard"


class Alert(BaseModel):
    """One thing that people should know of.

    `key` is what it is about: an alert with the same key soon after is more of the same. `day` is
    None for what belongs to no day, and `source` is what it was made from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    kind: str
    severity: Severity
    day: date | None
    source: str
    title: str
    body: str
    link: str | None
    numbers: dict[str, Any] = {}


@dataclass(frozen=True)
class Links:
    """Addresses in Dagster's UI.

    >>> Links("http://127.0.0.1:3000/").asset("drift_report", date(2025, 1, 7))
    'http://127.0.0.1:3000/assets/drift_report?partition=2025-01-07'
    """

    base_url: str

    def asset(self, asset: str, day: date | None = None) -> str:
        """The page of an asset, at one of its partitions."""
        of_day = "" if day is None else "?" + urlencode({"partition": day.isoformat()})
        return f"{self.base_url.rstrip('/')}/assets/{quote(asset)}{of_day}"

    def run(self, run_id: str) -> str:
        """The page of a run."""
        return f"{self.base_url.rstrip('/')}/runs/{quote(run_id, safe='')}"


@dataclass(frozen=True)
class _Form:
    """How a sort of alert reads.

    `numbers` names those of a decision that belong to it, and `of_champion` tells whether another
    champion makes it another matter; drift does, a broken feed does not.
    """

    severity: Severity
    title: str
    to_do: str
    numbers: tuple[str, ...] = ()
    of_champion: bool = True


_PERFORMANCE: Final = ("recent_average_precision", "recent_high", "gate_average_precision")

_FINDINGS: Final[dict[FindingKind, _Form]] = {
    "unloadable": _Form(
        "critical",
        "Champion {champion} cannot be loaded",
        "check the registry and the model's files; when they are back, it is restored by itself",
    ),
    "broken_inputs": _Form(
        "critical",
        "Broken inputs on {day}",
        "find what changed in the feed, repair it, and close the day again",
        ("quarantine_share", "drift_share", "drifted_weight"),
        of_champion=False,
    ),
    "quarantine": _Form(
        "warning",
        "Too many rows quarantined on {day}",
        "look at the quarantined rows and their reasons, repair the feed, and close the day again",
        ("quarantine_share",),
        of_champion=False,
    ),
    "worse": _Form(
        "critical",
        "Champion {champion} is worse than another model",
        "look at the comparison on the dashboard",
        ("gain", "gain_low", "gain_high", "cost_gain", "days", "frauds"),
    ),
    "decay": _Form(
        "critical",
        "Champion {champion} has become worse",
        "look at the dashboard; a retraining follows as soon as it can learn what has changed",
        (*_PERFORMANCE, "drift_share", "learnable_frauds", "needed_frauds"),
    ),
    "drift": _Form(
        "warning",
        "Inputs of champion {champion} have drifted",
        "look whether a feed has changed; what is done about it is said by the decision",
        ("drift_share", "drifted_weight", "score_drift", *_PERFORMANCE),
    ),
    "score_drift": _Form(
        "warning",
        "Scores of champion {champion} have drifted",
        "look at the inputs behind it on the dashboard",
        ("score_drift", "drift_share", *_PERFORMANCE),
    ),
    "alert_rate": _Form(
        "warning",
        "Champion {champion} raises more or fewer alerts",
        "look whether the analysts can keep up, and at the inputs behind it",
        ("alert_rate_ratio", "score_drift", "drift_share"),
    ),
    "fraud_rate": _Form(
        "warning",
        "The rate of frauds has moved",
        "look whether fraud has changed, or how it is reported",
        ("fraud_rate_ratio", *_PERFORMANCE),
        of_champion=False,
    ),
    "estimate": _Form(
        "info",
        "Frauds are not as many as the scores say",
        "look at what the frauds of the day have in common",
        ("fraud_rate_ratio", *_PERFORMANCE),
    ),
}
"""Not `blind`: a day without frauds to judge by is nothing that people could do something about."""

_ALONE_UNTOLD: Final = {"blind", "estimate"}
_TOLD_BY_ACTION: Final = {"worse", "unloadable"}
"""Where they decided, the alert of the action says the same."""

_ACTIONS: Final[dict[Action, _Form]] = {
    "retrain": _Form(
        "info",
        "Retraining as of {day}",
        "nothing; the challenger goes live only if it passes the gate",
    ),
    "fall_back": _Form(
        "critical",
        "Falling back from {champion} to {target}",
        "repair what the reason names; {champion} is restored by itself when it can serve",
    ),
    "roll_back": _Form(
        "critical",
        "Rolling back from {champion} to {target}",
        "check that {target} serves from the next day on, and find out what {champion} learnt",
    ),
    "restore": _Form("info", "Restoring {target}", "nothing; it serves from the next day on"),
}

_PROMOTIONS: Final[dict[str, tuple[str, Severity, str]]] = {
    "promote": ("promoted", "info", "Version {version} is the new champion"),
    "keep": ("refused", "warning", "Challenger {version} was refused"),
    "rollback": ("rolled_back", "info", "Rolled back to {version}"),
    "fallback": ("fallen_back", "info", "Fell back to {version}"),
    "restore": ("restored", "info", "Restored {version}"),
}
"""By action of the record: the alert's kind, severity and title. What puts an earlier version in
force again was told when it was decided, and by hand somebody did it knowingly."""


def of_decision(decision: Decision, decision_id: int, links: Links) -> list[Alert]:
    """One alert for each finding that is worth it, and one for what is done.

    A finding that the action's alert repeats has none of its own. What the estimate says is told
    beside other findings only.

    Args:
        decision: of a day.
        decision_id: its place in the record.
        links: into the UI.
    """
    return [*_of_findings(decision, decision_id, links), *_of_action(decision, decision_id, links)]


def of_promotion(
    day: date,
    action: str,
    version: str,
    previous: str | None,
    reason: str,
    *,
    promotion_id: int,
    links: Links,
    numbers: Mapping[str, Any] | None = None,
) -> Alert:
    """What was entered in the record of promotions.

    Args:
        day: the day whose data decided.
        action: of the record: promote, keep, rollback, fallback or restore.
        version: the version that the action is about.
        previous: the champion before it; None for the first.
        reason: in words.
        promotion_id: its place in the record.
        links: into the UI.
        numbers: of the reason.

    Raises:
        KeyError: the action is none of the record's.
    """
    kind, severity, title = _PROMOTIONS[action]
    stays = "stays" if action == "keep" else "was before"
    link = links.asset(CHAMPION_ASSET, day)
    given = dict(numbers or {})
    return Alert(
        key=f"{kind}:{version}:{day}",
        kind=kind,
        severity=severity,
        day=day,
        source=f"promotion:{promotion_id}",
        title=title.format(version=version),
        body=_body(f"{reason}\nAs of {day}; {previous or 'no model'} {stays}.", given, link=link),
        link=link,
        numbers=given,
    )


def of_failed_run(
    run_id: str, job: str, days: Sequence[date], step: str | None, error: str, *, links: Links
) -> Alert:
    """A run that failed, also after its retries.

    Args:
        run_id: the run.
        job: its job.
        days: the partitions that it was for, oldest first; may be empty.
        step: the step that failed; None if it failed outside of one.
        error: what was raised; only its beginning is told.
        links: into the UI.
    """
    of_days = ""
    if days:
        of_days = f" of {days[0]}" if len(days) == 1 else f" of {days[0]} to {days[-1]}"
    text = f"{job}{of_days} failed" + (f" at {step}" if step else "")
    link = links.run(run_id)
    told = error.strip()[:LONGEST_ERROR] or "no error was recorded"
    to_do = "read the run's log, repair what it names, and run it again from the failed step"
    return Alert(
        key=f"failed_run:{job}:{step or ''}",
        kind="failed_run",
        severity="warning",
        day=None,
        source=f"run:{run_id}",
        title=f"Run failed: {job}{of_days}",
        body=_body(f"{text}\n\n{told}", {}, to_do=to_do, link=link),
        link=link,
    )


def of_stale_day(day: date, minutes: int, links: Links) -> Alert:
    """A day that landed `minutes` ago and is not closed; counted again for every 24 hours."""
    link = links.asset(PREDICTIONS_ASSET, day)
    text = f"The transactions of {day} landed {_duration(minutes)} ago, and are not scored."
    to_do = "look whether the daemon runs, the sensors are on, and a run of the day has failed"
    return Alert(
        key="stale_day",
        kind="stale_day",
        severity="critical",
        day=day,
        source=f"stale_day:{day}:{minutes // 1_440}",
        title=f"Not closed: {day}",
        body=_body(text, {}, to_do=to_do, link=link),
        link=link,
        numbers={"minutes": minutes},
    )


def of_silence(last_day: date | None, minutes: int, links: Links) -> Alert:
    """No new day for `minutes`; counted again for every 24 hours.

    `last_day` is the last that landed, None if none ever did.
    """
    link = links.asset(RAW_ASSET, last_day)
    text = f"Nothing new for {_duration(minutes)}; the last day that landed: {last_day or 'none'}."
    return Alert(
        key="silence",
        kind="silence",
        severity="warning",
        day=last_day,
        source=f"silence:{last_day}:{minutes // 1_440}",
        title="No new transactions",
        body=_body(text, {}, to_do="look whether the source still delivers", link=link),
        link=link,
        numbers={"minutes": minutes},
    )


def _of_findings(decision: Decision, decision_id: int, links: Links) -> Iterator[Alert]:
    kinds = {one.kind for one in decision.findings}
    if kinds <= _ALONE_UNTOLD:
        return
    for finding in decision.findings:
        form = _FINDINGS.get(finding.kind)
        repeated = finding.kind == decision.rule and decision.action in _ACTIONS
        if form is not None and not (repeated and finding.kind in _TOLD_BY_ACTION):
            yield _of_finding(form, finding, decision, decision_id, links)


def _of_finding(
    form: _Form, finding: Finding, decision: Decision, decision_id: int, links: Links
) -> Alert:
    numbers = {name: decision.numbers[name] for name in form.numbers if name in decision.numbers}
    since = "" if finding.since is None else f"\nSince {finding.since}."
    decided = "" if decision.reason == finding.text else decision.reason
    link = links.asset(DASHBOARD_ASSET, decision.day)
    return Alert(
        key=f"{finding.kind}:{decision.champion}" if form.of_champion else finding.kind,
        kind=finding.kind,
        severity=form.severity,
        day=decision.day,
        source=f"decision:{decision_id}",
        title=_filled(form.title, decision),
        body=_body(finding.text + since, numbers, decided=decided, to_do=form.to_do, link=link),
        link=link,
        numbers=numbers,
    )


def _of_action(decision: Decision, decision_id: int, links: Links) -> Iterator[Alert]:
    form = _ACTIONS.get(decision.action)
    if form is None:
        return
    link = links.asset(DECISION_ASSET, decision.day)
    to_do = _filled(form.to_do, decision)
    yield Alert(
        # With the day: what is done is told each time, also soon after the last.
        key=f"{decision.action}:{decision.champion}:{decision.day}",
        kind=decision.action,
        severity=form.severity,
        day=decision.day,
        source=f"decision:{decision_id}",
        title=_filled(form.title, decision),
        body=_body(decision.reason, decision.numbers, to_do=to_do, link=link),
        link=link,
        numbers=decision.numbers,
    )


def _filled(text: str, decision: Decision) -> str:
    return text.format(
        day=decision.day, champion=decision.champion, target=decision.target or "another model"
    )


def _body(
    text: str, numbers: Mapping[str, Any], *, decided: str = "", to_do: str = "", link: str
) -> str:
    """Paragraphs of plain text, the numbers one per line."""
    paragraphs = [
        text,
        "\n".join(f"{name.replace('_', ' ')}: {_shown(value)}" for name, value in numbers.items()),
        decided and f"Decision: {decided}",
        to_do and f"To do: {to_do}.",
        link,
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _shown(value: object) -> str:
    if value is None:
        return "not computable"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _duration(minutes: int) -> str:
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
