"""The same backfill as a plain script: the libraries alone, without this package or Dagster.

It reads the raw Parquet files that the asset graph wrote, and does what the graph does with them:
validate, label, featurise, score, store, report drift and performance, and keep every result. It
does so in the way that is quickest for all days at once: frames stay in memory between stages, and
all features are made in one pass. What it leaves out is what the graph is for: days that can be
redone one by one, bounded memory, counted reasons for each reject, checks on what is stored.

`backfill.py` starts it. After the clock has stopped, its features and scores are compared with
those that the graph wrote; they must be equal, or the times mean nothing.
"""

from __future__ import annotations

import argparse
import json
import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from checking import compare

SAMPLE_ROWS = 10_000
DRIFT_THRESHOLD = 0.1
DUPLICATE_LOOKBACK_DAYS = 30
FEATURE_LOOKBACK_DAYS = 7
LABEL_LOOKBACK_DAYS = 9
KNOWN_LOOKBACK_DAYS = 30
LABEL_DELAY_DAYS = 2
KINDS = ["CASH_IN", "CASH_OUT", "DEBIT", "PAYMENT", "TRANSFER"]
CALENDAR = ("hour", "is_night")

RENAMED = {
    "transactionId": "transaction_id", "timestamp": "event_time", "amount": "amount",
    "nameOrig": "payer_id", "nameDest": "payee_id", "type": "kind",
    "oldbalanceOrg": "payer_balance_before", "newbalanceOrig": "payer_balance_after",
    "oldbalanceDest": "payee_balance_before", "newbalanceDest": "payee_balance_after",
    "isFraud": "label", "labelKnownAt": "label_known_at", "scenario": "scenario",
}  # fmt: skip
BALANCES = [name for name in RENAMED.values() if "balance" in name]

FEATURES_SQL = Path(__file__).with_name("features.sql").read_text("utf-8")

TABLE = """
CREATE TABLE predictions (
    day DATE NOT NULL, transaction_id TEXT NOT NULL, event_time DATETIME NOT NULL, payer_id TEXT,
    amount FLOAT NOT NULL, score FLOAT NOT NULL CHECK (score >= 0 AND score <= 1),
    decision TEXT NOT NULL CHECK (decision IN ('alert', 'pass')), threshold FLOAT NOT NULL,
    reasons JSON NOT NULL, model_version TEXT NOT NULL, model_hash TEXT NOT NULL,
    PRIMARY KEY (day, transaction_id)
) WITHOUT ROWID;
CREATE INDEX predictions_by_transaction ON predictions (transaction_id);
CREATE INDEX predictions_alerts_by_day ON predictions (day, score) WHERE decision = 'alert';
"""


