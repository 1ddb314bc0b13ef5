"""The page behind an alert stands alone, has the decision on top, and says what is not known."""

import base64
import re
from datetime import timedelta

import pytest

from fraud_assets.monitoring.policy import Finding
from fraud_assets.monitoring.reporting.dashboard import LOG_DAYS, MOST_REASONS, dashboard_page

ATTACK = "\"><script>alert('x')</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page(facts, read):
    return read(dashboard_page(facts()))


def test_the_page_is_well_formed(page):
    assert page.open == []
    assert [attributes["lang"] for attributes in page.named("html")] == ["en"]
    assert len(page.named("h1")) == len(page.named("title")) == 1


def test_the_page_asks_nobody_for_anything_and_runs_nothing(facts, read):
    html = dashboard_page(facts())
    page = read(html)

    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "form"}
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert (attributes.get("src") or "data:").startswith("data:"), tag
    for words in (b"://", b"@import", b"url("):
        assert words not in html
    (policy,) = [a for a in page.named("meta") if a.get("http-equiv")]
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert len(html) < 200_000


def test_it_can_be_read_on_a_phone_and_in_the_dark(page, facts):
    contents = {a.get("name"): a.get("content") for a in page.named("meta")}

    assert contents["viewport"] == "width=device-width, initial-scale=1"
    assert contents["color-scheme"] == "light dark"
    assert b"@media (prefers-color-scheme: dark)" in dashboard_page(facts())


def test_what_was_decided_and_why_and_what_to_do_stand_above_everything_else(page):
    order = [
        "Falls back from version 1 to the rule set rules-1.",
        "Because inputs that the champion goes by are broken: broken inputs kind are 27% of what",
        "The change that is to be learnt began on 2026-10-31.",
        "broken inputs: kind", "average precision 0.220", "since 2026-10-31",
        "fraud-assets rollback --to 1", "was a column renamed", "Trends", "Data quality",
        "Performance of matured days", "Other models", "Top alerts of the day",
    ]  # fmt: skip
    places = [page.text.rindex(words) for words in order]
    assert places == sorted(places)


def test_the_way_about_the_page_leads_to_its_sections(page):
    goals = [a["href"] for a in page.named("a") if a["href"].startswith("#")]

    assert goals == [f"#{a['id']}" for a in page.named("section")]


def test_the_tone_of_a_decision_is_also_in_its_words(facts, decision, read):
    calm = decision(43, action="nothing", rule="quiet", findings=(), target=None, reason="all well")
    page = read(dashboard_page(facts(decision=calm)))

    (verdict,) = [a for a in page.named("div") if "verdict" in (a.get("class") or "")]
    assert verdict["class"] == "verdict calm"
    assert "Nothing to do." in page.text


def test_all_the_days_are_in_the_pictures_which_have_words_too(page):
    images = page.named("img")
    pngs = [base64.b64decode(one["src"].removeprefix("data:image/png;base64,")) for one in images]

    assert [one["alt"].split(":")[0] for one in images] == ["performance", "drift", "rates"]
    assert all(png.startswith(b"\x89PNG") for png in pngs)


def cells(page, row_header: str) -> list[str]:
    """The words of the first table row that begins with some words, up to the next row's."""
    start = page.words.index(row_header)
    return page.words[start : start + 12]


def test_drifted_inputs_stand_by_their_weight_with_what_the_model_goes_by(page):
    section = page.text[page.text.index("normalised Wasserstein") :]

    assert section.index("amount") < section.index("kind") < section.index("2 inputs that did not")
    assert cells(page, "amount")[:6] == ["amount", "0.90", "231.5", "88.4", "5%, 15%", "0.135"]
    assert "no scale to measure by" in page.text
    assert "The scores: moved 0.35, mean 231.5 today and 88.4 on the gate's days" in page.text
    widths = [a["style"] for a in page.named("span") if a.get("class") == "share"]
    assert widths == ["width:100.0%", "width:70.4%"]


def test_broken_inputs_are_told_with_the_reason_and_those_that_were_not_judged(page):
    assert cells(page, "kind") != []
    assert "33% missing, 0.1% in the reference" in page.text
    assert "27% of what version 1 goes by, 0% of what the rule set rules-1 goes by" in page.text
    assert page.text.index("Not judged") < page.text.index("no value in the reference")


def test_whole_inputs_are_said_to_be_whole(facts, read):
    whole = [{**one, "broken": False} for one in facts().quality]

    assert "3 inputs whole, none broken" in read(dashboard_page(facts(quality=whole))).text


def test_the_quarantine_is_told_by_reason_beside_what_is_allowed(page):
    assert "210 rows of 20,210 quarantined; 2% are allowed" in page.text
    assert cells(page, "amount: greater_than(0)")[:2] == ["amount: greater_than(0)", "210"]


