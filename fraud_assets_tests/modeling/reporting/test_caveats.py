"""Warnings follow from numbers: each appears where its numbers call for it, and only there."""

import pytest

from fraud_assets.modeling.reporting.caveats import caveats
from fraud_assets.modeling.reporting.document import ReportDocument


@pytest.fixture
def warned(manifest, policy, gate_document):
    """The warnings of the good model, after changes to its document, manifest or policy."""

    def texts(change=None, *, alarms_only=False, **changed):
        if change is not None:
            change(gate_document)
        found = caveats(
            manifest.model_copy(update=changed.get("manifest", {})),
            policy.model_copy(update=changed.get("policy", {})),
            ReportDocument.read(gate_document),
        )
        return [one.text for one in found if one.alarm or not alarms_only]

    return texts


def said(texts, *words):
    return [text for text in texts if all(word in text for word in words)]


def test_a_good_model_raises_no_alarm_and_no_doubt(warned):
    assert warned(alarms_only=True) == []
    found = warned()
    for words in ("not shown", "Little evidence", "unevenly", "too high", "unsteady", "comes from"):
        assert not said(found, words), words


def test_alarms_come_first(manifest, policy, gate_document):
    gate_document["best_single_feature_auc"] = 0.99
    gate_document["control"] |= {"passed": False, "roc_auc": 0.8}

    found = caveats(manifest, policy, ReportDocument.read(gate_document))

    flags = [one.alarm for one in found]
    assert sum(flags) == 2
    assert flags == sorted(flags, reverse=True)


def test_a_model_that_was_not_judged_says_so_and_says_nothing_of_gate_days(manifest, policy):
    found = [one.text for one in caveats(manifest, policy, None)]

    assert said(found, "not been judged", "optimistic")
    assert not said(found, "misses")
    assert said(found, "newest transaction")


@pytest.mark.parametrize(
    ("control", "words", "alarm"),
    [
        ({"passed": False, "roc_auc": 0.71}, ("AUC of 0.710", "stay below 0.565"), True),
        ({"passed": None, "note": "no frauds"}, ("was not run (no frauds)",), False),
    ],
)
def test_a_control_that_failed_is_an_alarm_and_one_without_verdict_a_limit(
    warned, control, words, alarm
):
    found = warned(lambda d: d["control"].update(control))

    assert said(found, *words)
    assert bool(said(warned(alarms_only=True), *words)) == alarm


def test_a_control_that_was_not_run_is_told(warned):
    assert said(warned(lambda d: d.update(control=None)), "shuffled labels was not run")


@pytest.mark.parametrize(("area", "alarming"), [(0.969, False), (0.97, True), (None, False)])
def test_a_feature_that_knows_the_answer_is_an_alarm(warned, area, alarming):
    found = warned(lambda d: d.update(best_single_feature_auc=area), alarms_only=True)

    assert bool(said(found, "payee_risk_7d alone")) == alarming


def test_an_average_precision_that_is_too_good_is_an_alarm(warned):
    def change(document):
        document["candidate"]["average_precision"] |= {"estimate": 0.99, "low": 0.98, "high": 1.0}

    assert said(warned(change, alarms_only=True), "0.990", "more than fraud allows")


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ({"estimate": 0.5, "low": 0.35, "high": 0.65}, "Little evidence"),
        ({"estimate": 0.5, "low": None, "high": None}, "Little evidence"),
        ({"estimate": None, "low": None, "high": None}, "nothing about it was measured"),
    ],
)
def test_an_average_precision_that_is_hardly_known_is_told(warned, interval, words):
    assert said(warned(lambda d: d["candidate"].update(average_precision=interval)), words)


@pytest.mark.parametrize(("low", "doubted"), [(-0.01, True), (None, True), (0.001, False)])
def test_a_baseline_that_may_be_as_good_is_named(warned, low, doubted):
    gain = {"estimate": 0.02, "low": low, "high": 0.05, "probability_better": 0.8}
    found = warned(lambda d: d["baselines"][1].update(candidate_gain=gain))

    assert bool(said(found, "not shown to be better than logistic regression")) == doubted


def test_a_fall_below_every_fold_is_told_only_if_the_interval_lies_below(warned):
    def at(estimate, low, high):
        return lambda d: d["candidate"].update(
            average_precision={"estimate": estimate, "low": low, "high": high}
        )

    assert said(warned(at(0.4, 0.35, 0.5)), "below that of every fold (0.520 to 0.560)")
    assert not said(warned(at(0.5, 0.45, 0.55)), "below that of every fold")


