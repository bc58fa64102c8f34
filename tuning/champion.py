"""A champion: a model rebuilt from its checkpoint alone, and what it says of clips."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from data.cache import FrameStore, LabelledFrames
from data.decode import decode_clip
from data.errors import DataError
from data.loading import Batch, EvalDataset, eval_frames, eval_loader
from data.transforms import EvalTransform, Normalise
from models.registry import ARCHITECTURES
from tuning.checkpoint import load_model
from tuning.loop import Predictions, choose_precision, predict
from tuning.results import trial_title
from tuning.settings import AXES


class Champion:
    """A model rebuilt from a checkpoint folder, with all it needs to label clips."""

    def __init__(self, folder: Path) -> None:
        model, self.manifest = load_model(folder)
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
        batches = eval_loader(dataset, batch_size=self.manifest.trial.train.at_once, workers=0, pin_memory=False)
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

    def predict_file(self, file: Path) -> torch.Tensor:
        """Class probabilities `(K,)` of one video file.

        Raises:
            DataError: it can't be decoded.
        """
        if not file.is_file():
            raise DataError("it is a folder: give video files" if file.is_dir() else "no such file")
        stored = decode_clip(file, self.manifest.decode).frames
        frames = eval_frames(stored, self.selection, self.transform)
        batch = Batch(frames[None], torch.zeros(1, dtype=torch.int64), [str(file)])
        result = predict(self.model, self.normalise, [batch], device=self.device, precision=self.precision)
        return result.logits[0].softmax(0)
