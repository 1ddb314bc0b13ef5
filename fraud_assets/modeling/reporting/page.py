"""An evaluation as one page for the browser, with the decision on top.

The page stands alone: styles and pictures are in it, it runs no script and asks nobody for
anything, so that it can be kept beside the report and opened years later. Its text is in
`templates/evaluation.html.j2`; here its numbers are put on scales. The same report as Markdown is
made in `card`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal

from fraud_assets.modeling.bootstrap import Interval
from fraud_assets.modeling.decision import NEVER, DecisionPolicy
from fraud_assets.modeling.manifest import DayWindow, ModelManifest
from fraud_assets.modeling.reporting.caveats import caveats
from fraud_assets.modeling.reporting.document import ReportDocument
from fraud_assets.modeling.reporting.parts import Scale, Span, picture
from fraud_assets.modeling.reporting.rendering import render_template

CAPTIONS: Final = {
    "precision_recall": "Precision over recall on the gate days; the dots are the review budget.",
    "calibration": "Predicted probability against what was observed, both logarithmic.",
    "cost_curve": "What a day costs at each threshold, losses and reviews.",
    "by_day": "Average precision of each gate day.",
    "slices": "Share of frauds caught in each slice.",
}


@dataclass(frozen=True)
class GainRow:
    """A gain in average precision over one rival; the spans are None where not computable."""

    rival: str
    gain: Interval
    at: float | None
    span: Span | None


@dataclass(frozen=True)
class DayRow:
    """One line of the calendar: what was fitted on which days, and judged on which."""

    name: str
    fitted: DayWindow
    judged: DayWindow
    fitted_at: Span
    judged_at: Span
    role: Literal["fold", "gate"]


def evaluation_page(
    manifest: ModelManifest,
    document: Mapping[str, Any],
    pictures: Mapping[str, bytes],
    *,
    policy: DecisionPolicy,
    title: str,
) -> str:
    """The page, as HTML; the same inputs give the same text.

    Args:
        manifest: the candidate's record.
        document: of `GateReport.document`, as JSON gives it.
        pictures: PNG by name, in the order in which they are shown.
        policy: the candidate's threshold and where it comes from.
        title: of the page, such as "Version 4, as of 2026-11-15".

    Raises:
        ReportDocumentError: the document is not a gate report.
        ValueError: a picture is not a PNG.
    """
    report = ReportDocument.read(document)
    judged = report.candidate
    gains, zero = _gains(report)
    return render_template(
        "evaluation.html.j2",
        {
            "title": title,
            "manifest": manifest,
            "policy": policy,
            "report": report,
            "caveats": caveats(manifest, policy, report),
            "gains": gains,
            "zero": zero,
            "calendar": _calendar(manifest),
            "slices": [
                (name, list(group))
                for name, group in groupby(judged.slices, key=lambda one: one.dimension)
            ],
            "features": _features(manifest),
            "alerts_nothing": policy.threshold >= NEVER,
            "pictures": [
                picture(name, CAPTIONS.get(name, name.replace("_", " ")), png)
                for name, png in pictures.items()
            ],
        },
    )


def _gains(report: ReportDocument) -> tuple[list[GainRow], float]:
    """The gains over champion and baselines on one scale, and where its zero is."""
    rivals: list[tuple[str, Interval]] = [
        (report.champion_title, report.comparison.average_precision_gain),
        *((one.name, one.candidate_gain) for one in report.baselines),
    ]
    ends = (end for _, gain in rivals for end in (gain.estimate, gain.low, gain.high))
    scale = Scale.around(ends)
    rows = [
        GainRow(rival, gain, scale.point(gain.estimate), scale.span(gain.low, gain.high))
        for rival, gain in rivals
    ]
    return rows, scale.place(0.0)


def _calendar(manifest: ModelManifest) -> list[DayRow]:
    """Folds and the final fit, oldest first, on the days from the first used to the training's."""
    lines: list[tuple[str, DayWindow, DayWindow, Literal["fold", "gate"]]] = [
        (f"fold {number}", fold.train_window, fold.validation_window, "fold")
        for number, fold in enumerate(manifest.folds, start=1)
    ]
    lines.append(("the model", manifest.train_window, manifest.gate_window, "gate"))
    first = min(fitted.first for _, fitted, _, _ in lines)
    days = (manifest.trained_as_of - first).days + 1

    def span(window: DayWindow) -> Span:
        return Span(
            left=round(100 * (window.first - first).days / days, 2),
            width=round(100 * ((window.last - window.first).days + 1) / days, 2),
        )

    return [
        DayRow(name, fitted, judged, span(fitted), span(judged), role)
        for name, fitted, judged, role in lines
    ]


def _features(manifest: ModelManifest) -> Sequence[tuple[str, float | None, float]]:
    """Name, share and length of its bar, the largest share first and its bar full."""
    shares = manifest.feature_importance
    largest = max(shares.values(), default=0.0) or 1.0
    names = sorted(manifest.features, key=lambda name: -shares.get(name, 0.0))
    return [
        (name, shares.get(name), round(100 * shares.get(name, 0.0) / largest, 1)) for name in names
    ]
