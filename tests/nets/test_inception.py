"""The notes' FRModel against the notes' own code, in one, two and three dimensions."""

from __future__ import annotations

from pathlib import Path

import notes_frmodel
import pytest
import torch

from limner.errors import InputError
from limner.nets.inception import FRModel, FRModelNet, InceptionBlock
from limner.training.backbones import build

NOTES_PARAMETERS = 7_335_328  # counted on the notes' code
SIDES = {1: (96,), 2: (96, 80), 3: (20, 16, 24)}


def notes_code(dims: int) -> dict:
    """Run the notes' code, with 1d or 3d in the place of 2d."""
    text = Path(notes_frmodel.__file__).read_text("utf-8")
    one_each = ", ".join("1" * dims)
    names: dict = {}
    exec(text.replace("2d(", f"{dims}d(").replace("((1, 1))", f"(({one_each},))"), names)
    return names


def settled(net: torch.nn.Module, x: torch.Tensor) -> torch.nn.Module:
    """Give the normalisations the averages of this batch, so that they count in the answer."""
    for module in net.modules():
        if hasattr(module, "running_var"):
            module.momentum = None  # the average of all, not a running one
    with torch.no_grad():
        net.train()(x)
    return net.eval()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_frmodel_takes_the_notes_weights_and_gives_their_answers(dims):
    torch.manual_seed(0)
    x = torch.rand(3, 3, *SIDES[dims])
    theirs = settled(notes_code(dims)["FRModel"](), x)
    ours = FRModel(dims)
    result = ours.load_state_dict(theirs.state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys
    ours.eval()
    with torch.no_grad():
        wanted, got = theirs(x), ours(x)
    assert wanted.shape == (3, 128)
    assert (wanted[0] - wanted[1]).abs().max() > 1e-4  # it looks at what it is given
    assert (got - wanted).abs().max() <= 1e-6
    assert not torch.allclose(got.norm(dim=1), torch.ones(3), atol=0.05)  # not of unit length


def test_the_number_of_parameters_is_the_notes():
    assert sum(p.numel() for p in FRModel().parameters()) == NOTES_PARAMETERS
    assert sum(p.numel() for p in notes_frmodel.FRModel().parameters()) == NOTES_PARAMETERS


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_frmodel_learns_as_the_notes_does(dims):
    """The gradients of a training step agree, weight by weight (float64)."""
    torch.manual_seed(0)
    x = torch.rand(2, 3, *(side // 2 for side in SIDES[dims]), dtype=torch.float64)
    theirs = notes_code(dims)["FRModel"]().double()
    ours = FRModel(dims).double()
    ours.load_state_dict(theirs.state_dict())
    for net in (theirs, ours):
        net.train()(x).square().sum().backward()
    for (name, wanted), (same, got) in zip(
        theirs.named_parameters(), ours.named_parameters(), strict=True
    ):
        assert name == same
        assert torch.allclose(wanted.grad, got.grad, rtol=1e-9, atol=1e-12), name


def test_the_notes_block_is_built_with_the_notes_arguments():
    torch.manual_seed(0)
    theirs = notes_frmodel.InceptionBlock(192, 64, 96, 128, 16, 32, 32)
    ours = InceptionBlock(192, 64, 96, 128, 16, 32, 32)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 192, 7, 5)
    assert torch.allclose(theirs(x), ours(x), atol=1e-6)
    assert ours.outputs == 256


def test_the_trained_form_is_the_same_trunk_with_a_head_of_unit_length():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 48, 48)
    theirs = settled(notes_frmodel.FRModel(), x)
    net = build("frmodel", head="embedding", width_or_classes=128).eval()
    state = theirs.inception_net.state_dict()
    net.trunk.maps.load_state_dict({k: v for k, v in state.items() if not k.startswith("27.")})
    net.head.linear.load_state_dict({k[3:]: v for k, v in state.items() if k.startswith("27.")})
    with torch.no_grad():
        wanted = torch.nn.functional.normalize(theirs(x), dim=1)
        assert (net(x) - wanted).abs().max() <= 1e-6


def test_half_of_every_width_and_words_that_are_refused():
    half = FRModelNet(1, 2, size="half", classes=3)
    assert half(torch.rand(2, 2, 40)).shape == (2, 3)
    assert half.head.in_features == 512
    with pytest.raises(InputError, match="'full' or 'half', got 'small'"):
        FRModel(size="small")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="dims must be 1"):
        FRModel(4)  # type: ignore[arg-type]
