"""Who returns, which frauds happen when, and what the covariate shift moves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from fraud_assets.transactions.simulator import (
    CovariateShift,
    FraudScenario,
    KindMix,
    Simulator,
    SimulatorConfig,
)
from fraud_assets.transactions.simulator.config import CHANGE_DAY, default_scenarios

Day = Callable[[int], pl.DataFrame]
FIRST_DAY = date(2026, 1, 1)


def scenario_counts(frame: pl.DataFrame) -> dict[str, int]:
    return dict(frame.drop_nulls("scenario").group_by("scenario").len().iter_rows())


def one_scenario(scenario: FraudScenario, **other: object) -> Simulator:
    quiet = {"label_noise_share": 0.0, "duplicates_share": 0.0, "dirty_share": 0.0, "shift": None}
    return Simulator(SimulatorConfig.model_validate({"scenarios": (scenario,), **quiet, **other}))


def test_most_payers_have_transacted_before(default_day: Day) -> None:
    before = pl.concat([default_day(i)["nameOrig"] for i in range(4)]).unique()
    today = default_day(4)["nameOrig"].drop_nulls()
    assert today.is_in(before.implode()).mean() > 0.9


def test_customers_pay_the_same_payees_again(default_day: Day) -> None:
    pairs = ["nameOrig", "nameDest"]
    before = pl.concat([default_day(i) for i in range(4)]).unique(pairs).select(pairs)
    known = default_day(4).join(before, on=pairs, how="semi").height / default_day(4).height
    assert 0.3 < known < 0.9


def test_customers_have_their_own_amounts(clean_day: Day) -> None:
    logs = (
        pl.concat([clean_day(i) for i in range(4)])
        .filter(pl.col("type") == "PAYMENT")
        .with_columns(pl.col("amount").log())
        .group_by("nameOrig")
        .agg(
            pl.col("amount").std().alias("within"), pl.col("amount").mean().alias("mean"), pl.len()
        )
        .filter(pl.col("len") >= 5)
    )
    within, between = logs["within"].mean(), logs["mean"].std()
    assert isinstance(within, float)
    assert isinstance(between, float)
    assert between > 0.4
    assert within < 1.0


@pytest.mark.parametrize("index", [0, 5, 20, CHANGE_DAY, 35, 51])
def test_frauds_are_rare_and_present_every_day(default_day: Day, index: int) -> None:
    assert 0.002 < default_day(index)["isFraud"].mean() < 0.01


def test_the_default_scenarios_start_and_end_on_their_days(clean_day: Day) -> None:
    for index in (0, CHANGE_DAY - 1, CHANGE_DAY, 51):
        active = {s.name for s in default_scenarios() if s.strength(index) > 0}
        assert set(scenario_counts(clean_day(index))) == active, index
    new = {s.name for s in default_scenarios() if s.start_day == CHANGE_DAY}
    assert {"card_testing", "compromised_merchant"} <= new


def test_every_scenario_has_about_its_share(clean_day: Day) -> None:
    counts = scenario_counts(pl.concat([clean_day(i) for i in range(30, 42)]))
    for scenario in default_scenarios():
        if scenario.strength(30) > 0:
            expected = scenario.share * 20_000 * 12
            assert 0.7 < counts[scenario.name] / expected < 1.3, scenario.name


def test_small_worlds_have_frauds_too() -> None:
    config = SimulatorConfig(transactions_per_day=1_000)
    simulator = Simulator(config)
    frauds = sum(
        simulator.day(i, FIRST_DAY + timedelta(days=i))["isFraud"].sum() for i in range(10)
    )
    assert 20 <= frauds <= 100


def test_a_sudden_scenario_is_at_full_strength_on_its_first_day() -> None:
    simulator = one_scenario(
        FraudScenario(name="mules", kind="mule_payees", share=0.01, start_day=3, episode_days=10)
    )
    counts = [simulator.day(i, FIRST_DAY)["isFraud"].sum() for i in range(5)]
    assert counts[:3] == [0, 0, 0]
    assert all(140 < count < 260 for count in counts[3:])


def test_a_gradual_scenario_grows_and_a_recurring_one_comes_back() -> None:
    gradual = one_scenario(
        FraudScenario(name="mules", kind="mule_payees", share=0.01, growth="gradual", ramp_days=4)
    )
    counts = [gradual.day(i, FIRST_DAY)["isFraud"].sum() for i in range(4)]
    assert counts[0] < 90 < counts[3]
    assert counts == sorted(counts)
    recurring = one_scenario(
        FraudScenario(
            name="mules", kind="mule_payees", share=0.01, growth="recurring",
            period_days=4, active_days=2,
        )
    )  # fmt: skip
    present = [recurring.day(i, FIRST_DAY)["isFraud"].sum() > 0 for i in range(8)]
    assert present == [True, True, False, False] * 2


def test_taken_over_customers_spend_several_times_their_usual(clean_day: Day) -> None:
    days = pl.concat([clean_day(i) for i in range(6)])
    legitimate, fraud = (
        days.filter(pl.col("scenario").is_null())["amount"].median(),
        days.filter(pl.col("scenario") == "account_takeover")["amount"].median(),
    )
    assert isinstance(fraud, float)
    assert isinstance(legitimate, float)
    assert fraud > 3 * legitimate


def test_mules_and_merchants_collect_on_the_same_few_payees_for_days(clean_day: Day) -> None:
    for name, first in (("mule_payees", 4), ("compromised_merchant", CHANGE_DAY)):
        collecting = [
            clean_day(i)
            .filter(pl.col("scenario") == name)
            .group_by("nameDest")
            .len()
            .filter(pl.col("len") >= 3)["nameDest"]
            for i in (first, first + 1)
        ]
        assert 2 <= collecting[0].len() <= 12, name
        assert collecting[0].is_in(collecting[1].implode()).mean() >= 0.5, name
    frauds = clean_day(CHANGE_DAY).filter(pl.col("scenario") == "compromised_merchant")
    assert frauds["nameDest"].value_counts()["count"].max() >= 8
    assert frauds["nameOrig"].n_unique() > 0.9 * frauds.height


def test_tested_cards_pay_tiny_amounts_within_minutes() -> None:
    simulator = one_scenario(
        FraudScenario(
            name="testing", kind="card_testing", share=0.005, frauds_per_episode_day=10,
            episode_days=1, amount_factor=0.05, disguised_share=0.0,
        )
    )  # fmt: skip
    frame = simulator.day(3, FIRST_DAY)
    frauds = frame.filter(pl.col("isFraud") == 1)
    bursts = frauds.group_by("nameOrig").agg(
        pl.len(), (pl.col("timestamp").max() - pl.col("timestamp").min()).alias("length")
    )
    assert (bursts["length"] < timedelta(minutes=30)).all()
    assert bursts["len"].mean() > 5
    usual = frame.filter(pl.col("isFraud") == 0)["amount"].median()
    tiny = frauds["amount"].median()
    assert isinstance(tiny, float)
    assert isinstance(usual, float)
    assert tiny < 0.15 * usual


def wasserstein_in_deviations(reference: pl.Series, current: pl.Series) -> float:
    """Evidently's normalised Wasserstein distance, from quantiles."""
    grid = np.linspace(0.0005, 0.9995, 1_000)
    one, other = (np.quantile(series.to_numpy(), grid) for series in (reference, current))
    return float(np.abs(one - other).mean() / reference.to_numpy().std())


