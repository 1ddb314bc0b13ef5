"""Sixty days of records as the graph makes them: quiet, then a change, then a new champion."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import date, timedelta
from html.parser import HTMLParser
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fraud_assets.monitoring.policy import Decision, Finding
from fraud_assets.monitoring.records import Alternative, DayDrift, DayPerformance
from fraud_assets.monitoring.reporting.dashboard import DashboardFacts
from fraud_assets.transactions.profile import MonitoringChoices

FIRST = date(2026, 10, 1)
DELAY = 7
CHANGE = 30
"""Place of the day on which fraudsters and customers change."""

PROMOTED = 44
"""Place of the first day of the second champion."""


def day_at(place: int) -> date:
    return FIRST + timedelta(days=place)


def champion_at(place: int) -> str:
    return "1" if place < PROMOTED else "2"


def drift_at(place: int, **changes: Any) -> DayDrift:
    """A day's drift; a third of the inputs moves at the change, until the new champion."""
    moved = CHANGE <= place < PROMOTED
    wave = 0.02 * np.sin(place)
    values: dict[str, Any] = {
        "day": day_at(place),
        "status": "measured",
        "drift_share": 0.41 + wave if moved else 0.06 + wave,
        "drifted_columns": ["amount", "payer_count_1d"] if moved else [],
        "drifted_weight": 0.55 + wave if moved else 0.04 + abs(wave),
        "top_causes": ["amount"] if moved else [],
        "score_drift": 0.35 + wave if moved else 0.05 + wave,
        "score_drifted": moved,
        "alert_share": 0.021 if moved else 0.008 + 0.1 * wave**2,
        "reference_alert_share": 0.008,
        "alert_rate_ratio": 2.6 if moved else 1.0,
        "alert_rate_moved": moved,
        "broken_columns": [],
        "broken_weights": {"1": 0.0, "rules-1": 0.0},
        "worst_missing_increase": 0.0,
        "worst_unseen_share": 0.001,
        "worst_out_of_range_share": 0.0,
        "rows": 20_000,
        "reference_rows": 400_000,
        "reference": "2026-08-01 to 2026-09-20",
        "method": "normalised Wasserstein (numbers), Jensen-Shannon (categories)",
        "column_threshold": 0.1,
        "champion_version": champion_at(place),
        "reference_version": champion_at(place),
        "report_path": "lake/drift_report/report.html",
    }
    return DayDrift(**{**values, **changes})


def performance_at(place: int, **changes: Any) -> DayPerformance:
    """A day's performance; the matured day is `DELAY` days before, the first ones have none."""
    then = place - DELAY
    if then < 0:
        return unjudged_at(place, **changes)
    wave = 0.05 * np.sin(1.7 * then)
    level = 0.22 if CHANGE <= then < PROMOTED else 0.58
    gate = {"1": 0.6, "2": 0.55}
    values: dict[str, Any] = {
        "day": day_at(place),
        "matured_day": day_at(then),
        "model_version": champion_at(then),
        "rows": 20_000,
        "labelled_share": 0.98,
        "judged_rows": 19_400,
        "positives": 160 + then,
        "average_precision": level + wave,
        "average_precision_at_gate_rate": level + wave - 0.01,
        "average_precision_low": level + wave - 0.07,
        "average_precision_high": level + wave + 0.08,
        "week_average_precision": level,
        "week_low": level - 0.03,
        "week_high": level + 0.03,
        "week_days": min(7, then + 1),
        "card_precision": 0.42,
        "card_precision_ceiling": 0.9,
        "recall_at_budget": 0.5,
        "alert_precision": 0.4,
        "alert_recall": 0.6,
        "brier": 0.0052,
        "savings": 0.45,
        "loss_without_alerts": 40_000.0,
        "fraud_share": 0.0083 + 0.02 * wave,
        "reference_fraud_share": 0.0085,
        "fraud_rate_ratio": 1.02,
        "fraud_rate_moved": False,
        "estimated_frauds": 158.0,
        "estimated_average_precision": 0.57,
        "estimated_alert_precision": 0.41,
        "estimated_alert_recall": 0.6,
        "matured_estimated_frauds": 151.0,
        "matured_estimated_average_precision": 0.56 - 0.1 * wave,
        "estimate_error": 0.56 - level,
        "frauds_surprise": 0.7,
        "champion_version": champion_at(place),
        "champion_gate_average_precision": gate[champion_at(place)],
        "recent_average_precision": level,
        "recent_low": level - 0.05,
        "recent_high": level + 0.05,
        "recent_days": 3,
        "recent_frauds": 480,
        "alternatives": [ALTERNATIVE] if champion_at(place) == "2" else [],
    }
    return DayPerformance(**{**values, **changes})