def test_the_last_matured_days_have_their_intervals_the_newest_first(facts, read):
    given = facts()
    page = read(dashboard_page(given))

    shown = [day for day in page.words if re.fullmatch(r"2026-\d\d-\d\d", day)]
    newest = given.performance_days[-1]
    section = page.words[page.words.index("Performance of matured days") :]
    days = [words for words in section if re.fullmatch(r"2026-\d\d-\d\d", words)][:LOG_DAYS]
    assert days == [str(newest.matured_day - timedelta(days=i)) for i in range(LOG_DAYS)]
    low, high = newest.average_precision_low, newest.average_precision_high
    assert f"{low:.3f} to {high:.3f}" in page.text
    assert shown[0] == "2026-11-13"


def test_of_a_thousand_reasons_only_the_most_frequent_are_listed(facts, read):
    many = [{"reason": f"rule {rows:04}", "rows": rows} for rows in range(1, 1001)]
    page = read(dashboard_page(facts(quarantine=many)))

    listed = [words for words in page.words if words.startswith("rule 0") or "rule 1000" in words]
    assert listed == [f"rule {rows:04}" for rows in range(1000, 1000 - MOST_REASONS, -1)]
    assert "And 980 more reasons, none with more rows." in page.text


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"positives": 0}, "not computable no fraud is known"),
        ({"judged_rows": 0}, "not computable no labels"),
        ({"rows": 0}, "not computable no predictions"),
    ],
)
def test_why_a_day_has_no_average_precision_is_told(facts, read, performance_day, changes, why):
    last = performance_day(43, average_precision=None, **changes)
    page = read(dashboard_page(facts(performance_days=[last])))

    assert why in page.text


def test_estimates_stand_beside_what_was_realised(page):
    section = page.text[page.text.index("Estimated and realised") :]

    assert "Of 2026-11-13 itself: 158 frauds, average precision 0.570" in section
    assert "151 196 +0.7" in section


def test_other_models_are_compared_on_one_scale_the_best_first(page, facts):
    html = dashboard_page(facts()).decode()
    rows = re.findall(
        r'<u style="left:([\d.]+)%"></u><i style="left:([\d.]+)%;width:([\d.]+)%"></i>'
        r'<b style="left:([\d.]+)%">', html,
    )  # fmt: skip
    (zero, left, _, at), (_, worse_left, worse_width, worse) = [
        [float(n) for n in row] for row in rows
    ]

    assert page.text.index("rule set rules-1 +0.100") < page.text.index("former champion 1 -0.330")
    assert "+0.100 (+0.050 to +0.150)" in page.text
    assert "-8,400 -9,900 to -7,100" in page.text
    assert worse_left < worse < worse_left + worse_width < zero < left < at


def test_rates_are_said_to_have_moved_or_not(page):
    assert "alerts of 2026-11-13 usual: the gate's days 2.1% 0.8% 2.60 has moved" in page.text
    assert "1.02 as usual" in page.text


def test_the_top_alerts_are_told_with_their_reasons(page):
    assert "t0 C0 1,893 0.980 amount is 12.3 times the payer's usual; new payee t1 C1" in page.text


def test_the_log_has_the_decisions_of_the_last_days_the_newest_first(facts, read, decision):
    again = decision(42, action="retrain", rule="decay", target=None, reason="taken again on 42")
    given = facts()
    page = read(
        dashboard_page(facts(past_decisions=[*given.past_decisions, again, given.decision]))
    )

    log = page.text[page.text.rindex("Decisions before") :]
    told = re.findall(r"(?:drift|taken again) on (\d+)", log)
    assert told == ["42", "42", *(str(at) for at in range(41, 43 - LOG_DAYS - 1, -1))]
    assert log.index("taken again on 42") < log.index("drift on 42")
    assert given.decision.reason not in log


def test_links_lead_to_files_beside_the_page(page):
    (link,) = [a["href"] for a in page.named("a") if not a["href"].startswith("#")]

    assert link == "../../drift_report/day=2026-11-13/report.html"


def test_a_link_to_the_user_interface_is_a_link_too(facts, read):
    page = read(dashboard_page(facts(links={"the asset": "http://127.0.0.1:3000/assets/x"})))

    assert "http://127.0.0.1:3000/assets/x" in [a["href"] for a in page.named("a")]


@pytest.mark.parametrize(
    "target",
    ["javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)",
     "data:text/html,x", "//elsewhere.example/x", "/etc/passwd", "file:///etc/passwd", ""],
)  # fmt: skip
def test_a_link_that_could_do_something_else_is_refused(facts, target):
    with pytest.raises(ValueError, match="link 'x' is no relative name"):
        facts(links={"x": target})


