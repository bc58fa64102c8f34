"""The champion, rebuilt from its checkpoint alone, and its predictions on clips and videos."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data.errors import DataError
from data.loading.loaders import Batch, EvalDataset, eval_loader
from data.loading.transforms import EvalTransform, Normalise
from data.quality.checked_clip import CheckedClip, load_checked_clip
from data.quality.limits import Limits
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore
from data.video.sliding_windows import SlidingWindows
from models.registry import ARCHITECTURES
from tuning.config.run_folder import RunFolder
from tuning.config.schema.space import AXES
from tuning.inference.champion_folder import find_champion
from tuning.inference.grad_cam import grad_cam
from tuning.search.titles import trial_title
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import load_model
from tuning.training.epoch import predict
from tuning.training.precision import choose_precision
from tuning.training.predictions import Predictions


class Champion:
    """A trained model with everything it needs to classify clips: decoding, frame selection, calibration."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        """Load a checkpoint.

        Args:
            folder: a champion's or another trial's checkpoint.
            limits: thresholds from which a clip is suspect; default: those of an audit.

        Raises:
            CheckpointError: there is no checkpoint, or its files are damaged.
        """
        model, self.manifest = load_model(folder)
        self.limits = limits or Limits()
        self.calibration = Calibration.load(folder)
        self.classes = self.manifest.classes
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device)
        arch = ARCHITECTURES[self.manifest.trial.arch]
        self.normalise = Normalise(arch.mean, arch.std).to(self.device)
        self.transform = EvalTransform(self.manifest.trial.train.size)
        self.selection = self.manifest.trial.frame_selection()
        self.precision = choose_precision(self.manifest.trial.train.precision, self.device)

    @property
    def title(self) -> str:
        """Title of the trial, such as `c3d · balanced · 16f · lr 3e-4`."""
        return trial_title({axis: getattr(self.manifest.trial, axis) for axis in AXES})

    @property
    def batch_size(self) -> int:
        """Clips per forward pass: as many as in training."""
        return self.manifest.trial.train.max_micro_batch

    def predict_stored(
        self,
        clips: Sequence[LabelledFrames],
        store: FrameStore,
        *,
        view: int = 0,
        views: int = 1,
        crop: int = 0,
        crops: int = 1,
    ) -> Predictions:
        """Return the logits of clips from the frame store, for one view and one crop of each clip."""
        transform = replace(self.transform, crop=crop, crops=crops)
        dataset = EvalDataset(clips, store, selection=self.selection, transform=transform, view=view, views=views)
        batches = eval_loader(dataset, batch_size=self.batch_size, workers=0, pin_memory=False)
        return predict(self.model, self.normalise, batches, device=self.device, precision=self.precision)

    def predict_averaged(
        self, clips: Sequence[LabelledFrames], store: FrameStore, *, views: int, crops: int
    ) -> Predictions:
        """Return the mean logits of clips over `views` views with `crops` crops each."""
        predictions = [
            self.predict_stored(clips, store, view=view, views=views, crop=crop, crops=crops)
            for view, crop in itertools.product(range(views), range(crops))
        ]
        # In float64, so that the mean of equal float32 values is exactly that value.
        logits = torch.stack([one.logits for one in predictions]).double().mean(0).float()
        return Predictions(predictions[0].clip_ids, predictions[0].labels, logits)

    def read_clip(self, file: Path) -> CheckedClip:
        """Decode the model's input from a video file, one clip, and find the clip's defects.

        Raises:
            DataError: the file can't be decoded.
        """
        return load_checked_clip(file, self.manifest.decode, self.selection, self.transform, self.limits)

    def open_windows(self, file: Path, seconds: float, hop: float) -> SlidingWindows:
        """Open a long video as sliding windows, which `window_input` turns into the model's inputs.

        Args:
            file: the video.
            seconds: length of a window.
            hop: seconds between the starts of two windows.

        Raises:
            DataError: the file can't be read, or `seconds` or `hop` is not valid.
        """
        num_stored = self.manifest.decode.frames
        positions = (self.selection.eval_indices(num_stored) + 0.5) / num_stored
        try:
            return SlidingWindows(
                file, seconds=seconds, hop=hop, positions=positions, short_side=self.manifest.decode.short_side
            )
        except OSError as error:
            raise DataError(f"it can't be opened ({error.strerror})") from None

    def window_input(self, frames: np.ndarray) -> torch.Tensor:
        """Return the model's input uint8 `(T, 3, S, S)` from a window's frames `(T, h, w, 3)`."""
        return self.transform(torch.from_numpy(frames).permute(0, 3, 1, 2))

    def predict_probabilities(self, clips: Sequence[torch.Tensor]) -> np.ndarray:
        """Return calibrated probabilities float32 `(B, K)` of B clips uint8 `(T, 3, S, S)`, in one forward pass."""
        batch = Batch(torch.stack(list(clips)), torch.zeros(len(clips), dtype=torch.int64), [""] * len(clips))
        result = predict(self.model, self.normalise, [batch], device=self.device, precision=self.precision)
        return self.calibration.probabilities(result.logits).numpy()

    def grad_cam(self, clip: torch.Tensor, target: int) -> np.ndarray:
        """Return the Grad-CAM map of a clip uint8 `(T, 3, S, S)` for a class index, float32 `(T, S, S)` in 0 to 1."""
        inputs = self.normalise(clip[None].to(self.device))
        return grad_cam(self.model, self.manifest.trial.arch, inputs, target).numpy()


def open_champion(run: Path | None, model: Path | None) -> tuple[Champion, RunFolder | None]:
    """Load a champion from its run or from its own folder.

    Args:
        run: the run, or None.
        model: the champion's folder; used if `run` is None.

    Returns:
        The champion, and its run if it is known.

    Raises:
        CheckpointError: there is no champion, or its files are damaged.
        ConfigError: there is no such run or folder, its sweep has not ended, or its settings are damaged.
    """
    folder, found = find_champion(run, model)
    return Champion(folder, found.read_config().data.limits() if found else None), found
