"""One device rule for all, watched on a fake GPU: what is sent to it stays on the CPU, noted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from toy_arrays import toy_series

from limner import device as devices
from limner.errors import InputError, MissingExtraError
from limner.training import array_fit
from limner.training.array_fit import ArrayRecipe
from limner.training.array_model import load_model
from limner.training.augment import Augment
from limner.training.features import FeatureCache
from limner.training.series import classify_series, train_series


@pytest.fixture
def gpu(monkeypatch):
    """A machine with one GPU, which is the CPU in truth; counts what is sent to it."""
    sent: Counter[str] = Counter()
    monkeypatch.setattr(devices, "_cuda_devices", lambda: 1)
    monkeypatch.setattr(devices, "_signs_of_cuda", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def faked(kind):
        own = kind.to

        def to(self, *places, **named):
            where = [str(p) for p in (*places, named.get("device"))]
            if any(w.startswith("cuda") for w in where):
                sent[kind.__name__] += 1
                places = tuple("cpu" if str(p).startswith("cuda") else p for p in places)
                named = {k: "cpu" if str(v).startswith("cuda") else v for k, v in named.items()}
            return own(self, *places, **named)

        monkeypatch.setattr(kind, "to", to)

    faked(torch.Tensor)
    faked(torch.nn.Module)
    return sent


def test_auto_is_the_gpu_and_cpu_is_the_cpu(gpu):
    assert devices.resolve("auto") == "cuda:0"
    assert devices.resolve("cpu") == "cpu"


def test_series_train_are_measured_and_are_asked_there(gpu, monkeypatch, tmp_path):
    asked = []
    own = array_fit.fit_module

    def fit(*arguments, device, **options):
        asked.append(device)
        return own(*arguments, device="cpu", **options)

    monkeypatch.setattr(array_fit, "fit_module", fit)
    words = {"recipe": ArrayRecipe(epochs=1, batch=16), "width": 4, "members": 1}
    train_series(toy_series(40), test=toy_series(10), device="cpu", **words)
    assert asked == ["cpu"]
    assert not gpu
    report = train_series(toy_series(40), test=toy_series(10), out=tmp_path, **words)
    assert asked == ["cpu", "cuda:0"]
    assert gpu["Module"] >= 2  # to settle, and to answer
    assert gpu["Tensor"] >= 2
    assert report.model.device == "cuda:0"
    gpu.clear()
    classify_series(load_model(tmp_path), toy_series(4))
    assert not gpu
    classify_series(load_model(tmp_path, device="auto"), toy_series(4))
    assert gpu["Module"]
    assert gpu["Tensor"]


def test_features_of_a_frozen_trunk_are_computed_there(gpu):
    from limner.training.backbones import build

    net = build("frmodel", head="embedding", width_or_classes=8)
    size = net.input.size_px if hasattr(net.input, "size_px") else 96
    pixels = np.random.default_rng(0).integers(0, 255, (3, size, size, 3), np.uint8)
    there = FeatureCache(net, pixels, "x", Augment(), device="cuda:0").draw(0)
    assert gpu["Module"] >= 2
    assert gpu["Tensor"] >= 1
    gpu.clear()
    here = FeatureCache(net, pixels, "x", Augment()).draw(0)
    assert not gpu
    assert torch.equal(there, here)


def test_a_painter_and_its_encoder_are_on_one_device(gpu, monkeypatch, tmp_path):
    from PIL import Image

    from limner.style import fast_train
    from limner.style.fast_train import Training, TrainOptions

    monkeypatch.setattr(fast_train, "supports_bf16", lambda device: device != "cuda:0")
    monkeypatch.setattr(torch, "autocast", lambda kind, **how: Fake(kind, how["enabled"]))
    autocasts: list[tuple[str, bool]] = []

    class Fake:
        def __init__(self, kind, enabled):
            autocasts.append((kind, enabled))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / "a.png")
    taps = {t: torch.nn.Conv2d(3, 4, 3) for t in (*fast_train.STYLE_TAPS, fast_train.CONTENT_TAP)}
    training = Training(
        rng.random((40, 40, 3), np.float32),
        [tmp_path / "a.png"],
        lambda x: {name: layer(x) for name, layer in taps.items()},
        TrainOptions(steps=1, batch=1, size_px=32, style_px=32, channels=4),
        device="cuda:0",
    )
    training.run()
    assert gpu["Painter"] or gpu["Module"] == 1
    assert gpu["Tensor"] == 2  # the painting and the batch
    assert set(autocasts) == {("cuda", False)}  # by the GPU's own abilities, not the CPU's


def test_bf16_is_decided_by_the_device_that_computes(monkeypatch):
    devices.supports_bf16.cache_clear()
    able = {"cuda:0": (9, 0), "cuda:1": (7, 5)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: able[device])
    monkeypatch.setattr(devices, "_linux_flags", lambda: frozenset())
    assert devices.supports_bf16("cuda:0")
    assert not devices.supports_bf16("cuda:1")
    assert not devices.supports_bf16("mps")
    assert not devices.supports_bf16("cpu") or devices._SYSTEM != "Linux"
    devices.supports_bf16.cache_clear()


def test_onnx_runs_where_it_is_told_to_or_says_why_not(gpu, monkeypatch, tmp_path):
    import onnxruntime

    from limner.faces import engine

    providers = ["CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    assert devices.resolve_onnx("auto") == "cpu"
    with pytest.raises(MissingExtraError, match="'cuda:0': install onnxruntime-gpu"):
        devices.resolve_onnx("cuda")
    providers.append("CUDAExecutionProvider")
    assert devices.resolve_onnx("auto") == devices.resolve_onnx("cuda:0") == "cuda:0"
    assert devices.resolve_onnx("cpu") == "cpu"
    opened = []

    class Session:
        def __init__(self, path, options, providers):
            opened.append(providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    engine.open_session(tmp_path / "a.onnx", device="cuda:0")
    engine.open_session(tmp_path / "a.onnx")
    cuda = ("CUDAExecutionProvider", {"device_id": "0"})
    assert opened == [[cuda, "CPUExecutionProvider"], ["CPUExecutionProvider"]]
    with pytest.raises(InputError, match="'openvino' computes on the CPU alone"):
        engine.resolve_engine("openvino", "cuda:0", onnx_path=tmp_path / "a.onnx", module=None)


def test_every_command_that_trains_or_answers_has_the_option():
    import typer

    from limner.cli.main import app

    def leaves(command, path=()):
        if hasattr(command, "list_commands"):
            for name in command.list_commands(None):
                yield from leaves(command.get_command(None, name), (*path, name))
        else:
            yield " ".join(path), {p.name for p in command.params}

    known = dict(leaves(typer.main.get_command(app)))
    for name in (
        *("train classify", "train embed", "train series", "train volumes", "train pair-head"),
        *("train recipes", "train open-closed", "classify series", "classify volume", "alike"),
        *("style", "style-sheet", "style-train", "compare", "embed", "identify", "units top"),
    ):
        assert "device" in known[name], name
