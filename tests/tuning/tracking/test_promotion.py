"""Which version has the alias `champion`, in a real registry."""

from __future__ import annotations

import mlflow
import pytest
from mlflow import MlflowClient

from tuning.config.sweep_config import SweepConfig
from tuning.tracking.promotion import manual_promotion, promote_version
from tuning.tracking.registry import ModelVersion, describe_version

SPLIT, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture
def uri(config: SweepConfig) -> str:
    return f"sqlite:///{config.runs_dir}/mlflow.db"


@pytest.fixture
def model(uri: str, request: pytest.FixtureRequest) -> str:
    name = request.node.name.replace("[", "-").rstrip("]")
    MlflowClient(uri, uri).create_registered_model(name)
    return name


def scored(uri: str, model: str, macro_f1: float, split: str = SPLIT) -> ModelVersion:
    """Register a version and set the tags of its test."""
    created = MlflowClient(uri, uri).create_model_version(model, "file:///nowhere")
    version = ModelVersion(model, str(created.version))
    describe_version(uri, version, "card", {"test_macro_f1": macro_f1}, split)
    return version


def aliases(uri: str, model: str) -> dict[str, str]:
    return {key: str(value) for key, value in MlflowClient(uri, uri).get_registered_model(model).aliases.items()}


def test_first_version_is_champion_until_a_better_one(uri: str, model: str) -> None:
    assert promote_version(uri, scored(uri, model, 0.5), "better") == "champion, the first"
    assert aliases(uri, model) == {"champion": "1"}
    assert promote_version(uri, scored(uri, model, 0.500001), "better") == "champion, before it version 1"
    assert aliases(uri, model) == {"champion": "2", "previous": "1"}


@pytest.mark.parametrize("macro_f1", [0.5, 0.25, float("nan")])
def test_version_that_is_not_better_stays_candidate(uri: str, model: str, macro_f1: float) -> None:
    promote_version(uri, scored(uri, model, 0.5), "better")
    decision = promote_version(uri, scored(uri, model, macro_f1), "better")
    same = f"test macro-F1 0.500 on the same split, this one {macro_f1:.3f}"
    assert decision == f"kept as candidate: the champion, version 1, has {same}"
    assert aliases(uri, model) == {"champion": "1", "candidate": "2"}


def test_version_tested_on_another_split_stays_candidate(uri: str, model: str) -> None:
    promote_version(uri, scored(uri, model, 0.5), "better")
    decision = promote_version(uri, scored(uri, model, 0.9, OTHER), "better")
    assert decision == (
        "kept as candidate: the champion, version 1, was tested on another split (abababababab, this one on "
        "cdcdcdcdcdcd)"
    )
    assert aliases(uri, model) == {"champion": "1", "candidate": "2"}


def test_champion_without_test_scores_stays(uri: str, model: str) -> None:
    client = MlflowClient(uri, uri)
    client.create_model_version(model, "file:///nowhere")
    client.set_registered_model_alias(model, "champion", "1")
    assert "version 1, has no test scores" in promote_version(uri, scored(uri, model, 0.9), "better")
    assert aliases(uri, model)["champion"] == "1"


def test_policies_always_and_never(uri: str, model: str) -> None:
    decision = promote_version(uri, scored(uri, model, 0.5), "never")
    assert decision == "kept as candidate: tracking.promote is never"
    assert aliases(uri, model) == {"candidate": "1"}
    promote_version(uri, scored(uri, model, 0.5), "better")
    promote_version(uri, scored(uri, model, 0.1, OTHER), "always")
    assert aliases(uri, model) == {"candidate": "1", "champion": "3", "previous": "2"}


def test_promotion_is_decided_once(uri: str, model: str) -> None:
    first, second = scored(uri, model, 0.5), scored(uri, model, 0.75)
    for version in (first, second):
        promote_version(uri, version, "better")
    before = aliases(uri, model)
    assert promote_version(uri, first, "always") == "champion, the first"
    assert promote_version(uri, second, "better") == "champion, before it version 1"
    assert aliases(uri, model) == before


@pytest.mark.parametrize("done", [("previous",), ("previous", "champion")])
def test_interrupted_promotion_is_completed(uri: str, model: str, done: tuple[str, ...]) -> None:
    """The process was killed between two requests."""
    promote_version(uri, scored(uri, model, 0.5), "better")
    version = scored(uri, model, 0.75)
    client = MlflowClient(uri, uri)
    for alias in ("candidate", *done):
        client.set_registered_model_alias(model, alias, "1" if alias == "previous" else "2")
    assert promote_version(uri, version, "better") == "champion, before it version 1"
    assert aliases(uri, model) == {"champion": "2", "previous": "1"}


def test_manual_promotion_makes_a_version_champion(uri: str, model: str) -> None:
    promote_version(uri, scored(uri, model, 0.5), "better")
    version = scored(uri, model, 0.25)
    promote_version(uri, version, "better")
    mlflow.set_tracking_uri(uri)
    try:
        exec(manual_promotion(version), {"mlflow": mlflow})
    finally:
        mlflow.set_tracking_uri(None)
    assert aliases(uri, model)["champion"] == "2"
