"""What every family of models has in common: the rows it learns from and the protocol it keeps.

Nothing here knows a library. A family stands in the module of its name; probabilities are the
business of `calibration`, decisions that of `decision`, the rarity of fraud that of `imbalance`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from fraud_assets.modeling.encoding import Matrix

Floats = npt.NDArray[np.floating[Any]]
ParamValues = dict[str, float | int]
Params = Mapping[str, float | int]
OnRound = Callable[[int, float], None]
"""Told the number of a round and the watched rows' average precision after it; may raise."""

EARLY_STOPPING_ROUNDS: Final = 40
"""Rounds without a better average precision on the watched rows before boosting ends."""

MAX_FORMS: Final = 3
"""Prepared forms that one matrix keeps; on a million rows each takes tens of megabytes."""


@dataclass(frozen=True, eq=False)
class LabelledMatrix:
    """Rows to learn from: `matrix` (n, features), `label` (n, 0 or 1), `weight` (n) or None.

    `categorical` lists the columns that hold codes of categories (ranks by frequency, see
    `encoding`) and no quantities. `prepared` holds forms that an estimator made of the rows, see
    `form`.

    Raises:
        ValueError: the shapes do not fit together, or a categorical column is not in the matrix.
    """

    matrix: Matrix
    label: npt.NDArray[Any]
    weight: npt.NDArray[np.float32] | None = None
    categorical: tuple[int, ...] = ()
    prepared: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2:
            raise ValueError(f"the matrix has {self.matrix.ndim} dimensions, expected 2")
        rows, columns = self.matrix.shape
        for name, values in (("label", self.label), ("weight", self.weight)):
            if values is not None and values.shape != (rows,):
                raise ValueError(f"{name} has shape {values.shape}, expected ({rows},)")
        outside = [column for column in self.categorical if not 0 <= column < columns]
        if outside:
            raise ValueError(f"categorical columns {outside} are not among the {columns} columns")

    def form(self, key: Hashable, make: Callable[[], Any]) -> Any:  # noqa: ANN401
        """A form of the rows that a library works on, made by `make` the first time.

        Twenty trials then bin the same rows once per number of bins. The least recently used form
        goes when there are more than `MAX_FORMS`.
        """
        made = self.prepared.pop(key) if key in self.prepared else make()
        self.prepared[key] = made
        while len(self.prepared) > MAX_FORMS:
            del self.prepared[next(iter(self.prepared))]
        return made


class SearchTrial(Protocol):
    """The part of an Optuna trial that a search space needs."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """A whole number from `low` to `high`, both included."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number from `low` to `high`."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:  # noqa: ANN401
        """One of `choices`."""


