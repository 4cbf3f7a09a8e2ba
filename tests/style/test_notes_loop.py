"""The preset `notes` against the notes' own loop, its arithmetic written out, in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms
from typer.testing import CliRunner

from limner.cli.main import app
from limner.errors import UnknownNameError
from limner.style import preset, stylize
from limner.style.encoder import random_encoder
from limner.style.losses import content_cost, statistics, style_cost
from limner.style.objective import Objective
from limner.style.pyramid import fit, noisy, resize

SIZE, SEED = 32, 3
CONTENT_LAYER, STYLE_LAYERS = 7, ((2, 2), (7, 3), (16, 1), (25, 1), (34, 2))  # 000's indices
ALPHA, BETA = 1, 1e6


@pytest.fixture(scope="module")
def encoder():
    return random_encoder("vgg19", border="zero")


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[0:50, 0:67]
    content = np.stack([rows * 4, columns * 3, (rows + columns) * 2], axis=-1).astype(np.uint8)
    return content, random.integers(0, 256, (71, 45, 3), dtype=np.uint8)


def their_network(encoder) -> nn.Sequential:
    """The encoder's weights as torchvision's `features`, in float64, up to index 34."""
    layers: list[nn.Module] = []
    for layer in encoder.trunk.layers:
        if layer.kind == "conv":
            own = encoder.trunk.convolutions[layer.name]
            copy = nn.Conv2d(own.in_channels, own.out_channels, 3, padding=1)
            copy.load_state_dict(own.state_dict())
            layers.append(copy)
        else:
            layers.append(nn.ReLU() if layer.kind == "relu" else nn.MaxPool2d(2))
    return nn.Sequential(*layers[:35]).double().eval().requires_grad_(False)


def normalised(image):
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=image.dtype).view(-1, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=image.dtype).view(-1, 1, 1)
    return (image - mean) / std


def their_gram(a):
    _, c, h, w = a.size()
    a = a.view(c, h * w)
    return torch.mm(a, a.t()) / (c * h * w)


class Theirs:
    """The notes' two pictures, what is remembered of them, and the costs of a third."""

    def __init__(self, model, content, style, style_layers=STYLE_LAYERS):
        loader = transforms.Compose([transforms.Resize(SIZE), transforms.ToTensor()])
        c, s = (loader(Image.fromarray(p)).unsqueeze(0).double() for p in (content, style))
        self.model, self.content, self.style_layers = model, c, style_layers
        self.wanted, self.grams = None, []
        c, s = normalised(c), normalised(s)
        for number, layer in enumerate(model):
            c, s = layer(c), layer(s)
            if number == CONTENT_LAYER:
                self.wanted = c
            if number in dict(style_layers):
                self.grams.append(their_gram(s))

    def costs(self, g):
        """Content times alpha, style times beta, and their sum."""
        x, content, style, grams = normalised(g), 0, 0, iter(self.grams)
        for number, layer in enumerate(self.model):
            x = layer(x)
            if number == CONTENT_LAYER:
                content = nn.functional.mse_loss(self.wanted, x)
            if number in dict(self.style_layers):
                distance = nn.functional.mse_loss(next(grams), their_gram(x))
                style += dict(self.style_layers)[number] * distance
        return content * ALPHA, style * BETA, content * ALPHA + style * BETA

    def loop(self, epochs=180, noise_ratio=0.6):
        """Return the costs of every call, and the picture."""
        noise = torch.rand(self.content.size(), generator=torch.Generator().manual_seed(SEED))
        g = noise.double() * noise_ratio + self.content * (1 - noise_ratio)
        g = g.detach().requires_grad_(True)
        optimiser, said = torch.optim.LBFGS([g]), []
        while len(said) <= epochs:

            def closure():
                with torch.no_grad():
                    g.clamp_(0, 1)
                optimiser.zero_grad()
                content, style, loss = self.costs(g)
                loss.backward()
                said.append((content.item(), style.item(), loss.item()))
                return loss

            optimiser.step(closure)
        with torch.no_grad():
            g.clamp_(0, 1)
        return np.array(said), g.detach()[0].permute(1, 2, 0).numpy()


def test_the_loop_is_the_notes_own(encoder, pictures):
    """Two loops that differ in the last bit drift apart in time, so the first 40 calls."""
    said, picture = Theirs(their_network(encoder), *pictures).loop(epochs=20)
    options = preset("notes", encoder="vgg19", size=SIZE, precision="fp64", seed=SEED)
    result = stylize(*pictures, options=options.with_calls(40), encoder=encoder)
    ours = np.array(
        [[ALPHA * row["content"], BETA * row["style"], row["total"]] for row in result.losses]
    )
    assert len(said) == 40
    np.testing.assert_allclose(ours, said, rtol=1e-9)
    np.testing.assert_allclose(result.pixels, picture, atol=1e-7)  # float32
    assert result.provenance["encoder"]["precision"] == "fp64"
    assert said[-1, 2] < 0.5 * said[0, 2]  # and something was painted


