"""Every decision and finding has its words, and what they name exists."""

import re
import shlex
from typing import get_args

import pytest

from fraud_assets.monitoring.policy import ACTIONS, Finding, FindingKind, Guard, Rule
from fraud_assets.monitoring.reporting.remedies import (
    FINDINGS,
    RULES,
    TONES,
    headline,
    model_name,
    steps,
)
from fraud_assets.transactions.profile import MonitoringChoices

CHOICES = MonitoringChoices(healthy_days=4, cooldown_days=9, min_mature_positives=77)
KINDS = get_args(FindingKind)


@pytest.fixture
def every(decision):
    """A decision of each action, of each guard, and with each finding."""
    found = [decision(43, action=action, findings=()) for action in ACTIONS]
    found += [
        decision(43, action="warn", rule="decay", target=None, findings=(), waiting_for=guard)
        for guard in get_args(Guard)
    ]
    found += [
        decision(43, action="warn", target=None, findings=(Finding(kind=kind, text=kind),))
        for kind in KINDS
    ]
    return found


def test_every_rule_action_and_finding_has_its_words():
    assert set(RULES) == set(get_args(Rule))
    assert set(TONES) == set(ACTIONS)
    assert set(FINDINGS) == set(KINDS)


def test_every_headline_is_one_sentence_that_says_what_happens(every):
    for one in every:
        words = headline(one)
        assert words.endswith(".")
        assert len(words) < 100
        if one.target:
            assert ("the rule set" in words) == (
                one.action in ("fall_back", "roll_back", "restore")
            )


def test_a_retraining_that_waits_says_for_what(decision):
    told = {
        guard: headline(decision(43, action="warn", rule="decay", waiting_for=guard))
        for guard in get_args(Guard)
    }

    assert len(set(told.values())) == len(told)
    assert "too few of the new frauds" in told["frauds"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_finding_has_a_remedy_without_holes(decision, kind):
    (step,) = steps(
        decision(43, action="warn", target=None, findings=(Finding(kind=kind, text="x"),)), CHOICES
    )

    assert step.about == FINDINGS[kind]
    assert 60 < len(step.text) < 450
    assert not re.search(r"[{}]|None", step.text)
    assert step.text.endswith(":") == (step.command is not None) or kind == "broken_inputs"


def test_the_limits_of_the_profile_are_in_the_advice(decision):
    findings = tuple(Finding(kind=kind, text="x") for kind in ("broken_inputs", "decay"))
    told = " ".join(one.text for one in steps(decision(43, findings=findings), CHOICES))

    assert "after 4 whole days" in told
    assert "77 mature frauds" in told
    (waiting,) = steps(
        decision(43, action="warn", findings=(), waiting_for="cooldown", target=None), CHOICES
    )
    assert "9 days between two retrainings" in waiting.text


def test_what_a_retraining_waits_for_is_told_in_numbers(decision):
    numbers = {"learnable_frauds": 12, "learnt_frauds": 0, "needed_frauds": 30}
    (waiting,) = steps(
        decision(
            43, action="warn", findings=(), waiting_for="frauds", target=None, numbers=numbers
        ),
        CHOICES,
    )

    assert waiting.text.startswith("12 frauds of the new days can be learnt, 30 are needed")


def test_the_decision_comes_first_and_a_kind_of_finding_is_named_once(decision):
    findings = tuple(Finding(kind=kind, text="x") for kind in ("decay", "drift", "decay"))

    assert [one.about for one in steps(decision(43, findings=findings), CHOICES)] == [
        "change of model", "decay", "drift",
    ]  # fmt: skip


def test_there_is_nothing_to_do_when_nothing_is_wrong(decision):
    calm = decision(43, action="nothing", rule="quiet", findings=(), target=None)

    assert steps(calm, CHOICES) == []


def test_the_assets_and_sensors_that_are_named_exist(every):
    from fraud_assets import assets
    from fraud_assets.sensors import LOOP_SENSOR

    known = {value for value in vars(assets).values() if isinstance(value, str)} | {LOOP_SENSOR}
    named = {
        name
        for one in every
        for step in steps(one, CHOICES)
        for name in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", step.text)
    }
    assert named <= known
    assert {"loop_sensor", "champion_model", "fraud_labels", "quarantined_transactions"} <= named


def test_the_commands_that_are_named_exist(every):
    """They are split as a shell would, and asked of the programs' own declarations."""
    from dagster._cli.asset import asset_materialize_command
    from typer.main import get_command

    from fraud_assets.cli import app

    known = {
        ("fraud-assets", "rollback"): get_command(app).commands["rollback"],
        ("dagster", "asset", "materialize"): asset_materialize_command,
    }
    commands = {one.command for made in every for one in steps(made, CHOICES) if one.command}
    assert len(commands) >= 3
    for command in commands:
        words = shlex.split(command)
        (place,) = [start for start in known if tuple(words[: len(start)]) == start]
        options = {name for one in known[place].params for name in one.opts}
        assert {word for word in words if word.startswith("-")} <= options


def test_a_day_is_closed_again_with_all_but_the_models_and_a_training_has_only_these(every):
    import dagster as dg

    from fraud_assets.definitions import build_defs
    from fraud_assets.settings import Settings

    graph = build_defs(Settings(_env_file=None)).get_repository_def().asset_graph
    models = dg.AssetSelection.groups("models").resolve(graph)
    commands = {one.command for made in every for one in steps(made, CHOICES) if one.command}
    selected = [
        dg.AssetSelection.from_string(words[words.index("--select") + 1]).resolve(graph)
        for words in map(shlex.split, commands)
        if "--select" in words
    ]

    assert len(selected) == 2
    assert models in selected
    assert graph.materializable_asset_keys - models in selected


@pytest.mark.parametrize("champion", ["4", "rules-1"])
def test_the_command_that_undoes_a_change_names_the_model_before(decision, champion):
    (step,) = steps(decision(43, champion=champion, target="9", findings=()), CHOICES)

    assert f"--to {'rules' if champion == 'rules-1' else '4'} " in step.command


def test_a_version_cannot_carry_more_into_the_command(decision):
    (step,) = steps(decision(43, champion="4; rm -rf /", findings=()), CHOICES)

    assert shlex.split(step.command)[:4] == ["fraud-assets", "rollback", "--to", "4; rm -rf /"]


@pytest.mark.parametrize(
    ("version", "name"),
    [("12", "version 12"), ("rules-1", "the rule set rules-1"), ("", "no model")],
)
def test_a_model_has_a_name(version, name):
    assert model_name(version) == name
