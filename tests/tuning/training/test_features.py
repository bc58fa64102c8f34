"""Trials on stored features are those on frames, with the frozen backbone run once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from data.loading.augment import Augment, AugmentSettings
from data.loading.loaders import Batch
from data.store.build_report import LabelledFrames
from models.clip_model import HeadModel
from models.registry import build_model
from tests.helpers.noise_data import FRAMES, SIZE, noise_data, small_sweep
from tests.helpers.shallow_networks import use_shallow_networks
from tuning.config.trial_config import TrialConfig
from tuning.training.epoch import predict, train_one_epoch
from tuning.training.features import FeatureExtractor, FeatureSpec, compute_features
from tuning.training.fold import FoldTraining, batch_transforms, build_fold, initial_model
from tuning.training.trial_data import FoldClips, TrialData

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def shallow_networks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        use_shallow_networks(patch)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "resnet18.pt"
    torch.manual_seed(3)
    torch.save(build_model("resnet18", {}, num_classes=5, num_frames=FRAMES, size=SIZE).state_dict(), file)
    return file


@pytest.fixture
def data(tmp_path: Path) -> TrialData:
    """Twelve clips to train on, and six to validate on."""
    found = noise_data(tmp_path / "store")
    fold = found.folds[0]
    return found.model_copy(update={"folds": (FoldClips(train=fold.train[:12], val=fold.val[:6]),)})


def make_trial(
    weights: Path, *, views: int | None = 1, sampler: str = "imbalanced", lr: float = 0.01, **settings: Any
) -> TrialConfig:
    options = settings.pop("options", {"dropout": 0.0})
    num_frames = settings.pop("num_frames", FRAMES)
    train = {"trainable": "head", "stored_views": views, "epochs": 3, "warmup_epochs": 0.0, **settings}
    sweep = small_sweep(
        train=train,
        space={"num_frames": [num_frames], "lr": [lr], "sampler": [sampler]},
        models={"resnet18": {"weights": str(weights), **options}},
    )
    choices = sweep.choices()
    assert choices is not None
    return TrialConfig.from_choice(sweep, choices[0])


def store_features(trial: TrialConfig, data: TrialData) -> None:
    assert set(compute_features(FeatureSpec.of(trial), data.store(), sorted(data.digests()), CPU)) == data.digests()


def start(trial: TrialConfig, data: TrialData) -> FoldTraining:
    model = initial_model(trial, data, 0)
    return build_fold(trial, data, 0, model, device=CPU, precision="fp32", loader_workers=0)


def train(fold: FoldTraining, batches: list[list[Batch]], augment: Augment) -> None:
    for epoch, found in enumerate(batches, 1):
        train_one_epoch(fold.learner, augment, found, epoch=epoch, seed=epoch, micro_batch=4)


def batches_of_epochs(fold: FoldTraining, epochs: int) -> list[list[Batch]]:
    found = []
    for epoch in range(1, epochs + 1):
        fold.sampler.set_epoch(epoch)
        found.append(list(fold.train_batches))
    return found


def with_frames(batch: Batch, data: TrialData, trial: TrialConfig) -> Batch:
    """The same clips, with the backbone's input in place of its features."""
    clips: dict[str, LabelledFrames] = {clip.clip_id: clip for clip in data.folds[0].train}
    spec = FeatureSpec.of(trial)
    extractor = FeatureExtractor(spec, spec.build_backbone(), CPU)
    digests = [clips[clip_id].digest for clip_id in batch.clip_id]
    views = [list(extractor.inputs(data.store().read(digest), digest))[1] for digest in digests]
    return batch._replace(frames=torch.cat(views))


def test_stored_features_give_the_same_logits_as_the_whole_network(weights: Path, data: TrialData) -> None:
    stored = make_trial(weights)
    store_features(stored, data)
    fold = start(stored, data)
    assert isinstance(fold.learner.model, HeadModel)
    normalise, augment = batch_transforms(stored, len(data.classes), CPU)
    batches = batches_of_epochs(fold, 3)
    train(fold, batches, augment)
    found = predict(fold.learner.eval_model, normalise, fold.val_batches, device=CPU, precision="fp32")

    unshared = make_trial(weights, views=None)
    whole = start(unshared, data)
    unchanged = Augment(nn.Identity(), len(data.classes), AugmentSettings())
    train(whole, [[with_frames(batch, data, stored) for batch in each] for each in batches], unchanged)
    normalise, _ = batch_transforms(unshared, len(data.classes), CPU)
    expected = predict(whole.learner.eval_model, normalise, whole.val_batches, device=CPU, precision="fp32")

    assert found.clip_ids == expected.clip_ids
    assert torch.allclose(found.logits, expected.logits, atol=1e-5)
    before = start(unshared, data)
    untrained = predict(before.learner.eval_model, normalise, before.val_batches, device=CPU, precision="fp32")
    assert not torch.allclose(found.logits, untrained.logits, atol=1e-2), "nothing was trained"


