from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import center_crop, resize

from data.loading.frame_selection import FrameSelection
from data.loading.loaders import Batch, EvalDataset, TrainDataset, eval_loader, train_loader
from data.loading.sampling import EpochSampler
from data.loading.transforms import EvalTransform, Normalise, TrainTransform
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
from tests.helpers.video_files import moving_square, write_video

STORE_SETTINGS = DecodeSettings(frames=8, short_side=40)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[FrameStore, list[LabelledFrames]]:
    """A store with seven clips of two classes, in landscape and portrait format."""
    root = tmp_path_factory.mktemp("stored")
    for number in range(7):
        height, width = (48, 64) if number % 2 else (64, 48)
        write_video(root / f"clips/{number}.mp4", moving_square(number, height=height, width=width))
    store = FrameStore(root / "store", STORE_SETTINGS)
    report = store.build(root / "clips", [f"{n}.mp4" for n in range(7)], workers=1, progress=False)
    clips = [LabelledFrames(clip.path, clip.digest, int(number > 3)) for number, clip in enumerate(report.stored)]
    return store, clips


def epoch_of(
    stored: tuple[FrameStore, list[LabelledFrames]], *, epoch: int = 0, workers: int = 0, seed: int = 0
) -> list[Batch]:
    store, clips = stored
    sampler = EpochSampler([clip.label for clip in clips], "imbalanced", seed=seed)
    dataset = TrainDataset(clips, store, selection=FrameSelection(4), transform=TrainTransform(32), seed=seed)
    loader = train_loader(dataset, sampler, batch_size=3, workers=workers, pin_memory=False)
    sampler.set_epoch(epoch)
    return list(loader)


def test_batch_has_the_documented_shapes_and_types(stored: tuple[FrameStore, list[LabelledFrames]]) -> None:
    batches = epoch_of(stored)
    assert [len(batch.clip_id) for batch in batches] == [3, 3, 1]
    assert batches[0].frames.shape == (3, 4, 3, 32, 32)
    assert batches[0].frames.dtype == torch.uint8
    assert batches[0].label.dtype == torch.int64
    labels = {clip.clip_id: clip.label for clip in stored[1]}
    for batch in batches:
        assert batch.label.tolist() == [labels[clip_id] for clip_id in batch.clip_id]


def same(left: list[Batch], right: list[Batch]) -> bool:
    return all(torch.equal(a.frames, b.frames) and a.clip_id == b.clip_id for a, b in zip(left, right, strict=True))


def test_epoch_does_not_depend_on_the_number_of_loader_processes(
    stored: tuple[FrameStore, list[LabelledFrames]],
) -> None:
    assert same(epoch_of(stored, epoch=2), epoch_of(stored, epoch=2, workers=2))


def test_crops_depend_on_the_epoch_and_the_seed(stored: tuple[FrameStore, list[LabelledFrames]]) -> None:
    assert not same(epoch_of(stored, epoch=1), epoch_of(stored, epoch=2))
    assert not same(epoch_of(stored, seed=1), epoch_of(stored, seed=2))


def test_eval_loader_yields_each_clip_once_in_order_with_fixed_frames(
    stored: tuple[FrameStore, list[LabelledFrames]],
) -> None:
    store, clips = stored
    dataset = EvalDataset(clips, store, selection=FrameSelection(4), transform=EvalTransform(32))
    passes = [list(eval_loader(dataset, batch_size=3, workers=0, pin_memory=False)) for _ in range(2)]
    assert [clip_id for batch in passes[0] for clip_id in batch.clip_id] == [clip.clip_id for clip in clips]
    assert same(passes[0], passes[1])


def test_ranks_evaluate_each_clip_once(stored: tuple[FrameStore, list[LabelledFrames]]) -> None:
    store, clips = stored
    dataset = EvalDataset(clips, store, selection=FrameSelection(4), transform=EvalTransform(32))
    clip_ids = [
        clip_id
        for rank in range(3)
        for batch in eval_loader(dataset, batch_size=2, workers=0, pin_memory=False, rank=rank, world_size=3)
        for clip_id in batch.clip_id
    ]
    assert sorted(clip_ids) == sorted(clip.clip_id for clip in clips)


