"""The `predict` command on clips, folders of clips and long videos."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

import tuning.__main__
from data.video.sliding_windows import video_duration
from tests.helpers.champions import CLASSES, FPS, SECONDS, coloured_square
from tests.helpers.small_models import one_seed_one_thread
from tests.helpers.video_files import remux, truncate, write_video
from tuning.config.run_folder import RunFolder
from tuning.inference.champion import Champion
from tuning.inference.clip_length import training_clip_seconds
from tuning.inference.segments import PredictedTimeline, Segment
from tuning.inference.timeline_plot import plot_timeline
from tuning.training.calibration import Calibration

__all__ = ["one_seed_one_thread"]


@dataclass(frozen=True)
class Output:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.out)))


Predict = Callable[..., Output]


@pytest.fixture
def predict(run: RunFolder, capfd: pytest.CaptureFixture[str]) -> Predict:
    """Run the command in this process."""

    def call(*arguments: object, champion: tuple[str, Path] = ("--run", run.path)) -> Output:
        capfd.readouterr()
        code = tuning.__main__.main(["predict", *map(str, champion), *map(str, arguments)])
        output = capfd.readouterr()
        assert "Traceback" not in output.err
        return Output(code, output.out, output.err)

    return call


@pytest.fixture
def threshold(run: RunFolder) -> Iterator[Callable[[float], None]]:
    """Set the threshold below which the champion abstains."""
    before = Calibration.load(run.best)
    yield lambda value: replace(before, threshold=value).save(run.best)
    before.save(run.best)


def test_folders_and_unreadable_files_in_one_call(
    predict: Predict, clips: Path, tmp_path: Path, threshold: Callable[[float], None]
) -> None:
    threshold(0.0)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/.hidden.mp4").write_bytes(b"")
    output = predict(clips, tmp_path / "bad.mp4", tmp_path / "empty", tmp_path / "none.mp4", "--format=csv", "--top=2")
    assert output.code == 2
    files = sorted(clips.rglob("*.mp4"))
    assert [row["clip"] for row in output.rows] == [str(file) for file in files]
    assert [row["label"] for row in output.rows] == [file.parent.name for file in files]
    for row in output.rows:
        assert (float(row["start"]), float(row["end"])) == (0, pytest.approx(SECONDS, abs=0.01))
        assert row["abstained"] == "false"
        assert row["label_2"] in set(CLASSES) - {row["label"]}
        assert 1 >= float(row["probability"]) > float(row["probability_2"])
    errors = output.err.splitlines()
    assert errors[0].startswith(f"error: {tmp_path}/bad.mp4: FFmpeg can't read it")
    assert errors[1:] == [
        f"error: {tmp_path}/empty: the folder contains no videos",
        f"error: {tmp_path}/none.mp4: no such file",
        "error: 3 paths can't be read, named above",
    ]


def test_table_and_json_by_run_and_by_model_agree(predict: Predict, run: RunFolder, clips: Path) -> None:
    file = sorted((clips / "pull Up").iterdir())[0]
    table = predict(file, "--no-abstain")
    assert (table.code, table.err) == (0, "")
    assert table.out.splitlines()[0].split() == ["clip", "class", "probability"]
    assert "pull Up" in table.out.splitlines()[2]
    found = json.loads(predict(file, "--format=json", "--top=3", champion=("--model", run.best)).out)
    assert len(found) == 1
    assert found[0]["clip"] == str(file)
    assert found[0]["label"] == "pull Up"
    assert {each["label"] for each in found[0]["top"]} == set(CLASSES)
    assert sum(each["probability"] for each in found[0]["top"]) == pytest.approx(1, abs=1e-5)


def test_latest_run_is_named_once(
    predict: Predict, run: RunFolder, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.path.parents[1])
    clip = next(clips.rglob("*.mp4"))
    latest = predict(clip, "--format=csv", champion=("--run", Path("latest")))
    assert latest.code == 0
    assert latest.err.count(f"latest run: {run.cli_name}\n") == 1
    assert latest.rows == predict(clip, "--format=csv").rows


def test_champion_abstains_below_its_threshold(
    predict: Predict, clips: Path, threshold: Callable[[float], None]
) -> None:
    threshold(1.01)
    file = sorted((clips / "dip").iterdir())[0]
    assert "not one of these" in predict(file).out
    (row,) = predict(file, "--format=csv").rows
    assert (row["label"], row["abstained"]) == ("", "true")
    (plain,) = json.loads(predict(file, "--format=json").out)
    assert (plain["label"], plain["abstained"]) == (None, True)
    assert plain["top"][0]["label"] == "dip"
    (row,) = predict(file, "--format=csv", "--no-abstain").rows
    assert (row["label"], row["abstained"]) == ("dip", "false")


def test_temperature_is_applied_to_probabilities(run: RunFolder, clips: Path) -> None:
    champion = Champion(run.best)
    clip = champion.read_clip(sorted((clips / "squat").iterdir())[0]).frames
    plain = Calibration(temperature=1.0, threshold=0, max_risk=1, risk=0, coverage=1, clips=1)
    champion.calibration = plain
    cold = champion.predict_probabilities([clip])[0]
    champion.calibration = replace(plain, temperature=3.0)
    hot = champion.predict_probabilities([clip])[0]
    by_hand = cold.astype(np.float64) ** (1 / 3)
    np.testing.assert_allclose(hot, by_hand / by_hand.sum(), rtol=1e-3)


def test_batch_size_does_not_change_predictions(predict: Predict, clips: Path) -> None:
    one, many = (predict(clips, "--format=csv", "--no-abstain", f"--batch={size}").rows for size in (1, 4))
    for alone, together in zip(one, many, strict=True):
        assert (alone["clip"], alone["label"]) == (together["clip"], together["label"])
        assert float(alone["probability"]) == pytest.approx(float(together["probability"]), abs=1e-4)


def three_exercises(folder: Path, fps: int = FPS) -> tuple[Path, list[tuple[str, float, float]]]:
    """A video with 12 s of squats, 8 s of dips and 10 s of pull-ups, and its true segments."""
    frames, truth, at = [], [], 0.0
    for number, (label, seconds) in enumerate([("squat", 12.0), ("dip", 8.0), ("pull Up", 10.0)]):
        frames += coloured_square(label, 100 + number, seconds, fps)
        truth.append((label, at, at + seconds))
        at += seconds
    return write_video(folder / "workout.mp4", frames, fps=fps), truth


def test_long_video_is_cut_where_the_exercise_changes(
    predict: Predict, tmp_path: Path, threshold: Callable[[float], None]
) -> None:
    threshold(0.0)
    file, truth = three_exercises(tmp_path)
    output = predict(file, "--format=csv")
    assert output.code == 0
    # The training clips last 2 s; this video is more than three times as long.
    assert output.err == f"note: {file}: 30 s long, cut into segments with windows of 2.0 s\n"
    assert [row["label"] for row in output.rows] == [label for label, _, _ in truth]
    for row, (_, start, end) in zip(output.rows, truth, strict=True):
        assert float(row["start"]) == pytest.approx(start, abs=SECONDS)
        assert float(row["end"]) == pytest.approx(end, abs=SECONDS)
        assert float(row["probability"]) > 0.5
    ends = [(row["start"], row["end"]) for row in output.rows]
    assert ends[0][0] == "0.00"
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ends))
    assert float(ends[-1][1]) == pytest.approx(30, abs=0.01)
    table = predict(file).out.splitlines()
    assert table[0].split() == ["clip", "from", "to", "class", "probability"]
    assert "0:00.0" in table[2]


def test_shorter_hop_gives_more_precise_segments(
    predict: Predict, tmp_path: Path, threshold: Callable[[float], None]
) -> None:
    threshold(0.0)
    file, truth = three_exercises(tmp_path)
    rows = predict(file, "--format=csv", "--window=1.5", "--hop=0.25").rows
    assert [row["label"] for row in rows] == [label for label, _, _ in truth]
    for row, (_, start, _) in zip(rows, truth, strict=True):
        assert float(row["start"]) == pytest.approx(start, abs=0.75)


def test_part_without_any_class_is_a_segment_without_class(
    predict: Predict, run: RunFolder, tmp_path: Path, threshold: Callable[[float], None]
) -> None:
    """The second half shows no square; the threshold is between its probabilities and those of squares."""
    wall = [np.full((48, 64, 3), 85, np.uint8)] * (8 * FPS)
    file = write_video(tmp_path / "pause.mp4", [*coloured_square("dip", 7, 8), *wall], fps=FPS)
    champion = Champion(run.best)
    windows = list(champion.open_windows(file, 2, 2))
    sure, unsure = (champion.predict_probabilities([champion.window_input(windows[i].frames)]).max() for i in (1, 6))
    assert sure > unsure + 0.2
    threshold(0.0)
    assert all(not each["abstained"] for each in json.loads(predict(file, "--format=json", "--window=2").out))
    threshold(float(sure + unsure) / 2)
    rows = predict(file, "--format=csv", "--window=2").rows
    assert [(row["label"], row["abstained"]) for row in rows] == [("dip", "false"), ("", "true")]
    assert float(rows[1]["start"]) == pytest.approx(8, abs=SECONDS)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_plot_shows_the_segments(
    predict: Predict, tmp_path: Path, threshold: Callable[[float], None], suffix: str
) -> None:
    threshold(0.0)
    file, _ = three_exercises(tmp_path)
    plot = tmp_path / f"timeline{suffix}"
    assert predict(file, f"--plot={plot}", f"--out={tmp_path}/segments.csv", "--format=csv").code == 0
    assert len((tmp_path / "segments.csv").read_text().splitlines()) == 4
    if suffix == ".svg":
        assert all(label in plot.read_text().replace("<!-- ", "") for label in CLASSES)
        return
    pixels = np.asarray(Image.open(plot).convert("RGB"))
    # Three bars of different colours in the upper quarter, in proportion to the durations.
    band = pixels[int(0.18 * len(pixels))]
    colours, counts = np.unique(band.reshape(-1, 3), axis=0, return_counts=True)
    bars = sorted(int(count) for colour, count in zip(colours, counts, strict=True) if colour.min() < 200)[-3:]
    np.testing.assert_allclose(np.array(bars) / sum(bars), np.array([8, 10, 12]) / 30, atol=0.06)


def test_plot_names_classes_with_any_character(tmp_path: Path) -> None:
    classes = ("_dip", "$x_1$ #1", "<b>&'ü %20")
    probabilities = np.eye(3, dtype=np.float32)
    timeline = PredictedTimeline(np.arange(4.0), probabilities, 1.0, "", {})
    segments = [
        Segment(float(second), second + 1.0, row, abstained=False, defects=())
        for second, row in enumerate(probabilities)
    ]
    file = tmp_path / "100% #1?[a].svg"
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        plot_timeline(timeline, segments, classes, file, title="a_$b$.mp4", threshold=0.5)
    texts = [element.text for element in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}text")]
    assert {"a_$b$.mp4", *classes} <= {str(text).strip() for text in texts}


def test_rotated_video_with_variable_frame_rate_is_cut_correctly(
    predict: Predict, tmp_path: Path, threshold: Callable[[float], None]
) -> None:
    threshold(0.0)
    rng = np.random.default_rng(0)
    frames = [*coloured_square("squat", 1, 10), *coloured_square("dip", 2, 10)]
    stamps = np.cumsum(rng.integers(40, 400, len(frames)))
    file = write_video(tmp_path / "phone.mkv", frames, stamps=[int(stamp) for stamp in stamps - stamps[0]], rotation=90)
    change = float(stamps[100] - stamps[0]) / 1000
    rows = predict(file, "--format=csv", "--window=2").rows
    assert [row["label"] for row in rows] == ["squat", "dip"]
    assert float(rows[0]["end"]) == pytest.approx(change, abs=SECONDS)


def test_truncated_long_video_gives_segments_of_its_readable_part(
    predict: Predict, tmp_path: Path, threshold: Callable[[float], None]
) -> None:
    threshold(0.0)
    frames = [*coloured_square("squat", 1, 30), *coloured_square("dip", 2, 30)]
    file = write_video(tmp_path / "torn.ts", frames, fps=FPS, options={"g": "10"})
    rows = predict(truncate(file, 0.5), "--format=csv").rows
    assert rows[0]["label"] == "squat"
    assert float(rows[-1]["end"]) < 60


def test_run_without_champion_is_refused_with_the_command_that_resumes_it(
    run: RunFolder, predict: Predict, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_bytes(run.config.read_bytes())
    output = predict("clip.mp4", champion=("--run", tmp_path))
    assert output.code == 2
    resume = f"resume it with: python -m tuning sweep --resume {tmp_path}"
    assert f"has no champion yet, since its sweep has not ended; {resume}" in output.err


def test_invalid_options_are_refused_with_one_line(
    predict: Predict, run: RunFolder, clips: Path, tmp_path: Path
) -> None:
    clip = sorted((clips / "dip").iterdir())[0]
    for arguments, message in [
        ([clip, "--top=4"], "--top 4: the champion has 3 classes"),
        ([clip, "--top=0"], "--top 0: give 1 or more"),
        ([clip, "--batch=0"], "--batch 0: give 1 or more"),
        ([clip, "--window=0"], "--window 0: give a time above 0"),
        ([clip, "--hop=3"], "--hop 3 leaves gaps between windows of 2 s; give at most that"),
        ([clip, f"--out={tmp_path}/none/x.csv"], "can't be written"),
        ([clip, f"--plot={tmp_path}/x.pdf"], "give a name that ends in .png or .svg"),
        ([clip, clip, f"--plot={tmp_path}/x.png"], "--plot shows one video"),
    ]:
        output = predict(*arguments)
        assert (output.code, output.out) == (2, "")
        assert message in output.err
        assert output.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
    output = predict(clip, "--long", champion=("--model", run.best.rename(tmp_path / "best")))
    (tmp_path / "best").rename(run.best)
    assert output.code == 2
    assert "give --window SECONDS" in output.err
    assert "no checkpoint in" in predict(clip, champion=("--model", tmp_path)).err


def test_output_replaces_earlier_answers_only(predict: Predict, run: RunFolder, clips: Path, tmp_path: Path) -> None:
    clip = tmp_path / "c.mp4"
    clip.write_bytes(sorted((clips / "dip").iterdir())[0].read_bytes())
    (tmp_path / "link.csv").symlink_to(clip)
    (tmp_path / "notes.txt").write_text("clips of Monday")
    Image.new("RGB", (4, 4)).save(tmp_path / "me.png")
    files = [clip, tmp_path / "notes.txt", tmp_path / "me.png", run.split, run.results, run.best / "model.pt"]
    before = [file.read_bytes() if file.exists() else b"" for file in files]
    for option, message in [
        (f"--out={clip}", "has the name of a video"),
        (f"--out={tmp_path}/link.csv", "is also an input"),
        (f"--out={tmp_path}/notes.txt", "exists and is not a file of answers"),
        (f"--out={run.split}", "belongs to a run"),
        (f"--out={run.best}/model.pt", "exists and is not a file of answers"),
        (f"--out={run.path}", "is a folder"),
        ("--out=/dev/null", "is a pipe or a device"),
        (f"--plot={tmp_path}/me.png", "exists and is not a plot of segments"),
    ]:
        output = predict(clip, option)
        assert (output.code, output.out) == (2, "")
        assert message in output.err
        assert output.err.count("\n") == 1
    assert [file.read_bytes() if file.exists() else b"" for file in files] == before
    assert Path("/dev/null").is_char_device()
    answers = tmp_path / "answers"
    for form in ("table", "csv", "json", "table"):
        assert predict(clip, f"--out={answers}", f"--format={form}").code == 0
    for plot in (tmp_path / "plot.png", tmp_path / "plot.svg", tmp_path / "plot.png", tmp_path / "plot.svg"):
        assert predict(clip, f"--out={answers}", f"--plot={plot}", "--top=2").code == 0


def test_missing_files_are_refused_at_once(predict: Predict, tmp_path: Path) -> None:
    (tmp_path / "link.mp4").symlink_to("nowhere")
    out = tmp_path / "answers.csv"
    for paths, message in [
        ([tmp_path / "none.mp4"], f"{tmp_path}/none.mp4: no such file"),
        ([tmp_path / "link.mp4"], f"{tmp_path}/link.mp4: it is a link to a file that does not exist"),
        ([tmp_path / "a", tmp_path / "b"], f"none of the 2 paths exists, the first is '{tmp_path}/a'"),
    ]:
        output = predict(*paths, f"--out={out}", "--format=csv")
        assert (output.code, output.out, output.err) == (2, "", f"error: {message}\n")
    assert not out.exists()


def test_pipe_is_named_as_such(predict: Predict, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clip.mp4")
    output = predict(tmp_path / "clip.mp4")
    assert output.code == 2
    assert output.err == f"error: {tmp_path}/clip.mp4: it is a pipe or a device; give video files\n"


def test_training_clip_seconds_is_read_from_the_clips(run: RunFolder, clips: Path, tmp_path: Path) -> None:
    assert training_clip_seconds(run) == pytest.approx(SECONDS, abs=0.01)
    assert video_duration(sorted((clips / "dip").iterdir())[0]) == pytest.approx(SECONDS, abs=0.01)
    moved = clips.rename(tmp_path / "elsewhere")
    try:
        assert training_clip_seconds(run) is None
    finally:
        moved.rename(clips)


def test_window_equals_the_decoded_part_of_the_video(run: RunFolder, tmp_path: Path) -> None:
    """The model gets the same input from a window as from a clip of that part."""
    frames = coloured_square("squat", 3, 12)
    options = {"crf": "0", "preset": "ultrafast"}
    file = write_video(tmp_path / "all.mkv", frames, fps=FPS, options=options)
    champion = Champion(run.best)
    for number, window in enumerate(champion.open_windows(file, 2, 1)):
        first = 10 * number
        part = write_video(tmp_path / f"{number}.mkv", frames[first : first + 20], fps=FPS, options=options)
        assert (window.start, window.end) == pytest.approx((number, number + 2), abs=0.01)
        difference = champion.window_input(window.frames).int() - champion.read_clip(part).frames.int()
        assert difference.abs().max() <= 2
    assert number == 10


MEASURE = """
import resource, sys
from pathlib import Path
import numpy as np
from data.video.sliding_windows import SlidingWindows
video = SlidingWindows(Path(sys.argv[1]), seconds=5.0, hop=2.5, positions=(np.arange(16) + 0.5) / 16, short_side=64)
count = sum(1 for window in video if window.frames.shape == (16, 64, 96, 3))
print(len(video), count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path: Path) -> None:
    frames = [np.full((64, 96, 3), 40 + step % 150, np.uint8) for step in range(300)]
    short = write_video(tmp_path / "short.mp4", frames, fps=10, options={"g": "50", "preset": "ultrafast"})
    long = remux(short, tmp_path / "long.mp4", copies=60)
    (few, found, peak), (many, found_long, peak_long) = (
        [int(part) for part in subprocess.check_output([sys.executable, "-c", MEASURE, str(file)]).split()]
        for file in (short, long)
    )
    assert few == found
    assert many == found_long == 60 * 12 - 1
    # All windows' frames would be 212 MB.
    assert peak_long - peak < 30 * 1024
