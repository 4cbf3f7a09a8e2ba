"""Losses, miners and pair heads: agreement with plain loops, memory, calibration error.

``python bench/losses.py [--only exact memory heads]`` writes ``bench/results/losses.json``.
Memory is measured in a child process each: the highest resident set while mining, and what that
adds to the same process with the batch in memory and torch loaded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from common import REPOSITORY, machine, save

PHOTOS, EACH, DIM = 1800, 40, 128
MINERS = ("random", "semihard", "hard", "batch_hard", "all")

CHILD = """
import json, sys, threading, time, psutil, torch
from torch.nn import functional
from limner.training.losses import build_loss
from limner.training.miners import build_miner
name, photos, each, dim = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(1)
torch.manual_seed(0)
x = functional.normalize(torch.randn(photos, dim), dim=1)
labels = torch.arange(photos) // each
if name == "library":
    from pytorch_metric_learning import distances, miners
    inner = miners.TripletMarginMiner(0.2, "semihard",
        distance=distances.LpDistance(normalize_embeddings=False, power=2))
    def work(): return inner(x, labels)
elif name == "all":
    loss, y = build_loss("triplet"), x.clone().requires_grad_()
    def work(): loss(y, labels).backward()
else:
    miner = build_miner(name)
    def work(): return miner(x, labels)
    miner(x[:80], labels[:80])  # what torch sets up once
process = psutil.Process()
before = highest = process.memory_info().rss
stop = threading.Event()
def watch():
    global highest
    while not stop.is_set():
        highest = max(highest, process.memory_info().rss)
        time.sleep(0.0005)
thread = threading.Thread(target=watch); thread.start()
start = time.perf_counter()
found = work()
seconds = time.perf_counter() - start
stop.set(); thread.join()
import resource
print(json.dumps({"before": before, "highest": highest, "seconds": seconds,
    "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "triplets": None if found is None else len(found) if name != "library" else len(found[0])}))
"""


def memory() -> dict[str, Any]:
    """Return the memory and time of each miner on a batch of 1,800 with 40 photos a person."""
    found = {}
    for name in MINERS:
        sizes = [str(n) for n in (PHOTOS, EACH, DIM)]
        run = subprocess.run(
            [sys.executable, "-c", CHILD, name, *sizes], capture_output=True, text=True, check=True
        )
        row = json.loads(run.stdout)
        row["added"] = row["highest"] - row["before"]
        found[name] = row
        print(f"{name}: +{row['added'] / 2**20:.0f} MiB, {row['seconds']:.2f} s")
    # The library keeps the whole cube of triplets: 360 photos are what it can be asked here.
    small = ["360", str(EACH), str(DIM)]
    for name in ("library", "semihard"):
        run = subprocess.run(
            [sys.executable, "-c", CHILD, name, *small], capture_output=True, text=True, check=True
        )
        row = json.loads(run.stdout)
        row["added"] = row["highest"] - row["before"]
        found[f"{name}_360"] = row
        print(f"{name}, 360 photos: +{row['added'] / 2**20:.0f} MiB, {row['seconds']:.2f} s")
    return {"photos": PHOTOS, "each": EACH, "dim": DIM, "miners": found}


def exact() -> dict[str, float]:
    """Return the largest difference of each loss from plain loops, over 20 batches, float64."""
    import torch
    from torch.nn import functional

    sys.path.insert(0, str(REPOSITORY / "tests" / "training"))
    import loss_oracles as oracle

    from limner.training.losses import LOSSES, build_loss

    worst = dict.fromkeys(LOSSES, 0.0)
    people, dim = 5, 6
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(20, dim, generator=generator, dtype=torch.float64)
        labels = torch.arange(people).repeat(4)
        for name in LOSSES:
            torch.manual_seed(seed)
            loss = build_loss(name, classes=people, dim=dim).double().eval()
            if name == "asoftmax":
                loss.start = 5.0
            given = functional.normalize(x, dim=1) if loss.unit_length else x
            given = x[:, :people] if loss.reads == "logits" else given
            got = float(loss(given, labels).detach())
            wanted = in_loops(oracle, name, loss, given.tolist(), labels.tolist())
            worst[name] = max(worst[name], abs(got - wanted))
    for name, value in worst.items():
        print(f"{name}: {value:.1e}")
    return worst


def in_loops(oracle: Any, name: str, loss: Any, rows: Any, who: list[int]) -> float:
    """Return the same loss, computed by the plain loops of the tests."""
    if name in ("nll", "focal", "contrastive", "pairwise"):
        return float(getattr(oracle, name)(rows, who))
    if name == "triplet":
        return float(oracle.triplet(rows, oracle.all_triplets(who)))
    if name == "asoftmax":
        return float(oracle.asoftmax(rows, who, loss.centres.tolist()))
    if name in ("cosface", "arcface"):
        centres = loss.inner.W.t().tolist()
        return float(getattr(oracle, name)(rows, who, centres, loss.scale))
    if name == "siamese":
        head = loss.head
        parts = (head.weights.tolist(), float(head.bias.detach()), head.kind, loss.decay)
        return float(oracle.siamese(rows, who, *parts))
    linear = (loss.linear.weight.tolist(), loss.linear.bias.tolist())
    if name == "softmax":
        return float(oracle.softmax(rows, who, *linear))
    return float(oracle.center(rows, who, *linear, loss.centres.tolist()))


def heads() -> dict[str, Any]:
    """Return the figures of the pair heads that ship, on View 1's held-out pairs.

    They were fitted on pairsDevTrain and measured on pairsDevTest, other people, by
    `bench/fit_shipped.py`; the figures travel with the heads.
    """
    from limner.similarity import shipped

    found: dict[str, Any] = {}
    for name in ("facenet", "dlib", "duo"):
        calibration = shipped(name)
        assert calibration is not None
        found[name] = calibration.figures["heads"]
        for kind, row in found[name].items():
            print(name, kind, f"calibration error {row['ece']:.4f}")
    return found


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=("exact", "memory", "heads"))
    chosen = parser.parse_args().only or ["exact", "memory", "heads"]
    results: dict[str, Any] = {"machine": machine()}
    for part, work in (("exact", exact), ("memory", memory), ("heads", heads)):
        if part in chosen:
            results[part] = work()
    save("losses", results, merge=True)


if __name__ == "__main__":
    main()
