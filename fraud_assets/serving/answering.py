"""From a transaction to an answer that is kept: the path on which a payment waits.

All of it runs on the event loop, without a hand-off between threads: remembered answers, the state
of the features, the model, the journal. What a request looks like belongs in `requests`, how
transactions become features in `history`, and what goes on beside this in `service`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Final

from fraud_assets.features.definitions import FeatureSet
from fraud_assets.features.online.events import Observation, OnlineTransaction
from fraud_assets.features.online.state import OnlineFeatures
from fraud_assets.modeling.decision import ALERT, PASS
from fraud_assets.serving.compiled import RowScorer
from fraud_assets.serving.history import (
    AskedElsewhereError,
    History,
    HistoryUnavailableError,
    LocalHistory,
    OtherContentError,
)
from fraud_assets.serving.journal import Journal, JournalError
from fraud_assets.serving.lineup import RULES, ServingModels
from fraud_assets.serving.metrics import ServingMetrics
from fraud_assets.serving.recent import RecentAnswers
from fraud_assets.serving.requests import (
    ConflictError,
    RefusedTransactionError,
    RequestRules,
    ScoreRequest,
    UnavailableError,
    digest_of,
)
from fraud_assets.serving.writer import AnswerWriter
from fraud_assets.store.answers import ShadowScore, StoredAnswer, get_answer
from fraud_assets.store.engine import PredictionStore, StoreError

_log = logging.getLogger(__name__)

REASONS: Final = 3
STATE_AWAY: Final = "the shared state of the features does not answer"
STATE_FAILED: Final = "the state of the features failed"
MODEL_FAILED: Final = "the model failed"
COMPLAIN_SECONDS: Final = 60.0
MAX_UNANSWERED: Final = 10_000
"""Transactions that were observed and could not be journaled, as when the disk is full."""


class Answering:
    """Answers for transactions, one worker's.

    `history` and `recent` are what the recovery brought; `last_sequence` is the number of the
    newest answer: between two steps of the event loop the state holds exactly the transactions
    up to it, because nothing waits between observing one and numbering its answer.
    """

    def __init__(
        self,
        features: FeatureSet,
        rules: RequestRules,
        *,
        models: ServingModels,
        store: PredictionStore,
        journal: Journal,
        writer: AnswerWriter,
        metrics: ServingMetrics,
        remembered: int,
        late_days: float,
        worker: str,
    ) -> None:
        self._features = features
        self._rules = rules
        self._models = models
        self._store = store
        self._journal = journal
        self._writer = writer
        self._metrics = metrics
        self._late_days = late_days
        self._worker = worker
        self._remembered = remembered
        self.recent = RecentAnswers(remembered)
        self.history: History = LocalHistory(self._empty_state())
        self.last_sequence = 0
        self._complained: dict[str, float] = {}
        self._in_flight: dict[str, tuple[str, asyncio.Future[StoredAnswer]]] = {}
        self._unanswered: dict[str, tuple[str, Observation]] = {}

    @property
    def unanswered(self) -> list[str]:
        """Transactions that the state holds, and that have no answer: it could not be kept."""
        return list(self._unanswered)

    async def finish(self, seconds: float) -> None:
        """Wait until nothing is under way, or for so many seconds."""
        waiting = [future for _, future in self._in_flight.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=seconds)

    async def score(self, request: ScoreRequest) -> tuple[StoredAnswer, bool]:
        """Answer for a transaction, or repeat what was answered before.

        Returns:
            The answer, which is in the journal, and whether it is a repeated one.

        Raises:
            RefusedTransactionError: the profile's rules refuse the transaction.
            ConflictError: its id was answered for other content.
            UnavailableError: the answer could not be kept.
        """
        started = time.perf_counter()
        try:
            transaction = self._rules.read(request, datetime.now(UTC))
        except RefusedTransactionError:
            self._metrics.observe_failure("refused")
            raise
        name, digest = transaction.transaction_id, digest_of(transaction)
        known = self.recent.get(name)
        if known is not None:
            return self._repeat(known, digest), True
        if name in self._in_flight:
            before, future = self._in_flight[name]
            if before != digest:
                raise self._conflict(name)
            return await asyncio.shield(future), True
        future = asyncio.get_running_loop().create_future()
        self._in_flight[name] = (digest, future)
        try:
            answer, is_new = await self._answer_once(transaction, digest, started)
        except BaseException as error:
            future.set_exception(
                error if isinstance(error, Exception) else UnavailableError("interrupted")
            )
            future.exception()  # nobody may be waiting for it
            raise
        else:
            future.set_result(answer)
        finally:
            del self._in_flight[name]
        return answer, not is_new

    async def _answer_once(
        self, transaction: OnlineTransaction, digest: str, started: float
    ) -> tuple[StoredAnswer, bool]:
        name = transaction.transaction_id
        time_us = transaction.event_time_us
        known: StoredAnswer | None = None
        observation: Observation | None = None
        fallback: str | None = None
        if self.recent.may_be_forgotten(time_us) or self.history.may_be_answered(name, time_us):
            known = await self._known(name)
        if known is None:
            try:
                observation = await self._observe(transaction, digest)
            except OtherContentError:
                raise self._conflict(name) from None
            except AskedElsewhereError as elsewhere:
                known, observation = await self._known(name), elsewhere.observation
                if known is None and observation is None:
                    raise self._unavailable("another worker has not answered this yet") from None
            except HistoryUnavailableError:
                # Another worker may have answered while its word could not reach this one.
                known, fallback = await self._known(name), STATE_AWAY
            except Exception:  # noqa: BLE001 - a payment must not wait until it is mended
                self._complain("the state of the features failed")
                fallback = STATE_FAILED
        if known is not None:
            return self._repeat(known, digest), False
        return await self._answer_new(transaction, digest, observation, fallback, started), True

    async def _answer_new(
        self,
        transaction: OnlineTransaction,
        digest: str,
        observation: Observation | None,
        fallback: str | None,
        started: float,
    ) -> StoredAnswer:
        values = observation.values if observation is not None else self._bare(transaction)
        answer, scorer = self._judge(transaction, digest, values, observation, fallback)
        try:
            await self._journal.append(answer)
        except JournalError as error:
            if observation is not None:
                self._unanswered[transaction.transaction_id] = (digest, observation)
                if len(self._unanswered) > MAX_UNANSWERED:
                    del self._unanswered[next(iter(self._unanswered))]
            self._complain("the answer journal cannot be written")
            raise self._unavailable("the answer could not be kept") from error
        self._unanswered.pop(answer.transaction_id, None)
        self.recent.put(answer)
        self.history.answered(answer)
        self._metrics.observe_answer(
            answer,
            time.perf_counter() - started,
            is_forgotten=observation is not None and observation.is_forgotten,
        )
        asyncio.get_running_loop().call_soon(self._afterwards, answer, values, scorer)
        return answer

    async def _observe(self, transaction: OnlineTransaction, digest: str) -> Observation:
        # What was observed and could not be journaled is not observed again when it is asked again.
        before = self._unanswered.get(transaction.transaction_id)
        if before is not None and before[0] == digest:
            return before[1]
        return await self.history.observe(transaction, digest)

    def _judge(
        self,
        transaction: OnlineTransaction,
        digest: str,
        values: list[float | str | None],
        observation: Observation | None,
        fallback: str | None,
    ) -> tuple[StoredAnswer, RowScorer]:
        """Score, decide and explain; by the rules where the model or its features fail."""
        lineup = self._models.lineup
        scorer, served_by = lineup.choose(transaction.transaction_id)
        if fallback is not None:
            scorer, served_by = lineup.rules, RULES
        elif served_by == RULES:
            fallback = lineup.fallback
        try:
            score, reasons = _scored(scorer, values)
        except Exception:  # noqa: BLE001 - the rules can do what the model cannot
            self._complain(f"model {scorer.version} failed")
            scorer, served_by, fallback = lineup.rules, RULES, MODEL_FAILED
            score, reasons = _scored(scorer, values)
        answer = StoredAnswer(
            transaction_id=transaction.transaction_id,
            event_time_us=transaction.event_time_us,
            event_order_us=(
                observation.event_order_us if observation is not None else transaction.event_time_us
            ),
            payer_id=transaction.payer_id,
            payee_id=transaction.payee_id,
            kind=transaction.kind,
            amount=transaction.amount,
            extras=transaction.extras,
            score=score,
            decision=ALERT if score >= scorer.threshold else PASS,
            threshold=scorer.threshold,
            reasons=reasons,
            model_version=scorer.version,
            model_hash=scorer.model_hash,
            served_by=served_by,
            fallback=fallback,
            is_late=observation is not None and observation.is_late,
            digest=digest,
            worker=self._worker,
            sequence=self._journal.take_sequence(),
            scored_at_us=time.time_ns() // 1_000,
        )
        self.last_sequence = answer.sequence
        return answer, scorer

    def _bare(self, transaction: OnlineTransaction) -> list[float | str | None]:
        """What can be said of a transaction without any history; null for the rest."""
        values = self._empty_state().observe(transaction).values
        return [
            None if definition.lookback_days or definition.label_lookback_days else value
            for definition, value in zip(self._features.definitions, values, strict=True)
        ]

    def _afterwards(
        self, answer: StoredAnswer, values: list[float | str | None], scorer: RowScorer
    ) -> None:
        """What may wait until the answer is on its way: summaries, and the challenger's score."""
        self._metrics.observe_features(self._features.names, values)
        challenger = self._models.lineup.challenger
        if challenger is None or challenger.version == scorer.version:
            return
        try:
            score = challenger.score(values)
        except Exception:  # noqa: BLE001 - what is only watched must not disturb
            self._complain(f"the challenger {challenger.version} failed in shadow")
            self._metrics.observe_failure("shadow")
            return
        self._writer.add_shadow(
            ShadowScore(
                transaction_id=answer.transaction_id,
                event_time_us=answer.event_time_us,
                model_version=challenger.version,
                score=score,
                decision=ALERT if score >= challenger.threshold else PASS,
                scored_at_us=answer.scored_at_us,
            )
        )

    def _repeat(self, answer: StoredAnswer, digest: str) -> StoredAnswer:
        if answer.digest != digest:
            raise self._conflict(answer.transaction_id)
        self._metrics.observe_repeat()
        return answer

    def _conflict(self, name: str) -> ConflictError:
        self._metrics.observe_failure("conflict")
        return ConflictError(
            f"transaction {name} was answered for other content: an id names one transaction"
        )

    async def _known(self, name: str) -> StoredAnswer | None:
        """An answer that another worker gave, or that is no longer remembered here.

        Raises:
            UnavailableError: the store cannot tell. A second answer could contradict the first.
        """
        answer = await self.history.recall(name)
        if answer is None:
            try:
                answer = await asyncio.to_thread(get_answer, self._store, name)
            except StoreError as error:
                self._complain("the store cannot tell what was answered")
                raise self._unavailable(
                    "only the store can tell whether this was answered, and it is away"
                ) from error
        if answer is not None:
            self.recent.put(answer)
        elif self._writer.status.waiting >= self._remembered:
            # It may be in the journal alone, behind what is remembered.
            raise self._unavailable("the store is too far behind to tell whether this is new")
        return answer

    def _unavailable(self, reason: str) -> UnavailableError:
        self._metrics.observe_failure("unavailable")
        return UnavailableError(f"{reason}; ask again")

    def _complain(self, what: str) -> None:
        """Log an exception with its trace, once a minute: it may come with every transaction."""
        now = time.monotonic()
        if now - self._complained.get(what, -COMPLAIN_SECONDS) >= COMPLAIN_SECONDS:
            self._complained[what] = now
            _log.exception(what)

    def _empty_state(self) -> OnlineFeatures:
        return OnlineFeatures(self._features, late_days=self._late_days)


def _scored(scorer: RowScorer, values: list[float | str | None]) -> tuple[float, list[str]]:
    score = scorer.score(values)
    return score, scorer.reasons(values, REASONS) if score >= scorer.threshold else []
