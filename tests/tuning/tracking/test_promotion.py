"""Which version of the registered model is called champion, on a real registry."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from tuning.tracking.registry import Version, describe_version, promote, promotion_by_hand

SPLIT, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"


@pytest.fixture
def model(uri: str, request: pytest.FixtureRequest) -> str:
    name = request.node.name.replace("[", "-").rstrip("]")
    MlflowClient(uri, uri).create_registered_model(name)
    return name


def scored(uri: str, model: str, macro_f1: float, split: str = SPLIT) -> Version:
    """A version as it is once its test is known."""
    made = MlflowClient(uri, uri).create_model_version(model, "file:///nowhere")
    version = Version(model, str(made.version))
    describe_version(uri, version, "card", {"test_macro_f1": macro_f1}, split)
    return version


def aliases(uri: str, model: str) -> dict[str, str]:
    return {key: str(value) for key, value in MlflowClient(uri, uri).get_registered_model(model).aliases.items()}


def test_the_first_is_champion_and_a_better_one_takes_its_place(uri: str, model: str) -> None:
    assert promote(uri, scored(uri, model, 0.5), "better") == "champion, the first"
    assert aliases(uri, model) == {"champion": "1"}
    assert promote(uri, scored(uri, model, 0.500001), "better") == "champion, before it version 1"
    assert aliases(uri, model) == {"champion": "2", "previous": "1"}


@pytest.mark.parametrize("macro_f1", [0.5, 0.25, float("nan")])
def test_one_that_is_not_better_is_kept_as_candidate(uri: str, model: str, macro_f1: float) -> None:
    promote(uri, scored(uri, model, 0.5), "better")
    told = promote(uri, scored(uri, model, macro_f1), "better")
    same = f"test macro-F1 0.500 on the same split, this one {macro_f1:.3f}"
    assert told == f"kept as candidate: the champion, version 1, has {same}"
    assert aliases(uri, model) == {"champion": "1", "candidate": "2"}


def test_another_split_can_not_be_compared(uri: str, model: str) -> None:
    promote(uri, scored(uri, model, 0.5), "better")
    told = promote(uri, scored(uri, model, 0.9, OTHER), "better")
    assert told == (
        "kept as candidate: the champion, version 1, was tested on another split (abababababab, this one on "
        "cdcdcdcdcdcd)"
    )
    assert aliases(uri, model) == {"champion": "1", "candidate": "2"}


def test_a_champion_without_test_scores_stays(uri: str, model: str) -> None:
    client = MlflowClient(uri, uri)
    client.create_model_version(model, "file:///nowhere")
    client.set_registered_model_alias(model, "champion", "1")
    assert "version 1, has no test scores" in promote(uri, scored(uri, model, 0.9), "better")
    assert aliases(uri, model)["champion"] == "1"


def test_the_policy_may_say_always_or_never(uri: str, model: str) -> None:
    told = promote(uri, scored(uri, model, 0.5), "never")
    assert told == "kept as candidate: tracking.promote is never"
    assert aliases(uri, model) == {"candidate": "1"}
    promote(uri, scored(uri, model, 0.5), "better")
    promote(uri, scored(uri, model, 0.1, OTHER), "always")
    assert aliases(uri, model) == {"candidate": "1", "champion": "3", "previous": "2"}


def test_it_is_decided_once(uri: str, model: str) -> None:
    first, second = scored(uri, model, 0.5), scored(uri, model, 0.75)
    for version in (first, second):
        promote(uri, version, "better")
    before = aliases(uri, model)
    assert promote(uri, first, "always") == "champion, the first"
    assert promote(uri, second, "better") == "champion, before it version 1"
    assert aliases(uri, model) == before


@pytest.mark.parametrize("done", [("previous",), ("previous", "champion")])
def test_what_was_cut_off_is_carried_out(uri: str, model: str, done: tuple[str, ...]) -> None:
    """As where the process was killed between two requests."""
    promote(uri, scored(uri, model, 0.5), "better")
    version = scored(uri, model, 0.75)
    client = MlflowClient(uri, uri)
    for alias in ("candidate", *done):
        client.set_registered_model_alias(model, alias, "1" if alias == "previous" else "2")
    assert promote(uri, version, "better") == "champion, before it version 1"
    assert aliases(uri, model) == {"champion": "2", "previous": "1"}


def test_what_is_told_to_promote_by_hand_does_so(uri: str, model: str, tmp_path: Path) -> None:
    promote(uri, scored(uri, model, 0.5), "better")
    version = scored(uri, model, 0.25)
    promote(uri, version, "better")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        exec(promotion_by_hand(version), {"mlflow": mlflow})
    finally:
        mlflow.set_tracking_uri(before)
    assert aliases(uri, model)["champion"] == "2"
