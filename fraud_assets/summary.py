"""What people see in a terminal: progress, the summary of a simulation, a look at a source.

Reading and laying out only. Every number comes from the records of the assets, except the
comparison with the previous champion, which scores the same days again with the old model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import fmean
from typing import Final

import dagster as dg
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fraud_assets.assets import (
    CHAMPION,
    DECISION,
    DRIFT,
    EVALUATION,
    FEATURES,
    PERFORMANCE,
    PREDICTIONS,
    VALIDATED,
)
from fraud_assets.assets.label_history import LabelHistory
from fraud_assets.jobs import RETRAINING
from fraud_assets.lake import Lake
from fraud_assets.metadata import (
    PARTITION_TAG,
    DecisionRecord,
    DriftRecord,
    EvaluationRecord,
    PerformanceRecord,
    PredictionRecord,
    PromotionRecord,
    ValidationRecord,
    latest,
    latest_by_day,
)
from fraud_assets.partitions import SimulationDays
from fraud_assets.settings import Settings
from fraud_assets.simulation import ClosedDays, FinishedRun, Simulation
from fraud_assets.transactions.profile import Profile, load_profile
from fraud_assets.transactions.sources import TransactionSource, describe_source

PIPED_WIDTH = 110

COMPARED_DAYS = 5
"""Matured days on each side of a promotion that its before and after are averaged over."""


def terminal() -> Console:
    """A console as wide as the terminal, or wide enough for the tables where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_WIDTH)


