"""A model on disk: the same training gives the same hash, and nothing else is accepted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraud_assets.modeling.bundle import (
    ModelIntegrityError,
    bundle_hash,
    load_bundle,
    read_baselines,
    read_manifest,
    save_bundle,
)
from fraud_assets.modeling.estimators import ESTIMATORS, make_estimator
from fraud_assets.modeling.training import Candidate, train_candidate


@pytest.fixture
def copy(bundle: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle[0], tmp_path / "copy"))


def test_the_same_training_gives_the_same_hash(
    bundle, labelled, split, feature_names, small_profile, tmp_path: Path
) -> None:
    again = train_candidate(labelled, split, feature_names, small_profile, threads=2)

    assert save_bundle(again, tmp_path / "again") == bundle[1]


def test_other_data_gives_another_hash(
    bundle, labelled, split, feature_names, small_profile, tmp_path: Path
) -> None:
    nudged = labelled.with_columns(pl.col("amount") * 1.01)
    other = train_candidate(nudged, split, feature_names, small_profile, threads=1)

    assert save_bundle(other, tmp_path / "other") != bundle[1]


def test_a_loaded_model_scores_as_the_candidate(
    bundle, candidate: Candidate, labelled: pl.DataFrame
) -> None:
    model = load_bundle(*bundle, version="3", threads=2)

    expected = candidate.calibrator.apply(
        candidate.estimator.margin(candidate.encoder.encode(labelled))
    )

    np.testing.assert_array_equal(model.probabilities(labelled), expected)
    assert (model.version, model.model_hash) == ("3", bundle[1])
    assert model.manifest == candidate.manifest
    assert model.policy == candidate.policy


def test_every_file_is_native_or_json_and_none_is_a_pickle(bundle) -> None:
    names = sorted(path.name for path in bundle[0].iterdir())

    assert names == [
        "baselines.json", "calibration.json", "encoder.json", "manifest.json", "model.ubj",
        "policy.json",
    ]  # fmt: skip
    assert all(not path.read_bytes().startswith(b"\x80") for path in bundle[0].iterdir())


@pytest.mark.parametrize(
    "name", ["calibration.json", "encoder.json", "manifest.json", "model.ubj", "policy.json"]
)
def test_a_changed_or_missing_file_is_refused(bundle, copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ModelIntegrityError, match="changed, cut short"):
        load_bundle(copy, bundle[1])

    (copy / name).unlink()
    with pytest.raises(ModelIntegrityError):
        load_bundle(copy, bundle[1])
    with pytest.raises(ModelIntegrityError, match=f"has no {name}"):
        load_bundle(copy, bundle_hash(copy))


def test_baselines_are_under_the_hash_although_scoring_does_not_read_them(
    bundle, copy: Path, labelled: pl.DataFrame
) -> None:
    (copy / "baselines.json").unlink()

    with pytest.raises(ModelIntegrityError, match="changed, cut short"):
        load_bundle(copy, bundle[1])
    model = load_bundle(copy, bundle_hash(copy))
    np.testing.assert_array_equal(
        model.probabilities(labelled), load_bundle(*bundle).probabilities(labelled)
    )


def test_baselines_come_back_as_they_were_fitted(
    bundle, candidate: Candidate, labelled: pl.DataFrame
) -> None:
    found = read_baselines(bundle[0])

    assert found == candidate.baselines
    for name, score in candidate.baselines.scores(labelled).items():
        np.testing.assert_array_equal(found.scores(labelled)[name], score)


@pytest.mark.parametrize("content", ["", "[]", '{"one_rule": null}', '{"logistic": 1'])
def test_baselines_that_cannot_be_read_are_refused_by_name(copy: Path, content: str) -> None:
    (copy / "baselines.json").write_text(content)
    with pytest.raises(ModelIntegrityError, match=r"baselines\.json cannot be read"):
        read_baselines(copy)

    (copy / "baselines.json").unlink()
    with pytest.raises(ModelIntegrityError, match=r"has no baselines\.json"):
        read_baselines(copy)


def test_an_added_or_renamed_file_is_refused(bundle, copy: Path) -> None:
    (copy / "extra.json").write_text("{}")

    with pytest.raises(ModelIntegrityError):
        load_bundle(copy, bundle[1])


def test_parts_that_disagree_about_the_features_are_refused(copy: Path) -> None:
    encoder = json.loads((copy / "encoder.json").read_text())
    encoder["numeric"] = encoder["numeric"][:-1]
    (copy / "encoder.json").write_text(json.dumps(encoder))
    with pytest.raises(ModelIntegrityError, match="its manifest names"):
        load_bundle(copy, bundle_hash(copy))

    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["features"]["is_night"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelIntegrityError, match="fitted on 5 features"):
        load_bundle(copy, bundle_hash(copy))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_file_that_holds_no_model_of_its_family_is_refused(copy: Path, name: str) -> None:
    manifest = json.loads((copy / "manifest.json").read_text()) | {"estimator": name}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (copy / make_estimator(name).file_name).write_text("something else")

    with pytest.raises(ModelIntegrityError, match="cannot be read"):
        load_bundle(copy, bundle_hash(copy))


def test_a_calibrator_that_reverses_the_ranking_is_refused(copy: Path) -> None:
    (copy / "calibration.json").write_text('{"kind": "platt", "slope": -1, "intercept": 0}')

    with pytest.raises(ModelIntegrityError, match="cannot be read"):
        load_bundle(copy, bundle_hash(copy))


def test_another_format_is_refused_with_the_remedy(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text()) | {"format_version": 99}
    (copy / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(ModelIntegrityError, match=r"format 99.*retrain"):
        load_bundle(copy, bundle_hash(copy))


def test_a_bundle_is_never_saved_over_another(bundle, candidate: Candidate) -> None:
    with pytest.raises(FileExistsError, match="new folder"):
        save_bundle(candidate, bundle[0])


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelIntegrityError, match="no such folder"):
        load_bundle(tmp_path / "nowhere", "0" * 64)


def test_the_manifest_can_be_read_alone(bundle, candidate: Candidate) -> None:
    assert read_manifest(bundle[0]) == candidate.manifest
