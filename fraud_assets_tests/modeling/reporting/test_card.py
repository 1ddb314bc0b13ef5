"""A model card has every section, says what its numbers say, and is well-formed Markdown."""

import re
from itertools import pairwise

import pytest

from fraud_assets.modeling.reporting.card import model_card
from fraud_assets.modeling.reporting.document import ReportDocumentError
from fraud_assets.modeling.scoring import FraudModel

SECTIONS = [
    "What it is for", "Limits, and what they mean for people", "Data", "Families and parameters",
    "Prequential validation", "The gate", "Against what is simple", "Slices",
    "Probabilities, threshold and money", "Leakage checks", "Features", "How to reproduce it",
]  # fmt: skip


@pytest.fixture
def card(manifest, policy, gate_document) -> str:
    return model_card(
        manifest, gate_document, policy=policy, version="4", description="Cards at terminals."
    )


def section(card: str, title: str) -> str:
    return card.split(f"\n## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def tables(card: str) -> list[list[list[str]]]:
    """Tables as lists of rows of cells, each from its head on; the line of dashes is left out."""
    found: list[list[list[str]]] = []
    inside = False
    for line in card.splitlines():
        if not line.startswith("|"):
            inside = False
        elif set(line) <= set("|-"):
            assert len(cells(line)) == len(found[-1][0])
        elif inside:
            found[-1].append(cells(line))
        else:
            found.append([cells(line)])
            inside = True
    return found


@pytest.mark.parametrize("judged", [True, False])
def test_every_section_is_there_in_its_order_judged_or_not(manifest, policy, gate_document, judged):
    card = model_card(
        manifest, gate_document if judged else None, policy=policy, version="4", description=""
    )

    assert re.findall(r"^## (.*)$", card, re.MULTILINE) == SECTIONS
    assert card.startswith("# Fraud model 4: cards\n")
    assert card.endswith("\n")
    assert "\n\n\n" not in card


@pytest.mark.parametrize("judged", [True, False])
def test_tables_are_well_formed(manifest, policy, gate_document, judged):
    card = model_card(
        manifest, gate_document if judged else None, policy=policy, version="4", description=""
    )

    found = tables(card)

    assert len(found) == (15 if judged else 7)
    for table in found:
        assert len(table) > 1
        assert {len(row) for row in table} == {len(table[0])}


def test_tables_stand_between_empty_lines(card):
    for above, line in pairwise(card.splitlines()):
        if line.startswith("|") != above.startswith("|"):
            assert not (above and line), (above, line)


def test_the_decision_its_champion_and_every_condition_are_told(card, gate_report):
    assert "**Promoted: it was better than champion 3 on later days.**" in card
    (gate, compared) = tables(section(card, "The gate"))
    assert len(gate) == 1 + len(gate_report.decision.checks)
    assert compared[0] == ["", "candidate", "champion 3"]
    found = gate_report.candidate.average_precision
    assert compared[1][1] == f"{found.estimate:.3f} ({found.low:.3f} to {found.high:.3f})"


def test_a_refused_candidate_is_told_so_with_the_condition_that_failed(
    manifest, policy, gate_document
):
    gate_document["decision"]["promote"] = False
    gate_document["decision"]["checks"][1] |= {"passed": False, "reason": "the gain is too small"}

    card = model_card(manifest, gate_document, policy=policy, version="4", description="")

    assert "**Not promoted: champion 3 stays in force.**" in card
    assert "| average precision | **no** | the gain is too small |" in card


def test_a_card_before_the_gate_claims_nothing_about_it(manifest, policy):
    card = model_card(manifest, None, policy=policy, version="4", description="")

    assert "**Not judged by the gate yet.**" in card
    assert "Not judged yet." in section(card, "The gate")
    assert "not been judged" in section(card, SECTIONS[1])
    assert "Promoted" not in card


def test_folds_come_with_their_mean_and_deviation_and_without_a_zero_for_none(card):
    text = section(card, "Prequential validation")

    (table,) = tables(text)
    assert "precision 0.540, standard deviation 0.020" in text
    assert [row[4] for row in table[1:]] == ["0.520", "0.540", "0.560"]
    assert [row[8] for row in table[1:]] == ["not computable", "0.00610", "0.00610"]


def test_families_say_which_was_chosen_and_why_one_was_left_out(card):
    families, params = tables(section(card, "Families and parameters"))

    assert families[1][:3] == ["xgboost (chosen)", "0.540", "0.480 to 0.590"]
    assert families[4][0:2] == ["logistic regression", "not computable"]
    assert families[4][6] == "left out: cannot keep monotone constraints"
    assert ["`learning_rate`", "0.08345", "30%"] in params
    assert params[-1] == ["`rounds`", "183", ""]
    assert "Monotone: `payee_risk_7d` up." in card


def test_slices_have_counts_and_intervals_by_dimension(card, gate_report):
    found = tables(section(card, "Slices"))

    assert [table[0][0] for table in found] == [
        "kind", "amount", "payee", "hour (UTC)", "fraud scenario"
    ]  # fmt: skip
    assert sum(len(table) - 1 for table in found) == len(gate_report.candidate.slices)
    one = gate_report.candidate.slices[0]
    assert found[0][1][:4] == [
        "CASH\\_OUT", f"{one.rows:,}", str(one.positives), str(one.alerts)
    ]  # fmt: skip
    assert re.fullmatch(r"[\d.]+% \([\d.]+% to [\d.]+%\)", found[0][1][5])
    assert [row[6] for row in found[4][1:]] == ["", "", ""]


def test_every_group_without_a_false_positive_ratio_says_why(manifest, policy, gate_document):
    gate_document["candidate"]["false_positive_ratios"][0] |= {
        "ratio": None, "note": "fewer than two groups have 500 legitimate rows"
    }  # fmt: skip

    card = model_card(manifest, gate_document, policy=policy, version="4", description="")

    assert "- kind: not computable, fewer than two groups have 500 legitimate rows\n" in card


def test_threshold_and_money_are_told_with_where_they_come_from(card, policy):
    text = section(card, "Probabilities, threshold and money")

    assert "Scores from 0.15 on are alerts." in text
    assert f"frozen as `{policy.version}`" in text
    assert "at 5 for a review and 90% of the amount for a missed fraud" in text
    assert "24.0 alerts a day, caught 31 of 52 frauds and cost 4,210 instead of 9,120" in text


def test_a_threshold_that_alerts_nothing_is_not_told_as_a_score(manifest, policy, gate_document):
    never = policy.model_copy(update={"threshold": 1.0})

    card = model_card(manifest, gate_document, policy=never, version="4", description="")

    assert "No score is an alert" in card
    assert "**Alarm.**" in card
    assert "Scores from" not in card


def test_leakage_checks_are_told_with_their_limit(manifest, policy, gate_document, card):
    assert "Shuffled labels: passed. ROC AUC 0.507 (chance 0.5, at most 0.565)" in card
    gate_document["control"] |= {"passed": False, "roc_auc": 0.7}
    failed = model_card(manifest, gate_document, policy=policy, version="4", description="")
    assert "Shuffled labels: **failed**. ROC AUC 0.700" in failed
    gate_document["control"] = None
    without = model_card(manifest, gate_document, policy=policy, version="4", description="")
    assert "Shuffled labels: not run." in without


def test_features_stand_in_the_order_of_what_they_move(card):
    (table,) = tables(section(card, "Features"))

    assert [row[0] for row in table[1:3]] == ["`payer_amount_ratio`", "`payee_risk_7d`"]
    assert table[2][2:] == ["0", "22%"]
    assert table[1][2] == "unknown"


def test_how_to_reproduce_it_names_day_seed_and_libraries(card):
    text = section(card, "How to reproduce it")

    assert "--select fraud_model --partition 2025-03-23" in text
    assert "seed 7" in text
    assert "`manifest.json` (`training`)" in text
    assert "the same choices, profile, data and versions" in text
    assert "| xgboost-cpu | 3.2.0 |" in text


def test_what_is_not_computable_is_called_so_and_nothing_is_none(manifest, policy, hollow_document):
    card = model_card(manifest, hollow_document, policy=policy, version="4", description="")

    assert card.count("not computable") > 30
    assert not re.search(r"\b(None|nan|inf|Undefined)\b", card)
    assert {len(row) for table in tables(card) for row in table[1:]}


def test_words_of_users_become_no_markup(manifest, policy, gate_document):
    gate_document["candidate"]["slices"][0]["value"] = "<img src=x> | *bold*\n# head"
    gate_document["champion_title"] = "champion [3](http://elsewhere)"

    card = model_card(
        manifest, gate_document, policy=policy, version="<b>", description="# A\n\n<script>"
    )

    assert not re.search(r"(?<!\\)<", card)
    assert re.findall(r"^# (.*)$", card, re.MULTILINE) == ["Fraud model \\<b\\>: cards"]
    assert "\\<img src=x\\> \\| \\*bold\\* \\# head" in card
    assert "](http" not in card.replace("\\]", "")


def test_the_same_inputs_give_the_same_card(manifest, policy, gate_document, card):
    again = model_card(
        manifest, gate_document, policy=policy, version="4", description="Cards at terminals."
    )

    assert again == card


def test_a_document_that_is_no_report_is_refused(manifest, policy):
    with pytest.raises(ReportDocumentError, match="decision"):
        model_card(manifest, {"promote": True}, policy=policy, version="4", description="")


def test_a_trained_model_has_a_card(model: FraudModel):
    card = model_card(model.manifest, None, policy=model.policy, version="3", description="")

    assert all(f"`{name}`" in card for name in model.manifest.feature_names)
    assert {len(row) for table in tables(card) for row in table}
