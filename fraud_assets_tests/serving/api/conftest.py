"""The API on a real server: uvicorn in a thread, a SQLite store, MLflow's registry in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fraud_assets.settings import ApiSettings, Settings
from fraud_assets_tests.serving.api.running_api import Api


@pytest.fixture(scope="session", autouse=True)
def _no_telemetry() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield


@pytest.fixture(scope="session")
def registry_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One registry for all servers: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(scope="session")
def settings_of(registry_uri: str) -> Callable[..., Settings]:
    """Settings for a folder; what is given goes to `ApiSettings`."""

    def make(folder: Path, *, model: str = "none", **api: Any) -> Settings:
        given = {"other_rate": None, "refresh_seconds": 0.1, "dagster_url": "http://127.0.0.1:9"}
        return Settings(
            _env_file=None,
            data_dir=folder,
            mlflow_tracking_uri=registry_uri,
            registered_model=model,
            api=ApiSettings(**{**given, **api}),
        )

    return make


@pytest.fixture(scope="session")
def running() -> Callable[[Settings], Any]:
    """A context with a server."""

    @contextmanager
    def run(settings: Settings) -> Iterator[Api]:
        with ExitStack() as stack:
            api = Api(settings)
            stack.callback(api.stop)
            api.start()
            yield api

    return run


@pytest.fixture(scope="module")
def api(settings_of, running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Without keys and without a model, for one file of tests."""
    with running(settings_of(tmp_path_factory.mktemp("api"))) as started:
        yield started


@pytest.fixture
def own_api(settings_of, running, tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """Starts a server of the test's own, with settings of its own."""
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(running(settings_of(tmp_path, **given)))
