import numpy as np
import pytest
import torch

from limner.nets.dlib_resnet import BLOCKS, DlibBlock, DlibResNet


def test_shape_and_parameters():
    net = DlibResNet().eval()
    assert net(torch.zeros(3, 3, 150, 150)).shape == (3, 128)
    # 29 convolutions: the first one and two in each of the 14 blocks.
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 29 == 1 + 2 * len(BLOCKS)
    assert sum(p.numel() for p in net.parameters()) == 5_607_488


def test_sides_shrink_as_in_dlib():
    sides = [block.size for block in DlibResNet().blocks]
    assert sides == [35] * 3 + [17] * 4 + [8] * 3 + [4] * 3 + [2]
    assert [b.missing_pixels for b in DlibResNet().blocks if b.missing_pixels] == [1, 1]


@pytest.mark.parametrize("size", [7, 8, 35, 17, 4])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 5), (4, 4)])
def test_down_block_against_plain_arithmetic(size, inputs, outputs):
    torch.manual_seed(size)
    block = DlibBlock(inputs, outputs, size=size, down=True).eval().double()
    x = torch.randn(2, inputs, size, size, dtype=torch.float64)
    y = block(x).detach().numpy()
    long = torch.nn.functional.conv2d(x, block.conv1.weight, block.conv1.bias, stride=2).relu()
    long = torch.nn.functional.conv2d(long, block.conv2.weight, block.conv2.bias, padding=1)
    long, x = long.detach().numpy(), x.numpy()
    pooled = size // 2
    short = np.zeros((2, inputs, pooled, pooled))
    for r in range(pooled):
        for c in range(pooled):
            short[..., r, c] = x[..., 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].mean(axis=(2, 3))
    side = max(pooled, long.shape[2])
    expected = np.zeros((2, outputs, side, side))
    expected[:, :, : long.shape[2], : long.shape[3]] += long
    expected[:, :inputs, :pooled, :pooled] += short
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, np.maximum(expected, 0), atol=1e-12)


def test_plain_block_adds_the_input():
    block = DlibBlock(4, 4, size=6, down=False).eval()
    for conv in (block.conv1, block.conv2):
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    x = torch.randn(1, 4, 6, 6)
    torch.testing.assert_close(block(x), x.relu())
