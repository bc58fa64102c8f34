from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from data.files import file_sha256
from data.loading.frame_selection import FrameSelection
from data.loading.loaders import EvalDataset, eval_loader
from data.loading.transforms import EvalTransform, Normalise
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore
from models.registry import ARCHITECTURES
from tests.helpers.checkpoints import MANIFEST, PREDICTIONS, TRIAL, build_model_of_trial, checkpoint, learner_of
from tests.helpers.small_models import SMALL, Case, build_small
from tests.helpers.video_files import moving_square, write_video
from tuning.config.schema.train import TrainConfig
from tuning.training.checkpoint import (
    MANIFEST_FILE,
    MODEL_FILE,
    TRAINING_FILE,
    VALIDATION_FILE,
    CheckpointError,
    copy_champion,
    load_epoch_predictions,
    load_model,
    load_models,
    load_training,
    load_validation_predictions,
    read_manifest,
    save_checkpoint,
)
from tuning.training.epoch import predict
from tuning.training.learner import TrainingState, build_learner

__all__ = ["checkpoint"]

NO_DIGESTS = {"model_sha256": "", "training_sha256": "", "validation_sha256": ""}


def test_a_model_is_rebuilt_from_its_folder_alone(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    folder, model = checkpoint
    loaded, manifest = load_model(folder)
    assert not loaded.training
    frames = torch.randn(2, 8, 3, 48, 48)
    torch.testing.assert_close(loaded(frames), model.eval()(frames))
    assert manifest.model_copy(update=NO_DIGESTS) == MANIFEST
    assert (manifest.epoch, manifest.metrics["val_macro_f1"]) == (2, 0.5)


def test_the_models_of_all_folds_answer_together(tmp_path: Path) -> None:
    torch.manual_seed(1)
    models = [build_model_of_trial().eval() for _ in range(3)]
    manifest = MANIFEST.model_copy(update={"folds": 3})
    save_checkpoint(tmp_path, manifest, models, [TrainingState({"fold": k}, {}, {}) for k in range(3)], PREDICTIONS)
    loaded, _ = load_model(tmp_path)
    frames = torch.randn(2, 8, 3, 48, 48)
    with torch.inference_mode():
        mean = torch.stack([model(frames).softmax(1) for model in models]).mean(0)
        torch.testing.assert_close(loaded(frames).softmax(1), mean)
        for model, again in zip(models, load_models(tmp_path)[0], strict=True):
            torch.testing.assert_close(again.eval()(frames), model(frames))
    assert [state.optimizer["fold"] for state in load_training(tmp_path)] == [0, 1, 2]


def test_training_goes_on_with_the_same_state(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    folder, _ = checkpoint
    (state,) = load_training(folder)
    model = build_model_of_trial()
    learner = learner_of(model)
    learner.load_state(state)
    assert learner.schedule.last_epoch == 1
    assert len(learner.optimizer.state) == len(list(model.parameters()))


def test_the_answers_to_the_validation_clips_are_kept(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    folder, _ = checkpoint
    kept = load_validation_predictions(folder)
    assert kept.clip_ids == PREDICTIONS.clip_ids
    torch.testing.assert_close((kept.labels, kept.logits), (PREDICTIONS.labels, PREDICTIONS.logits), rtol=0, atol=0)
    (folder / VALIDATION_FILE).write_bytes((folder / VALIDATION_FILE).read_bytes()[:-1])
    for read in (load_validation_predictions, load_model):
        with pytest.raises(CheckpointError, match="validation.pt is damaged"):
            read(folder)


def test_the_classes_that_earlier_epochs_gave_are_kept(
    checkpoint: tuple[Path, torch.nn.Module], tmp_path: Path
) -> None:
    _, model = checkpoint
    earlier = [torch.tensor([1, 1], dtype=torch.int16), torch.tensor([0, 1], dtype=torch.int16)]
    later = tmp_path / "later"
    later.mkdir()
    save_checkpoint(later, MANIFEST, [model], [TrainingState({}, {}, {})], PREDICTIONS, earlier)
    assert load_epoch_predictions(later).tolist() == [[1, 1], [0, 1], PREDICTIONS.logits.argmax(1).tolist()]
    assert load_validation_predictions(later).clip_ids == PREDICTIONS.clip_ids


def test_damage_is_noticed(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    folder, _ = checkpoint
    whole = (folder / MODEL_FILE).read_bytes()
    (folder / MODEL_FILE).write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match="model.pt is damaged: its SHA-256 is not the one"):
        load_model(folder)
    (folder / TRAINING_FILE).write_bytes((folder / TRAINING_FILE).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="training.pt is damaged"):
        load_training(folder)
    (folder / MODEL_FILE).unlink()
    with pytest.raises(CheckpointError, match="model.pt is missing"):
        load_model(folder)
    (folder / MANIFEST_FILE).write_text("{}")
    with pytest.raises(CheckpointError, match="checkpoint.json is damaged"):
        read_manifest(folder)
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        read_manifest(folder / "none")


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/harmed",)


def test_a_pickle_that_would_run_code_is_refused(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    folder, _ = checkpoint
    (folder / TRAINING_FILE).write_bytes(pickle.dumps({"optimizer": _Harmful()}))
    manifest = read_manifest(folder).model_copy(update={"training_sha256": file_sha256(folder / TRAINING_FILE)})
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    with pytest.raises(CheckpointError, match="training.pt is damaged"):
        load_training(folder)
    assert not Path("/tmp/harmed").exists()


def test_the_champion_is_copied_whole_without_the_training_state(
    checkpoint: tuple[Path, torch.nn.Module], tmp_path: Path
) -> None:
    folder, _ = checkpoint
    best = tmp_path / "best"
    best.mkdir()
    (best / "stale.txt").touch()
    copy_champion(folder, best, max_risk=0.1)
    assert sorted(path.name for path in best.iterdir()) == [
        "calibration.json",
        MANIFEST_FILE,
        MODEL_FILE,
        VALIDATION_FILE,
    ]
    load_model(best)


LATER = """
import sys
from pathlib import Path
import torch
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore
from tuning.inference.champion import Champion
torch.set_num_threads(1)
place, digests = Path(sys.argv[1]), sys.argv[2:]
clips, answers = [LabelledFrames(digest, digest, 0) for digest in digests], {}
for folder in place.glob("checkpoint-*"):
    champion = Champion(folder)
    store = FrameStore(place / "store", champion.manifest.decode)
    answers[folder.name] = champion.predict_stored(clips, store).logits
torch.save(answers, place / "answers.pt")
"""


def test_another_process_gives_the_answers_of_the_one_that_trained(tmp_path: Path) -> None:
    """Of every architecture, to the last bit, from its folder and the frames alone."""
    for number, (height, width) in enumerate([(48, 64), (64, 48)]):
        write_video(tmp_path / f"clips/{number}.mp4", moving_square(number, height=height, width=width))
    store = FrameStore(tmp_path / "store", MANIFEST.decode)
    built = store.build(tmp_path / "clips", ["0.mp4", "1.mp4"], workers=1, progress=False)
    clips = [LabelledFrames(clip.digest, clip.digest, 0) for clip in built.stored]
    expected = {}
    with TemporaryDirectory(dir=tmp_path) as place:
        (Path(place) / "store").symlink_to(store.root)
        for number, each in enumerate(SMALL):
            folder = Path(place) / f"checkpoint-{number}"
            folder.mkdir()
            expected[folder.name] = _answers_in_training(each, folder, clips, store)
        done = subprocess.run(
            [sys.executable, "-c", LATER, place, *(clip.digest for clip in clips)],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found = torch.load(Path(place) / "answers.pt", weights_only=True)
    assert {each[0] for each in SMALL} == set(ARCHITECTURES)
    assert set(found) == set(expected)
    for number, each in enumerate(SMALL):
        answers = expected[f"checkpoint-{number}"]
        assert torch.equal(found[f"checkpoint-{number}"], answers), each
        assert not torch.equal(answers[0], answers[1]), each


def _answers_in_training(case: Case, folder: Path, clips: Sequence[LabelledFrames], store: FrameStore) -> torch.Tensor:
    """Write a checkpoint as a worker does; the logits with which it would validate."""
    name, options, num_frames, size = case
    arch, device, train = ARCHITECTURES[name], torch.device("cpu"), TrainConfig(size=size, precision="fp32")
    model = build_small(name, options, num_frames, size, num_classes=2)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(0, 0.1)
            # Below 1: untrained networks let the signal die away.
            module.running_var.uniform_(0.5, 0.9)
    learner = build_learner(model, 0.01, train, stages=arch.stages, steps_per_epoch=4, device=device, precision="fp32")
    trial = TRIAL.model_copy(update={"arch": name, "options": options, "num_frames": num_frames, "train": train})
    manifest = MANIFEST.model_copy(update={"trial": trial})
    save_checkpoint(folder, manifest, [learner.eval_model], [learner.state()], PREDICTIONS)
    dataset = EvalDataset(clips, store, selection=FrameSelection(num_frames), transform=EvalTransform(size))
    batches = eval_loader(dataset, batch_size=16, workers=0, pin_memory=False)
    return predict(learner.eval_model, Normalise(arch.mean, arch.std), batches, device=device, precision="fp32").logits
