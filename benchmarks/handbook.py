"""The Fraud Detection Handbook's tables, redone, beaten and broken, on its own data.

    python benchmarks/handbook.py                         # all parts; some fifteen minutes
    python benchmarks/handbook.py --part chapter3         # one of them
    python benchmarks/handbook.py --data /path/to/handbook_raw.parquet

- `chapter3`: the models of chapter 3 with its features and settings; to three decimals.
- `chapter5`: four weeks of tests, each behind a week of label delay. The application's own training
  (`train_candidate` with the `cards` profile: search on earlier folds, calibration, threshold) on
  the Handbook's fifteen features, and on those of the profile. Beside it what an oracle would reach
  that knows everything that can be known under the delay.
  The profile's features and defaults were chosen while looking at these four weeks, so the same is
  done for three later ones that nobody looked at.
- `features`: which features won, each group on its own, by a fixed model.
- `families`: the four families with their defaults, on the profile's features.
- `imbalance`: what class weights, undersampling and SMOTE do to ranking and probabilities.
- `leaks`: what six leaks would have claimed, on the same weeks, and what their models are worth.

Intervals are of 95 %: over days for a week, and from the four weeks' own errors for their mean.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from handbook_chapters import chapter_3, chapter_5
from handbook_choices import families, feature_groups, imbalance
from handbook_data import LAST_DAY, read_handbook
from handbook_leaks import leaks
from terminal import terminal

from fraud_assets.features.definitions import FeatureSet
from fraud_assets.transactions.columns import LABEL
from fraud_assets.transactions.profile import load_profile

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data" / "handbook_raw.parquet"
RESULTS = HERE.parent / "build" / "bench-handbook.json"
PARTS = ("chapter3", "chapter5", "features", "families", "imbalance", "leaks")


def main() -> None:
    """Run the parts that are asked for, print their tables, and keep the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="the raw daily files as Parquet")
    parser.add_argument("--part", choices=PARTS, action="append", help="may be given again")
    parser.add_argument("--trials", type=int, help="of each search; the profile's if left out")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    console = terminal()
    if not given.data.is_file():
        parser.exit(2, f"{given.data}: no such file; give the Handbook's raw data with --data\n")
    profile = load_profile("cards")
    if given.trials is not None:
        training = profile.training.model_copy(update={"trials": given.trials})
        profile = profile.model_copy(update={"training": training})
    parts = given.part or list(PARTS)
    with console.status("validation, labels and features of every day"):
        handbook = read_handbook(given.data, profile, LAST_DAY)
        rows = handbook.rows(FeatureSet.from_profile(profile))
    console.print(
        f"{rows.height:,} labelled rows, {rows[LABEL].sum():,} frauds, from {given.data.name}"
    )
    found: dict[str, Any] = {}
    if "chapter3" in parts:
        found["chapter3"] = chapter_3(rows, console)
    if "chapter5" in parts:
        found["chapter5"] = chapter_5(rows, handbook, profile, console)
    if "features" in parts:
        found["features"] = feature_groups(rows, profile, console)
    if "families" in parts:
        found["families"] = families(rows, profile, console)
    if "imbalance" in parts:
        found["imbalance"] = imbalance(rows, profile, console)
    if "leaks" in parts:
        found["leaks"] = leaks(rows, handbook, profile, console)
    given.results.parent.mkdir(parents=True, exist_ok=True)
    given.results.write_text(json.dumps(found, indent=1, default=str) + "\n", "utf-8")
    console.print(f"results: {given.results}")


if __name__ == "__main__":
    main()
