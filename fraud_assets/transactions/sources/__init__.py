"""Where transactions come from: a file, a landing folder, a database or the simulator.

All give raw rows by day through `TransactionSource`. Nothing here judges a row; a day read twice
is the same.
"""

from fraud_assets.transactions.sources.base import AsOf, SourceError, TransactionSource
from fraud_assets.transactions.sources.describe import SourceDescription, describe_source
from fraud_assets.transactions.sources.files import FileSource
from fraud_assets.transactions.sources.landing import LandingFolderSource
from fraud_assets.transactions.sources.simulated import SimulatorSource
from fraud_assets.transactions.sources.sql import SqlSource

__all__ = [
    "AsOf",
    "FileSource",
    "LandingFolderSource",
    "SimulatorSource",
    "SourceDescription",
    "SourceError",
    "SqlSource",
    "TransactionSource",
    "describe_source",
]
