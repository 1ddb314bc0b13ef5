"""The page of a day on which something was out of order; quiet days have none."""

from __future__ import annotations

import html
from html.parser import HTMLParser

import dagster as dg
import pytest

from fraud_assets.assets import DASHBOARD, DECISION, DRIFT, PREDICTIONS
from fraud_assets.assets.monitoring.setting import DASHBOARD_FILE, REPORT_FILE
from fraud_assets.jobs import DAILY_PIPELINE
from fraud_assets.metadata import DashboardRecord
from fraud_assets.simulation import quiet_logs

pytestmark = pytest.mark.slow


class Loads(HTMLParser):
    """What a page would load, and where its links go."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            if name in ("src", "srcset", "data", "poster") or (name, tag) == ("href", "link"):
                self.loads.append(value or "")
            elif name == "href":
                self.links.append(value or "")


def test_a_quiet_day_has_no_page(served) -> None:
    said = served.said(DASHBOARD, 13, DashboardRecord)
    assert said.status == f"quiet: {served.decided(13).reason}"
    assert (said.findings, said.page) == (0, "")
    assert not served.lake.has_day(DASHBOARD, served.day(13), DASHBOARD_FILE)


@pytest.fixture(scope="module")
def broken(copies, served):
    """The same installation after a day on which the feed broke."""
    made = copies(served)
    made.live(lambda row: {**row, "device_age": ""})
    return made


def test_a_day_with_findings_has_a_page_with_what_was_decided_and_why(broken) -> None:
    decision = broken.decided(14)
    said = broken.said(DASHBOARD, 14, DashboardRecord)
    assert (said.status, said.findings) == ("fall_back", len(decision.findings))
    assert said.page == str(broken.lake.path(DASHBOARD, broken.day(14), DASHBOARD_FILE))
    page = broken.lake.read_document(DASHBOARD, broken.day(14), DASHBOARD_FILE).decode()
    text = html.unescape(page)
    assert str(broken.day(14)) in text
    assert decision.reason in text
    for finding in decision.findings:
        assert finding["text"] in text
    # The broken input, the decisions before this one, and the day's first alert are on it.
    assert "device_age" in text
    assert broken.decided(9).reason in text
    alerts = broken.lake.read_days(PREDICTIONS, [broken.day(14)])
    alerts = alerts.filter(alerts["decision"] == "alert").sort("score", descending=True)
    assert alerts.height == 0 or alerts["transaction_id"][0] in text


def test_the_page_loads_nothing_from_elsewhere_and_its_links_lead_somewhere(broken) -> None:
    path = broken.lake.path(DASHBOARD, broken.day(14), DASHBOARD_FILE)
    page = path.read_text()
    found = Loads(page)
    assert found.loads
    assert all(one.startswith("data:") for one in found.loads), found.loads
    assert not found.tags & {"script", "iframe", "object", "embed"}
    assert "url(http" not in page
    assert "@import" not in page
    there = f"http://127.0.0.1:3000/assets/{DECISION}?partition={broken.day(14)}"
    assert there in found.links
    [report] = [one for one in found.links if one.endswith(REPORT_FILE)]
    assert (path.parent / report).resolve() == broken.lake.path(
        DRIFT, broken.day(14), REPORT_FILE
    ).resolve()


def test_the_page_is_made_again_with_the_same_bytes(broken) -> None:
    before = broken.lake.read_document(DASHBOARD, broken.day(14), DASHBOARD_FILE)
    broken.close(14, DASHBOARD)
    assert broken.lake.read_document(DASHBOARD, broken.day(14), DASHBOARD_FILE) == before


def test_a_day_on_which_nothing_was_decided_is_named_with_the_remedy(served) -> None:
    with quiet_logs():
        result = served.repository.get_job(DAILY_PIPELINE).execute_in_process(
            instance=served.instance,
            partition_key=str(served.day(20)),
            asset_selection=[dg.AssetKey(DASHBOARD)],
            raise_on_error=False,
        )
    step, message = served.failure(result)
    assert step == DASHBOARD
    assert f"{served.day(20)}: nothing has been decided" in message
    assert f"materialise {DECISION} of {served.day(20)} first" in message
