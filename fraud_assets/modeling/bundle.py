"""A model on disk: native and JSON files in one folder, and a hash over all of them.

Nothing is ever unpickled: a pickle runs code when it is read. Where bundles are kept and which
one is in force belongs in `registry`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final, NewType

from pydantic import ValidationError

from fraud_assets.modeling.baselines import Baselines
from fraud_assets.modeling.calibration import calibrator_from_json
from fraud_assets.modeling.decision import DecisionPolicy
from fraud_assets.modeling.encoding import FeatureEncoder
from fraud_assets.modeling.estimators import make_estimator
from fraud_assets.modeling.manifest import FORMAT_VERSION, ModelManifest
from fraud_assets.modeling.scoring import FraudModel
from fraud_assets.modeling.training import Candidate

BundleHash = NewType("BundleHash", str)
"""SHA-256 over the names and contents of a bundle's files, in hexadecimal."""

ENCODER_FILE: Final = "encoder.json"
CALIBRATION_FILE: Final = "calibration.json"
POLICY_FILE: Final = "policy.json"
MANIFEST_FILE: Final = "manifest.json"
BASELINES_FILE: Final = "baselines.json"
"""Under the hash as everything is, and read for the gate's report only: scoring needs none."""

_DOCUMENTS: Final = (CALIBRATION_FILE, ENCODER_FILE, MANIFEST_FILE, POLICY_FILE)


class ModelIntegrityError(RuntimeError):
    """The files of a model are not those that were registered, or do not fit together."""


def save_bundle(candidate: Candidate, folder: Path) -> BundleHash:
    """Write the candidate's files into `folder`, made if need be, and return their hash.

    The files are free of the clock and of the machine: the same training gives the same hash.

    Raises:
        FileExistsError: the folder holds files already; a bundle is never changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    present = sorted(entry.name for entry in folder.iterdir())
    if present:
        raise FileExistsError(f"{folder} holds {', '.join(present)}: save into a new folder")
    candidate.estimator.save(folder / candidate.estimator.file_name)
    for name, content in (
        (ENCODER_FILE, candidate.encoder),
        (CALIBRATION_FILE, candidate.calibrator),
        (POLICY_FILE, candidate.policy),
        (MANIFEST_FILE, candidate.manifest),
        (BASELINES_FILE, candidate.baselines),
    ):
        # Not sorted: the order of the features is the order of the matrix's columns.
        text = json.dumps(content.model_dump(mode="json"), indent=1, ensure_ascii=False)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    return bundle_hash(folder)


def bundle_hash(folder: Path) -> BundleHash:
    """The hash of the files in `folder`, whatever they are.

    Raises:
        ModelIntegrityError: there is no such folder.
    """
    if not folder.is_dir():
        raise ModelIntegrityError(f"no model at {folder}: there is no such folder")
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()}\n{content}\n".encode())
    return BundleHash(digest.hexdigest())


def load_bundle(
    folder: Path, expected_hash: str, *, version: str = "unregistered", threads: int = 1
) -> FraudModel:
    """Read a model whose files have `expected_hash`, ready to score.

    Args:
        folder: what `save_bundle` wrote.
        expected_hash: from lineage (the registry's tag, the asset's metadata), never from the
            folder itself.
        version: the name under which its predictions are kept.
        threads: threads of one scoring call.

    Raises:
        ModelIntegrityError: a file was changed, added or is missing, holds something else than
            its name says, or the parts disagree about the features.
    """
    actual = bundle_hash(folder)
    if actual != expected_hash:
        raise ModelIntegrityError(
            f"the model at {folder} has hash {actual}, expected {expected_hash}: its files were "
            "changed, cut short or belong to another version; restore them or retrain"
        )
    documents = {name: _read(folder, name) for name in _DOCUMENTS}
    manifest = read_manifest(folder)
    try:
        encoder = FeatureEncoder.model_validate_json(documents[ENCODER_FILE])
        calibrator = calibrator_from_json(documents[CALIBRATION_FILE])
        policy = DecisionPolicy.model_validate_json(documents[POLICY_FILE])
        estimator = make_estimator(manifest.estimator)
    except ValueError as error:  # pydantic's errors are among them
        raise ModelIntegrityError(f"the model at {folder} cannot be read: {error}") from error
    model_file = folder / estimator.file_name
    if not model_file.is_file():
        raise ModelIntegrityError(f"the model at {folder} has no {estimator.file_name}")
    try:
        estimator.load(model_file, threads)
    except ValueError as error:
        raise ModelIntegrityError(f"the model at {folder} cannot be read: {error}") from error
    if encoder.columns != manifest.feature_names:
        raise ModelIntegrityError(
            f"the model at {folder} encodes {', '.join(encoder.columns)}, and its manifest names "
            f"{', '.join(manifest.feature_names)}"
        )
    if estimator.feature_count != len(encoder.columns):
        raise ModelIntegrityError(
            f"the model at {folder} was fitted on {estimator.feature_count} features, and its "
            f"encoder makes {len(encoder.columns)}"
        )
    return FraudModel(
        estimator=estimator,
        encoder=encoder,
        calibrator=calibrator,
        policy=policy,
        manifest=manifest,
        version=version,
        model_hash=actual,
    )


def read_manifest(folder: Path) -> ModelManifest:
    """The manifest of a bundle, without loading the model; its hash is not checked.

    Raises:
        ModelIntegrityError: it is missing, or written by another format.
    """
    content = _read(folder, MANIFEST_FILE)
    try:
        raw: Any = json.loads(content)
        found = raw.get("format_version") if isinstance(raw, dict) else None
        if found != FORMAT_VERSION:
            raise ModelIntegrityError(
                f"the model at {folder} has format {found}, this code reads {FORMAT_VERSION}: "
                "retrain it"
            )
        return ModelManifest.model_validate_json(content)
    except (json.JSONDecodeError, ValidationError) as error:
        raise ModelIntegrityError(f"{folder / MANIFEST_FILE} cannot be read: {error}") from error


def read_baselines(folder: Path) -> Baselines:
    """The baselines that were fitted with a model; the bundle's hash is not checked.

    Raises:
        ModelIntegrityError: they are missing, or cannot be read.
    """
    content = _read(folder, BASELINES_FILE)
    try:
        return Baselines.model_validate_json(content)
    except ValidationError as error:
        raise ModelIntegrityError(f"{folder / BASELINES_FILE} cannot be read: {error}") from error


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.is_file():
        raise ModelIntegrityError(f"the model at {folder} has no {name}")
    return path.read_bytes()
