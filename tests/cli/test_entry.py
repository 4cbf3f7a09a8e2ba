"""Ctrl-C while the command is still starting ends it without a word."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

INTERRUPTED_WHILE_IMPORTING = """
import os, signal, sys

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):
                pass

sys.meta_path.insert(0, Slow())
sys.argv = ["limner", "--version"]
{begin}
run()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
def test_ctrl_c_during_the_imports_is_quiet():
    begin = "from limner.cli.entry import run"
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE_IMPORTING.format(begin=begin)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGINT  # a shell says 130
    assert done.stderr == done.stdout == ""


def test_the_command_runs_and_hears_ctrl_c_afterwards():
    script = (
        "import signal, sys; sys.argv = ['limner', '--version']\n"
        "from limner.cli import entry, main\n"
        "main.run = lambda: print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
        "entry.run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
