"""The page in the browser: upload a clip, get the model's input, its prediction, and the Grad-CAM map.

Nothing is sent to other machines: browsers may load from this server only, and Gradio's usage reports are off.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.dataset.splits import read_split
from data.errors import DataError
from data.page import load_template, overlay_heat_map, square_jpeg
from models.errors import ModelError
from proxies import bypass_all_proxies
from tuning.config.run_folder import RunFolder
from tuning.errors import ConfigError, TuningError
from tuning.inference.champion import Champion, open_champion
from tuning.inference.clip_length import LONG_FACTOR, training_clip_seconds
from tuning.ports import check_port, page_address
from tuning.training.class_probabilities import top_classes

if TYPE_CHECKING:
    import gradio

_REQUIREMENTS_FILE = "requirements-app.txt"
_FOLDER = Path(__file__).parent
_MAX_BARS, _MAX_SAMPLES = 5, 8
_FRAME_PIXELS = 160
"""Minimum side of a frame on the page."""
_MAX_UPLOAD = "2gb"

_CONTENT_POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'self' ws: data: blob:; "
    "form-action 'self'; frame-ancestors 'self'; base-uri 'self'"
)


def serve(run: Path | None, model: Path | None, *, host: str, port: int) -> None:
    """Serve the page until Ctrl-C.

    Args:
        run: the run whose champion is served, or None.
        model: the champion's folder; used if `run` is None.
        host: address to listen at.
        port: port to listen at.

    Raises:
        CheckpointError: there is no champion, or its files are damaged.
        ConfigError: Gradio is not installed, or there is no such run.
        TuningError: the port is in use or not valid.
    """
    if find_spec("gradio") is None:
        raise ConfigError(f"the page needs the package gradio; install it with: pip install -r {_REQUIREMENTS_FILE}")
    champion, found = open_champion(run, model)
    check_port(host, port)
    with tempfile.TemporaryDirectory(prefix="workout-clips-app-") as uploads:
        # Gradio reads these when it is imported. Uploads are deleted with the folder.
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_TEMP_DIR=uploads)
        # Gradio requests its own page at --host when it starts, and nothing else.
        bypass_all_proxies()
        page = build_page(champion, found)
        page.queue(default_concurrency_limit=1)
        print(f"try the champion at {page_address(host, port)} (stop with Ctrl-C)", flush=True)
        page.launch(**launch_settings(), server_name=host, server_port=port)


def launch_settings() -> dict[str, Any]:
    """Return the arguments of Gradio's `launch`."""
    import gradio
    from starlette.middleware import Middleware

    fonts = ["system-ui", "sans-serif"]
    return {
        "share": False,
        "quiet": True,
        "show_error": False,
        "ssr_mode": False,
        "pwa": False,
        "run_history": False,
        "enable_monitoring": False,
        "footer_links": [],
        "max_file_size": _MAX_UPLOAD,
        "theme": gradio.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"]),
        "css_paths": [_FOLDER / "app.css"],
        "app_kwargs": {"middleware": [Middleware(_ContentPolicy)]},
    }


def build_page(champion: Champion, run: RunFolder | None) -> gradio.Blocks:
    """Return the page of a champion, with clips of the test split to choose from if they are on this machine."""
    import gradio

    samples = _sample_clips(run)
    trial, name = champion.manifest.trial, run.path.name if run else "champion"
    clip_seconds = training_clip_seconds(run) if run else None

    def classify_upload(file: str | None) -> str:
        return render_prediction(champion, Path(file), Path(file).name, clip_seconds) if file else ""

    def classify_sample(sample: str | None) -> str:
        if sample is None or sample not in samples:
            return ""
        return render_prediction(champion, samples[sample], sample, clip_seconds)

    with gradio.Blocks(title=f"{name}: try the champion", analytics_enabled=False) as page:
        classes = f"{len(champion.classes)} classes: {', '.join(map(_escape_markdown, champion.classes))}"
        gradio.Markdown(f"## Try {_escape_markdown(name)}\n{trial.arch}, {trial.num_frames} frames; {classes}.")
        with gradio.Row():
            upload = gradio.File(label="Your clip", type="filepath", height=140)
            if samples:
                sample = gradio.Dropdown(
                    list(samples),
                    value=None,
                    label="Or a clip of the test split",
                    info="the name of its folder is its class",
                )
        result = gradio.HTML(label="Prediction")
        upload.change(classify_upload, upload, result, api_name="label", show_progress="minimal")
        if samples:
            sample.input(classify_sample, sample, result, api_name="label_sample", show_progress="minimal")
    return page


