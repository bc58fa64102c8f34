"""The registered model: a pyfunc that decodes clips and returns classes and probabilities.

It runs without this project: a registered model contains a copy of this file and of the modules that it imports, the
network as an exported graph, and its settings as JSON.
"""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import torch

from data.errors import DataError
from data.loading.frame_selection import FrameSelection
from data.loading.transforms import EvalTransform
from data.quality.checked_clip import CheckedClip, load_checked_clip
from data.quality.limits import Limits
from data.video.decode import DecodeSettings
from tuning.training.class_probabilities import tempered_softmax, top_classes
from tuning.training.precision import autocast, choose_precision

CLIP = "clip"
"""The input column: paths, file:// URLs, or the content of files as base64."""
NETWORK_FILE, SETTINGS_FILE = "network.pt2", "settings.json"
TOP_K, ABSTAIN = "top_k", "abstain"
"""Parameters of `predict`."""

_RESERVED_COLUMNS = ("label", "probability", "error", "defects")
_MAX_PATH_CHARS = 4096


def class_columns(classes: Sequence[str]) -> list[str]:
    """Return the columns of the classes' probabilities: the class names, marked if another column has that name."""
    return [f"{name} (class)" if name in _RESERVED_COLUMNS else name for name in classes]


class ClipClassifier:
    """A registered model; `predict` returns one row per clip."""

    def __init__(self, folder: Path) -> None:
        settings = json.loads((folder / SETTINGS_FILE).read_text())
        self.classes: list[str] = settings["classes"]
        self.temperature, self.threshold = float(settings["temperature"]), float(settings["threshold"])
        self.decode = DecodeSettings(**settings["decode"])
        self.selection = FrameSelection(**settings["selection"])
        self.transform = EvalTransform(settings["size"])
        self.limits = Limits(**settings["limits"])
        self.batch_size = int(settings["at_once"])
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.precision = choose_precision(settings["precision"], self.device)
        program = torch.export.load(folder / NETWORK_FILE)
        if self.device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, self.device)
        self.network = program.module()

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Classify clips.

        Args:
            model_input: a table, a mapping or a list of mappings with the column `clip`, or a list of clips.
            params: `top_k`, the number of most likely classes to return, or 0 for the probability of every class;
                `abstain`, whether the label is empty if its probability is below the threshold chosen on validation.

        Returns:
            One row per clip: `label`, `probability`, then either a column per class or `label_1`, `probability_1`, …
            for the most likely ones, then `error`: empty, or why the clip can't be read, and `defects`: empty, or the
            names of the clip's defects. A clip that can't be read has no label.

        Raises:
            ValueError: `top_k` is not between 0 and the number of classes.
        """
        top_k, abstain = self._parse_params(params or {})
        clips = _list_clips(model_input)
        results: list[_Result] = []
        for start in range(0, len(clips), self.batch_size):
            results += self._predict_batch(clips[start : start + self.batch_size])
        rows = [self._row(result, top_k, abstain) for result in results]
        table = pd.DataFrame(rows, columns=self.columns(top_k), dtype=object)
        # Missing values stay None: as NaN in a numeric column, MLflow's server would write them as invalid JSON.
        return table if any(result.error for result in results) else table.infer_objects()

    def columns(self, top_k: int = 0) -> list[str]:
        """Return the columns of the output."""
        top = [f"{name}_{rank}" for rank in range(1, top_k + 1) for name in ("label", "probability")]
        return ["label", "probability", *(top if top_k else class_columns(self.classes)), "error", "defects"]

    def _parse_params(self, params: Mapping[str, Any]) -> tuple[int, bool]:
        top_k = int(params.get(TOP_K, 0))
        if not 0 <= top_k <= len(self.classes):
            raise ValueError(f"top_k must be 0 (all classes) to {len(self.classes)}, not {top_k}")
        return top_k, bool(params.get(ABSTAIN, False))

    def _predict_batch(self, clips: Sequence[str]) -> list[_Result]:
        inputs = [self._read_clip(clip) for clip in clips]
        readable = [clip.frames for clip in inputs if isinstance(clip, CheckedClip)]
        if not readable:
            return [_Result(str(reason)) for reason in inputs]
        with torch.inference_mode(), autocast(self.precision, self.device):
            logits = self.network(torch.stack(readable).to(self.device)).float().cpu()
        probabilities = iter(tempered_softmax(logits, self.temperature).numpy())
        return [
            _Result("", next(probabilities), "; ".join(sorted(clip.defects)))
            if isinstance(clip, CheckedClip)
            else _Result(clip)
            for clip in inputs
        ]

    def _read_clip(self, clip: str) -> CheckedClip | str:
        """Return the model's input and the clip's defects, or why the clip can't be read."""
        try:
            content = _path_or_content(clip)
            if isinstance(content, Path):
                return self._load(content)
            with tempfile.NamedTemporaryFile(prefix="clip-") as file:
                file.write(content)
                file.flush()
                return self._load(Path(file.name))
        except DataError as error:
            return str(error)

    def _load(self, file: Path) -> CheckedClip:
        return load_checked_clip(file, self.decode, self.selection, self.transform, self.limits)

    def _row(self, result: _Result, top_k: int, abstain: bool) -> list[Any]:
        if result.probabilities is None:
            return ["", None, *(["", None] * top_k or [None] * len(self.classes)), result.error, ""]
        ranked = top_classes(result.probabilities, self.classes, max(top_k, 1))
        best, probability = ranked[0]
        label = "" if abstain and probability < self.threshold else best
        values = [value for pair in ranked for value in pair] if top_k else result.probabilities.tolist()
        return [label, probability, *values, "", result.defects]


@dataclass(frozen=True, slots=True)
class _Result:
    """What is returned for one clip."""

    error: str
    """Why the clip can't be read; empty if it can."""
    probabilities: np.ndarray | None = None
    """float32 `(K,)`; None if the clip can't be read."""
    defects: str = ""
    """Names of the clip's defects."""


def _list_clips(model_input: Any) -> list[str]:
    if isinstance(model_input, pd.DataFrame):
        values = model_input[CLIP].tolist()
    elif isinstance(model_input, Mapping):
        values = [model_input[CLIP]]
    else:
        values = [value[CLIP] if isinstance(value, Mapping) else value for value in model_input]
    # MLflow passes `{"clip": ["a.mp4", "b.mp4"]}` as a single row.
    clips = [clip for value in values for clip in (value if isinstance(value, list | tuple | np.ndarray) else [value])]
    return ["" if clip is None else str(clip) for clip in clips]


def _path_or_content(clip: str) -> Path | bytes:
    """Return the path that `clip` names, or the content that it encodes.

    A path with a suffix contains a full stop, which base64 does not.
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
    elif len(clip) <= _MAX_PATH_CHARS and "\0" not in clip and ("." in clip or Path(clip).exists()):
        return Path(clip)
    try:
        return base64.b64decode("".join(clip.split()), validate=True)
    except binascii.Error:
        if len(clip) > _MAX_PATH_CHARS:
            raise DataError("it is neither a path nor base64") from None
        return Path(clip.replace("\0", "\\0"))


def _load_pyfunc(folder: str) -> ClipClassifier:
    """Load the model; MLflow requires this function name."""
    return ClipClassifier(Path(folder))
