"""A store of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.migrate import migrate


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PredictionStore]:
    url = f"sqlite:///{tmp_path}/store.db"
    migrate(url)
    with PredictionStore(url) as opened:
        yield opened
