"""Fast-forward of the simulation clock: close day after day, and let the real sensors decide.

The same sensors, jobs and instance as under `dagster dev`; only the daemon is replaced by a loop.
What a day does belongs in the assets, when a model is retrained in `monitoring.policy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorExecutionData

from fraud_assets.clock import SimulationClock
from fraud_assets.definitions import build_defs
from fraud_assets.jobs import DAILY_PIPELINE, RETRAINING, ROLLBACK
from fraud_assets.metadata import RANGE_END_TAG, RANGE_START_TAG
from fraud_assets.resources import store_resource
from fraud_assets.sensors import ALERT_SENSOR, LOOP_SENSOR, NEW_DAY_SENSOR, REASON_TAG
from fraud_assets.sensors.new_day import closed_days
from fraud_assets.settings import Settings

ORDER = (NEW_DAY_SENSOR, LOOP_SENSOR, ALERT_SENSOR)
"""A day is closed, then what was decided about it is done, then people are told."""

RUN_KEY_TAG = "dagster/run_key"
SENSOR_TAG = "dagster/sensor_name"


class SimulationFailedError(RuntimeError):
    """A run failed, so that the clock cannot move on; names the run, the step and the cause."""


@dataclass(frozen=True)
class FinishedRun:
    """A run that a sensor asked for, and its days. `failure` is empty if it succeeded."""

    job: str
    sensor: str
    run_id: str
    first_day: date
    last_day: date
    reason: str
    failure: str = ""

    @property
    def is_retraining(self) -> bool:
        """Whether it trained a candidate."""
        return self.job == RETRAINING

    @property
    def is_rollback(self) -> bool:
        """Whether it put another model in force."""
        return self.job == ROLLBACK


@dataclass(frozen=True)
class ClosedDays:
    """What happened when the clock reached `last_day`."""

    first_day: date
    last_day: date
    runs: list[FinishedRun]


class Simulation:
    """Moves the clock over an instance.

    Args:
        settings: the installation.
        instance: the Dagster instance that the UI reads too.
    """

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings = settings
        self.instance = instance
        self.clock = SimulationClock(settings.data_dir)
        self._defs = build_defs(settings)
        self._repository = self._defs.get_repository_def()

    def plan(self, days: int) -> list[date]:
        """The days that `run` would set the clock to.

        The first may stand for the history, or be a day whose run failed and is tried again.
        """
        today = self.clock.today()
        targets: list[date] = []
        if today is None:
            today = self.settings.first_day + timedelta(days=self.settings.history_days - 1)
            targets.append(today)
        elif today not in closed_days(self.instance):
            targets.append(today)
        targets += [today + timedelta(days=i + 1) for i in range(days)]
        return [day for day in targets if day <= self.settings.last_day]

    def run(
        self, days: int, started: Callable[[str], None] = lambda _: None
    ) -> Iterator[ClosedDays]:
        """Close `days` more days, yielding after each; the first time, the history before them.

        Args:
            days: how many days to close, at least one.
            started: told what is being run, for a progress display.

        Raises:
            SimulationFailedError: a day could not be closed; what was closed before stays closed,
                and the day is tried again the next time. A training that fails is told of in its
                `FinishedRun` and stops nothing: the champion goes on serving.
        """
        for day in self.plan(days):
            self.clock.set(day)
            runs = list(self.tick(started))
            # More than one day where history is closed, or an earlier failure is made good.
            first = min((run.first_day for run in runs if run.job == DAILY_PIPELINE), default=day)
            yield ClosedDays(first, day, runs)

    def tick(self, started: Callable[[str], None] = lambda _: None) -> Iterator[FinishedRun]:
        """Evaluate each sensor once at the clock as it stands, and run what it requests.

        A sensor's cursor moves after its runs, so that a day that failed is requested again.
        """
        for name in ORDER:
            key = f"fraud_assets/simulation/{name}"
            cursor = self.instance.run_storage.get_cursor_values({key}).get(key)
            tick = self._evaluate(name, cursor)
            for request in tick.run_requests or []:
                finished = self._execute(name, request, started)
                if finished is not None:
                    yield finished
            if tick.cursor is not None:
                self.instance.run_storage.set_cursor_values({key: tick.cursor})

    def _evaluate(self, name: str, cursor: str | None) -> SensorExecutionData:
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=cursor,
            definitions=self._defs,
            sensor_name=name,
            # The daemon takes these from the definitions by itself; a context built by hand not.
            resources={"store": store_resource(self.settings)},
        ) as context:
            return self._repository.get_sensor_def(name).evaluate_tick(context)

    def _execute(
        self, sensor: str, request: dg.RunRequest, started: Callable[[str], None]
    ) -> FinishedRun | None:
        tags = {**request.tags, SENSOR_TAG: sensor}
        if request.run_key is not None:
            tags[RUN_KEY_TAG] = request.run_key
            same = dg.RunsFilter(
                tags={RUN_KEY_TAG: request.run_key, SENSOR_TAG: sensor},
                statuses=[dg.DagsterRunStatus.SUCCESS],
            )
            if self.instance.get_runs_count(same):
                return None
        job = request.job_name or DAILY_PIPELINE
        first, last = _days_of(request, self.clock.today())
        started(f"{job} {first}" if first == last else f"{job} {first} to {last}")
        result = self._repository.get_job(job).execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            tags=tags,
            run_config={
                **request.run_config,
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            raise_on_error=False,
        )
        failure = "" if result.success else failure_of(result, f"{job} of {last}")
        if failure and job == DAILY_PIPELINE:
            raise SimulationFailedError(failure)
        reason = request.tags.get(REASON_TAG, "")
        return FinishedRun(job, sensor, result.run_id, first, last, reason, failure)


def _days_of(request: dg.RunRequest, today: date | None) -> tuple[date, date]:
    """First and last day of a run; a rollback has no partition and is made at the clock's day."""
    if request.partition_key is not None:
        day = date.fromisoformat(request.partition_key)
        return day, day
    if RANGE_START_TAG not in request.tags and today is not None:
        return today, today
    return (
        date.fromisoformat(request.tags[RANGE_START_TAG]),
        date.fromisoformat(request.tags[RANGE_END_TAG]),
    )


def failure_of(result: dg.ExecuteInProcessResult, what: str) -> str:
    """Why a run failed, in one sentence that begins with `what`."""
    for event in result.filter_events(lambda e: e.is_step_failure):
        error = event.step_failure_data.error
        cause = error.cause if error is not None and error.cause is not None else error
        message = cause.message.strip() if cause is not None else "unknown cause"
        return f"{what} failed in {event.step_key}: {message} (run {result.run_id})"
    return f"{what} failed before its first step (run {result.run_id})"


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Keep Dagster's and the libraries' own log lines out of a progress display."""
    import logging
    import warnings

    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
