"""The definitions load alone, lightly and completely."""

import json
import subprocess
import sys
from datetime import date

import dagster as dg
import pytest

from fraud_assets.assets import CHAMPION, EVALUATION, MODEL
from fraud_assets.definitions import build_defs
from fraud_assets.settings import Settings

HEAVY = (
    "mlflow",
    "evidently",
    "xgboost",
    "lightgbm",
    "imblearn",
    "sklearn",
    "optuna",
    "pandera",
    "matplotlib",
    "scipy",
)

LOAD = """
import json, sys
import fraud_assets.definitions as module
from fraud_assets.settings import Settings
defs = module.build_defs(Settings(_env_file=None))
dg_defs = defs.get_repository_def()
json.dump({"modules": sorted({m.split(".")[0] for m in sys.modules}),
           "assets": sorted(k.to_user_string() for k in dg_defs.asset_graph.get_all_asset_keys())},
          sys.stdout)
"""


@pytest.fixture(scope="module")
def fresh() -> dict[str, list[str]]:
    """What a fresh interpreter knows after loading the definitions."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD], capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(done.stdout)


def test_definitions_load_in_a_fresh_interpreter_without_heavy_libraries(fresh) -> None:
    assert not set(HEAVY) & set(fresh["modules"])


def test_the_graph_has_the_assets_of_the_architecture(fresh) -> None:
    assert fresh["assets"] == [
        "champion_model",
        "debugging_dashboard",
        "drift_report",
        "evaluation_report",
        "fraud_labels",
        "fraud_model",
        "fraud_predictions",
        "loop_decision",
        "performance_report",
        "quarantined_transactions",
        "raw_transactions",
        "transaction_features",
        "validated_transactions",
    ]


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return build_defs(Settings(_env_file=None)).get_repository_def()


def test_every_asset_is_described_owned_grouped_and_has_a_kind(repository) -> None:
    for key in repository.asset_graph.get_all_asset_keys():
        node = repository.asset_graph.get(key)
        assert node.description, key
        assert node.owners, key
        assert node.group_name != "default", key
        assert node.kinds, key
        assert node.code_version, key


def test_every_asset_that_holds_rows_has_a_column_schema(repository) -> None:
    for name in (
        "raw_transactions",
        "validated_transactions",
        "quarantined_transactions",
        "fraud_labels",
        "transaction_features",
        "fraud_predictions",
        "performance_report",
        "loop_decision",
    ):
        node = repository.asset_graph.get(dg.AssetKey(name))
        assert "dagster/column_schema" in node.metadata, name


def test_every_asset_has_one_partition_per_day_and_all_but_models_backfill_in_one_run(
    repository,
) -> None:
    # A candidate is compared with what the day before promoted: models are made day by day.
    day_by_day = {dg.AssetKey(name) for name in (MODEL, EVALUATION, CHAMPION)}
    for key in repository.asset_graph.get_all_asset_keys():
        node = repository.asset_graph.get(key)
        assert isinstance(node.partitions_def, dg.DailyPartitionsDefinition), key
        policy = dg.BackfillPolicy
        expected = policy.multi_run(1) if key in day_by_day else policy.single_run()
        assert node.backfill_policy == expected, key


def test_partitions_are_the_days_of_the_settings() -> None:
    settings = Settings(_env_file=None, first_day=date(2018, 4, 1), days=30, history_days=5)
    repository = build_defs(settings).get_repository_def()
    node = repository.asset_graph.get(dg.AssetKey("raw_transactions"))
    keys = node.partitions_def.get_partition_keys()
    assert (keys[0], keys[-1], len(keys)) == ("2018-04-01", "2018-04-30", 30)


def test_daily_pipeline_is_everything_but_the_models(repository) -> None:
    daily = repository.get_job("daily_pipeline").asset_layer.executable_asset_keys
    training = repository.get_job("retraining").asset_layer.executable_asset_keys
    assert {k.to_user_string() for k in training} == {
        "fraud_model",
        "evaluation_report",
        "champion_model",
    }
    assert not daily & training
    assert daily | training == set(repository.asset_graph.get_all_asset_keys())


def test_a_rollback_is_one_op_and_materialises_no_asset(repository) -> None:
    job = repository.get_job("rollback")
    assert [node.name for node in job.nodes] == ["move_champion"]
    assert not job.asset_layer.executable_asset_keys


def test_the_sensors_are_one_for_days_one_that_acts_and_one_that_tells(repository) -> None:
    asked = {
        sensor.name: {job.name for job in sensor.jobs} if sensor.has_jobs else set()
        for sensor in repository.sensor_defs
    }
    assert asked == {
        "new_day_sensor": {"daily_pipeline"},
        "loop_sensor": {"retraining", "rollback"},
        "alert_sensor": set(),
    }


def test_nothing_starts_by_itself(repository) -> None:
    for sensor in repository.sensor_defs:
        assert sensor.default_status == dg.DefaultSensorStatus.STOPPED, sensor.name
    for schedule in repository.schedule_defs:
        assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED, schedule.name


@pytest.mark.parametrize("profile", ["cards", "ieee_cis", "paysim", "simulator"])
def test_definitions_are_made_for_every_shipped_profile(profile: str) -> None:
    repository = build_defs(Settings(_env_file=None, profile=profile)).get_repository_def()
    assert len(repository.asset_graph.get_all_asset_keys()) == 13


def test_labels_never_flow_from_later_days(repository) -> None:
    """No asset may depend on a later partition of another: that would be the future."""
    graph = repository.asset_graph
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        for parent in node.parent_keys:
            mapping = node.partition_mappings.get(parent)
            end_offset = getattr(mapping, "end_offset", 0) if mapping else 0
            assert end_offset <= 0, (key, parent)
