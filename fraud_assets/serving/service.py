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
from fraud_assets.lake import Lake
from fraud_assets.modeling.registry import ModelRegistry
from fraud_assets.serving.answering import Answering
from fraud_assets.serving.history import LocalHistory, SharedHistory
from fraud_assets.serving.journal import Journal, JournalInUseError
from fraud_assets.serving.learning import LabelFeed
from fraud_assets.serving.lineup import ServingModels
from fraud_assets.serving.metrics import ServingMetrics
from fraud_assets.serving.recovery import capture, recover, snapshot_path
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
        """Why transactions are not answered now, or by the rules alone; empty if all is well."""
        reasons = (self._not_up, self._answering.history.problem)
        return [reason for reason in reasons if reason is not None]

    async def _run(self) -> None:
        while not await self._recovered():
            if await self._stopped_within(RETRY_SECONDS):
                return
        self.writer.start()
        # The state is millions of objects that stay; looking through them took 36 ms at a time.
        gc.collect()
        gc.freeze()
        self._not_up = None
        api = self.settings.api
        snapshot_at = time.monotonic() + api.snapshot_seconds
        while not await self._stopped_within(api.refresh_seconds):
            try:
                await self._refresh()
            except Exception:  # noqa: BLE001 - whatever it is, it must not end the upkeep
                # The next time may do; scoring goes on with what is known.
                _log.exception("the upkeep failed")
            if time.monotonic() >= snapshot_at:
                await self._save_snapshot()
                snapshot_at = time.monotonic() + api.snapshot_seconds

    async def _recovered(self) -> bool:
        try:
            await asyncio.to_thread(self._recover)
            await self._answering.history.start()
        except StoreError as error:
            self._not_up = f"waiting for the store: {error}"
        except SharedLogUnavailableError as error:
            self._not_up = f"waiting for Redis: {error}"
        except Exception as error:  # noqa: BLE001 - told by /ready, and tried again
            _log.exception("the state cannot be recovered")
            # By its kind alone: /ready shows this to everyone.
            self._not_up = f"the state cannot be recovered ({type(error).__name__}), see the log"
        else:
            return True
        _log.warning("%s", self._not_up)
        return False

    def _recover(self) -> None:
        """Everything that must be known before the first transaction. Blocking."""
        api = self.settings.api
        migrate(self.settings.store_sqlalchemy_url)
        if not self._journal_is_open:
            self._journal.open(last_sequence(self.store, self.worker) + 1)
            self._journal_is_open = True
        leftovers = self.writer.store_leftovers() + self._store_orphans()
        self._feed = self._new_feed()  # a first try may have read labels and failed after that
        recovered = recover(
            self.features,
            self._feed,
            worker=self.worker,
            late_days=api.late_days,
            snapshot=self._snapshot,
        )
        for event in self._feed.read():
            recovered.state.add_label(event)
        answers, complete = newest_answers(self.store, api.remembered_answers)
        self._answering.recent.load(answers, complete=complete)
        self._answering.last_sequence = last_sequence(self.store, self.worker)
        if api.redis_url is None:
            self._answering.history = LocalHistory(recovered.state)
        else:
            shared = SharedHistory(
                recovered.state,
                api.redis_url.get_secret_value(),
                worker=self.worker,
                remembered=api.remembered_answers,
            )
            for answer in answers:
                shared.know(answer)
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
        for orphan in sorted(path.name for path in folder.glob("*") if path.name not in names):
            journal = Journal(folder, orphan)
            try:
                journal.open(last_sequence(self.store, orphan) + 1)
            except JournalInUseError:
                continue  # another worker is at it
            try:
                stored += AnswerWriter(self.store, journal).store_leftovers()
            finally:
                journal.close()
        return stored

    def _new_feed(self) -> LabelFeed:
        lake = Lake(self.settings.lake_root)
        return LabelFeed(self.store, lake, self.profile.label_delay_days)

    async def _refresh(self) -> None:
        """Follow the aliases, the other workers, and the labels."""
        history = self._answering.history
        for change in await asyncio.to_thread(self.models.refresh):
            _log.info("models: %s", change)
        await history.follow()
        try:
            events = await asyncio.to_thread(self._feed.read)
        except StoreError as error:
            _log.warning("no new labels: %s", error)
            events = []
        for first in range(0, len(events), LABELS_AT_ONCE):
            for event in events[first : first + LABELS_AT_ONCE]:
                history.state.add_label(event)
            await asyncio.sleep(0)
        self.metrics.observe_upkeep(
            journal_waiting=self.writer.status.waiting, state_events=history.state.size
        )

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
        copied = capture(answering.history.state, self._feed, answering.last_sequence)
        try:
            await asyncio.to_thread(copied.write, self._snapshot)
        except OSError as error:
            _log.warning("no snapshot of the state: %s", error)
