"""A search that is interrupted goes on, and ends as if it had not been."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from fraud_assets.modeling.estimators import LabelledMatrix, XGBoostEstimator, make_estimator
from fraud_assets.modeling.search.study import fingerprint
from fraud_assets.modeling.search.tuning import FoldRows, TuningResult, tune
from fraud_assets.transactions.profile import TrainingChoices

TRIALS = 9


def sample(n: int, seed: int) -> LabelledMatrix:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, 4)).astype(np.float32)
    logit = 2 * matrix[:, 0] + matrix[:, 1] * matrix[:, 2] - 3
    return LabelledMatrix(matrix, (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8))


def folds() -> list[FoldRows]:
    """The same rows every time, in new objects, as another process would make them."""
    made = []
    for seed in (1, 2):
        validation = sample(500, 100 + seed)
        made.append(FoldRows(sample(800, seed), validation, validation, np.arange(500) // 250))
    return made


def choices(**others: Any) -> TrainingChoices:
    given = {"trials": TRIALS, "max_rounds": 60, "timeout_seconds": 600.0, "seed": 7, **others}
    return TrainingChoices(**given)


def search(path: Path | None, on_trial: Any = None, **others: Any) -> TuningResult:
    return tune(
        "xgboost", folds(), choices(**others), threads=1, on_trial=on_trial, study_path=path
    )


def what_it_found(result: TuningResult) -> dict[str, Any]:
    trials = [{k: v for k, v in trial.items() if k != "seconds"} for trial in result.trials]
    fits = [(fit.rounds, fit.average_precision, fit.margin.tolist()) for fit in result.folds]
    return {
        "params": result.params, "rounds": result.rounds, "trials": trials, "fits": fits,
        "importance": result.param_importance, "deviation": result.deviation,
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole() -> TuningResult:
    """The search without interruption and without a file."""
    return search(None)


class InterruptedSearchError(Exception):
    """Raised in the middle of a search."""


def interrupt_after(trials: int) -> Any:
    def on_trial(number: int, _params: Any, _value: Any) -> None:
        if number == trials - 1:
            raise InterruptedSearchError

    return on_trial


def test_the_sample_search_has_a_best_trial_in_the_middle_and_a_pruned_one(
    whole: TuningResult,
) -> None:
    values = [trial["average_precision"] for trial in whole.trials]
    best = values.index(whole.average_precision)
    assert 1 <= best < 6
    assert any(value is not None for value in values[6:])
    assert None in values


def test_a_file_changes_nothing(whole: TuningResult, tmp_path: Path) -> None:
    assert what_it_found(search(tmp_path / "a" / "b.journal")) == what_it_found(whole)


@pytest.mark.parametrize("after", [1, 4, 6, TRIALS - 1, TRIALS])
def test_a_resumed_search_gives_the_result_of_one_without_interruption(
    whole: TuningResult, tmp_path: Path, after: int
) -> None:
    path = tmp_path / "study.journal"
    with pytest.raises(InterruptedSearchError):
        search(path, interrupt_after(after))
    told: list[int] = []

    resumed = search(path, lambda number, _params, _value: told.append(number))

    assert what_it_found(resumed) == what_it_found(whole)
    assert told == list(range(after, TRIALS))


def test_every_trial_may_be_interrupted(whole: TuningResult, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    for trials in range(1, TRIALS + 1):
        with pytest.raises(InterruptedSearchError):
            search(path, interrupt_after(trials))

    assert what_it_found(search(path)) == what_it_found(whole)


@pytest.mark.parametrize("fit", [1, 2, 6])
def test_a_trial_that_was_cut_off_is_tried_again(
    whole: TuningResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: int
) -> None:
    path, margin, calls = tmp_path / "study.journal", XGBoostEstimator.margin, []

    def breaks(self: XGBoostEstimator, matrix: Any) -> Any:
        calls.append(matrix)
        if len(calls) == fit:
            raise InterruptedSearchError
        return margin(self, matrix)

    monkeypatch.setattr(XGBoostEstimator, "margin", breaks)
    with pytest.raises(InterruptedSearchError):
        search(path)
    monkeypatch.undo()

    assert what_it_found(search(path)) == what_it_found(whole)
    (kept,) = optuna.study.get_all_study_summaries(JournalStorage(JournalFileBackend(str(path))))
    study = optuna.load_study(
        study_name=kept.study_name, storage=JournalStorage(JournalFileBackend(str(path)))
    )
    states = [trial.state.name for trial in study.trials]
    assert states.count("FAIL") == 1
    assert set(states) == {"COMPLETE", "PRUNED", "FAIL"}


def test_a_killed_process_leaves_a_search_that_goes_on(whole: TuningResult, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    script = f"""
import os, signal, threading, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_study import search

