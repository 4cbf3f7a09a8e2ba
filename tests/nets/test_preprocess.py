import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from limner.nets.preprocess import Normalise, Preprocess, Standardise


@given(arrays(np.uint8, (2, 5, 5, 3), elements=st.integers(0, 255)))
@settings(deadline=None)
def test_standardise_against_float64(chips):
    got = Standardise()(torch.from_numpy(chips)).numpy()
    for chip, x in zip(chips.astype(np.float64), got, strict=True):
        wanted = (chip - chip.mean()) / max(chip.std(), 1 / np.sqrt(chip.size))
        np.testing.assert_allclose(x, wanted.transpose(2, 0, 1), atol=2e-4)


def test_a_flat_chip_gives_zeros_not_nan():
    chips = torch.full((1, 160, 160, 3), 77, dtype=torch.uint8)
    assert torch.equal(Standardise()(chips), torch.zeros(1, 3, 160, 160))


def test_each_chip_is_standardised_alone():
    rng = np.random.default_rng(0)
    chips = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    together = Standardise()(torch.from_numpy(chips))
    alone = torch.cat([Standardise()(torch.from_numpy(c[None])) for c in chips])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("bgr", [False, True])
def test_normalise_colour_order(bgr):
    chips = np.zeros((1, 2, 2, 3), np.uint8)
    chips[..., 0], chips[..., 1], chips[..., 2] = 10, 20, 30  # R, G, B
    x = Normalise((1, 2, 3), (2, 4, 8), bgr=bgr)(torch.from_numpy(chips))[0, :, 0, 0]
    wanted = [(30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8] if bgr else [4.5, 4.5, 27 / 8]
    assert x.tolist() == wanted


def test_preprocess_runs_both():
    chips = torch.full((2, 4, 4, 3), 6, dtype=torch.uint8)
    model = Preprocess(Normalise((0, 0, 0), (2, 2, 2)), torch.nn.Flatten())
    assert torch.equal(model(chips), torch.full((2, 48), 3.0))


def test_the_room_does_not_import_torch():
    import subprocess
    import sys

    code = "import sys, limner.nets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