def test_words_of_users_become_no_markup(facts, read, decision, drift_day):
    given = facts()

    def struck(rows):
        return [
            {
                key: [ATTACK] if key == "reasons" else ATTACK if isinstance(value, str) else value
                for key, value in row.items()
            }
            for row in rows
        ]

    hostile = decision(
        43, champion=ATTACK, target=ATTACK, reason=ATTACK, numbers={ATTACK: ATTACK},
        findings=(Finding(kind="drift", text=ATTACK),),
    )  # fmt: skip
    page = read(
        dashboard_page(
            facts(
                profile=ATTACK,
                decision=hostile,
                suspended=ATTACK,
                drift_days=[
                    drift_day(
                        43, status=ATTACK, reference=ATTACK, method=ATTACK,
                        champion_version=ATTACK, reference_version=ATTACK,
                        broken_columns=[ATTACK], broken_weights={ATTACK: 0.3},
                    )
                ],
                past_decisions=[decision(42, champion=ATTACK, reason=ATTACK, target=ATTACK)],
                columns=struck(given.columns),
                causes=struck(given.causes),
                quality=struck(given.quality),
                quarantine=struck(given.quarantine),
                top_alerts=struck(given.top_alerts),
                links={ATTACK: "report.html"},
            )
        )
    )  # fmt: skip

    assert page.open == []
    assert not page.named("script")
    assert len(page.named("img")) == 3
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
    assert sum(ATTACK in words for words in page.words) > 20


def test_what_is_not_computable_is_called_so_and_nothing_is_none(hollow_facts, read):
    page = read(dashboard_page(hollow_facts))

    assert page.text.count("not computable") > 10
    assert not re.search(r"\b(None|nan|inf|Undefined|True|False)\b", page.text)
    for words in (
        "Nothing to do.", "Nothing. The loop goes on by itself.", "no labels are mature yet",
        "Not computable: nothing to compare with: no model yet", "No alerts.",
        "How many rows were quarantined is not known", "since when is not known",
    ):  # fmt: skip
        assert words in page.text, words


def test_a_day_whose_reports_are_missing_still_has_its_page(facts, read, drift_day):
    page = read(dashboard_page(facts(drift_days=[drift_day(40)], performance_days=[], columns=[])))

    assert "There is no drift report of the day." in page.text
    assert "no performance report of the day" in page.text
    assert not re.search(r"\bNone\b", page.text)


def test_half_of_the_values_may_be_missing(facts, read):
    """Whatever is optional in the records and in the tables is None."""
    given = facts()
    drifts = [one.model_copy(update=dict.fromkeys(OPTIONAL_DRIFT)) for one in given.drift_days]
    seen = [
        one.model_copy(update=dict.fromkeys(OPTIONAL_PERFORMANCE)) for one in given.performance_days
    ]
    tables = {
        name: [
            {k: v if isinstance(v, str | list) else None for k, v in row.items()}
            for row in getattr(given, name)
        ]
        for name in ("columns", "causes", "quality", "top_alerts")
    }

    page = read(dashboard_page(facts(drift_days=drifts, performance_days=seen, **tables)))

    assert not re.search(r"\b(None|nan)\b", page.text)
    assert page.text.count("not computable") > 50
    assert not [a for a in page.named("span") if a.get("class") == "share"]


OPTIONAL_DRIFT = (
    "drift_share", "drifted_weight", "score_drift", "score_drifted", "alert_share",
    "reference_alert_share", "alert_rate_ratio", "alert_rate_moved",
)  # fmt: skip
OPTIONAL_PERFORMANCE = (
    "average_precision", "average_precision_at_gate_rate", "average_precision_low",
    "average_precision_high", "week_average_precision", "week_low", "week_high", "card_precision",
    "card_precision_ceiling", "alert_precision", "alert_recall", "savings", "fraud_share",
    "reference_fraud_share", "fraud_rate_ratio", "fraud_rate_moved", "estimated_frauds",
    "estimated_average_precision", "estimated_alert_precision", "estimated_alert_recall",
    "matured_estimated_frauds", "matured_estimated_average_precision", "estimate_error",
    "frauds_surprise", "champion_gate_average_precision", "recent_average_precision",
)  # fmt: skip


@pytest.mark.parametrize("field", ["drift_days", "performance_days", "past_decisions"])
def test_nothing_of_a_later_day_is_taken(facts, drift_day, performance_day, decision, field):
    later = {
        "drift_days": drift_day, "performance_days": performance_day, "past_decisions": decision
    }[field](44)  # fmt: skip

    with pytest.raises(ValueError, match="2026-11-13 cannot know of 2026-11-14"):
        facts(**{field: [later]})


@pytest.mark.parametrize("table", ["columns", "causes", "quality", "quarantine", "top_alerts"])
def test_a_table_without_a_column_is_refused_by_name(facts, table):
    rows = [dict(row) for row in getattr(facts(), table)]
    lost = "reason" if "reason" in rows[-1] else "weight" if table == "causes" else "payer_id"
    del rows[-1][lost]

    with pytest.raises(ValueError, match=f"table '{table}' lacks {lost}"):
        facts(**{table: rows})


def test_a_suspended_champion_and_another_scorer_are_told(facts, read, drift_day):
    days = [drift_day(43, champion_version="rules-1")]
    page = read(dashboard_page(facts(suspended="7", drift_days=days)))

    assert "version 7 is suspended; the rule set rules-1 scored the day" in page.text


def test_the_numbers_of_the_decision_are_all_there_in_words(page):
    for words in (
        "drift share 41%",
        "frauds 12",
        "score drift 0.35",
        "its upper end not computable",
    ):
        assert words in page.text


def test_the_same_facts_give_the_same_bytes(facts):
    assert dashboard_page(facts()) == dashboard_page(facts())
