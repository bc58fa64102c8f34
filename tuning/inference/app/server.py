"""A page on which a champion is tried: upload a clip, see what the model saw, what it says, and where it looked.

Nothing leaves the machine: the page may load from its own server alone, and Gradio's reports home are off.
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
from tuning.config.run_folder import RunFolder
from tuning.errors import ConfigError, TuningError
from tuning.inference.champion import Champion
from tuning.inference.label import LONG, training_seconds
from tuning.inference.output import ranked
from tuning.inference.predict import open_champion
from tuning.ports import check_port

if TYPE_CHECKING:
    import gradio

REQUIREMENTS = "requirements-app.txt"

_HERE = Path(__file__).parent
_MOST_BARS, _MOST_SAMPLES = 5, 8
_SIDE = 160
"""Pixels a side of a frame on the page, at least."""
_MOST_UPLOAD = "2gb"

_POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'self' ws: data: blob:; "
    "form-action 'self'; frame-ancestors 'self'; base-uri 'self'"
)


def serve(run: Path | None, model: Path | None, *, host: str, port: int) -> None:
    """Serve the page until Ctrl-C.

    Args:
        run: the run whose champion it is, or None.
        model: else the champion's own folder.
        host: address to listen at.
        port: of it.

    Raises:
        CheckpointError, ConfigError: there is no champion, Gradio is missing, or the port is taken.
    """
    if find_spec("gradio") is None:
        raise ConfigError(f"the page needs the package gradio: pip install -r {REQUIREMENTS}")
    champion, found = open_champion(run, model)
    check_port(host, port)
    with tempfile.TemporaryDirectory(prefix="workout-clips-app-") as uploads:
        # Read when Gradio is imported: no reports of its use, uploads gone at the end.
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_TEMP_DIR=uploads)
        page = make_page(champion, found)
        page.queue(default_concurrency_limit=1)
        print(f"try the champion at http://{host}:{port} (Ctrl-C ends it)", flush=True)
        page.launch(**launch_settings(), server_name=host, server_port=port)


def launch_settings() -> dict[str, Any]:
    """How the page is served."""
    import gradio
    from starlette.middleware import Middleware

    system = ["system-ui", "sans-serif"]
    return {
        "share": False,
        "quiet": True,
        "show_error": False,
        "ssr_mode": False,
        "pwa": False,
        "run_history": False,
        "enable_monitoring": False,
        "footer_links": [],
        "max_file_size": _MOST_UPLOAD,
        "theme": gradio.themes.Default(font=system, font_mono=["ui-monospace", "monospace"]),
        "css_paths": [_HERE / "app.css"],
        "app_kwargs": {"middleware": [Middleware(_OwnServerOnly)]},
    }


def make_page(champion: Champion, run: RunFolder | None) -> gradio.Blocks:
    """The page of a champion; a few clips of its test split to pick from where these are at hand."""
    import gradio

    samples = _samples(run)
    trial, name = champion.manifest.trial, run.path.name if run else "champion"
    usual = training_seconds(run) if run else None

    def answer(file: str | None) -> str:
        return labelled(champion, Path(file), Path(file).name, usual) if file else ""

    def answer_sample(picked: str | None) -> str:
        return labelled(champion, samples[picked], picked, usual) if picked is not None and picked in samples else ""

    with gradio.Blocks(title=f"{name}: try the champion", analytics_enabled=False) as page:
        known = f"it knows {len(champion.classes)} classes: {', '.join(map(_plain, champion.classes))}"
        gradio.Markdown(f"## Try {_plain(name)}\n{trial.arch}, {trial.num_frames} frames; {known}.")
        with gradio.Row():
            upload = gradio.File(label="Your clip", type="filepath", height=140)
            if samples:
                picked = gradio.Dropdown(
                    list(samples), value=None, label="Or a clip of the test split", info="its folder is its true class"
                )
        result = gradio.HTML(label="Answer")
        upload.change(answer, upload, result, api_name="label", show_progress="minimal")
        if samples:
            picked.input(answer_sample, picked, result, api_name="label_sample", show_progress="minimal")
    return page


def labelled(champion: Champion, file: Path, name: str, usual: float | None) -> str:
    """What the page shows of one file, as HTML; of one that can't be read, why.

    Args:
        champion: the model.
        file: the video.
        name: how the page calls it.
        usual: seconds that the training's clips last, if known.
    """
    try:
        values = _values(champion, file, usual)
    except (DataError, ModelError, TuningError) as error:
        values = {"message": str(error).rstrip(".")}
    return load_template(_HERE / "app.html.j2").render({"message": "", **values, "name": name})


def _values(champion: Champion, file: Path, usual: float | None) -> dict[str, Any]:
    started = time.perf_counter()
    seen = champion.look(file)
    decoded = time.perf_counter()
    (probabilities,) = champion.probabilities([seen.frames])
    answered = time.perf_counter()
    heat = champion.where_it_looks(seen.frames, int(probabilities.argmax()))
    ended = time.perf_counter()
    threshold = champion.calibration.threshold
    facts, pictures = seen.facts, seen.frames.permute(0, 2, 3, 1).numpy()
    turned = facts.rotation in (90, 270)
    return {
        "abstained": bool(probabilities.max() < threshold),
        "threshold": threshold,
        "bars": [
            {"name": label, "value": value, "reached": value >= threshold}
            for label, value in ranked(probabilities, champion.classes, _MOST_BARS)
        ],
        "seconds": facts.duration,
        "width": facts.height if turned else facts.width,
        "height": facts.width if turned else facts.height,
        "decode_ms": round(1000 * (decoded - started)),
        "model_ms": round(1000 * (answered - decoded)),
        "cam_ms": round(1000 * (ended - answered)),
        "device": "GPU" if champion.device.type == "cuda" else "CPU",
        "notes": _notes(facts.damage, facts.duration, usual),
        "frames": [
            {"seen": square_jpeg(picture, _SIDE), "heat": square_jpeg(overlay_heat_map(picture, places), _SIDE)}
            for picture, places in zip(pictures, heat, strict=True)
        ],
        "size": pictures.shape[1],
        "nothing": not heat.any(),
    }


def _notes(damage: str, duration: float, usual: float | None) -> list[str]:
    notes = [f"The file is damaged: {damage}."] if damage else []
    if usual is not None and duration > LONG * usual:
        notes.append(
            f"This video is {duration:.0f} s long, the training's clips {usual:.0f} s: one answer for all of it may "
            "mean little. python -m tuning predict cuts it into segments."
        )
    return notes


def _samples(run: RunFolder | None) -> Mapping[str, Path]:
    """Some clips of the test split that are at hand, each class's first ones first."""
    if run is None or not run.split.is_file():
        return {}
    folder = Path(run.read_config().data.dir)
    by_class: dict[str, list[str]] = {}
    for clip in read_split(run.split).clips("test"):
        if (folder / clip.path).is_file():
            by_class.setdefault(clip.label, []).append(clip.path)
    turns = range(max(map(len, by_class.values()), default=0))
    paths = [clips[turn] for turn in turns for clips in by_class.values() if turn < len(clips)]
    return {path: folder / path for path in sorted(paths[: max(_MOST_SAMPLES, len(by_class))])}


def _plain(name: str) -> str:
    """A name within Markdown, as it is."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()<>#+-.!|$~" else letter for letter in name)


Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _OwnServerOnly:
    """Tells browsers to load from this server alone: Gradio's page names fonts and scripts of others."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        async def with_policy(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self._app(scope, receive, with_policy)
