"""Training one's own stylizer: it learns, it can be resumed, it is exported as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from limner.errors import ImageError, InputError
from limner.nets.painter import Painter
from limner.style import fast, fast_export, fast_train


def features(images):
    """Fixed random layers at the taps' names; no weights are needed."""
    random = torch.Generator().manual_seed(0)
    found, x, width = {}, images, 3
    for tap in fast_train.STYLE_TAPS:
        kernel = torch.randn(8, width, 3, 3, generator=random) / width
        x = torch.nn.functional.conv2d(x, kernel, padding=1).relu()
        found[tap] = x
        x, width = torch.nn.functional.avg_pool2d(x, 2), 8
    return found


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for i in range(3):
        small = Image.fromarray(rng.integers(0, 255, (6, 9, 3), dtype=np.uint8))
        paths.append(tmp_path / f"{i}.png")
        small.resize((90, 60), Image.Resampling.BICUBIC).save(paths[-1])
    return paths


@pytest.fixture
def style():
    return (np.random.default_rng(1).random((50, 40, 3)) ** 3).astype(np.float32)


def options(**changes):
    small = {"steps": 30, "batch": 2, "size_px": 32, "style_px": 32, "channels": 4, "rate": 5e-3}
    return fast_train.TrainOptions(**{**small, **changes})


def test_the_cost_falls(photos, style):
    training = fast_train.Training(style, photos, features, options())
    training.run()
    totals = [s.total for s in training.steps]
    assert len(totals) == training.done == 30
    assert np.mean(totals[-5:]) < 0.7 * np.mean(totals[:5])
    last = training.steps[-1]
    assert last.total == pytest.approx(last.content + last.style + last.variation, rel=1e-3)


def test_an_interrupted_training_ends_like_an_uninterrupted_one(photos, style, tmp_path):
    straight = fast_train.Training(style, photos, features, options(steps=6))
    straight.run()

    def stop(step):
        if step.step == 3:
            raise KeyboardInterrupt

    first = fast_train.Training(style, photos, features, options(steps=6))
    with pytest.raises(KeyboardInterrupt):
        first.run(stop)
    first.save(tmp_path / "t")
    second = fast_train.Training(style, photos, features, options(steps=6))
    second.resume(tmp_path / "t")
    assert second.done == 3
    second.run()
    assert second.steps == straight.steps
    for a, b in zip(second.painter.parameters(), straight.painter.parameters(), strict=True):
        assert torch.equal(a, b)


def test_another_training_is_refused(photos, style, tmp_path):
    fast_train.Training(style, photos, features, options()).save(tmp_path / "t")
    for other in (
        fast_train.Training(style, photos, features, options(seed=1)),
        fast_train.Training(style[::-1], photos, features, options()),
        fast_train.Training(style, photos[:2], features, options()),
    ):
        with pytest.raises(InputError, match="another painting"):
            other.resume(tmp_path / "t")
    (tmp_path / "t").write_bytes(b"damaged")
    with pytest.raises(InputError, match="can be read"):
        other.resume(tmp_path / "t")


@pytest.mark.parametrize("size", [(48, 64), (40, 100)])
def test_the_exported_file_is_the_network(tmp_path, size):
    torch.manual_seed(0)
    painter = Painter(4).eval()
    fast_export.export(painter, tmp_path / "mine.onnx", notes={"painting": "test"})
    image = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    paint = fast.load_fast(tmp_path / "mine.onnx")
    with torch.inference_mode():
        wanted = painter(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()))
    bare = paint._network._run("plain", image, {})[0]
    np.testing.assert_allclose(bare, wanted[0].numpy().transpose(1, 2, 0), atol=1e-4)
    assert paint(image).shape == image.shape


def test_the_exported_file_is_reproducible(tmp_path):
    painter = Painter(4)
    files = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in files:
        fast_export.export(painter, path)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_broken_photos_are_passed_over_unless_all_are(photos, style, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    training = fast_train.Training(style, [broken, *photos], features, options(steps=3))
    training.run()
    assert training.done == 3
    with pytest.raises(ImageError):
        fast_train.Training(style, [broken], features, options(steps=1)).run()
    with pytest.raises(InputError, match="no photos"):
        fast_train.Training(style, [], features)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"batch": 1.5},
        {"size_px": 30},
        {"size_px": 34},
        {"rate": 0.0},
        {"style": -1.0},
        {"content": float("nan")},
        {"seed": True},
    ],
)
def test_options_are_checked(changes):
    with pytest.raises(InputError, match=next(iter(changes))):
        options(**changes)
