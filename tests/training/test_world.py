"""How many processes there are, which of them this is, and what each of them does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from limner.errors import InputError
from limner.training.world import World, rank, world

HERE = Path(__file__).parent
LAUNCH = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


@pytest.fixture
def launched(monkeypatch):
    """Set what torchrun sets."""

    def set_to(**values):
        for name in LAUNCH:
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    set_to()
    return set_to


def test_the_world_is_what_torchrun_says(launched):
    assert world() == World(1, 1)
    assert world(2).size == 2
    launched(RANK=9, LOCAL_RANK=1, WORLD_SIZE=16, LOCAL_WORLD_SIZE=8)
    assert world() == world(8) == World(local=8, nodes=2)
    assert world().size == 16
    with pytest.raises(InputError, match=r"torchrun started 8 processes.*4 are asked for"):
        world(4)
    launched()
    with pytest.raises(InputError, match="processes must be 1 or larger, got 0"):
        world(0)
    # Lightning's own children: no RANK
    launched(LOCAL_RANK=1, WORLD_SIZE=2)
    assert world(2) == World(2, 1)


def test_rank_counts_over_all_machines(launched):
    assert rank() == 0
    launched(RANK=8, LOCAL_RANK=0, WORLD_SIZE=16, LOCAL_WORLD_SIZE=8)
    assert rank() == 8  # the first process of the second machine writes no model
    launched(LOCAL_RANK=1)
    assert rank() == 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("nodes", [1, 2])
def test_processes_that_are_not_asked_for_share_one_training(tmp_path, nodes):
    """Two processes on one machine or on two: half the steps each, and the same weights."""
    code = (
        "import sys, json, torch\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from toy_training import run\n"
        "from limner.training.world import rank, world\n"
        "module, report = run(Path(sys.argv[2]), val=None)\n"
        "torch.save(module.state_dict(), f'{sys.argv[2]}/rank{rank()}.pt')\n"
        "print(json.dumps([rank(), world().size, report.steps]))\n"
    )
    port = free_port()
    runs = []
    for number in range(2):
        environment = {
            **os.environ,
            "RANK": str(number),
            "LOCAL_RANK": "0" if nodes == 2 else str(number),
            "GROUP_RANK": str(number) if nodes == 2 else "0",
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "1" if nodes == 2 else "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TORCHELASTIC_RUN_ID": "none",
        }
        command = [sys.executable, "-c", code, str(HERE), str(tmp_path)]
        runs.append(
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    said = [process.communicate(timeout=150) for process in runs]
    assert [p.returncode for p in runs] == [0, 0], said
    lines = sorted(out.strip().splitlines()[-1] for out, _ in said)
    # 40 items in batches of 8 are 5 batches: 2 steps an epoch of two processes, 4 epochs
    assert lines == ["[0, 2, 8]", "[1, 2, 8]"]
    first, second = (torch.load(tmp_path / f"rank{r}.pt", weights_only=True) for r in (0, 1))
    learned = [k for k in first if "running" not in k and "num_batches" not in k]
    assert all(torch.equal(first[k], second[k]) for k in learned)
