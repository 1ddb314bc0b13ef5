"""An evaluation page stands alone, has the decision on top, and lets no word become markup."""

import base64
import re
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_assets.modeling.reporting.document import ReportDocumentError
from fraud_assets.modeling.reporting.page import evaluation_page
from fraud_assets.modeling.reporting.plots import slice_bars

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Reading(HTMLParser):
    """The page as a browser would take it: its elements, its text, and whether they nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += [data.strip()] if data.strip() else []

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def pictures(gate_report):
    return {"slices": slice_bars(gate_report.candidate.slices), "own_idea": slice_bars([])}


@pytest.fixture
def page(manifest, policy, gate_document, pictures) -> str:
    return evaluation_page(manifest, gate_document, pictures, policy=policy, title="Version 4")


def test_the_page_is_well_formed(page):
    reading = Reading(page)

    assert page.startswith("<!doctype html>")
    assert reading.open == []
    assert [attributes["lang"] for attributes in reading.named("html")] == ["en"]
    assert reading.text.count("Version 4") == 2  # in the head's title and as the heading


def test_the_page_asks_nobody_for_anything_and_runs_nothing(page):
    reading = Reading(page)

    tags = {tag for tag, _ in reading.elements}
    assert not tags & {"script", "link", "iframe", "object", "form", "base"}
    for tag, attributes in reading.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), tag
    assert "://" not in page
    assert "@import" not in page
    assert "url(" not in page
    (policy,) = [a for a in reading.named("meta") if a.get("http-equiv")]
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_it_can_be_read_on_a_phone_and_in_the_dark(page):
    contents = {a.get("name"): a.get("content") for a in Reading(page).named("meta")}

    assert contents["viewport"] == "width=device-width, initial-scale=1"
    assert contents["color-scheme"] == "light dark"
    assert "@media (prefers-color-scheme: dark)" in page


def test_the_decision_and_its_reasons_stand_above_everything_else(page, gate_report):
    text = " ".join(Reading(page).text)

    reasons = [check.reason for check in gate_report.decision.checks]
    order = ["Promoted: it was better than champion 3", *reasons, "Saved against doing nothing",
             "Before you trust it", "Slices", "How it was trained"]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_a_condition_that_failed_is_told_in_words_and_not_by_colour_alone(
    manifest, policy, gate_document
):
    gate_document["decision"]["promote"] = False
    gate_document["decision"]["checks"][0]["passed"] = False

    page = evaluation_page(manifest, gate_document, {}, policy=policy, title="Version 4")

    marks = [a["aria-label"] for a in Reading(page).named("span") if a.get("class") == "mark"]
    assert marks[0] == "does not hold"
    assert set(marks[1:]) == {"holds"}
    assert "Not promoted: champion 3 stays in force." in page


def test_pictures_are_in_the_page_with_words_for_who_cannot_see_them(page, pictures):
    images = Reading(page).named("img")

    sent = [
        base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) for image in images
    ]
    assert sent == list(pictures.values())
    assert images[0]["alt"] == "slices: Share of frauds caught in each slice."
    assert images[1]["alt"] == "own idea: own idea"


def test_a_page_without_pictures_has_no_empty_section(manifest, policy, gate_document):
    page = evaluation_page(manifest, gate_document, {}, policy=policy, title="Version 4")

    assert "Pictures" not in Reading(page).text


def test_what_is_no_png_is_refused(manifest, policy, gate_document):
    with pytest.raises(ValueError, match="'cost' is not a PNG"):
        evaluation_page(manifest, gate_document, {"cost": b"<svg>"}, policy=policy, title="4")


def test_words_of_users_become_no_markup(manifest, policy, gate_document):
    attack = "\"><script>alert('x')</script>"
    gate_document["candidate"]["slices"][0]["value"] = attack
    gate_document["champion_title"] = attack
    gate_document["baselines"][0]["detail"] = attack
    gate_document["decision"]["checks"][0]["reason"] = attack

    page = evaluation_page(manifest, gate_document, {}, policy=policy, title=attack)

    reading = Reading(page)
    assert not reading.named("script")
    assert sum(attack in text for text in reading.text) >= 5


def test_every_slice_fold_family_feature_and_day_has_its_line(page, gate_report, manifest):
    text = Reading(page).text

    for one in gate_report.candidate.slices:
        assert one.value in text
    for fold in manifest.folds:
        assert f"{fold.validation_window.first} to {fold.validation_window.last}" in text
    for family in manifest.families:
        assert any(one.startswith(family.family.replace("_", " ")) for one in text)
    for name in manifest.feature_names:
        assert name in text
    for day in gate_report.candidate.by_day:
        assert str(day.day) in text


def test_what_is_not_computable_is_called_so_and_nothing_is_none(manifest, policy, hollow_document):
    page = evaluation_page(manifest, hollow_document, {}, policy=policy, title="Version 4")

    text = " ".join(Reading(page).text)
    assert text.count("not computable") > 30
    assert not re.search(r"\b(None|nan|inf|Undefined)\b", text)


def test_bars_of_what_is_not_computable_are_not_drawn(manifest, policy, hollow_document):
    page = evaluation_page(
        manifest.model_copy(update={"feature_importance": {}}), hollow_document, {},
        policy=policy, title="Version 4",
    )  # fmt: skip

    reading = Reading(page)
    assert not [a for a in reading.named("span") if a.get("class") == "share"]
    assert not [a for a in reading.named("b") if "style" in a]


def test_the_calendar_shows_each_fold_and_the_gate_in_their_days(page, manifest):
    tracks = [a["aria-label"] for a in Reading(page).named("div") if a.get("class") == "track"]

    assert len(tracks) == len(manifest.folds) + 1
    assert tracks[-1] == ("fitted on 2025-01-28 to 2025-03-04, judged on 2025-03-12 to 2025-03-16")


def drawn(page: str) -> list[tuple[float, float]]:
    """Left end and width of everything that is drawn on a scale, in percent."""
    styles = [a.get("style") or "" for _, a in Reading(page).elements]
    found = [re.fullmatch(r"(?:left:([-\d.e]+)%;?)?(?:width:([-\d.e]+)%)?", one) for one in styles]
    return [(float(m[1] or 0), float(m[2] or 0)) for m in found if m and m[0]]


FINITE = st.floats(-1, 1)


@settings(
    max_examples=25, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    gains=st.lists(
        st.tuples(FINITE, FINITE, FINITE).map(sorted) | st.just([None, None, None]),
        min_size=3, max_size=3,
    )
)  # fmt: skip
def test_everything_that_is_drawn_lies_on_its_scale(manifest, policy, gate_document, gains):
    holders = [
        (gate_document["comparison"], "average_precision_gain"),
        *((one, "candidate_gain") for one in gate_document["baselines"]),
    ]
    for (holder, key), (low, estimate, high) in zip(holders, gains, strict=True):
        holder[key] |= {"low": low, "estimate": estimate, "high": high}

    page = evaluation_page(manifest, gate_document, {}, policy=policy, title="Version 4")

    marks = drawn(page)
    assert len(marks) > 40
    for left, width in marks:
        assert left >= 0
        assert width >= 0
        assert left + width <= 100.02


def test_a_gain_stands_on_the_side_of_zero_that_it_is_on(manifest, policy, gate_document):
    gate_document["comparison"]["average_precision_gain"] |= {
        "estimate": -0.1, "low": -0.2, "high": -0.05
    }  # fmt: skip
    page = evaluation_page(manifest, gate_document, {}, policy=policy, title="Version 4")

    rows = re.findall(
        r'<u style="left:([\d.]+)%"></u><i style="left:([\d.]+)%;width:([\d.]+)%"></i>'
        r'<b style="left:([\d.]+)%">', page,
    )  # fmt: skip
    (zero, left, width, at), (_, better, _, _), *_ = [[float(n) for n in row] for row in rows]
    assert left < at < left + width < zero < better


def test_the_same_inputs_give_the_same_page(manifest, policy, gate_document, pictures, page):
    again = evaluation_page(manifest, gate_document, pictures, policy=policy, title="Version 4")

    assert again == page


def test_a_document_that_is_no_report_is_refused(manifest, policy):
    with pytest.raises(ReportDocumentError, match="evaluate the candidate again"):
        evaluation_page(manifest, {}, {}, policy=policy, title="Version 4")
