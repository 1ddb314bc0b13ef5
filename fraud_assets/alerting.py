"""What `fraud-assets alerts` shows and sends: the outbox as a table, and a test of the channels.

What is worth an alert is decided in `monitoring.alerts`; the sensor `alert_sensor` delivers it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from rich.table import Table
from rich.text import Text

from fraud_assets.resources.alerts import AlertChannels
from fraud_assets.store.alerts import StoredAlert

_SEVERITY_STYLES: Final = {"info": "", "warning": "yellow", "critical": "bold red"}

_STATES: Final = {
    "pending": Text("waiting", "yellow"),
    "sent": Text("sent", "green"),
    "failed": Text("given up", "red"),
    "not_sent": Text("only kept"),
}


def alert_table(alerts: Sequence[StoredAlert]) -> Table:
    """Alerts as they are given, and below its title why one was not delivered."""
    noun = "alert" if len(alerts) == 1 else "alerts"
    table = Table(title=f"{len(alerts)} {noun}, the newest first", title_justify="left")
    for name in ("state", "severity", "days"):
        table.add_column(name, no_wrap=True)
    table.add_column("times", justify="right")
    table.add_column("title")
    for one in alerts:
        title = Text(one.title)  # not a string: a job may be called "[bold]"
        if one.last_error:
            title.append(f"\n{one.last_error}", "dim")
        severity = Text(one.severity, _SEVERITY_STYLES[one.severity])
        table.add_row(_STATES[one.state], severity, _days(one), str(one.occurrences), title)
    return table


def send_test(channels: AlertChannels, link: str, now: datetime) -> dict[str, str | None]:
    """Send a message to every channel at once, past the outbox.

    Args:
        channels: where to.
        link: to Dagster's UI, so that it can be tried too.
        now: the time.

    Returns:
        For each channel, by the name that may be shown, why it did not take it; None if it did.
    """
    body = f"Alerts of fraud_assets reach you here. Nothing has happened.\n\n{link}"
    message = StoredAlert(
        id=0, key="test", kind="test", severity="info", first_day=None, last_day=None,
        occurrences=1, source="test", title="Test of the alerts", body=body, link=link, numbers={},
        created_at=now, state="pending", reminders=0, attempts=0, next_attempt_at=now,
        delivered=[], sent_at=None, last_error=None,
    )  # fmt: skip
    results = {}
    for channel in channels.channels:
        error = channel.send(message)
        results[channel.name] = None if error is None else error.removeprefix(f"{channel.name}: ")
    return results


def delivery_table(results: Mapping[str, str | None]) -> Table:
    """What came of `send_test`."""
    arrived = sum(error is None for error in results.values())
    title = f"The test message arrived at {arrived} of {len(results)} channels"
    table = Table(title=title, title_justify="left")
    for name in ("channel", "result"):
        table.add_column(name)
    for name, error in results.items():
        result = Text("arrived", "green") if error is None else Text(error, "red")
        table.add_row(Text(name), result)
    return table


def _days(alert: StoredAlert) -> str:
    if alert.first_day is None:
        return "–"
    if alert.first_day == alert.last_day:
        return str(alert.first_day)
    return f"{alert.first_day} to {alert.last_day}"
