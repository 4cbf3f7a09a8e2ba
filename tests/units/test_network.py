"""Networks by name, their layers, and weights from files."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from limner.errors import InputError, ShapeError, UnknownNameError, WeightsError
from limner.nets.nd import SmallResNet
from limner.units import load_network
from limner.units.network import unit_layers


def test_layers_are_read_before_they_are_overwritten(net):
    torch.manual_seed(1)
    x = torch.randn(2, 3, 40, 40)
    found = net.read(x, ["conv1", "relu1", "conv2"])
    conv1 = net.module.conv1(x)
    assert torch.equal(found["conv1"], conv1)
    assert (conv1 < 0).any()
    assert torch.equal(found["relu1"], conv1.clamp(min=0))
    pooled = nn.functional.max_pool2d(conv1.clamp(min=0), 2)
    assert torch.allclose(found["conv2"], net.module.conv2(pooled), atol=1e-6)
    assert not any(m._forward_hooks for m in net.module.modules())


def test_nothing_deeper_than_needed_runs(net):
    def explode(*_):
        raise AssertionError("ran too far")

    net.fields()
    net.module.conv2.register_forward_hook(explode)
    assert set(net.read(torch.randn(1, 3, 40, 40), ["relu1"])) == {"relu1"}


def test_several_threads_read_one_network(net):
    layers = [f.layer for f in net.fields().layers if f.kind.startswith("Conv")]
    images = torch.rand(8, 3, net.size_px, net.size_px)
    alone = [net.read(x[None], [layers[i % len(layers)]]) for i, x in enumerate(images)]

    def read(i):
        return net.read(images[i][None], [layers[i % len(layers)]])

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(read, list(range(8)) * 20))
    for i, found in enumerate(together):
        (layer,) = found
        assert torch.equal(found[layer], alone[i % 8][layer])


def test_a_block_is_named_like_its_last_layer():
    net = load_network("torchvision/resnet18", weights="random", size=64)
    x = net.prepare(torch.randint(0, 255, (1, 64, 64, 3)))
    found = net.read(x, ["layer1.0", "layer1.0.relu:2"])
    assert torch.equal(found["layer1.0"], found["layer1.0.relu:2"])
    assert found["layer1.0"].shape == (1, 64, 16, 16)


def test_untrained_weights_are_the_same_in_every_run():
    one, two = (load_network("small_resnet", weights="random") for _ in range(2))
    for a, b in zip(one.module.parameters(), two.module.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not one.trained


@pytest.mark.parametrize("form", ["plain", "nested", "prefixed", "safetensors"])
def test_a_users_checkpoint(tmp_path, form):
    torch.manual_seed(3)
    theirs = SmallResNet(2, 3, embedding=128)
    state = {k: v.contiguous() for k, v in theirs.state_dict().items()}
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(state, path)
    elif form == "nested":
        torch.save({"state_dict": state, "epoch": 3}, path)
    elif form == "prefixed":
        torch.save({f"module.{k}": v for k, v in state.items()}, path)
    else:
        torch.save(state, path)
    net = load_network("small_resnet", weights=path)
    for name, value in net.module.state_dict().items():
        assert torch.equal(value, state[name])
    assert net.trained


def test_another_number_of_classes_fits(tmp_path):
    state = load_network("torchvision/resnet18", weights="random").module.state_dict()
    state["fc.weight"], state["fc.bias"] = torch.randn(7, 512), torch.randn(7)
    save_file(state, tmp_path / "seven.safetensors")
    net = load_network("resnet18", weights=tmp_path / "seven.safetensors", size=64)
    assert net.module.fc.out_features == 7


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_code_in_a_checkpoint_is_never_run(tmp_path, capsys):
    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"state_dict": Evil()}, protocol=2))
    with pytest.raises(WeightsError, match="cannot be read as weights alone"):
        load_network("small_resnet", weights=path)
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(WeightsError):
        load_network("small_resnet", weights=path)
    assert "run" not in capsys.readouterr().out


def test_bad_input(tmp_path, net):
    with pytest.raises(UnknownNameError, match="Did you mean vgg16_hed"):
        load_network("vgg16_hod")
    with pytest.raises(UnknownNameError):
        load_network("torchvision/convnext_atto", weights="random")
    with pytest.raises(WeightsError, match="no published weights"):
        load_network("frmodel")
    with pytest.raises(WeightsError, match="does not exist"):
        load_network("small_resnet", weights=tmp_path / "none.pt")
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="tensors are missing"):
        load_network("small_resnet", weights=tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="size must be"):
        load_network("small_resnet", weights="random", size=0)
    with pytest.raises(UnknownNameError, match="conv1, relu1, pool1"):
        net.read(torch.zeros(1, 3, 40, 40), ["conv7"])
    with pytest.raises(InputError, match="no layer was named"):
        net.read(torch.zeros(1, 3, 40, 40), [])
    with pytest.raises(ShapeError):
        net.read(torch.zeros(1, 4, 40, 40), ["conv1"])
    assert unit_layers(net) == ["conv1", "conv2"]
