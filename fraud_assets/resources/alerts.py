"""Delivering alerts: the outbox of the store on one side, Apprise's channels on the other.

What is worth an alert is decided in `monitoring.alerts`, and what is told again in `store.alerts`.
The URLs of channels hold tokens and passwords, and Apprise cannot know which part of each is one.
So nothing that it logs or answers is passed on: only what was recognised in it.
"""

from __future__ import annotations

import contextvars
import hashlib
import logging
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self

from fraud_assets.monitoring.alerts import SEVERITIES, Severity
from fraud_assets.settings import AlertSettings
from fraud_assets.store.engine import PredictionStore

if TYPE_CHECKING:
    from apprise import Apprise

    from fraud_assets.store.alerts import StoredAlert

SECONDS_PER_MESSAGE: Final = 10.0
"""For one message to one channel, whatever it is. Within that, Apprise waits four seconds for a
connection and four for an answer, unless the URL says otherwise (`?cto=2&rto=8`)."""

SECONDS_PER_FLUSH: Final = 20.0
"""After these no other message is begun: a sensor's tick is given a minute."""

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_STATUS: Final = re.compile(r"\berror=([1-5]\d\d)\b")

_unlogged_lines: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar(
    "unlogged_lines", default=None
)


class AlertChannelError(ValueError):
    """A channel that cannot be used; the message names it by its position and scheme alone."""


@dataclass(frozen=True)
class Channel:
    """One place where alerts go.

    `key` is a hash of its URL, by which the outbox knows what it has got; `name` is what may be
    shown.
    """

    key: str
    name: str
    service: Apprise = field(repr=False)

    def send(self, alert: StoredAlert) -> str | None:
        """Deliver a message; returns why it was not taken, or None."""
        from apprise import AppriseResultStatus, NotifyFormat, NotifyType

        kinds = {"info": NotifyType.INFO, "warning": NotifyType.WARNING}
        with _unlogged() as lines:
            result = self.service.notify(
                title=title_of(alert),
                body=body_of(alert),
                notify_type=kinds.get(alert.severity, NotifyType.FAILURE),
                body_format=NotifyFormat.TEXT,
            )
        if result:
            return None
        timed_out = result.status == AppriseResultStatus.TIMEOUT
        return f"{self.name}: {_cause(lines, timed_out=timed_out)}"


@dataclass(frozen=True)
class AlertChannels:
    """Where alerts go, and how urgent they must be for it."""

    channels: tuple[Channel, ...] = ()
    minimum_severity: Severity = "warning"

    @classmethod
    def of(cls, settings: AlertSettings) -> Self:
        """The channels of an installation; a URL that is named twice is one channel.

        Apprise is imported only if there is a URL.

        Raises:
            AlertChannelError: Apprise cannot use a URL.
        """
        urls = [url.get_secret_value().strip() for url in settings.urls]
        channels = {url: _channel(place, url) for place, url in enumerate(urls, start=1)}
        return cls(tuple(channels.values()), settings.minimum_severity)

    def why_kept(self, alert: StoredAlert) -> str | None:
        """Why nobody is to get an alert; None if somebody is."""
        if not self.channels:
            return "no channel is configured: set FRAUD_ALERTS__URLS"
        if SEVERITIES.index(alert.severity) < SEVERITIES.index(self.minimum_severity):
            return f"less urgent than {self.minimum_severity}"
        return None


@dataclass(frozen=True)
class DeliveryReport:
    """What came of a delivery.

    Attributes:
        sent: alerts that every channel has now.
        failed: alerts that were given up.
        not_sent: alerts that are only kept.
        waiting: alerts that are still to be delivered, later.
        problems: what went wrong, one line each, fit for a log.
    """

    sent: int
    failed: int
    not_sent: int
    waiting: int
    problems: tuple[str, ...]


