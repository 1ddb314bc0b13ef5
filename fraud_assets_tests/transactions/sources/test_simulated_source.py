"""The simulator as a source, and the view that hides the future."""

from __future__ import annotations

from datetime import date

import pytest

from fraud_assets.transactions.simulator import Simulator, SimulatorConfig
from fraud_assets.transactions.sources import AsOf, SimulatorSource, SourceError, TransactionSource

CONFIG = SimulatorConfig(transactions_per_day=200)
SOURCE = SimulatorSource(CONFIG, date(2026, 1, 1), 3)
D1, D2, D3 = (date(2026, 1, day) for day in (1, 2, 3))


def test_a_simulated_day_is_the_simulator_s_with_its_row_numbers() -> None:
    assert isinstance(SOURCE, TransactionSource)
    assert SOURCE.days() == [D1, D2, D3]
    frame = SOURCE.read_day(D2)
    assert frame.drop("source_row").equals(Simulator(CONFIG).day(1, D2))
    assert frame["source_row"].to_list() == list(range(frame.height))
    assert SOURCE.note(D2) == {"simulated_day": 1}


@pytest.mark.parametrize("day", [date(2025, 12, 31), date(2026, 1, 4)])
def test_a_day_outside_the_simulation_is_refused(day: date) -> None:
    with pytest.raises(SourceError, match=f"{day} is not simulated.*2026-01-01 to 2026-01-03"):
        SOURCE.read_day(day)


def test_the_view_as_of_a_day_hides_what_comes_later() -> None:
    view = AsOf(SOURCE, D2)
    assert isinstance(view, TransactionSource)
    assert view.days() == [D1, D2]
    assert view.read_day(D2).equals(SOURCE.read_day(D2))
    with pytest.raises(SourceError, match="2026-01-03 has not happened"):
        view.read_day(D3)
    with pytest.raises(SourceError, match="2026-01-03 has not happened"):
        view.note(D3)
