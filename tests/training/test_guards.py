from __future__ import annotations

import numpy as np
import pytest
import torch

from limner.errors import InputError, UnknownNameError
from limner.similarity import error_curve
from limner.training.backbones import build
from limner.training.batches import Batches
from limner.training.guards import CollapseGuard
from limner.training.loop import fit_module
from limner.training.losses import build_loss
from limner.training.miners import build_miner
from limner.training.module import FaceModule, Optimisation, equal_error_rate
from limner.training.sampler import PeopleBatches

F = 12


def module(miner="hard", *, lr=1e-3, **options):
    torch.manual_seed(1)
    net = build("nn4_small2_half", head="embedding", width_or_classes=8, image_size=32)
    net.head.linear = torch.nn.Linear(F, 8)
    loss = build_loss("triplet", margin=0.2)
    way = Optimisation(lr=lr, **options)
    return FaceModule(
        net, loss, miner=build_miner(miner) if miner else None, optimisation=way, reads="features"
    )


def features(spread=1.0):
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(10, F, generator=generator) * spread
    x = centres.repeat_interleave(6, 0) + 0.3 * torch.randn(60, F, generator=generator) * spread
    return x + (1 - spread) * 5, torch.arange(10).repeat_interleave(6)


def batches(x, y):
    sampler = PeopleBatches(y.numpy(), people=5, photos=4, batches=10)
    return Batches(sampler, lambda rows, _, __: (x[rows], y[rows]), seed=0)


def train(made, x, y, tmp_path, *, epochs=3, resume=False, guard=None, **options):
    guard = guard or CollapseGuard(window=5)
    report = fit_module(
        made,
        batches(x, y),
        Batches.of_tensors((x, y), batch=60, shuffle=False),
        out=tmp_path,
        epochs=epochs,
        resume=resume,
        monitor="val_eer",
        callbacks=[guard],
        tensorboard=False,
        **options,
    )
    return report, guard


@pytest.mark.filterwarnings("ignore:epoch:RuntimeWarning")
def test_collapse_lowers_the_rate_changes_the_miner_and_says_so(tmp_path):
    made = module("hard", lr=1e-5)
    x, y = features(spread=1e-4)  # everybody in one point
    report, _ = train(made, x, y, tmp_path, epochs=1, guard=CollapseGuard(window=4))
    assert "the embeddings collapse" in report.notes[0]
    assert "semi-hard triplets take the place of hard ones" in report.notes[0]
    assert made.miner.__class__.__name__ in ("SemiHardMiner", "HardMiner")
    rates = [group["lr"] for group in made.trainer.optimizers[0].param_groups]
    assert max(rates) == pytest.approx(1e-5 * 0.3 ** len([n for n in report.notes if "rate" in n]))


@pytest.mark.filterwarnings("ignore:epoch:RuntimeWarning")
def test_a_collapse_that_stays_ends_the_training(tmp_path):
    x, y = features(spread=1e-4)
    with pytest.raises(InputError, match=r"have collapsed.*smaller lr.*cosface"):
        train(module(None, lr=1e-6), x, y, tmp_path, guard=CollapseGuard(window=2, at_most=2))


def test_a_healthy_training_is_left_alone(tmp_path):
    x, y = features()
    made = module("semihard", lr=3e-3)
    report, guard = train(made, x, y, tmp_path, guard=CollapseGuard(window=1000))
    assert report.notes == ()
    assert guard.miner is None
    assert report.best_value < 0.2


@pytest.mark.filterwarnings("ignore:epoch:RuntimeWarning")
def test_semihard_that_runs_out_gives_way_to_hard(tmp_path):
    x, y = features()
    with torch.no_grad():
        x = x.clone()
        for person in range(10):  # perfect clusters: nothing is semi-hard
            x[y == person] = torch.eye(F)[person] * 10
    made = module("semihard", lr=1e-6)
    made.net.head.linear.weight.data[:] = torch.eye(8, F)
    made.net.head.linear.bias.data.zero_()
    x, y = x[y < 8], y[y < 8]
    report, guard = train(made, x, y, tmp_path, epochs=1, guard=CollapseGuard(window=5))
    assert guard.miner == "hard"
    assert any("semi-hard triplets have run out" in note for note in report.notes)