@pytest.mark.parametrize("ema", [None, 0.9])
def test_checkpoint_has_the_whole_model_that_was_validated(weights: Path, data: TrialData, ema: float | None) -> None:
    trial = make_trial(weights, ema=ema)
    store_features(trial, data)
    fold = start(trial, data)
    normalise, augment = batch_transforms(trial, len(data.classes), CPU)
    train(fold, batches_of_epochs(fold, 2), augment)
    found = predict(fold.learner.eval_model, normalise, fold.val_batches, device=CPU, precision="fp32")

    unshared = make_trial(weights, views=None)
    frames, _ = batch_transforms(unshared, len(data.classes), CPU)
    expected = predict(fold.checkpoint_model(), frames, start(unshared, data).val_batches, device=CPU, precision="fp32")
    assert torch.allclose(found.logits, expected.logits, atol=1e-5)


def test_trials_share_features_unless_the_backbone_or_its_input_differs(weights: Path, data: TrialData) -> None:
    def folder(trial: TrialConfig) -> Path:
        spec = FeatureSpec.of(trial)
        return spec.store(data.store(), spec.build_backbone()).folder

    first = folder(make_trial(weights))
    head = {"hidden": 8, "dropout": 0.3, "temporal": "lstm", "temporal_width": 8}
    assert folder(make_trial(weights, options=head, sampler="balanced", lr=0.1, seed=4, weight_decay=0.5)) == first
    other = weights.with_name("other.pt")
    torch.save({key: value * 1.01 for key, value in torch.load(weights).items()}, other)
    different = [
        make_trial(other),
        make_trial(weights, views=2),
        make_trial(weights, num_frames=2),
        make_trial(weights, size=48),
        make_trial(weights, flip=False),
        make_trial(weights, colour=0.2),
        make_trial(weights, options={"subtract_mean_frame": True}),
    ]
    assert len({first, *map(folder, different)}) == 1 + len(different)


def test_killed_build_resumes_with_the_clips_that_are_missing(weights: Path, data: TrialData) -> None:
    spec = FeatureSpec.of(make_trial(weights, views=3))
    digests = sorted(data.digests())
    store = spec.store(data.store(), spec.build_backbone())
    build = compute_features(spec, data.store(), digests, CPU)
    done = [next(build) for _ in range(5)]
    build.close()
    assert store.missing(digests) == [digest for digest in digests if digest not in done]
    list(compute_features(spec, data.store(), store.missing(digests), CPU))
    assert store.missing(digests) == []
    assert not list(store.folder.rglob(".*")), "no temporary file is left"
    views = store.read(digests[0])
    assert views.shape == (4, FRAMES, 512)
    assert len(np.unique(views[1:].reshape(3, -1), axis=0)) == 3, "each view is augmented in another way"


def test_epochs_draw_from_all_augmented_views(weights: Path, data: TrialData) -> None:
    trial = make_trial(weights, views=3)
    store_features(trial, data)
    fold = start(trial, data)
    spec = FeatureSpec.of(trial)
    store = spec.store(data.store(), spec.build_backbone())
    digest = data.folds[0].train[0].digest
    views = torch.from_numpy(store.read(digest).copy())
    drawn = set()
    for epoch in batches_of_epochs(fold, 20):
        for batch in epoch:
            for clip_id, features in zip(batch.clip_id, batch.frames, strict=True):
                if clip_id == data.folds[0].train[0].clip_id:
                    drawn.add(next(view for view in range(4) if torch.equal(views[view], features)))
    assert drawn == {1, 2, 3}


def test_corrupt_and_missing_features_are_named(weights: Path, data: TrialData) -> None:
    from data.errors import DataError

    trial = make_trial(weights)
    spec = FeatureSpec.of(trial)
    store = spec.store(data.store(), spec.build_backbone())
    with pytest.raises(DataError, match="has no features for digest"):
        store.read("ab" * 32)
    store_features(trial, data)
    digest = data.folds[0].train[0].digest
    file = store.folder / digest[:2] / f"{digest}.npy"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match=r"\.npy is corrupt .*: remove it"):
        store.read(digest)
    assert replace(spec, views=5) != spec
