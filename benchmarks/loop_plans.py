"""The worlds of the closed-loop experiment: what changes in each, and when.

Only declarations. The days themselves are made in `loop_worlds`, what is done about them stands in
`loop_policies`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from handbook_data import FIRST_DAY as HANDBOOK_FIRST_DAY
from handbook_data import LAST_DAY as HANDBOOK_LAST_DAY

from fraud_assets.transactions.profile import Profile, load_profile
from fraud_assets.transactions.simulator import (
    CovariateShift,
    FraudScenario,
    KindMix,
    SimulatorConfig,
)

SIMULATED_FIRST_DAY = date(2026, 1, 1)
HISTORY_DAYS = 21
"""As in the demo: enough for a first champion whose reference days have full windows."""

LIVE_DAYS = 60
VOLUME = 20_000
SEED = 20260101
NO_SEARCH = {"trials": 0}
"""The default parameters: some four hundred candidates are trained. It is so for all policies."""

HANDBOOK_ALIKE = {"max_train_rows": 60_000, "folds": 1}
"""For its 123 candidates to be affordable. The simulator keeps its two folds: with one, the young
history of the first champion stopped at 24 trees, and that of the next day's candidate at 150."""

HANDBOOK_HISTORY_DAYS = 60


@dataclass(frozen=True)
class Change:
    """A true change of the frauds, as day indices: begun on `first`, complete on `complete`.

    `end` is the first day of the next regime, or the first that is not simulated.
    """

    first: int
    complete: int
    end: int