def test_train_transform_crops_and_flips_all_frames_of_a_clip_equally() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).repeat(3, 48, 1)
    frames = torch.stack([ramp] * 6)
    results = [TrainTransform(32)(frames, np.random.default_rng(seed)) for seed in range(40)]
    for result in results:
        assert result.shape == (6, 3, 32, 32)
        assert (result == result[0]).all()
    flipped = [bool(result[0, 0, 0, 0] > result[0, 0, 0, -1]) for result in results]
    assert 8 < sum(flipped) < 32
    assert len({int(result[0, 0, 0, 0]) for result in results}) > 10


def test_flip_can_be_switched_off() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).repeat(1, 3, 48, 1)
    for seed in range(20):
        result = TrainTransform(32, flip=False)(ramp, np.random.default_rng(seed))
        assert result[0, 0, 0, 0] < result[0, 0, 0, -1]


@pytest.mark.parametrize(("height", "width"), [(40, 71), (71, 40), (40, 160), (40, 40), (24, 30)])
def test_transforms_turn_any_stored_shape_into_a_square(height: int, width: int) -> None:
    frames = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    assert EvalTransform(32)(frames).shape == (2, 3, 32, 32)
    assert TrainTransform(32)(frames, np.random.default_rng(0)).shape == (2, 3, 32, 32)


def test_eval_transform_crops_the_centre() -> None:
    frames = torch.zeros(1, 3, 32, 96, dtype=torch.uint8)
    frames[..., 32:64] = 200
    assert (EvalTransform(32)(frames) == 200).all()


STEPS = torch.arange(9, dtype=torch.uint8).repeat_interleave(8) * 20
"""A row of 72 pixels: nine steps of eight."""


@pytest.mark.parametrize("portrait", [False, True])
def test_three_crops_are_both_ends_and_the_centre_of_the_longer_side(portrait: bool) -> None:
    wide = STEPS.expand(2, 3, 24, 72)
    frames = wide.transpose(2, 3) if portrait else wide
    for crop, shown in enumerate([(0, 20, 40), (60, 80, 100), (120, 140, 160)]):
        square = EvalTransform(24, crop, 3)(frames)
        assert square.shape == (2, 3, 24, 24)
        line = square[0, 0, :, 0] if portrait else square[0, 0, 0]
        assert line.tolist() == [step for step in shown for _ in range(8)]
        assert (square == (line[:, None] if portrait else line)).all(), "the shorter side is cropped"
    assert torch.equal(EvalTransform(24, 1, 3)(frames), EvalTransform(24)(frames))


@pytest.mark.parametrize(("height", "width"), [(40, 71), (71, 40), (33, 97), (160, 40)])
def test_outer_crops_touch_the_edges_of_the_resized_frame(height: int, width: int) -> None:
    frames = torch.randint(256, (1, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    resized = resize(frames, [32], antialias=True)
    first, centre, last = (EvalTransform(32, crop, 3)(frames) for crop in range(3))
    assert torch.equal(first, resized[..., :32, :32])
    assert torch.equal(centre, center_crop(resized, [32, 32]))
    assert torch.equal(last, resized[..., -32:, -32:])


def test_all_crops_of_a_square_frame_are_equal() -> None:
    frames = torch.randint(256, (1, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for crop in range(3):
        assert torch.equal(EvalTransform(32, crop, 3)(frames), EvalTransform(32)(frames))


def test_normalise_maps_the_mean_to_zero() -> None:
    frames = torch.full((2, 4, 3, 8, 8), 51, dtype=torch.uint8)
    result = Normalise((0.2, 0.2, 0.1), (0.5, 0.5, 0.1))(frames)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result[0, 0, :, 0, 0], torch.tensor([0.0, 0.0, 1.0]), atol=1e-6, rtol=0)
