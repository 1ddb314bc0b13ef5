"""Which model answers, while aliases and shares change under the service."""

from __future__ import annotations

import itertools
import logging
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from fraud_assets.modeling.bundle import bundle_hash
from fraud_assets.modeling.registry import ModelIntegrityError, ModelNotFoundError, ModelRegistry
from fraud_assets.modeling.rules import RuleSet
from fraud_assets.serving import lineup as lineup_module
from fraud_assets.serving.lineup import ServingModels
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.migrate import migrate
from fraud_assets.store.promotions import Promotion, record
from fraud_assets.store.traffic import set_share
from fraud_assets_tests.serving.conftest import NAMES, Registered

_LINES = itertools.count(1)
ROW = [0.0, 10.0, "PAYMENT", 1.0, None, 0.5]


@pytest.fixture
def registry(registered: Registered) -> Iterator[ModelRegistry]:
    """Without aliases, before and after."""
    yield registered.registry
    for alias in ("champion", "challenger"):
        registered.registry.remove_alias(alias)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PredictionStore]:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    migrate(url)
    opened = PredictionStore(url)
    yield opened
    opened.dispose()


@pytest.fixture
def serving(registry: ModelRegistry, store: PredictionStore) -> ServingModels:
    return ServingModels(registry, store, NAMES, shadow=True)


@pytest.fixture
def versions(registered: Registered) -> list[str]:
    return list(registered.versions.values())


def share(store: PredictionStore, version: str | None, part: float) -> None:
    set_share(store, version, part, author="me", reason="a try")


