"""ImageNet trunks: names, damage, and a photograph that must be called what it shows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from limner import weights
from limner.errors import WeightsError
from limner.weights.read_trunk import read_trunk, rename_efficientnet

SPEC = weights.spec("efficientnet_lite0")


def test_every_tensor_of_the_file_has_a_place_in_timms_network(original):
    import timm

    state = read_trunk(SPEC, original("efficientnet_lite0"))
    with torch.device("meta"):
        wanted = timm.create_model("tf_efficientnet_lite0").state_dict()
    shapes = {k: v.shape for k, v in wanted.items() if not k.endswith("num_batches_tracked")}
    assert {k: v.shape for k, v in state.items()} == shapes


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_bn1.running_var", "bn2.running_var"),
        ("_blocks.0._project_conv.weight", "blocks.0.0.conv_pw.weight"),
        ("_blocks.1._expand_conv.weight", "blocks.1.0.conv_pw.weight"),
        ("_blocks.15._bn2.bias", "blocks.6.0.bn3.bias"),
        ("_fc.bias", "classifier.bias"),
    ],
)
def test_names(theirs, ours):
    assert rename_efficientnet(theirs) == ours


@pytest.mark.parametrize(
    "name", ["fc.weight", "_blocks.16._bn2.bias", "_blocks.0._expand_conv.weight", ""]
)
def test_a_name_that_the_network_has_not_is_refused(name):
    with pytest.raises(WeightsError, match="has no tensor"):
        rename_efficientnet(name)


def test_damaged_files_are_refused(tmp_path, original):
    path = tmp_path / "x.pth"
    path.write_bytes(original("efficientnet_lite0").read_bytes()[:1000])
    with pytest.raises(WeightsError, match="not a torch weight file"):
        read_trunk(SPEC, path)
    torch.save({"_conv_stem.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"has no conv_stem\.weight of shape"):
        read_trunk(SPEC, path)
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="not a dictionary"):
        read_trunk(SPEC, path)


def test_a_torchvision_file_is_read_by_its_own_names(tmp_path):
    from torchvision import models

    net = models.resnet50()
    path = tmp_path / "resnet50.pth"
    torch.save(net.state_dict(), path)
    state = read_trunk(weights.spec("resnet50"), path)
    torch.testing.assert_close(state["layer4.2.conv3.weight"], net.layer4[2].conv3.weight.data)
    poisoned = net.state_dict() | {"bn1.bias": torch.full((64,), torch.nan)}
    torch.save(poisoned, path)
    with pytest.raises(WeightsError, match=r"bn1\.bias holds numbers that are not finite"):
        read_trunk(weights.spec("resnet50"), path)


def test_an_entry_needs_a_known_task():
    with pytest.raises(WeightsError, match="task must be one of"):
        dataclasses.replace(SPEC, task="trunks")


def test_it_names_what_a_photograph_shows():
    """skimage's cat is a tabby or an Egyptian cat, its coffee an espresso or a cup."""
    from safetensors.torch import load_file
    from skimage import data
    from torchvision.models import ResNet50_Weights

    from limner.training.backbones import build

    words = ResNet50_Weights.DEFAULT.meta["categories"]
    state = load_file(weights.load("efficientnet_lite0").files["safetensors"])
    net = build("efficientnet_lite0", head="classifier", width_or_classes=1000, pretrained=True)
    last = {"weight": state["classifier.weight"], "bias": state["classifier.bias"]}
    net.head[0].load_state_dict(last)
    photos = [data.cat()[:, 75:375], data.coffee()[:, 100:500]]
    for photo, wanted in zip(photos, ({"tabby", "Egyptian cat"}, {"espresso", "cup"}), strict=True):
        chip = torch.nn.functional.interpolate(
            torch.from_numpy(np.ascontiguousarray(photo)).permute(2, 0, 1)[None].float(),
            size=(224, 224),
            mode="bilinear",
            antialias=True,
        )
        pixels = chip.round().to(torch.uint8).permute(0, 2, 3, 1)
        with torch.no_grad():
            answer = net.eval()(net.input.normalisation()(pixels)).argmax()
        assert words[answer] in wanted