ALTERNATIVE = Alternative(
    version="1", kind="former", days=7, frauds=1120, average_precision=0.22, gain=-0.33,
    gain_low=-0.38, gain_high=-0.27, cost_gain=-8_400.0, cost_gain_low=-9_900.0,
    cost_gain_high=-7_100.0,
)  # fmt: skip


def unmeasured_at(place: int, **changes: Any) -> DayDrift:
    """A day without a champion to compare with."""
    hollow = dict.fromkeys(DayDrift.model_fields) | {
        "day": day_at(place), "status": "nothing to compare with: no model yet",
        "drifted_columns": [], "top_causes": [], "broken_columns": [], "broken_weights": {},
        "rows": 20_000, "reference_rows": 0, "reference": "", "method": "", "column_threshold": 0.1,
        "champion_version": "rules-1", "reference_version": "", "report_path": "",
    }  # fmt: skip
    return DayDrift(**{**hollow, **changes})


def unjudged_at(place: int, **changes: Any) -> DayPerformance:
    """A day before the first labels have matured, scored by the rules."""
    counts = ("rows", "judged_rows", "positives", "week_days", "recent_days", "recent_frauds")
    hollow = dict.fromkeys(DayPerformance.model_fields) | dict.fromkeys(counts, 0)
    hollow |= {
        "day": day_at(place), "model_version": "", "champion_version": "rules-1",
        "alternatives": [],
    }  # fmt: skip
    return DayPerformance(**{**hollow, **changes})


@pytest.fixture(scope="session")
def drift_day() -> Callable[..., DayDrift]:
    """Makes the drift record of a place, with changes."""
    return drift_at


@pytest.fixture(scope="session")
def performance_day() -> Callable[..., DayPerformance]:
    """Makes the performance record of a place, with changes."""
    return performance_at


@pytest.fixture(scope="session")
def unmeasured_day() -> Callable[..., DayDrift]:
    """Makes the drift record of a day on which nothing was computable."""
    return unmeasured_at


@pytest.fixture(scope="session")
def unjudged_day() -> Callable[..., DayPerformance]:
    """Makes the performance record of a day on which nothing was computable."""
    return unjudged_at


def decided(place: int, **changes: Any) -> Decision:
    """A decision: the champion is fallen back from because of broken inputs, and performance."""
    values: dict[str, Any] = {
        "day": day_at(place),
        "action": "fall_back",
        "rule": "broken_inputs",
        "champion": champion_at(place),
        "target": "rules-1",
        "since": day_at(CHANGE),
        "reason": "broken inputs kind are 27% of what champion 1 goes by",
        "findings": (
            Finding(kind="broken_inputs", text="broken inputs: kind"),
            Finding(kind="decay", text="average precision 0.220", since=day_at(CHANGE)),
        ),
        "numbers": {"drift_share": 0.41, "frauds": 12, "score_drift": 0.35, "recent_high": None},
    }
    return Decision(**{**values, **changes})


@pytest.fixture(scope="session")
def decision() -> Callable[..., Decision]:
    """Makes the decision of a place, with changes."""
    return decided