def test_the_covariate_shift_shows_after_its_start_and_not_before() -> None:
    simulator = Simulator(SimulatorConfig(scenarios=(), dirty_share=0.0))
    frames = [
        simulator.day(i, FIRST_DAY + timedelta(days=i)) for i in (10, 16, 23, 28, CHANGE_DAY, 40)
    ]
    reference = frames[0]
    mix = {i: f["type"].value_counts(normalize=True).sort("type") for i, f in enumerate(frames)}
    for position, changed in ((1, False), (2, False), (3, False), (4, True), (5, True)):
        frame = frames[position]
        amount = wasserstein_in_deviations(reference["amount"], frame["amount"])
        activity = [
            f.group_by("nameOrig").len()["len"].cast(pl.Float64) for f in (reference, frame)
        ]
        moved = np.abs(
            mix[0]["proportion"].to_numpy() - mix[position]["proportion"].to_numpy()
        ).sum()
        assert (amount > 0.1) == changed, position
        assert (wasserstein_in_deviations(*activity) > 0.1) == changed, position
        assert (moved > 0.1) == changed, position


def test_a_gradual_shift_spreads_from_customer_to_customer() -> None:
    shift = CovariateShift(start_day=2, gradual_days=4, customer_share=0.8)
    shares = [shift.adopted_share(i) for i in range(8)]
    assert shares == pytest.approx([0, 0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    only = KindMix(cash_in=0, cash_out=0, debit=1, payment=0, transfer=0)
    config = SimulatorConfig(
        scenarios=(), shift=shift.model_copy(update={"kind_mix": only}), dirty_share=0.0
    )
    simulator = Simulator(config)
    debits = [(simulator.day(i, FIRST_DAY)["type"] == "DEBIT").mean() for i in range(6)]
    assert max(debits[:2]) < 0.05
    assert 0.2 < debits[2] < debits[3] < debits[4] < debits[5]


def test_a_shift_that_ends_leaves_the_days_after_as_they_would_have_been() -> None:
    shift = CovariateShift(start_day=2, end_day=3)
    with_shift, without = (
        Simulator(SimulatorConfig(transactions_per_day=1_000, scenarios=(), shift=s))
        for s in (shift, None)
    )
    for index, same in ((1, True), (2, False), (3, True)):
        one, other = (s.day(index, FIRST_DAY) for s in (with_shift, without))
        assert one.equals(other) is same, index
