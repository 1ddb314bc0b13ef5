from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, inspect, select, text
from sqlalchemy.exc import DatabaseError

from fraud_assets.store.engine import (
    PredictionStore,
    SchemaMismatchError,
    StoreError,
    StoreUnavailableError,
    begin,
    open_engine,
    read_revision,
    read_url,
)
from fraud_assets.store.labels import (
    AnalystLabel,
    append_labels,
    label_history,
    labels_known_on,
)
from fraud_assets.store.migrate import _config, known_revisions, migrate
from fraud_assets.store.predictions import counts_by_day
from fraud_assets.store.promotions import Promotion, history, record
from fraud_assets.store.schema import HEAD_REVISION, VERSION_TABLE, metadata


def test_migrating_twice_does_something_once(empty_url: str) -> None:
    assert migrate(empty_url) is True
    assert migrate(empty_url) is False


def test_an_up_to_date_store_is_checked_in_no_time(store_url: str) -> None:
    durations = []
    for _ in range(10):
        start = time.perf_counter()
        migrate(store_url)
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.05


def test_the_migrations_make_exactly_the_declared_tables(store: PredictionStore) -> None:
    with store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
        for name, table in metadata.tables.items():
            found = inspect(connection).get_check_constraints(name)
            declared = {item.name for item in table.constraints if "CheckC" in repr(type(item))}
            assert {item["name"] for item in found} == declared
            indexes = {item["name"] for item in inspect(connection).get_indexes(name)}
            assert indexes == {index.name for index in table.indexes}


def test_the_code_names_the_newest_migration() -> None:
    assert known_revisions()[0] == HEAD_REVISION


MIGRATOR = """
import sys
from fraud_assets.store import migrate
print("ready", flush=True)
sys.stdin.readline()
print(migrate.migrate(sys.argv[1]))
"""


def test_processes_that_start_together_migrate_once(empty_url: str) -> None:
    command = [sys.executable, "-c", MIGRATOR, empty_url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    answers = []
    for process in running:  # all are past their imports: let them go at once
        process.stdin.write("\n")
        process.stdin.flush()
    for process in running:
        output, _ = process.communicate(timeout=60)
        answers.append(output.strip())
        assert process.returncode == 0
    assert sorted(answers) == ["False", "False", "True"]


def test_a_second_migration_waits_for_the_first(
    empty_url: str, meet_after: Callable[[object, str], None]
) -> None:
    meet_after(sys.modules[migrate.__module__], "read_revision")
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(migrate, [empty_url] * 2)) == [False, True]


