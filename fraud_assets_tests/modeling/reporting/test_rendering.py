"""Words of unknown origin stay words, and a hole in a report is an error."""

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.modeling.reporting.rendering import around, code, render_template, text


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("PAYMENT", "PAYMENT"),
        ("a | b", "a \\| b"),
        ("<script>", "\\<script\\>"),
        ("[here](http://x)", "\\[here\\](http://x)"),
        ("two\nlines", "two lines"),
        ("*bold* `code`", "\\*bold\\* \\`code\\`"),
        ("back\\slash", "back\\\\slash"),
    ],
)
def test_markdown_text_is_escaped(words, shown):
    assert text(words) == shown


@pytest.mark.parametrize(
    ("name", "shown"), [("payer_count_1d", "`payer_count_1d`"), ("a`|b", "`a'\\|b`")]
)
def test_names_become_code_that_stays_in_its_cell(name, shown):
    assert code(name) == shown


@given(words=st.text())
def test_no_text_can_end_a_cell_or_a_line(words):
    for shown in (text(words), code(words)):
        assert len(shown.splitlines()) <= 1
        assert "|" not in shown.replace("\\\\", "").replace("\\|", "")


def test_a_value_without_an_interval_has_no_empty_brackets():
    assert around("80%", "") == "80%"
    assert around("80%", "70% to 88%") == "80% (70% to 88%)"


@pytest.mark.parametrize("hole", ["version", "alerts_nothing", "features"])
def test_a_missing_fact_is_an_error_and_no_empty_place(manifest, policy, hole):
    facts = {
        "manifest": manifest, "policy": policy, "report": None, "version": "4", "description": "",
        "caveats": (), "slices": [], "features": [], "alerts_nothing": False,
    }  # fmt: skip
    assert render_template("model_card.md.j2", facts)
    del facts[hole]

    with pytest.raises(jinja2.UndefinedError, match=hole):
        render_template("model_card.md.j2", facts)


def test_templates_of_another_package_have_the_same_filters_and_the_shared_pieces(
    tmp_path, monkeypatch
):
    package = tmp_path / "reports_of_a_test"
    (package / "templates").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "templates" / "own.html.j2").write_text(
        '{% extends "fraud_assets.modeling.reporting/page.html.j2" %}'
        '{% from "fraud_assets.modeling.reporting/macros.html.j2" import cell %}'
        "{% block content %}{{ cell(none, none | metric) }}{{ words }}{% endblock %}"
    )
    monkeypatch.syspath_prepend(tmp_path)

    page = render_template(
        "own.html.j2", {"title": "<t>", "words": "<b>"}, package="reports_of_a_test"
    )

    assert "<title>&lt;t&gt;</title>" in page
    assert '<td class="n none">not computable</td>' in page
    assert "&lt;b&gt;" in page


@pytest.mark.parametrize("name", ["none.html.j2", "../rendering.py", "page.html"])
def test_a_template_that_is_not_there_is_an_error(name):
    with pytest.raises(jinja2.TemplateNotFound):
        render_template(name, {})
