"""The model registry: versions, aliases and verified downloads, on MLflow.

Only MLflow's registry and the artefacts of its runs are used here; who opens the runs, and how the
tracking is set up, is the resources' business. Aliases say which version is in force; MLflow's
stages and its "latest" are not used. Nothing is picked because it is the newest.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from fraud_assets.modeling.baselines import Baselines
from fraud_assets.modeling.bundle import (
    ModelIntegrityError,
    bundle_hash,
    load_bundle,
    read_baselines,
    read_manifest,
)
from fraud_assets.modeling.scoring import FraudModel

Alias = Literal["champion", "challenger"]
CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"

HASH_TAG: Final = "sha256"
ARTIFACT_FOLDER: Final = "models"
"""Among a run's artefacts; one folder per hash in it, so that no version overwrites another."""


MAX_DESCRIPTION: Final = 5_000
"""Characters of MLflow's column for the description of a version."""

CUT_NOTE: Final = "\n\n… The whole card is among the artefacts of the evaluation's run.\n"


_CREDENTIALS: Final = re.compile(r"//[^/@]*@")


def without_password(uri: str) -> str:
    """A URI for messages, which may travel as far as an alert.

    >>> without_password("http://me:secret@mlflow:5000")
    'http://***@mlflow:5000'
    """
    return _CREDENTIALS.sub("//***@", uri)


class ModelNotFoundError(LookupError):
    """The registry has no such version."""


@dataclass(frozen=True)
class RegisteredVersion:
    """What the registry knows of one version."""

    version: str
    model_hash: str
    run_id: str
    created_at: datetime
    aliases: tuple[str, ...]
    tags: dict[str, str]
    description: str