def deliver_pending(
    store: PredictionStore,
    channels: AlertChannels,
    now: datetime,
    *,
    seconds: float = SECONDS_PER_FLUSH,
) -> DeliveryReport:
    """Deliver what is due in the outbox, one channel at a time.

    At least once: what each channel has is kept as soon as it has it, and a crash between the two
    may deliver one message to one channel once more. So does a channel that takes a message and
    answers too late. Both carry the same id. An alert that a channel did not take is tried there
    again later, ever more rarely, and given up in the end. One that nobody is to get is kept as
    such, and is not delivered when a channel is configured later.

    Args:
        store: the store with the outbox.
        channels: where to.
        now: the time.
        seconds: after these no other alert is begun.
    """
    from fraud_assets.store import alerts as outbox

    counts = dict.fromkeys(("sent", "failed", "not_sent"), 0)
    problems: list[str] = []
    end = time.monotonic() + seconds
    for alert in outbox.pending(store, now):
        why_kept = channels.why_kept(alert)
        if why_kept is not None:
            outbox.mark_not_sent(store, alert.id, why_kept)
            counts["not_sent"] += 1
            continue
        if time.monotonic() > end:
            continue
        errors = _deliver(store, channels.channels, alert, now)
        if not errors:
            outbox.mark_sent(store, alert.id, now)
            counts["sent"] += 1
            continue
        if outbox.mark_failed(store, alert.id, "; ".join(errors), now):
            counts["failed"] += 1
        problems.extend(f"alert {alert.id}: {error}" for error in errors)
    return DeliveryReport(**counts, waiting=outbox.count_pending(store), problems=tuple(problems))


def title_of(alert: StoredAlert) -> str:
    """The line that a phone shows."""
    return f"{'Reminder' if alert.reminders else alert.severity.capitalize()}: {alert.title}"


def body_of(alert: StoredAlert) -> str:
    """The message, and below it its id and how long this has been going on."""
    foot = f"Alert {alert.message_id}"
    if alert.occurrences > 1:
        foot += f", {alert.occurrences} times"
        if alert.first_day is not None:
            foot += f" from {alert.first_day} to {alert.last_day}"
    return f"{alert.body}\n\n{foot}"


def _deliver(
    store: PredictionStore, channels: Iterable[Channel], alert: StoredAlert, now: datetime
) -> list[str]:
    """Why channels that have not got the alert yet did not take it."""
    from fraud_assets.store.alerts import mark_delivered

    errors = []
    for channel in channels:
        if channel.key in alert.delivered:
            continue
        error = channel.send(alert)
        if error is None:
            mark_delivered(store, alert.id, channel.key, now)
        else:
            errors.append(error)
    return errors


def _channel(place: int, url: str) -> Channel:
    from apprise import Apprise, AppriseAsset

    scheme = found.group(1).lower() if (found := _SCHEME.match(url)) else None
    asset = AppriseAsset(
        app_id="fraud_assets", async_mode=False, service_timeout=SECONDS_PER_MESSAGE
    )
    with _unlogged():
        plugin = Apprise.instantiate(url, asset=asset)
        service = Apprise(plugin, asset=asset)
    if plugin is None:
        what = f"{scheme}://…" if scheme else "no scheme"
        raise AlertChannelError(
            f"alert URL {place} ({what}) is none that Apprise can use: compare it with the form "
            "that Apprise documents for the service, and mind special characters in passwords"
        )
    return Channel(_key(url), f"channel {place} ({scheme})", service)


def _key(url: str) -> str:
    # Slow on purpose: the key is stored, and a short password must not be guessed from it.
    return hashlib.scrypt(url.encode(), salt=b"fraud_assets", n=2**14, r=8, p=1, dklen=12).hex()


def _cause(lines: Iterable[str], *, timed_out: bool) -> str:
    """What is recognised in Apprise's words; they themselves may name hosts and recipients."""
    if timed_out:
        return f"not done within {SECONDS_PER_MESSAGE:.0f} seconds"
    told = "\n".join(lines)
    status = _STATUS.search(told)
    if status is not None:
        code = int(status.group(1))
        phrase = f" {HTTPStatus(code).phrase}" if code in set(HTTPStatus) else ""
        return f"answered {code}{phrase}"
    if "connection error" in told.lower():
        return "no connection, or no answer in time"
    return "did not take the message"


@contextmanager
def _unlogged() -> Iterator[list[str]]:
    """Keep what Apprise logs from every handler, and give it to the caller instead.

    Apprise logs a URL that it does not understand as it is, and urllib3 logs paths at level debug.
    A context variable, because Apprise sends from threads of its own, which inherit it; so lines of
    a sending that was abandoned are kept back too.
    """
    for name in ("apprise", "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_keep_back)  # the same one is added only once
    lines: list[str] = []
    before = _unlogged_lines.set(lines)
    # A progress display turns all logging off, and what is not logged cannot be kept back.
    disabled = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    try:
        yield lines
    finally:
        logging.disable(disabled)
        _unlogged_lines.reset(before)


def _keep_back(record: logging.LogRecord) -> bool:
    lines = _unlogged_lines.get()
    if lines is None:
        return True
    lines.append(record.getMessage())
    return False
