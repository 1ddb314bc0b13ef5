"""What a user is told of a source that a profile was just written for."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from fraud_assets.transactions.profile import Profile
from fraud_assets.transactions.sources import LandingFolderSource, SourceError, describe_source

PROFILE = Profile.model_validate(
    {"name": "mine", "columns": {"time": {"column": "paid_at"}, "amount": {"column": "sum"}}}
)


def test_days_rows_gaps_columns_and_misplaced_rows_are_told(tmp_path: Path) -> None:
    (tmp_path / "2026-01-05.csv").write_text(
        "paid_at,sum\n2026-01-05 10:00:00,1\n2026-01-06 10:00:00,\nsoon,2\n"
    )
    (tmp_path / "2026-01-08.csv").write_text("paid_at,sum,new\n2026-01-08 10:00:00,1,x\n")
    (tmp_path / "2026-01-09.csv").write_text("paid_at,sum\n")
    seen = describe_source(LandingFolderSource(tmp_path), PROFILE, limit=2)
    assert (seen.first_day, seen.last_day) == (date(2026, 1, 5), date(2026, 1, 9))
    assert (seen.day_count, seen.missing_days) == (3, 2)
    assert {day: (d.rows, d.outside) for day, d in seen.days.items()} == {
        date(2026, 1, 5): (3, 2),
        date(2026, 1, 8): (1, 0),
    }
    assert list(seen.columns) == ["paid_at", "sum", "new"]
    assert seen.columns["sum"].null_share == 0.25
    assert seen.columns["sum"].examples == ["1", "2"]
    assert seen.problem is None


def test_a_profile_that_does_not_fit_is_told_and_not_raised(tmp_path: Path) -> None:
    (tmp_path / "2026-01-05.csv").write_text("paidat,sum\nx,1\n")
    seen = describe_source(LandingFolderSource(tmp_path), PROFILE)
    assert "did you mean 'paidat'" in (seen.problem or "")


def test_a_source_without_days_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no day yet"):
        describe_source(LandingFolderSource(tmp_path), PROFILE)
