"""Retrainings that are asked for over HTTP: started and followed through Dagster's webserver.

What a retraining does is Dagster's business, and whether its model serves is decided by the gate
there. Nothing of Dagster is imported before somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, cast
from urllib.parse import urlsplit

JOB: Final = "retraining"
PARTITION_TAG: Final = "dagster/partition"
REASON_TAG: Final = "fraud_assets/reason"
AUTHOR_TAG: Final = "fraud_assets/author"

MAX_TAG: Final = 200
"""Characters of a tag's value that are kept; Dagster's interface shows them in one line."""

_TIMEOUT_SECONDS: Final = 20

_UNDER_WAY: Final = """
query RetrainingsUnderWay($job: String!) {
  runsOrError(
    filter: {pipelineName: $job, statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]}
    limit: 1
  ) {
    ... on Runs { results { runId } }
  }
}
"""

_RUN: Final = """
query RetrainingRun($runId: ID!) {
  runOrError(runId: $runId) {
    __typename
    ... on Run {
      runId jobName status creationTime startTime endTime
      tags { key value }
      eventConnection(limit: 1000) { events {
        __typename
        ... on RunFailureEvent { message error { message } }
        ... on ExecutionStepFailureEvent { stepKey error { message causes { message } } }
      } }
    }
    ... on PythonError { message }
  }
}
"""


class DagsterUnavailableError(RuntimeError):
    """Dagster's webserver does not answer, or has no such job; the message holds the remedy."""


class UnknownRunError(LookupError):
    """Dagster knows no such retraining."""


class UnderWayError(ValueError):
    """A retraining has not ended yet; the message names its run."""


@dataclass(frozen=True)
class RetrainingRun:
    """One retraining as Dagster sees it.

    Attributes:
        run_id: Dagster's id.
        status: Dagster's, in lower case: `queued`, `starting`, `started`, `success`, `failure`, …
        day: the day as of which the model is trained.
        reason: why it was asked for.
        author: who asked for it; None if it was not asked for over this API.
        url: the run in Dagster's interface.
        created_at: when it was asked for.
        started_at: when it began; None before.
        ended_at: when it was over; None before.
        error: what failed, where something did.
    """

    run_id: str
    status: str
    day: date | None
    reason: str | None
    author: str | None
    url: str
    created_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    error: str | None


class Retrainings:
    """Starts the job `retraining` and looks after its runs. Everything here blocks.

    Args:
        dagster_url: of Dagster's webserver, as its users open it.
    """

    def __init__(self, dagster_url: str) -> None:
        self._url = dagster_url.rstrip("/")

    def start(self, day: date, *, reason: str, author: str) -> str:
        """Ask for a retraining as of the close of `day`; returns the run's id.

        One at a time: a second one would be judged against a champion that the first one may
        replace. Of two that are asked for within the same moment both may be taken.

        Raises:
            UnderWayError: one has been asked for, by whomever, and has not ended.
            DagsterUnavailableError: it could not be started.
        """
        running = self._ask(_UNDER_WAY, {"job": JOB})["runsOrError"]
        if running.get("results"):
            run_id = running["results"][0]["runId"]
            raise UnderWayError(f"retraining {run_id} has not ended; see {self._url}/runs/{run_id}")
        from dagster_graphql import DagsterGraphQLClient

        tags = {
            PARTITION_TAG: day.isoformat(),
            REASON_TAG: reason[:MAX_TAG],
            AUTHOR_TAG: author[:MAX_TAG],
        }
        with self._errors():
            client = DagsterGraphQLClient(urlsplit(self._url).netloc, transport=self._transport())
            return str(client.submit_job_execution(JOB, tags=tags))

    def find(self, run_id: str) -> RetrainingRun:
        """What has become of a retraining, whoever asked for it.

        Raises:
            UnknownRunError: there is no such run, or it is of another job.
            DagsterUnavailableError: Dagster does not answer.
        """
        run = self._ask(_RUN, {"runId": run_id})["runOrError"]
        if run["__typename"] == "PythonError":
            raise self._unavailable(str(run["message"]).splitlines()[0])
        if run["__typename"] != "Run" or run["jobName"] != JOB:
            raise UnknownRunError(f"Dagster at {self._url} knows no retraining {run_id}")
        return self._found(run)

    def _found(self, run: Mapping[str, Any]) -> RetrainingRun:
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        day = tags.get(PARTITION_TAG)
        return RetrainingRun(
            run_id=run["runId"],
            status=str(run["status"]).lower(),
            day=None if day is None else date.fromisoformat(day),
            reason=tags.get(REASON_TAG),
            author=tags.get(AUTHOR_TAG),
            url=f"{self._url}/runs/{run['runId']}",
            created_at=_time(run["creationTime"]),
            started_at=_time(run["startTime"]),
            ended_at=_time(run["endTime"]),
            error=_error_of(run["eventConnection"]["events"]),
        )

    def _ask(self, question: str, variables: dict[str, str]) -> dict[str, Any]:
        """What Dagster's own client has no method for: it tells a run's status and no more."""
        from gql import Client, gql

        query = gql(question)
        query.variable_values = variables
        with self._errors():
            answer: dict[str, Any] = Client(transport=self._transport()).execute(query)
        return answer

    def _transport(self) -> Any:  # noqa: ANN401
        from gql.transport.requests import RequestsHTTPTransport

        # One for each use: it must not be opened twice, and several threads may ask at once.
        return RequestsHTTPTransport(f"{self._url}/graphql", timeout=_TIMEOUT_SECONDS)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from dagster_graphql import DagsterGraphQLClientError
        from gql.transport.exceptions import TransportError
        from requests import RequestException

        try:
            yield
        except DagsterGraphQLClientError as error:
            # With one argument it could not ask at all, and quotes the whole query.
            said = " ".join(str(part) for part in error.args[:2]) if len(error.args) > 1 else ""
            raise self._unavailable(said) from error
        except (TransportError, RequestException) as error:
            raise self._unavailable("") from error

    def _unavailable(self, said: str) -> DagsterUnavailableError:
        reason = f" ({said[:300]})" if said else ""
        return DagsterUnavailableError(
            f"Dagster at {self._url} did not take it{reason}: start it with `fraud-assets dev`, "
            "or set FRAUD_API__DAGSTER_URL to where it answers"
        )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC)


def _error_of(events: list[Mapping[str, Any]]) -> str | None:
    """The first line of what failed first in a step, else of what the run failed with."""
    for kind in ("ExecutionStepFailureEvent", "RunFailureEvent"):
        for event in events:
            if event["__typename"] == kind:
                found = event.get("error") or {"message": event.get("message", "failed")}
                causes = cast("list[Mapping[str, Any]]", found.get("causes") or [])
                text = str((causes[-1] if causes else found)["message"])
                step = event.get("stepKey")
                return (f"{step}: " if step else "") + text.strip().split("\n", 1)[0]
    return None