def show_progress(simulation: Simulation, days: int, console: Console) -> None:
    """Run `days` days with a progress bar, and a line for each day that has closed.

    Raises:
        SimulationFailedError: as `Simulation.run`.
    """
    columns = (
        TextColumn("[bold]{task.fields[doing]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days closed"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(simulation.plan(days)), doing="starting")
        for closed in simulation.run(days, lambda what: progress.update(task, doing=what)):
            console.print(_line(simulation.instance, closed))
            progress.advance(task)


def _line(instance: dg.DagsterInstance, closed: ClosedDays) -> Text:
    day = closed.last_day
    validation = latest(instance, VALIDATED, day, ValidationRecord)
    scored = latest(instance, PREDICTIONS, day, PredictionRecord)
    drift = latest(instance, DRIFT, day, DriftRecord)
    performance = latest(instance, PERFORMANCE, day, PerformanceRecord)
    name = str(day) if closed.first_day == day else f"{closed.first_day} to {day}"
    line = Text(f"{name}  ")
    if validation and scored and drift and performance:
        line.append(
            f"{validation.validated_rows:>8,} rows {validation.quarantined_rows:>4} quarantined "
            f"{scored.alerts:>4} alerts by {scored.model_version:<7} "
            f"drift {_share(drift.drift_share):>4}  AP {_number(performance.average_precision)}"
            + (f" of {performance.matured_day:%m-%d}" if performance.matured_day else "")
        )
    decided = latest(instance, DECISION, day, DecisionRecord)
    before = latest(instance, DECISION, day - timedelta(days=1), DecisionRecord)
    if decided is not None and _is_news(decided, before):
        line.append(f"\n            {_SAID[decided.action]}: {decided.reason}", style="yellow")
    for run in closed.runs:
        if run.is_retraining:
            line.append(f"\n            {_verdict(instance, run)}", style="bold")
        elif run.failure:
            line.append(f"\n            {run.failure}", style="bold red")
    return line


_SAID: Final = {
    "nothing": "",
    "warn": "warning",
    "retrain": "retraining",
    "fall_back": "falling back",
    "roll_back": "rolling back",
    "restore": "restoring",
}


def _is_news(decided: DecisionRecord, before: DecisionRecord | None) -> bool:
    """Whether to tell of it: not of a warning that only repeats the day before's."""
    if decided.action == "nothing":
        return False
    said_before = before is not None and (before.action, before.rule) == ("warn", decided.rule)
    return decided.action != "warn" or not said_before


def _verdict(instance: dg.DagsterInstance, run: FinishedRun) -> str:
    if run.failure:
        return run.failure
    judged = latest(instance, EVALUATION, run.last_day, EvaluationRecord)
    if judged is None:
        return "no evaluation"
    action = "promoted" if judged.promote else "refused"
    reasons = judged.reasons.split("; ")
    gain = next((reason for reason in reasons if "average precision" in reason), reasons[0])
    return f"candidate {judged.candidate_version} {action}: {gain}"


@dataclass(frozen=True)
class _Day:
    day: date
    validation: ValidationRecord
    scored: PredictionRecord
    drift: DriftRecord | None
    realised: PerformanceRecord | None
    trained: bool
    promotion: PromotionRecord | None
    decision: DecisionRecord | None


def summarise(settings: Settings, instance: dg.DagsterInstance) -> Group:
    """The summary of everything that the instance knows, and its picture beside the lake.

    Raises:
        LookupError: no day has been closed.
    """
    days = _read_days(instance)
    if not days:
        raise LookupError("no day has been closed yet: run `fraud-assets simulate`")
    parts: list[Table | Text] = [_day_table(days), _champion_table(days)]
    parts += _before_and_after(settings, days)
    picture = _draw(settings, days)
    retrainings, promotions = sum(d.trained for d in days), sum(_promoted(d) for d in days)
    money = [d.realised for d in days if d.realised and d.realised.savings is not None]
    lost = sum(r.loss_without_alerts or 0.0 for r in money)
    saved = sum((r.savings or 0.0) * (r.loss_without_alerts or 0.0) for r in money)
    rows = sum(d.validation.validated_rows for d in days)
    quarantined = sum(d.validation.quarantined_rows for d in days)
    duplicates = sum(d.validation.duplicate_rows for d in days)
    parts.append(
        Text(
            f"{len(days)} days, {rows:,} transactions, {quarantined:,} quarantined, "
            f"{duplicates:,} duplicates; {retrainings} trainings, {promotions} promotions.\n"
            f"Of {lost:,.0f} that fraud would have taken on the {len(money)} days with mature "
            f"labels, {saved:,.0f} was saved, reviews paid"
            + (f" ({saved / lost:.0%})." if lost else ".")
        )
    )
    parts.append(
        Text(
            "Next: `make dev` (or `fraud-assets dev`) shows the graph on http://127.0.0.1:3000; "
            "open drift_report and performance_report and look at their plots.\n"
            f"Evidently's reports: {settings.lake_root}/{DRIFT}/day=…/report.html\n"
            f"The days as a picture: {picture}",
            style="cyan",
        )
    )
    return Group(*parts)


def _draw(settings: Settings, days: Sequence[_Day]) -> Path:
    """Keep the picture of the days beside the lake."""
    from fraud_assets.monitoring.reporting.timeline import TimelineDay, timeline

    shown = [
        TimelineDay(
            day=one.day,
            average_precision=_ap(one),
            drift_share=one.drift.drift_share if one.drift else None,
            scored_by=one.scored.model_version,
            promoted=_promoted(one) if one.trained else None,
        )
        for one in days
    ]
    threshold = load_profile(settings.profile).monitoring.drift_share_threshold
    path = settings.data_dir.resolve() / "simulation.png"
    path.write_bytes(timeline(shown, threshold))
    return path


def _read_days(instance: dg.DagsterInstance) -> list[_Day]:
    validations = latest_by_day(instance, VALIDATED, ValidationRecord)
    scored = latest_by_day(instance, PREDICTIONS, PredictionRecord)
    drift = latest_by_day(instance, DRIFT, DriftRecord)
    performance = latest_by_day(instance, PERFORMANCE, PerformanceRecord)
    realised = {r.matured_day: r for r in performance.values() if r.matured_day is not None}
    promotions = latest_by_day(instance, CHAMPION, PromotionRecord)
    decisions = latest_by_day(instance, DECISION, DecisionRecord)
    runs = instance.get_run_records(dg.RunsFilter(job_name=RETRAINING))
    trained = {r.dagster_run.tags.get(PARTITION_TAG) for r in runs}
    return [
        _Day(
            day,
            validations[day],
            scored[day],
            drift.get(day),
            realised.get(day),
            str(day) in trained,
            promotions.get(day),
            decisions.get(day),
        )
        for day in sorted(validations)
        if day in scored
    ]


def _promoted(day: _Day) -> bool:
    return day.promotion is not None and day.promotion.action == "promote"


def _day_table(days: Sequence[_Day]) -> Table:
    table = Table(title="Days", title_justify="left")
    for name in (
        "day",
        "rows",
        "quarantined",
        "scored by",
        "alerts",
        "drift",
        "AP",
        "CP@k",
        "event",
    ):
        table.add_column(name, justify="left" if name in ("day", "scored by", "event") else "right")
    for one in days:
        event = ""
        if one.trained:
            event = "trained, promoted" if _promoted(one) else "trained, refused"
        elif one.decision is not None and one.decision.target:
            event = f"{_SAID[one.decision.action]} to {one.decision.target}"
        real = one.realised
        table.add_row(
            str(one.day),
            f"{one.validation.validated_rows:,}",
            f"{one.validation.quarantined_rows:,}",
            one.scored.model_version,
            f"{one.scored.alerts:,}",
            _share(one.drift.drift_share if one.drift else None),
            _number(real.average_precision if real else None),
            _of(real.card_precision, real.card_precision_ceiling) if real else "–",
            event,
            style="bold" if event else None,
        )
    return table


def _champion_table(days: Sequence[_Day]) -> Table:
    table = Table(title="Champions, on the days that they scored", title_justify="left")
    for name in ("version", "first day", "last day", "days with labels", "AP", "CP@k", "savings"):
        table.add_column(name, justify="left" if "day" in name and "with" not in name else "right")
    for version in dict.fromkeys(one.scored.model_version for one in days):
        own = [one for one in days if one.scored.model_version == version]
        real = [one.realised for one in own if one.realised is not None]
        judged = [r for r in real if r.average_precision is not None]
        table.add_row(
            version,
            str(own[0].day),
            str(own[-1].day),
            str(len(judged)),
            _number(_mean([r.average_precision for r in judged])),
            _of(
                _mean([r.card_precision for r in judged]),
                _mean([r.card_precision_ceiling for r in judged]),
            ),
            _share(_mean([r.savings for r in judged])),
        )
    return table


def _before_and_after(settings: Settings, days: Sequence[_Day]) -> list[Text]:
    """For each promotion over a model: AP before, after, and what the old model would have had."""
    lines = []
    for one in days:
        if one.promotion is None or not _promoted(one):
            continue
        new, old = one.promotion.version, one.promotion.previous_version
        before = [d for d in days if d.scored.model_version == old and d.day <= one.day]
        after = [d for d in days if d.scored.model_version == new and d.realised]
        if not old.isdigit() or not after:
            continue
        then = _mean([_ap(d) for d in before[-COMPARED_DAYS:]])
        now = _mean([_ap(d) for d in after[:COMPARED_DAYS]])
        other = _mean(_scored_again(settings, old, [d.day for d in after[:COMPARED_DAYS]]))
        lines.append(
            Text(
                f"Promotion of version {new} after {one.day}: AP {_number(then)} on the "
                f"{min(len(before), COMPARED_DAYS)} days before, {_number(now)} on the "
                f"{min(len(after), COMPARED_DAYS)} days after; version {old} would have had "
                f"{_number(other)} on those days.",
                style="green",
            )
        )
    return lines


def _ap(day: _Day) -> float | None:
    return day.realised.average_precision if day.realised else None


def _scored_again(settings: Settings, version: str, days: Sequence[date]) -> list[float | None]:
    """Realised AP that `version` would have had on days that another model scored."""
    from fraud_assets.modeling.registry import ModelRegistry
    from fraud_assets.modeling.scoring import score_day
    from fraud_assets.modeling.splits import days_looked_at
    from fraud_assets.monitoring.performance import realised_performance

    profile, lake = load_profile(settings.profile), Lake(settings.lake_root)
    delay = profile.label_delay_days
    registry = ModelRegistry(
        settings.mlflow_uri, settings.registered_model, settings.cache_dir / "models"
    )
    model = registry.load(version)
    partitions = SimulationDays(settings.first_day, settings.days)
    told = LabelHistory(lake, partitions, days_looked_at(delay, profile.training))
    found = []
    for day in days:
        as_of = day + timedelta(days=delay)
        predictions = score_day(model, lake.read_days(FEATURES, [day]), reasons_for_alerts=False)
        realised = realised_performance(
            predictions, told.judging(day, as_of), as_of, delay, profile.decision
        )
        found.append(realised.overall.average_precision)
    return found


def source_table(source: TransactionSource, profile: Profile, limit: int) -> Group:
    """What a source holds: its days, and the columns of the first `limit` of them.

    Raises:
        SourceError: the source cannot be read, or has no day yet.
    """
    seen = describe_source(source, profile, limit)
    days = Table(
        title=f"{seen.day_count} days, {seen.first_day} to {seen.last_day}, "
        f"{seen.missing_days} without rows; the first {len(seen.days)}",
        title_justify="left",
    )
    days.add_column("day")
    days.add_column("rows", justify="right")
    days.add_column("of another day, or unreadable", justify="right")
    for day, one in seen.days.items():
        days.add_row(str(day), f"{one.rows:,}", f"{one.outside:,}")
    columns = Table(title="Columns", title_justify="left")
    for name in ("column", "type", "missing", "examples"):
        columns.add_column(name)
    for name, column in seen.columns.items():
        examples = ", ".join(column.examples)[:50]
        columns.add_row(name, column.dtype, f"{column.null_share:.1%}", examples)
    problem = Text(seen.problem or "", style="red")
    return Group(days, columns, problem)


def first_day_table(source: TransactionSource, profile: Profile) -> Table:
    """What validation makes of the first day: the canonical columns, or why rows are refused."""
    from fraud_assets.transactions.validation import validate_day

    day = source.days()[0]
    outcome = validate_day(source.read_day(day), profile, day)
    table = Table(
        title=f"{day}: {outcome.validated.height:,} of {outcome.raw_rows:,} rows are valid",
        title_justify="left",
    )
    for name in ("canonical column", "type", "missing", "example"):
        table.add_column(name)
    for series in outcome.validated.get_columns():
        present = series.drop_nulls()
        example = str(present[0]) if len(present) else "–"
        table.add_row(series.name, str(series.dtype), f"{series.null_count():,}", example[:40])
    for reason, rows in outcome.reasons_table().head(10).iter_rows():
        table.add_row("rejected", reason, f"{rows:,}", "", style="red")
    return table


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _of(value: float | None, best: float | None) -> str:
    return "–" if value is None else f"{value:.2f} of {_number(best)[:4]}"
