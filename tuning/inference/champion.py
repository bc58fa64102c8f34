"""The model that a sweep found best, rebuilt from its folder alone, and what it makes of clips and videos."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data.errors import DataError
from data.loading.loaders import Batch, EvalDataset, eval_loader
from data.loading.model_input import ModelInput, load_model_input
from data.loading.transforms import EvalTransform, Normalise
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore
from data.video.sliding_windows import SlidingWindows
from models.registry import ARCHITECTURES
from tuning.config.schema.space import AXES
from tuning.inference.grad_cam import grad_cam
from tuning.search.titles import trial_title
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import load_model
from tuning.training.epoch import predict
from tuning.training.precision import choose_precision
from tuning.training.predictions import Predictions


class Champion:
    """A model rebuilt from a checkpoint folder, with all it needs to label clips."""

    def __init__(self, folder: Path) -> None:
        model, self.manifest = load_model(folder)
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
        """Of its trial, for people."""
        return trial_title({axis: getattr(self.manifest.trial, axis) for axis in AXES})

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
        """Logits of one view and crop of clips whose frames are in the store."""
        transform = replace(self.transform, crop=crop, crops=crops)
        dataset = EvalDataset(clips, store, selection=self.selection, transform=transform, view=view, views=views)
        batches = eval_loader(
            dataset, batch_size=self.manifest.trial.train.max_micro_batch, workers=0, pin_memory=False
        )
        return predict(self.model, self.normalise, batches, device=self.device, precision=self.precision)

    def predict_averaged(
        self, clips: Sequence[LabelledFrames], store: FrameStore, *, views: int, crops: int
    ) -> Predictions:
        """Each clip's mean logits over `views` views of `crops` crops each."""
        each = [
            self.predict_stored(clips, store, view=view, views=views, crop=crop, crops=crops)
            for view, crop in itertools.product(range(views), range(crops))
        ]
        # In float64, where the mean of three equal float32 is that very number.
        mean = torch.stack([one.logits for one in each]).double().mean(0).float()
        return Predictions(each[0].clip_ids, each[0].labels, mean)

    def look(self, file: Path) -> ModelInput:
        """Decode what the model sees of one video file.

        Raises:
            DataError: it can't be decoded.
        """
        return load_model_input(file, self.manifest.decode, self.selection, self.transform)

    def windows(self, file: Path, seconds: float, hop: float) -> SlidingWindows:
        """A long video as windows, each a clip of `seconds`: `see` makes of their frames what `look` does of a clip.

        Raises:
            DataError: the file can't be read, or the lengths can't be used.
        """
        stored = self.manifest.decode.frames
        places = (self.selection.eval_indices(stored) + 0.5) / stored
        try:
            return SlidingWindows(
                file, seconds=seconds, hop=hop, positions=places, short_side=self.manifest.decode.short_side
            )
        except OSError as error:
            raise DataError(f"it can't be opened ({error.strerror})") from None

    def see(self, frames: np.ndarray) -> torch.Tensor:
        """A window's frames `(T, h, w, 3)` as the model takes them, uint8 `(T, 3, S, S)`."""
        return self.transform(torch.from_numpy(frames).permute(0, 3, 1, 2))

    def probabilities(self, clips: Sequence[torch.Tensor]) -> np.ndarray:
        """Calibrated probabilities float32 `(B, K)` of clips uint8 `(T, 3, S, S)`, computed at once."""
        batch = Batch(torch.stack(list(clips)), torch.zeros(len(clips), dtype=torch.int64), [""] * len(clips))
        result = predict(self.model, self.normalise, [batch], device=self.device, precision=self.precision)
        return self.calibration.probabilities(result.logits).numpy()

    def where_it_looks(self, clip: torch.Tensor, target: int) -> np.ndarray:
        """Grad-CAM of a clip uint8 `(T, 3, S, S)` for a class, float32 `(T, S, S)` in `[0, 1]`."""
        inputs = self.normalise(clip[None].to(self.device))
        return grad_cam(self.model, self.manifest.trial.arch, inputs, target).numpy()
