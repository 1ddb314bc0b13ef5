"""Which model answers for a transaction, and how that changes while the service runs.

The registry's alias says who is champion, and the store who shares the traffic; nothing here
decides either. Models come by their hash, are made fast in `compiled`, and stay loaded for a
while after they are replaced, so that a rollback takes no loading.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import blake2b
from threading import Lock
from typing import Final, Literal

from fraud_assets.modeling.registry import (
    CHALLENGER,
    CHAMPION,
    Alias,
    ModelRegistry,
    without_password,
)
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.serving.compiled import RowScorer, row_scorer, rules_scorer
from fraud_assets.store import traffic
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.promotions import champion_on

_log = logging.getLogger(__name__)

ServedBy = Literal["champion", "traffic", "rules"]
RULES: Final = "rules"

KEPT: Final = 4
"""Models that stay loaded besides those in use; a boosted model takes a few megabytes."""

_NOT_ASKED: Final = "the registry has not been asked yet"
_NO_CHAMPION: Final = "no champion yet"
_RULES_IN_FORCE: Final = "the rules were put in force"


@dataclass(frozen=True)
class Lineup:
    """Who answers now; never changed, only replaced.

    Attributes:
        champion: the model in force, or the rules.
        rules: what can answer when nothing else can.
        fallback: why the rules answer; None where a model does.
        challenger: scores the same transactions in the shadow; its answers are never given.
        traffic: answers for a share of the transactions.
        share: of the transactions that go to `traffic`, from 0 to 1.
    """

    champion: RowScorer
    rules: RowScorer
    fallback: str | None = None
    challenger: RowScorer | None = None
    traffic: RowScorer | None = None
    share: float = 0.0

    def choose(self, transaction_id: str) -> tuple[RowScorer, ServedBy]:
        """Who answers for a transaction.

        By a hash and not at random: a transaction that is sent again, to another process or after
        a restart, meets the same model. The version is part of what is hashed, so that the next
        experiment does not fall on the same transactions; a larger share keeps those of a smaller.
        """
        if self.traffic is not None:
            hashed = f"{self.traffic.version}\0{transaction_id}".encode("utf-8", "surrogatepass")
            digest = blake2b(hashed, digest_size=8).digest()
            if int.from_bytes(digest, "big") < self.share * 2**64:
                return self.traffic, "traffic"
        return self.champion, RULES if self.champion is self.rules else "champion"


class ServingModels:
    """The lineup in force, and the models that it may change to.

    Args:
        registry: whose aliases are followed.
        store: with the traffic's share and the record of promotions.
        names: of the values that are scored, in their order.
        shadow: whether the challenger scores along.

    `lineup` is read by the event loop and replaced by one assignment; everything else may block
    and belongs in a thread.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        store: PredictionStore,
        names: Sequence[str],
        *,
        shadow: bool,
    ) -> None:
        self._registry = registry
        self._store = store
        self._names = tuple(names)
        self._shadow = shadow
        self._rules = rules_scorer(RuleSet(), names)
        self._loaded: OrderedDict[str, RowScorer] = OrderedDict()
        self._share: tuple[str | None, float] = (None, 0.0)
        self._found: list[str] = []
        self._changing = Lock()
        self.lineup = Lineup(self._rules, self._rules, fallback=_NOT_ASKED)
        self.problems: tuple[str, ...] = ()

    def refresh(self) -> list[str]:
        """Follow the aliases and the traffic's share; returns what changed, in sentences.

        Nothing is raised. What goes wrong stands in `problems` until it is over, is logged when it
        begins, and leaves in force what was: a registry that does not answer the whole lineup, a
        champion that cannot be loaded the model before it. It is tried again by the next call.
        """
        with self._changing:
            self._found = []
            before = self.lineup
            self.lineup = after = self._next(before)
            self._forget()
            for problem in self._found:
                if problem not in self.problems:
                    _log.warning("serving goes on with what is loaded: %s", problem)
            self.problems = tuple(dict.fromkeys(self._found))
        return _changes(before, after)

    def prepare(self, version: str) -> RowScorer:
        """Load a version without using it, so that putting it in force takes no time.

        Raises:
            ModelNotFoundError: there is no such version.
            ModelIntegrityError: its files are not those that were registered.
            MissingFeaturesError: it needs features that the profile does not declare.
        """
        with self._changing:
            return self._load(version)

    def _next(self, now: Lineup) -> Lineup:
        try:
            champion = self._registry.version_by_alias(CHAMPION)
            challenger = self._version(CHALLENGER) if self._shadow else None
        except Exception as error:  # noqa: BLE001  an unreachable registry must not end the service
            self._found.append(f"the registry cannot be asked: {_said(error)}")
            return now
        lineup = self._with_champion(now, champion)
        try:
            current = traffic.current(self._store)
            self._share = (current.version, current.share) if current is not None else (None, 0.0)
        except Exception as error:  # noqa: BLE001  the share of before stays
            self._found.append(f"the store cannot be asked for the traffic: {_said(error)}")
        shared, share = self._share
        in_use = lineup.champion.version
        return replace(
            lineup,
            challenger=self._other("challenger", challenger, in_use),
            traffic=self._other("version with a share", shared, in_use) if share > 0 else None,
            share=share,
        )

    def _version(self, alias: Alias) -> str | None:
        return self._registry.version_by_alias(alias)

    def _with_champion(self, now: Lineup, version: str | None) -> Lineup:
        if version is None:
            return Lineup(self._rules, self._rules, fallback=self._why_rules())
        try:
            return Lineup(self._load(version), self._rules)
        except Exception as error:  # noqa: BLE001  whatever it is, transactions are to be answered
            self._found.append(f"champion {version} cannot be loaded: {_said(error)}")
        if now.champion is not self._rules:
            return Lineup(now.champion, self._rules)
        return Lineup(self._rules, self._rules, fallback=f"champion {version} cannot be loaded")

    def _why_rules(self) -> str:
        try:
            recorded = champion_on(self._store, date.max)
        except Exception as error:  # noqa: BLE001  the rules serve all the same
            self._found.append(f"the store cannot be asked for the promotions: {_said(error)}")
            return _NO_CHAMPION
        return _NO_CHAMPION if recorded is None else _RULES_IN_FORCE

    def _other(self, role: str, version: str | None, champion: str) -> RowScorer | None:
        """A model beside the champion; None where it is none, or cannot serve."""
        if version is None or version == champion:
            return None
        try:
            return self._load(version)
        except Exception as error:  # noqa: BLE001  the champion answers without it
            self._found.append(f"the {role}, {version}, cannot be loaded: {_said(error)}")
            return None

    def _load(self, version: str) -> RowScorer:
        scorer = self._loaded.get(version)
        if scorer is None:
            scorer = row_scorer(self._registry.load(version, threads=1), self._names)
            self._loaded[version] = scorer
        self._loaded.move_to_end(version)
        return scorer

    def _forget(self) -> None:
        """Let go of what has not been used for longest."""
        lineup = self.lineup
        used = {
            one.version
            for one in (lineup.champion, lineup.challenger, lineup.traffic)
            if one is not None
        }
        spare = [version for version in self._loaded if version not in used]
        for version in spare[: max(0, len(spare) - KEPT)]:
            del self._loaded[version]


def _said(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {without_password(lines[0])}"


def _changes(before: Lineup, after: Lineup) -> list[str]:
    found = []
    for role in ("champion", "challenger", "traffic"):
        old, new = getattr(before, role), getattr(after, role)
        if old is not new:
            was, now = (one.version if one is not None else "none" for one in (old, new))
            found.append(f"{role}: {was} -> {now}")
    if before.share != after.share:
        found.append(f"share of the traffic: {before.share:g} -> {after.share:g}")
    return found
