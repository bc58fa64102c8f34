"""A champion on its test clips: one view and crop of each, and several."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from data.dataset.splits import read_split
from data.intervals import wilson_interval
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore
from models.registry import build_model
from tests.helpers import checkpoints
from tests.helpers.small_models import one_seed_one_thread
from tests.helpers.video_files import moving_square, write_video
from tuning.config.load import parse_config, save_config
from tuning.config.paths import absolute_paths
from tuning.config.run_folder import RunFolder
from tuning.config.schema.train import TrainConfig
from tuning.evaluation.evaluate import evaluate_run
from tuning.inference.champion import Champion
from tuning.training.checkpoint import Manifest, TrainingState, save_checkpoint

__all__ = ["one_seed_one_thread"]

SHAPES = {"wide": (48, 120), "tall": (120, 48), "square": (48, 48)}
SIZE = 48
TRIAL = checkpoints.TRIAL.model_copy(
    update={
        "arch": "resnet18",
        "options": {"hidden": 8},
        "num_frames": 2,
        "train": TrainConfig(epochs=3, size=SIZE, precision="fp32"),
    }
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The folder of a finished run with an untrained champion; each class has a wide, a tall and a square test clip."""
    place = tmp_path_factory.mktemp("place")
    run = RunFolder(place / "runs/small")
    run.best.mkdir(parents=True)
    lines = ["path,label,group,split"]
    for number, label in enumerate(("dip", "squat")):
        for shape, (height, width) in SHAPES.items():
            write_video(place / f"clips/{label}/{shape}.mp4", moving_square(number, height=height, width=width))
            lines.append(f"{label}/{shape}.mp4,{label},{label}-{shape},test")
        # Clips of the other splits are not read.
        lines += [f"{label}/{split}.mp4,{label},{label}-{split},{split}" for split in ("train", "val")]
    run.split.write_text("\n".join(lines) + "\n")
    set_views(run, views=1, crops=1)
    manifest = Manifest(
        trial=TRIAL,
        classes=("dip", "squat"),
        split_sha256=read_split(run.split).sha256,
        decode=run.read_config().store.decode_settings(),
        folds=1,
        precision="fp32",
        history=({"val_macro_f1": 0.5},),
    )
    torch.manual_seed(0)
    model = build_model("resnet18", TRIAL.options, num_classes=2, num_frames=2, size=SIZE)
    save_checkpoint(run.best, manifest, [model], [TrainingState({}, {}, {})], checkpoints.PREDICTIONS)
    return run


def set_views(run: RunFolder, *, views: int, crops: int) -> None:
    here = run.path.parents[1]
    config = parse_config(
        {
            "data": {"dir": str(here / "clips")},
            "store": {"dir": str(here / "store"), "frames": 8, "short_side": SIZE},
            "space": {"arch": "resnet18", "num_frames": 2},
            "test": {"views": views, "crops": crops},
        }
    )
    save_config(absolute_paths(config), run.config)


def stored(run: RunFolder) -> tuple[FrameStore, list[LabelledFrames]]:
    config, split = run.read_config(), read_split(run.split)
    clips = split.clips("test")
    store = config.store.open()
    report = store.build(Path(config.data.dir), [clip.path for clip in clips], workers=1, progress=False)
    return store, report.labelled(clips, split.classes)


def logits_by_hand(champion: Champion, store: FrameStore, clip: LabelledFrames, views: int, crops: int) -> torch.Tensor:
    """The mean logits, from frames and squares selected by hand; stored frames have the size of the model's input."""
    frames = torch.from_numpy(store.read(clip.digest).copy()).permute(0, 3, 1, 2)
    count, (height, width) = len(frames), frames.shape[-2:]
    assert min(height, width) == SIZE
    assert count == 8
    # Each of the two input frames stands for four stored ones: one view takes the middle, two views 1/4 and 3/4.
    chosen = {1: [(2, 6)], 2: [(1, 5), (3, 7)]}[views]
    ends = {"wide": (0, 36, 72), "tall": (0, 36, 72), "square": (0, 0, 0)}[Path(clip.clip_id).stem]
    each = []
    for pair in chosen:
        for start in ends if crops == 3 else ends[1:2]:
            top, left = (start, 0) if height > width else (0, start)
            square = frames[list(pair), :, top : top + SIZE, left : left + SIZE]
            with torch.inference_mode():
                each.append(champion.model(champion.normalise(square[None])))
    return torch.cat(each).mean(0)


@pytest.mark.parametrize(("views", "crops"), [(1, 3), (2, 1), (2, 3)])
def test_averaged_logits_are_the_mean_over_all_crops_of_all_views(views: int, crops: int, run: RunFolder) -> None:
    champion, (store, clips) = Champion(run.best), stored(run)
    found = champion.predict_averaged(clips, store, views=views, crops=crops)
    single = champion.predict_stored(clips, store)
    assert found.clip_ids == single.clip_ids == [clip.clip_id for clip in clips]
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    for row, clip in enumerate(clips):
        torch.testing.assert_close(
            found.logits[row], logits_by_hand(champion, store, clip, views, crops), rtol=0, atol=1e-5
        )
        torch.testing.assert_close(single.logits[row], logits_by_hand(champion, store, clip, 1, 1), rtol=0, atol=1e-5)
        if crops == 3 and "square" not in clip.clip_id:
            assert (found.logits[row] - single.logits[row]).abs().max() > 1e-4, "crops at the ends differ"


def test_three_crops_of_square_clips_equal_one(run: RunFolder) -> None:
    champion, (store, clips) = Champion(run.best), stored(run)
    square = [clip for clip in clips if "square" in clip.clip_id]
    three = champion.predict_averaged(square, store, views=1, crops=3)
    assert torch.equal(three.logits, champion.predict_stored(square, store).logits)


def test_metrics_with_several_views_are_added_to_those_of_a_single_view(run: RunFolder) -> None:
    set_views(run, views=1, crops=1)
    single = evaluate_run(run, progress=False)
    assert single.averaged is None
    metrics = json.loads((run.test / "metrics.json").read_text())
    assert metrics["averaged"] is None

    set_views(run, views=2, crops=3)
    both = evaluate_run(run, progress=False)
    assert both.model_copy(update={"averaged": None}) == single
    champion, (store, clips) = Champion(run.best), stored(run)
    logits = torch.stack([logits_by_hand(champion, store, clip, 2, 3) for clip in clips])
    correct = int((logits.argmax(1) == torch.tensor([clip.label for clip in clips])).sum())
    written = json.loads((run.test / "metrics.json").read_text())
    averaged = written.pop("averaged")
    metrics.pop("averaged")
    assert written == metrics
    assert averaged["accuracy_wilson_95"] == list(wilson_interval(correct, 6))
    assert (averaged["views"], averaged["crops"], averaged["accuracy"]) == (2, 3, correct / 6)
    assert both.averaged is not None
    assert averaged["macro_f1"] == both.averaged.macro_f1