class ModelRegistry:
    """Versions of one registered model in an MLflow store or server.

    Args:
        tracking_uri: MLflow's URI, `sqlite:///…` or `http://…`; also that of its registry.
        model_name: the registered model's name.
        cache_dir: folder for downloaded models, one folder per hash; may be deleted at any time.

    MLflow is imported, and its store opened, when a method first needs it: an SQLite file is then
    created or migrated, which took 6 s the first time and 1.5 s after that, next to 3 s of import.
    """

    def __init__(self, tracking_uri: str, model_name: str, cache_dir: Path) -> None:
        self.tracking_uri = tracking_uri
        self.model_name = model_name
        self.cache_dir = cache_dir

    def register(
        self, bundle_folder: Path, model_hash: str, run_id: str, tags: Mapping[str, str]
    ) -> str:
        """Make a version of a bundle, or find the one that it has already; returns its number.

        The files become artefacts of the run, under `models/<hash>/`. The hash covers the data
        windows, the parameters and the code's versions, so equal hashes mean the same training:
        registering it again (a retried run, a day materialised twice) returns the existing version.

        Args:
            bundle_folder: what `save_bundle` wrote.
            model_hash: what `save_bundle` returned.
            run_id: the MLflow run that trained it.
            tags: kept with the version, beside the hash and the windows of the manifest.

        Raises:
            ModelIntegrityError: the folder does not have that hash.
        """
        actual = bundle_hash(bundle_folder)
        if actual != model_hash:
            raise ModelIntegrityError(
                f"the bundle at {bundle_folder} has hash {actual}, not {model_hash}: it changed "
                "since it was saved"
            )
        existing = self.version_by_hash(model_hash)
        if existing is not None:
            return existing
        self._ensure_model()
        place = f"{ARTIFACT_FOLDER}/{model_hash}"
        with _no_progress_bar():
            self._client.log_artifacts(run_id, str(bundle_folder), place)
        artifacts = self._client.get_run(run_id).info.artifact_uri
        manifest = read_manifest(bundle_folder)
        created = self._client.create_model_version(
            self.model_name,
            source=f"{artifacts.rstrip('/')}/{place}",
            run_id=run_id,
            tags={
                **tags,
                HASH_TAG: model_hash,
                "estimator": manifest.estimator,
                "profile": manifest.profile,
                "trained_as_of": manifest.trained_as_of.isoformat(),
                "train_window": str(manifest.train_window),
                "validation_window": str(manifest.validation_window),
                "gate_window": str(manifest.gate_window),
                "policy_version": manifest.policy_version,
            },
        )
        return str(created.version)

    def load(self, version: str, *, threads: int = 1) -> FraudModel:
        """The model of a version, downloaded once and verified against its hash every time.

        Raises:
            ModelNotFoundError: there is no such version.
            ModelIntegrityError: its files are not those that were registered.
        """
        folder = self._verified(version)
        return load_bundle(folder, folder.name, version=version, threads=threads)

    def baselines(self, version: str) -> Baselines:
        """The simple methods that were fitted beside a version; raises as `load` does."""
        return read_baselines(self._verified(version))

    def annotate(self, version: str, description: str) -> None:
        """Let the registry show `description` (Markdown, its model card) with a version.

        A longer one than MLflow's column holds is cut at a line: SQLite would take it, PostgreSQL
        refuses it.
        """
        if len(description) > MAX_DESCRIPTION:
            kept = description[: MAX_DESCRIPTION - len(CUT_NOTE)].rsplit("\n", 1)[0]
            description = kept + CUT_NOTE
        self._client.update_model_version(self.model_name, version, description)

    def set_alias(self, alias: Alias, version: str) -> None:
        """Let `alias` name `version`, and no other any more.

        Raises:
            ModelNotFoundError: there is no such version.
        """
        self.describe(version)
        self._client.set_registered_model_alias(self.model_name, alias, version)

    def remove_alias(self, alias: Alias) -> None:
        """Let `alias` name no version; nothing happens where it names none."""
        if self.version_by_alias(alias) is not None:
            self._client.delete_registered_model_alias(self.model_name, alias)

    def version_by_alias(self, alias: Alias) -> str | None:
        """The version that `alias` names; None where it names none."""
        model = self._found(lambda client: client.get_registered_model(self.model_name))
        return str(model.aliases[alias]) if model is not None and alias in model.aliases else None

    def version_by_hash(self, model_hash: str) -> str | None:
        """The version with this hash; the first one, should there be several."""
        found = self._client.search_model_versions(
            f"name = '{self.model_name}' and tags.{HASH_TAG} = '{model_hash}'"
        )
        return str(min(int(one.version) for one in found)) if found else None

    def describe(self, version: str) -> RegisteredVersion:
        """What is known of a version.

        Raises:
            ModelNotFoundError: there is no such version.
            ModelIntegrityError: it was registered without a hash, by something else than this.
        """
        found = self._found(lambda client: client.get_model_version(self.model_name, version))
        if found is None:
            raise ModelNotFoundError(
                f"{self.model_name} has no version {version} in "
                f"{without_password(self.tracking_uri)}; train a model, or check "
                "FRAUD_MLFLOW_TRACKING_URI"
            )
        if HASH_TAG not in found.tags:
            raise ModelIntegrityError(
                f"{self.model_name} version {version} has no tag '{HASH_TAG}': it was not "
                "registered by this application and cannot be verified"
            )
        return RegisteredVersion(
            version=str(found.version),
            model_hash=found.tags[HASH_TAG],
            run_id=found.run_id,
            created_at=datetime.fromtimestamp(found.creation_timestamp / 1000, tz=UTC),
            aliases=tuple(sorted(found.aliases)),
            tags=dict(found.tags),
            description=found.description or "",
        )

    def versions(self) -> list[str]:
        """Every version's number, oldest first."""
        found = self._client.search_model_versions(f"name = '{self.model_name}'")
        return [str(number) for number in sorted(int(one.version) for one in found)]

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401  mlflow is untyped here
        from mlflow import MlflowClient

        with _less_logging("alembic", "mlflow.store.db.utils"):
            client = MlflowClient(self.tracking_uri, registry_uri=self.tracking_uri)
            # The store is opened, created and migrated by its first use, and says so at length.
            client.search_registered_models(max_results=1)
        return client

    def _ensure_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(self.model_name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _verified(self, version: str) -> Path:
        """The folder of a version's files, named by their hash, which was just compared."""
        expected = self.describe(version).model_hash
        folder = self.cache_dir / expected
        if not folder.is_dir() or bundle_hash(folder) != expected:
            self._download(version, folder)
        return folder

    def _download(self, version: str, folder: Path) -> None:
        from mlflow.artifacts import download_artifacts

        source = self._client.get_model_version_download_uri(self.model_name, version)
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the move is a rename: two processes may load at once.
        with tempfile.TemporaryDirectory(dir=self.cache_dir, prefix=".download-") as temporary:
            with _no_progress_bar():
                local = download_artifacts(
                    artifact_uri=source, dst_path=temporary, tracking_uri=self.tracking_uri
                )
            expected = folder.name
            actual = bundle_hash(Path(local))
            if actual != expected:
                raise ModelIntegrityError(
                    f"{self.model_name} version {version} at {source} has hash {actual}, and was "
                    f"registered with {expected}: its files were changed or cut short; restore "
                    "them, or roll back to another version"
                )
            shutil.rmtree(folder, ignore_errors=True)
            try:
                Path(local).rename(folder)
            except OSError:
                if bundle_hash(folder) != expected:  # else another process was first
                    raise

    def _found(self, ask: Callable[[Any], Any]) -> Any:  # noqa: ANN401
        """The client's answer, or None where the registry says that there is no such thing."""
        from mlflow.exceptions import MlflowException

        try:
            return ask(self._client)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None


@contextmanager
def _less_logging(*names: str) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    # The only switch that MLflow has for it.
    name = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
