"""A model's card: what it is, how it was judged, and what its numbers warn of, as Markdown.

The sections are those of Mitchell et al. 2019 ("Model Cards for Model Reporting"); their text is
in `templates/model_card.md.j2`. Every number comes from the manifest, the policy and the gate's
report; nothing is measured here. The same report as a page for the browser is made in `page`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from fraud_assets.modeling.decision import NEVER, DecisionPolicy
from fraud_assets.modeling.manifest import ModelManifest
from fraud_assets.modeling.reporting.caveats import caveats
from fraud_assets.modeling.reporting.document import ReportDocument
from fraud_assets.modeling.reporting.rendering import render_template


def model_card(
    manifest: ModelManifest,
    report_document: Mapping[str, Any] | None,
    *,
    policy: DecisionPolicy,
    version: str,
    description: str,
) -> str:
    """The card of one version, as GitHub-flavoured Markdown without raw HTML.

    What could not be computed is called so. The same inputs give the same text.

    Args:
        manifest: the model's record.
        report_document: of `GateReport.document`, as JSON gives it; None before the gate.
        policy: the model's threshold and where it comes from.
        version: the name under which it is registered.
        description: what the profile says about the data; may be empty.

    Raises:
        ReportDocumentError: the document is not a gate report.
    """
    report = None if report_document is None else ReportDocument.read(report_document)
    slices = report.candidate.slices if report is not None else ()
    shares = manifest.feature_importance
    return render_template(
        "model_card.md.j2",
        {
            "manifest": manifest,
            "policy": policy,
            "report": report,
            "version": version,
            "description": description,
            "caveats": caveats(manifest, policy, report),
            "slices": [(n, list(g)) for n, g in groupby(slices, key=lambda one: one.dimension)],
            "features": sorted(manifest.features, key=lambda name: -shares.get(name, 0.0)),
            "alerts_nothing": policy.threshold >= NEVER,
        },
    )
