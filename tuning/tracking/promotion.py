"""Which version of the registered model has the alias `champion`."""

from __future__ import annotations

from typing import Any

from tuning.tracking.registry import CANDIDATE, MACRO_F1_TAG, SPLIT_TAG, ModelVersion
from tuning.tracking.server import mlflow_client

CHAMPION, PREVIOUS = "champion", "previous"
"""Aliases of the version to use, and of the one that was champion before it."""

_PROMOTION_TAG = "promotion"


def promote_version(uri: str, version: ModelVersion, policy: str) -> str:
    """Give a tested version the alias `champion` if the policy allows it; decided once per version.

    Args:
        uri: address of MLflow.
        version: a version with the tags of `describe_version`.
        policy: `better` (than the present champion on the same test split), `always` or `never`.

    Returns:
        The decision and its reason, in one line.
    """
    client = mlflow_client(uri)
    tags = client.get_model_version(version.model, version.number).tags
    if _PROMOTION_TAG in tags:
        return tags[_PROMOTION_TAG]
    present = _alias(client, version.model, CHAMPION)
    if present == version.number:
        # An earlier process promoted it and was killed before it set the tag.
        present, reason = _alias(client, version.model, PREVIOUS), ""
    else:
        reason = _reason_to_keep(client, version, tags, present, policy)
    if reason:
        client.set_registered_model_alias(version.model, CANDIDATE, version.number)
        decision = f"kept as {CANDIDATE}: {reason}"
    else:
        _set_champion(client, version, present)
        decision = f"{CHAMPION}, before it version {present}" if present is not None else f"{CHAMPION}, the first"
    client.set_model_version_tag(version.model, version.number, _PROMOTION_TAG, decision)
    return decision


def manual_promotion(version: ModelVersion) -> str:
    """Return the line of Python that makes a version the champion regardless of its scores."""
    arguments = f"{version.model!r}, {CHAMPION!r}, {version.number!r}"
    return f"mlflow.MlflowClient().set_registered_model_alias({arguments})"


def _set_champion(client: Any, version: ModelVersion, present: str | None) -> None:
    # In this order: if a process is killed in between, `promote_version` can be called again.
    if present is not None:
        client.set_registered_model_alias(version.model, PREVIOUS, present)
    client.set_registered_model_alias(version.model, CHAMPION, version.number)
    if _alias(client, version.model, CANDIDATE) == version.number:
        client.delete_registered_model_alias(version.model, CANDIDATE)


def _reason_to_keep(client: Any, version: ModelVersion, tags: dict[str, str], present: str | None, policy: str) -> str:
    """Return why the present champion stays; empty if the version replaces it."""
    if policy == "never":
        return "tracking.promote is never"
    if policy == "always" or present is None:
        return ""
    champion_tags = client.get_model_version(version.model, present).tags
    champion = f"the champion, version {present},"
    if MACRO_F1_TAG not in champion_tags:
        return f"{champion} has no test scores to compare with"
    if champion_tags.get(SPLIT_TAG) != tags[SPLIT_TAG]:
        other = str(champion_tags.get(SPLIT_TAG))[:12]
        return f"{champion} was tested on another split ({other}, this one on {tags[SPLIT_TAG][:12]})"
    new, old = float(tags[MACRO_F1_TAG]), float(champion_tags[MACRO_F1_TAG])
    if new > old:
        return ""
    return f"{champion} has test macro-F1 {old:.3f} on the same split, this one {new:.3f}"


def _alias(client: Any, model: str, alias: str) -> str | None:
    """Return the version that has an alias, or None."""
    number = client.get_registered_model(model).aliases.get(alias)
    return None if number is None else str(number)