@pytest.mark.filterwarnings("ignore:epoch:RuntimeWarning")
def test_a_resumed_guard_keeps_its_miner_and_ends_with_the_same_weights(tmp_path):
    x, y = features(spread=1e-4)
    options = {"restore_best": False, "checkpoint_steps": 1}
    whole = module("hard", lr=1e-4)
    train(
        whole,
        x,
        y,
        tmp_path / "whole",
        epochs=2,
        guard=CollapseGuard(window=4, at_most=10),
        **options,
    )
    first = module("hard", lr=1e-4)
    train(
        first,
        x,
        y,
        tmp_path / "part",
        epochs=1,
        guard=CollapseGuard(window=4, at_most=10),
        **options,
    )
    second = module("hard", lr=1e-4)
    _, guard = train(
        second,
        x,
        y,
        tmp_path / "part",
        epochs=2,
        resume=True,
        guard=CollapseGuard(window=4, at_most=10),
        **options,
    )
    assert type(second.miner) is type(whole.miner)
    assert guard.notes
    state, wanted = second.state_dict(), whole.state_dict()
    assert all(torch.equal(state[k], wanted[k]) for k in wanted)


def test_equal_error_rate_against_plain_loops():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(30, 5))
    labels = generator.integers(0, 6, 30)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = [(i, j) for i in range(30) for j in range(i + 1, 30)]
    distances = [((unit[i] - unit[j]) ** 2).sum() for i, j in pairs]
    same = [labels[i] == labels[j] for i, j in pairs]
    expected = error_curve(np.array(distances), np.array(same)).equal_error_rate()
    got = equal_error_rate(torch.from_numpy(rows), torch.from_numpy(labels))
    assert got == pytest.approx(expected, abs=2e-3)
    with pytest.raises(InputError, match="pairs of one person and pairs of two"):
        equal_error_rate(torch.randn(3, 4), torch.arange(3))


def test_schedules():
    cosine = Optimisation(schedule="cosine")
    assert [cosine.factor(s, 10) for s in (0, 5, 10)] == pytest.approx([1.0, 0.5, 0.0])
    cycle = Optimisation(schedule="one_cycle")
    factors = [cycle.factor(s, 100) for s in range(101)]
    assert max(factors) == pytest.approx(1.0)
    assert factors.index(max(factors)) == 15
    assert factors[0] < 0.1
    assert factors[-1] == pytest.approx(0)
    assert Optimisation().factor(7, 10) == 1.0


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ({"lr": 0.0}, InputError),
        ({"lr": float("inf")}, InputError),
        ({"trunk_lr": -1.0}, InputError),
        ({"weight_decay": -1.0}, InputError),
        ({"optimizer": "lion"}, UnknownNameError),
        ({"schedule": "steps"}, UnknownNameError),
    ],
)
def test_bad_optimisation(option, error):
    with pytest.raises(error):
        Optimisation(**option)


def test_what_trains_and_how_fast():
    net = build("nn4_small2_half", head="embedding", width_or_classes=8, image_size=32)
    made = FaceModule(
        net,
        build_loss("cosface", classes=5, dim=8),
        optimisation=Optimisation(lr=1e-2, trunk_lr=1e-4),
    )
    groups = made.configure_optimizers()["optimizer"].param_groups
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert all(rate[id(p)] == 1e-4 for p in net.trunk.parameters())
    assert all(rate[id(p)] == 1e-2 for p in (*net.head.parameters(), *made.loss.parameters()))
    assert all((decay[id(p)] == 0) == (p.ndim == 1) for p in made.parameters())
    net.free("head")
    frozen = made.configure_optimizers()["optimizer"].param_groups
    assert not {id(p) for g in frozen for p in g["params"]} & {
        id(p) for p in net.trunk.parameters()
    }


def test_a_miner_for_a_loss_without_triplets_is_refused():
    net = build("nn4_small2_half", head="embedding", width_or_classes=8, image_size=32)
    with pytest.raises(InputError, match="takes no triplets"):
        FaceModule(net, build_loss("cosface", classes=5, dim=8), miner=build_miner("hard"))
