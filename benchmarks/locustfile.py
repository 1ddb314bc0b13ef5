"""Realistic traffic for the scoring API, by Locust: for trying out an installation of one's own.

    python -m venv .locust && .locust/bin/pip install locust
    FRAUD_API_KEY=fa_… .locust/bin/locust -f benchmarks/locustfile.py \
        --host http://127.0.0.1:8000 --headless --users 20 --spawn-rate 5 --run-time 1m

Without `--headless` it shows its own page on port 8089. It needs nothing of this project. The key
needs the scopes `score`, `read` and `label`; without keys on a loopback address leave the variable
out. `--kinds` names the kinds of transactions that the profile allows (an empty text for a profile
without), `--payers` and `--payees` how many there are. What it scores stays in the installation's
store and in its features: use one for tests. The limit of other requests than scoring
(`FRAUD_API__OTHER_RATE`) is for each key, and all users share one.

Of a hundred requests some ninety score one transaction; the others score a batch, ask again about
a transaction (and expect the same answer), read lists and counts, or say what became known.
"""

from __future__ import annotations

import os
import random
import uuid
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

from locust import FastHttpUser, between, events, task

KINDS = "CASH_IN,CASH_OUT,DEBIT,PAYMENT,TRANSFER"
REMEMBERED = 200
BATCH = 20
PAGE = 50


@events.init_command_line_parser.add_listener
def add_options(parser: Any, **_: object) -> None:  # noqa: ANN401 - Locust's own
    """The population; shown on Locust's page too."""
    parser.add_argument("--payers", type=int, default=50_000, help="How many payers there are")
    parser.add_argument("--payees", type=int, default=10_000, help="How many payees there are")
    parser.add_argument("--kinds", default=KINDS, help="Allowed kinds, separated by commas")


class PaymentSystem(FastHttpUser):
    """A client that scores what it is about to execute, and a little of everything else."""

    wait_time = between(0.01, 0.1)

    def on_start(self) -> None:
        """Each user has its own transactions."""
        key = os.environ.get("FRAUD_API_KEY")
        self._headers = {"X-API-Key": key} if key else {}
        self._answered: deque[tuple[dict[str, Any], dict[str, Any]]] = deque(maxlen=REMEMBERED)
        kinds = self.environment.parsed_options.kinds
        self._kinds = [one.strip() for one in kinds.split(",") if one.strip()]

    @task(900)
    def score(self) -> None:
        """One new transaction."""
        transaction = self._transaction()
        with self._post("/v1/score", transaction) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return
            answer = response.json()
            if not 0 <= answer["probability"] <= 1 or answer["repeated"]:
                response.failure("no first answer to a new transaction")
            self._answered.append((transaction, answer))

    @task(30)
    def score_a_batch(self) -> None:
        """Several new transactions; each is answered for itself."""
        body = {"transactions": [self._transaction() for _ in range(BATCH)]}
        with self._post("/v1/score/batch", body) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif any("probability" not in one for one in response.json()["answers"]):
                response.failure("a transaction of the batch was not answered")

    @task(30)
    def ask_again(self) -> None:
        """A transaction that was answered before, as after a lost connection."""
        if not self._answered:
            return
        transaction, before = random.choice(self._answered)
        with self._post("/v1/score", transaction, name="/v1/score, again") as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return
            answer = response.json()
            if not answer["repeated"] or answer["probability"] != before["probability"]:
                response.failure("another answer than the first time")

    @task(15)
    def list_predictions(self) -> None:
        """The first page of today's alerts."""
        today = datetime.now(UTC).date()
        self.client.get(
            f"/v1/frauds?first_day={today}&last_day={today}&limit={PAGE}",
            headers=self._headers, name="/v1/frauds",
        )  # fmt: skip

    @task(15)
    def look_up(self) -> None:
        """One transaction by its id."""
        if self._answered:
            transaction, _ = random.choice(self._answered)
            path = f"/v1/predictions/{transaction['transaction_id']}"
            self.client.get(path, headers=self._headers, name="/v1/predictions/{transaction_id}")

    @task(5)
    def count(self) -> None:
        """The last week's counts."""
        today = datetime.now(UTC).date()
        self.client.get(
            f"/v1/statistics?first_day={today - timedelta(days=6)}&last_day={today}",
            headers=self._headers, name="/v1/statistics",
        )  # fmt: skip

    @task(5)
    def label(self) -> None:
        """What an analyst found out; most suspicions are unfounded."""
        if not self._answered:
            return
        transaction, _ = random.choice(self._answered)
        found = "fraud" if random.random() < 0.1 else "legitimate"
        body = {"transaction_id": transaction["transaction_id"], "label": found, "note": "locust"}
        with self._post("/v1/labels", body) as response:
            if response.status_code != 201:
                response.failure(f"status {response.status_code}")

    def _post(self, path: str, body: dict[str, Any], name: str | None = None) -> Any:  # noqa: ANN401
        return self.client.post(
            path, json=body, headers=self._headers, name=name or path, catch_response=True
        )

    def _transaction(self) -> dict[str, Any]:
        """A few payers and payees have most of the transactions, and amounts a long tail."""
        options = self.environment.parsed_options
        transaction = {
            "transaction_id": f"locust-{uuid.uuid4()}",
            "event_time": datetime.now(UTC).isoformat(),
            "amount": round(random.lognormvariate(3.5, 1.0), 2),
            "payer_id": f"locust-C{int(options.payers * random.random() ** 2)}",
            "payee_id": f"locust-M{int(options.payees * random.random() ** 3)}",
        }
        if self._kinds:
            transaction["kind"] = random.choice(self._kinds)
        return transaction
