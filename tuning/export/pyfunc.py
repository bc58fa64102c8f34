"""A registered model where it is used: clips in, labels and probabilities out.

Runs where this project is not. A registered model carries this file with the modules of `data` that it needs, under a
package name of its own; beside them lie the network as an exported graph and its settings as JSON.
"""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import torch

from data.errors import DataError
from data.loading.frame_selection import FrameSelection
from data.loading.model_input import load_model_input
from data.loading.transforms import EvalTransform
from data.video.decode import DecodeSettings
from tuning.training.precision import autocast, choose_precision

CLIP = "clip"
"""The column of clips: paths, file:// URLs, or files' bytes as base64."""
NETWORK, SETTINGS = "network.pt2", "settings.json"
TOP_K, ABSTAIN = "top_k", "abstain"
_OWN_COLUMNS = ("label", "probability", "error")
_LONGEST_PATH = 4096


def class_columns(classes: Sequence[str]) -> list[str]:
    """The columns of the classes' probabilities: their names, marked where the answer has such a column of its own."""
    return [f"{name} (class)" if name in _OWN_COLUMNS else name for name in classes]


class ClipLabeller:
    """Answers each clip of a table with a row."""

    def __init__(self, folder: Path) -> None:
        settings = json.loads((folder / SETTINGS).read_text())
        self.classes: list[str] = settings["classes"]
        self.temperature, self.threshold = float(settings["temperature"]), float(settings["threshold"])
        self.decode = DecodeSettings(**settings["decode"])
        self.selection = FrameSelection(**settings["selection"])
        self.transform = EvalTransform(settings["size"])
        self.at_once = int(settings["at_once"])
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.precision = choose_precision(settings["precision"], self.device)
        program = torch.export.load(folder / NETWORK)
        if self.device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, self.device)
        self.network = program.module()

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Label clips.

        Args:
            model_input: a table, a mapping or a list of mappings with the column `clip`, or a list of clips.
            params: `top_k`, the best classes to tell, 0 for the probability of every class by its name; `abstain`,
                whether a label stays empty where its probability is below the threshold settled on validation.

        Returns:
            A row a clip: `label`, `probability`, then either a column for each class or `label_1`, `probability_1`, …
            for the best ones, and `error`: empty, or why the clip can't be read. Such a clip has no label.
        """
        top_k, abstain = self._checked(params or {})
        clips = _clips(model_input)
        answers: list[torch.Tensor | str] = []
        for start in range(0, len(clips), self.at_once):
            answers += self._answer(clips[start : start + self.at_once])
        rows = [self._row(answer, top_k, abstain) for answer in answers]
        table = pd.DataFrame(rows, columns=self.columns(top_k), dtype=object)
        # None for what is missing: of NaN, which numbers would have, MLflow's server makes what is no JSON.
        return table if any(isinstance(answer, str) for answer in answers) else table.infer_objects()

    def columns(self, top_k: int = 0) -> list[str]:
        """Of an answer."""
        each = [f"{what}_{place}" for place in range(1, top_k + 1) for what in ("label", "probability")]
        return ["label", "probability", *(each if top_k else class_columns(self.classes)), "error"]

    def _checked(self, params: Mapping[str, Any]) -> tuple[int, bool]:
        top_k = int(params.get(TOP_K, 0))
        if not 0 <= top_k <= len(self.classes):
            raise ValueError(f"top_k must be 0 (all classes) to {len(self.classes)}, not {top_k}")
        return top_k, bool(params.get(ABSTAIN, False))

    def _answer(self, clips: Sequence[str]) -> list[torch.Tensor | str]:
        """Of each clip its probabilities float32 `(K,)`, or why it can't be read."""
        answers: list[torch.Tensor | str] = [self._frames(clip) for clip in clips]
        places = [place for place, answer in enumerate(answers) if isinstance(answer, torch.Tensor)]
        if places:
            frames = torch.stack([answer for answer in answers if isinstance(answer, torch.Tensor)])
            with torch.inference_mode(), autocast(self.precision, self.device):
                logits = self.network(frames.to(self.device)).float().cpu()
            probabilities = (logits.double() / self.temperature).softmax(1).float()
            for place, row in zip(places, probabilities, strict=True):
                answers[place] = row
        return answers

    def _frames(self, clip: str) -> torch.Tensor | str:
        try:
            content = _content(clip)
            if isinstance(content, Path):
                return load_model_input(content, self.decode, self.selection, self.transform).frames
            with tempfile.NamedTemporaryFile(prefix="clip-") as file:
                file.write(content)
                file.flush()
                return load_model_input(Path(file.name), self.decode, self.selection, self.transform).frames
        except DataError as error:
            return str(error)

    def _row(self, answer: torch.Tensor | str, top_k: int, abstain: bool) -> list[Any]:
        if isinstance(answer, str):
            return ["", None, *(["", None] * top_k or [None] * len(self.classes)), answer]
        order = answer.argsort(descending=True, stable=True).tolist()
        best = float(answer[order[0]])
        label = "" if abstain and best < self.threshold else self.classes[order[0]]
        pairs: Iterable[tuple[str, float]] = ((self.classes[i], float(answer[i])) for i in order[:top_k])
        told = [value for pair in pairs for value in pair] if top_k else answer.tolist()
        return [label, best, *told, ""]


def _clips(model_input: Any) -> list[str]:
    if isinstance(model_input, pd.DataFrame):
        values = model_input[CLIP].tolist()
    elif isinstance(model_input, Mapping):
        values = [model_input[CLIP]]
    else:
        values = [value[CLIP] if isinstance(value, Mapping) else value for value in model_input]
    # MLflow makes a single row of `{"clip": ["a.mp4", "b.mp4"]}`.
    each = [one for value in values for one in (value if isinstance(value, list | tuple | np.ndarray) else [value])]
    return ["" if one is None else str(one) for one in each]


def _content(clip: str) -> Path | bytes:
    """The file that is meant, or what it holds.

    No path with a suffix is base64, which has no full stop.
    """
    if clip.startswith("file:"):
        url = urlsplit(clip)
        if url.netloc not in ("", "localhost"):
            raise DataError(f"file URLs of another machine ({url.netloc}) can't be read")
        return Path(unquote(url.path))
    if clip.startswith("data:"):
        clip = clip.partition(",")[2]
    elif not clip:
        raise DataError("no clip is given")
    elif len(clip) <= _LONGEST_PATH and "\0" not in clip and ("." in clip or Path(clip).exists()):
        return Path(clip)
    try:
        return base64.b64decode("".join(clip.split()), validate=True)
    except binascii.Error:
        if len(clip) > _LONGEST_PATH:
            raise DataError("it is neither a path nor base64") from None
        return Path(clip.replace("\0", "\\0"))


def _load_pyfunc(folder: str) -> ClipLabeller:
    """By this name MLflow asks for the model."""
    return ClipLabeller(Path(folder))
