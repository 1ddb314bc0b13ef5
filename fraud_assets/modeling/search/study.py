"""A search on disk: Optuna's journal, which data and choices it belongs to, and taking it up again.

What is searched and how trials are run belongs in `tuning`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fraud_assets.modeling.estimators import Estimator, LabelledMatrix
from fraud_assets.modeling.manifest import library_versions


def open_study(path: Path | None, name: str | None) -> Any:  # noqa: ANN401  optuna is untyped
    """The study called `name` in the journal at `path`, or a new one; in memory if it is None.

    A trial that a killed process left running is marked as failed, so that it is asked for again,
    and a line that it left half written is dropped: Optuna would append to it, and could read
    nothing from there on.

    Args:
        path: the journal; it and its folder are made if need be.
        name: the study's name, as `fingerprint` gives it.

    Raises:
        ValueError: the file is no journal; says what to do.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    if path is None:
        return optuna.create_study(direction="maximize")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _drop_torn_line(path)
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_NoLock()))
        study = optuna.create_study(
            study_name=name, storage=storage, load_if_exists=True, direction="maximize"
        )
    except (ValueError, KeyError, TypeError) as error:  # what is no journal fails in all three
        raise ValueError(
            f"{path} is not the journal of a search ({error}): delete it to search anew"
        ) from error
    for trial in study.get_trials(states=(TrialState.RUNNING,), deepcopy=False):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def fingerprint(
    estimator: Estimator, matrices: Sequence[LabelledMatrix], choices: Mapping[str, Any]
) -> str:
    """A name for a search that no search of other data, choices or versions has.

    SHA-256 over every byte of the rows: a million rows of twenty columns take a fraction of a
    second, and resuming a study of other data would give a wrong model in silence.

    Args:
        estimator: of the family; its defaults and its search space count.
        matrices: the rows; one that comes twice is read once.
        choices: JSON-able values.
    """
    import optuna

    defaults = optuna.trial.FixedTrial(estimator.defaults)
    estimator.search_space(defaults)
    space = {
        name: optuna.distributions.distribution_to_json(distribution)
        for name, distribution in defaults.distributions.items()
    }
    said = {
        "family": estimator.name,
        "defaults": estimator.defaults,
        "space": space,
        "versions": library_versions(),
        **choices,
    }
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    places: dict[int, int] = {}
    for rows in matrices:
        known = id(rows) in places
        digest.update(f"rows {places.setdefault(id(rows), len(places))}".encode())
        if known:
            continue
        digest.update(f"categorical {rows.categorical}".encode())
        for array in (rows.matrix, rows.label, rows.weight):
            if array is None:
                digest.update(b"none")
                continue
            digest.update(f"{array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class _NoLock:
    """A search belongs to one process, see `tuning.tune`.

    Optuna's own locks are files that a killed process leaves behind, and the next one waits for
    half a minute before it takes them for dead.
    """

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _drop_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        if content and not content.startswith(b"{"):
            raise ValueError("its first line is no JSON object")
        if not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
