from __future__ import annotations

import numpy as np
import pytest
import torch

from limner.errors import InputError
from limner.training.augment import Augment, pair_samples, pairing_is_on
from limner.training.batches import Batches
from limner.training.sampler import PeopleBatches


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    from skimage.data import astronaut

    head = torch.from_numpy(astronaut()[30:190, 150:310]).permute(2, 0, 1).float()
    return head[None].repeat(64, 1, 1, 1)


def test_nothing_to_do_changes_nothing(faces):
    same = Augment(crop=1, rotation_deg=0, mirror=False)(faces, seeded(0))
    assert torch.equal(same, faces)


def test_mirror_alone_mirrors_about_half(faces):
    out = Augment(crop=1, rotation_deg=0)(faces, seeded(1))
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(out, faces, strict=True)]
    plain = [torch.equal(a, b) for a, b in zip(out, faces, strict=True)]
    assert all(m != p for m, p in zip(mirrored, plain, strict=True))
    assert 16 <= sum(mirrored) <= 48


def test_turns_stay_within_their_bounds_and_keep_the_middle(faces):
    """Oracle: a point of light off the middle moves along a circle by at most 10 degrees."""
    chips = torch.zeros(64, 3, 101, 101)
    chips[:, :, 50, 88:91] = 255.0
    chips[:, :, 49, 88:91] = chips[:, :, 51, 88:91] = 255.0
    out = Augment(crop=1, rotation_deg=10, mirror=False)(chips, seeded(2))[:, 0]
    y, x = torch.meshgrid(torch.arange(101.0), torch.arange(101.0), indexing="ij")
    mass = out.sum((1, 2))
    dy, dx = (out * (y - 50)).sum((1, 2)) / mass, (out * (x - 50)).sum((1, 2)) / mass
    angle = torch.rad2deg(torch.atan2(dy, dx))
    assert angle.abs().max() <= 10.3
    assert angle.min() < -5
    assert angle.max() > 5
    assert torch.allclose(torch.hypot(dx, dy), torch.tensor(39.0), atol=0.5)


def test_a_crop_never_enlarges_by_more_than_asked(faces):
    """Oracle: a horizontal ramp has the slope 1/side of its crop afterwards."""
    ramp = torch.arange(100.0)[None, None, None].expand(64, 3, 100, 100).contiguous()
    out = Augment(crop=0.8, rotation_deg=0, mirror=False)(ramp, seeded(3))
    slope = out[:, 0, 50, 60] - out[:, 0, 50, 59]
    assert slope.min() >= 0.8 - 1e-3
    assert slope.max() <= 1 + 1e-3
    assert slope.min() < 0.85
    assert slope.max() > 0.95
    assert out.min() >= 0
    assert out.max() <= 99


def test_erasing_blanks_a_rectangle_with_the_mean(faces):
    out = Augment(crop=1, rotation_deg=0, mirror=False, erase=1.0)(faces, seeded(4))
    changed = (out != faces).any(1)
    share = changed.float().mean((1, 2))
    assert (share > 0.005).all()
    assert (share < 0.36).all()
    for mask in changed[:8]:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert box.float().mean() > 0.97  # a pixel that had the mean's value is not changed
    assert torch.equal(
        Augment(crop=1, rotation_deg=0, mirror=False, erase=0.0)(faces, seeded(4)), faces
    )


def test_erasing_is_torchvisions_of_the_notes(faces):
    """Oracle: torchvision's RandomErasing() on normalised chips: how often, large, which colour."""
    from torchvision.transforms import Normalize, RandomErasing

    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    normalise = Normalize(mean, std)
    small = faces[:1, :, ::4, ::4]
    chips = small.repeat(3000, 1, 1, 1)
    way = Augment(crop=1, rotation_deg=0, mirror=False, erase=0.5, fill=mean)
    ours = normalise(way(chips, seeded(0)))
    torch.manual_seed(0)
    erasing, plain = RandomErasing(), normalise(small)[0]
    theirs = torch.stack([erasing(plain) for _ in range(len(chips))])

    def blanked(x):
        changed = (x != plain).any(1)
        assert bool((x.abs().amax(1)[changed] < 1e-6).all())  # 0 after the normalisation
        return changed.float().mean((1, 2))

    a, b = blanked(ours), blanked(theirs)
    assert float((a > 0).float().mean()) == pytest.approx(float((b > 0).float().mean()), abs=0.04)
    assert float(a[a > 0].mean()) == pytest.approx(float(b[b > 0].mean()), abs=0.012)
    for q in (0.1, 0.5, 0.9):
        assert float(a[a > 0].quantile(q)) == pytest.approx(float(b[b > 0].quantile(q)), abs=0.025)


