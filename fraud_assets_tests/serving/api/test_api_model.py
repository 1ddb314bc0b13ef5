"""Which model answers, its card, and the share of another version; on a real registry."""

from __future__ import annotations

import pytest

from fraud_assets.modeling.registry import CHALLENGER, CHAMPION
from fraud_assets.store.traffic import history
from fraud_assets_tests.serving.api.running_api import problem_of

CARD = "# Model card\n\nTrained on eight days."


@pytest.fixture(scope="module")
def modelled(registered, settings_of, running, tmp_path_factory):
    """A server whose champion is a model, with a challenger in its shadow."""
    registry, versions = registered.registry, registered.versions
    champion, challenger, *_ = versions.values()
    registry.set_alias(CHAMPION, champion)
    registry.set_alias(CHALLENGER, challenger)
    registry.annotate(champion, CARD)
    settings = settings_of(tmp_path_factory.mktemp("modelled"), model=registry.model_name)
    settings = settings.model_copy(update={"mlflow_tracking_uri": registry.tracking_uri})
    try:
        with running(settings) as api:
            yield api, list(versions.values())
    finally:
        registry.remove_alias(CHAMPION)
        registry.remove_alias(CHALLENGER)


def test_without_a_model_the_rules_answer_and_say_why(api) -> None:
    state = api.get("/v1/model").json()
    assert state["champion"]["form"] == "rules"
    assert state["fallback"] == "no champion yet"
    assert (state["challenger"], state["traffic"], state["share"]) == (None, None, 0.0)
    assert "payer_count_1d" in state["features"]
    problem_of(api.get("/v1/model/card"), 404)


def test_the_champion_is_shown_with_what_it_was_trained_on(modelled) -> None:
    api, (champion, challenger, *_) = modelled
    state = api.get("/v1/model").json()
    assert state["champion"]["version"] == champion
    assert state["champion"]["form"] in ("onnx", "native")
    assert (state["champion"]["why_native"] is None) == (state["champion"]["form"] == "onnx")
    assert state["champion"]["train_window"]
    assert state["champion"]["trained_as_of"] == "2025-03-16"
    assert state["challenger"]["version"] == challenger
    assert (state["fallback"], state["problems"]) == (None, [])
    answer = api.score("m-1")
    assert (answer["model_version"], answer["served_by"]) == (champion, "champion")
    assert answer["model_hash"] == state["champion"]["model_hash"]
    assert answer["threshold"] == state["champion"]["threshold"]


def test_the_card_is_the_registrys(modelled) -> None:
    api, _ = modelled
    answer = api.get("/v1/model/card")
    assert answer.headers["content-type"].startswith("text/markdown")
    assert answer.text == CARD


def test_a_share_of_the_traffic_goes_to_another_version(modelled) -> None:
    api, (champion, *_, other) = modelled
    assert api.get("/v1/model/traffic").json()["version"] is None
    body = {"version": other, "share": 1.0, "reason": "trial"}
    answer = api.put("/v1/model/traffic", body)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["version"], answer.json()["author"]) == (other, "local")
    api.until(lambda: api.get("/v1/model").json()["share"] == 1.0)
    scored = api.score("m-2")
    assert (scored["model_version"], scored["served_by"]) == (other, "traffic")

    assert api.put("/v1/model/traffic", {"version": None, "share": 0, "reason": "over"}).is_success
    api.until(lambda: api.get("/v1/model").json()["traffic"] is None)
    assert api.score("m-3")["model_version"] == champion
    assert [one.reason for one in history(api.service.store)] == ["over", "trial"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"version": "99"}, "version"),
        ({"version": "x; drop"}, "version"),
        ({"version": None, "share": 0.5}, "share"),
        ({"share": 1.5}, "share"),
        ({"reason": ""}, "reason"),
    ],
)
def test_a_share_that_cannot_be_is_refused_and_changes_nothing(modelled, changes, field) -> None:
    api, (_, _, other, *_) = modelled
    before = len(history(api.service.store))
    body = {"version": other, "share": 0.1, "reason": "r", **changes}
    (found,) = problem_of(api.put("/v1/model/traffic", body), 422)["problems"]
    assert found["field"] == field
    assert len(history(api.service.store)) == before


def test_the_metrics_show_the_models_in_use(modelled) -> None:
    api, (champion, challenger, *_) = modelled
    api.score("m-4")
    text = api.get("/metrics").text
    for role, version in [("champion", champion), ("challenger", challenger)]:
        (line,) = [
            line
            for line in text.splitlines()
            if line.startswith("model_info{") and f'role="{role}"' in line and line.endswith("1.0")
        ]
        assert f'version="{version}"' in line
    assert "payer-1" not in text
    assert "m-4" not in text
