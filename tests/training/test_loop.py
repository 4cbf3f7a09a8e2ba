from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from toy_training import Toy, noisy_batches, run, toy_data, val_batches

from limner.errors import InputError, UnknownNameError
from limner.training.batches import Batches, ShuffledBatches, mix_seed
from limner.training.checkpoints import LAST, load_weights

HERE = Path(__file__).parent


class Killed(Exception):
    pass


class KillAfter(Callback):
    def __init__(self, step: int, *, at: str) -> None:
        self.step, self.at = step, at

    def on_train_batch_end(self, trainer, *_):
        if self.at == "batch" and trainer.global_step == self.step:
            self.due = True

    def on_train_batch_start(self, trainer, *_):
        if getattr(self, "due", False):
            raise Killed

    def on_validation_end(self, trainer, *_):
        if self.at == "validation" and trainer.global_step == self.step:
            raise Killed


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    torch.set_num_threads(1)
    return run(tmp_path_factory.mktemp("unbroken"))


@pytest.mark.parametrize(
    ("step", "at"),
    [(k, "batch") for k in (1, 4, 5, 7, 10, 14, 15, 19)] + [(5, "validation"), (15, "validation")],
)
def test_a_run_that_ends_anywhere_resumes_to_the_same_weights(tmp_path, unbroken, step, at):
    with pytest.raises(Killed):
        run(tmp_path, callbacks=[KillAfter(step, at=at)])
    module, report = run(tmp_path, resume=True)
    assert report.steps == unbroken[1].steps == 20
    assert report.epochs == 4
    assert same(module.state_dict(), unbroken[0].state_dict())
    assert report.best_value == unbroken[1].best_value
    assert report.best_epoch == unbroken[1].best_epoch
    assert [r["val_loss"] for r in report.history] == [r["val_loss"] for r in unbroken[1].history]


def test_weights_depend_on_the_place(tmp_path, unbroken):
    """The comparison above can fail: another order of batches gives other weights."""
    module = Toy()
    with pytest.raises(Killed):
        run(tmp_path, callbacks=[KillAfter(7, at="batch")])
    checkpoint = torch.load(tmp_path / LAST, weights_only=True)
    place = checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]
    assert (place["epoch"], place["place"]) == (1, 2)
    place["place"] = 1
    torch.save(checkpoint, tmp_path / LAST)
    run(tmp_path, resume=True, module=module)
    assert not same(module.state_dict(), unbroken[0].state_dict())


def test_a_killed_process_resumes_to_the_same_weights(tmp_path, unbroken):
    command = [sys.executable, str(HERE / "toy_training.py"), str(tmp_path), "slow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for count, _ in enumerate(process.stdout, 1):
            if count == 8:
                process.kill()  # SIGKILL: nothing is tidied up
                break
    module, report = run(tmp_path, resume=True)
    assert report.steps == 20
    assert same(module.state_dict(), unbroken[0].state_dict())


def test_two_processes_take_the_mean_of_two_batches(tmp_path):
    """Oracle: one process that adds the gradients of two batches makes the same steps."""
    script = str(HERE / "toy_training.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", script, str(tmp_path / "two"), "two"]
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        timeout=120,
    )
    ranks = [torch.load(tmp_path / "two" / f"rank{r}.pt", weights_only=True) for r in (0, 1)]
    learned = [k for k in ranks[0] if "running" not in k and "num_batches" not in k]
    assert all(torch.equal(ranks[0][k], ranks[1][k]) for k in learned)

    torch.manual_seed(0)
    module = Toy(dropout=0.0)
    optimizer = module.configure_optimizers()
    sgd, schedule = optimizer["optimizer"], optimizer["lr_scheduler"]["scheduler"]
    batches = noisy_batches()
    for _ in range(2):
        epoch = list(batches)
        for i in (0, 2):  # the fifth batch has no partner
            sgd.zero_grad()
            for x, y in epoch[i : i + 2]:
                (torch.nn.functional.cross_entropy(module.net(x), y) / 2).backward()
            sgd.step()
        schedule.step()
    for name in learned:
        assert torch.allclose(ranks[0][name], module.state_dict()[name], atol=1e-6), name


def test_the_best_weights_are_kept_and_restored(tmp_path):
    from limner.training.loop import fit_module

    module = Toy(lr=0.5)
    report = fit_module(
        module, noisy_batches(), val_batches(), out=tmp_path, epochs=6, tensorboard=False
    )
    losses = [row["val_loss"] for row in report.history]
    assert report.best_epoch == losses.index(min(losses))
    module.eval()
    x, y = toy_data()
    with torch.no_grad():
        again = float(torch.nn.functional.cross_entropy(module.net(x), y))
    assert again == pytest.approx(report.best_value, rel=1e-5)
    assert same(load_weights(report.best_path), module.state_dict())


