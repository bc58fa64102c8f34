from __future__ import annotations

import pytest
import torch

from data.loading.augment import Augment, AugmentSettings
from data.loading.transforms import Normalise

NORMALISE = Normalise((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
LABEL = torch.tensor([0, 1, 2, 0])


def stills(clips: int = 4, frames: int = 3, size: int = 24) -> torch.Tensor:
    """Return clips without movement, `(B, T, 3, S, S)`; all frames are the same noise."""
    picture = torch.randint(0, 256, (3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return picture.expand(clips, frames, 3, size, size).contiguous()


def augmented(settings: AugmentSettings, frames: torch.Tensor, seed: int = 1) -> torch.Tensor:
    inputs, target = Augment(NORMALISE, 3, settings)(frames, torch.arange(len(frames)) % 3, seed)
    assert type(inputs) is torch.Tensor
    assert inputs.shape == frames.shape
    assert inputs.dtype == target.dtype == torch.float32
    return inputs


EACH = {
    "randaugment": AugmentSettings(randaugment=9),
    "colour": AugmentSettings(colour=0.4),
    "erasing": AugmentSettings(erasing=1.0),
}


def test_default_settings_only_normalise() -> None:
    frames = stills()
    inputs, target = Augment(Normalise((0.5,) * 3, (0.25,) * 3), 3, AugmentSettings())(frames, LABEL, seed=5)
    torch.testing.assert_close(inputs, (frames / 255 - 0.5) / 0.25)
    assert target.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("settings", EACH.values(), ids=EACH)
def test_frames_of_a_clip_change_equally_and_clips_differently(settings: AugmentSettings) -> None:
    inputs = augmented(settings, stills(clips=8))
    assert torch.equal(inputs, inputs[:, :1].expand_as(inputs))
    # RandAugment may leave some clips unchanged, or change two in the same way.
    assert len(inputs[:, 0].unique(dim=0)) >= 5


@pytest.mark.parametrize("settings", [*EACH.values(), AugmentSettings(mixup=0.4), AugmentSettings(cutmix=1.0)], ids=str)
def test_result_depends_on_the_seed_alone(settings: AugmentSettings) -> None:
    frames = torch.randint(0, 256, (4, 3, 3, 24, 24), dtype=torch.uint8)
    torch.manual_seed(1)
    first = augmented(settings, frames)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1)), "the state of dropout's generator has changed"
    assert torch.equal(first, augmented(settings, frames))
    assert not all(torch.equal(first, augmented(settings, frames, seed)) for seed in (2, 3, 4))


def test_erasing_paints_one_grey_box_with_its_probability() -> None:
    frames = torch.zeros(1, 3, 3, 24, 24, dtype=torch.uint8)
    shares = []
    for seed in range(60):
        painted = augmented(AugmentSettings(erasing=0.5), frames, seed)[0, 0, 0] > 0
        rows, columns = painted.any(1).sum(), painted.any(0).sum()
        assert painted.sum() == rows * columns, "not a box"
        shares.append(float(painted.float().mean()))
    assert 15 < sum(share > 0 for share in shares) < 45
    assert max(shares) <= 0.36


def test_colour_changes_grow_with_the_setting() -> None:
    frames = stills(clips=4)
    change = [float((augmented(AugmentSettings(colour=c), frames) - frames / 255).abs().mean()) for c in (0.05, 0.8)]
    assert 0 < 3 * change[0] < change[1]


def test_mixup_blends_each_clip_and_its_target_with_another() -> None:
    frames = (torch.arange(4) * 60).to(torch.uint8).view(4, 1, 1, 1, 1).expand(4, 2, 3, 8, 8)
    label = torch.arange(4)
    inputs, target = Augment(NORMALISE, 4, AugmentSettings(mixup=1.0))(frames, label, seed=3)
    assert ((target > 0).sum(1) == 2).all()
    torch.testing.assert_close(target.sum(1), torch.ones(4))
    torch.testing.assert_close(inputs[:, 0, 0, 0, 0], target @ (torch.arange(4) * 60 / 255))
    assert (inputs == inputs[:, :1, :1, :1, :1]).all()


def test_cutmix_replaces_the_same_box_in_all_frames_of_a_clip() -> None:
    frames = (torch.arange(4) * 60).to(torch.uint8).view(4, 1, 1, 1, 1).expand(4, 2, 3, 16, 16)
    found = 0
    for seed in range(10):
        inputs, target = Augment(NORMALISE, 4, AugmentSettings(cutmix=1.0))(frames, torch.arange(4), seed)
        assert (inputs == inputs[:, :1, :1]).all()
        foreign = inputs[0, 0, 0] != 0
        assert foreign.sum() == foreign.any(1).sum() * foreign.any(0).sum()
        torch.testing.assert_close(1 - target[0, 0], foreign.float().mean())
        found += bool(foreign.any())
    assert found > 5


def test_mixup_and_cutmix_alternate_at_random() -> None:
    frames = (torch.arange(4) * 60).to(torch.uint8).view(4, 1, 1, 1, 1).expand(4, 2, 3, 16, 16)
    augment = Augment(NORMALISE, 4, AugmentSettings(mixup=1.0, cutmix=1.0))
    flat = [len(augment(frames, torch.arange(4), seed)[0][1, 0, 0].unique()) == 1 for seed in range(30)]
    assert 5 < sum(flat) < 25


@pytest.mark.parametrize("settings", [*EACH.values(), AugmentSettings(mixup=0.4), AugmentSettings(cutmix=1.0)], ids=str)
def test_augmentation_reads_no_values_of_the_frames(settings: AugmentSettings) -> None:
    """The device `meta` has no values; on a GPU reading one forces a sync."""
    augment = Augment(Normalise((0.5,) * 3, (0.25,) * 3).to("meta"), 3, settings)
    for seed in range(20):
        frames = stills(clips=2).to("meta")
        inputs, target = augment(frames, LABEL[:2].to("meta"), seed)
        assert inputs.device.type == target.device.type == "meta"
        assert inputs.shape == frames.shape