COMPARED = [
    # column, distance, drifted, share in training, share today, weight
    ("amount", 0.9, True, 0.05, 0.15, 0.135),
    ("kind", 0.45, True, 0.21, 0.11, 0.095),
    ("payer_count_1d", 0.02, False, 0.2, 0.2, 0.004),
    ("constant", None, None, 0.0, 0.0, None),
]
TABLES: dict[str, Any] = {
    "columns": [
        {
            "column": name, "method": "wasserstein", "value": distance, "threshold": 0.1,
            "drifted": drifted, "current": "231.5", "reference": "88.4", "current_missing": 0.0,
            "reference_missing": 0.0, "reason": None if distance else "no scale to measure by",
        }
        for name, distance, drifted, *_ in [("score", 0.35, True), *COMPARED]
    ],
    "causes": [
        {
            "feature": name, "distance": distance, "drifted": drifted, "trained_share": trained,
            "today_share": today, "weight": weight, "sentence": "",
        }
        for name, distance, drifted, trained, today, weight in COMPARED
    ],
    "quality": [
        {
            "column": name, "sort": "number", "missing": 0.33, "reference_missing": 0.001,
            "missing_increase": 0.329, "unseen_share": None, "out_of_range_share": 0.0,
            "by_chance": 0.0, "stuck": False, "broken": broken, "reason": reason,
        }
        for name, broken, reason in (
            ("kind", True, "33% missing, 0.1% in the reference"),
            ("amount", False, None),
            ("constant", None, "no value in the reference"),
        )
    ],
    "quarantine": [{"reason": "amount: greater_than(0)", "rows": 210}],
    "top_alerts": [
        {
            "transaction_id": f"t{i}", "payer_id": f"C{i}", "amount": 1893.2, "score": 0.98,
            "reasons": ["amount is 12.3 times the payer's usual", "new payee"],
        }
        for i in range(3)
    ],
}  # fmt: skip


@pytest.fixture(scope="session")
def facts() -> Callable[..., DashboardFacts]:
    """Makes all that is known of place 43, the day before the second champion, with changes."""

    def made(**changes: Any) -> DashboardFacts:
        place = PROMOTED - 1
        broken = {"broken_columns": ["kind"], "broken_weights": {"1": 0.27, "rules-1": 0.0}}
        rules = ALTERNATIVE.model_copy(
            update={"version": "rules-1", "kind": "rules", "gain": 0.1, "gain_low": 0.05,
                    "gain_high": 0.15}
        )  # fmt: skip
        values: dict[str, Any] = {
            "profile": "simulator",
            "decision": decided(place),
            "choices": MonitoringChoices(),
            "champion_since": FIRST,
            "drift_days": [*(drift_at(at) for at in range(place)), drift_at(place, **broken)],
            "performance_days": [
                *(performance_at(at) for at in range(place)),
                performance_at(place, alternatives=[ALTERNATIVE, rules]),
            ],
            "past_decisions": [
                decided(at, action="warn", rule="findings", target=None, reason=f"drift on {at}")
                for at in range(20, place)
            ],
            "quarantined_rows": 210,
            "raw_rows": 20_210,
            "links": {"Evidently's report": "../../drift_report/day=2026-11-13/report.html"},
            **TABLES,
        }
        return DashboardFacts(**{**values, **changes})

    return made


@pytest.fixture(scope="session")
def hollow_facts() -> DashboardFacts:
    """A first day of which nothing is computable."""
    return DashboardFacts(
        profile="simulator",
        decision=decided(
            0, action="nothing", rule="quiet", champion="rules-1", target=None, since=None,
            reason="no model yet; realised performance not known yet", findings=(), numbers={},
        ),
        choices=MonitoringChoices(),
        drift_days=[unmeasured_at(0)],
        performance_days=[unjudged_at(0)],
    )  # fmt: skip


class Reading(HTMLParser):
    """A page as a browser would take it: its elements, its text, and whether they nest."""

    VOID = ("meta", "img", "br")

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page.decode())
        self.close()

    @property
    def text(self) -> str:
        """All the words in their order."""
        return " ".join(self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and data.strip():
            self.words.append(" ".join(data.split()))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="session")
def read() -> type[Reading]:
    """Reads a page."""
    return Reading


Pixels = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


@pytest.fixture(scope="session")
def opened() -> Callable[[bytes], Image.Image]:
    """Reads a PNG file, all of it."""

    def read(png: bytes) -> Image.Image:
        image = Image.open(io.BytesIO(png))
        image.load()
        return image

    return read


@pytest.fixture(scope="session")
def painted(opened: Callable[[bytes], Image.Image]) -> Callable[[bytes, str], Pixels]:
    """Finds rows and columns of the pixels that have nearly a colour, written "#rrggbb"."""

    def found(png: bytes, colour: str) -> Pixels:
        picture: npt.NDArray[Any] = np.asarray(opened(png).convert("RGB")).astype(int)
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        rows, columns = np.nonzero(np.abs(picture - wanted).sum(axis=2) < 12)
        return rows, columns

    return found
