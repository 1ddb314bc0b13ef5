"""One worker of the scoring service, from a transaction to an answer that is kept."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from fraud_assets.features.batch import compute_features
from fraud_assets.features.definitions import FeatureSet
from fraud_assets.modeling.scoring import FraudModel, score_day
from fraud_assets.serving.requests import (
    ConflictError,
    RefusedTransactionError,
    UnavailableError,
)
from fraud_assets.serving.service import ScoringService
from fraud_assets.settings import Settings
from fraud_assets.store.answers import get_answer, newest_answers
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.labels import AnalystLabel, append_labels

from .service_world import (
    World,
    answers_of,
    make_world,
    request_of,
    requests_of,
    running,
    settings_in,
    transaction_of,
    up,
)


@pytest.fixture(scope="session")
def world() -> World:
    return make_world()


@pytest.fixture
def champion(registered) -> Iterator[str]:
    """The version of the boosted model, in force for this test."""
    version = registered.versions["xgboost"]
    registered.registry.set_alias("champion", version)
    yield version
    registered.registry.remove_alias("champion")


@pytest.fixture
def settings(registered, champion, world: World, tmp_path: Path) -> Settings:
    """With all days but the last two in the lake."""
    found = settings_in(tmp_path, registered.registry.tracking_uri)
    world.write(found.lake_root, world.days[:-2])
    return found


def live_rows(world: World) -> pl.DataFrame:
    return pl.concat([world.transactions[day] for day in world.days[-2:]])


def batch_predictions(world: World, model: FraudModel) -> pl.DataFrame:
    """The live rows as the daily scoring would have them, from the labels of the lake's days."""
    features = compute_features(
        FeatureSet.from_profile(world.profile),
        pl.concat(world.transactions.values()),
        pl.concat([world.labels[day] for day in world.days[:-2]]),
        world.days[-2:],
    )
    return score_day(model, features)


def test_answers_are_the_predictions_of_the_batch(
    settings: Settings, world: World, models, champion: str
) -> None:
    async def serve() -> list:
        async with running(settings) as service:
            return await answers_of(service, requests_of(live_rows(world)))

    answers = asyncio.run(serve())
    expected = batch_predictions(world, models["xgboost"])
    assert [one.transaction_id for one in answers] == expected["transaction_id"].to_list()
    found = pl.Series([one.score for one in answers])
    assert float((found - expected["score"]).abs().max()) <= 1e-6
    assert [one.decision for one in answers] == expected["decision"].to_list()
    assert {one.model_version for one in answers} == {champion}
    assert "alert" in expected["decision"]
    assert [one.reasons for one in answers] == expected["reasons"].to_list()


def test_every_answer_is_in_the_store_when_the_service_has_stopped(
    settings: Settings, world: World
) -> None:
    async def serve() -> list:
        async with running(settings) as service:
            return await answers_of(service, requests_of(live_rows(world)))

    answers = asyncio.run(serve())
    with PredictionStore(settings.store_sqlalchemy_url) as store:
        stored, is_all = newest_answers(store, 10_000)
    assert is_all
    assert sorted(stored, key=lambda one: one.sequence) == answers
    assert not list((settings.serving_dir / "journal").rglob("*.jsonl"))


def test_a_repeated_transaction_gets_the_first_answer_and_counts_once(
    settings: Settings, world: World
) -> None:
    first, second = requests_of(live_rows(world))[:2]

    async def serve(*, twice: bool) -> tuple:
        async with running(settings) as service:
            answer, repeated = await service.score(first)
            assert not repeated
            if twice:
                assert await service.score(first) == (answer, True)
            return answer, (await service.score(second))[0]

    answer, after = asyncio.run(serve(twice=True))
    with PredictionStore(settings.store_sqlalchemy_url) as store:
        assert get_answer(store, answer.transaction_id) == answer
    assert after.event_order_us > answer.event_order_us


def test_the_same_id_with_other_content_is_a_conflict(settings: Settings, world: World) -> None:
    row = live_rows(world).row(0, named=True)

    async def serve() -> None:
        async with running(settings) as service:
            await service.score(request_of(row))
            with pytest.raises(ConflictError, match=row["transaction_id"]):
                await service.score(request_of(row, amount=row["amount"] + 1))

    asyncio.run(serve())


