"""What the accuracies with reordered frames show about time, in one or two sentences for the report."""

from __future__ import annotations

from collections.abc import Sequence

from tuning.evaluation.frame_order import MIN_CHANGE, OrderProbe


def frame_order_sentence(probes: Sequence[OrderProbe]) -> str:
    """Return what the probes of a sweep's models show about time."""
    users = [probe for probe in probes if probe.uses_order]
    if users:
        most = min(users, key=lambda probe: probe.shuffled_change.value)
        text = (
            f"Time matters to {most.arch}: its accuracy on the test clips is {most.row('ordered').accuracy:.3f} with "
            f"the frames in order and {most.row('shuffled').accuracy:.3f} with the frames shuffled, a change of "
            f"{most.shuffled_change.summary}.{_without_order(most, probes)}"
        )
    elif all(probe.ignores_order for probe in probes):
        text = (
            "No model in this sweep uses the order of frames: shuffling them changes no model's accuracy by more than "
            f"{MIN_CHANGE}, so this sweep can't tell whether time matters."
        )
    else:
        changes = ", ".join(f"{probe.shuffled_change.summary} for {probe.arch}" for probe in probes)
        text = f"These data can't tell whether time matters: with shuffled frames accuracy changes by {changes}."
    return f"{text}{_different_weights(probes)}"


def _without_order(most: OrderProbe, probes: Sequence[OrderProbe]) -> str:
    """Return how well the best model that ignores order does.

    A model trained on ordered frames may fail on shuffled ones even if the order carries no information. A model that
    ignores order shows whether the clips need it.
    """
    ignoring = [probe for probe in probes if probe.ignores_order]
    if not ignoring:
        return (
            " Whether the classes can be recognised without the order of frames is unknown: no model in this sweep "
            "ignores it."
        )
    best = max(ignoring, key=lambda probe: probe.row("ordered").accuracy)
    accuracy = best.row("ordered").accuracy
    text = f"{best.arch}, which ignores the order of frames, reaches an accuracy of {accuracy:.3f}."
    if accuracy >= most.row("ordered").accuracy:
        return f" But these clips don't need it: {text}"
    return f" For comparison, {text}"


def _different_weights(probes: Sequence[OrderProbe]) -> str:
    if len({probe.weights for probe in probes}) < 2:
        return ""
    weights = ", ".join(f"{probe.arch} from {probe.weights}" for probe in probes)
    return (
        f" The models start from different weights ({weights}), so a difference between two models may come from "
        "pretraining and not from their use of time. The change of one model's own accuracy is not affected."
    )
