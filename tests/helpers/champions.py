"""A run as a sweep leaves it, with a champion trained in seconds: the colour of a square is its class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from data.dataset.splits import read_split
from data.loading.model_input import eval_frames
from data.loading.transforms import EvalTransform, Normalise
from data.video.decode import decode_clip
from models.architecture import KINETICS_MEAN_STD
from models.registry import build_model
from tests.helpers.small_models import one_thread
from tests.helpers.video_files import write_video
from tuning.config.load import parse_config, save_config
from tuning.config.paths import absolute_paths
from tuning.config.run_folder import RunFolder
from tuning.config.schema.train import TrainConfig
from tuning.config.trial_config import TrialConfig
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import Manifest, TrainingState, save_checkpoint
from tuning.training.predictions import Predictions

CLASSES = ("dip", "pull Up", "squat")
COLOURS = {"dip": (230, 40, 40), "pull Up": (40, 210, 40), "squat": (60, 60, 240)}
FPS, SECONDS, SIZE = 10, 2, 48

TRIAL = TrialConfig(
    arch="c3d",
    options={"width": 4, "batch_norm": True, "head": "pool", "dropout": 0.0},
    weights="none",
    sampler="imbalanced",
    loss="plain",
    lr=0.001,
    num_frames=8,
    selection="uniform",
    train=TrainConfig(epochs=3, size=SIZE, precision="fp32", batch_size=4),
    metric="val_macro_f1",
)


def coloured_square(label: str, seed: int, seconds: float = SECONDS, fps: int = FPS) -> list[np.ndarray]:
    """Frames of a square in the colour of the class, which moves in front of a grey, mottled wall."""
    rng = np.random.default_rng(seed)
    wall = rng.integers(60, 110, (12, 16, 1), np.uint8).repeat(3, 2).repeat(4, 0).repeat(4, 1)
    y, x = rng.integers(0, 28), rng.integers(0, 44)
    frames = []
    for step in range(round(seconds * fps)):
        frame = wall.copy()
        left = int(x + 2 * step) % 44
        frame[y : y + 20, left : left + 20] = COLOURS[label]
        frames.append(frame)
    return frames


def make_run(folder: Path, name: str = "colours") -> RunFolder:
    """Write clips to `folder/clips` and a run with its champion to `folder/runs`."""
    run = RunFolder(folder / "runs" / name)
    run.best.mkdir(parents=True)
    lines, seed = ["path,label,group,split"], 0
    for label in CLASSES:
        for split in ("train", "train", "train", "val", "test"):
            path = f"{label}/{seed}.mp4"
            write_video(folder / "clips" / path, coloured_square(label, seed), fps=FPS)
            lines.append(f"{path},{label},{seed},{split}")
            seed += 1
    run.split.write_text("\n".join(lines) + "\n")
    config = parse_config(
        {
            "name": "colours",
            "runs_dir": str(run.path.parent),
            "data": {"dir": str(folder / "clips")},
            "store": {"dir": str(folder / "store"), "frames": 8, "short_side": SIZE},
            "space": {"arch": TRIAL.arch, "num_frames": TRIAL.num_frames},
        }
    )
    save_config(absolute_paths(config), run.config)
    with one_thread():
        _save_champion(run, folder / "clips")
    return run


def _save_champion(run: RunFolder, clips: Path) -> None:
    settings, split = run.read_config().store.decode_settings(), read_split(run.split)
    selection, transform, normalise = TRIAL.frame_selection(), EvalTransform(SIZE), Normalise(*KINETICS_MEAN_STD)

    def inputs(name: str) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        chosen = split.clips(name)
        frames = [eval_frames(decode_clip(clips / c.path, settings).frames, selection, transform) for c in chosen]
        labels = torch.tensor([CLASSES.index(c.label) for c in chosen])
        return normalise(torch.stack(frames)), labels, [c.path for c in chosen]

    model = _train(*inputs("train")[:2], normalise)
    frames, labels, ids = inputs("val")
    with torch.inference_mode():
        predictions = Predictions(ids, labels, model.eval()(frames))
    manifest = Manifest(
        trial=TRIAL,
        classes=CLASSES,
        split_sha256=split.sha256,
        decode=settings,
        folds=1,
        precision="fp32",
        history=({"val_macro_f1": 1.0},),
    )
    save_checkpoint(run.best, manifest, [model], [TrainingState({}, {}, {})], predictions)
    # Set by hand: three clips, all of them right, determine neither temperature nor threshold.
    Calibration(temperature=1.0, threshold=0.6, max_risk=0.1, risk=0.0, coverage=1.0, clips=3).save(run.best)


def _train(frames: torch.Tensor, labels: torch.Tensor, normalise: Normalise) -> nn.Module:
    torch.manual_seed(0)
    model = build_model(
        TRIAL.arch, TRIAL.options, num_classes=len(CLASSES), num_frames=TRIAL.num_frames, size=TRIAL.train.size
    )
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 0.5
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    # Walls without a square belong to no class, so that there are inputs of which the model is unsure.
    walls = normalise(torch.randint(60, 110, (len(frames), 1, 1, 1, 1), dtype=torch.uint8).expand_as(frames))
    uniform = torch.full((len(frames), len(CLASSES)), 1 / len(CLASSES))
    targets = torch.cat([nn.functional.one_hot(labels, len(CLASSES)).float(), uniform])
    for _ in range(40):
        loss = nn.functional.cross_entropy(model(torch.cat([frames, walls])), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model
