"""Candidates, their scores and the gate's verdicts: computed once, shared by all policies, kept.

A candidate as of a day depends on that day alone, whoever asks for it. So do its scores of a day,
and the gate's verdict on it depends on the champion beside it. An interrupted benchmark goes on
from what is kept here.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from loop_worlds import World

from fraud_assets.modeling.bundle import load_bundle, save_bundle
from fraud_assets.modeling.evaluation import Evaluation, compare, evaluate
from fraud_assets.modeling.gate import PromotionDecision, decide_promotion
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.modeling.scoring import FraudModel, decided
from fraud_assets.modeling.splits import SplitPlan
from fraud_assets.modeling.training import NotEnoughLabelsError, train_candidate
from fraud_assets.transactions.columns import SCORE, TRANSACTION_ID

RULES = RuleSet()
NOTE = "trained.json"
LATENCY_MS = 0.0
"""Not measured: every candidate takes a millisecond, and on a busy machine the gate's limit would
refuse some of them by chance, another time others."""


@dataclass(frozen=True)
class Trained:
    """What a training came to: a model of this hash, or why there is none; and its cost."""

    model_hash: str | None
    cpu_seconds: float
    refused: str | None = None


class Candidates:
    """All candidates of a world. A version is the day as of which it was trained, or the rules.

    Args:
        world: the days.
        folder: where everything is kept; of this world.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self._folder = folder
        self._models: dict[str, FraudModel] = {}
        self._scores: dict[tuple[str, date], np.ndarray] = {}
        self._evaluations: dict[str, Evaluation] = {}
        self._verdicts: dict[tuple[str, str], PromotionDecision] = {}
        self._labelled: tuple[date, pl.DataFrame] | None = None

    def split(self, day: date) -> SplitPlan:
        """The days of a training as of `day`."""
        plan = self.world.plan
        return SplitPlan.as_of(day, self.world.delay, plan.profile.training, plan.first_day)

    def trained(self, day: date) -> Trained:
        """The candidate as of `day`, trained if it was not yet."""
        models = self._folder / "models"
        note = models / day.isoformat() / NOTE
        if not note.is_file():
            models.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=models) as scratch:
                made = Path(scratch) / "made"
                found = self._train(day, made / "bundle")
                _write(made / NOTE, json.dumps(asdict(found)).encode())
                made.replace(note.parent)  # an interrupted training leaves nothing
        return Trained(**json.loads(note.read_text("utf-8")))

    def model(self, version: str) -> FraudModel | RuleSet:
        """A trained model, or the rules.

        Raises:
            ValueError: the training as of that day gave none.
        """
        if version == RULES.version:
            return RULES
        if version not in self._models:
            model_hash = self.trained(date.fromisoformat(version)).model_hash
            if model_hash is None:
                raise ValueError(f"{self.world.plan.name}: no model as of {version}")
            folder = self._folder / "models" / version / "bundle"
            self._models[version] = load_bundle(folder, model_hash, version=version)
        return self._models[version]

    def score(self, version: str, day: date) -> np.ndarray:
        """Scores of every row of a day, in its order."""
        if (version, day) not in self._scores:
            path = self._folder / "scores" / version / f"{day}.npy"
            if path.is_file():
                found = np.load(path)
            else:
                found = self.model(version).score(self.world.features[day])[SCORE].to_numpy()
                content = io.BytesIO()
                np.save(content, found)
                _write(path, content.getvalue())
            self._scores[version, day] = found
        return self._scores[version, day]

    def scored(self, version: str, days: Sequence[date]) -> pl.DataFrame:
        """`score`, `decision` and `threshold` of every row of `days`."""
        model = self.model(version)
        threshold = model.policy.threshold if isinstance(model, FraudModel) else model.threshold
        return decided(np.concatenate([self.score(version, day) for day in days]), threshold)

    def evaluation(self, version: str) -> Evaluation:
        """A candidate on its own gate days."""
        if version not in self._evaluations:
            path = self._folder / "gate" / f"{version}.json"
            if path.is_file():
                found = Evaluation.model_validate_json(path.read_text("utf-8"))
            else:
                day = date.fromisoformat(version)
                # Its intervals decide nothing at the gate, so they are not worth the time.
                how = {**self._how(day), "samples": 2}
                found = evaluate(self._gate_rows(day, version), **how)
                _write(path, found.model_dump_json().encode())
            self._evaluations[version] = found
        return self._evaluations[version]

    def gate(self, day: date, champion: str) -> PromotionDecision | None:
        """The gate's verdict on the candidate as of `day`; None where there is no candidate.

        As the asset `evaluation_report` asks for it. Left out is the control with shuffled labels,
        which judges the features, and these are the same for all.
        """
        version = day.isoformat()
        if self.trained(day).model_hash is None:
            return None
        if (version, champion) not in self._verdicts:
            path = self._folder / "gate" / f"{version}-over-{champion}.json"
            if path.is_file():
                found = PromotionDecision.model_validate_json(path.read_text("utf-8"))
            else:
                ours, theirs = (self._gate_rows(day, one) for one in (version, champion))
                found = decide_promotion(
                    compare(ours, theirs, **self._how(day)),
                    self.evaluation(version),
                    self.world.profile.gate,
                    latency_ms=LATENCY_MS,
                    champion=champion,
                )
                _write(path, found.model_dump_json(indent=1).encode())
            self._verdicts[version, champion] = found
        return self._verdicts[version, champion]

    def _train(self, day: date, bundle: Path) -> Trained:
        started = time.process_time()
        split = self.split(day)
        validation = sorted({d for fold in split.folds for d in fold.validation_days})
        features = self.world.feature_set
        try:
            candidate = train_candidate(
                self.world.labelled(split.learning_days, day),
                split,
                (features.numeric_names, features.categorical_names),
                self.world.profile,
                threads=1,
                lookback_days=features.lookback_days,
                history_start=self.world.plan.first_day,
                known_by_day=self.world.known_payers(validation, day),
            )
        except NotEnoughLabelsError as error:
            return Trained(None, time.process_time() - started, str(error))
        model_hash = save_bundle(candidate, bundle)
        return Trained(model_hash, time.process_time() - started)

    def _how(self, day: date) -> dict[str, Any]:
        """How the gate of a training as of `day` judges, as in `report.judge_candidate`."""
        profile = self.world.profile
        return {
            "decision": profile.decision,
            "known_by_day": self.world.known_payers(self.split(day).gate_days, day),
            "samples": profile.gate.bootstrap_samples,
            "confidence": profile.gate.confidence,
            "seed": profile.training.seed,
        }

    def _gate_rows(self, day: date, version: str) -> pl.DataFrame:
        """The labelled rows of the gate days of `day`, as `version` scores them."""
        days = self.split(day).gate_days
        if self._labelled is None or self._labelled[0] != day:
            self._labelled = day, self.world.labelled(days, day)
        ids = self.world.of_days(days).select(TRANSACTION_ID)
        scored = pl.concat([ids, self.scored(version, days)], how="horizontal")
        return self._labelled[1].join(
            scored, on=TRANSACTION_ID, validate="1:1", maintain_order="left"
        )


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing, also when it is interrupted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)
