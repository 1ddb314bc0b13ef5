"""`fraud-assets …`: set an installation up, look at a source, move the clock, read the result.

Everything else is Dagster's own command line; nothing here is needed to run the graph.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from fraud_assets.settings import Settings

if TYPE_CHECKING:
    from fraud_assets.store.engine import PredictionStore

app = typer.Typer(
    help="Fraud detection as a Dagster asset graph.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

TEMPLATES = Path(__file__).parent / "templates"


@app.command()
def init(
    profile: Annotated[str, typer.Option(help="A shipped profile, or a YAML file")],
    source: Annotated[Path, typer.Option(help="A file for all days, or a folder of daily files")],
    history: Annotated[
        int | None, typer.Option(help="Days to backfill before the clock moves; a third by default")
    ] = None,
    days: Annotated[int | None, typer.Option(help="At most this many days of the source")] = None,
) -> None:
    """Set this folder up for your own transactions: writes .env, dagster.yaml, workspace.yaml."""
    from fraud_assets.resources.source import build_source
    from fraud_assets.summary import terminal
    from fraud_assets.transactions.profile import load_profile

    console = terminal()
    with _user_errors():
        name = profile if not Path(profile).is_file() else str(Path(profile).resolve())
        kind = "folder" if source.is_dir() else "file"
        settings = Settings(profile=name, source=kind, source_path=source.resolve(), days=100_000)
        found = build_source(settings, load_profile(name))
        with console.status("Looking through the source once"):
            landed = found.days()
        if not landed:
            raise ValueError(f"{source} holds no day that the profile '{profile}' can read")
        count = (landed[-1] - landed[0]).days + 1
        count = max(2, min(count, days) if days else count)
        chosen = history if history is not None else max(1, count // 3)
        Settings(
            profile=name, source=kind, source_path=source.resolve(), days=count,
            history_days=chosen, first_day=landed[0],
        )  # fmt: skip
    lines = {
        "FRAUD_PROFILE": name,
        "FRAUD_SOURCE": kind,
        "FRAUD_SOURCE_PATH": str(source.resolve()),
        "FRAUD_FIRST_DAY": landed[0].isoformat(),
        "FRAUD_DAYS": str(count),
        "FRAUD_HISTORY_DAYS": str(chosen),
    }
    _write_settings(Path(".env"), lines)
    for template in sorted(TEMPLATES.glob("*.yaml")):
        if not Path(template.name).exists():
            shutil.copyfile(template, template.name)
    console.print(
        f"{count} days from {landed[0]}, the first {chosen} of them history; written to .env\n"
        f"next: [bold]fraud-assets simulate --days {max(1, count - chosen)}[/bold], then "
        "[bold]fraud-assets dev[/bold]"
    )


@app.command()
def inspect(
    days: Annotated[int, typer.Option(min=1, help="Days to look at")] = 5,
) -> None:
    """Show what the source holds and what the profile makes of its first day."""
    from fraud_assets.resources.source import build_source
    from fraud_assets.summary import first_day_table, source_table, terminal
    from fraud_assets.transactions.profile import load_profile

    with _user_errors():
        settings = Settings()
        profile = load_profile(settings.profile)
        found = build_source(settings, profile)
        console = terminal()
        console.print(source_table(found, profile, days))
        console.print(first_day_table(found, profile))


@app.command()
def simulate(
    days: Annotated[int, typer.Option(min=1, help="Days to move the clock by")] = 31,
) -> None:
    """Move the clock day by day; the sensors decide what runs. Ends in a summary."""
    from fraud_assets.summary import show_progress, summarise, terminal

    _home()
    # Plots and events are millions of small objects that live for a day; the collector's usual
    # pace spends a tenth of the simulation on looking for cycles among them.
    gc.set_threshold(100_000, 20, 20)
    import dagster as dg

    from fraud_assets.simulation import Simulation, SimulationFailedError, quiet_logs

    console = terminal()
    with _user_errors(SimulationFailedError):
        settings = Settings()
        with dg.DagsterInstance.get() as instance, quiet_logs():
            simulation = Simulation(settings, instance)
            if not simulation.plan(days):
                raise ValueError(
                    f"the clock stands at {simulation.clock.today()}, the last of the "
                    f"{settings.days} days: raise FRAUD_DAYS, or begin again with an empty "
                    f"{settings.data_dir}"
                )
            show_progress(simulation, days, console)
            console.print(summarise(settings, instance))


@app.command()
def summary() -> None:
    """Show the summary of what has been simulated so far."""
    from fraud_assets.summary import summarise, terminal

    _home()
    import dagster as dg

    with _user_errors(), dg.DagsterInstance.get() as instance:
        terminal().print(summarise(Settings(), instance))


@app.command()
def rollback(
    to: Annotated[
        str, typer.Option(help="A version, `previous` (the champion before), or `rules`")
    ] = "previous",
    reason: Annotated[str, typer.Option(help="For the record")] = "by hand",
) -> None:
    """Put another model in force from the next day on; the run and the record show it."""
    from fraud_assets.summary import terminal

    _home()
    import dagster as dg

    from fraud_assets.definitions import build_defs
    from fraud_assets.rollback import MOVE_CHAMPION, ROLLBACK
    from fraud_assets.simulation import failure_of, quiet_logs
    from fraud_assets.store.engine import PredictionStore
    from fraud_assets.store.promotions import history

    console = terminal()
    with _user_errors(), dg.DagsterInstance.get() as instance, quiet_logs():
        settings = Settings()
        job = build_defs(settings).get_repository_def().get_job(ROLLBACK)
        config = {
            "ops": {MOVE_CHAMPION: {"config": {"to": to, "reason": reason}}},
            # A refusal is one message here; the run keeps its log.
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        }
        result = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
        if not result.success:
            raise ValueError(failure_of(result, f"rollback to {to}"))
        with PredictionStore(settings.store_sqlalchemy_url) as store:
            moved = history(store)[-1]
    console.print(
        f"{moved.version} serves from {moved.day + timedelta(days=1)} on, in place of "
        f"{moved.previous_version}; run {result.run_id}"
    )


@app.command()
def alerts(
    limit: Annotated[int, typer.Option(min=1, help="At most so many")] = 20,
    test: Annotated[
        bool, typer.Option("--test", help="Send a test message to every channel instead")
    ] = False,
) -> None:
    """Show the latest alerts, or try whether messages arrive where FRAUD_ALERTS__URLS says."""
    from fraud_assets.store.engine import StoreError

    with _user_errors(StoreError):
        if test:
            _test_alerts(Settings())
            return
        _home()
        from fraud_assets.alerting import alert_table
        from fraud_assets.store.alerts import recent
        from fraud_assets.store.engine import PredictionStore
        from fraud_assets.store.migrate import migrate
        from fraud_assets.summary import terminal

        url = Settings().store_sqlalchemy_url
        migrate(url)
        with PredictionStore(url) as store:
            found = recent(store, limit)
    if found:
        terminal().print(alert_table(found))
    else:
        typer.echo("no alert so far; the sensor alert_sensor raises them once it is switched on")


def _test_alerts(settings: Settings) -> None:
    from fraud_assets.alerting import delivery_table, send_test
    from fraud_assets.resources.alerts import AlertChannels
    from fraud_assets.summary import terminal

    channels = AlertChannels.of(settings.alerts)
    if not channels.channels:
        raise ValueError(
            "no channel is configured: set FRAUD_ALERTS__URLS, in .env or the environment, to "
            "Apprise URLs separated by commas, such as mailto://… or slack://…"
        )
    results = send_test(channels, settings.alerts.ui_url, datetime.now(UTC))
    terminal().print(delivery_table(results))
    if any(results.values()):
        raise typer.Exit(1)


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to bind; any other than loopback needs API keys")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; several need FRAUD_API__REDIS_URL")
    ] = None,
) -> None:
    """Serve the scoring API until it is told to stop (Ctrl-C, or SIGTERM)."""
    from fraud_assets.serving.gate import KEY_HEADER
    from fraud_assets.serving.server import bind, needs_keys, run
    from fraud_assets.store.engine import StoreError

    for name, value in {"HOST": host, "PORT": port, "WORKERS": workers}.items():
        if value is not None:
            # Workers are processes of their own, and read the settings again.
            os.environ[f"FRAUD_API__{name}"] = str(value)
    with _user_errors(StoreError):
        settings = Settings()
        keyed = needs_keys(settings)
        bound = bind(settings)
        shown = f"[{settings.api.host}]" if ":" in settings.api.host else settings.api.host
        url = f"http://{shown}:{settings.api.port}"
        typer.echo(f"listening on {url}, workers: {settings.api.workers}")
        if settings.api.docs:
            typer.echo(f"documentation: {url}/docs (its page loads scripts from cdn.jsdelivr.net)")
        if keyed:
            typer.echo(f"requests need an API key, in the header {KEY_HEADER}")
        else:
            typer.echo("no API key exists yet, so this machine may ask everything without one")
        run(settings, bound)


@app.command()
def prune(
    keep_days: Annotated[
        int | None, typer.Option(min=1, help="Days to keep; FRAUD_KEEP_DAYS by default")
    ] = None,
) -> None:
    """Delete old predictions and answers; labels and the records of decisions stay."""
    from fraud_assets.store.retention import keep_newest

    with _user_errors():
        days = keep_days or Settings().keep_days
        if days is None:
            raise ValueError("give --keep-days, or set FRAUD_KEEP_DAYS")
        with _store() as store:
            gone = keep_newest(store, days)
    typer.echo(
        f"deleted {gone.predictions} predictions, {gone.answers} answers, "
        f"{gone.shadow_scores} shadow scores; the newest {days} days stay"
    )


api_keys = typer.Typer(help="Keys with which clients ask the scoring API.", no_args_is_help=True)
app.add_typer(api_keys, name="api-keys")


@api_keys.command("create")
def create_api_key(
    name: Annotated[str, typer.Argument(help="Whose key it is; signs labels")],
    scope: Annotated[
        list[str] | None, typer.Option(help="score, read, label or train; may be given again")
    ] = None,
) -> None:
    """Make a key, and show its secret this once; the scopes are score and read by default."""
    from fraud_assets.store.api_keys import create

    with _user_errors(), _store() as store:
        key, secret = create(store, name, scope or ["score", "read"])
    typer.echo(f"key {key.id} of {key.name}, for {', '.join(key.scopes)}; it is not shown again:")
    typer.echo(secret)


@api_keys.command("list")
def list_api_keys() -> None:
    """Show the keys that are valid, without their secrets."""
    from fraud_assets.store.api_keys import active_keys

    with _user_errors(), _store() as store:
        found = active_keys(store)
    for key in found:
        made = f"{key.created_at:%Y-%m-%d %H:%M}"
        typer.echo(f"{key.id}  {key.name}  {', '.join(key.scopes)}  made {made}")
    if not found:
        typer.echo("no API key; `fraud-assets api-keys create NAME` makes one")


@api_keys.command("revoke")
def revoke_api_key(
    key_id: Annotated[str, typer.Argument(help="The id, as `api-keys list` shows it")],
) -> None:
    """Refuse a key from now on; a running server follows within seconds."""
    from fraud_assets.store.api_keys import revoke

    with _user_errors(), _store() as store:
        key = revoke(store, key_id)
    typer.echo(f"key {key.id} of {key.name} is revoked")


@contextmanager
def _store() -> Iterator[PredictionStore]:
    """The store of these settings, with its tables."""
    from fraud_assets.store.engine import PredictionStore, StoreError
    from fraud_assets.store.migrate import migrate

    with _user_errors(StoreError):
        url = Settings().store_sqlalchemy_url
        migrate(url)
        with PredictionStore(url) as store:
            yield store


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port on the loopback interface")] = 3000,
) -> None:
    """Open the Dagster UI and its daemon on this folder's installation."""
    _home()
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "--host", "127.0.0.1"]
    os.execv(command[0], [*command, "--port", str(port), "-m", "fraud_assets.definitions"])  # noqa: S606  # nosec B606


