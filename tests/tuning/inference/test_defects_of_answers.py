"""Clips that deserve no answer: the audit, `predict`, the registered model and the page name the same defects."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import tuning.__main__
from data.quality.audit import run_audit
from data.quality.limits import Limits
from data.store.frame_store import FrameStore
from tests.helpers.champions import FPS, coloured_square
from tests.helpers.small_models import one_seed_one_thread, one_thread
from tests.helpers.video_files import write_video
from tuning.config.run_folder import RunFolder
from tuning.export.pyfunc import ClipClassifier
from tuning.inference.app.server import render_prediction
from tuning.inference.champion import Champion, open_champion
from tuning.tracking.logged_model import write_model_files

__all__ = ["one_seed_one_thread"]

BLACK = np.zeros((48, 64, 3), np.uint8)
EXPECTED = {
    "dip/black.mp4": ["black"],
    "dip/black blink.mp4": ["black", "too short"],
    "dip/blink.mp4": ["too short"],
    "dip/good.mp4": [],
    "squat/picture.mp4": ["one frame"],
    "squat/still.mp4": ["still"],
}


@pytest.fixture(scope="module")
def suspects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one clip for each key of EXPECTED."""
    folder = tmp_path_factory.mktemp("suspects")
    frames = {
        "dip/black.mp4": [BLACK] * 20,
        "dip/black blink.mp4": [BLACK] * 3,
        "dip/blink.mp4": coloured_square("dip", 61, 0.3),
        "dip/good.mp4": coloured_square("dip", 62),
        "squat/picture.mp4": coloured_square("squat", 63)[:1],
        "squat/still.mp4": coloured_square("squat", 64)[:1] * 20,
    }
    for path, pictures in frames.items():
        write_video(folder / path, pictures, fps=FPS)
    return folder


def predicted(run: RunFolder, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    """Return what `predict` writes to stdout and stderr."""
    capsys.readouterr()
    assert tuning.__main__.main(["predict", "--run", str(run.path), "--no-abstain", *map(str, arguments)]) == 0
    output = capsys.readouterr()
    return output.out, output.err


def test_audit_reports_the_expected_defects(run: RunFolder, suspects: Path, tmp_path: Path) -> None:
    store = FrameStore(tmp_path, run.read_config().store.decode_settings())
    audit = run_audit(suspects, store, Limits(), workers=1, progress=False)
    assert {clip.path: [defect.name for defect in clip.defects] for clip in audit.clips} == EXPECTED


def test_predict_names_the_defects_in_every_format(
    run: RunFolder, suspects: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = predicted(run, capsys, suspects, "--format=csv", "--top=2")
    rows = {Path(row["clip"]).relative_to(suspects).as_posix(): row for row in csv.DictReader(out.splitlines())}
    assert {path: row["defects"] for path, row in rows.items()} == {k: "; ".join(v) for k, v in EXPECTED.items()}
    assert out.splitlines()[0] == "clip,start,end,label,probability,abstained,label_2,probability_2,defects"
    assert err == "note: 5 of 6 predictions are of clips with defects, named beside them; they may mean nothing\n"
    values = json.loads(predicted(run, capsys, suspects, "--format=json")[0])
    assert {Path(value["clip"]).relative_to(suspects).as_posix(): value["defects"] for value in values} == EXPECTED
    table = predicted(run, capsys, suspects)[0].splitlines()
    assert table[0].split() == ["clip", "class", "probability", "defects"]
    found = {line.split(".mp4")[0].removeprefix(f"{suspects}/") + ".mp4": line for line in table[2:]}
    assert all(found[path].rstrip().endswith("; ".join(names)) for path, names in EXPECTED.items())


def test_predict_uses_the_limits_of_the_run(run: RunFolder, suspects: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = run.config.read_text()
    try:
        run.config.write_text(before.replace("min_seconds: 0.5", "min_seconds: 0.1"))
        assert "too short" not in predicted(run, capsys, suspects / "dip/blink.mp4")[0]
        assert open_champion(None, run.best)[0].limits.min_seconds == 0.1
    finally:
        run.config.write_text(before)


def test_segments_have_the_defects_of_most_of_their_windows(
    run: RunFolder, suspects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_video(tmp_path / "pause.mp4", [*coloured_square("dip", 65, 10), *[BLACK] * 100], fps=FPS)
    out, _ = predicted(run, capsys, file, "--format=json", "--window=2")
    segments = json.loads(out)
    assert segments[0]["defects"] == []
    assert segments[-1]["defects"] == ["black"]
    for path, names in EXPECTED.items():
        (segment,) = json.loads(predicted(run, capsys, suspects / path, "--format=json", "--long")[0])
        assert segment["defects"] == names


def test_registered_model_names_the_defects(run: RunFolder, suspects: Path, tmp_path: Path) -> None:
    with one_thread():
        write_model_files(run.best, tmp_path, run.read_config().data.limits())
        table = ClipClassifier(tmp_path).predict([*(str(suspects / path) for path in EXPECTED), "none.mp4"])
    assert table["defects"].tolist() == [*("; ".join(names) for names in EXPECTED.values()), ""]
    assert table["error"].tolist() == [*[""] * len(EXPECTED), "no such file"]


def test_page_names_the_defects(run: RunFolder, suspects: Path) -> None:
    champion = Champion(run.best)
    for path, names in EXPECTED.items():
        html = render_prediction(champion, suspects / path, path, None)
        assert [
            name for name in ("black", "one frame", "still", "too short") if f"Suspect clip: {name} (" in html
        ] == names
