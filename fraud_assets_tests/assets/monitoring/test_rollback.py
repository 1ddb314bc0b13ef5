"""Another model in force by hand or by the loop's request: the job, the command, and the record."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from typer.testing import CliRunner

from fraud_assets.assets import PERFORMANCE, PREDICTIONS
from fraud_assets.cli import app
from fraud_assets.metadata import PredictionRecord
from fraud_assets.modeling.promotion import (
    AlreadyInForceError,
    NothingToRollBackToError,
    roll_back,
)
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.rollback import MOVE_CHAMPION, ROLLBACK
from fraud_assets.store.promotions import Promotion, record

pytestmark = pytest.mark.slow


def refusal(made: Any, **config: Any) -> str:
    """Why the job refuses; nothing has changed."""
    before = made.promotions(), made.moves(), made.registry.version_by_alias("champion")
    step, message = made.failure(made.rollback(**config))
    assert step == MOVE_CHAMPION
    after = made.promotions(), made.moves(), made.registry.version_by_alias("champion")
    assert after == before
    return str(message)


# --- the job --------------------------------------------------------------------------------------


def test_the_previous_champion_serves_from_the_day_after_the_newest_closed_one(
    branch, served
) -> None:
    made = branch(served)
    assert made.rollback(reason="odd alerts").success
    moved = made.promotions()[-1]
    assert (moved.action, moved.version, moved.previous_version) == ("rollback", "1", "2")
    assert (moved.day, moved.reason) == (made.day(13), "odd alerts")
    assert moved.model_hash == made.registry.describe("1").model_hash
    assert (made.champion(13), made.champion(14)) == ("2", "1")
    assert made.registry.version_by_alias("champion") == "1"
    [(on, told)] = made.moves()
    assert (on, told.effective_from) == (made.day(13), made.day(14))
    assert (told.action, told.version, told.previous_version) == ("rollback", "1", "2")
    assert told.reason == "odd alerts"

    # Once more is not twice: version 2 was judged worse, and is no previous champion any more.
    assert "there is no previous champion" in refusal(made)
    message = refusal(made, to="1")
    assert "version 1 is in force already: name another, `previous`, or `rules`" in message
    made.live()
    assert made.scored_by(14) == "1"
    assert made.performance(14).champion_version == "1"


def test_a_version_may_be_named_also_the_one_that_was_rolled_back_from(branch, served) -> None:
    made = branch(served)
    assert made.rollback(to="1").success
    assert made.rollback(to="2", reason="it was the feed").success
    moved = made.promotions()[-1]
    assert (moved.action, moved.version, moved.previous_version) == ("rollback", "2", "1")
    assert made.champion(14) == "2"
    assert made.registry.version_by_alias("champion") == "2"


def test_the_rules_serve_without_an_alias_and_the_predictions_say_why(branch, served) -> None:
    made = branch(served)
    assert made.rollback(to="rules", reason="no model is to be trusted").success
    assert made.promotions()[-1].version == "rules-1"
    assert made.registry.version_by_alias("champion") is None
    closed = made.live()
    assert made.scored_by(14) == "rules-1"
    assert made.said(PREDICTIONS, 14, PredictionRecord).fallback == "no model is to be trusted"
    # Version 1 would do better, and the loop does not overrule who said that none is to serve.
    [former] = [one for one in made.performance(14).alternatives if one.version == "1"]
    assert former.gain_low > 0.2
    assert ROLLBACK not in [run.job for run in closed.runs]
    assert made.rollback(to="2").success
    assert made.registry.version_by_alias("champion") == "2"


def test_an_unknown_version_is_refused_by_name(branch, served) -> None:
    message = refusal(branch(served), to="99")
    assert "fraud_model has no version 99" in message


def test_a_first_champion_has_nobody_to_go_back_to_but_the_rules(branch, young) -> None:
    made = branch(young)
    message = refusal(made)
    assert "there is no previous champion: name a version, or `rules` for the rule set" in message
    assert made.rollback(to="rules").success
    assert made.champion(12) == "rules-1"


def test_before_any_day_is_closed_there_is_nothing_to_roll_back(branch) -> None:
    made = branch()
    step, message = made.failure(made.rollback(to="rules"))
    assert step == MOVE_CHAMPION
    assert "no day has been closed yet" in message


def test_a_day_in_the_past_changes_nothing_of_what_has_been_scored(branch, served) -> None:
    made = branch(served)
    assert made.rollback(to="1", day=str(made.day(10))).success
    assert made.promotions()[-1].day == made.day(13)
    assert [made.champion(index) for index in (11, 12, 13, 14)] == ["1", "2", "2", "1"]
    [(on, told)] = made.moves()
    assert (on, told.effective_from) == (made.day(13), made.day(14))


def test_what_the_loop_asks_for_again_is_done_and_no_failure(branch, served) -> None:
    """A day that is reported again with other numbers decides again."""
    made = branch(served)
    asked = {"to": "rules-1", "day": str(made.day(13)), "action": "fallback", "rule": "worse"}
    assert made.rollback(**asked, decision_id=14).success
    before = made.promotions(), made.moves()
    assert made.rollback(**asked, decision_id=15).success
    assert (made.promotions(), made.moves()) == before
    assert "in force already" in refusal(made, **asked)


def test_a_model_that_is_no_longer_in_force_is_not_replaced(branch, served) -> None:
    """As when a retraining was faster: its champion was never compared with the target."""
    made = branch(served)
    asked = {"to": "rules-1", "instead_of": "1", "action": "fallback", "rule": "worse"}
    before = made.promotions()
    assert made.rollback(**asked, decision_id=14).success
    assert (made.promotions(), made.moves()) == (before, [])
    assert "version 1 was to be replaced, and 2 is in force by now" in refusal(made, **asked)


def test_previous_is_the_suspended_champion_while_another_stands_in(branch, served) -> None:
    made = branch(served)
    assert made.rollback(to="rules-1", action="fallback", rule="worse").success
    assert made.rollback(to="previous").success
    moved = made.promotions()[-1]
    assert (moved.action, moved.version, moved.previous_version) == ("restore", "2", "rules-1")


def test_a_stand_in_that_fails_is_not_the_champion_that_is_waited_for(branch, served) -> None:
    made = branch(served)
    assert made.rollback(to="1", action="fallback", rule="unloadable").success
    assert made.rollback(to="rules-1", action="fallback", rule="unloadable").success
    moved = made.promotions()[-1]
    assert (moved.action, moved.version, moved.previous_version) == ("fallback", "rules-1", "1")
    assert made.rollback(to="previous").success
    assert made.champion(14) == "2"


def test_the_rules_say_on_each_day_of_a_run_why_they_serve(branch, served) -> None:
    made = branch(served)
    with made.store() as store:
        for index, reason in ((10, "before version 2"), (12, "after it")):
            rules = RuleSet()
            record(
                store,
                Promotion(
                    day=made.day(index), action="rollback", version=rules.version,
                    model_hash=rules.model_hash, reason=reason,
                ),
            )  # fmt: skip
    made.close(11, PREDICTIONS, until=13)
    said = [made.said(PREDICTIONS, index, PredictionRecord) for index in (11, 12, 13)]
    assert [one.model_version for one in said] == ["rules-1", "2", "rules-1"]
    assert [one.fallback for one in said] == ["before version 2", "", "after it"]


def test_a_step_that_is_tried_again_in_its_run_moves_nothing_and_sets_the_alias(
    branch, served
) -> None:
    made = branch(served)
    with made.store() as store:
        first = roll_back(
            store, made.registry, made.day(13), "previous", reason="r", run_id="one run"
        )
        made.registry.set_alias("champion", "2")  # as if the first try had stopped before this
        again = roll_back(
            store, made.registry, made.day(13), "previous", reason="r", run_id="one run"
        )
        assert again == first
        assert made.registry.version_by_alias("champion") == "1"
        with pytest.raises(AlreadyInForceError):
            roll_back(store, made.registry, made.day(13), "1", reason="r", run_id="another run")
        with pytest.raises(NothingToRollBackToError, match="no previous champion"):
            roll_back(store, made.registry, made.day(13), "previous", reason="r", run_id=None)
    assert len(made.promotions()) == 3


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def at_home(branch, served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A copy as the command finds it: settings in the environment, an instance on disk."""
    made = branch(served)
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    settings = made.settings
    for name in ("data_dir", "profile", "source", "source_path", "first_day", "days"):
        monkeypatch.setenv(f"FRAUD_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("FRAUD_HISTORY_DAYS", str(settings.history_days))
    assert yaml.safe_load(Path(settings.profile).read_text())["name"] == "landing"
    with dg.DagsterInstance.get() as instance:
        for index in (12, 13):
            instance.report_runless_asset_event(
                dg.AssetMaterialization(PERFORMANCE, partition=str(made.day(index)))
            )
    return made


def test_the_command_moves_the_champion_and_says_so_and_refuses_in_one_message(at_home) -> None:
    command = CliRunner()
    done = command.invoke(app, ["rollback", "--reason", "odd alerts"])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert said.startswith(f"1 serves from {at_home.day(14)} on, in place of 2; run ")
    moved = at_home.promotions()[-1]
    assert (moved.version, moved.day, moved.reason) == ("1", at_home.day(13), "odd alerts")
    assert moved.run_id is not None
    assert moved.run_id in said
    assert at_home.registry.version_by_alias("champion") == "1"

    for to, expected in (("1", "in force already"), ("99", "no version 99"), ("previous", "no pr")):
        refused = command.invoke(app, ["rollback", "--to", to])
        assert refused.exit_code == 2
        assert refused.output.startswith(f"rollback to {to} failed in {MOVE_CHAMPION}: ")
        assert expected in refused.output
        assert "Traceback" not in refused.output
        assert "Stack Trace" not in refused.output
    assert at_home.promotions()[-1] == moved
    with dg.DagsterInstance.get() as instance:
        [event] = instance.fetch_observations(dg.AssetKey("champion_model"), limit=10).records
        assert date.fromisoformat(event.partition_key) == at_home.day(13)