def render_prediction(champion: Champion, file: Path, name: str, clip_seconds: float | None) -> str:
    """Return the HTML with the prediction for a file, or why it can't be read.

    Args:
        champion: the model.
        file: the video.
        name: name of the video on the page.
        clip_seconds: usual duration of the training clips, if known.
    """
    try:
        values = _template_values(champion, file, clip_seconds)
    except (DataError, ModelError, TuningError) as error:
        values = {"message": str(error).rstrip(".")}
    return load_template(_FOLDER / "app.html.j2").render({"message": "", **values, "name": name})


def _template_values(champion: Champion, file: Path, clip_seconds: float | None) -> dict[str, Any]:
    started = time.perf_counter()
    clip = champion.read_clip(file)
    decoded = time.perf_counter()
    (probabilities,) = champion.predict_probabilities([clip.frames])
    predicted = time.perf_counter()
    heat = champion.grad_cam(clip.frames, int(probabilities.argmax()))
    ended = time.perf_counter()
    threshold = champion.calibration.threshold
    facts, pictures = clip.facts, clip.frames.permute(0, 2, 3, 1).numpy()
    rotated = facts.rotation in (90, 270)
    return {
        "abstained": bool(probabilities.max() < threshold),
        "threshold": threshold,
        "bars": [
            {"name": name, "value": value, "above_threshold": value >= threshold}
            for name, value in top_classes(probabilities, champion.classes, _MAX_BARS)
        ],
        "seconds": facts.duration,
        "width": facts.height if rotated else facts.width,
        "height": facts.width if rotated else facts.height,
        "decode_ms": round(1000 * (decoded - started)),
        "model_ms": round(1000 * (predicted - decoded)),
        "cam_ms": round(1000 * (ended - predicted)),
        "device": "GPU" if champion.device.type == "cuda" else "CPU",
        "notes": _notes(clip.defects, facts.duration, clip_seconds),
        "frames": [
            {
                "picture": square_jpeg(picture, _FRAME_PIXELS),
                "heat_map": square_jpeg(overlay_heat_map(picture, frame_heat), _FRAME_PIXELS),
            }
            for picture, frame_heat in zip(pictures, heat, strict=True)
        ],
        "size": pictures.shape[1],
        "empty_heat_map": not heat.any(),
    }


def _notes(defects: Mapping[str, str], duration: float, clip_seconds: float | None) -> list[str]:
    notes = [
        f"Suspect clip: {name} ({detail}). The prediction may mean nothing." for name, detail in sorted(defects.items())
    ]
    if clip_seconds is not None and duration > LONG_FACTOR * clip_seconds:
        notes.append(
            f"This video is {duration:.0f} s long, the training clips {clip_seconds:.0f} s: one prediction for all of "
            "it may be wrong. python -m tuning predict cuts it into segments."
        )
    return notes


def _sample_clips(run: RunFolder | None) -> Mapping[str, Path]:
    """Return some clips of the test split that are on this machine, at least one of each class."""
    if run is None or not run.split.is_file():
        return {}
    folder = Path(run.read_config().data.dir)
    by_class: dict[str, list[str]] = {}
    for clip in read_split(run.split).clips("test"):
        if (folder / clip.path).is_file():
            by_class.setdefault(clip.label, []).append(clip.path)
    # The first clip of each class, then the second of each, and so on.
    rounds = range(max(map(len, by_class.values()), default=0))
    paths = [clips[index] for index in rounds for clips in by_class.values() if index < len(clips)]
    return {path: folder / path for path in sorted(paths[: max(_MAX_SAMPLES, len(by_class))])}


def _escape_markdown(name: str) -> str:
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()<>#+-.!|$~" else letter for letter in name)


Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _ContentPolicy:
    """Adds a header that makes browsers load from this server only: Gradio's page refers to fonts of others."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        async def send_with_policy(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _CONTENT_POLICY.encode())]
            await send(message)

        await self._app(scope, receive, send_with_policy)