def test_slices_that_are_surely_worse_are_named_worst_first(warned):
    def change(document):
        judged = document["candidate"]
        judged["alert_recall"] = 0.6
        for one in judged["slices"]:
            one |= {"recall": 0.6, "recall_low": 0.5, "recall_high": 0.7}
        judged["slices"][0] |= {"recall": 0.3, "recall_low": 0.2, "recall_high": 0.45}
        judged["slices"][1] |= {"recall": 0.1, "recall_low": 0.0, "recall_high": 0.2}

    (text,) = said(warned(change), "fewer in")
    assert "60% of all frauds" in text
    assert text.index("kind PAYMENT: 10% (0% to 20%)") < text.index("kind CASH_OUT: 30%")
    assert "TRANSFER" not in text


def test_slices_with_few_frauds_are_named_as_unknown(warned):
    def change(document):
        for one in document["candidate"]["slices"]:
            one["positives"] = 100
        document["candidate"]["slices"][2] |= {"positives": 3}
        document["candidate"]["slices"][-1] |= {"positives": 0, "recall": None}

    (text,) = said(warned(change), "is not known")
    assert text.endswith("kind TRANSFER (3), fraud scenario mule_payee (0).")


def test_what_false_alerts_mean_for_people_is_told_in_counts(warned):
    def change(document):
        document["candidate"] |= {"alerts": 400, "caught": 100, "alert_precision": 0.25}

    assert said(warned(change), "300 of 400 alerts (75%) hit a legitimate payment")


@pytest.mark.parametrize(("ratio", "told"), [(1.9, False), (2.0, True), (None, False)])
def test_false_alerts_that_fall_unevenly_are_told(warned, ratio, told):
    def change(document):
        document["candidate"]["false_positive_ratios"][3] |= {
            "ratio": ratio, "highest": "00:00 to 05:59", "highest_rate": 0.02,
            "lowest": "06:00 to 11:59", "lowest_rate": 0.01,
        }  # fmt: skip

    found = said(warned(change), "unevenly by hour (UTC)", "2% of legitimate rows", "1% with")
    assert bool(found) == told


@pytest.mark.parametrize(
    ("ratio", "words"), [(1.3, "too high"), (0.7, "too low"), (1.2, None), (None, None)]
)
def test_probabilities_that_are_off_are_told_with_their_side(warned, ratio, words):
    found = said(warned(lambda d: d["candidate"].update(calibration_ratio=ratio)), "probabilities")

    assert [words in text for text in found] == ([] if words is None else [True])


def test_resampling_is_told(warned):
    assert said(warned(manifest={"imbalance": "class_weight"}), "class weight", "bends")


def test_a_threshold_that_alerts_nothing_is_an_alarm(warned):
    assert said(warned(policy={"threshold": 1.0}, alarms_only=True), "alerts nothing")


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({"amount": 0.5, "kind": 0.5}, "50% of what moves the score comes from amount"),
        ({"payee_labelled_count_7d": 0.2, "payer_last_label": 0.1, "kind": 0.3, "amount": 0.4},
         "30% of what moves the score comes from earlier labels"),
        ({"payee_seconds_since_first_known_fraud": 0.3, "kind": 0.35, "amount": 0.35},
         "30% of what moves the score comes from earlier labels"),
    ],
)  # fmt: skip
def test_features_that_carry_the_model_are_told(warned, shares, words):
    assert said(warned(manifest={"feature_importance": shares}), words)


def test_a_risk_that_carries_little_is_not_told(warned):
    shares = {"payee_risk_7d": 0.2, "amount": 0.3, "kind": 0.3, "hour": 0.2}

    assert not said(warned(manifest={"feature_importance": shares}), "comes from")


def test_a_model_without_measured_importance_has_no_warning_of_it(warned):
    assert not said(warned(manifest={"feature_importance": {}}), "moves the score")


def test_how_old_its_knowledge_is_on_the_first_day_in_service_is_told(warned):
    # Trained as of 23 March on days to 4 March: on 24 March that is 20 days ago.
    assert said(warned(), "is 20 days old", "7 days", "after 2025-03-04")


@pytest.mark.parametrize(("deviation", "told"), [(0.1, True), (0.08, False), (None, False)])
def test_unsteady_folds_are_told(warned, deviation, told):
    found = warned(manifest={"fold_deviation": deviation})

    assert bool(said(found, "unsteady", "3 folds", "0.520 to 0.560")) == told


def test_a_cold_reference_is_told(warned):
    assert said(warned(manifest={"reference_is_warm": False}), "30 days", "look like drift")


def test_nothing_that_is_not_computable_turns_up_as_a_number(manifest, policy, hollow_document):
    found = [one.text for one in caveats(manifest, policy, ReportDocument.read(hollow_document))]

    assert found
    assert not [text for text in found if "None" in text or "nan" in text]