def test_a_migration_that_fails_leaves_nothing_behind(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(read_url(empty_url))
    with begin(engine) as connection:
        connection.execute(text("CREATE TABLE promotions (id INTEGER)"))  # in the migration's way
    with pytest.raises(Exception, match="promotions"):
        migrate(empty_url)
    with begin(engine) as connection:
        assert inspect(connection).get_table_names() == ["promotions"]
        connection.execute(text("DROP TABLE promotions"))
    engine.dispose()
    assert migrate(empty_url) is True


def test_downgrading_to_nothing_and_back_works(store_url: str) -> None:
    _move(store_url, "base")
    assert migrate(store_url) is True
    with PredictionStore(store_url) as store:
        assert history(store) == []


def _move(url: str, revision: str) -> None:
    """Bring a store up or down to a revision, as `migrate` does to the newest."""
    engine = open_engine(read_url(url))
    with begin(engine) as connection:
        config = _config()
        config.attributes["connection"] = connection
        move = command.downgrade if read_revision(connection) else command.upgrade
        move(config, revision)
    engine.dispose()


def test_labels_from_before_amounts_are_kept_and_have_none(empty_url: str) -> None:
    _move(empty_url, "0001")
    engine = open_engine(read_url(empty_url))
    old = {column.name: column for column in metadata.tables["labels"].c if column.name != "amount"}
    noon = datetime(2024, 3, 5, 12, tzinfo=UTC)
    first = {
        "transaction_id": "a",
        "event_time": noon - timedelta(days=2),
        "event_order_us": 77,
        "payer_id": "p",
        "payee_id": None,
        "label": 1,
        "labelled_at": noon,
        "source": "analyst",
        "author": "ada",
        "note": "looks bad",
    }
    second = first | {"label": 0, "author": "bob", "event_order_us": None, "payee_id": "q"}
    with begin(engine) as connection:
        assert set(old) == {item["name"] for item in inspect(connection).get_columns("labels")}
        connection.execute(insert(metadata.tables["labels"]), [first, second])
        before = connection.execute(select(*old.values()).order_by(old["id"])).all()

    assert migrate(empty_url) is True
    with PredictionStore(empty_url) as store:
        with store.reading() as connection:
            assert connection.execute(select(*old.values()).order_by(old["id"])).all() == before
        assert label_history(store, "a") == [AnalystLabel(**first), AnalystLabel(**second)]
        append_labels(store, [first | {"author": "eve", "amount": 9.5}])
        assert labels_known_on(store, noon.date())["amount"].to_list() == [None, None, 9.5]
        with pytest.raises(DatabaseError, match="append-only"), store.writing() as connection:
            connection.execute(text("UPDATE labels SET amount = 1"))

    _move(empty_url, "0001")
    with begin(engine) as connection:
        kept = connection.execute(select(*old.values()).order_by(old["id"])).all()
    assert kept[:2] == before
    assert len(kept) == 3
    engine.dispose()


def test_promotions_from_before_fallbacks_are_kept_with_their_ids_and_stay_append_only(
    empty_url: str,
) -> None:
    _move(empty_url, "0002")
    engine = open_engine(read_url(empty_url))
    table = metadata.tables["promotions"]
    first = {
        "day": date(2024, 3, 5),
        "action": "promote",
        "version": "1",
        "model_hash": "h",
        "previous_version": None,
        "reason": "better, é",
        "numbers": {"ap_gain": 0.25, "cost_gain": None},
        "run_id": "run-1",
        "created_at": datetime(2024, 3, 6, 1, 2, 3, 456789, tzinfo=UTC),
    }
    second = first | {"action": "keep", "version": "2", "previous_version": "1", "run_id": None}
    third = first | {"day": date(2024, 3, 4), "version": "3", "numbers": {}}
    with begin(engine) as connection:
        with (
            pytest.raises(DatabaseError, match="promotions_action_is_known"),
            connection.begin_nested(),
        ):
            connection.execute(insert(table), [first | {"action": "fallback"}])
        connection.execute(insert(table), [first, second, third])
        before = connection.execute(select(table).order_by(table.c.id)).all()

    assert migrate(empty_url) is True
    with begin(engine) as connection:
        assert connection.execute(select(table).order_by(table.c.id)).all() == before
    with PredictionStore(empty_url) as store:
        for action in ("fallback", "restore"):
            added = Promotion(
                day=date(2024, 3, 9), action=action, version="1", model_hash="h", reason="why"
            )
            stored = record(store, added)
            assert stored.id is not None
            assert stored.id > max(row.id for row in before)
        for change in ("UPDATE promotions SET version = '9'", "DELETE FROM promotions"):
            with pytest.raises(DatabaseError, match="append-only"), store.writing() as connection:
                connection.execute(text(change))
        with (
            pytest.raises(DatabaseError, match="promotions_action_is_known"),
            store.writing() as connection,
        ):
            connection.execute(insert(table), [first | {"action": "something else"}])
        if store.dialect == "sqlite":
            with pytest.raises(DatabaseError, match="append-only"), store.writing() as connection:
                connection.execute(
                    text("INSERT OR REPLACE INTO promotions SELECT * FROM promotions")
                )
        assert len(history(store)) == 5

    _move(empty_url, "0002")
    with begin(engine) as connection:
        kept = connection.execute(select(table).order_by(table.c.id)).all()
        assert kept[:3] == before
        assert [row.action for row in kept[3:]] == ["rollback", "rollback"]  # same champion
        tables = set(inspect(connection).get_table_names())
        assert not tables & {"decisions", "alerts", "alert_sources"}
    with pytest.raises(DatabaseError, match="append-only"), begin(engine) as connection:
        connection.execute(text("UPDATE promotions SET version = '9'"))
    engine.dispose()
    assert migrate(empty_url) is True


def test_a_store_without_tables_says_how_to_make_them(empty_url: str, tmp_path: Path) -> None:
    with (
        PredictionStore(empty_url) as store,
        pytest.raises(SchemaMismatchError, match=r"no tables yet: create them with .*migrate"),
    ):
        history(store)
    assert list(tmp_path.glob("store.db*")) == []
    migrate(empty_url)
    with PredictionStore(empty_url) as store:
        assert counts_by_day(store).is_empty()


def test_a_store_of_another_schema_is_refused_with_the_remedy(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("fraud_assets.store.schema.HEAD_REVISION", "0998")
        with (
            PredictionStore(store_url) as store,
            pytest.raises(SchemaMismatchError, match=r"older than this code's 0998.*migrate"),
        ):
            history(store)
    with PredictionStore(store_url) as store, store.writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0999'"))
    for use in (lambda: migrate(store_url), lambda: history(PredictionStore(store_url))):
        with pytest.raises(SchemaMismatchError, match="newer fraud-assets wrote it; install"):
            use()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:s3cret@127.0.0.1:1/fraud",
        "postgres://ada:s3cret@127.0.0.1:1/fraud",
        "postgresql+psycopg2://ada@127.0.0.1:1/fraud?password=s3cret",
    ],
)
def test_an_unreachable_server_is_named_without_the_password(url: str) -> None:
    for use in (lambda: migrate(url), lambda: history(PredictionStore(url))):
        with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1/fraud") as failed:
            use()
        assert "s3cret" not in str(failed.value)
        assert "s3cret" not in repr(PredictionStore(url))


@pytest.mark.parametrize(
    "url",
    [
        "not a url with s3cret",
        "postgresql://ada:s3cret@host:port/x",
        "mysql://ada:s3cret@host/x",
        "postgresql+psycopg://ada:s3cret@host/x",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_a_url_that_cannot_be_a_store_is_refused_without_the_password(url: str) -> None:
    with pytest.raises(StoreError) as failed:
        PredictionStore(url)
    assert "s3cret" not in str(failed.value)
    assert failed.value.__cause__ is None


def test_a_file_that_is_no_database_and_a_folder_that_cannot_be_made_are_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "note.txt").write_text("this is not a database, only a note " * 40)
    for name, said in (("note.txt", "not a database"), ("note.txt/store.db", "cannot be made")):
        with pytest.raises(StoreUnavailableError, match=f"note.txt.*{said}"):
            migrate(f"sqlite:///{tmp_path}/{name}")


def test_a_locked_sqlite_store_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fraud_assets.store.engine.LOCK_TIMEOUT_SECONDS", 0.1)
    url = f"sqlite:///{tmp_path}/store.db"
    migrate(url)
    with PredictionStore(url) as first, PredictionStore(url) as second, first.writing():
        assert history(second) == []  # a reader does not wait
        with (
            pytest.raises(StoreUnavailableError, match="database is locked"),
            second.writing(),
        ):
            pass


def test_naming_a_store_does_not_import_sqlalchemy() -> None:
    code = (
        "import sys, fraud_assets.store, fraud_assets.store.engine; "
        "sys.exit('sqlalchemy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