def test_every_call_is_the_notes_own(encoder, pictures, monkeypatch):
    """Costs and slope of each of the 200 calls, at the picture that the call was made with."""
    few = STYLE_LAYERS[:2]
    theirs = Theirs(their_network(encoder)[:8], *pictures, style_layers=few)
    said, _ = theirs.loop()
    calls, evaluate = [], Objective.evaluate

    def recorded(self, image):
        terms, gradient = evaluate(self, image)
        calls.append((image.detach().clone(), terms, gradient.clone()))
        return terms, gradient

    monkeypatch.setattr(Objective, "evaluate", recorded)
    options = preset("notes", encoder="vgg19", size=SIZE, precision="fp64", seed=SEED)
    taps = tuple((str(number), float(weight)) for number, weight in few)
    stylize(*pictures, options=replace(options, style_layers=taps), encoder=encoder)
    assert len(calls) == len(said) == 200
    for image, terms, gradient in calls:
        assert image.dtype == torch.float64
        point = image.requires_grad_(True)
        costs = theirs.costs(point)
        costs[-1].backward()
        ours = (ALPHA * terms.content, BETA * terms.style, terms.total)
        np.testing.assert_allclose(ours, [c.item() for c in costs], rtol=1e-9)
        largest = float(point.grad.abs().max())
        assert float((gradient - point.grad).abs().max()) <= 1e-9 * largest
    # Where the two loops have drifted apart they still end at the same height.
    assert abs(calls[-1][1].total / said[-1, 2] - 1) < 0.05


def test_the_encoder_that_was_lent_stays_in_float32(encoder, pictures):
    options = preset("notes", encoder="vgg19", size=SIZE, precision="fp64").with_calls(1)
    stylize(*pictures, options=options, encoder=encoder)
    assert {p.dtype for p in encoder.trunk.parameters()} == {torch.float32}


@pytest.mark.parametrize("size_hw", [(50, 67), (67, 50), (333, 500), (30, 30), (100, 299), (7, 40)])
def test_pictures_are_resized_as_torchvision_does(size_hw):
    pixels = np.random.default_rng(2).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    loader = transforms.Compose([transforms.Resize(32), transforms.ToTensor()])
    wanted = loader(Image.fromarray(pixels))[None]
    ours = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    found = fit(size_hw, size=32, side="shorter", resampling="torchvision")
    assert found == tuple(wanted.shape[-2:])
    assert torch.equal(resize(ours, found, resampling="torchvision"), wanted)


def test_noise_is_the_same_in_every_precision():
    content = torch.rand((1, 3, 5, 6))
    single, double = (noisy(c, noise=0.6, seed=1) for c in (content, content.double()))
    torch.testing.assert_close(single.double(), double)


def test_the_plain_frobenius_cost():
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.randn((1, 4, 6, 7), generator=generator, dtype=torch.float64) for _ in range(2))
    wanted = 0.0
    for k in range(4):
        for m in range(4):
            of_a = sum(x * y for x, y in zip(a[0, k].flatten(), a[0, m].flatten(), strict=True))
            of_b = sum(x * y for x, y in zip(b[0, k].flatten(), b[0, m].flatten(), strict=True))
            wanted += float(of_a - of_b) ** 2
    found = style_cost(statistics(a), statistics(b), kind="frobenius")
    assert float(found) == pytest.approx(wanted, rel=1e-10)


def test_the_command_says_what_the_notes_say(tmp_path, pictures, monkeypatch, encoder):
    import limner.style.encoder as module

    monkeypatch.setattr(module, "load_encoder", lambda *_, **__: encoder)
    for name, pixels in zip("ab", pictures, strict=True):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    words = ["style", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--preset", "notes"]
    words += ["--size", str(SIZE), "--seed", str(SEED), "--no-preview", "--encoder", "vgg19"]
    out = tmp_path / "c.png"
    found = CliRunner().invoke(
        app, [*words, "--steps", "20", "--precision", "fp64", "-o", str(out)]
    )
    assert found.exit_code == 0, found.output
    said, _ = Theirs(their_network(encoder), *pictures).loop(epochs=10)
    lines = [line for line in found.stderr.splitlines() if line.startswith("Epoch")]
    assert len(lines) == 1
    for number, line in enumerate(lines, 1):
        at = 20 * number
        parts = dict(part.split(" = ") for part in line.split(", "))
        assert int(parts["Epoch"]) == at
        values = [float(parts[f"{w} Loss"]) for w in ("Content", "Style", "Total")]
        np.testing.assert_allclose(values, said[at - 1], rtol=1e-9)


def test_costs_and_noise_by_name_on_the_command_line(tmp_path, pictures, monkeypatch, encoder):
    import json

    import limner.style.encoder as module

    monkeypatch.setattr(module, "load_encoder", lambda *_, **__: encoder)
    for name, pixels in zip("ab", pictures, strict=True):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    words = ["style", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--preset", "notes"]
    words += ["--size", str(SIZE), "--steps", "1", "--no-preview", "--encoder", "vgg19", "--json"]
    words += ["-o", str(tmp_path / "c.png"), "--noise-ratio", "1", "--content-cost", "half_sum"]
    found = CliRunner().invoke(app, [*words, "--style-cost", "frobenius"])
    assert found.exit_code == 0, found.output
    chosen = json.loads((tmp_path / "c.png.json").read_text("utf-8"))["options"]
    kinds = ("noise", "content_kind", "style_kind")
    assert [chosen[k] for k in kinds] == [1.0, "half_sum", "frobenius"]
    with pytest.raises(UnknownNameError, match="content cost must be one of"):
        content_cost(torch.ones(1), torch.ones(1), kind="sum")  # type: ignore[arg-type]
