"""Whole runs, small, on an encoder of random weights: what is promised about every run."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from PIL import Image

from limner.errors import ImageError, InputError, UnknownNameError
from limner.style import StyleOptions, preset, stylize
from limner.style.encoder import random_encoder

FEW = {
    "size": 96,
    "levels": ((0.5, 5), (1.0, 8)),
    "content_layers": (("relu2_2", 1.0),),
    "style_layers": (("relu1_1", 1.0), ("relu2_1", 1.0), ("relu3_1", 1.0)),
    "encoder": "vgg16",
    "start": "content",
}


@pytest.fixture(scope="module")
def encoder():
    return random_encoder("vgg16", border="replicate")


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[0:48, 0:64]
    content = np.stack([rows * 4, columns * 3, (rows + columns) * 2], axis=-1).astype(np.uint8)
    style = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    return content, style


def run(pictures, encoder, style=None, **changes):
    keywords = {k: changes.pop(k) for k in KEYWORDS if k in changes}
    options = preset("strokes", **{**FEW, **changes})
    chosen = pictures[1] if style is None else style
    return stylize(pictures[0], chosen, options=options, encoder=encoder, **keywords)


KEYWORDS = ("style_weights", "start", "on_step", "checkpoint", "checkpoint_every", "resume")


@pytest.mark.parametrize("optimiser", ["lbfgs", "notes_lbfgs", "adam"])
def test_the_cost_falls_and_the_result_is_whole(pictures, encoder, optimiser):
    steps = []
    result = run(pictures, encoder, optimiser=optimiser, on_step=steps.append)
    fine = [loss["total"] for loss in result.losses if loss["level"] == 1]
    assert min(fine) < 0.96 * fine[0]
    assert result.image.shape == (72, 96, 3)
    assert result.image.dtype == np.uint8
    assert np.abs(result.pixels * 255 - result.image).max() <= 0.5
    assert result.finished
    assert [s.call for s in steps] == list(range(1, 14))
    assert {s.calls for s in steps} == {13}
    assert [s.size_hw for s in steps[3:7]] == [(36, 48)] * 2 + [(72, 96)] * 2
    assert steps[-1].picture().shape == (72, 96, 3)
    assert steps[3].terms.total == result.losses[3]["total"]


def test_the_best_picture_is_kept(pictures, encoder):
    shown = {}
    result = run(
        pictures, encoder, on_step=lambda s: shown.update({s.terms.total: s.picture(), "l": s})
    )
    best = min(t["total"] for t in result.losses if t["level"] == result.losses[-1]["level"])
    np.testing.assert_array_equal(result.pixels, shown[best])


def test_a_run_repeats_itself_and_seeds_matter(pictures, encoder):
    one = run(pictures, encoder)
    assert run(pictures, encoder).pixels.tobytes() == one.pixels.tobytes()
    options = preset("strokes", **{**FEW, "start": "noise", "seed": 5})
    noise = [
        stylize(*pictures, options=o, encoder=encoder).provenance["pixels_sha256"]
        for o in (options, options, preset("strokes", **{**FEW, "start": "noise", "seed": 6}))
    ]
    assert noise[0] == noise[1] != noise[2]


@pytest.mark.parametrize("optimiser", ["lbfgs", "notes_lbfgs", "adam"])
@pytest.mark.parametrize("after", [1, 5, 6, 11])
def test_resumed_is_uninterrupted_bit_for_bit(pictures, encoder, tmp_path, optimiser, after):
    whole = run(pictures, encoder, optimiser=optimiser)
    path = tmp_path / "run"

    def stop(step):
        if step.call == after:
            raise KeyboardInterrupt

    first = run(pictures, encoder, optimiser=optimiser, checkpoint=path, on_step=stop)
    assert not first.finished
    assert len(first.losses) == after
    assert first.image.shape == whole.image.shape
    assert path.exists()
    second = run(pictures, encoder, optimiser=optimiser, checkpoint=path, resume=True)
    assert second.finished
    assert second.pixels.tobytes() == whole.pixels.tobytes()
    assert [t["total"] for t in second.losses] == [t["total"] for t in whole.losses]
    assert not path.exists()


@pytest.mark.parametrize("after", [2, 7])
def test_resumed_with_layers_left_out(pictures, encoder, tmp_path, after):
    layers = (("relu1_1", 1.0), ("relu2_1", 1.0), ("relu4_1", 1e-6))
    asked = {"style_layers": layers, "content_layers": (("relu1_2", 1.0),), "skim": 0.01}
    whole = run(pictures, encoder, **asked)
    path = tmp_path / "run"

    def stop(step):
        if step.call == after:
            raise KeyboardInterrupt

    assert not run(pictures, encoder, checkpoint=path, on_step=stop, **asked).finished
    second = run(pictures, encoder, checkpoint=path, resume=True, **asked)
    assert second.pixels.tobytes() == whole.pixels.tobytes()
    assert [t["total"] for t in second.losses] == [t["total"] for t in whole.losses]


def test_a_checkpoint_after_a_crash_is_resumed(pictures, encoder, tmp_path):
    """The process dies between two checkpoints: the calls since the last are made again."""
    path = tmp_path / "run"

    def crash(step):
        if step.call == 9:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(pictures, encoder, checkpoint=path, checkpoint_every=3, on_step=crash)
    second = run(pictures, encoder, checkpoint=path, resume=True)
    assert second.pixels.tobytes() == run(pictures, encoder).pixels.tobytes()


def test_a_signal_in_the_middle_of_the_arithmetic(pictures, encoder, tmp_path, monkeypatch):
    """Ctrl-C while the optimiser moves waits until its state is whole."""
    from limner.style.optimise import Lbfgs

    tell, count = Lbfgs.tell, []

    def interrupted(self, value, gradient):
        count.append(1)
        if len(count) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        tell(self, value, gradient)

    whole = run(pictures, encoder)
    monkeypatch.setattr(Lbfgs, "tell", interrupted)
    first = run(pictures, encoder, checkpoint=tmp_path / "run")
    assert not first.finished
    assert len(first.losses) == 4
    second = run(pictures, encoder, checkpoint=tmp_path / "run", resume=True)
    assert second.pixels.tobytes() == whole.pixels.tobytes()


def test_a_checkpoint_of_another_run_is_refused(pictures, encoder, tmp_path):
    path = tmp_path / "run"
    with pytest.raises(InputError, match="no checkpoint"):
        run(pictures, encoder, checkpoint=path, resume=True)

    def stop(step):
        raise KeyboardInterrupt

    run(pictures, encoder, checkpoint=path, on_step=stop)
    for changes in ({"beta": 4.0}, {"style": [pictures[1][::-1].copy()]}):
        with pytest.raises(InputError, match="other pictures, options or weights"):
            run(pictures, encoder, checkpoint=path, resume=True, **changes)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="is damaged"):
        run(pictures, encoder, checkpoint=path, resume=True)
    with pytest.raises(InputError, match="resume needs a checkpoint"):
        run(pictures, encoder, resume=True)


def test_a_full_disk_ends_neither_the_run_nor_an_interrupted_one(
    pictures, encoder, tmp_path, monkeypatch
):
    def refuse(path, data):
        raise InputError(f"{path} cannot be written: no space left on device.")

    monkeypatch.setattr("limner.style.checkpoint.write_whole", refuse)
    result = run(pictures, encoder, checkpoint=tmp_path / "run", checkpoint_every=2)
    assert result.finished
    said = [r for r in result.provenance["remarks"] if "no space left" in r]
    assert len(said) == 1

    def stop(step):
        if step.call == 7:
            raise KeyboardInterrupt

    result = run(pictures, encoder, checkpoint=tmp_path / "run", on_step=stop)
    assert not result.finished
    assert "no space left" in " ".join(result.provenance["remarks"])


def test_several_styles(pictures, encoder):
    other = np.full((40, 50, 3), (250, 10, 10), np.uint8)
    ends = [run(pictures, encoder).pixels, run(pictures, encoder, style=[other]).pixels]
    near = run(pictures, encoder, style=[pictures[1], other], style_weights=[1e6, 1]).pixels
    half = run(pictures, encoder, style=[pictures[1], other]).pixels
    apart = np.abs(ends[0] - ends[1]).mean()
    assert np.abs(near - ends[0]).mean() < 0.1 * apart
    assert np.abs(half - ends[0]).mean() > 0.2 * apart
    assert np.abs(half - ends[1]).mean() > 0.2 * apart
    for weights in ([1], [1, 0], [1, float("nan")]):
        with pytest.raises(InputError, match=r"one weight|positive"):
            run(pictures, encoder, style=[pictures[1], other], style_weights=weights)


def test_strength_goes_from_the_content_to_the_style(pictures, encoder):
    weak, strong = (run(pictures, encoder, strength=s) for s in (0.0, 1.0))
    content = pictures[0] / 255
    content = content.repeat(3, axis=0).repeat(3, axis=1).reshape(72, 2, 96, 2, 3).mean((1, 3))
    assert np.abs(weak.pixels - content).mean() < 0.7 * np.abs(strong.pixels - content).mean()
    assert preset(strength=0.5).style_weight == preset().beta
    assert [preset(strength=s).thickness for s in (0.0, 0.2, 0.5, 1.0)] == [0.0, 0.4, 1.0, 1.0]
    ratios = [
        preset(strength=s + 0.1).style_weight / preset(strength=s).style_weight
        for s in (0.0, 0.4, 0.9)
    ]
    assert ratios == pytest.approx([ratios[0]] * 3)


def test_a_start_picture_is_where_the_run_begins(pictures, encoder):
    begin = np.full((48, 64, 3), 200, np.uint8)
    seen = []
    stylize(
        *pictures,
        options=preset("strokes", **{**FEW, "levels": ((1.0, 2),), "start": "picture"}),
        start=begin,
        encoder=encoder,
        on_step=lambda s: seen.append(s.picture()),
    )
    np.testing.assert_allclose(seen[0], 200 / 255, atol=1e-6)
    with pytest.raises(InputError, match="needs a picture to start from"):
        run(pictures, encoder, start=begin)


def test_the_notes_start():
    """rand * 0.6 + content * 0.4, from the seed."""
    import torch

    from limner.style.pyramid import noisy

    content = torch.full((1, 3, 4, 5), 0.5)
    noise = torch.rand((1, 3, 4, 5), generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(noisy(content, noise=0.6, seed=7), noise * 0.6 + 0.2)


def test_small_grey_transparent_and_deep_pictures(pictures, encoder, tmp_path):
    random = np.random.default_rng(2)
    kinds = {
        "tiny.png": Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)),
        "grey.png": Image.fromarray(random.integers(0, 256, (40, 60), dtype=np.uint8)),
        "alpha.png": Image.fromarray(random.integers(0, 256, (40, 60, 4), dtype=np.uint8)),
        "deep.png": Image.fromarray(random.integers(0, 65536, (40, 60), dtype=np.uint16)),
    }
    for name, image in kinds.items():
        image.save(tmp_path / name)
        options = preset("strokes", **{**FEW, "levels": ((1.0, 2),)})
        result = stylize(tmp_path / name, pictures[1], options=options, encoder=encoder)
        assert max(result.image.shape) == 96, name
        assert np.isfinite(result.pixels).all()


def test_a_thin_picture_says_what_to_do(pictures, encoder):
    thin = np.zeros((2000, 1, 3), np.uint8)
    with pytest.raises(InputError, match=r"1 x 2000 px.*needs 32 px each way.*at least 64000 px"):
        stylize(thin, pictures[1], options=preset("strokes", **FEW), encoder=encoder)
    with pytest.raises(InputError, match="A style is 1 x 2000 px"):
        stylize(pictures[0], thin, options=preset("strokes", **FEW), encoder=encoder)


def test_a_style_of_a_single_colour(pictures, encoder):
    flat = np.full((40, 50, 3), 128, np.uint8)
    for kind in ("target", "covariance", "wasserstein"):
        result = run(pictures, encoder, style=[flat], style_kind=kind)
        assert np.isfinite([t["total"] for t in result.losses]).all()


def test_coarse_levels_that_cannot_be_read_pass_their_calls_on(pictures, encoder):
    result = run(pictures, encoder, levels=((0.1, 3), (0.2, 3), (1.0, 4)))
    assert len(result.losses) == 10
    assert {t["level"] for t in result.losses} == {0}


def test_words_numbers_and_files_are_checked(pictures, encoder, tmp_path):
    with pytest.raises(UnknownNameError, match=r"no layer 'conv7_1'; it has conv1_1"):
        run(pictures, encoder, style_layers=(("conv7_1", 1.0),))
    with pytest.raises(UnknownNameError, match="preset must be one of default, notes"):
        preset("best")
    with pytest.raises(UnknownNameError, match="optimiser must be one of lbfgs"):
        preset(optimiser="sgd")
    for name, value in {
        "size": 8,
        "strength": 1.1,
        "beta": float("nan"),
        "alpha": -1,
        "seed": 1.5,
        "levels": ((0.5, 3),),
        "style_layers": (),
        "hue": 1,
    }.items():
        with pytest.raises(InputError):
            preset(**{name: value})
    with pytest.raises(ImageError, match="does not exist"):
        stylize(tmp_path / "none.png", pictures[1], options=preset(**FEW), encoder=encoder)
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ImageError, match="not a picture"):
        stylize(pictures[0], tmp_path / "text.png", options=preset(**FEW), encoder=encoder)


def test_options_survive_json():
    import json

    for name in ("default", "notes", "fine", "abstract", "portrait"):
        options = preset(name)
        assert StyleOptions.from_json(json.loads(json.dumps(options.to_json()))) == options
    with pytest.raises(InputError, match="does not know"):
        StyleOptions.from_json({"hue": 1})
    with pytest.raises(InputError):
        StyleOptions.from_json({"levels": 3})


@pytest.mark.parametrize("total", [1, 2, 3, 10, 100, 184, 1000])
def test_steps_are_shared_out(total):
    options = preset("default").with_calls(total)
    assert options.calls == total
    assert options.levels[-1][0] == 1.0
