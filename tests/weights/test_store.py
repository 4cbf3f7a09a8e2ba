"""The cache: whole files or none, two processes, kills, damage, refusing disks."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from limner import weights
from limner.errors import UnknownNameError, WeightsError
from limner.weights import cache, convert, registry, store
from limner.weights.locking import locked
from limner.weights.registry import Source
from limner.weights.store import ensure


@pytest.fixture
def spec(server, make_spec, body):
    server.files["/toy.bin"] = body
    return make_spec(body, Source(kind="url", url=f"{server.url}/toy.bin"))


def start_fetcher(spec, home):
    """Run `ensure(spec)` in another process; it prints the source or the error."""
    code = f"""
        from pathlib import Path
        from limner.weights.registry import ModelSpec, Source
        from limner.weights.store import ensure
        told = []
        def progress(label, done, total):
            told.append(label)
            if "waiting" in label:
                Path({str(home)!r}, "one-waits").touch()
        try:
            loaded = ensure({spec!r}, progress=progress)
            print(loaded.files["onnx"], any("waiting" in t for t in told))
        except Exception as error:
            print(type(error).__name__, error)
    """
    environment = dict(os.environ, LIMNER_HOME=str(home))
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def test_two_processes_fetch_once(server, spec, home, body):
    server.hold = threading.Event()
    first, second = start_fetcher(spec, home), start_fetcher(spec, home)
    wait_for((home / "one-waits").exists)
    server.hold.set()
    lines = [p.communicate(timeout=30)[0].strip() for p in (first, second)]
    path = cache.model_dir(spec) / "toy.bin"
    assert sorted(lines) == [f"{path} False", f"{path} True"]
    assert len(server.requests) == 1
    assert path.read_bytes() == body


def test_threads_of_one_process_fetch_once(server, spec, home):
    results = []
    threads = [threading.Thread(target=lambda: results.append(ensure(spec))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 6
    assert len(server.requests) == 1


def test_kill_in_mid_download_then_resume(server, spec, home, body):
    server.hold = threading.Event()
    process = start_fetcher(spec, home)
    folder = cache.model_dir(spec)
    wait_for(lambda: any(p.stat().st_size == len(body) // 2 for p in folder.glob("*.part")))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "toy.bin").exists()
    server.hold.set()
    server.hold = None
    server.requests.clear()
    loaded = ensure(spec)
    assert server.requests == [("/toy.bin", f"bytes={len(body) // 2}-")]
    assert loaded.files["onnx"].read_bytes() == body


def test_the_lock_dies_with_its_process(home, spec):
    folder = cache.model_dir(spec)
    folder.mkdir(parents=True)
    code = (
        "import sys, time; from pathlib import Path; from limner.weights.locking import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / ".lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    told = []
    thread = threading.Thread(target=lambda: ensure(spec, progress=lambda *a: told.append(a[0])))
    thread.start()
    wait_for(lambda: told)
    assert told == ["toy: waiting for another process"]
    process.kill()
    thread.join(10)
    assert not thread.is_alive()
    process.communicate()
    assert ensure(spec, offline=True)


def test_waiting_for_the_lock_ends(home, tmp_path, monkeypatch):
    monkeypatch.setattr("limner.weights.locking.TIMEOUT_S", 0.2)
    path = tmp_path / ".lock"
    with locked(path), pytest.raises(WeightsError, match="has held"), locked(path):
        pass


def test_what_killed_processes_left_is_swept(server, spec, home):
    folder = cache.model_dir(spec)
    (folder / "package-abc" / "deep").mkdir(parents=True)
    (folder / ".toy.bin.123.tmp").write_bytes(b"half")
    ensure(spec)
    assert sorted(p.name for p in folder.iterdir()) == [".lock", "limner.json", "toy.bin"]


def test_a_damaged_file_is_made_again_and_said_once(server, spec, home, body, caplog):
    path = ensure(spec).files["onnx"]
    path.write_bytes(b"x" * len(body))
    with caplog.at_level(logging.WARNING, "limner.weights"):
        assert ensure(spec).files["onnx"].read_bytes() == body
        ensure(spec)
    assert len(caplog.records) == 1
    assert "damaged; toy is made again" in caplog.text


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_damaged_note_costs_nothing_but_a_look(server, spec, home, note):
    path = ensure(spec).files["onnx"]
    (path.parent / "limner.json").write_bytes(note)
    server.files.clear()
    assert ensure(spec).files["onnx"] == path


def test_a_note_without_digests(server, spec, home):
    path = ensure(spec).files["onnx"]
    note = path.parent / "limner.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "files": None}))
    assert ensure(spec).files["onnx"] == path


def test_offline_with_nothing_cached(home):
    with pytest.raises(WeightsError) as caught:
        weights.load("facenet", offline=True)
    message = str(caught.value)
    assert "limner weights pull facenet" in message
    assert "LIMNER_HOME" in message
    assert str(home) in message
    assert not home.exists()


def test_unknown_names_are_refused(home):
    for call in (weights.load, weights.spec, weights.status, weights.verify):
        with pytest.raises(UnknownNameError, match="there are yunet, centerface, facenet"):
            call("arcface")


def test_a_read_only_cache_that_holds_the_model_is_used(server, spec, home, monkeypatch):
    path = ensure(spec).files["onnx"]

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("mkdir", "write_bytes", "write_text", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    assert ensure(spec).files["onnx"] == path


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
@pytest.mark.parametrize("call", ["os.replace", "os.fsync", "pathlib.Path.mkdir"])
def test_a_refusing_disk_is_one_sentence(server, spec, home, monkeypatch, code, call):
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(call, refuse)
        with pytest.raises(WeightsError) as caught:
            ensure(spec)
    message = str(caught.value)
    assert os.strerror(code) in message
    assert "LIMNER_HOME" in message
    assert str(cache.model_dir(spec)) in message
    assert "\n" not in message
    assert ensure(spec).files["onnx"].is_file()  # and nothing is spoilt for later


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_disk_that_fills_up_in_the_middle(server, spec, home):
    """The partial file is a link to /dev/full, where every write meets ENOSPC."""
    import hashlib

    folder = cache.model_dir(spec)
    folder.mkdir(parents=True)
    tag = hashlib.sha256(spec.sources[0].url.encode()).hexdigest()[:8]
    (folder / f"toy.bin.{tag}.part").symlink_to("/dev/full")
    with pytest.raises(WeightsError, match="No space left on device"):
        ensure(spec)
    assert not (folder / "toy.bin").exists()


def test_a_file_where_the_cache_folder_should_be(server, spec, home):
    home.mkdir()
    (home / "weights").write_text("not a folder")
    with pytest.raises(WeightsError, match="LIMNER_HOME"):
        ensure(spec)


def test_write_whole_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    final = tmp_path / "file"
    cache.write_whole(final, b"old")

    def refuse(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(WeightsError, match="No space left"):
        cache.write_whole(final, b"new")
    assert final.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [final]


def test_status_and_verify_of_an_empty_cache(home):
    for name in weights.names():
        status = weights.status(name)
        assert (status.state, status.bytes) == ("absent", 0)
        verification = weights.verify(name)
        assert verification.ok
        assert set(verification.files.values()) == {"missing"}


def test_cache_dir_follows_limner_home(home, monkeypatch):
    assert weights.cache_dir() == home / "weights"
    monkeypatch.setenv("LIMNER_HOME", "~/somewhere")
    assert weights.cache_dir() == Path.home() / "somewhere" / "weights"
    monkeypatch.delenv("LIMNER_HOME")
    assert "limner" in weights.cache_dir().parts


class TestConversion:
    @pytest.fixture
    def fresh(self, original, tmp_path, monkeypatch):
        """A cache that holds nothing but dlib's original file, and the landmarks it needs."""
        source = original("dlib")
        points = Path(weights.load("dlib_points").files["safetensors"]).parent
        monkeypatch.setenv("LIMNER_HOME", str(tmp_path / "home"))
        folder = weights.model_dir(weights.spec("dlib"))
        folder.mkdir(parents=True)
        (folder / source.name).write_bytes(source.read_bytes())
        shutil.copytree(points, folder.parent / points.name)
        return folder

    def test_converts_offline_from_the_original_alone(self, fresh):
        assert weights.status("dlib").state == "fetched"
        told = []
        loaded = weights.load("dlib", offline=True, progress=lambda *a: told.append(a[0]))
        assert sorted(loaded.files) == ["onnx", "safetensors"]
        assert told == ["dlib: converting"]
        assert weights.status("dlib").state == "ready"
        note = json.loads((fresh / "limner.json").read_text())
        assert note["original"]["sha256"] == weights.spec("dlib").sha256
        assert note["converter"] == convert.CONVERTER_VERSION
        for kind, path in loaded.files.items():
            assert note["files"][kind]["sha256"] == cache.sha256_of(path, anew=True)

    def test_the_detector_loses_its_fixed_size(self, original, tmp_path, monkeypatch):
        import onnx

        source = original("yunet")
        monkeypatch.setenv("LIMNER_HOME", str(tmp_path / "home"))
        folder = weights.model_dir(weights.spec("yunet"))
        folder.mkdir(parents=True)
        (folder / source.name).write_bytes(source.read_bytes())
        loaded = weights.load("yunet", offline=True)
        (image,) = onnx.load(loaded.files["onnx"]).graph.input
        sides = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
        assert sides == [1, 3, "height", "width"]
        assert weights.verify("yunet").ok

    def test_a_damaged_converted_file_is_made_again(self, fresh, caplog):
        loaded = weights.load("dlib", offline=True)
        good = loaded.files["onnx"].read_bytes()
        loaded.files["onnx"].write_bytes(good[:-100] + bytes(100))
        assert not weights.verify("dlib").ok
        weights.load("dlib", offline=True, kinds=("safetensors",))  # not asked for, not looked at
        with caplog.at_level(logging.WARNING, "limner.weights"):
            again = weights.load("dlib", offline=True)
        assert len(caplog.records) == 1
        assert again.files["onnx"].read_bytes() == good
        assert weights.verify("dlib").ok

    def test_an_older_converters_files_are_made_again(self, fresh, monkeypatch):
        weights.load("dlib", offline=True)
        monkeypatch.setattr(store, "CONVERTER_VERSION", convert.CONVERTER_VERSION + 1)
        assert weights.status("dlib").state == "fetched"
        weights.load("dlib", offline=True)
        assert weights.status("dlib").state == "ready"

    def test_a_damaged_original_is_seen_by_verify_and_thorough(self, fresh):
        weights.load("dlib", offline=True)
        original = fresh / weights.spec("dlib").file
        original.write_bytes(original.read_bytes()[:-1] + b"!")
        assert weights.verify("dlib").files[original.name] == "damaged"
        weights.load("dlib", offline=True)  # inference does not read it
        with pytest.raises(WeightsError, match="offline"):
            weights.load("dlib", offline=True, thorough=True)

    def test_a_full_disk_during_conversion(self, fresh, monkeypatch):
        def refuse(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", refuse)
            with pytest.raises(WeightsError, match="No space left"):
                weights.load("dlib", offline=True)
        assert sorted(p.name for p in fresh.iterdir()) == [
            ".lock",
            weights.spec("dlib").file,
        ]
        weights.load("dlib", offline=True)


def test_the_composite_is_its_parts():
    loaded = weights.load("duo")
    assert [p.spec.name for p in loaded.parts] == ["facenet", "sface"]
    assert loaded.files == {}
    assert loaded.digest == registry.spec("duo").sha256


def test_torch_module_of_a_detector_is_refused():
    with pytest.raises(WeightsError, match="yunet has no torch module"):
        weights.torch_module(weights.load("yunet"))
