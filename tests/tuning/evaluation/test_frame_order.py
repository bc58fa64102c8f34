"""Models of which it is known whether they see the order of frames."""

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
from tests.helpers.small_models import one_seed_one_thread
from tests.helpers.video_files import write_video
from tests.tuning.training.test_checkpoint import MANIFEST_VALUES
from tuning.config.schema.train import TrainConfig
from tuning.evaluation.frame_order import ORDERS, OrderProbe, OrderRow, _permutation, probe, sentence
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
    """A bright bar that goes to the right, or to the left: the same pictures in opposite order."""
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
    decode = replace(MANIFEST_VALUES.decode, frames=FRAMES, short_side=SIZE)
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
    manifest = MANIFEST_VALUES.model_copy(
        update={
            "trial": MANIFEST_VALUES.trial.model_copy(update=update),
            "classes": ("right", "left"),
            "decode": replace(MANIFEST_VALUES.decode, frames=FRAMES, short_side=SIZE),
        }
    )
    answers = Predictions(["a"], torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
    save_checkpoint(folder, manifest, [model], [TrainingState({}, {}, {})], answers)
    return Champion(folder)


def trained(clips: list[LabelledFrames], store: FrameStore) -> torch.nn.Module:
    """A small C3D that knows right from left on these clips."""
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


def test_a_model_of_motion_loses_by_other_orders(
    store: tuple[FrameStore, list[LabelledFrames]], tmp_path: Path
) -> None:
    frames, clips = store
    model = champion(tmp_path / "c3d", "c3d", C3D, trained(clips, frames))
    found = probe(model, clips, frames, [clip.clip_id for clip in clips], title="c3d", is_champion=True)
    assert [row.order for row in found.rows] == list(ORDERS)
    assert found.row("ordered").accuracy == 1
    assert found.row("ordered").lost is None
    again = probe(
        model,
        clips,
        frames,
        [clip.clip_id for clip in clips],
        title="c3d",
        is_champion=True,
        ordered=model.predict_stored(clips, frames),
    )
    assert again == found, "answers that are there need not be asked for again"
    assert found.row("reversed").accuracy == 0, "reversed, each clip is one of the other class"
    assert 0.2 <= found.row("shuffled").accuracy <= 0.8
    assert found.loses
    assert sentence([found]).startswith("Time matters to c3d: it is right on 1.000 of the test clips in order, on 0.")


def test_a_model_that_averages_frames_loses_nothing(
    store: tuple[FrameStore, list[LabelledFrames]], tmp_path: Path
) -> None:
    frames, clips = store
    plain = build_model("resnet18", RESNET, num_classes=2, num_frames=FRAMES, size=SIZE)
    model = champion(tmp_path / "resnet18", "resnet18", RESNET, plain)
    found = probe(model, clips, frames, [clip.clip_id for clip in clips], title="resnet18", is_champion=True)
    for order in ("shuffled", "reversed"):
        lost = found.row(order).lost
        assert lost is not None
        assert lost.value == pytest.approx(0, abs=0.005)
    assert not found.loses
    assert sentence([found]).startswith("No model here looks at the order of frames")


def test_a_permutation_is_the_clips_own_and_never_the_order_itself() -> None:
    for frames in (3, 4, 16):
        for clip in ("a", "b", "c"):
            drawn = _permutation(frames, 0, clip).tolist()
            assert sorted(drawn) == list(range(frames))
            assert drawn not in (list(range(frames)), list(range(frames))[::-1])
            assert drawn == _permutation(frames, 0, clip).tolist()
    assert _permutation(16, 0, "a").tolist() != _permutation(16, 0, "b").tolist()
    assert _permutation(16, 0, "a").tolist() != _permutation(16, 1, "a").tolist()
    assert sorted(_permutation(1, 0, "a").tolist()) == [0]


def made_up(
    arch: str, change: float, low: float, high: float, weights: str = "none", accuracy: float = 0.7
) -> OrderProbe:
    around = Interval(0.5, 0.9)
    rows = [
        OrderRow(order, accuracy, around, None if order == "ordered" else Difference(change, Interval(low, high)))
        for order in ORDERS
    ]
    return OrderProbe(arch, arch, weights, False, tuple(rows))


def test_says_so_where_the_clips_can_not_tell() -> None:
    said = sentence([made_up("c3d", -0.05, -0.2, 0.1), made_up("resnet18", 0.0, 0.0, 0.0)])
    assert said == (
        "These data can't tell whether time matters: shuffling the frames changes accuracy by "
        "c3d -0.050 (-0.200 to +0.100), resnet18 +0.000 (+0.000 to +0.000)."
    )


def test_says_what_a_model_does_that_takes_no_notice_of_order() -> None:
    by_order = made_up("c3d", -0.3, -0.4, -0.2, accuracy=0.9)
    alone, worse, as_good = (
        sentence([by_order, *others])
        for others in (
            [],
            [made_up("resnet18", 0.0, 0.0, 0.0, accuracy=0.6)],
            [made_up("resnet18", 0.0, 0.0, 0.0, accuracy=0.6), made_up("resnet50", 0.0, 0.0, 0.0, accuracy=0.9)],
        )
    )
    told = "Time matters to c3d: it is right on 0.900 of the test clips in order, on 0.900 with their frames shuffled"
    assert all(said.startswith(told) for said in (alone, worse, as_good))
    assert alone.endswith("is not known: no model here takes no notice of order.")
    assert worse.endswith(" Beside it, resnet18, which takes no notice of their order, is right on 0.600.")
    assert as_good.endswith(
        "These clips don't need it, though: resnet50, which takes no notice of their order, is right on 0.900."
    )


def test_names_other_pretraining_as_a_confound() -> None:
    probes = [made_up("c3d", -0.3, -0.4, -0.2), made_up("resnet18", 0.0, 0.0, 0.0, "imagenet")]
    assert "start from different weights (c3d from none, resnet18 from imagenet)" in sentence(probes)
    assert "different weights" not in sentence(probes[:1])