class Estimator(Protocol):
    """What the rest of the package needs from a trained or trainable model.

    Class weights are unknown here: `LabelledMatrix.weight` says how many rows a row stands for, and
    `imbalance` may have changed the rows. The result of `fit` depends on the rows, the parameters,
    the rounds and the seed, and not on the number of threads.
    """

    name: str
    """The family's key in `ESTIMATORS` and in manifests."""

    file_name: str
    """The file that `save` writes in a bundle."""

    keeps_monotone: bool
    """Whether `fit` takes `monotone`."""

    @property
    def defaults(self) -> ParamValues:
        """Hyper-parameters that are good without a search; a search tries them first."""

    def search_space(self, trial: SearchTrial) -> ParamValues:
        """What `trial` suggests for the hyper-parameters that are worth a search."""

    def fit(
        self,
        train: LabelledMatrix,
        watched: LabelledMatrix | None,
        params: Params,
        *,
        rounds: int,
        seed: int,
        threads: int,
        feature_names: Sequence[str] | None = None,
        monotone: Sequence[int] | None = None,
        on_round: OnRound | None = None,
    ) -> int:
        """Fit, and return the rounds that were kept (1 to `rounds`).

        Args:
            train: rows of the training days, with frauds and legitimate ones.
            watched: rows of later days, with frauds: rounds past the best average precision on
                them are dropped. None keeps all rounds.
            params: hyper-parameters; those left out have the value in `defaults`.
            rounds: most rounds of boosting. A family without rounds fits once and returns 1.
            seed: of everything random in the fit.
            threads: threads of the fit.
            feature_names: names of the columns.
            monotone: per column the direction in which the margin may move with it: 1 up, -1 down,
                0 free. A missing value has no place in that order.
            on_round: told of every round where `watched` is given; a family without rounds calls
                it once, with round 0. What it raises ends the fit and leaves the estimator as it
                was.

        Raises:
            ValueError: only one class in `train`, no fraud in `watched`, another number of columns
                in it, an unknown parameter, names or directions that do not fit the columns, or
                `monotone` given to a family that cannot keep it.
        """

    def margin(self, matrix: Matrix) -> Floats:
        """Scores of rows, shape (n,): higher is more suspicious, any real number.

        On the scale of log-odds or one like it; `calibration` makes probabilities of it.
        """

    def contributions(self, matrix: Matrix) -> Floats:
        """What each feature adds to the margin, shape (n, features + 1); the last is the base.

        Exact: a row's entries sum to its margin, up to rounding.
        """

    @property
    def feature_count(self) -> int:
        """Columns of the matrix that it was fitted on."""

    def save(self, path: Path) -> None:
        """Write the fitted model in its family's own format; equal models, equal bytes.

        Raises:
            ValueError: the suffix is not that of `file_name`.
        """

    def load(self, path: Path, threads: int) -> None:
        """Read what `save` wrote, to be used with `threads` threads.

        Raises:
            ValueError: the file holds no model of this family.
        """


def check_fit(
    estimator: Estimator,
    train: LabelledMatrix,
    watched: LabelledMatrix | None,
    params: Params,
    *,
    feature_names: Sequence[str] | None,
    monotone: Sequence[int] | None,
) -> None:
    """Refuse what no family can learn from; see `Estimator.fit` for the reasons.

    Raises:
        ValueError: names what is wrong and what to do.
    """
    columns = train.matrix.shape[1]
    frauds = int(np.count_nonzero(train.label))
    if frauds in (0, train.label.size):
        raise ValueError(
            f"{frauds} frauds among {train.label.size} training rows: a model needs frauds and "
            "legitimate rows, take more days"
        )
    if watched is not None and watched.matrix.shape[1] != columns:
        raise ValueError(
            f"the watched rows have {watched.matrix.shape[1]} columns, the training rows {columns}"
        )
    if watched is not None and not watched.label.any():
        raise ValueError("no fraud among the watched rows: their average precision is undefined")
    unknown = sorted(set(params) - set(estimator.defaults))
    if unknown:
        raise ValueError(
            f"{estimator.name} has no parameter {', '.join(unknown)}; there are: "
            f"{', '.join(estimator.defaults)}"
        )
    if feature_names is not None and len(feature_names) != columns:
        raise ValueError(f"{len(feature_names)} feature names for {columns} columns")
    if monotone is None:
        return
    if not estimator.keeps_monotone:
        raise ValueError(
            f"{estimator.name} cannot keep monotone constraints: drop training.monotone or choose "
            "a family of trees"
        )
    if len(monotone) != columns or any(direction not in (-1, 0, 1) for direction in monotone):
        raise ValueError(
            f"monotone is {list(monotone)}: give one of -1, 0, 1 for each of {columns} columns"
        )


def watched_average_precision(watched: LabelledMatrix, margin: Floats) -> float:
    """What a family that fits once tells `on_round`; weights count. `watched` holds frauds."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(watched.label, margin, sample_weight=watched.weight))


def check_suffix(path: Path, file_name: str) -> None:
    """Refuse a path whose suffix does not say which format `file_name` has.

    Raises:
        ValueError: names the suffix to use.
    """
    suffix = Path(file_name).suffix
    if path.suffix != suffix:
        raise ValueError(f"{path.name}: this model's format is told by its suffix, use {suffix}")


def passive_waiting() -> None:
    """Let idle OpenMP threads sleep; to be called before a library that uses OpenMP is imported.

    OpenMP reads this once, when the library is loaded. Its default spins at barriers: beside any
    other busy process a training then took up to 10 times its quiet time.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