@contextmanager
def without_table(url: str, table: str) -> Iterator[None]:
    """A database that answers every question about `table` with an error."""
    path = url.removeprefix("sqlite:///")

    def rename(old: str, new: str) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA legacy_alter_table = ON")
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")

    rename(table, "elsewhere")
    try:
        yield
    finally:
        rename("elsewhere", table)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the lineup logged, and not MLflow."""
    return [one.getMessage() for one in caplog.records if one.name == lineup_module.__name__]


@pytest.fixture
def broken(
    registered: Registered, bundles: dict[str, tuple[Path, str]], tmp_path: Path
) -> Iterator[tuple[str, Callable[[], Path]]]:
    """A version whose file was changed after it was registered, and what mends it."""
    from mlflow import MlflowClient

    registry = registered.registry
    folder = Path(shutil.copytree(bundles["xgboost"][0], tmp_path / "other"))
    policy = folder / "policy.json"
    policy.write_text(policy.read_text() + "\n" * next(_LINES))  # a hash that no test has cached
    version = registry.register(folder, bundle_hash(folder), registered.run_id, {})
    client = MlflowClient(registry.tracking_uri)
    source = client.get_model_version(registry.model_name, version).source
    file = Path(unquote(urlparse(source).path)) / "policy.json"
    file.write_bytes(file.read_bytes().replace(b"threshold", b"treshold"))
    yield version, lambda: shutil.copy(policy, file)
    client.delete_model_version(registry.model_name, version)
    shutil.rmtree(file.parent)


def test_the_rules_answer_before_the_registry_is_asked(serving: ServingModels) -> None:
    lineup = serving.lineup

    assert lineup.choose("t1") == (lineup.rules, "rules")
    assert lineup.champion is lineup.rules
    assert lineup.fallback == "the registry has not been asked yet"


def test_the_rules_answer_while_there_is_no_champion(serving: ServingModels) -> None:
    assert serving.refresh() == []

    scorer, served_by = serving.lineup.choose("t1")
    assert (scorer.version, served_by) == ("rules-1", "rules")
    assert serving.lineup.fallback == "no champion yet"
    assert serving.problems == ()


def test_rules_that_were_put_in_force_are_told_from_a_beginning(
    serving: ServingModels, store: PredictionStore, registry: ModelRegistry, versions: list[str]
) -> None:
    registry.set_alias("champion", versions[0])
    serving.refresh()
    rules = RuleSet()
    record(
        store,
        Promotion(
            day=date(2025, 3, 1), action="fallback", version=rules.version,
            model_hash=rules.model_hash, previous_version=versions[0], reason="broken input",
        ),
    )  # fmt: skip
    registry.remove_alias("champion")

    assert serving.refresh() == [f"champion: {versions[0]} -> rules-1"]
    assert serving.lineup.fallback == "the rules were put in force"


def test_the_champion_answers(
    serving: ServingModels, registry: ModelRegistry, versions: list[str]
) -> None:
    registry.set_alias("champion", versions[0])

    assert serving.refresh() == [f"champion: rules-1 -> {versions[0]}"]

    scorer, served_by = serving.lineup.choose("t1")
    assert (scorer.version, served_by) == (versions[0], "champion")
    assert scorer.model_hash == registry.describe(versions[0]).model_hash
    assert serving.lineup.fallback is None


def test_a_refresh_without_changes_changes_nothing(
    serving: ServingModels, registry: ModelRegistry, versions: list[str], store: PredictionStore
) -> None:
    registry.set_alias("champion", versions[0])
    registry.set_alias("challenger", versions[1])
    share(store, versions[2], 0.5)
    serving.refresh()
    before = serving.lineup

    assert serving.refresh() == []

    assert serving.lineup == before
    assert serving.lineup.champion is before.champion


def test_the_challenger_is_there_for_the_shadow_and_answers_nothing(
    serving: ServingModels, registry: ModelRegistry, store: PredictionStore, versions: list[str]
) -> None:
    registry.set_alias("champion", versions[0])
    registry.set_alias("challenger", versions[1])

    assert serving.refresh()[1:] == [f"challenger: none -> {versions[1]}"]

    assert serving.lineup.challenger is not None
    assert serving.lineup.challenger.version == versions[1]
    assert {serving.lineup.choose(f"t{i}")[1] for i in range(100)} == {"champion"}
    bright = ServingModels(registry, store, NAMES, shadow=False)
    bright.refresh()
    assert bright.lineup.challenger is None


def test_a_challenger_that_became_champion_is_no_challenger(
    serving: ServingModels, registry: ModelRegistry, versions: list[str]
) -> None:
    registry.set_alias("champion", versions[0])
    registry.set_alias("challenger", versions[0])

    serving.refresh()

    assert serving.lineup.challenger is None


def test_a_share_of_the_traffic_goes_to_its_version(
    serving: ServingModels, registry: ModelRegistry, store: PredictionStore, versions: list[str]
) -> None:
    registry.set_alias("champion", versions[0])
    share(store, versions[1], 0.2)

    changes = serving.refresh()

    assert f"traffic: none -> {versions[1]}" in changes
    assert "share of the traffic: 0 -> 0.2" in changes
    chosen = [serving.lineup.choose(f"t{i}") for i in range(10_000)]
    assert {(scorer.version, by) for scorer, by in chosen} == {
        (versions[0], "champion"),
        (versions[1], "traffic"),
    }
    assert sum(by == "traffic" for _, by in chosen) == pytest.approx(2_000, abs=200)
    share(store, None, 0.0)
    serving.refresh()
    assert serving.lineup.traffic is None


@pytest.mark.parametrize(("part", "served"), [(0.0, "champion"), (1.0, "traffic")])
def test_no_share_is_none_of_the_traffic_and_the_whole_is_all(
    part: float, served: str, serving: ServingModels, registry: ModelRegistry,
    store: PredictionStore, versions: list[str],
) -> None:  # fmt: skip
    registry.set_alias("champion", versions[0])
    share(store, versions[1], part)
    serving.refresh()

    assert {serving.lineup.choose(f"t{i}")[1] for i in range(500)} == {served}


def test_a_transaction_meets_the_same_model_again_and_keeps_it_when_the_share_grows(
    registry: ModelRegistry, store: PredictionStore, versions: list[str]
) -> None:
    registry.set_alias("champion", versions[0])
    chosen = []
    for part in (0.2, 0.2, 0.5):
        share(store, versions[1], part)
        process = ServingModels(registry, store, NAMES, shadow=False)
        process.refresh()
        chosen.append({i for i in range(2_000) if process.lineup.choose(f"t{i}")[1] == "traffic"})

    assert chosen[0] == chosen[1] < chosen[2]


def test_another_version_gets_other_transactions(
    serving: ServingModels, registry: ModelRegistry, store: PredictionStore, versions: list[str]
) -> None:
    registry.set_alias("champion", versions[0])
    chosen = []
    for version in versions[1:3]:
        share(store, version, 0.5)
        serving.refresh()
        chosen.append({i for i in range(2_000) if serving.lineup.choose(f"t{i}")[1] == "traffic"})

    assert 300 < len(chosen[0] & chosen[1]) < 700


def test_an_id_of_half_a_surrogate_pair_can_be_chosen_for(
    serving: ServingModels, registry: ModelRegistry, store: PredictionStore, versions: list[str]
) -> None:
    registry.set_alias("champion", versions[0])
    share(store, versions[1], 1.0)
    serving.refresh()

    assert serving.lineup.choose("\ud800")[1] == "traffic"


def test_a_share_for_the_champion_itself_changes_nothing(
    serving: ServingModels, registry: ModelRegistry, store: PredictionStore, versions: list[str]
) -> None:
    registry.set_alias("champion", versions[0])
    share(store, versions[0], 0.5)
    serving.refresh()

    assert serving.lineup.traffic is None


def test_a_champion_that_cannot_be_loaded_leaves_the_one_before_it(
    serving: ServingModels, registry: ModelRegistry, versions: list[str],
    broken: tuple[str, Callable[[], Path]],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    version, mend = broken
    registry.set_alias("champion", versions[0])
    serving.refresh()
    registry.set_alias("champion", version)

    with caplog.at_level(logging.WARNING, logger="fraud_assets"):
        assert serving.refresh() == []
        assert serving.refresh() == []

    assert serving.lineup.champion.version == versions[0]
    assert serving.lineup.fallback is None
    assert len(serving.problems) == 1
    assert serving.problems[0].startswith(f"champion {version} cannot be loaded: ModelIntegrity")
    assert len(told(caplog)) == 1
    mend()
    assert serving.refresh() == [f"champion: {versions[0]} -> {version}"]
    assert serving.problems == ()


def test_a_first_champion_that_cannot_be_loaded_leaves_the_rules_and_says_so(
    serving: ServingModels, registry: ModelRegistry,
    broken: tuple[str, Callable[[], Path]],
) -> None:  # fmt: skip
    registry.set_alias("champion", broken[0])

    serving.refresh()

    assert serving.lineup.choose("t1")[1] == "rules"
    assert serving.lineup.fallback == f"champion {broken[0]} cannot be loaded"
    assert "ModelIntegrityError" in serving.problems[0]


def test_a_challenger_or_a_traffic_version_that_cannot_be_loaded_is_left_out(
    serving: ServingModels, registry: ModelRegistry, store: PredictionStore, versions: list[str],
    broken: tuple[str, Callable[[], Path]],
) -> None:  # fmt: skip
    registry.set_alias("champion", versions[0])
    registry.set_alias("challenger", broken[0])
    share(store, "999", 0.5)

    serving.refresh()

    assert serving.lineup.champion.version == versions[0]
    assert serving.lineup.challenger is None
    assert serving.lineup.traffic is None
    assert [problem.split(":")[0] for problem in serving.problems] == [
        f"the challenger, {broken[0]}, cannot be loaded",
        "the version with a share, 999, cannot be loaded",
    ]


def test_a_model_whose_features_are_not_declared_cannot_serve(
    registry: ModelRegistry, store: PredictionStore, versions: list[str]
) -> None:
    serving = ServingModels(registry, store, ("amount", "is_night"), shadow=True)
    registry.set_alias("champion", versions[0])

    serving.refresh()

    assert serving.lineup.choose("t1")[1] == "rules"
    assert "payer_amount_ratio" in serving.problems[0]
    assert "does not declare" in serving.problems[0]


def test_a_registry_that_does_not_answer_leaves_the_lineup(
    serving: ServingModels, registry: ModelRegistry, versions: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    registry.set_alias("champion", versions[0])
    serving.refresh()
    before = serving.lineup

    with (
        without_table(registry.tracking_uri, "registered_models"),
        caplog.at_level(logging.WARNING, logger="fraud_assets"),
    ):
        assert serving.refresh() == []
        assert serving.refresh() == []

    assert serving.lineup == before
    assert serving.problems[0].startswith("the registry cannot be asked: ")
    assert len(told(caplog)) == 1
    serving.refresh()
    assert serving.problems == ()


def test_a_store_that_does_not_answer_leaves_the_share_and_not_the_champion(
    serving: ServingModels, registry: ModelRegistry, store: PredictionStore, versions: list[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    registry.set_alias("champion", versions[0])
    share(store, versions[1], 0.5)
    serving.refresh()
    registry.set_alias("champion", versions[2])

    with without_table(f"sqlite:///{tmp_path / 'store.db'}", "traffic"):
        assert serving.refresh() == [f"champion: {versions[0]} -> {versions[2]}"]

    assert serving.lineup.traffic is not None
    assert (serving.lineup.traffic.version, serving.lineup.share) == (versions[1], 0.5)
    assert serving.problems[0].startswith("the store cannot be asked for the traffic: ")


def test_problems_hold_no_password(
    store: PredictionStore, tmp_path: Path, versions: list[str], registered: Registered
) -> None:
    registry = ModelRegistry("nowhere://me:secret@host/x", "fraud", tmp_path / "cache")
    serving = ServingModels(registry, store, NAMES, shadow=False)

    serving.refresh()

    assert serving.problems
    assert "secret" not in "".join(serving.problems)
    assert serving.lineup.choose("t1")[1] == "rules"


def test_going_back_needs_no_loading(
    serving: ServingModels, registry: ModelRegistry, versions: list[str]
) -> None:
    registry.set_alias("champion", versions[0])
    serving.refresh()
    first = serving.lineup.champion
    registry.set_alias("champion", versions[1])
    serving.refresh()
    registry.set_alias("champion", versions[0])
    shutil.rmtree(registry.cache_dir)  # nothing can be loaded without a download

    assert serving.refresh() == [f"champion: {versions[1]} -> {versions[0]}"]

    assert serving.lineup.champion is first
    assert not registry.cache_dir.exists()


def test_only_the_models_used_last_stay_loaded(
    serving: ServingModels, registry: ModelRegistry, versions: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(lineup_module, "KEPT", 1)
    registry.set_alias("champion", versions[0])
    serving.refresh()
    first = serving.lineup.champion
    for version in versions[1:3]:
        registry.set_alias("champion", version)
        serving.refresh()
    second = serving.prepare(versions[1])  # still there: version 1 was the one to go

    registry.set_alias("champion", versions[0])
    serving.refresh()

    assert serving.lineup.champion is not first
    assert serving.prepare(versions[1]) is second


def test_a_prepared_version_is_loaded_and_not_used(
    serving: ServingModels, registry: ModelRegistry, versions: list[str]
) -> None:
    registry.set_alias("champion", versions[0])
    serving.refresh()

    prepared = serving.prepare(versions[1])

    assert prepared.version == versions[1]
    assert serving.lineup.champion.version == versions[0]
    registry.set_alias("champion", versions[1])
    serving.refresh()
    assert serving.lineup.champion is prepared


def test_preparing_what_cannot_serve_is_refused(
    serving: ServingModels, broken: tuple[str, Callable[[], Path]]
) -> None:
    with pytest.raises(ModelNotFoundError):
        serving.prepare("999")
    with pytest.raises(ModelIntegrityError):
        serving.prepare(broken[0])


def test_transactions_are_scored_on_while_aliases_move(
    serving: ServingModels, registry: ModelRegistry, store: PredictionStore, versions: list[str]
) -> None:
    registry.set_alias("champion", versions[0])
    registry.set_alias("challenger", versions[1])
    share(store, versions[1], 0.3)
    serving.refresh()
    expected = {version: serving.prepare(version).score(ROW) for version in versions}
    seen: set[tuple[str, str]] = set()
    wrong: list[object] = []
    over = threading.Event()

    def answer() -> None:
        i = 0
        while not over.is_set():
            i += 1
            try:
                scorer, served_by = serving.lineup.choose(f"t{i}")
                if scorer.score(ROW) != expected[scorer.version]:
                    wrong.append(scorer.version)
            except Exception as error:  # noqa: BLE001
                wrong.append(error)
            seen.add((scorer.version, served_by))

    def move() -> None:
        for turn in range(12):
            registry.set_alias("champion", versions[turn % 4])
            registry.set_alias("challenger", versions[(turn + 1) % 4])
            share(store, versions[(turn + 2) % 4], 0.1 * (turn % 4))
            serving.refresh()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=answer) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        move()
    finally:
        over.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)

    assert wrong == []
    assert {version for version, by in seen if by == "champion"} == set(versions)
    assert {by for _, by in seen} == {"champion", "traffic"}


def test_a_lineup_is_never_changed(serving: ServingModels) -> None:
    with pytest.raises(AttributeError):
        serving.lineup.share = 0.5  # type: ignore[misc]
