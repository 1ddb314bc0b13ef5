"""A champion that cannot serve gives way, and comes back, through the real graph and sensors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from fraud_assets.assets import PREDICTIONS, VALIDATED
from fraud_assets.jobs import RETRAINING, ROLLBACK
from fraud_assets.metadata import PredictionRecord, ValidationRecord

pytestmark = pytest.mark.slow


def jobs(closed: Any) -> list[str]:
    """What the sensors ran on a day, after its close."""
    return [run.job for run in closed.runs[1:]]


def kinds(decision: Any) -> list[str]:
    return [one["kind"] for one in decision.findings]


# --- files ---------------------------------------------------------------------------------------


def files_of(made: Any, version: str) -> list[Path]:
    """The folders that hold a version's files: the cache, and the artefacts of its run."""
    model_hash = made.registry.describe(version).model_hash
    found = [path for path in (made.folder / "data").rglob(model_hash) if path.is_dir()]
    assert len(found) == 2, found
    return found


def test_a_champion_whose_files_are_gone_gives_way_to_the_one_before_until_they_are_back(
    branch, served
) -> None:
    made = branch(served)
    folders = files_of(made, "2")
    for number, folder in enumerate(folders):
        shutil.move(folder, made.folder / f"kept-{number}")

    closed = made.live()
    assert made.scored_by(14) == "rules-1"
    assert "version 2 cannot be loaded" in made.said(PREDICTIONS, 14, PredictionRecord).fallback
    decision = made.decided(14)
    assert (decision.action, decision.rule, decision.target) == ("fall_back", "unloadable", "1")
    assert decision.champion == "2"
    assert "version 1 serves until it can be loaded" in decision.reason
    assert kinds(decision)[0] == "unloadable"
    assert jobs(closed) == [ROLLBACK]
    moved = made.promotions()[-1]
    assert (moved.action, moved.version, moved.previous_version) == ("fallback", "1", "2")
    assert (moved.day, moved.reason) == (decision.day, decision.reason)
    assert moved.numbers == {"rule": "unloadable", "decision_id": decision.id}
    assert made.registry.version_by_alias("champion") == "1"

    closed = made.live()
    assert made.scored_by(15) == "1"
    assert made.decided(15).action in ("nothing", "warn")
    assert jobs(closed) == []

    for number, folder in enumerate(folders):
        shutil.move(made.folder / f"kept-{number}", folder)
    closed = made.live()
    decision = made.decided(16)
    assert (decision.action, decision.rule, decision.target) == ("restore", "healthy", "2")
    assert jobs(closed) == [ROLLBACK]
    on, told = made.moves()[-1]
    assert (on, told.effective_from) == (made.day(16), made.day(17))
    assert (told.action, told.version, told.previous_version) == ("restore", "2", "1")
    assert made.registry.version_by_alias("champion") == "2"
    made.live()
    assert made.scored_by(17) == "2"


def test_without_a_former_champion_that_can_be_loaded_the_rules_serve(branch, served) -> None:
    made = branch(served)
    for version in ("1", "2"):
        for folder in files_of(made, version):
            for file in folder.iterdir():
                file.write_bytes(file.read_bytes()[:-7] + b"damaged")
    made.live()
    decision = made.decided(14)
    assert (decision.action, decision.target) == ("fall_back", "rules-1")
    assert "the rule set serves until it can be loaded" in decision.reason
    assert made.champion(15) == "rules-1"
    assert made.registry.version_by_alias("champion") is None

    closed = made.live()
    assert made.scored_by(15) == "rules-1"
    assert made.said(PREDICTIONS, 15, PredictionRecord).fallback == decision.reason
    assert made.decided(15).action in ("nothing", "warn")
    assert jobs(closed) == []


# --- feeds ---------------------------------------------------------------------------------------


def missing(row: dict[str, str]) -> dict[str, str]:
    return {**row, "device_age": ""}