def on_trial(number, params, value):
    if number == 2:  # then somewhere in the next trials
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGKILL)).start()

search(Path({str(path)!r}), on_trial)
"""
    died = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()

    assert what_it_found(search(path)) == what_it_found(whole)


def test_a_half_written_last_line_is_dropped(whole: TuningResult, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    with pytest.raises(InterruptedSearchError):
        search(path, interrupt_after(3))
    with path.open("ab") as file:
        file.write(b'{"op_code":6,"worker_id":"9a')

    assert what_it_found(search(path)) == what_it_found(whole)
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_a_finished_search_is_not_searched_again_while_its_file_is_there(
    whole: TuningResult, tmp_path: Path
) -> None:
    path = tmp_path / "study.journal"
    search(path)
    told: list[int] = []

    again = search(path, lambda number, _params, _value: told.append(number))

    assert told == []
    assert what_it_found(again) == what_it_found(whole)


def test_the_seconds_before_the_interruption_count(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    with pytest.raises(InterruptedSearchError):
        search(path, interrupt_after(3), timeout_seconds=1000.0)
    lines = path.read_text().replace('"seconds":0', '"seconds":999999')
    path.write_text(lines)

    assert len(search(path, timeout_seconds=1000.0).trials) == 3


def test_other_choices_start_a_search_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    with pytest.raises(InterruptedSearchError):
        search(path, interrupt_after(3))

    other = search(path, seed=6)

    assert what_it_found(other) == what_it_found(search(None, seed=6))


@pytest.mark.parametrize(
    "content", ["not a journal\nat all\n", "no line", '{"some": "json"}\n', "[1]\n"]
)
def test_a_file_that_is_no_journal_is_named_with_the_remedy(tmp_path: Path, content: str) -> None:
    path = tmp_path / "study.journal"
    path.write_text(content)

    with pytest.raises(ValueError, match=r"study\.journal is not the journal.*delete it"):
        search(path)
    assert path.read_text().startswith(content)


def test_the_fingerprint_is_of_the_content_and_not_of_the_objects() -> None:
    one, other = fold_matrices(folds()), fold_matrices(folds())

    assert name_of(one) == name_of(other)


def test_the_fingerprint_changes_with_whatever_would_change_the_search() -> None:
    matrices = fold_matrices(folds())
    first = matrices[0]
    nudged = first.matrix.copy()
    nudged[-1, -1] += 1
    flipped = first.label.copy()
    flipped[0] = 1 - flipped[0]
    others = [
        name_of([replace(first, matrix=nudged), *matrices[1:]]),
        name_of([replace(first, label=flipped), *matrices[1:]]),
        name_of([replace(first, weight=np.ones(800, dtype=np.float32)), *matrices[1:]]),
        name_of([replace(first, categorical=(1,)), *matrices[1:]]),
        name_of([replace(first, matrix=np.asfortranarray(first.matrix[:, ::-1])), *matrices[1:]]),
        name_of(matrices[::-1]),
        name_of(matrices[:-1]),
        name_of(matrices, choice=2),
        name_of(matrices, family="lightgbm"),
    ]

    assert len({name_of(matrices), *others}) == len(others) + 1


def fold_matrices(rows: list[FoldRows]) -> list[LabelledMatrix]:
    return [matrix for one in rows for matrix in (one.train, one.validation, one.watched)]


def name_of(matrices: list[LabelledMatrix], *, choice: int = 1, family: str = "xgboost") -> str:
    return fingerprint(make_estimator(family), matrices, {"choice": choice})
