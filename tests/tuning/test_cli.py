"""Bad input to a command: one line that names the problem, exit code 2, and no file left behind."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from torchvision.models import resnet50

import data.__main__
import tuning.__main__
from data.errors import DataError
from tests.helpers.processes import succeeded
from tests.helpers.sweep_runs import Workplace
from tests.helpers.video_files import moving_square, write_video
from tuning.config.load import parse_config
from tuning.config.run_folder import RunFolder
from tuning.config.sweep_config import SweepConfig
from tuning.prepare.clips import prepare, scan
from tuning.run_setup import new_run
from tuning.tracking.server import TrackingError


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of four clips, each clip in a group of its own."""
    root = tmp_path_factory.mktemp("cli") / "clips"
    lines = ["path,group"]
    for number in range(8):
        path = f"{'pull Up' if number % 2 else 'squat'}/{number}.mp4"
        write_video(root / path, moving_square(number))
        lines.append(f"{path},{number}")
    (root / "sources.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def place(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    # Weights in PyTorch's cache, or a network to download them, must make no difference.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path.parent / "torch_home"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    return Workplace(tmp_path, clips)


def files(folder: Path) -> set[str]:
    """Return all files below a folder, except the frame store."""
    found = (path.relative_to(folder) for path in folder.rglob("*"))
    return {str(path) for path in found if path.parts[0] != "frame_store"}


@pytest.fixture
def refused(place: Workplace, capfd: pytest.CaptureFixture[str]) -> Callable[[list[str], str], None]:
    """Return a function that runs a command in this process and checks that it fails with one clear line."""

    def check(command: list[str], message: str) -> None:
        before = files(place.folder)
        capfd.readouterr()
        main = {"tuning": tuning.__main__.main, "data": data.__main__.main}[command[2]]
        assert main(command[3:]) == 2
        output = capfd.readouterr()
        errors = [line for line in output.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, output.err
        assert message in errors[0]
        assert "Traceback" not in output.out + output.err
        assert files(place.folder) == before

    return check


Refused = Callable[[list[str], str], None]


def settings(place: Workplace, clips: Path, **data: object) -> SweepConfig:
    """Return the settings of a sweep, to check without Ray what a sweep checks only after it has started Ray."""
    return parse_config({"data": {"dir": str(clips), **data}, "store": {"dir": str(place.folder / "frame_store")}})


def refused_clips(place: Workplace, config: SweepConfig, message: str) -> None:
    """Check that preparing the clips fails with this message, on one line, and leaves no file behind."""
    before = files(place.folder)
    with pytest.raises(DataError, match=message) as caught:
        prepare(scan(config.data), config, progress=False)
    assert "\n" not in str(caught.value)
    assert files(place.folder) == before


def split(clips: Path, *arguments: str) -> None:
    """Write split.csv to the current directory."""
    assert data.__main__.main(["split", str(clips), "--out", "split.csv", *arguments]) == 0


def without(command: list[str], option: str) -> list[str]:
    """Return the command without an option and its value."""
    at = command.index(option)
    return command[:at] + command[at + 2 :]


def sweep_over(place: Workplace, make: Callable[[Path], None]) -> list[str]:
    """Return the command of a sweep without groups over a new folder, which `make` fills."""
    folder = place.folder.parent / f"{place.folder.name}-data"
    folder.mkdir()
    make(folder)
    command = place.sweep_command("bad")
    command[command.index("--data") + 1] = str(folder)
    return without(command, "--groups")


def test_missing_folder_is_refused(place: Workplace, refused: Refused) -> None:
    refused(place.sweep_command("bad", "--data", "nowhere"), "no such folder")


def test_missing_data_option_is_refused(place: Workplace, refused: Refused) -> None:
    refused(without(place.sweep_command("bad"), "--data"), "give --data DIR")


def test_empty_folder_is_refused(place: Workplace, refused: Refused) -> None:
    refused(sweep_over(place, lambda folder: None), "one sub-folder per class")


def test_single_class_is_refused(place: Workplace, refused: Refused, clips: Path) -> None:
    command = sweep_over(place, lambda folder: shutil.copytree(clips / "squat", folder / "squat"))  # type: ignore[arg-type]
    refused(command, "squat")


def test_class_with_one_clip_is_refused(place: Workplace, refused: Refused, clips: Path) -> None:
    def make(folder: Path) -> None:
        shutil.copytree(clips, folder, dirs_exist_ok=True)
        write_video(folder / "dip/only.mp4", moving_square(50))

    refused(sweep_over(place, make), "class 'dip' has 1 clip in 1 group")


def test_too_many_unreadable_clips_are_refused(place: Workplace, refused: Refused, clips: Path) -> None:
    def make(folder: Path) -> None:
        shutil.copytree(clips, folder, dirs_exist_ok=True)
        for name in ("a", "b"):
            (folder / "squat" / f"{name}.mp4").write_bytes(b"not a video")

    command = sweep_over(place, make)
    refused(command, "can't be decoded, more than data.max_failed=0.01 allows: squat/a.mp4: FFmpeg can't")


def test_class_without_readable_clips_in_a_part_is_refused(place: Workplace, clips: Path) -> None:
    folder = shutil.copytree(clips, place.folder / "copies")
    for file in sorted((folder / "squat").glob("*.mp4"))[:3]:
        file.write_bytes(b"not a video")
    refused_clips(place, settings(place, folder, max_failed=0.9), "class 'squat' has none left in")


def test_split_with_missing_files_is_refused(place: Workplace, refused: Refused, clips: Path) -> None:
    split(clips)
    rows = pd.read_csv(place.folder / "split.csv")
    rows.loc[0, "path"] = "squat/missing.mp4"
    rows.to_csv(place.folder / "split.csv", index=False)
    command = place.sweep_command("bad", "--split", "split.csv")
    refused(without(command, "--groups"), "'squat/missing.mp4'")


def test_same_file_in_two_splits_is_refused(place: Workplace, clips: Path) -> None:
    folder = shutil.copytree(clips, place.folder / "copies")
    shutil.copy(min((folder / "squat").glob("*.mp4")), folder / "squat/zz.mp4")
    split(folder)
    rows = pd.read_csv("split.csv").set_index("path")
    first = next(path for path in rows.index if path.startswith("squat") and path != "squat/zz.mp4")
    rows["group"] = rows.index
    rows.loc["squat/zz.mp4", "split"] = "train" if rows.loc[first, "split"] != "train" else "val"
    rows.to_csv("split.csv")
    given = str(place.folder / "split.csv")
    refused_clips(place, settings(place, folder, split=given), "files with the same bytes are in two splits")


def test_same_file_in_two_classes_is_refused(place: Workplace, clips: Path) -> None:
    folder = shutil.copytree(clips, place.folder / "copies")
    shutil.copy(next((folder / "squat").glob("*.mp4")), folder / "pull Up/zz.mp4")
    refused_clips(place, settings(place, folder), "files with the same bytes are under two labels")


def test_groups_together_with_a_split_are_refused(place: Workplace, refused: Refused, clips: Path) -> None:
    split(clips)
    refused(place.sweep_command("bad", "--split", "split.csv"), "data.groups has no effect")


def test_overrides_are_accepted_between_options(place: Workplace, refused: Refused) -> None:
    command = place.sweep_command("bad")
    at = command.index("--data")
    scattered = [*command[:at], "train.epochs=3", *command[at:], "train.epoch=3"]
    refused(scattered, "did you mean 'train.epochs'?")


def test_misspelled_setting_is_refused_with_a_suggestion(place: Workplace, refused: Refused) -> None:
    refused(place.sweep_command("bad", "train.epoch=3"), "did you mean 'train.epochs'?")


def test_unsupported_frame_count_is_refused(place: Workplace, refused: Refused) -> None:
    refused(place.sweep_command("bad", "space.num_frames=7", "space.arch=[resnet18,c3d]"), "c3d")


def test_unreachable_mlflow_server_is_refused(
    place: Workplace, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    refused(place.sweep_command("bad"), "no MLflow server responds at http://127.0.0.1:9")


def test_unreachable_ray_address_is_refused(
    place: Workplace, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(place.sweep_command("bad", "--address", "127.0.0.1:9"), "no Ray cluster answers at '127.0.0.1:9'")
    refused(place.sweep_command("bad", "--address", "nonsense"), "is not HOST:PORT")
    refused(place.sweep_command("bad", "--address", "ray://127.0.0.1:10001"), "'ray job submit'")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    refused(place.sweep_command("bad"), "no Ray cluster answers at '127.0.0.1:9'")


def test_missing_weights_file_is_refused(place: Workplace, refused: Refused) -> None:
    refused(place.sweep_command("bad", "models.resnet18.weights=nowhere.pt"), "nowhere.pt")


def test_weights_of_another_network_are_refused(place: Workplace, refused: Refused) -> None:
    torch.save(resnet50().state_dict(), place.folder / "resnet50.pt")
    refused(place.sweep_command("bad", "models.resnet18.weights=resnet50.pt"), "would stay random, the first is")
    with_imagenet = place.sweep_command("bad", "models.resnet18.weights=imagenet")
    refused(with_imagenet, "resnet18-f37072fd.pth")


def test_missing_weights_folder_is_refused(place: Workplace, refused: Refused) -> None:
    command = place.sweep_command("bad", "models.resnet18.weights=imagenet", "--weights-dir")
    refused(
        [*command, "nowhere"], f"weights_dir '{place.folder}/nowhere' does not exist: give a folder, which 'python -m"
    )
    refused([*command, "small.yaml"], "small.yaml' is a file: give a folder")
    refused([*command, ""], "--weights-dir is empty")
    unused = "weights_dir has no effect: no trial starts from weights that are downloaded"
    refused(place.sweep_command("bad", "--weights-dir", "."), unused)


def test_all_missing_weights_are_named(place: Workplace, refused: Refused) -> None:
    (place.folder / "weights").mkdir()
    models = ["space.arch=[r3d_18,resnet18,mc3_18]", "models.r3d_18.weights=kinetics400", "space.num_frames=8"]
    command = place.sweep_command("bad", *models, "models.resnet18.weights=imagenet", "models.mc3_18.weights=w.pt")
    refused(
        [*command, "--weights-dir", "weights"],
        "elsewhere (python -m models fetch r3d_18:kinetics400) and put it at "
        f"{place.folder}/weights/r3d_18-b3b3357e.pth, or set weights to none; also missing: resnet18:imagenet, "
        f"mc3_18:{place.folder}/w.pt",
    )


def test_existing_run_is_refused(place: Workplace, refused: Refused) -> None:
    (place.folder / "runs/there").mkdir(parents=True)
    refused(place.sweep_command("there"), "resume it with --resume there, or give another --name")


def test_invalid_run_name_is_refused(place: Workplace, refused: Refused) -> None:
    refused(place.sweep_command("../up"), "name is '../up'")


def test_resume_refuses_settings_and_unknown_runs(place: Workplace, refused: Refused) -> None:
    refused(place.sweep_command("bad", "--resume", "some"), "leave out --config --data --groups --name")
    sweep = place.sweep_command("")[:4]
    refused([*sweep, "--resume", "some", "--weights-dir", "w"], "leave out --weights-dir")
    refused([*sweep, "--resume", "some"], "no run 'some'")
    refused(sweep, "give --config FILE")


def test_unwritable_runs_folder_is_refused(place: Workplace, refused: Refused) -> None:
    refused(place.sweep_command("bad", "runs_dir=small.yaml"), "small.yaml' is a file")


def test_trial_larger_than_every_node_is_refused_before_decoding(place: Workplace, refused: Refused) -> None:
    refused(place.sweep_command("bad", "resources.cpus=64"), "no trial fits")
    assert not (place.folder / "frame_store").exists(), "refused before clips are decoded"


def test_deleted_experiment_is_refused_before_decoding(place: Workplace, refused: Refused) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{place.folder}/runs/mlflow.db")
    client.delete_experiment(client.create_experiment("test", (place.folder / "artifacts").as_uri()))
    refused(place.sweep_command("bad"), "the MLflow experiment 'test' was deleted: restore it by MLFLOW_TRACKING_URI=")
    assert not (place.folder / "frame_store").exists()
    refused(place.sweep_command("bad", "--dry-run"), "the MLflow experiment 'test' was deleted")


def test_too_little_disk_space_is_refused_before_decoding(place: Workplace, refused: Refused) -> None:
    huge = [
        "store.frames=1024",
        "space.arch=c3d",
        "space.num_frames=16",
        "models.c3d.head=fc",
        "models.c3d.width=400000",
    ]
    refused(place.sweep_command("bad", *huge), "too little disk space at")
    assert not (place.folder / "frame_store").exists()


def test_dry_run_prints_the_plan_and_writes_nothing(place: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    before = files(place.folder)
    command = place.sweep_command("dry", "--dry-run", "train.epochs=1", "resources.measure=true")
    assert tuning.__main__.main(command[3:]) == 0
    output = capfd.readouterr().out
    assert "disk: " in output
    assert "frames of 8 clips" in output
    assert "checkpoints of 1 trial," in output
    assert "plan: 1 trials, 1 concurrently on 1 node(s)" in output
    assert "GB\n      estimate: at most about" in output
    assert "dry run: nothing was decoded, trained or written" in output
    assert files(place.folder) == before
    assert not (place.folder / "frame_store").exists()


def test_option_named_like_a_setting_is_refused_with_the_setting(place: Workplace, refused: Refused) -> None:
    refused(place.sweep_command("bad", "--epochs", "3"), "sweep has no option --epochs; settings are KEY=VALUE: write ")
    refused(place.sweep_command("bad", "--epochs", "3"), "write train.epochs=3")
    refused(place.sweep_command("bad", "--resume", "some", "--dry-run"), "leave out --config --data --groups --name")


def test_database_that_cannot_be_created_is_refused(place: Workplace, clips: Path) -> None:
    config = settings(place, clips)
    config = config.model_copy(
        update={"tracking": config.tracking.model_copy(update={"uri": "sqlite:////proc/x/m.db"})}
    )
    prepared, before = prepare(scan(config.data), config, progress=False), files(place.folder)
    with pytest.raises(TrackingError, match="MLflow at sqlite:////proc/x/m.db") as caught:
        new_run(RunFolder(place.folder / "runs/bad"), config, prepared)
    assert "\n" not in str(caught.value)
    assert files(place.folder) == before


def test_taken_or_invalid_port_is_refused(place: Workplace, refused: Refused) -> None:
    (place.folder / "runs").mkdir()
    (place.folder / "runs/mlflow.db").touch()
    ui = [*place.sweep_command("")[:3], "ui"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused([*ui, f"--port={taken.getsockname()[1]}"], "Address already in use): give another --port")
    refused([*ui, "--port=99999"], "give another --port")


def test_new_split_keeps_identical_files_together(place: Workplace, clips: Path) -> None:
    folder = shutil.copytree(clips, place.folder / "copies")
    for file in sorted((folder / "squat").glob("*.mp4")):
        shutil.copy(file, file.with_name(f"copy {file.name}"))
    config = settings(place, folder)
    prepared = prepare(scan(config.data), config, progress=False)
    assert len(prepared.copies) == 4
    place_of = {row.clip.path: row.split for row in prepared.split.rows}
    assert all(len({place_of[path] for path in same}) == 1 for same in prepared.copies)
    assert {defect.name for defect in prepared.defects} == {"duplicate", "too short"}


def test_commands_refuse_a_missing_run(place: Workplace, refused: Refused) -> None:
    python = place.sweep_command("")[:3]
    refused([*python, "evaluate", "--run", "runs/none"], "no run 'runs/none'")
    refused([*python, "predict", "--run", "runs/none", "clip.mp4"], "no run 'runs/none'")
    refused([*python, "predict", "--model", "runs/none/best", "clip.mp4"], "no checkpoint in 'runs/none/best'")
    refused([*python, "app", "--run", "runs/none"], "no run 'runs/none'")
    refused(
        [*python, "predict", "--run", "/none/at/all", "clip.mp4"], "no run '/none/at/all': no /none/at/all/config.yaml"
    )
    refused([*python, "ui"], "no runs in 'runs' yet")


def test_data_commands_fail_with_one_line(place: Workplace, refused: Refused, clips: Path) -> None:
    python = [place.sweep_command("")[0], "-m", "data"]
    refused([*python, "split", "nowhere", "--out", "split.csv"], "no such folder")
    refused([*python, "split", str(clips), "--out", "s.csv", "--groups", "none.csv"], "none.csv")
    refused([*python, "demo", "--out", "demo", "--classes", "99"], "99")


def test_split_writes_the_same_bytes_for_the_same_seed(
    place: Workplace, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = ["--groups", f"{clips / 'sources.csv'}:group"]
    # In another process strings have other hashes.
    done = succeeded(place.data("split", str(clips), "--out", "a.csv", "--seed", "0", *groups))
    assert "pull Up" in done.stdout
    found = [(place.folder / "a.csv").read_bytes()]
    for seed in ("0", "5"):
        split(clips, "--seed", seed, *groups)
        assert "pull Up" in capsys.readouterr().out
        found.append((place.folder / "split.csv").read_bytes())
    assert found[0] == found[1] != found[2]


def test_error_of_a_real_command_is_one_line_and_exit_code_2(place: Workplace) -> None:
    done = place.run(place.sweep_command("bad", "train.epoch=3"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown setting 'train.epoch'; did you mean 'train.epochs'?\n"


@pytest.mark.parametrize("module", ["data", "tuning"])
def test_help_names_every_command(place: Workplace, module: str) -> None:
    python = place.sweep_command("")[0]
    commands = {"data": ["demo", "audit", "split"], "tuning": ["sweep", "evaluate", "predict", "app", "ui"]}[module]
    top = succeeded(place.run([python, "-m", module, "--help"])).stdout
    for command in commands:
        assert command in top
        assert "usage:" in succeeded(place.run([python, "-m", module, command, "--help"])).stdout


def test_importing_has_no_side_effects(place: Workplace) -> None:
    modules = "data.__main__, tuning.__main__, tuning.trial.worker, tuning.tracking.mlflow_writer, models.registry"
    script = f"import {modules}; print('done')"
    before = files(place.folder)
    environment = {"HOME": str(place.folder / "home"), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    done = succeeded(place.run([place.sweep_command("")[0], "-c", script], **environment))
    assert done.stdout == "done\n"
    assert files(place.folder) - {"home"} == before
    assert os.sep not in done.stderr, done.stderr
