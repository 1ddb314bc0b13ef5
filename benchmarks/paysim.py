"""PaySim's balances: what a model claims with them, and what the leakage checks say.

    python benchmarks/paysim.py                                   # both parts
    python benchmarks/paysim.py --data /path/to/paysim_small.csv
    python benchmarks/paysim.py --rows 500000                     # a smaller simulation

PaySim cancels a detected fraud, so the balances before and after a transaction give the answer
away. They are in the data of the `paysim` and `simulator` profiles and not among their features.
Each data set is trained and judged three times by the application's own code: without balances (the
default), with the four balance columns (`feature: true` in the profile), and with what public
notebooks derive from them besides. The data are a log of the original PaySim simulator at a
hundredth of its scale, and the project's own simulator at full size, whose balances move by a fraud
as by any payment.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import polars as pl
from history import History
from rich.console import Console
from rich.table import Table
from terminal import terminal

from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling.bundle import load_bundle, read_baselines, save_bundle
from fraud_assets.modeling.dataset import known_payers_by_day
from fraud_assets.modeling.leakage import shuffled_label_control
from fraud_assets.modeling.report import judge_candidate
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.modeling.splits import SplitPlan
from fraud_assets.modeling.training import train_candidate
from fraud_assets.transactions.columns import DAY
from fraud_assets.transactions.profile import Profile, load_profile
from fraud_assets.transactions.simulator import SimulatorConfig
from fraud_assets.transactions.sources.files import FileSource
from fraud_assets.transactions.sources.simulated import SimulatorSource

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data" / "paysim_small.csv"
RESULTS = HERE.parent / "build" / "bench-paysim.json"
DAYS = 31
FIRST_DAY = date(2025, 1, 1)
AS_OF = {"log": 15, "simulation": 24}
"""Days after the first one as of which is judged: PaySim's log thins out to frauds alone in its
second half, and the simulator's world changes on its day 30."""

BALANCES = (
    "payer_balance_before", "payer_balance_after", "payee_balance_before", "payee_balance_after",
)  # fmt: skip
RAW_BALANCES = ("oldbalanceOrg", "newbalanceOrig", "oldbalanceDest", "newbalanceDest")
DERIVED = {
    "payer_error": "{newbalanceOrig} + {amount} - {oldbalanceOrg}",
    "payee_error": "{oldbalanceDest} + {amount} - {newbalanceDest}",
    "empties_the_account": "CASE WHEN {amount} = {oldbalanceOrg} THEN 1.0 ELSE 0.0 END",
}
"""What public notebooks on PaySim make of the balances, as SQL over the raw columns."""


def variants(profile: Profile) -> dict[str, Profile]:
    """The profile as it is, with the balances, and with what is derived from them."""
    content = profile.model_dump(mode="json")
    with_balances = json.loads(json.dumps(content))
    for column in with_balances["numeric"]:
        if column["name"] in BALANCES:
            column["feature"] = True
    derived = json.loads(json.dumps(with_balances))
    names = {name: f"CAST({name} AS DOUBLE)" for name in (*RAW_BALANCES, "amount")}
    derived["derived"] |= {name: sql.format(**names) for name, sql in DERIVED.items()}
    derived["numeric"] += [{"name": name, "column": name} for name in DERIVED]
    return {
        "without balances (default)": profile,
        "with the four balances": Profile.model_validate(with_balances),
        "and what is derived from them": Profile.model_validate(derived),
    }


