"""How commands print and end, on a small command line of their own."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from limner.cli import main, output
from limner.cli.options import FindOptions, JsonOption, ModelOptions, PickOptions, grouped
from limner.errors import ImageError

LIMNER = [sys.executable, "-c", "from limner.cli.main import run; run()"]


@grouped
def probe(
    what: str,
    *,
    model: ModelOptions,
    find: FindOptions,
    pick: PickOptions,
    json: JsonOption = False,
) -> None:
    """Do what the test asks for."""
    if what == "limner":
        raise ImageError("a.jpg is not\na picture.")
    if what == "bug":
        raise KeyError("x")
    if what == "disk":
        raise OSError(28, "No space left on device")
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "pipe":
        raise BrokenPipeError
    if what == "no":
        raise typer.Exit(output.NO)
    output.say(f"{model.embedder} {model.embedder_colour} {find.min_size} {pick.largest}")
    output.print_table(["name", "n"], [["Ada", 3], ["Grace", None]], right=["n"])
    if json:
        output.emit_json({"name": "Zoë", "at": np.float32(0.5), "box": np.arange(2)})


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setitem(main.COMMANDS, "probe", f"{__name__}:probe")
    monkeypatch.delenv(output.DEBUG_VARIABLE, raising=False)
    sys.modules.setdefault(__name__, sys.modules[probe.__module__])
    return lambda *arguments: CliRunner().invoke(main.app, ["probe", *arguments])


def test_groups_become_options(run):
    result = run(
        "x", "--embedder", "dlib", "--embedder-colour", "bgr", "--min-size", "7", "--largest"
    )
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "dlib bgr 7 True"


def test_tables_line_up_and_show_missing_cells(run):
    lines = run("x").stdout.splitlines()[1:]
    assert [line.split() for line in lines] == [["name", "n"], ["Ada", "3"], ["Grace", "-"]]
    assert len({len(line.rstrip()) for line in lines}) == 1


def test_json_is_the_only_thing_on_standard_output(run):
    result = run("x", "--json")
    assert json.loads(result.stdout) == {"name": "Zoë", "at": 0.5, "box": [0, 1]}


def test_an_error_is_one_line_and_status_2(run):
    result = run("limner")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "error: a.jpg is not a picture.\n"


def test_an_error_is_json_too_when_json_was_asked_for(run):
    result = run("limner", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {
        "error": {"type": "ImageError", "message": "a.jpg is not a picture."}
    }
    assert result.stderr == "error: a.jpg is not a picture.\n"


def test_json_of_one_run_does_not_leak_into_the_next(run):
    run("x", "--json")
    assert run("limner").stdout == ""


def test_a_bug_is_one_line_that_says_how_to_see_more(run, monkeypatch):
    result = run("bug")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "unexpected KeyError" in result.stderr
    assert "LIMNER_DEBUG=1" in result.stderr
    monkeypatch.setenv(output.DEBUG_VARIABLE, "1")
    assert "Traceback" in run("bug").stderr


def test_the_systems_refusal_is_told_in_its_words(run):
    result = run("disk")
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("what", "status"), [("x", 0), ("no", 1), ("limner", 2), ("interrupt", 130), ("pipe", 141)]
)
def test_exit_status(run, what, status):
    assert run(what).exit_code == status


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing argument"),
        (("x", "--embedder-colour", "pink"), "pink"),
        (("x", "--min-size", "0"), "--min-size"),
        (("x", "--min-score", "1.5"), "--min-score"),
        (("x", "--nonsense"), "--nonsense"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line_and_status_2(run, arguments, words):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
    assert "See: " in result.stderr
    assert result.stderr.rstrip().endswith("probe --help")


def test_a_name_cannot_steer_the_terminal():
    assert output.printable("a\x1b[31mb\nc\u202e") == "a\\x1b[31mb\\x0ac\\x202e"
    assert output.printable("Зоя 田中 é") == "Зоя 田中 é"
    assert output.printable("caf\udce9") == "caf\\udce9"


def test_a_closed_pipe_is_quiet():
    code = (
        "import sys; from limner.cli import main, output\n"
        "def spill():\n    for _ in range(100000): output.say('x' * 100)\n"
        "sys.modules['spill'] = sys; sys.spill = spill\n"
        "main.COMMANDS['spill'] = 'spill:spill'; sys.argv = ['limner', 'spill']; main.run()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == output.PIPE_CLOSED


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("json", [[], ["--json"]])
def test_a_full_disk_under_standard_output_is_one_line(json):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*LIMNER, "weights", "list", *json], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert result.returncode == 2
    assert result.stderr == "error: the system refused: [Errno 28] No space left on device\n"


@pytest.mark.skipif(os.name != "posix", reason="closes a stream with the shell")
def test_closed_streams_are_no_fault():
    command = shlex.join([*LIMNER, "weights", "list"])
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        result = subprocess.run(f"{command} {closed}", shell=True, capture_output=True)
        assert result.returncode == 0
        assert result.stderr == b""


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_an_interrupt_is_status_130(tmp_path):
    code = (
        "import time; from limner.cli import main\n"
        "def wait():\n    print('ready', flush=True); time.sleep(30)\n"
        "import sys; sys.modules['wait'] = sys; sys.wait = wait\n"
        "main.COMMANDS['wait'] = 'wait:wait'; sys.argv = ['limner', 'wait']; main.run()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "interrupted.\n"
    assert process.returncode == output.INTERRUPTED


def test_version_and_help():
    runner = CliRunner()
    assert runner.invoke(main.app, ["--version"]).stdout.startswith("limner 0.")
    bare, asked = runner.invoke(main.app, []), runner.invoke(main.app, ["--help"])
    assert bare.exit_code == asked.exit_code == 0
    for name in main.COMMANDS:
        assert name in asked.stdout
        assert name in bare.stdout


def test_an_unknown_command_is_one_line():
    result = CliRunner().invoke(main.app, ["recognize"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: No such command 'recognize'")
