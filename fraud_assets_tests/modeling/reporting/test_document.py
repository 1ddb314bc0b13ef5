"""A written report is read back with its types, or refused with the field that is wrong."""

import pytest

from fraud_assets.modeling.reporting.document import ReportDocument, ReportDocumentError


def test_what_was_written_is_read_back_equal(gate_report, gate_document):
    read = ReportDocument.read(gate_document)

    assert read.candidate == gate_report.candidate
    assert read.champion == gate_report.champion
    assert read.comparison == gate_report.comparison
    assert read.decision == gate_report.decision
    assert read.baselines == gate_report.baselines
    assert read.control == gate_report.control
    assert read.confusion == gate_report.confusion()


def test_lineage_that_is_kept_in_the_same_file_does_no_harm(gate_document):
    stored = {"record": {"candidate_version": "4"}, "model_hash": "ab", **gate_document}

    assert ReportDocument.read(stored) == ReportDocument.read(gate_document)


def test_a_missing_field_is_named_with_the_remedy(gate_document):
    del gate_document["candidate"]["slices"]

    with pytest.raises(ReportDocumentError, match=r"candidate\.slices.*evaluate the candidate"):
        ReportDocument.read(gate_document)


def test_a_report_of_an_older_version_is_refused(gate_document):
    older = {k: gate_document[k] for k in ("decision", "comparison", "candidate", "champion")}

    with pytest.raises(ReportDocumentError, match="baselines"):
        ReportDocument.read(older)


def test_the_verdict_names_the_champion(gate_document):
    assert ReportDocument.read(gate_document).verdict == (
        "Promoted: it was better than champion 3 on later days."
    )
    gate_document["decision"]["promote"] = False
    assert ReportDocument.read(gate_document).verdict == (
        "Not promoted: champion 3 stays in force."
    )


def test_average_precision_and_card_precision_lead_the_comparison_and_auc_ends_it(gate_document):
    names = [name for name, _, _ in ReportDocument.read(gate_document).compared()]

    assert names[:2] == ["average precision", "card precision at 30 a day"]
    assert names[-1] == "ROC AUC"


def test_each_model_is_compared_by_its_own_numbers(gate_document):
    gate_document["candidate"]["roc_auc"], gate_document["champion"]["roc_auc"] = 0.9, None

    (row,) = [one for one in ReportDocument.read(gate_document).compared() if one[0] == "ROC AUC"]

    assert (row[1].value, row[2].value) == ("0.900", "not computable")