def judged(history: History, profile: Profile, as_of: date, threads: int) -> dict[str, Any]:
    """A candidate trained as of a day, judged against the rules on its gate days."""
    features = FeatureSet.from_profile(profile)
    rows = history.rows(features)
    split = SplitPlan.as_of(as_of, profile.label_delay_days, profile.training, history.days[0])
    validation = sorted({day for fold in split.folds for day in fold.validation_days})
    candidate = train_candidate(
        rows.filter(pl.col(DAY).is_in(split.learning_days)),
        split,
        (features.numeric_names, features.categorical_names),
        profile,
        threads=threads,
        known_by_day=known_payers_by_day(history.labels, validation),
    )
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        model = load_bundle(bundle, save_bundle(candidate, bundle), threads=threads)
        baselines = read_baselines(bundle)
    report = judge_candidate(
        model,
        RuleSet(),
        rows.filter(pl.col(DAY).is_in(split.gate_days)),
        known_by_day=known_payers_by_day(history.labels, split.gate_days),
        profile=profile,
        feature_names=features.names,
        champion_title="the rules",
        baselines=baselines,
        control=shuffled_label_control(
            features, history.transactions, history.labels, train_days=split.validation_days,
            test_days=split.gate_days, as_of=as_of, seed=profile.training.seed, threads=threads,
        ),
    )  # fmt: skip
    shares = candidate.manifest.feature_importance
    return {
        "features": len(features.names),
        "rows": report.candidate.rows,
        "positives": report.candidate.positives,
        "average_precision": report.candidate.average_precision.estimate,
        "low": report.candidate.average_precision.low,
        "high": report.candidate.average_precision.high,
        "card_precision": report.candidate.card_precision,
        "ceiling": report.candidate.card_precision_achievable,
        "best_feature": report.best_single_feature,
        "best_auc": report.best_single_feature_auc,
        "control": report.control.model_dump(),
        "baselines": {one.name: one.average_precision for one in report.baselines},
        "alarms": [alarm.name for alarm in report.leakage_alarms],
        "promoted": report.decision.promote,
        "most_important": max(shares, key=lambda name: shares[name]),
    }


def show(title: str, found: dict[str, dict[str, Any]], console: Console) -> None:
    """One data set's table."""
    table = Table(title=title)
    columns = (
        "features", "AP (95 % interval)", "CP@k of the best", "one rule's AP",
        "best single feature, AUC", "leakage check", "shuffled labels, AUC",
    )  # fmt: skip
    for name in columns:
        table.add_column(name, justify="left" if name == "features" else "right")
    for name, one in found.items():
        control = one["control"]["roc_auc"]
        table.add_row(
            f"{one['features']}, {name}",
            f"{one['average_precision']:.3f} ({one['low']:.3f}–{one['high']:.3f})",
            f"{one['card_precision']:.3f} of {one['ceiling']:.3f}",
            f"{one['baselines']['one rule']:.3f}",
            f"{one['best_feature']}, {one['best_auc']:.3f}",
            "alarm: " + ", ".join(one["alarms"]) if one["alarms"] else "quiet",
            "not computable" if control is None else f"{control:.3f}",
        )
    console.print(table)


def log_days(path: Path, profile: Profile, scratch: Path) -> Iterator[tuple[date, pl.DataFrame]]:
    """The days of a PaySim log."""
    source = FileSource(path, profile, scratch)
    for day in source.days():
        yield day, source.read_day(day)


def simulated_days(rows: int) -> Iterator[tuple[date, pl.DataFrame]]:
    """Days of the project's simulator, about `rows` in all."""
    config = SimulatorConfig(transactions_per_day=max(1, rows // DAYS))
    source = SimulatorSource(config, FIRST_DAY, DAYS)
    for day in source.days():
        yield day, source.read_day(day)


def main() -> None:
    """Judge every variant on both data sets, print the tables, and keep the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="a PaySim log as CSV")
    parser.add_argument("--rows", type=int, default=6_300_000, help="of the simulation")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    console = terminal()
    if not given.data.is_file():
        parser.exit(2, f"{given.data}: no such file; give a PaySim log with --data\n")
    threads = len(os.sched_getaffinity(0))
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-paysim-") as folder:
        for title, base in (("log", "paysim"), ("simulation", "simulator")):
            results = {}
            for number, (name, profile) in enumerate(variants(load_profile(base)).items()):
                with console.status(f"{title}: {name}"):
                    days = (
                        log_days(given.data, profile, Path(folder) / str(number))
                        if title == "log"
                        else simulated_days(given.rows)
                    )
                    history = History.of(days, profile)
                    as_of = history.days[0] + timedelta(days=AS_OF[title])
                    results[name] = judged(history, profile, as_of, threads)
            found[title] = results
            first = next(iter(results.values()))
            what = given.data.name if title == "log" else "the project's simulator"
            show(
                f"{what}: {history.transactions.height:,} rows; judged on {first['rows']:,} with "
                f"{first['positives']:,} frauds", results, console,
            )  # fmt: skip
    given.results.parent.mkdir(parents=True, exist_ok=True)
    given.results.write_text(json.dumps(found, indent=1, default=str) + "\n", "utf-8")
    console.print(f"results: {given.results}")


if __name__ == "__main__":
    main()
