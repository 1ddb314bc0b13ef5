"""The registry on a real MLflow store: SQLite and a local artefact folder."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from urllib.parse import urlparse

import polars as pl
import pytest

from fraud_assets.modeling.bundle import ModelIntegrityError
from fraud_assets.modeling.registry import ModelNotFoundError, ModelRegistry


@pytest.fixture(scope="module", autouse=True)
def _no_telemetry():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A tracking URI and an experiment id; the store is migrated once for the module."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    experiment = MlflowClient(uri).create_experiment(
        "fraud", artifact_location=(folder / "artifacts").as_uri()
    )
    return uri, experiment


@pytest.fixture
def run_id(store: tuple[str, str]) -> str:
    from mlflow import MlflowClient

    return str(MlflowClient(store[0]).create_run(store[1]).info.run_id)


@pytest.fixture
def registry(store, tmp_path: Path, request: pytest.FixtureRequest) -> ModelRegistry:
    return ModelRegistry(store[0], request.node.name, tmp_path / "cache")


@pytest.fixture
def other_bundle(bundle, tmp_path: Path) -> tuple[Path, str]:
    """The same model with another policy on paper: another hash."""
    from fraud_assets.modeling.bundle import bundle_hash

    folder = Path(shutil.copytree(bundle[0], tmp_path / "other"))
    policy = folder / "policy.json"
    policy.write_text(policy.read_text().replace('"validation_days": 3', '"validation_days": 4'))
    return folder, bundle_hash(folder)


def artifacts_of(registry: ModelRegistry, version: str, store: tuple[str, str]) -> Path:
    from mlflow import MlflowClient

    source = MlflowClient(store[0]).get_model_version(registry.model_name, version).source
    return Path(urlparse(source).path)


def test_a_registered_model_comes_back_verified(
    registry: ModelRegistry, bundle, run_id: str, model, labelled: pl.DataFrame
) -> None:
    version = registry.register(*bundle, run_id, {"dagster_run_id": "abc"})

    loaded = registry.load(version)

    assert version == "1"
    assert (loaded.version, loaded.model_hash) == ("1", bundle[1])
    assert loaded.score(labelled).equals(model.score(labelled))


def test_a_version_carries_its_hash_and_its_data_windows(
    registry: ModelRegistry, bundle, run_id: str, model
) -> None:
    version = registry.register(*bundle, run_id, {"dagster_run_id": "abc"})

    found = registry.describe(version)

    assert found.model_hash == bundle[1]
    assert found.run_id == run_id
    assert found.aliases == ()
    assert found.tags["dagster_run_id"] == "abc"
    assert found.tags["train_window"] == str(model.manifest.train_window)
    assert found.tags["policy_version"] == model.policy.version


def test_registering_the_same_model_again_returns_its_version(
    registry: ModelRegistry, bundle, other_bundle, run_id: str
) -> None:
    first = registry.register(*bundle, run_id, {})

    assert registry.register(*bundle, run_id, {}) == first
    second = registry.register(*other_bundle, run_id, {})
    assert second != first
    assert registry.register(*bundle, run_id, {}) == first
    assert registry.versions() == [first, second]


def test_a_version_survives_another_one_registered_from_the_same_run(
    registry: ModelRegistry, bundle, other_bundle, run_id: str
) -> None:
    first = registry.register(*bundle, run_id, {})
    registry.register(*other_bundle, run_id, {})

    assert registry.load(first).model_hash == bundle[1]


def test_aliases_name_one_version_at_a_time(
    registry: ModelRegistry, bundle, other_bundle, run_id: str
) -> None:
    assert registry.version_by_alias("champion") is None
    first = registry.register(*bundle, run_id, {})
    second = registry.register(*other_bundle, run_id, {})
    assert registry.version_by_alias("champion") is None

    registry.set_alias("champion", first)
    registry.set_alias("challenger", second)
    assert registry.version_by_alias("champion") == first
    assert registry.describe(second).aliases == ("challenger",)

    registry.set_alias("champion", second)
    assert registry.version_by_alias("champion") == second
    assert registry.describe(first).aliases == ()


def test_a_removed_alias_names_nothing_and_may_be_removed_again(
    registry: ModelRegistry, bundle, run_id: str
) -> None:
    registry.set_alias("champion", registry.register(*bundle, run_id, {}))
    registry.remove_alias("champion")
    assert registry.version_by_alias("champion") is None
    registry.remove_alias("champion")


def test_a_card_longer_than_the_column_is_cut_at_a_line_and_says_so(
    registry: ModelRegistry, store, bundle, run_id: str
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(store[0])
    version = registry.register(*bundle, run_id, {})
    registry.annotate(version, "# Short")
    assert client.get_model_version(registry.model_name, version).description == "# Short"
    registry.annotate(version, "a line of a card\n" * 1_000)
    shown = client.get_model_version(registry.model_name, version).description
    assert len(shown) <= 5_000
    assert shown.startswith("a line of a card\na line")
    assert "a line of a card\n\n… The whole card" in shown


def test_a_version_that_is_not_there_is_named(registry: ModelRegistry, bundle, run_id) -> None:
    with pytest.raises(ModelNotFoundError, match="has no version 1"):
        registry.load("1")
    registry.register(*bundle, run_id, {})
    with pytest.raises(ModelNotFoundError, match="has no version 9"):
        registry.set_alias("champion", "9")
    assert registry.version_by_hash("0" * 64) is None


def test_tampered_artefacts_are_refused(
    registry: ModelRegistry, bundle, run_id: str, store
) -> None:
    version = registry.register(*bundle, run_id, {})
    policy = artifacts_of(registry, version, store) / "policy.json"
    policy.write_text(policy.read_text().replace('"threshold": 0', '"threshold": 1'))

    with pytest.raises(ModelIntegrityError, match="was registered with"):
        registry.load(version)
    assert list(registry.cache_dir.iterdir()) == []


def test_a_damaged_cache_is_fetched_again(registry: ModelRegistry, bundle, run_id: str) -> None:
    version = registry.register(*bundle, run_id, {})
    registry.load(version)
    (registry.cache_dir / bundle[1] / "model.ubj").write_bytes(b"short")

    assert registry.load(version).model_hash == bundle[1]


def test_a_cached_model_needs_no_artefact_store(
    registry: ModelRegistry, bundle, run_id: str, store
) -> None:
    version = registry.register(*bundle, run_id, {})
    registry.load(version)
    shutil.rmtree(artifacts_of(registry, version, store))

    assert registry.load(version).model_hash == bundle[1]


def test_a_bundle_that_changed_since_it_was_saved_is_not_registered(
    registry: ModelRegistry, other_bundle, bundle, run_id: str
) -> None:
    with pytest.raises(ModelIntegrityError, match="changed since it was saved"):
        registry.register(other_bundle[0], bundle[1], run_id, {})
    assert registry.versions() == []


def test_a_version_without_a_hash_is_refused(registry: ModelRegistry, store, run_id: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(store[0])
    client.create_registered_model(registry.model_name)
    artifacts = client.get_run(run_id).info.artifact_uri
    client.create_model_version(registry.model_name, f"{artifacts}/model", run_id)

    with pytest.raises(ModelIntegrityError, match="no tag 'sha256'"):
        registry.load("1")


@pytest.mark.slow
def test_a_new_store_is_created_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    registry = ModelRegistry(f"sqlite:///{tmp_path / 'new.db'}", "fraud", tmp_path / "cache")
    capfd.readouterr()

    with caplog.at_level(logging.INFO):
        assert registry.version_by_alias("champion") is None

    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
