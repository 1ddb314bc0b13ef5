"""A seeded simulator of mobile-money transactions with known frauds.

`config` says what can be chosen, `population` who transacts, `behaviour` what is ordinary,
`scenarios` what is fraud, and `generator` how a day is delivered. Nothing here reads a profile or
writes a file.
"""

from fraud_assets.transactions.simulator.config import (
    CovariateShift,
    FraudScenario,
    KindMix,
    SimulatorConfig,
)
from fraud_assets.transactions.simulator.generator import Simulator

__all__ = ["CovariateShift", "FraudScenario", "KindMix", "Simulator", "SimulatorConfig"]
