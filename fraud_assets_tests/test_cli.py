"""The command line as a user meets it: what it writes, what it says, and how it refuses."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

FIRST = date(2026, 3, 1)
DAYS = 6

PROFILE: dict[str, Any] = {
    "name": "shop",
    "columns": {
        "transaction_id": "order",
        "time": {"column": "placed at"},
        "amount": {"column": "total"},
        "payer": "customer",
        "label": {"column": "chargeback", "delay_days": 1},
    },
    "features": {"payer": {"windows_days": [1], "aggregates": ["count"]}},
    "training": {"window_days": 5, "validation_days": 1, "gate_days": 2},
}


def day(index: int) -> date:
    return FIRST + timedelta(days=index)


def write_source(file: Path, days: int = DAYS, rows: int = 60) -> Path:
    random_ = random.Random(1)
    lines = ["order,placed at,total,customer,chargeback"]
    for index in range(days):
        start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=index)
        for i in range(rows):
            at = start + timedelta(minutes=i * 20)
            amount = "much" if (index, i) == (0, 5) else f"{random_.uniform(1, 90):.2f}"
            lines.append(f"{index}-{i},{at:%Y-%m-%dT%H:%M:%S},{amount},c{i % 17},{int(i == 9)}")
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


def write_profile(folder: Path, **changes: Any) -> Path:
    file = folder / "profile.yaml"
    file.write_text(yaml.safe_dump({**PROFILE, **changes}), "utf-8")
    return file


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`fraud-assets …` in a folder of its own, with nothing of ours in its environment."""
    clean = {
        k: v for k, v in os.environ.items() if not k.startswith(("FRAUD_", "DAGSTER_", "MLFLOW_"))
    }
    command = [str(Path(sys.executable).with_name("fraud-assets")), *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={**clean, "FRAUD_THREADS": "1", "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def words(text: str) -> str:
    """Text as it reads, however it was wrapped."""
    return " ".join(text.split())


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one message of a refused command."""
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    assert "Error in" not in done.stderr
    assert done.stderr.strip()
    return words(done.stderr)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small source that has been set up, in a path that wants quoting."""
    folder = tmp_path_factory.mktemp("my shop #1's")
    write_source(folder / "orders.csv")
    write_profile(folder)
    done = run(folder, "init", "--profile", "profile.yaml", "--source", "orders.csv")
    assert done.returncode == 0, done.stderr
    return folder


def test_init_sets_the_folder_up_from_what_the_source_holds(shop) -> None:
    lines = (shop / ".env").read_text("utf-8")
    assert f"FRAUD_FIRST_DAY={FIRST}\n" in lines
    assert f"FRAUD_DAYS={DAYS}\n" in lines
    assert "FRAUD_HISTORY_DAYS=2\n" in lines
    assert "FRAUD_SOURCE=file\n" in lines
    assert (shop / "dagster.yaml").is_file()
    assert "fraud_assets.definitions" in (shop / "workspace.yaml").read_text("utf-8")


def test_init_again_keeps_what_the_user_wrote_into_the_files(tmp_path) -> None:
    write_source(tmp_path / "orders.csv", days=3)
    write_profile(tmp_path)
    (tmp_path / ".env").write_text("FRAUD_STORE_URL=postgresql://me@host/db\nFRAUD_DAYS=9\n")
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    done = run(tmp_path, "init", "--profile", "profile.yaml", "--source", "orders.csv")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / ".env").read_text().splitlines()
    assert "FRAUD_STORE_URL=postgresql://me@host/db" in lines
    assert [line for line in lines if line.startswith("FRAUD_DAYS=")] == ["FRAUD_DAYS=3"]
    assert (tmp_path / "dagster.yaml").read_text() == "telemetry:\n  enabled: false\n"


def test_init_takes_a_folder_of_daily_files_and_the_days_and_history_asked_for(tmp_path) -> None:
    (tmp_path / "landing").mkdir()
    for index in range(4):
        (tmp_path / "landing" / f"{day(index)}.csv").write_text("order,placed at,total\n")
    write_profile(tmp_path)
    done = run(
        tmp_path, "init", "--profile", "profile.yaml", "--source", "landing",
        "--days", "3", "--history", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / ".env").read_text("utf-8")
    assert "FRAUD_SOURCE=folder\n" in lines
    assert "FRAUD_DAYS=3\n" in lines
    assert "FRAUD_HISTORY_DAYS=1\n" in lines


def test_inspect_shows_days_columns_and_rejects(shop) -> None:
    done = run(shop, "inspect", "--days", "2")
    assert done.returncode == 0, done.stderr
    said = words(done.stdout)
    assert f"{DAYS} days, {FIRST} to {day(DAYS - 1)}" in said
    for name in ("order", "placed at", "total", "chargeback", "payer_id"):
        assert name in said
    assert "59 of 60 rows are valid" in said
    assert "rejected" in said


def test_inspect_names_a_column_that_the_profile_maps_and_the_source_lacks(tmp_path) -> None:
    write_source(tmp_path / "orders.csv", days=1)
    columns = {**PROFILE["columns"], "payer": "client"}
    file = write_profile(tmp_path, columns=columns)
    said = refusal(
        run(
            tmp_path,
            "inspect",
            FRAUD_PROFILE=str(file),
            FRAUD_SOURCE="file",
            FRAUD_SOURCE_PATH=str(tmp_path / "orders.csv"),
        )
    )
    assert "client" in said


def test_summary_before_any_day_says_what_to_do(tmp_path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    said = refusal(run(tmp_path, "summary"))
    assert said == "no day has been closed yet: run `fraud-assets simulate`"


@pytest.mark.parametrize("command", ["simulate", "rollback"])
def test_without_a_set_up_folder_a_command_says_what_to_do(tmp_path, command) -> None:
    assert "run `fraud-assets init` first" in refusal(run(tmp_path, command))


@pytest.mark.slow
def test_simulate_closes_days_and_ends_in_a_summary(shop) -> None:
    done = run(shop, "simulate", "--days", "2")
    assert done.returncode == 0, done.stderr
    said = words(done.stdout)
    assert f"{FIRST} to {day(1)}" in said
    assert "4 days, 239 transactions, 1 quarantined" in said
    again = run(shop, "summary")
    assert again.returncode == 0, again.stderr
    assert "4 days, 239 transactions, 1 quarantined" in words(again.stdout)

    rest = run(shop, "simulate", "--days", "30")
    assert rest.returncode == 0, rest.stderr
    assert f"{DAYS} days, {DAYS * 60 - 1} transactions" in words(rest.stdout)
    over = refusal(run(shop, "simulate", "--days", "1"))
    assert f"the clock stands at {day(DAYS - 1)}, the last of the {DAYS} days" in over
    assert "FRAUD_DAYS" in over


@pytest.mark.slow
def test_a_day_that_failed_is_named_and_is_tried_again(tmp_path) -> None:
    landing = tmp_path / "landing"
    landing.mkdir()
    write_profile(tmp_path)
    header, *rows = write_source(tmp_path / "all.csv", days=4).read_text().splitlines()
    for index in range(4):
        own = [row for row in rows if row.startswith(f"{index}-")]
        (landing / f"{day(index)}.csv").write_text("\n".join([header, *own]) + "\n")
    good = (landing / f"{day(2)}.csv").read_text()
    (landing / f"{day(2)}.csv").write_text(good.replace(",c", ",c,", 3).replace("T", "?"))
    done = run(
        tmp_path, "init", "--profile", "profile.yaml", "--source", "landing", "--history", "2"
    )
    assert done.returncode == 0, done.stderr
    said = refusal(run(tmp_path, "simulate", "--days", "2"))
    assert str(day(2)) in said
    assert f"daily_pipeline of {day(2)} failed in" in said

    (landing / f"{day(2)}.csv").write_text(good)
    again = run(tmp_path, "simulate", "--days", "1")
    assert again.returncode == 0, again.stderr
    shown = words(again.stdout)
    assert f"{day(2)} 60 rows" in shown
    assert f"{day(3)} 60 rows" in shown
    assert "4 days, 239 transactions" in shown


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (("inspect",), {"FRAUD_PROFILE": "nosuch"}, "neither a shipped profile"),
        (("inspect",), {"FRAUD_DAYS": "many"}, "FRAUD_DAYS: Input should be a valid integer"),
        (("inspect",), {"FRAUD_SIMULATOR": "{"}, "simulator"),
        (("inspect",), {"FRAUD_SOURCE": "file"}, "needs FRAUD_SOURCE_PATH"),
        (
            ("inspect",),
            {"FRAUD_SOURCE": "file", "FRAUD_SOURCE_PATH": "nosuch.csv"},
            "nosuch.csv",
        ),
        (("simulate",), {"FRAUD_PROFILE": "nosuch"}, "neither a shipped profile"),
        (
            ("simulate",),
            {"FRAUD_SOURCE": "file", "FRAUD_SOURCE_PATH": "nosuch.csv"},
            "nosuch.csv",
        ),
        (("init", "--profile", "cards", "--source", "nosuch.csv"), {}, "nosuch.csv"),
        (("init", "--profile", "nosuch", "--source", "."), {}, "neither a shipped profile"),
        (("init", "--profile", "cards", "--source", "."), {}, "holds no day"),
        (("rollback",), {}, "no day has been closed yet: there is nothing to roll back"),
        (("rollback",), {"FRAUD_PROFILE": "nosuch"}, "neither a shipped profile"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_two(
    tmp_path, arguments, environment, expected
) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    said = refusal(run(tmp_path, *arguments, **environment))
    assert expected in said
    assert len(said) < 600


# --- alerts --------------------------------------------------------------------------------------


def raise_alerts(folder: Path) -> None:
    """One alert in each state, in the store of a folder that is set up."""
    from fraud_assets.store import alerts as outbox
    from fraud_assets.store.engine import PredictionStore
    from fraud_assets.store.migrate import migrate

    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    url = f"sqlite:///{folder}/data/store.db"
    migrate(url)
    now = datetime(2026, 3, 9, 12, tzinfo=UTC)
    given: list[tuple[str, str, int | None, str]] = [
        ("drift:3", "warning", 1, "Inputs of champion 3 have drifted"),
        ("drift:3", "warning", 2, "Inputs of champion 3 have drifted"),
        ("decay:3", "critical", 2, "Champion 3 has become worse"),
        ("promoted:4", "info", 3, "Version 4 is the new champion"),
        ("failed_run:x", "warning", None, "Run failed: [bold]x[/bold]"),
    ]
    with PredictionStore(url) as store:
        for place, (key, severity, index, title) in enumerate(given):
            alert = {
                "key": key, "kind": key.partition(":")[0], "severity": severity, "title": title,
                "day": None if index is None else day(index), "source": f"test:{place}",
                "body": "because",
            }  # fmt: skip
            outbox.raise_alert(store, alert, now, quiet_days=3, remind_days=7)
        outbox.mark_sent(store, 1, now)
        for _ in range(outbox.MAX_ATTEMPTS):
            outbox.mark_failed(store, 2, "channel 1 (json): answered 403 Forbidden", now)
        outbox.mark_not_sent(store, 3, "less urgent than warning")


def test_alerts_shows_state_severity_days_times_and_title_of_the_latest(tmp_path) -> None:
    raise_alerts(tmp_path)
    done = run(tmp_path, "alerts")
    assert done.returncode == 0, done.stderr
    assert "4 alerts, the newest first" in done.stdout
    cells = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in done.stdout.splitlines()
        if line.startswith("│")
    ]
    assert cells == [
        ["waiting", "warning", "–", "1", "Run failed: [bold]x[/bold]"],
        ["only kept", "info", str(day(3)), "1", "Version 4 is the new champion"],
        ["", "", "", "", "less urgent than warning"],
        ["given up", "critical", str(day(2)), "1", "Champion 3 has become worse"],
        ["", "", "", "", "channel 1 (json): answered 403 Forbidden"],
        ["sent", "warning", f"{day(1)} to {day(2)}", "2", "Inputs of champion 3 have drifted"],
    ]
    limited = run(tmp_path, "alerts", "--limit", "1").stdout
    assert "1 alert, the newest first" in limited
    assert "Run failed" in limited
    assert "Version 4" not in limited


def test_alerts_before_the_first_one_says_what_raises_them(tmp_path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    done = run(tmp_path, "alerts")
    assert done.returncode == 0, done.stderr
    assert "no alert so far; the sensor alert_sensor" in done.stdout


def test_a_test_of_the_alerts_says_for_each_channel_whether_it_arrived(tmp_path, webhooks) -> None:
    good, bad = webhooks(), webhooks()
    bad.status = 403
    both = run(
        tmp_path, "alerts", "--test", FRAUD_ALERTS__URLS=f"{good.url('/hunter2')}, {bad.url()}"
    )
    assert both.returncode == 1, both.stderr
    said = words(both.stdout)
    assert "The test message arrived at 1 of 2 channels" in said
    assert "│ channel 1 (json) │ arrived │" in said
    assert "│ channel 2 (json) │ answered 403 Forbidden │" in said
    assert "hunter2" not in both.stdout + both.stderr
    assert good.titles == bad.titles == ["Info: Test of the alerts"]
    assert "http://127.0.0.1:3000" in good.got[0]["message"]
    assert not (tmp_path / "data").exists()

    one = run(tmp_path, "alerts", "--test", FRAUD_ALERTS__URLS=good.url())
    assert one.returncode == 0, one.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (("--test",), {}, "no channel is configured: set FRAUD_ALERTS__URLS"),
        (
            ("--test",),
            {"FRAUD_ALERTS__URLS": "json://127.0.0.1/, slack://hunter2"},
            "alert URL 2 (slack://…) is none that Apprise can use",
        ),
        ((), {"FRAUD_STORE_URL": "postgresql://me:hunter2@127.0.0.1:1/db"}, "cannot be opened"),
    ],
)
def test_alerts_that_cannot_be_shown_or_tried_are_refused_with_the_remedy_and_no_secret(
    tmp_path, arguments, environment, expected
) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    said = refusal(run(tmp_path, "alerts", *arguments, **environment))
    assert expected in said
    assert "hunter2" not in said
