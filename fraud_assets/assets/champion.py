"""Which models serve and are watched on a day, loaded or fallen back from.

Not an asset: scoring, models and monitoring share it, so that all mean the same champion.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import dagster as dg

from fraud_assets.modeling.bundle import ModelIntegrityError
from fraud_assets.modeling.registry import ModelNotFoundError, ModelRegistry
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.monitoring.daily.models import Watched
from fraud_assets.partitions import day_after
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.promotions import Promotion


@dataclass(frozen=True)
class ChampionInForce:
    """The model that scores a day; `fallback` says why it is the rules, if it is.

    `version` is that of the model which scores. `is_missing` tells that another was meant to, and
    could not be loaded: `meant`.
    """

    version: str
    model: FraudModel | RuleSet
    fallback: str = ""
    is_missing: bool = False
    meant: str = ""

    @property
    def title(self) -> str:
        """What to call it in a sentence."""
        return "the rule set" if isinstance(self.model, RuleSet) else f"champion {self.version}"


@dataclass(frozen=True)
class Service:
    """A day's champion, in force from the day `since` on, and the models it is compared with.

    `suspended` is the champion that was fallen back from, by the rule `suspended_for`; it is among
    the watched models only if it can be loaded. `by_hand` says that somebody chose the champion.
    """

    champion: ChampionInForce
    watched: Watched
    since: date | None
    suspended: str | None = None
    suspended_for: str = ""
    by_hand: bool = False

    @property
    def never_trained(self) -> bool:
        """Whether no model, nor anything else, was ever put in force."""
        return self.since is None


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
    # Not kept: on another day the rules may serve for another reason.
    if promotion is None:
        return ChampionInForce(rules.version, rules, fallback="no champion yet")
    if promotion.version == rules.version:
        return ChampionInForce(rules.version, rules, fallback=promotion.reason)
    found = _loaded(registry, version)
    if isinstance(found, FraudModel):
        champion = ChampionInForce(version, found)
    else:
        log.warning(f"{day}: the rules score, because the champion, {found}")
        champion = ChampionInForce(
            rules.version, rules, fallback=found, is_missing=True, meant=version
        )
    loaded[version] = champion
    return champion


def service_of(
    store: PredictionStore,
    registry: ModelRegistry,
    day: date,
    *,
    most_formers: int,
    loaded: dict[str, ChampionInForce],
    log: dg.DagsterLogManager,
) -> Service:
    """The champion of `day`, the champion that it stands in for, and `most_formers` before it."""
    from fraud_assets.store.promotions import champion_on, former_champions, suspended_on

    champion = champion_in_force(store, registry, day, loaded, log)
    promotion = champion_on(store, day)
    rules = RuleSet()

    def model(version: str) -> FraudModel | None:
        if version not in loaded:
            found = _loaded(registry, version)
            loaded[version] = (
                ChampionInForce(version, found)
                if isinstance(found, FraudModel)
                else ChampionInForce(rules.version, rules, found, is_missing=True, meant=version)
            )
        kept = loaded[version].model
        return kept if isinstance(kept, FraudModel) else None

    fallback = suspended_on(store, day)
    suspended = fallback.version if fallback is not None else None
    formers: list[FraudModel] = []
    candidates = former_champions(store, day, rules=rules.version)
    # A registry that does not answer is not asked for every champion that there ever was.
    for version in candidates[: most_formers + 2]:
        found = model(version) if version not in (suspended, champion.meant) else None
        if found is not None and len(formers) < most_formers:
            formers.append(found)
    return Service(
        champion=champion,
        watched=Watched(
            in_force=champion.model,
            rules=rules,
            formers=tuple(formers),
            suspended=model(suspended) if suspended is not None else None,
        ),
        since=day_after(promotion.day) if promotion is not None else None,
        suspended=suspended,
        suspended_for=str(fallback.first.numbers.get("rule", "")) if fallback is not None else "",
        by_hand=_is_by_hand(promotion),
    )


def _is_by_hand(promotion: Promotion | None) -> bool:
    """Whether somebody chose the champion, and no decision of the policy did."""
    if promotion is None or promotion.action == "promote":
        return False
    return not promotion.numbers.get("decision_id")


def _loaded(registry: ModelRegistry, version: str) -> FraudModel | str:
    """The model, or why it cannot be loaded."""
    from mlflow.exceptions import MlflowException

    try:
        return registry.load(version)
    # The last two: its files are gone, or the registry's server does not answer.
    except (ModelIntegrityError, ModelNotFoundError, MlflowException, OSError) as error:
        return f"version {version} cannot be loaded: {' '.join(str(error).split())}"
