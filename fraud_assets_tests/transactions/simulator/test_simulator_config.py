"""Bad choices are refused with a message that says what to change."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from fraud_assets.transactions.simulator import (
    CovariateShift,
    FraudScenario,
    KindMix,
    SimulatorConfig,
)

MULES = {"name": "mules", "kind": "mule_payees", "share": 0.001}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"transactions_per_day": 1}, "greater than or equal to 100"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"customers": 3}, "greater than or equal to 20"),
        ({"label_noise_share": 0.9}, "less than or equal to 0.2"),
        ({"dirty_share": float("nan")}, "finite number"),
        ({"transactions": 5}, "Extra inputs are not permitted"),
        ({"scenarios": [MULES, MULES]}, "used twice: mules"),
        ({"scenarios": [{**MULES, "share": 0.5}]}, "less than or equal to 0.2"),
        ({"scenarios": [{**MULES, "kind": "phishing"}]}, "'account_takeover', 'mule_payees'"),
        ({"scenarios": [{**MULES, "name": "false_report"}]}, "reserved for label noise"),
        (
            {"scenarios": [{**MULES, "start_day": 5, "end_day": 5}]},
            "'mules': end_day 5 must lie after start_day 5",
        ),
        (
            {"scenarios": [{**MULES, "active_days": 9, "period_days": 3}]},
            "active_days 9 exceeds period_days 3",
        ),
        ({"fraud_delay_min_days": 2.0, "fraud_delay_max_days": 1.0}, "min_days 2 exceeds"),
        ({"fraud_delay_max_days": 5.0}, "before its fraud is reported"),
        ({"kind_mix": {"payment": 0.9}}, "must sum to 1, these sum to 1.52"),
        ({"shift": {"start_day": 9, "end_day": 3}}, "end_day 3 must lie after start_day 9"),
    ],
)
def test_a_bad_choice_is_refused_with_its_reason(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SimulatorConfig.model_validate(bad)
    assert message in str(caught.value)


@pytest.mark.parametrize("model", [SimulatorConfig, FraudScenario, CovariateShift, KindMix])
def test_every_field_is_described_and_the_model_is_frozen(model: type[BaseModel]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []
    assert model.model_config.get("frozen") is True
    assert model.model_config.get("extra") == "forbid"


def test_the_population_follows_the_volume_unless_it_is_given() -> None:
    assert SimulatorConfig(transactions_per_day=200_000).customer_count == 100_000
    assert SimulatorConfig(transactions_per_day=200_000).payee_count == 25_000
    assert SimulatorConfig(customers=50, payees=60).customer_count == 50
    assert SimulatorConfig(customers=50, payees=60).payee_count == 60


def test_a_configuration_survives_json() -> None:
    config = SimulatorConfig(seed=3, shift=None)
    assert SimulatorConfig.model_validate_json(config.model_dump_json()) == config