def out_of_range(row: dict[str, str]) -> dict[str, str]:
    return {**row, "device_age": f"{float(row['device_age']) + 1000:.2f}"}


def stuck(row: dict[str, str]) -> dict[str, str]:
    return {**row, "device_age": "40.00"}


def test_a_champion_whose_feed_breaks_gives_way_and_comes_back_when_the_feed_is_whole(
    branch, served
) -> None:
    made = branch(served)
    closed = made.live(missing)
    assert made.said(VALIDATED, 14, ValidationRecord).reject_share == 0.0
    assert made.scored_by(14) == "2"
    found = made.drift(14)
    assert found.broken_columns == ["device_age"]
    assert found.worst_missing_increase == 1.0
    assert found.broken_weights["2"] > 0.5
    assert found.broken_weights["rules-1"] == 0.0
    decision = made.decided(14)
    assert (decision.action, decision.rule) == ("fall_back", "broken_inputs")
    assert decision.target == "rules-1"  # version 1 goes by the same input
    assert f"device_age are {found.broken_weights['2']:.0%} of what champion 2" in decision.reason
    assert "less than 20% is allowed" in decision.reason
    assert "the rule set serves until they are whole again" in decision.reason
    assert kinds(decision) == ["broken_inputs"]
    assert jobs(closed) == [ROLLBACK]

    closed = made.live(missing)
    assert made.scored_by(15) == "rules-1"
    assert made.drift(15).reference_version == "2"
    assert (made.decided(15).action, kinds(made.decided(15))[0]) == ("warn", "broken_inputs")
    assert jobs(closed) == []

    assert jobs(made.live()) == []
    assert made.drift(16).broken_columns == []
    assert made.decided(16).action == "nothing"  # whole for one day, and two are asked for

    assert jobs(made.live()) == [ROLLBACK]
    decision = made.decided(17)
    assert (decision.action, decision.rule, decision.target) == ("restore", "healthy", "2")
    assert decision.reason == "the inputs of champion 2 are whole for 2 days"
    made.live()
    assert made.scored_by(18) == "2"
    assert made.decided(18).action == "nothing"
    assert [one.action for one in made.promotions()] == [
        "promote",
        "promote",
        "fallback",
        "restore",
    ]
    assert RETRAINING not in {run.job_name for run in made.instance.get_runs()}


@pytest.mark.parametrize("spoil", [out_of_range, stuck])
def test_values_that_the_model_never_saw_or_that_do_not_move_break_an_input(
    branch, served, spoil
) -> None:
    made = branch(served)
    made.live(spoil)
    assert made.said(VALIDATED, 14, ValidationRecord).reject_share == 0.0
    assert made.drift(14).broken_columns == ["device_age"]
    assert made.decided(14).rule == "broken_inputs"
    assert made.champion(15) == "rules-1"


def test_a_broken_input_that_hardly_matters_is_a_warning(branch, served) -> None:
    made = branch(served)
    closed = made.live(lambda row: {**row, "battery": ""})
    found = made.drift(14)
    assert found.broken_columns == ["battery"]
    assert 0.0 <= found.broken_weights["2"] < 0.2
    decision = made.decided(14)
    assert (decision.action, decision.target) == ("warn", None)
    share = f"{found.broken_weights['2']:.0%}"
    assert decision.reason == f"broken inputs: battery, {share} of what the model goes by"
    assert jobs(closed) == []
    assert made.champion(15) == "2"


def test_a_feed_that_stays_broken_in_part_is_waited_for_and_does_not_flip_the_champion(
    branch, served
) -> None:
    """Also where what is left of the champion is better than the rules that stand in for it."""
    made = branch(served)

    def partly(row: dict[str, str]) -> dict[str, str]:
        return missing(row) if int(row["id"][-4:]) % 4 == 0 else row

    for _ in range(3):
        made.live(partly)
    assert [one.action for one in made.promotions()[2:]] == ["fallback"]
    assert made.champion(17) == "rules-1"
