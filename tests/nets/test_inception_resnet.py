import numpy as np
import pytest
import torch
from torch import nn

from limner.nets.inception_resnet import ConvUnit, InceptionResNetV1, Reduction, ResidualBlock


def lively(module: nn.Module, seed: int) -> nn.Module:
    """Give every batch normalisation statistics that a fold could get wrong."""
    torch.manual_seed(seed)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.3)
            m.running_var.uniform_(0.3, 2.0)
            m.bias.data.normal_(0, 0.3)
            m.weight.data.uniform_(0.5, 1.5)
    return module.eval()


@pytest.fixture(scope="module")
def net() -> InceptionResNetV1:
    torch.manual_seed(0)
    return lively(InceptionResNetV1(), 1)


def test_has_as_many_trainable_parameters_as_the_keras_graph(net):
    # Kernels, biases and betas, counted in the Keras file.
    assert (
        sum(p.numel() for p in net.parameters() if p.requires_grad) == 22_743_904 + 20_992 + 14_416
    )


def test_keras_scale_false_means_gamma_is_not_trained(net):
    for name, parameter in net.named_parameters():
        assert parameter.requires_grad != name.endswith("norm.weight"), name


@pytest.mark.parametrize("dim", [16, 128])
def test_output_shape(dim):
    x = torch.zeros(2, 3, 160, 160)
    assert InceptionResNetV1(dim=dim).eval()(x).shape == (2, dim)


def test_folding_changes_nothing_but_rounding(net):
    torch.manual_seed(2)
    x = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        whole, folded = net(x), net.folded()(x)
    assert whole.abs().max() > 0.1
    torch.testing.assert_close(folded, whole, atol=1e-4, rtol=1e-4)


def test_folded_has_no_normalisation_left_and_is_its_own_fold(net):
    folded = net.folded()
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in folded.modules())
    assert folded.folded() is folded
    assert not folded.training


def test_folding_leaves_the_original_alone(net):
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net.folded()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_it_can_learn():
    torch.manual_seed(3)
    net = InceptionResNetV1(dim=8).train()
    net(torch.randn(2, 3, 160, 160)).square().sum().backward()
    without = [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def naive_conv(x: np.ndarray, w: np.ndarray, stride: int, pad: tuple[int, int]) -> np.ndarray:
    x = np.pad(x, [(0, 0), (pad[0],) * 2, (pad[1],) * 2])
    kh, kw = w.shape[2:]
    rows = range(0, x.shape[1] - kh + 1, stride)
    columns = range(0, x.shape[2] - kw + 1, stride)
    return np.array(
        [[[(x[:, r : r + kh, c : c + kw] * k).sum() for c in columns] for r in rows] for k in w]
    )


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((3, 3), 1, "same"), ((1, 7), 1, "same"), ((7, 1), 1, "same"), ((3, 3), 2, "valid")],
)
def test_conv_unit_against_naive_loops(kernel, stride, padding):
    unit = lively(ConvUnit(2, 3, kernel, stride=stride, padding=padding), 4)
    x = torch.randn(1, 2, 9, 8)
    w = unit.conv.weight.detach().double().numpy()
    pad = (kernel[0] // 2, kernel[1] // 2) if padding == "same" else (0, 0)
    y = naive_conv(x[0].double().numpy(), w, stride, pad)
    norm = unit.norm
    mean, var = norm.running_mean.double().numpy(), norm.running_var.double().numpy()
    gamma, beta = norm.weight.detach().double().numpy(), norm.bias.detach().double().numpy()
    y = (y - mean[:, None, None]) / np.sqrt(var + 1e-3)[:, None, None]
    y = np.maximum(y * gamma[:, None, None] + beta[:, None, None], 0)
    np.testing.assert_allclose(unit(x)[0].detach().numpy(), y, atol=1e-5)


def test_a_residual_block_scales_and_adds():
    block = ResidualBlock(6, [[("a", 4, (1, 1))]], scale=0.25, activation=False).eval()
    nn.init.zeros_(block.conv2d_1x1.weight)
    nn.init.constant_(block.conv2d_1x1.bias, 2.0)
    x = torch.randn(1, 6, 5, 5)
    torch.testing.assert_close(block(x), x + 0.5)


def test_a_reduction_joins_branches_then_pool():
    block = Reduction(4, [[("a", 3, (3, 3))], [("b", 2, (1, 1)), ("c", 5, (3, 3))]]).eval()
    x = torch.randn(2, 4, 17, 17)
    y = block(x)
    assert y.shape == (2, 3 + 5 + 4, 8, 8)
    torch.testing.assert_close(y[:, 8:], nn.functional.max_pool2d(x, 3, 2))
