"""Models of which it is known whether they use the order of frames, and the sentence about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from data.loading.transforms import Normalise
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore
from models.registry import ARCHITECTURES, build_model
from tests.helpers.checkpoints import MANIFEST
from tests.helpers.small_models import one_seed_one_thread
from tests.helpers.video_files import write_video
from tuning.config.schema.train import TrainConfig
from tuning.evaluation.frame_order import ORDERS, OrderAccuracy, OrderProbe, _permutation, probe_frame_order
from tuning.evaluation.frame_order_sentence import frame_order_sentence
from tuning.inference.champion import Champion
from tuning.training.bootstrap import Difference, Interval
from tuning.training.checkpoint import save_checkpoint
from tuning.training.learner import TrainingState
from tuning.training.predictions import Predictions

__all__ = ["one_seed_one_thread"]

FRAMES, SIZE, CLIPS = 8, 48, 12
C3D: dict[str, Any] = {"width": 8, "fc": 32, "batch_norm": True, "dropout": 0.0}
RESNET: dict[str, Any] = {"hidden": 8}


def moving(label: int, start: int) -> np.ndarray:
    """A bright bar that moves to the right, or to the left: the same frames in reverse order."""
    frames = np.full((FRAMES, SIZE, SIZE, 3), 30, np.uint8)
    for number in range(FRAMES):
        frames[number, :, start + 4 * number : start + 4 * number + 8] = 220
    return frames if label == 0 else frames[::-1].copy()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[FrameStore, list[LabelledFrames]]:
    place = tmp_path_factory.mktemp("clips")
    names = []
    for number in range(CLIPS):
        label = number % 2
        name = f"{'right' if label == 0 else 'left'}/{number}.mp4"
        write_video(place / name, moving(label, number // 2))
        names.append(name)
    decode = replace(MANIFEST.decode, frames=FRAMES, short_side=SIZE)
    store = FrameStore(place / "store", decode)
    digests = store.build(place, names, workers=1, progress=False).digests()
    return store, [LabelledFrames(name, digests[name], int(name.startswith("left"))) for name in names]


def champion(folder: Path, arch: str, options: dict[str, Any], model: torch.nn.Module) -> Champion:
    folder.mkdir()
    update: dict[str, Any] = {
        "arch": arch,
        "options": options,
        "num_frames": FRAMES,
        "train": TrainConfig(epochs=3, size=SIZE, precision="fp32"),
    }
    manifest = MANIFEST.model_copy(
        update={
            "trial": MANIFEST.trial.model_copy(update=update),
            "classes": ("right", "left"),
            "decode": replace(MANIFEST.decode, frames=FRAMES, short_side=SIZE),
        }
    )
    answers = Predictions(["a"], torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
    save_checkpoint(folder, manifest, [model], [TrainingState({}, {}, {})], answers)
    return Champion(folder)


def trained(clips: list[LabelledFrames], store: FrameStore) -> torch.nn.Module:
    """A small C3D that classifies these clips correctly."""
    arch = ARCHITECTURES["c3d"]
    model = build_model("c3d", C3D, num_classes=2, num_frames=FRAMES, size=SIZE)
    frames = torch.stack([torch.from_numpy(store.read(clip.digest).copy()).permute(0, 3, 1, 2) for clip in clips])
    inputs, labels = Normalise(arch.mean, arch.std)(frames), torch.tensor([clip.label for clip in clips])
    optimizer = torch.optim.Adam(model.parameters(), 0.001)
    for _ in range(20):
        model.train()
        for _ in range(10):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
        with torch.no_grad():
            sure = model.eval()(inputs).softmax(1)[range(len(labels)), labels].min()
        if sure > 0.9:
            break
    return model


def test_a_model_of_motion_is_worse_with_other_orders(
    store: tuple[FrameStore, list[LabelledFrames]], tmp_path: Path
) -> None:
    frames, clips = store
    model = champion(tmp_path / "c3d", "c3d", C3D, trained(clips, frames))
    groups = [clip.clip_id for clip in clips]
    found = probe_frame_order(model, clips, frames, groups, title="c3d", is_champion=True)
    assert [row.order for row in found.rows] == list(ORDERS)
    assert found.row("ordered").accuracy == 1
    assert found.row("ordered").change is None
    known = model.predict_stored(clips, frames)
    again = probe_frame_order(model, clips, frames, groups, title="c3d", is_champion=True, ordered=known)
    assert again == found, "predictions that are given in order are not computed again"
    assert found.row("reversed").accuracy == 0, "reversed, each clip is one of the other class"
    assert 0.2 <= found.row("shuffled").accuracy <= 0.8
    assert found.uses_order
    assert frame_order_sentence([found]).startswith(
        "Time matters to c3d: its accuracy on the test clips is 1.000 with the frames in order and 0."
    )


def test_a_model_that_averages_frames_ignores_their_order(
    store: tuple[FrameStore, list[LabelledFrames]], tmp_path: Path
) -> None:
    frames, clips = store
    plain = build_model("resnet18", RESNET, num_classes=2, num_frames=FRAMES, size=SIZE)
    model = champion(tmp_path / "resnet18", "resnet18", RESNET, plain)
    groups = [clip.clip_id for clip in clips]
    found = probe_frame_order(model, clips, frames, groups, title="resnet18", is_champion=True)
    for order in ("shuffled", "reversed"):
        change = found.row(order).change
        assert change is not None
        assert change.value == pytest.approx(0, abs=0.005)
    assert found.ignores_order
    assert not found.uses_order
    assert frame_order_sentence([found]).startswith("No model in this sweep uses the order of frames")


def test_permutations_differ_between_clips_and_are_never_the_order_or_its_reverse() -> None:
    for frames in (3, 4, 16):
        for clip in ("a", "b", "c"):
            drawn = _permutation(frames, 0, clip).tolist()
            assert sorted(drawn) == list(range(frames))
            assert drawn not in (list(range(frames)), list(range(frames))[::-1])
            assert drawn == _permutation(frames, 0, clip).tolist()
    assert _permutation(16, 0, "a").tolist() != _permutation(16, 0, "b").tolist()
    assert _permutation(16, 0, "a").tolist() != _permutation(16, 1, "a").tolist()
    assert sorted(_permutation(1, 0, "a").tolist()) == [0]


def probe(
    arch: str, change: float, low: float, high: float, weights: str = "none", accuracy: float = 0.7
) -> OrderProbe:
    around = Interval(0.5, 0.9)
    rows = [
        OrderAccuracy(order, accuracy, around, None if order == "ordered" else Difference(change, Interval(low, high)))
        for order in ORDERS
    ]
    return OrderProbe(arch, arch, weights, False, tuple(rows))


def test_sentence_says_that_the_data_cannot_tell_if_the_intervals_contain_zero() -> None:
    assert frame_order_sentence([probe("c3d", -0.05, -0.2, 0.1), probe("resnet18", 0.0, 0.0, 0.0)]) == (
        "These data can't tell whether time matters: with shuffled frames accuracy changes by "
        "-0.050 (-0.200 to +0.100) for c3d, +0.000 (+0.000 to +0.000) for resnet18."
    )


def test_sentence_compares_with_the_best_model_that_ignores_order() -> None:
    by_order = probe("c3d", -0.3, -0.4, -0.2, accuracy=0.9)
    alone, worse, as_good = (
        frame_order_sentence([by_order, *others])
        for others in (
            [],
            [probe("resnet18", 0.0, 0.0, 0.0, accuracy=0.6)],
            [probe("resnet18", 0.0, 0.0, 0.0, accuracy=0.6), probe("resnet50", 0.0, 0.0, 0.0, accuracy=0.9)],
        )
    )
    start = "Time matters to c3d: its accuracy on the test clips is 0.900 with the frames in order and 0.900 with the"
    assert all(sentence.startswith(start) for sentence in (alone, worse, as_good))
    assert alone.endswith("is unknown: no model in this sweep ignores it.")
    assert worse.endswith(" For comparison, resnet18, which ignores the order of frames, reaches an accuracy of 0.600.")
    assert as_good.endswith(
        "But these clips don't need it: resnet50, which ignores the order of frames, reaches an accuracy of 0.900."
    )


def test_sentence_names_different_pretraining_as_a_confound() -> None:
    probes = [probe("c3d", -0.3, -0.4, -0.2), probe("resnet18", 0.0, 0.0, 0.0, "imagenet")]
    assert "start from different weights (c3d from none, resnet18 from imagenet)" in frame_order_sentence(probes)
    assert "different weights" not in frame_order_sentence(probes[:1])
