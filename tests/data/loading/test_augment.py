from __future__ import annotations

import pytest
import torch

from data.loading.augment import Augment, Variety
from data.loading.transforms import Normalise

NORMALISE = Normalise((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
LABEL = torch.tensor([0, 1, 2, 0])


def stills(clips: int = 4, frames: int = 3, size: int = 24) -> torch.Tensor:
    """Clips of one picture each, `(B, T, 3, S, S)`; all pictures are the same noise."""
    picture = torch.randint(0, 256, (3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return picture.expand(clips, frames, 3, size, size).contiguous()


def varied(variety: Variety, frames: torch.Tensor, seed: int = 1) -> torch.Tensor:
    inputs, target = Augment(NORMALISE, 3, variety)(frames, torch.arange(len(frames)) % 3, seed)
    assert type(inputs) is torch.Tensor
    assert inputs.shape == frames.shape
    assert inputs.dtype == target.dtype == torch.float32
    return inputs


EACH = {
    "randaugment": Variety(randaugment=9),
    "colour": Variety(colour=0.4),
    "erasing": Variety(erasing=1.0),
}


def test_without_variety_it_only_normalises() -> None:
    frames = stills()
    inputs, target = Augment(Normalise((0.5,) * 3, (0.25,) * 3), 3, Variety())(frames, LABEL, seed=5)
    torch.testing.assert_close(inputs, (frames / 255 - 0.5) / 0.25)
    assert target.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("variety", EACH.values(), ids=EACH)
def test_all_frames_of_a_clip_change_alike_and_each_clip_in_its_own_way(variety: Variety) -> None:
    inputs = varied(variety, stills(clips=8))
    assert torch.equal(inputs, inputs[:, :1].expand_as(inputs))
    # RandAugment may leave some as they are, or do the same to two of them.
    assert len(inputs[:, 0].unique(dim=0)) >= 5


@pytest.mark.parametrize("variety", [*EACH.values(), Variety(mixup=0.4), Variety(cutmix=1.0)], ids=str)
def test_the_seed_decides_and_nothing_else(variety: Variety) -> None:
    frames = torch.randint(0, 256, (4, 3, 3, 24, 24), dtype=torch.uint8)
    torch.manual_seed(1)
    first = varied(variety, frames)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1)), "dropout's generator was touched"
    assert torch.equal(first, varied(variety, frames))
    assert not all(torch.equal(first, varied(variety, frames, seed)) for seed in (2, 3, 4))


def test_erasing_paints_one_grey_box_on_its_share_of_the_clips() -> None:
    frames = torch.zeros(1, 3, 3, 24, 24, dtype=torch.uint8)
    shares = []
    for seed in range(60):
        painted = varied(Variety(erasing=0.5), frames, seed)[0, 0, 0] > 0
        rows, columns = painted.any(1).sum(), painted.any(0).sum()
        assert painted.sum() == rows * columns, "it is a box"
        shares.append(float(painted.float().mean()))
    assert 15 < sum(share > 0 for share in shares) < 45
    assert max(shares) <= 0.36


def test_colour_grows_with_its_share() -> None:
    frames = stills(clips=4)
    change = [float((varied(Variety(colour=c), frames) - frames / 255).abs().mean()) for c in (0.05, 0.8)]
    assert 0 < 3 * change[0] < change[1]


def test_mixup_fades_each_clip_and_its_label_into_another() -> None:
    frames = (torch.arange(4) * 60).to(torch.uint8).view(4, 1, 1, 1, 1).expand(4, 2, 3, 8, 8)
    label = torch.arange(4)
    inputs, target = Augment(NORMALISE, 4, Variety(mixup=1.0))(frames, label, seed=3)
    assert ((target > 0).sum(1) == 2).all()
    torch.testing.assert_close(target.sum(1), torch.ones(4))
    torch.testing.assert_close(inputs[:, 0, 0, 0, 0], target @ (torch.arange(4) * 60 / 255))
    assert (inputs == inputs[:, :1, :1, :1, :1]).all()


def test_cutmix_shows_a_box_of_another_clip_at_one_place_of_all_frames() -> None:
    frames = (torch.arange(4) * 60).to(torch.uint8).view(4, 1, 1, 1, 1).expand(4, 2, 3, 16, 16)
    found = 0
    for seed in range(10):
        inputs, target = Augment(NORMALISE, 4, Variety(cutmix=1.0))(frames, torch.arange(4), seed)
        assert (inputs == inputs[:, :1, :1]).all()
        foreign = inputs[0, 0, 0] != 0
        assert foreign.sum() == foreign.any(1).sum() * foreign.any(0).sum()
        torch.testing.assert_close(1 - target[0, 0], foreign.float().mean())
        found += bool(foreign.any())
    assert found > 5


def test_mixup_and_cutmix_take_turns() -> None:
    frames = (torch.arange(4) * 60).to(torch.uint8).view(4, 1, 1, 1, 1).expand(4, 2, 3, 16, 16)
    augment = Augment(NORMALISE, 4, Variety(mixup=1.0, cutmix=1.0))
    flat = [len(augment(frames, torch.arange(4), seed)[0][1, 0, 0].unique()) == 1 for seed in range(30)]
    assert 5 < sum(flat) < 25


@pytest.mark.parametrize("variety", [*EACH.values(), Variety(mixup=0.4), Variety(cutmix=1.0)], ids=str)
def test_what_is_drawn_asks_no_value_of_the_frames(variety: Variety) -> None:
    """On the device `meta` there are none; on a GPU each would have to be waited for."""
    augment = Augment(Normalise((0.5,) * 3, (0.25,) * 3).to("meta"), 3, variety)
    for seed in range(20):
        inputs, target = augment(stills().to("meta"), LABEL.to("meta"), seed)
        assert inputs.device.type == target.device.type == "meta"
        assert inputs.shape == stills().shape
