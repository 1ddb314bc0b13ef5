"""What was decided, in words, and what somebody who is woken by it can do.

Only words belong here, with the names of the jobs, assets, sensors and commands that they speak
of; whether anything is wrong is decided in `policy`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from fraud_assets.modeling.reporting.wording import count
from fraud_assets.monitoring.policy import Action, Decision, FindingKind, Guard, Rule
from fraud_assets.transactions.profile import MonitoringChoices

Tone = Literal["calm", "warning", "act"]

TONES: Final[dict[Action, Tone]] = {
    "nothing": "calm", "warn": "warning", "retrain": "warning",
    "fall_back": "act", "roll_back": "act", "restore": "calm",
}  # fmt: skip

RULES: Final[dict[Rule, str]] = {
    "outdated": "a newer day was closed before",
    "unloadable": "the champion cannot be loaded",
    "broken_inputs": "inputs that the champion goes by are broken",
    "healthy": "what the champion was taken out of service for is mended",
    "worse": "another model is shown to be better",
    "first_training": "there is no model yet",
    "decay": "performance has fallen",
    "drift": "inputs have drifted, and the profile retrains for that alone",
    "episode": "more of a change can be learnt",
    "unconfirmed_drift": "inputs drift, and no labels tell what it costs",
    "no_model": "the rules serve, and no model does",
    "growth": "there is much more to learn from",
    "age": "the model is old",
    "findings": "something is out of order, and nothing is gained by acting on it",
    "quiet": "nothing is out of order",
}
"""Each rule of the policy, as the reason for what was decided."""

FINDINGS: Final[dict[FindingKind, str]] = {
    "unloadable": "model",
    "broken_inputs": "broken inputs",
    "quarantine": "quarantine",
    "worse": "better model",
    "decay": "decay",
    "drift": "drift",
    "score_drift": "score drift",
    "alert_rate": "rate of alerts",
    "fraud_rate": "rate of frauds",
    "estimate": "estimate",
    "blind": "no labels",
}
"""What a finding is about, in a word or two."""

_MATERIALIZE: Final = "dagster asset materialize -m fraud_assets.definitions"
_DAILY: Final = "group:transactions or group:features or group:scoring or group:monitoring"


@dataclass(frozen=True)
class Step:
    """One thing to do: what it is about, what to do, and the command for it if there is one."""

    about: str
    text: str
    command: str | None = None


def headline(decision: Decision) -> str:
    """What was decided, in one sentence.

    >>> from datetime import date
    >>> headline(
    ...     Decision(
    ...         day=date(2026, 1, 3), action="fall_back", rule="broken_inputs", champion="4",
    ...         target="rules-1", reason="",
    ...     )
    ... )
    'Falls back from version 4 to the rule set rules-1.'
    """
    was, new = model_name(decision.champion), model_name(decision.target or "")
    if decision.waiting_for is not None:
        return f"A retraining is wanted, and waits: {_GUARDS[decision.waiting_for]}."
    return {
        "nothing": "Nothing to do.",
        "warn": "A warning: nothing was changed.",
        "retrain": "A retraining was asked for.",
        "fall_back": f"Falls back from {was} to {new}.",
        "roll_back": f"Rolls back from {was} to {new}.",
        "restore": f"Puts {new} in force again, in place of {was}.",
    }[decision.action]


_GUARDS: Final[dict[Guard, str]] = {
    "running": "another retraining is running",
    "cooldown": "the last one is too recent",
    "frauds": "too few of the new frauds can be learnt yet",
    "data": "the data must be repaired first",
}


def model_name(version: str) -> str:
    """A model in a sentence.

    >>> model_name("4"), model_name("rules-1"), model_name("")
    ('version 4', 'the rule set rules-1', 'no model')
    """
    if not version:
        return "no model"
    return f"the rule set {version}" if version.startswith("rules-") else f"version {version}"


def steps(decision: Decision, choices: MonitoringChoices) -> list[Step]:
    """What to do next: about the decision, about what it waits for, then finding by finding.

    Each kind of finding is named once, in the order of the decision.
    """
    kinds = dict.fromkeys(one.kind for one in decision.findings)
    found = [*_of_action(decision), *_of_guard(decision, choices)]
    return [*found, *(_of_finding(kind, decision.day, choices) for kind in kinds)]


def _of_action(decision: Decision) -> Iterator[Step]:
    day, action = decision.day, decision.action
    if action == "retrain":
        yield Step(
            "retraining",
            "loop_sensor requests the job retraining for this day; see that it is on and that the "
            "run goes through. The gate decides whether the challenger goes live, so nothing is "
            "lost if it is no better: evaluation_report has its page. By hand:",
            f"{_MATERIALIZE} --select group:models --partition {day}",
        )
    elif action in ("fall_back", "roll_back", "restore"):
        yield Step(
            "change of model",
            f"loop_sensor requests the job rollback, and {model_name(decision.target or '')} "
            "scores from the next day on; see that the sensor is on and champion_model says so. "
            f"If it was wrong, put {model_name(decision.champion)} back:",
            f"fraud-assets rollback --to {_rollback_name(decision.champion)} --reason '…'",
        )


def _rollback_name(version: str) -> str:
    return "rules" if version.startswith("rules-") else shlex.quote(version)


def _of_guard(decision: Decision, choices: MonitoringChoices) -> Iterator[Step]:
    if decision.waiting_for is None:
        return
    numbers = decision.numbers
    text = {
        "running": "Wait for the run of the job retraining. If it hangs, terminate it in the UI; "
        "the next day is decided without it.",
        "cooldown": f"There are {count(choices.cooldown_days, 'day')} between two retrainings; "
        "the loop asks again by itself when they are over. Only hurry if you know that the last "
        "one went wrong:",
        "frauds": f"{numbers.get('learnable_frauds', 'too few')} frauds of the new days can be "
        f"learnt, {numbers.get('needed_frauds', 'more')} are needed; labels mature day by day, and "
        "the loop asks again by itself. A training now would learn the old world again. If it "
        "takes too long, see that analysts' labels and chargebacks arrive (fraud_labels).",
        "data": "Repair the data first, as below: a retraining would learn the damage.",
    }[decision.waiting_for]
    by_hand = f"{_MATERIALIZE} --select group:models --partition {decision.day}"
    command = by_hand if decision.waiting_for == "cooldown" else None
    yield Step("waiting", text, command)


_REMEDIES: Final[dict[FindingKind, str]] = {
    "unloadable": (
        "Compare the version's files in MLflow with the hash in fraud_model's metadata, and put "
        "the right ones back: a model whose hash is not the registered one is never loaded. The "
        "loop restores it by itself at the close of the first day on which it loads. Then score "
        "the day again:"
    ),
    "broken_inputs": (
        "See below which inputs and how, and ask who delivers them: was a column renamed or "
        "emptied, did its unit or its codes change? After the repair have the day delivered again "
        "and close it again; a champion that was fallen back from serves again after {healthy}."
    ),
    "quarantine": (
        "See below by which rules, and the rows themselves in quarantined_transactions. If the "
        "rows are wrong, have them delivered again; if the rule is, correct the profile. Then "
        "close the day again:"
    ),
    "worse": (
        "See below, among the other models, by how much and on how many days. The loop has chosen "
        "the better one already. Ask what the champion learnt from: its page and its card are in "
        "MLflow, beside its files."
    ),
    "decay": (
        "See whether the inputs have moved (below) or only the frauds: what do the alerts of the "
        "last days have in common, and the frauds that were missed? If a campaign is under way, "
        "stopping its payees helps sooner than a model. The loop retrains as soon as {frauds}, and "
        "enough of the new days, can be learnt."
    ),
    "drift": (
        "Look at the inputs with the largest weight below, then at their pictures in Evidently's "
        "report. A release, a holiday, a new kind of customer? If it is a feed that has changed, "
        "repair it. Drift alone costs nothing and is no reason to retrain: before the labels of "
        "these days have matured, a training would learn the old world again."
    ),
    "score_drift": (
        "See below which inputs have moved and what the model makes of them. The threshold is "
        "frozen with the model, so that the number of alerts follows the scores: tell the analysts."
    ),
    "alert_rate": (
        "Tell the analysts. With more alerts than they can review, those with the highest scores "
        "come first, as below. With far fewer, see whether an input that raises scores has gone."
    ),
    "fraud_rate": (
        "More frauds: a campaign; look at the payees and kinds that they share. Fewer: see whether "
        "labels are missing (fraud_labels by day) before you are glad. Average precision rises and "
        "falls with the rate of frauds: compare it at the gate's rate, below."
    ),
    "estimate": (
        "The scores no longer say how many frauds there are: money that is planned by them is off, "
        "and so are the estimates of the days without labels. Go by what is realised, until a "
        "retraining calibrates anew."
    ),
    "blind": (
        "No fraud is known of a day whose labels should be there. See whether chargebacks and "
        "analysts' labels have arrived (fraud_labels by day). When they have been delivered, close "
        "the day again:"
    ),
}

_CLOSED_AGAIN: Final = frozenset({"unloadable", "broken_inputs", "quarantine", "blind"})


def _of_finding(kind: FindingKind, day: date, choices: MonitoringChoices) -> Step:
    text = _REMEDIES[kind].format(
        healthy=count(choices.healthy_days, "whole day"),
        frauds=count(choices.min_mature_positives, "mature fraud"),
    )
    again = f'{_MATERIALIZE} --select "{_DAILY}" --partition {day}'
    return Step(FINDINGS[kind], text, again if kind in _CLOSED_AGAIN else None)
