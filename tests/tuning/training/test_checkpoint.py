"""Write and read checkpoints."""

from __future__ import annotations

import json
import os
import pickle
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
from tests.helpers.frame_stores import build
from tests.helpers.processes import call_in_new_process
from tests.helpers.small_models import SMALL, Case, build_small
from tests.helpers.video_files import moving_square, write_video
from tuning.config.schema.train import TrainConfig
from tuning.inference.champion import Champion
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


def test_load_model_rebuilds_the_model_from_its_folder(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    folder, model = checkpoint
    loaded, manifest = load_model(folder)
    assert not loaded.training
    frames = torch.randn(2, 8, 3, 48, 48)
    torch.testing.assert_close(loaded(frames), model.eval()(frames))
    assert manifest.model_copy(update=NO_DIGESTS) == MANIFEST
    assert (manifest.epoch, manifest.metrics["val_macro_f1"]) == (2, 0.5)


def test_models_of_several_folds_are_loaded_as_an_ensemble(tmp_path: Path) -> None:
    torch.manual_seed(1)
    models = [build_model_of_trial().eval() for _ in range(3)]
    manifest = MANIFEST.model_copy(update={"folds": 3})
    save_checkpoint(tmp_path, manifest, models, [TrainingState({"fold": k}, {}, {}) for k in range(3)], PREDICTIONS)
    loaded, _ = load_model(tmp_path)
    frames = torch.randn(2, 8, 3, 48, 48)
    with torch.inference_mode():
        mean = torch.stack([model(frames).softmax(1) for model in models]).mean(0)
        torch.testing.assert_close(loaded(frames).softmax(1), mean)
        for model, restored in zip(models, load_models(tmp_path)[0], strict=True):
            torch.testing.assert_close(restored.eval()(frames), model(frames))
    assert [state.optimizer["fold"] for state in load_training(tmp_path)] == [0, 1, 2]


def test_training_state_is_restored(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    folder, _ = checkpoint
    (state,) = load_training(folder)
    model = build_model_of_trial()
    learner = learner_of(model)
    learner.load_state(state)
    assert learner.schedule.last_epoch == 1
    assert len(learner.optimizer.state) == len(list(model.parameters()))


def test_validation_predictions_are_restored_and_checked(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    folder, _ = checkpoint
    restored = load_validation_predictions(folder)
    assert restored.clip_ids == PREDICTIONS.clip_ids
    torch.testing.assert_close(restored.labels, PREDICTIONS.labels, rtol=0, atol=0)
    torch.testing.assert_close(restored.logits, PREDICTIONS.logits, rtol=0, atol=0)
    (folder / VALIDATION_FILE).write_bytes((folder / VALIDATION_FILE).read_bytes()[:-1])
    for read in (load_validation_predictions, load_model):
        with pytest.raises(CheckpointError, match="validation.pt is damaged"):
            read(folder)


def test_predicted_classes_of_earlier_epochs_are_restored(
    checkpoint: tuple[Path, torch.nn.Module], tmp_path: Path
) -> None:
    _, model = checkpoint
    earlier = [torch.tensor([1, 1], dtype=torch.int16), torch.tensor([0, 1], dtype=torch.int16)]
    later = tmp_path / "later"
    later.mkdir()
    save_checkpoint(later, MANIFEST, [model], [TrainingState({}, {}, {})], PREDICTIONS, earlier)
    assert load_epoch_predictions(later).tolist() == [[1, 1], [0, 1], PREDICTIONS.logits.argmax(1).tolist()]
    assert load_validation_predictions(later).clip_ids == PREDICTIONS.clip_ids


def test_damaged_and_missing_files_raise(checkpoint: tuple[Path, torch.nn.Module]) -> None:
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


class Malicious:
    """Runs a command if it is unpickled without care."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickle_that_would_run_code_raises(checkpoint: tuple[Path, torch.nn.Module], tmp_path: Path) -> None:
    folder, _ = checkpoint
    (folder / TRAINING_FILE).write_bytes(pickle.dumps({"optimizer": Malicious(tmp_path / "ran")}))
    manifest = read_manifest(folder).model_copy(update={"training_sha256": file_sha256(folder / TRAINING_FILE)})
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    with pytest.raises(CheckpointError, match="training.pt is damaged"):
        load_training(folder)
    assert not (tmp_path / "ran").exists()


def test_names_in_the_files_are_those_of_earlier_releases(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    """Checkpoints of earlier releases must stay readable."""
    folder, _ = checkpoint
    assert {file.name for file in folder.iterdir()} == {"checkpoint.json", "model.pt", "training.pt", "validation.pt"}
    hashes = {"model_sha256", "validation_sha256", "training_sha256"}
    assert json.loads((folder / MANIFEST_FILE).read_text()).keys() == hashes | {
        *("format", "trial", "classes", "split_sha256", "decode", "folds", "precision", "history")
    }
    (state,) = torch.load(folder / TRAINING_FILE, weights_only=True)
    assert state.keys() == {"optimizer", "schedule", "scaler", "weights", "averaged"}
    assert torch.load(folder / VALIDATION_FILE, weights_only=True).keys() == {"clip_ids", "labels", "logits", "earlier"}


def test_copy_champion_replaces_the_folder_and_leaves_out_the_training_state(
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


def write_logits_of_champions(folder: str, digests: list[str]) -> None:
    """Predict the clips of a store with each checkpoint in a folder, as `evaluate` and `predict` do."""
    torch.set_num_threads(1)
    place = Path(folder)
    clips, logits = [LabelledFrames(digest, digest, 0) for digest in digests], {}
    for checkpoint_folder in place.glob("checkpoint-*"):
        champion = Champion(checkpoint_folder)
        store = FrameStore(place / "store", champion.manifest.decode)
        logits[checkpoint_folder.name] = champion.predict_stored(clips, store).logits
    torch.save(logits, place / "logits.pt")


def test_another_process_computes_the_same_logits_to_the_last_bit(tmp_path: Path) -> None:
    """For every architecture, from its checkpoint and the stored frames."""
    for number, (height, width) in enumerate([(48, 64), (64, 48)]):
        write_video(tmp_path / f"clips/{number}.mp4", moving_square(number, height=height, width=width))
    store = FrameStore(tmp_path / "store", MANIFEST.decode)
    built = build(store, tmp_path / "clips", ["0.mp4", "1.mp4"])
    clips = [LabelledFrames(clip.digest, clip.digest, 0) for clip in built.stored]
    expected = {}
    with TemporaryDirectory(dir=tmp_path) as place:
        (Path(place) / "store").symlink_to(store.root)
        for number, case in enumerate(SMALL):
            folder = Path(place) / f"checkpoint-{number}"
            folder.mkdir()
            expected[folder.name] = save_and_predict(case, folder, clips, store)
        call_in_new_process(write_logits_of_champions, place, [clip.digest for clip in clips], CUDA_VISIBLE_DEVICES="")
        found = torch.load(Path(place) / "logits.pt", weights_only=True)
    assert {case[0] for case in SMALL} == set(ARCHITECTURES)
    assert set(found) == set(expected)
    for number, case in enumerate(SMALL):
        logits = expected[f"checkpoint-{number}"]
        assert torch.equal(found[f"checkpoint-{number}"], logits), case
        assert not torch.equal(logits[0], logits[1]), case


def save_and_predict(case: Case, folder: Path, clips: Sequence[LabelledFrames], store: FrameStore) -> torch.Tensor:
    """Write a checkpoint and return the validation logits, both as a worker does."""
    name, options, num_frames, size = case
    arch, device, train = ARCHITECTURES[name], torch.device("cpu"), TrainConfig(size=size, precision="fp32")
    model = build_small(name, options, num_frames, size, num_classes=2)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(0, 0.1)
            # Below 1, since the signal vanishes in untrained networks.
            module.running_var.uniform_(0.5, 0.9)
    learner = build_learner(model, 0.01, train, stages=arch.stages, steps_per_epoch=4, device=device, precision="fp32")
    trial = TRIAL.model_copy(update={"arch": name, "options": options, "num_frames": num_frames, "train": train})
    manifest = MANIFEST.model_copy(update={"trial": trial})
    save_checkpoint(folder, manifest, [learner.eval_model], [learner.state()], PREDICTIONS)
    dataset = EvalDataset(clips, store, selection=FrameSelection(num_frames), transform=EvalTransform(size))
    batches = eval_loader(dataset, batch_size=16, workers=0, pin_memory=False)
    return predict(learner.eval_model, Normalise(arch.mean, arch.std), batches, device=device, precision="fp32").logits
