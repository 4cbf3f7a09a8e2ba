"""Each miner against plain loops, in blocks of any size, and its generator."""

from __future__ import annotations

import loss_oracles as oracle
import pytest
import torch
from torch.nn import functional

from limner.errors import InputError, UnknownNameError
from limner.training.losses import build_loss
from limner.training.miners import MINERS, build_miner


def people(counts=(4, 4, 3, 1, 5), dim=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    x = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    return functional.normalize(x, dim=1), labels


def triplets_of(mined):
    rows = torch.stack([mined.anchor, mined.positive, mined.negative], dim=1)
    return [tuple(row) for row in rows.tolist()]


BLOCKS = [1, 3, 7, 128]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("seed", range(3))
def test_hard(block, seed):
    x, labels = people(seed=seed)
    found = triplets_of(build_miner("hard", block=block)(x, labels))
    assert len(found) == len(set(found))
    assert set(found) == oracle.hard(x.tolist(), labels.tolist())


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("seed", range(3))
def test_batch_hard(block, seed):
    x, labels = people(seed=seed)
    found = triplets_of(build_miner("batch_hard", block=block)(x, labels))
    assert len(found) == len(set(found))
    assert set(found) == oracle.batch_hard(x.tolist(), labels.tolist())


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("margin", [0.05, 0.2, 5.0])
def test_semi_hard_takes_one_negative_for_each_pair_that_has_one(block, margin):
    x, labels = people()
    allowed = oracle.semi_hard(x.tolist(), labels.tolist(), margin)
    for choice in ("random", "nearest"):
        miner = build_miner("semihard", margin=margin, choice=choice, block=block)
        found = triplets_of(miner(x, labels))
        assert {(a, p) for a, p, _ in found} == {pair for pair, ns in allowed.items() if ns}
        assert len({(a, p) for a, p, _ in found}) == len(found)
        assert all(n in allowed[a, p] for a, p, n in found)
    for a, p, n in found:  # the nearest ones
        distances = {m: oracle.squared(x[a].tolist(), x[m].tolist()) for m in allowed[a, p]}
        assert n == min(distances, key=distances.__getitem__)


def test_semi_hard_draws_every_candidate_sooner_or_later():
    x, labels = people((3, 9))
    allowed = oracle.semi_hard(x.tolist(), labels.tolist(), 5.0)
    miner = build_miner("semihard", margin=5.0)
    seen = {pair: set() for pair in allowed}
    for _ in range(200):
        for a, p, n in triplets_of(miner(x, labels)):
            seen[a, p].add(n)
    assert seen == allowed


@pytest.mark.parametrize("block", BLOCKS)
def test_random_takes_one_negative_for_each_pair(block):
    x, labels = people()
    miner = build_miner("random", block=block)
    seen = set()
    for _ in range(60):
        found = triplets_of(miner(x, labels))
        assert [(a, p) for a, p, _ in found] == oracle.positive_pairs(labels.tolist())
        assert all(labels[a] != labels[n] for a, _, n in found)
        seen |= {(a, n) for a, _, n in found}
    wanted = {(a, n) for a, _, n in oracle.all_triplets(labels.tolist())}
    assert seen == wanted


def test_random_is_even():
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    miner, counts = build_miner("random"), torch.zeros(6)
    for _ in range(500):
        mined = miner(torch.eye(6), labels)
        counts += torch.bincount(mined.negative[mined.anchor < 2], minlength=6)
    assert counts[:2].sum() == 0
    assert (counts[2:] / counts.sum() - 0.25).abs().max() < 0.04


def test_all_leaves_the_choice_to_the_loss():
    x, labels = people()
    assert build_miner("all")(x, labels) is None
    wanted = oracle.triplet(x.tolist(), oracle.all_triplets(labels.tolist()))
    assert abs(float(build_loss("triplet")(x, labels, None)) - wanted) < 1e-9


@pytest.mark.parametrize("name", ["random", "semihard"])
def test_seed_block_and_saved_state(name):
    x, labels = people()

    def runs(miner, count=3):
        return [triplets_of(miner(x, labels)) for _ in range(count)]

    same = [runs(build_miner(name, seed=5, block=block)) for block in BLOCKS]
    assert all(run == same[0] for run in same)
    assert runs(build_miner(name, seed=6)) != same[0]
    first = build_miner(name, seed=5)
    runs(first, 2)
    resumed = build_miner(name, seed=99)
    resumed.load_state_dict(first.state_dict())
    assert runs(resumed, 1) == same[0][2:]


def test_the_global_generator_is_left_alone():
    x, labels = people()
    torch.manual_seed(0)
    wanted = torch.rand(1)
    torch.manual_seed(0)
    for name in MINERS:
        build_miner(name)(x, labels)
    assert torch.equal(torch.rand(1), wanted)


def test_no_gradient_and_half_precision():
    x, labels = people()
    x = x.bfloat16().requires_grad_()
    for name in MINERS:
        mined = build_miner(name)(x, labels)
        assert mined is None or not mined.anchor.requires_grad


def test_one_photo_people_are_never_anchors():
    x, labels = people((2, 1, 1))
    for name in ("random", "semihard", "hard", "batch_hard"):
        mined = build_miner(name)(x, labels)
        assert set(labels[mined.anchor].tolist()) <= {0}


@pytest.mark.parametrize("name", list(MINERS))
def test_batches_that_hold_nothing_to_mine(name):
    with pytest.raises(InputError, match="no two photos of one person"):
        build_miner(name)(torch.randn(4, 3), torch.arange(4))
    with pytest.raises(InputError, match="one person only"):
        build_miner(name)(torch.randn(4, 3), torch.zeros(4, dtype=torch.int64))


def test_unknown_words():
    with pytest.raises(UnknownNameError, match=r"got 'hrad'. Did you mean 'hard'\?"):
        build_miner("hrad")
    with pytest.raises(UnknownNameError, match="no option 'margin'"):
        build_miner("hard", margin=0.2)
    with pytest.raises(UnknownNameError, match="choice must be"):
        build_miner("semihard", choice="best")
    with pytest.raises(InputError, match="margin must be a positive number"):
        build_miner("semihard", margin=0)
    with pytest.raises(InputError, match="block must be 1 or more"):
        build_miner("hard", block=0)
