"""A scoring service as tutorials write it: FastAPI, pydantic, pandas, `predict_proba`, SQLite.

A row of features for the customer and one for the terminal are looked up by `pandas.read_sql`, a
one-row DataFrame goes to the classifier, and the answer is inserted and committed. Served by
uvicorn, `serving_plain:app` or `:async_app`; what it reads is made by `serving_world` in the
folder `PLAIN_FOLDER`.

Where there was a choice it has the quicker one: a connection kept for each thread and no
SQLAlchemy (a third slower); SQLite with a write-ahead log and without a sync at each commit, which
is as durable as the journal of our service; one thread for the single row. And it has less to do:
its features are those of the last night, its probability is not calibrated, nothing is asked
before a repeated insert, and there are no reasons.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from datetime import datetime
from pathlib import Path

import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel
from xgboost import XGBClassifier

FOLDER = Path(os.environ["PLAIN_FOLDER"])
CHOICES = json.loads((FOLDER / "choices.json").read_text("utf-8"))
COLUMNS: list[str] = CHOICES["columns"]
CATEGORIES: dict[str, dict[str, int]] = CHOICES["categories"]
THRESHOLD: float = CHOICES["threshold"]

app = FastAPI()
async_app = FastAPI()
model = XGBClassifier(n_jobs=1)
model.load_model(FOLDER / "model.ubj")
_of_thread = threading.local()


def connect() -> sqlite3.Connection:
    """The connection of this thread."""
    if not hasattr(_of_thread, "connection"):
        _of_thread.connection = sqlite3.connect(FOLDER / "plain.db", timeout=30)
        _of_thread.connection.execute("PRAGMA synchronous = NORMAL")
    connection: sqlite3.Connection = _of_thread.connection
    return connection


class Transaction(BaseModel):
    """What is asked."""

    transaction_id: str
    event_time: datetime
    amount: float
    payer_id: str
    payee_id: str
    kind: str | None = None


class Answer(BaseModel):
    """What is answered."""

    transaction_id: str
    probability: float
    decision: str


@app.post("/score")
def score(transaction: Transaction) -> Answer:
    """Look up, predict, store, answer."""
    connection = connect()
    customer = pd.read_sql(
        "SELECT * FROM customers WHERE payer_id = ?", connection, params=(transaction.payer_id,)
    )
    terminal = pd.read_sql(
        "SELECT * FROM terminals WHERE payee_id = ?", connection, params=(transaction.payee_id,)
    )
    features = {
        "amount": transaction.amount,
        "hour": transaction.event_time.hour,
        "is_night": transaction.event_time.hour <= 6,
        "is_weekend": transaction.event_time.weekday() >= 5,
        "kind": CATEGORIES.get("kind", {}).get(transaction.kind or ""),
    }
    for found in (customer, terminal):
        if len(found):
            features |= found.to_dict("records")[0]
    row = pd.DataFrame([[features.get(name) for name in COLUMNS]], columns=COLUMNS, dtype="float32")
    probability = float(model.predict_proba(row)[0, 1])
    decision = "alert" if probability >= THRESHOLD else "pass"
    with connection:
        connection.execute(
            "INSERT INTO answers VALUES (?, ?, ?, ?)",
            (
                transaction.transaction_id, transaction.event_time.isoformat(), probability,
                decision,
            ),
        )  # fmt: skip
    return Answer(
        transaction_id=transaction.transaction_id, probability=probability, decision=decision
    )


@async_app.post("/score")
async def score_on_the_loop(transaction: Transaction) -> Answer:
    """The same, while everybody else waits: no threads that quarrel about the interpreter."""
    return score(transaction)
