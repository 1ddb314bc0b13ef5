"""A training of a million rows by the application, against bare `xgboost.train` on the same rows.

    python benchmarks/training.py                 # 1,000,000 rows, 20 features, 200 trees
    python benchmarks/training.py --rows 200000

Each side runs in processes of its own, in turns, from the same Parquet file of labelled features:

- *bare*: Polars reads the columns into one float32 matrix, `QuantileDMatrix`, `xgboost.train`,
  `save_model`;
- *ours*: what a retraining does once its parameters are known: read, fit the encoder, encode, the
  estimator, save;
- *candidate*: a whole candidate with the default parameters: a fold fitted with early stopping and
  judged, calibration, threshold, baselines, importances, the refit on all days, the bundle.

The medians' ratios are printed, with the peak memory of each process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

FEATURES = 20
TREES = 200
DAYS = 30
FIRST = date(2025, 1, 1)
RATIO_GOAL = 1.3
MEMORY_GOAL_MB = 2048
SIDES = ("bare", "ours", "candidate")
PARAMS = {"max_depth": 6, "learning_rate": 0.1, "max_bin": 256}
THREADS = len(os.sched_getaffinity(0))
NAMES = [f"feature_{i}" for i in range(FEATURES)]


def make(path: Path, rows: int) -> None:
    """Labelled rows of a month, 1 % fraud that trees can learn; float32, seeded."""
    random = np.random.default_rng(7)
    values = random.standard_normal((rows, FEATURES), dtype=np.float32)
    logit = -6.2 + 1.5 * values[:, 0] + values[:, 1] * values[:, 2] + (values[:, 3] > 1) * 2.0
    label = (random.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    day = np.arange(rows) * DAYS // rows
    frame = pl.DataFrame(values, schema=NAMES).with_columns(
        pl.Series("label", label),
        pl.Series("amount", np.exp(values[:, 4] + 4).astype(np.float64)),
        pl.Series("payer_id", [f"p{i % 50_000}" for i in range(rows)]),
        pl.Series("day", [FIRST + timedelta(days=int(i)) for i in day]),
    )
    frame.write_parquet(path)


def bare(path: Path) -> None:
    """The library alone."""
    import xgboost

    frame = pl.read_parquet(path, columns=[*NAMES, "label"])
    matrix = frame.select(NAMES).to_numpy(order="c")
    rows = xgboost.QuantileDMatrix(
        matrix, label=frame["label"].to_numpy(), max_bin=PARAMS["max_bin"], nthread=THREADS
    )
    booster = xgboost.train(
        {**PARAMS, "objective": "binary:logistic", "base_score": 0.5, "tree_method": "hist",
         "nthread": THREADS, "seed": 7},
        rows,
        TREES,
    )  # fmt: skip
    booster.save_model(path.with_name("bare.ubj"))


def ours(path: Path) -> None:
    """One training by the application's own parts."""
    from fraud_assets.modeling.encoding import fit_encoder
    from fraud_assets.modeling.estimators import make_estimator
    from fraud_assets.modeling.matrices import rows_to_fit
    from fraud_assets.transactions.profile import TrainingChoices

    frame = pl.read_parquet(path, columns=[*NAMES, "label"])
    encoder = fit_encoder(frame, NAMES, ())
    estimator = make_estimator("xgboost")
    estimator.fit(
        rows_to_fit(frame, encoder, TrainingChoices()),
        None,
        PARAMS,
        rounds=TREES,
        seed=7,
        threads=THREADS,
        feature_names=encoder.columns,
    )
    estimator.save(path.with_name("ours.ubj"))


def candidate(path: Path) -> None:
    """A whole candidate, without a search."""
    from fraud_assets.modeling.bundle import save_bundle
    from fraud_assets.modeling.splits import SplitPlan
    from fraud_assets.modeling.training import train_candidate
    from fraud_assets.transactions.profile import load_profile

    profile = load_profile("simulator")
    chosen = {"trials": 0, "folds": 1, "window_days": DAYS, "max_rounds": TREES,
              "max_train_rows": 5_000_000, "timeout_seconds": 3600.0}  # fmt: skip
    training = profile.training.model_copy(update=chosen)
    profile = profile.model_copy(update={"training": training})
    # As of a day on which the thirty days end where the training does.
    as_of = FIRST + timedelta(days=DAYS - 1 + 2 * 1 + training.gate_days)
    split = SplitPlan.as_of(as_of, 1, training, FIRST)
    with tempfile.TemporaryDirectory() as folder:
        found = train_candidate(pl.read_parquet(path), split, (NAMES, ()), profile, threads=THREADS)
        save_bundle(found, Path(folder) / "bundle")


def one(side: str, path: Path) -> None:
    """Run one side and print its seconds and peak memory as JSON."""
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    import xgboost  # noqa: F401 - imports are not what is measured

    import fraud_assets.modeling.training  # noqa: F401

    started = time.perf_counter()
    {"bare": bare, "ours": ours, "candidate": candidate}[side](path)
    seconds = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mb": usage.ru_maxrss / 1024}))


def main() -> None:
    """Measure the sides in turns, and print their medians and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        one(given.side, given.file)
        return
    console = Console()
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory(prefix="bench-training-") as folder:
        path = Path(folder) / "rows.parquet"
        make(path, given.rows)
        for turn in range(given.turns):
            for side in SIDES:
                with console.status(f"turn {turn + 1} of {given.turns}: {side}"):
                    command = [sys.executable, __file__, "--side", side, "--file", str(path)]
                    answer = subprocess.run(command, check=True, capture_output=True, text=True)
                found[side].append(json.loads(answer.stdout.splitlines()[-1]))
        same = path.with_name("bare.ubj").stat().st_size, path.with_name("ours.ubj").stat().st_size
    table = Table(
        title=f"{given.rows:,} rows, {FEATURES} features, {TREES} trees, {THREADS} threads"
    )
    for name in ("", "seconds", "CPU seconds", "peak MB", "ratio"):
        table.add_column(name, justify="right" if name else "left")
    median = {
        side: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for side, runs in found.items()
    }
    for side, numbers in median.items():
        ratio = numbers["seconds"] / median["bare"]["seconds"]
        table.add_row(
            side, f"{numbers['seconds']:.1f}", f"{numbers['cpu']:.1f}",
            f"{numbers['peak_mb']:,.0f}", f"{ratio:.2f}",
        )  # fmt: skip
    console.print(table)
    console.print(f"model files: bare {same[0]:,} bytes, ours {same[1]:,} bytes")
    ratio, memory = (
        median["ours"]["seconds"] / median["bare"]["seconds"],
        max(median["ours"]["peak_mb"], median["candidate"]["peak_mb"]),
    )
    for title, value, goal in (
        ("ours over bare", ratio, RATIO_GOAL),
        ("peak memory, MB", memory, MEMORY_GOAL_MB),
    ):
        verdict = "[green]met[/green]" if value <= goal else "[red]missed[/red]"
        console.print(f"{title}: {value:,.2f} (goal {goal:,}, {verdict})")


if __name__ == "__main__":
    main()
