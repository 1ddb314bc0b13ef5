"""What the service knows after a restart, and what it learns of the lake while it runs."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from fraud_assets.lake import LABELS, VALIDATED, Lake
from fraud_assets.serving.journal import Journal
from fraud_assets.serving.learning import Feed, FeedPosition
from fraud_assets.serving.requests import UnavailableError
from fraud_assets.serving.service import ScoringService
from fraud_assets.settings import Settings
from fraud_assets.store.answers import newest_answers
from fraud_assets.store.engine import PredictionStore
from fraud_assets.store.labels import AnalystLabel, append_labels
from fraud_assets.store.migrate import migrate
from fraud_assets.transactions.profile import Profile
from fraud_assets_tests.serving.service_world import (
    World,
    answers_of,
    make_world,
    requests_of,
    running,
    settings_in,
)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


@pytest.fixture
def settings(registered, tmp_path: Path) -> Iterator[Settings]:
    registered.registry.set_alias("champion", registered.versions["xgboost"])
    yield settings_in(tmp_path, registered.registry.tracking_uri)
    registered.registry.remove_alias("champion")


def serve(settings: Settings, rows: pl.DataFrame | None, *, wait: float = 0.0) -> list:
    """Start, wait for what is learnt, answer, stop."""

    async def run() -> list:
        async with running(settings) as service:
            await asyncio.sleep(wait)
            return [] if rows is None else await answers_of(service, requests_of(rows))

    return asyncio.run(run())


def scores(answers: list) -> list[tuple[str, float]]:
    return [(one.transaction_id, one.score) for one in answers]


@pytest.fixture
def expected(world: World, settings: Settings, tmp_path: Path, registered) -> list:
    """The last day's scores by a service that had all days before it in its lake."""
    whole = settings_in(tmp_path / "whole", registered.registry.tracking_uri)
    world.write(whole.lake_root, world.days[:-1])
    return scores(serve(whole, world.transactions[world.days[-1]]))


def test_days_that_landed_while_it_was_down_are_known(
    world: World, settings: Settings, expected: list
) -> None:
    world.write(settings.lake_root, world.days[:-4])
    serve(settings, None)
    assert (settings.serving_dir / "state-w0.snapshot").exists()
    world.write(settings.lake_root, world.days[-4:-1])
    assert scores(serve(settings, world.transactions[world.days[-1]])) == expected


def test_days_that_land_while_it_runs_are_learnt(
    world: World, settings: Settings, expected: list
) -> None:
    world.write(settings.lake_root, world.days[:-3])

    async def run() -> list:
        async with running(settings) as service:
            world.write(settings.lake_root, world.days[-3:-1])
            async with asyncio.timeout(20):
                while service._feed.position.day != world.days[-2]:
                    await asyncio.sleep(0.02)
                while service._feed.position.label_day != world.days[-2]:
                    await asyncio.sleep(0.02)
            return await answers_of(service, requests_of(world.transactions[world.days[-1]]))

    assert scores(asyncio.run(run())) == expected


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_a_day_that_was_asked_about_and_lands_later_counts_once(
    world: World, settings: Settings, expected: list, *, with_snapshot: bool
) -> None:
    day, last = world.days[-2:]
    world.write(settings.lake_root, world.days[:-2])
    serve(settings, world.transactions[day])
    if not with_snapshot:
        (settings.serving_dir / "state-w0.snapshot").unlink()
    world.write(settings.lake_root, [day])
    assert scores(serve(settings, world.transactions[last])) == expected


@pytest.mark.parametrize("damage", ["cut", "other store", "nonsense"])
def test_a_snapshot_that_cannot_be_used_is_done_without(
    world: World, settings: Settings, expected: list, damage: str, tmp_path: Path
) -> None:
    world.write(settings.lake_root, world.days[:-1])
    serve(settings, None)
    snapshot = settings.serving_dir / "state-w0.snapshot"
    if damage == "cut":
        snapshot.write_bytes(snapshot.read_bytes()[:-100])
    elif damage == "nonsense":
        snapshot.write_bytes(b"fraud-features-1\n" + b"\0" * 50)
    else:
        # A label of the new store has a number that the old one had passed.
        settings = settings.model_copy(update={"store_url": _url(tmp_path / "new.db")})
    assert scores(serve(settings, world.transactions[world.days[-1]])) == expected


def _url(path: Path):
    from pydantic import SecretStr

    return SecretStr(f"sqlite:///{path}")


