"""Settings come from the environment, and a wrong one says which."""

from datetime import date

import pytest
from pydantic import ValidationError

from fraud_assets.clock import SimulationClock
from fraud_assets.settings import Settings


def test_defaults_need_no_service(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.store_sqlalchemy_url == f"sqlite:///{tmp_path}/data/store.db"
    assert settings.mlflow_uri == f"sqlite:///{tmp_path}/data/mlflow.db"
    assert settings.lake_root == f"{tmp_path}/data/lake"
    assert settings.last_day == date(2026, 11, 20)


def test_the_environment_is_read(monkeypatch) -> None:
    monkeypatch.setenv("FRAUD_PROFILE", "cards")
    monkeypatch.setenv("FRAUD_SIMULATOR__TRANSACTIONS_PER_DAY", "1234")
    settings = Settings(_env_file=None)
    assert settings.profile == "cards"
    assert settings.simulator.transactions_per_day == 1234


def test_a_dotenv_file_in_the_working_folder_is_read(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("FRAUD_DAYS=40\n")
    assert Settings().days == 40


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "file"}, "needs FRAUD_SOURCE_PATH"),
        ({"source": "folder"}, "needs FRAUD_SOURCE_PATH"),
        ({"source": "sql", "source_query": "select 1"}, "needs FRAUD_SOURCE_URL"),
        ({"history_days": 60}, "FRAUD_HISTORY_DAYS"),
        ({"source": "carrier pigeon"}, "source"),
        ({"keep_days": 2}, r"FRAUD_KEEP_DAYS \(2\) must be more than FRAUD_API__LATE_DAYS \(2\)"),
        ({"keep_days": 3, "api": {"late_days": 2.5}}, "FRAUD_API__LATE_DAYS"),
    ],
)
def test_an_incomplete_setting_is_named(values, message) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings(_env_file=None, **values)


def test_one_day_more_is_kept_than_a_transaction_may_be_late() -> None:
    assert Settings(_env_file=None, keep_days=3).keep_days == 3
    assert Settings(_env_file=None, keep_days=1, api={"late_days": 0}).keep_days == 1


def test_a_password_is_not_shown() -> None:
    settings = Settings(_env_file=None, store_url="postgresql://me:hunter2@host/db")
    assert "hunter2" not in repr(settings)
    assert "hunter2" in settings.store_sqlalchemy_url


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("", []),
        ("json://a", ["json://a"]),
        ("json://a, mailto://u:p@b/?to=x@c,y@d,slack://T/B/C", None),
        ('["json://a", "mailto://u:p@b/?to=x@c,y@d", "slack://T/B/C"]', None),
    ],
)
def test_alert_urls_are_read_as_text_or_as_a_json_list(monkeypatch, text, urls) -> None:
    monkeypatch.setenv("FRAUD_ALERTS__URLS", text)
    found = [url.get_secret_value() for url in Settings(_env_file=None).alerts.urls]
    assert found == (
        ["json://a", "mailto://u:p@b/?to=x@c,y@d", "slack://T/B/C"] if urls is None else urls
    )


def test_alerts_go_nowhere_by_default() -> None:
    alerts = Settings(_env_file=None).alerts
    assert alerts.urls == []
    assert (alerts.minimum_severity, alerts.silent_after_minutes) == ("warning", None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URLS", '["json://hunter2"'),
        ("URLS", '[{"url": "json://hunter2"}]'),
        ("URLS__0", "json://hunter2"),
        ("MINIMUM_SEVERITY", "hunter2"),
        ("QUIET_DAYS", "-1"),
        ("UI_URL", "ftp://hunter2"),
        ("UNKNOWN", "hunter2"),
    ],
)
def test_a_wrong_alert_setting_is_named_without_what_may_be_secret(
    monkeypatch, name, value
) -> None:
    monkeypatch.setenv(f"FRAUD_ALERTS__{name}", value)
    with pytest.raises(ValidationError, match=name.split("__")[0].lower()) as refused:
        Settings(_env_file=None)
    assert "hunter2" not in str(refused.value)


def test_alert_urls_are_not_shown(monkeypatch) -> None:
    monkeypatch.setenv("FRAUD_ALERTS__URLS", "json://user:hunter2@host")
    assert "hunter2" not in repr(Settings(_env_file=None))


def test_the_clock_moves_forward_only(tmp_path) -> None:
    clock = SimulationClock(tmp_path / "data")
    assert clock.today() is None
    clock.set(date(2025, 1, 3))
    clock.set(date(2025, 1, 3))
    assert SimulationClock(tmp_path / "data").today() == date(2025, 1, 3)
    with pytest.raises(ValueError, match="does not run back"):
        clock.set(date(2025, 1, 2))