def test_simultaneous_requests_of_one_id_get_one_answer(settings: Settings, world: World) -> None:
    request = requests_of(live_rows(world))[0]

    async def serve() -> list:
        async with running(settings) as service:
            before = service._answering.history.state.size
            found = await asyncio.gather(*(service.score(request) for _ in range(20)))
            assert service._answering.history.state.size == before + 1
            return found

    found = asyncio.run(serve())
    assert len({id(answer) for answer, _ in found}) == 1
    assert sum(not repeated for _, repeated in found) == 1


def test_a_refused_transaction_leaves_no_trace(settings: Settings, world: World) -> None:
    row = live_rows(world).row(0, named=True)

    async def serve() -> None:
        async with running(settings) as service:
            before = service._answering.history.state.size
            with pytest.raises(RefusedTransactionError) as refusal:
                await service.score(request_of(row, kind="GIFT"))
            assert refusal.value.problems[0]["field"] == "kind"
            assert service._answering.history.state.size == before
            await service.score(request_of(row))  # the id is free

    asyncio.run(serve())


@pytest.mark.parametrize("ends", ["stopped", "killed", "killed with a snapshot of before"])
def test_after_a_restart_the_features_are_what_they_would_have_been(
    settings: Settings, world: World, ends: str, tmp_path: Path, registered
) -> None:
    requests = requests_of(live_rows(world))
    half = len(requests) // 2
    snapshot = settings.serving_dir / "state-w0.snapshot"

    async def serve(there: Settings, some: list) -> list:
        async with running(there) as service:
            return await answers_of(service, some)

    async def serve_in_parts() -> list:
        if ends == "stopped":
            return await serve(settings, requests[:half]) + await serve(settings, requests[half:])
        some = half // 2 if ends != "killed" else 0
        answers = await serve(settings, requests[:some])
        before = snapshot.read_bytes()
        # What a kill leaves: the answers, stored from the journal, and the snapshot of before.
        answers += await serve(settings, requests[some:half])
        snapshot.write_bytes(before) if ends != "killed" else snapshot.unlink()
        return answers + await serve(settings, requests[half:])

    parts = asyncio.run(serve_in_parts())
    other = settings_in(tmp_path / "other", registered.registry.tracking_uri)
    shutil.copytree(settings.lake_root, other.lake_root)
    whole = asyncio.run(serve(other, requests))
    assert [(a.score, a.event_order_us) for a in parts] == [
        (a.score, a.event_order_us) for a in whole
    ]


def test_an_answer_that_cannot_be_journaled_is_not_given_and_the_next_try_counts_once(
    settings: Settings, world: World
) -> None:
    request, other = requests_of(live_rows(world))[:2]
    journal = settings.serving_dir / "journal"

    async def serve() -> None:
        async with running(settings) as service:
            await service.score(other)
            state = service._answering.history.state
            before = state.size
            hidden = journal.rename(journal.with_name("hidden"))
            with pytest.raises(UnavailableError):
                await service.score(request)
            assert service.remembered(str(request.transaction_id)) is None
            hidden.rename(journal)
            _, repeated = await service.score(request)
            assert not repeated
            assert state.size == before + 1

    asyncio.run(serve())