def test_the_same_generator_gives_the_same_chips(faces):
    way = Augment(erase=0.5, light=0.2)
    assert torch.equal(way(faces, seeded(5)), way(faces, seeded(5)))
    assert not torch.equal(way(faces, seeded(5)), way(faces, seeded(6)))


@pytest.mark.parametrize(
    "option",
    [
        {"crop": 0.1},
        {"crop": 1.2},
        {"rotation_deg": -1},
        {"erase": 2},
        {"erase_area": 0.01},
        {"light": 1.0},
    ],
)
def test_values_out_of_range(option):
    with pytest.raises(InputError, match="must lie between"):
        Augment(**option)


def test_pairing_is_on_between_20_and_80_percent():
    for epochs in (5, 10, 50, 99, 100):
        on = [e for e in range(epochs) if pairing_is_on(e, epochs)]
        # the notes' own condition
        assert on == [e for e in range(epochs) if e + 1 >= epochs * 0.2 and e + 1 < epochs * 0.8]
    assert [e + 1 for e in on] == list(range(20, 80))


@pytest.mark.parametrize("count", [2, 3, 17])
def test_everybody_has_another_partner(count):
    x = torch.eye(count)
    out = pair_samples(x, seeded(7))
    assert torch.equal(out.diagonal(), torch.full((count,), 0.5))
    assert torch.equal(out.sum(1), torch.ones(count))
    assert torch.equal(out.sum(0), torch.ones(count))  # everybody is a partner once


def test_p_times_k_batches_hold_p_people_with_k_photos():
    labels = np.repeat(np.arange(20), 6)
    sampler = PeopleBatches(labels, people=5, photos=4)
    assert len(sampler) == 6
    seen = []
    for rows in sampler.plan(seeded(8)):
        numbers, counts = np.unique(labels[rows.numpy()], return_counts=True)
        assert counts.tolist() == [4] * 5
        assert len(set(rows.tolist())) == 20
        seen.append(set(numbers.tolist()))
    assert len(set.union(*seen[:4])) == 20  # everybody once before anybody twice


def test_people_batches_resume_with_their_own_generator():
    sampler = PeopleBatches(np.repeat(np.arange(12), 4), people=3, photos=2)
    whole = Batches(sampler, lambda rows, _, __: rows, seed=4)
    wanted = [rows for _ in range(3) for rows in whole]
    part = Batches(sampler, lambda rows, _, __: rows, seed=4)
    got = list(part)
    iterator = iter(part)
    got += [next(iterator) for _ in range(3)]
    state = part.state_dict()
    other = Batches(sampler, lambda rows, _, __: rows, seed=99)
    other.load_state_dict(state)
    got += [*other, *other]
    assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))


def test_people_with_few_photos():
    labels = np.array([0] * 5 + [1] * 5 + [2] * 2)
    with pytest.raises(
        InputError, match=r"4 photos of each person are wanted, but Zoe has 2.*repeat"
    ):
        PeopleBatches(labels, people=2, photos=4, names=["Ann", "Bob", "Zoe"])
    plan = PeopleBatches(labels, people=3, photos=4, repeat=True).plan(seeded(9))
    rows = plan[0].tolist()
    assert sorted(r for r in rows if r >= 10) == [10, 10, 11, 11]
    with pytest.raises(InputError, match="has 1"):
        PeopleBatches(np.array([0, 0, 1]), people=2, photos=2, repeat=True)


@pytest.mark.parametrize(("people", "photos"), [(1, 4), (2, 1)])
def test_a_batch_without_a_positive_pair_is_refused(people, photos):
    with pytest.raises(InputError, match="without a positive pair there is nothing to compare"):
        PeopleBatches(np.repeat(np.arange(4), 4), people=people, photos=photos)
    with pytest.raises(InputError, match="a batch of 9 people is wanted, but there are 4"):
        PeopleBatches(np.repeat(np.arange(4), 4), people=9, photos=2)