@dataclass(frozen=True)
class Plan:
    """A world before it is made. `source` is a simulator's configuration or the Handbook's file."""

    name: str
    title: str
    profile: Profile
    source: SimulatorConfig | Path
    first_day: date
    history_days: int
    live_days: int
    changes: tuple[Change, ...] = ()
    covariate_shift: int | None = None

    @property
    def days(self) -> list[date]:
        """Every day, history first."""
        count = self.history_days + self.live_days
        return [self.first_day + timedelta(days=i) for i in range(count)]

    @property
    def live(self) -> list[date]:
        """The days after the history."""
        return self.days[self.history_days :]

    def day(self, index: int) -> date:
        """The date of a day index."""
        return self.first_day + timedelta(days=index)

    @property
    def fingerprint(self) -> str:
        """Of everything that days, candidates and verdicts depend on, but the code."""
        source = self.source
        told: dict[str, Any] = {
            "source": str(source.resolve()) if isinstance(source, Path) else source.model_dump(),
            "profile": self.profile.model_dump(exclude={"monitoring", "description"}),
            "days": [str(self.first_day), self.history_days, self.live_days],
        }
        text = json.dumps(told, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


def sudden(seed: int) -> Plan:
    """As in the demo: the frauds change overnight, on the day on which a new channel opens."""
    change = HISTORY_DAYS + 15
    return _simulated(
        "sudden", "sudden change of the frauds, with a new channel", seed,
        scenarios=(*_old(end=change), _mules(), *_new(change)),
        shift=CovariateShift(start_day=change),
        changes=[(change, change)],
    )  # fmt: skip


def gradual(seed: int) -> Plan:
    """New frauds grow over two weeks while the old fade, and customers move to a new channel."""
    change, ramp = HISTORY_DAYS + 12, 14
    fading = [_old(end=change + ramp * (i + 1) // 4, part=i)[0] for i in range(4)]
    return _simulated(
        "gradual", "gradual change of the frauds over 14 days, with a new channel", seed,
        scenarios=(*fading, _mules(), *_new(change, growth="gradual", ramp_days=ramp)),
        shift=CovariateShift(start_day=change, gradual_days=ramp),
        changes=[(change, change + ramp - 1)],
    )  # fmt: skip


def recurring(seed: int) -> Plan:
    """Two ways of fraud that take turns of 16 days; nothing else changes, so no input warns."""
    change, turn = HISTORY_DAYS + 12, 16
    pause = {"growth": "recurring", "period_days": 2 * turn, "active_days": turn}
    again = _takeover("account_takeover_again", start_day=change + turn, **pause)
    return _simulated(
        "recurring", "two ways of fraud that take turns of 16 days", seed,
        scenarios=(*_old(end=change), again, _mules(), *_new(change, **pause)),
        shift=None,
        changes=[(change + i * turn, change + i * turn) for i in range(3)],
    )  # fmt: skip


def covariate(seed: int) -> Plan:
    """Customers spend more, more often, by a new channel, and the frauds stay as they are.

    Three of four inputs drift, and nothing is to be learnt: three weeks after the change a model
    of before had an average precision of .45, and one that was trained since .46.
    """
    shift = CovariateShift(start_day=HISTORY_DAYS + 15, new_payee_share=0.0, kind_mix=KindMix())
    return _simulated(
        "covariate", "a new channel and the same frauds (no retraining is needed)", seed,
        scenarios=(*_old(end=None), _mules()),
        shift=shift,
        changes=[],
    )  # fmt: skip


def quick(seed: int) -> Plan:
    """A small world for trying the benchmark: its numbers mean nothing."""
    change = HISTORY_DAYS + 4
    return _simulated(
        "quick", "a small world to try the benchmark on", seed,
        scenarios=(*_old(end=change), _mules(), *_new(change)),
        shift=CovariateShift(start_day=change),
        changes=[(change, change)],
        live_days=18,
        volume=3_000,
    )  # fmt: skip


WORLDS = {
    "sudden": sudden, "gradual": gradual, "recurring": recurring, "covariate": covariate,
    "quick": quick,
}  # fmt: skip


def handbook_plan(path: Path) -> Plan:
    """The Handbook's 183 days: its frauds never change their ways."""
    profile = _affordable(load_profile("cards"), **HANDBOOK_ALIKE)
    days = (HANDBOOK_LAST_DAY - HANDBOOK_FIRST_DAY).days + 1
    return Plan(
        name="handbook",
        title="the Fraud Detection Handbook's days (no change is known)",
        profile=profile,
        source=path,
        first_day=HANDBOOK_FIRST_DAY,
        history_days=HANDBOOK_HISTORY_DAYS,
        live_days=days - HANDBOOK_HISTORY_DAYS,
    )


def _affordable(profile: Profile, **training: Any) -> Profile:  # noqa: ANN401
    chosen = profile.training.model_copy(update={**NO_SEARCH, **training})
    return profile.model_copy(update={"training": chosen})


def _simulated(
    name: str,
    title: str,
    seed: int,
    *,
    scenarios: tuple[FraudScenario, ...],
    shift: CovariateShift | None,
    changes: Sequence[tuple[int, int]],
    live_days: int = LIVE_DAYS,
    volume: int = VOLUME,
) -> Plan:
    ends = [*(first for first, _ in changes[1:]), HISTORY_DAYS + live_days]
    return Plan(
        name=name,
        title=title,
        profile=_affordable(load_profile("simulator")),
        source=SimulatorConfig(
            seed=seed, transactions_per_day=volume, scenarios=scenarios, shift=shift
        ),
        first_day=SIMULATED_FIRST_DAY,
        history_days=HISTORY_DAYS,
        live_days=live_days,
        changes=tuple(
            Change(first, complete, end)
            for (first, complete), end in zip(changes, ends, strict=False)
        ),
        covariate_shift=shift.start_day if shift else None,
    )


def _takeover(name: str, share: float = 0.0032, **when: Any) -> FraudScenario:  # noqa: ANN401
    """The demo's frauds before the change: customers are taken over for large amounts."""
    return FraudScenario(
        name=name, kind="account_takeover", share=share, frauds_per_episode_day=5.0,
        episode_days=3, amount_factor=6.0, **when,
    )  # fmt: skip


def _old(end: int | None, part: int | None = None) -> tuple[FraudScenario, ...]:
    """The old frauds until `end`; or a quarter of them, as they can only fade in parts."""
    if part is None:
        return (_takeover("account_takeover", end_day=end),)
    return (_takeover(f"account_takeover_{part}", share=0.0008, end_day=end),)


def _mules() -> FraudScenario:
    """What stays as it is."""
    return FraudScenario(
        name="mule_payees", kind="mule_payees", share=0.0015, frauds_per_episode_day=7.0,
        episode_days=12, amount_factor=1.8,
    )  # fmt: skip


def _new(start: int, **growth: Any) -> tuple[FraudScenario, ...]:  # noqa: ANN401
    """The demo's frauds after the change."""
    return (
        FraudScenario(
            name="account_takeover_modest", kind="account_takeover", start_day=start,
            share=0.0006, frauds_per_episode_day=3.0, episode_days=4, amount_factor=1.8, **growth,
        ),
        FraudScenario(
            name="card_testing", kind="card_testing", start_day=start, share=0.0032,
            frauds_per_episode_day=14.0, episode_days=1, amount_factor=0.05, **growth,
        ),
        FraudScenario(
            name="compromised_merchant", kind="compromised_merchant", start_day=start,
            share=0.0032, frauds_per_episode_day=16.0, episode_days=14, **growth,
        ),
    )  # fmt: skip