@pytest.mark.parametrize("broken", ["state", "model"])
def test_the_rules_answer_when_the_state_or_the_model_fails_and_say_so(
    settings: Settings, world: World, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = requests_of(live_rows(world))[0]

    def fail(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    async def serve() -> None:
        async with running(settings) as service:
            target = (
                service._answering.history.state
                if broken == "state"
                else service.models.lineup.champion
            )
            monkeypatch.setattr(type(target), "observe" if broken == "state" else "score", fail)
            if broken == "state":
                monkeypatch.setattr(service._answering, "_empty_state", _whole_state(service))
            answer, _ = await service.score(request)
            assert answer.served_by == "rules"
            assert answer.model_version.startswith("rules-")
            assert broken in (answer.fallback or "")

    asyncio.run(serve())


def _whole_state(service: ScoringService) -> Callable[[], object]:
    """A state that works although the class was broken: what the rules are given is made of it."""
    from fraud_assets.features.online.state import OnlineFeatures

    own = OnlineFeatures._own_values

    class Bare(OnlineFeatures):
        def observe(self, transaction):
            from fraud_assets.features.online.events import Observation

            return Observation(own(self, transaction), 0, False, False)

    return lambda: Bare(service.features)


def test_without_a_champion_the_rules_answer(settings: Settings, world: World, registered) -> None:
    registered.registry.remove_alias("champion")

    async def serve() -> None:
        async with running(settings) as service:
            answer, _ = await service.score(requests_of(live_rows(world))[0])
            assert (answer.served_by, answer.fallback) == ("rules", "no champion yet")

    asyncio.run(serve())


def test_a_label_of_an_analyst_reaches_the_features(settings: Settings, world: World) -> None:
    rows = live_rows(world)
    row = rows.row(rows.height - 1, named=True)
    early = row["event_time"].replace(year=2026, month=3, day=3)
    label = AnalystLabel(
        transaction_id="old", event_time=early, payee_id=row["payee_id"], label=1,
        labelled_at=row["event_time"], author="ann",
    )  # fmt: skip

    async def serve(*, labelled: bool) -> float:
        async with running(settings) as service:
            if labelled:
                append_labels(service.store, [label])
                await asyncio.sleep(0.5)
            observed = await service._answering.history.observe(transaction_of(row), "")
            names = service.features.names
            return observed.values[names.index("payee_risk_7d")]

    before = asyncio.run(serve(labelled=False))
    shutil.rmtree(settings.serving_dir)
    assert asyncio.run(serve(labelled=True)) > before


def test_the_alias_moves_under_load_without_a_failed_request(
    settings: Settings, world: World, registered, champion: str
) -> None:
    requests = requests_of(live_rows(world))
    other = registered.versions["lightgbm"]

    async def serve() -> list:
        async with running(settings) as service:
            answers = []
            for number, request in enumerate(requests):
                if number % 60 == 0:
                    version = other if number % 120 == 0 else champion
                    await asyncio.to_thread(registered.registry.set_alias, "champion", version)
                answers.append((await service.score(request))[0])
                await asyncio.sleep(0.002)
            return answers

    answers = asyncio.run(serve())
    assert {one.model_version for one in answers} == {champion, other}
    assert {one.served_by for one in answers} == {"champion"}


def test_the_challenger_scores_in_the_shadow_and_is_never_acted_on(
    settings: Settings, world: World, registered, champion: str
) -> None:
    other = registered.versions["lightgbm"]
    registered.registry.set_alias("challenger", other)
    try:

        async def serve() -> list:
            async with running(settings) as service:
                return await answers_of(service, requests_of(live_rows(world))[:50])

        answers = asyncio.run(serve())
    finally:
        registered.registry.remove_alias("challenger")
    assert {one.model_version for one in answers} == {champion}
    with PredictionStore(settings.store_sqlalchemy_url) as store, store.reading() as connection:
        rows = connection.exec_driver_sql(
            "SELECT transaction_id, model_version FROM shadow_scores"
        ).all()
    assert {tuple(row) for row in rows} == {(one.transaction_id, other) for one in answers}


def test_a_forgotten_answer_is_looked_up_in_the_store(settings: Settings, world: World) -> None:
    requests = requests_of(live_rows(world))
    small = settings.model_copy(
        update={"api": settings.api.model_copy(update={"remembered_answers": 10})}
    )

    async def serve() -> None:
        async with running(small) as service:
            answers = await answers_of(service, requests[:100])
            assert service.remembered(answers[0].transaction_id) is None
            async with asyncio.timeout(20):
                while service.writer.status.waiting:
                    await asyncio.sleep(0.05)
            assert await service.score(requests[0]) == (answers[0], True)

    asyncio.run(serve())


def test_before_it_is_up_nothing_is_answered_and_it_says_why(
    settings: Settings, world: World
) -> None:
    async def serve() -> None:
        service = ScoringService(settings)
        with pytest.raises(UnavailableError, match="not started"):
            await service.score(requests_of(live_rows(world))[0])
        await service.start()
        assert service.readiness()
        await up(service)
        await service.stop()

    asyncio.run(serve())
