"""The scoring service as a whole: what starts, goes on beside the answering, and stops.

How one transaction is answered belongs in `answering`, how the state comes back after a restart
in `recovery`, HTTP in `app` and `hot`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from contextlib import suppress
from typing import Final

from fraud_assets.features.definitions import FeatureSet
from fraud_assets.features.online.events import LabelEvent
from fraud_assets.features.online.state import OnlineFeatures
from fraud_assets.lake import Lake
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.serving.answering import Answering
from fraud_assets.serving.history import LocalHistory, SharedHistory, logged_ids
from fraud_assets.serving.journal import Journal, JournalError, JournalInUseError
from fraud_assets.serving.learning import Feed, News
from fraud_assets.serving.lineup import ServingModels
from fraud_assets.serving.metrics import ServingMetrics
from fraud_assets.serving.recovery import Log, capture, recover, snapshot_path
from fraud_assets.serving.redis_log import SharedLogUnavailableError
from fraud_assets.serving.requests import RequestRules, ScoreRequest, UnavailableError
from fraud_assets.serving.writer import AnswerWriter
from fraud_assets.settings import Settings
from fraud_assets.store.answers import StoredAnswer, last_sequence, newest_answers
from fraud_assets.store.engine import PredictionStore, StoreError
from fraud_assets.store.migrate import migrate
from fraud_assets.transactions.profile import load_profile

_log = logging.getLogger(__name__)

STOP_SECONDS: Final = 20.0
"""How long a stop waits for the database: what it has not taken by then stays in the journal."""

RETRY_SECONDS: Final = 2.0
LABELS_AT_ONCE: Final = 200
"""Labels that the state learns before a transaction is let in between: half a millisecond."""

ROWS_AT_ONCE: Final = 500
"""The same for transactions of a closed day that nobody asked about."""


class ScoringService:
    """One worker of the scoring API.

    `start` returns at once. Until the state is back, `readiness` says why not and `score` refuses.
    """

    def __init__(self, settings: Settings, *, worker: str = "w0") -> None:
        self.settings = settings
        self.worker = worker
        api = settings.api
        self.profile = load_profile(settings.profile)
        self.features = FeatureSet.from_profile(self.profile)
        self.store = PredictionStore(settings.store_sqlalchemy_url)
        self.metrics = ServingMetrics()
        registry = ModelRegistry(
            settings.mlflow_uri, settings.registered_model, settings.cache_dir / "models"
        )
        self.models = ServingModels(registry, self.store, self.features.names, shadow=api.shadow)
        self._journal = Journal(settings.serving_dir / "journal", worker, fsync=api.fsync)
        self.writer = AnswerWriter(self.store, self._journal)
        self._feed = self._new_feed()
        self._answering = Answering(
            self.features,
            RequestRules(self.profile, max_ahead_seconds=api.max_ahead_seconds),
            models=self.models,
            store=self.store,
            journal=self._journal,
            writer=self.writer,
            metrics=self.metrics,
            remembered=api.remembered_answers,
            late_days=api.late_days,
            worker=worker,
        )
        # Several workers have the shared log instead, and the snapshot of one knows no other.
        self._snapshot = (
            snapshot_path(settings.serving_dir, worker) if api.redis_url is None else None
        )
        self._journal_is_open = False
        self._not_up: str | None = "not started"
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to recover the state; what is slow about it happens beside the event loop."""
        self._not_up = "the state is being recovered"
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Answer what is under way, store it, keep the state, and let go of everything."""
        was_up = self._not_up is None
        self._not_up = "stopping"
        self._stopping.set()
        await self._answering.finish(STOP_SECONDS)
        is_quiet = await self._end_of_upkeep()
        await self._answering.history.close()
        if not await asyncio.to_thread(self.writer.stop, STOP_SECONDS):
            _log.warning("the store has not taken every answer; the rest waits in the journal")
        if was_up and is_quiet:
            await self._save_snapshot()
        self._journal.close()
        self.store.dispose()

    async def score(self, request: ScoreRequest) -> tuple[StoredAnswer, bool]:
        """Answer for a transaction; see `Answering.score`.

        Raises:
            UnavailableError: the service is not up yet, or not any more.
        """
        if self._not_up is not None:
            self.metrics.observe_failure("not ready")
            raise UnavailableError(f"not ready: {self._not_up}")
        return await self._answering.score(request)

    def remembered(self, transaction_id: str) -> StoredAnswer | None:
        """An answer that was given, and that the store may not have yet."""
        return self._answering.recent.get(transaction_id)

    def readiness(self) -> list[str]:
        """Why transactions are not answered now; empty if they are."""
        return [] if self._not_up is None else [self._not_up]

    @property
    def degraded(self) -> list[str]:
        """Why transactions are answered, and not as well as they should be."""
        found = (self._answering.history.problem, *self.models.problems)
        return [problem for problem in found if problem is not None]

    async def _run(self) -> None:
        while not await self._recovered():
            if await self._stopped_within(RETRY_SECONDS):
                return
        self.writer.start()
        # The state is millions of objects that stay; looking through them took 36 ms at a time.
        gc.collect()
        gc.freeze()
        self._not_up = None
        models = asyncio.create_task(self._follow_models())
        await self._keep_up()
        # A registry that is away may take its time, and nothing waits for it.
        models.cancel()

    async def _follow_models(self) -> None:
        while True:
            await asyncio.sleep(self.settings.api.refresh_seconds)
            for change in await asyncio.to_thread(self.models.refresh):
                _log.info("models: %s", change)

    async def _keep_up(self) -> None:
        """Learn what becomes known, follow the other workers, and save the state."""
        api = self.settings.api
        snapshot_at = time.monotonic() + api.snapshot_seconds
        while not await self._stopped_within(api.refresh_seconds):
            try:
                await self._answering.history.follow()
                await self._learn(await asyncio.to_thread(self._feed.read, self._is_answered))
            except (StoreError, OSError) as error:
                _log.warning("nothing new is learnt: %s", error)
            except Exception:  # noqa: BLE001 - whatever it is, it must not end the upkeep
                _log.exception("the upkeep failed")
            self.metrics.observe_upkeep(
                self.writer.status, state_events=self._answering.history.state.size
            )
            if time.monotonic() >= snapshot_at:
                await self._save_snapshot()
                snapshot_at = time.monotonic() + api.snapshot_seconds

    async def _learn(self, news: News) -> None:
        """Bring news to the state, and let transactions in between.

        The position moves once all of it is there: a snapshot is made by the same task, and what
        a stop cuts short is not in one.
        """
        state = self._answering.history.state
        for first in range(0, len(news.labels), LABELS_AT_ONCE):
            for event in news.labels[first : first + LABELS_AT_ONCE]:
                self._learn_label(state, event)
            await asyncio.sleep(0)
        for part in news.transactions.iter_slices(ROWS_AT_ONCE):
            state.load_transactions(part)
            await asyncio.sleep(0)
        self._feed.position = news.position

    def _learn_label(self, state: OnlineFeatures, event: LabelEvent) -> None:
        try:
            state.add_label(event)
        except (ArithmeticError, ValueError):
            # One label that no sum can hold must not keep the others out.
            _log.exception("a label is not learnt")

    def _is_answered(self, transaction_id: str) -> bool:
        return self._answering.recent.get(transaction_id) is not None

    async def _recovered(self) -> bool:
        try:
            log = await self._read_log()
            await asyncio.to_thread(self._recover, log)
            await self._answering.history.start()
        except StoreError:
            # By its kind alone: /ready shows this to everyone.
            self._not_up = "waiting for the store, see the log"
        except SharedLogUnavailableError:
            self._not_up = "waiting for Redis, see the log"
        except Exception as error:  # noqa: BLE001 - told by /ready, and tried again
            self._not_up = f"the state cannot be recovered ({type(error).__name__}), see the log"
        else:
            return True
        _log.warning("not up yet: %s", self._not_up, exc_info=True)
        return False

    async def _read_log(self) -> Log | None:
        url = self.settings.api.redis_url
        if url is None:
            return None
        # Before the store is read: what is appended meanwhile is told by its time.
        now_us = time.time_ns() // 1_000
        return Log(await logged_ids(url.get_secret_value(), self.worker), now_us)

    def _recover(self, log: Log | None) -> None:
        """Everything that must be known before the first transaction. Blocking."""
        api = self.settings.api
        migrate(self.settings.store_sqlalchemy_url)
        if not self._journal_is_open:
            self._journal.open(last_sequence(self.store, self.worker) + 1)
            self._journal_is_open = True
        leftovers = self.writer.store_leftovers() + self._store_orphans()
        if log is not None:
            # It knows nothing of the other workers, and would be wrong once they are gone.
            snapshot_path(self.settings.serving_dir, self.worker).unlink(missing_ok=True)
        self._feed = self._new_feed()  # a first try may have moved it
        recovered = recover(
            self.features,
            self._feed,
            worker=self.worker,
            late_days=api.late_days,
            snapshot=self._snapshot,
            log=log,
        )
        state = recovered.state
        answers, complete = newest_answers(self.store, api.remembered_answers)
        self._answering.recent.load(answers, complete=complete)
        self._answering.last_sequence = last_sequence(self.store, self.worker)
        news = self._feed.read(self._is_answered)
        for event in news.labels:
            self._learn_label(state, event)
        state.load_transactions(news.transactions)
        self._feed.position = news.position
        if api.redis_url is None:
            self._answering.history = LocalHistory(state)
        else:
            shared = SharedHistory(
                state,
                api.redis_url.get_secret_value(),
                worker=self.worker,
                remembered=api.remembered_answers,
            )
            for held in recovered.held:
                shared.know(*held)
            self._answering.history = shared
        self.models.refresh()
        _log.info(
            "state recovered from %s; %d answers of the journal stored", recovered.told, leftovers
        )

    def _store_orphans(self) -> int:
        """What workers left that run no more, as after a restart with fewer of them."""
        names = {f"w{number}" for number in range(self.settings.api.workers)} | {self.worker}
        folder = self.settings.serving_dir / "journal"
        stored = 0
        left = (path.name for path in folder.glob("*") if path.is_dir() and path.name not in names)
        for orphan in sorted(left):
            journal = Journal(folder, orphan)
            try:
                journal.open(last_sequence(self.store, orphan) + 1)
            except JournalInUseError:
                continue  # another worker is at it
            except JournalError:
                _log.exception("what worker %s left cannot be read", orphan)
                continue
            try:
                stored += AnswerWriter(self.store, journal).store_leftovers()
            finally:
                journal.close()
        return stored

    def _new_feed(self) -> Feed:
        return Feed(self.store, Lake(self.settings.lake_root), self.profile)

    async def _stopped_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    async def _end_of_upkeep(self) -> bool:
        """Whether the upkeep has ended by itself: cut short, labels may be half learnt."""
        if self._task is None:
            return False
        done, _ = await asyncio.wait([self._task], timeout=STOP_SECONDS)
        if not done:
            self._task.cancel()
        return bool(done)

    async def _save_snapshot(self) -> None:
        if self._snapshot is None:
            return
        answering = self._answering
        # Copied here, where nothing changes meanwhile; written beside the event loop.
        copied = capture(
            answering.history.state,
            self._feed,
            sequence=answering.last_sequence,
            unanswered=answering.unanswered,
        )
        try:
            await asyncio.to_thread(copied.write, self._snapshot)
        except OSError as error:
            _log.warning("no snapshot of the state: %s", error)