def _write_settings(file: Path, values: dict[str, str]) -> None:
    """Set `values` in a .env file, and leave the user's other lines as they are."""
    kept = file.read_text("utf-8").splitlines() if file.exists() else []
    lines = [line for line in kept if line.partition("=")[0].strip() not in values]
    for key, value in values.items():
        plain = not set(value) & set(" #'\"\\$`")
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"{key}={value}" if plain else f"{key}='{escaped}'")
    file.write_text("\n".join(lines) + "\n", "utf-8")


def _home() -> None:
    """Without DAGSTER_HOME the instance is this folder, if it has a dagster.yaml."""
    if "DAGSTER_HOME" in os.environ:
        return
    if not Path("dagster.yaml").is_file():
        _fail("no dagster.yaml here: run `fraud-assets init` first, or set DAGSTER_HOME")
    os.environ["DAGSTER_HOME"] = str(Path.cwd())


class _user_errors:  # noqa: N801
    """Turns what a user can cause into one message and exit code 2."""

    def __init__(self, *kinds: type[Exception]) -> None:
        self._kinds: tuple[type[Exception], ...] = (ValueError, LookupError, OSError, *kinds)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _: object) -> None:  # noqa: ANN401
        if isinstance(error, ValidationError):
            _fail(_settings_message(error))
        if isinstance(error, self._kinds):
            _fail(str(error))


def _settings_message(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        name = "FRAUD_" + "__".join(str(part) for part in item["loc"]).upper()
        lines.append(item["msg"] if not item["loc"] else f"{name}: {item['msg']}")
    return "the settings are refused:\n" + "\n".join(f"  {line}" for line in lines)


def _fail(message: str) -> None:
    typer.secho(message, err=True, fg=typer.colors.RED)
    raise typer.Exit(2)
