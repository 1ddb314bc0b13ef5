"""Which model is in force on a day, loaded or fallen back from.

Not an asset: the scoring and monitoring assets share it, so that both mean the same champion.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import dagster as dg

from fraud_assets.modeling.bundle import ModelIntegrityError
from fraud_assets.modeling.registry import ModelNotFoundError, ModelRegistry
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.store.engine import PredictionStore


@dataclass(frozen=True)
class ChampionInForce:
    """The model that scores a day; `fallback` says why it is the rules, if it is."""

    version: str
    model: FraudModel | RuleSet
    fallback: str = ""
    is_missing: bool = False
    """Whether there is a champion that could not be loaded."""

    @property
    def title(self) -> str:
        """What to call it in a sentence."""
        return "the rule set" if isinstance(self.model, RuleSet) else f"champion {self.version}"


def champion_in_force(
    store: PredictionStore,
    registry: ModelRegistry,
    day: date,
    loaded: dict[str, ChampionInForce],
    log: dg.DagsterLogManager,
) -> ChampionInForce:
    """The version with the latest promotion before `day`, else the rule set.

    A model that cannot be loaded never stops the scoring of a day: the rules score, the
    predictions say so, and the log carries the cause. `loaded` keeps models between days.
    """
    from fraud_assets.store.promotions import champion_on

    promotion = champion_on(store, day)
    version = promotion.version if promotion else ""
    if version in loaded:
        return loaded[version]
    rules = RuleSet()
    if promotion is None:
        champion = ChampionInForce(rules.version, rules, fallback="no champion yet")
    elif promotion.version == rules.version:
        champion = ChampionInForce(rules.version, rules, fallback="rolled back to the rules")
    else:
        from mlflow.exceptions import MlflowException

        try:
            champion = ChampionInForce(version, registry.load(version))
        # The last two: its files are gone, or the registry's server does not answer.
        except (ModelIntegrityError, ModelNotFoundError, MlflowException, OSError) as error:
            why = f"version {version} cannot be loaded: {' '.join(str(error).split())}"
            log.warning(f"{day}: the rules score, because the champion, {why}")
            champion = ChampionInForce(rules.version, rules, fallback=why, is_missing=True)
    loaded[version] = champion
    return champion