def test_early_stop(tmp_path):
    _, report = run(tmp_path, epochs=50, patience=2, module=Toy(lr=1e-9))
    assert report.stopped == "early"
    assert report.epochs < 50


def test_the_clock_stops_after_an_epoch(tmp_path):
    _, report = run(tmp_path, epochs=500, seconds=0.0)
    assert (report.stopped, report.epochs) == ("time", 1)


def test_tensorboard_and_csv(tmp_path):
    from limner.training.loop import fit_module

    report = fit_module(Toy(), noisy_batches(), val_batches(), out=tmp_path, epochs=2)
    assert list(tmp_path.rglob("events.out.tfevents*"))
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert len(lines) == 3
    assert {"epoch", "train_loss", "val_loss", "lr"} <= set(lines[0].split(","))
    assert float(lines[1].split(",")[lines[0].split(",").index("val_loss")]) == pytest.approx(
        report.history[0]["val_loss"], rel=1e-6
    )


@pytest.mark.parametrize("rate", [1e12, float("nan")])
def test_a_rate_that_diverges_is_one_sentence_and_the_checkpoint_stays(tmp_path, rate):
    run(tmp_path, epochs=1)
    before = (tmp_path / LAST).read_bytes()
    module = Toy()

    class Spoil(Callback):
        def on_train_batch_start(self, trainer, *_):
            trainer.optimizers[0].param_groups[0]["lr"] = rate

    with pytest.raises(InputError, match=r"learning rate .* is too high.*last good checkpoint"):
        run(
            tmp_path,
            epochs=9,
            resume=True,
            module=module,
            callbacks=[Spoil()],
            checkpoint_steps=None,
        )
    assert (tmp_path / LAST).read_bytes() == before


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    run(tmp_path, epochs=1)
    before = (tmp_path / LAST).read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("limner.training.checkpoints.os.fsync", full)
    with pytest.warns(RuntimeWarning, match="No space left on device.*last good one stays"):
        _, report = run(tmp_path, epochs=2, resume=True, checkpoint_steps=None)
    assert (tmp_path / LAST).read_bytes() == before
    assert any("No space left" in note for note in report.notes)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epochs": 0}, InputError, "epochs must be 1"),
        ({"precision": "64"}, UnknownNameError, "'32', 'bf16' or '16'"),
        ({"mode": "best"}, UnknownNameError, "'min' or 'max'"),
        ({"patience": 0}, InputError, "patience must be 1"),
        ({"processes": 0}, InputError, "processes must be 1"),
        ({"resume": True}, InputError, "no checkpoint"),
    ],
)
def test_bad_options(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        run(tmp_path, **options)


def test_a_checkpoint_that_is_a_pickle_is_refused(tmp_path):
    torch.save({"loops": Toy()}, tmp_path / LAST)
    with pytest.raises(InputError, match="is not a checkpoint of limner"):
        run(tmp_path, resume=True)


def test_batches_cover_everything_once_and_repeat():
    x, y = toy_data(41)
    batches = Batches.of_tensors((x, y), batch=8, seed=1)
    first, second = list(batches), list(batches)
    assert len(first) == len(batches) == 6
    for epoch in (first, second):
        rows = torch.cat([b[0] for b in epoch])
        assert torch.equal(rows.sort(0).values, x.sort(0).values)
    assert not torch.equal(first[0][0], second[0][0])
    again = list(Batches.of_tensors((x, y), batch=8, seed=1))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))


def test_batches_are_shared_without_overlap():
    plan = ShuffledBatches(40, batch=4)
    parts = [Batches(plan, lambda rows, _, __: rows, seed=3, rank=r, world=3) for r in range(3)]
    seen = [torch.cat(list(p)).tolist() for p in parts]
    assert [len(s) for s in seen] == [12, 12, 12]
    assert len({i for part in seen for i in part}) == 36
    with pytest.raises(InputError, match="too few for 11 processes"):
        Batches(plan, lambda rows, _, __: rows, world=11)


def test_seeds_differ():
    seeds = {mix_seed(a, b, c) for a in range(8) for b in range(8) for c in range(8)}
    assert len(seeds) == 512
    assert mix_seed(1, 2) != mix_seed(2, 1)
    assert all(0 <= s < 2**63 for s in seeds)


def test_bf16_trains(tmp_path):
    module, report = run(tmp_path, epochs=2, precision="bf16", checkpoint_steps=None)
    assert report.history[1]["train_loss"] < report.history[0]["train_loss"] + 0.5
    assert all(p.dtype == torch.float32 for p in module.parameters())
    assert all(bool(torch.isfinite(p).all()) for p in module.parameters())