class Script:
    """The stages in order, each with its seconds, over frames that stay in memory."""

    def __init__(self, lake: Path, model: Path, out: Path, days: list[date]) -> None:
        self.lake, self.model, self.out, self.days = lake, model, out, days
        self.seconds: dict[str, float] = {}
        self.transactions: list[pl.DataFrame] = []
        self.labels: list[pl.DataFrame] = []
        self.features: list[pl.DataFrame] = []
        self.predictions: list[pl.DataFrame] = []
        self.manifest = json.loads((model / "manifest.json").read_text())
        self.encoder = json.loads((model / "encoder.json").read_text())
        self.calibration = json.loads((model / "calibration.json").read_text())
        self.threshold = json.loads((model / "policy.json").read_text())["threshold"]
        self.columns = [*self.encoder["numeric"], *self.encoder["vocabularies"]]
        self.booster: Any = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of what is inside to a stage of the graph's name."""
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def read(self, asset: str, day: date) -> pl.DataFrame | None:
        """A day of the graph's lake; None before the first."""
        path = self.lake / asset / f"day={day}" / "data.parquet"
        return pl.read_parquet(path, hive_partitioning=False) if path.exists() else None

    def before(self, asset: str, count: int) -> list[pl.DataFrame]:
        """The `count` days before the backfill, as they lie in the lake."""
        found = (self.read(asset, self.days[0] - timedelta(days=i)) for i in range(count, 0, -1))
        return [frame for frame in found if frame is not None]

    def write(self, asset: str, day: date, frame: pl.DataFrame) -> None:
        """Keep a day as the lake does."""
        folder = self.out / asset / f"day={day}"
        folder.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(folder / "data.parquet", compression="zstd", compression_level=1)

    def run(self) -> None:
        """All stages."""
        with self.stage("validate_transactions"):
            self.validate()
        with self.stage("fraud_labels"):
            self.label()
        with self.stage("transaction_features"):
            self.featurise()
        with self.stage("fraud_predictions"):
            self.score()
        with self.stage("drift_report"):
            self.drift()
        with self.stage("performance_report"):
            self.performance()

    def validate(self) -> None:
        """Split off bad and repeated rows, hold the rest against a Pandera schema, and sort."""
        import pandera.polars as pa

        earlier = self.before("validated_transactions", DUPLICATE_LOOKBACK_DAYS)
        known = [frame["transaction_id"] for frame in earlier]
        schema = pa.DataFrameSchema(
            {
                "transaction_id": pa.Column(pl.String, pa.Check.str_length(max_value=256)),
                "event_time": pa.Column(pl.Datetime("us", "UTC")),
                "amount": pa.Column(pl.Float64, pa.Check.in_range(0, 10_000_000)),
                "payer_id": pa.Column(pl.String, pa.Check.str_length(max_value=256)),
                "payee_id": pa.Column(pl.String, pa.Check.str_length(max_value=256), nullable=True),
                "kind": pa.Column(pl.String, pa.Check.isin(KINDS)),
                **{name: pa.Column(pl.Float64, nullable=True) for name in BALANCES},
                "label": pa.Column(pl.Int8, pa.Check.isin([0, 1]), nullable=True),
                "label_known_at": pa.Column(pl.Datetime("us", "UTC"), nullable=True),
                "scenario": pa.Column(pl.String, nullable=True),
            },
            checks=pa.Check(
                lambda data: data.lazyframe.select(pl.col("label_known_at") >= pl.col("event_time"))
            ),
        )
        for day in self.days:
            raw = self.read("raw_transactions", day)
            if raw is None:
                raise FileNotFoundError(f"raw_transactions of {day}")
            frame = raw.select(pl.col(old).alias(new) for old, new in RENAMED.items())
            good = (
                pl.col("amount").is_between(0, 10_000_000)
                & pl.col("kind").is_in(KINDS)
                & pl.col("payer_id").is_not_null()
                & (pl.col("event_time").dt.date() == day)
            ).fill_null(value=False)
            kept = frame.select(good).to_series()
            self.write("quarantined_transactions", day, raw.filter(~kept))
            frame = frame.filter(kept).unique("transaction_id", keep="first", maintain_order=True)
            if known:
                ids = pl.concat(known[-DUPLICATE_LOOKBACK_DAYS:]).to_frame()
                frame = frame.join(ids, on="transaction_id", how="anti", maintain_order="left")
            frame = schema.validate(frame, lazy=True).sort("event_time", maintain_order=True)
            position = pl.int_range(pl.len(), dtype=pl.Int64)
            order = (pl.col("event_time").cast(pl.Int64) - position).cum_max() + position
            frame = frame.with_columns(event_order_us=order)
            self.write("validated_transactions", day, frame)
            known.append(frame["transaction_id"])
            self.transactions.append(frame)

    def label(self) -> None:
        """Keep each day's labels as they became known."""
        names = ["transaction_id", "event_time", "event_order_us", "payer_id", "payee_id", "label",
                 "label_known_at", "scenario"]  # fmt: skip
        source = {"source_label": "label", "source_label_known_at": "label_known_at",
                  "source_scenario": "scenario"}  # fmt: skip
        earlier = self.before("validated_transactions", LABEL_LOOKBACK_DAYS)
        recent = [frame.rename(source).select(names) for frame in earlier]
        for day, frame in zip(self.days, self.transactions, strict=True):
            recent = [*recent, frame.select(names)][-LABEL_LOOKBACK_DAYS - 1 :]
            told = pl.concat(recent).filter(pl.col("label_known_at").dt.date() == day)
            told = told.sort("label_known_at", "transaction_id")
            self.write("fraud_labels", day, told)
            self.labels.append(told)

    def featurise(self) -> None:
        """Every feature of every day by one query."""
        import duckdb

        wanted = ["transaction_id", "event_time", "event_order_us", "payer_id", "payee_id",
                  "amount", "kind"]  # fmt: skip
        earlier = self.before("validated_transactions", FEATURE_LOOKBACK_DAYS)
        transactions = pl.concat([frame.select(wanted) for frame in (*earlier, *self.transactions)])
        told = self.before("fraud_labels", LABEL_LOOKBACK_DAYS)
        label_columns = ["payee_id", "label", "label_known_at", "event_time"]
        label_rows = pl.concat([frame.select(label_columns) for frame in (*told, *self.labels)])
        first = datetime(self.days[0].year, self.days[0].month, self.days[0].day, tzinfo=UTC)
        with duckdb.connect() as connection:
            connection.register("transactions", transactions.to_arrow())
            connection.register("label_rows", label_rows.to_arrow())
            given = {"first_us": int(first.timestamp()) * 10**6}
            answer = connection.sql(FEATURES_SQL, params=given).to_arrow_table()
        everything = pl.from_arrow(answer)
        assert isinstance(everything, pl.DataFrame)
        start = 0
        for day, frame in zip(self.days, self.transactions, strict=True):
            self.features.append(everything.slice(start, frame.height))
            self.write("transaction_features", day, self.features[-1])
            start += frame.height

    def probabilities(self, features: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """The model's matrix and its calibrated scores."""
        codes = [
            pl.col(name).replace_strict(
                words, np.arange(len(words), dtype=np.float32), default=None,
                return_dtype=pl.Float32,
            )
            for name, words in self.encoder["vocabularies"].items()
        ]  # fmt: skip
        numbers = pl.col(self.encoder["numeric"]).cast(pl.Float32)
        matrix = features.select(numbers, *codes).to_numpy(order="c")
        margin = self.booster.inplace_predict(matrix, predict_type="margin").astype(np.float64)
        found = self.calibration
        platt = found.get("sigmoid", found)
        sigmoid = 1.0 / (1.0 + np.exp(-(platt["slope"] * margin + platt["intercept"])))
        if found["kind"] == "platt":
            return matrix, sigmoid
        return matrix, 0.99 * np.interp(margin, found["margin"], found["probability"]) + (
            0.01 * sigmoid
        )

    def score(self) -> None:
        """Predict, explain the alerts, and insert all days in one transaction."""
        import xgboost

        self.booster = xgboost.Booster(model_file=self.model / "model.ubj")
        store = sqlite3.connect(self.out / "store.db", isolation_level=None)
        store.executescript(TABLE)
        store.execute("BEGIN")
        for day, features in zip(self.days, self.features, strict=True):
            matrix, score = self.probabilities(features)
            alert = np.flatnonzero(score >= self.threshold)
            reasons: list[list[str]] = []
            if alert.size:
                shares = self.booster.predict(
                    xgboost.DMatrix(matrix[alert], feature_names=self.booster.feature_names),
                    pred_contribs=True,
                )
                for row, top in zip(alert, np.argsort(-shares[:, :-1])[:, :3], strict=True):
                    reasons.append([f"{self.columns[i]} = {matrix[row, i]:g}" for i in top])
            explained = pl.DataFrame(
                {"row": alert, "reasons": reasons, "text": [json.dumps(one) for one in reasons]},
                schema={"row": pl.UInt32, "reasons": pl.List(pl.String), "text": pl.String},
            )
            scored = (
                features.select("transaction_id", "event_time", "payer_id", "amount")
                .with_columns(
                    pl.Series("score", score),
                    pl.when(pl.Series(score) >= self.threshold)
                    .then(pl.lit("alert"))
                    .otherwise(pl.lit("pass"))
                    .alias("decision"),
                    threshold=pl.lit(self.threshold),
                )
                .with_row_index("row")
                .join(explained, on="row", how="left", maintain_order="left")
                .with_columns(
                    pl.col("reasons").fill_null([]),
                    pl.col("text").fill_null("[]"),
                    model_version=pl.lit("1"),
                    model_hash=pl.lit(self.model.name),
                )
            )
            frame = scored.drop("row", "text")
            self.write("fraud_predictions", day, frame)
            stored = scored.select(
                pl.lit(str(day)).alias("day"),
                "transaction_id",
                pl.col("event_time").dt.strftime("%Y-%m-%d %H:%M:%S%.6f"),
                *("payer_id", "amount", "score", "decision", "threshold"),
                *("text", "model_version", "model_hash"),
            )
            store.executemany(
                "INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                stored.iter_rows(),
            )
            self.predictions.append(frame)
        store.execute("COMMIT")
        store.close()

    def drift(self) -> None:
        """Evidently's value drift of each day's sample against the champion's reference days."""
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift

        numeric = [name for name in self.encoder["numeric"] if name not in CALENDAR]
        kinds = list(self.encoder["vocabularies"])
        definition = DataDefinition(
            numerical_columns=[*numeric, "score"], categorical_columns=kinds
        )
        metrics = [
            *(ValueDrift(column=name, method="wasserstein", threshold=DRIFT_THRESHOLD)
              for name in ("score", *numeric)),
            *(ValueDrift(column=name, method="jensenshannon", threshold=DRIFT_THRESHOLD)
              for name in kinds),
        ]  # fmt: skip

        def sample(frames: list[pl.DataFrame]) -> pl.DataFrame:
            frame = pl.concat(frames)
            return frame.sample(min(SAMPLE_ROWS, frame.height), seed=7)

        inputs, gate = (self.window(f"{name}_window") for name in ("reference", "gate"))
        judged = sample(gate).with_columns(
            score=pl.lit(pl.Series(self.probabilities(sample(gate))[1]))
        )
        base = pl.concat(
            [sample(inputs).select(*numeric, *kinds), judged.select("score")], how="horizontal"
        )
        reference = Dataset.from_pandas(base.to_pandas(), definition)
        for day, features, scored in zip(self.days, self.features, self.predictions, strict=True):
            today = sample([features.with_columns(scored["score"])]).select(base.columns)
            report = Report(metrics, include_tests=True)
            snapshot = report.run(Dataset.from_pandas(today.to_pandas(), definition), reference)
            folder = self.out / "drift_report" / f"day={day}"
            folder.mkdir(parents=True, exist_ok=True)
            snapshot.save_html(str(folder / "report.html"))
            (folder / "columns.json").write_text(snapshot.json())

    def window(self, name: str) -> list[pl.DataFrame]:
        """The features of a window of the model's manifest, which lie before the backfill."""
        first, last = (date.fromisoformat(self.manifest[name][end]) for end in ("first", "last"))
        days = (first + timedelta(days=i) for i in range((last - first).days + 1))
        found = (self.read("transaction_features", day) for day in days)
        return [frame for frame in found if frame is not None]

    def performance(self) -> None:
        """What each day's predictions came to once its labels were known."""
        from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

        columns = ["transaction_id", "event_time", "payer_id", "label", "label_known_at"]
        told = self.before("fraud_labels", KNOWN_LOOKBACK_DAYS)
        labels = pl.concat([frame.select(columns) for frame in (*told, *self.labels)])
        frauds = labels.filter(pl.col("label") == 1)
        found = {}
        for day, predictions in zip(self.days, self.predictions, strict=True):
            if day > self.days[-1] - timedelta(days=LABEL_DELAY_DAYS):
                break
            known_before = frauds.filter(pl.col("label_known_at").dt.date() < day)
            judged = predictions.join(
                labels.filter(pl.col("event_time").dt.date() == day).select(
                    "transaction_id", "label"
                ),
                on="transaction_id",
            ).join(known_before, on="payer_id", how="anti")
            truth, score = judged["label"].to_numpy(), judged["score"].to_numpy()
            found[str(day)] = {
                "average_precision": average_precision_score(truth, score),
                "roc_auc": roc_auc_score(truth, score),
                "brier": brier_score_loss(truth, score),
                "alert_precision": judged.filter(pl.col("decision") == "alert")["label"].mean(),
            }
        (self.out / "performance.json").write_text(json.dumps(found, indent=1))


def main() -> None:
    """Run the script over the days, compare, and write `<folder>/bare.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--first", type=date.fromisoformat, required=True)
    parser.add_argument("--days", type=int, required=True)
    given = parser.parse_args()
    days = [given.first + timedelta(days=i) for i in range(given.days)]
    model = next((given.folder / "data" / "cache" / "models").iterdir())
    script = Script(given.folder / "data" / "lake", model, given.folder / "bare", days)
    script.out.mkdir(parents=True)
    started, cpu = time.perf_counter(), time.process_time()
    script.run()
    found = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "stages": script.seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }
    found |= compare(script)
    (given.folder / "bare.json").write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main()