def test_a_transaction_whose_answer_was_not_kept_counts_once_after_a_restart(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(settings.lake_root, world.days[:-1])
    first, *rest = requests_of(world.transactions[world.days[-1]])[:3]
    journal = settings.serving_dir / "journal"

    async def run() -> int:
        async with running(settings) as service:
            await service.score(rest[0])
            hidden = journal.rename(journal.with_name("hidden"))
            with pytest.raises(UnavailableError):
                await service.score(first)
            hidden.rename(journal)
            await service._save_snapshot()
            before = (settings.serving_dir / "state-w0.snapshot").read_bytes()
            await service.score(first)  # the next try is kept
            size = service._answering.history.state.size
        # As after a kill: the snapshot of between, and the answer in the store.
        (settings.serving_dir / "state-w0.snapshot").write_bytes(before)
        async with running(settings) as service:
            assert service._answering.history.state.size == size
        return size

    assert asyncio.run(run()) > 0


def test_what_workers_left_that_run_no_more_is_stored(
    world: World, settings: Settings, registered
) -> None:
    world.write(settings.lake_root, world.days[:-1])
    rows = world.transactions[world.days[-1]].head(5)

    async def leave() -> list:
        service = ScoringService(settings, worker="w7")
        await service.start()
        from fraud_assets_tests.serving.service_world import up

        await up(service)
        service.writer.stop(5)
        answers = await answers_of(service, requests_of(rows))
        service._journal.close()  # as if killed: nothing is stored
        service._stopping.set()
        return answers

    left = asyncio.run(leave())
    serve(settings, None)
    with PredictionStore(settings.store_sqlalchemy_url) as store:
        found, _ = newest_answers(store, 100)
    assert {one.transaction_id for one in found} == {one.transaction_id for one in left}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PredictionStore]:
    url = f"sqlite:///{tmp_path / 'feed.db'}"
    migrate(url)
    with PredictionStore(url) as opened:
        yield opened


def label_of(row: dict) -> AnalystLabel:
    return AnalystLabel(
        transaction_id=row["transaction_id"], event_time=row["event_time"],
        payer_id=row["payer_id"], payee_id=row["payee_id"], amount=row["amount"], label=1,
        labelled_at=row["event_time"] + timedelta(hours=1), author="ann",
    )  # fmt: skip


def test_a_reading_that_fails_half_way_loses_no_label(
    world: World, store: PredictionStore, tmp_path: Path
) -> None:
    lake = world.write(str(tmp_path / "lake"), world.days[:3])
    append_labels(store, [label_of(world.transactions[world.days[0]].row(0, named=True))])
    feed = Feed(store, lake, world.profile)
    broken = Path(lake.path(LABELS, world.days[2]).path)
    content = broken.read_bytes()
    broken.write_bytes(b"no parquet")
    with pytest.raises(pl.exceptions.PolarsError):
        feed.read(lambda _: False)
    assert feed.position == FeedPosition()
    broken.write_bytes(content)
    news = feed.read(lambda _: False)
    assert len(news.labels) == 1 + sum(world.labels[day].height for day in world.days[:3])


def test_an_analysts_label_that_the_lake_has_too_is_learnt_once(
    world: World, store: PredictionStore, tmp_path: Path
) -> None:
    day = world.days[0]
    lake = Lake(str(tmp_path / "lake"))
    lake.write_day(VALIDATED, day, world.transactions[day])
    label = label_of(world.transactions[day].row(0, named=True))
    append_labels(store, [label])
    same = ("transaction_id", "event_time", "payer_id", "payee_id", "amount", "label")
    told = pl.DataFrame(
        [
            {
                **label.model_dump(include=set(same)),
                "event_order_us": 1,
                "label_known_at": label.labelled_at,
                "label_source": "analyst",
                "scenario": None,
            }
        ]
    )
    lake.write_day(
        LABELS, day, told.select(world.labels[day].columns).cast(world.labels[day].schema)
    )
    assert len(Feed(store, lake, world.profile).read(lambda _: False).labels) == 1


def test_of_a_closed_day_only_what_nobody_asked_about_is_news(
    world: World, store: PredictionStore, tmp_path: Path
) -> None:
    day = world.days[0]
    lake = world.write(str(tmp_path / "lake"), [day])
    rows = world.transactions[day]
    remembered = set(rows["transaction_id"].head(10))
    news = Feed(store, lake, world.profile).read(lambda name: name in remembered)
    assert set(news.transactions["transaction_id"]) == set(rows["transaction_id"]) - remembered
    assert news.transactions["event_order_us"].is_sorted()


def test_a_day_without_ids_is_news_only_where_nothing_of_it_was_asked(
    world: World, settings: Settings, store: PredictionStore, tmp_path: Path
) -> None:
    content = world.profile.model_dump(mode="json")
    content["columns"]["transaction_id"] = None
    profile = Profile.model_validate(content)
    first, second = world.days[:2]
    lake = world.write(str(tmp_path / "lake"), [first, second])
    world.write(settings.lake_root, [])
    asked = serve(settings, world.transactions[second].head(1))
    from fraud_assets.store.answers import insert_answers

    insert_answers(store, asked)
    news = Feed(store, lake, profile).read(lambda _: False)
    assert set(news.transactions["event_time"].dt.date()) == {first}


def test_a_folder_without_anything_is_served(settings: Settings, world: World) -> None:
    shutil.rmtree(settings.data_dir, ignore_errors=True)
    answers = serve(settings, world.transactions[world.days[0]].head(20))
    assert {one.served_by for one in answers} == {"champion"}
    assert Journal(settings.serving_dir / "journal", "w0").segments() == []
