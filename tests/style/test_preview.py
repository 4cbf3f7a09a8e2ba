"""The fast network's picture as a preview, and as the start of a run."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

from limner.errors import WeightsError
from limner.style import fast, preset, preview, stylize
from limner.style.colour import luminance
from limner.style.encoder import random_encoder
from limner.style.masks import from_shares

FEW = {
    "size": 96,
    "levels": ((0.5, 2), (1.0, 3)),
    "content_layers": (("relu2_2", 1.0),),
    "style_layers": (("relu1_1", 1.0), ("relu2_1", 1.0)),
    "encoder": "vgg16",
}


@pytest.fixture(scope="module")
def pictures():
    return skimage.data.astronaut()[:240, :320].copy(), skimage.data.coffee()[:300, :300].copy()


def test_a_preview_is_the_fast_picture_at_the_size_of_the_run(pictures):
    options = preset("strokes", **FEW)
    found = preview.preview(pictures[0], [pictures[1]], options=options)
    assert found.shape == (72, 96, 3)
    unit = [p.astype(np.float32) / 255 for p in pictures]
    from limner.style.fast_paint import resized

    small = resized(unit[0], 96)
    np.testing.assert_array_equal(found, fast.painting([unit[1]])(small))
    none = preview.preview(pictures[0], [pictures[1]], options=preset(**{**FEW, "strength": 0.0}))
    np.testing.assert_array_equal(none, small)
    kept = preview.preview(
        pictures[0], [pictures[1]], options=preset(**{**FEW, "colour": "content"})
    )
    np.testing.assert_allclose(luminance(kept), luminance(found), atol=2e-3)
    assert np.abs(kept - found).mean() > 0.01


def test_a_preview_heeds_masks(pictures):
    unit = [p.astype(np.float32) / 255 for p in pictures]
    styles = [unit[1], 1 - unit[1]]
    left = np.zeros((60, 80), np.float32)
    left[:, :40] = 1
    found = preview.paint(unit[0], styles, masks=from_shares(left))
    for style, part in zip(styles, (np.s_[:, :150], np.s_[:, 170:]), strict=True):
        alone = fast.painting([style])(unit[0])
        np.testing.assert_allclose(found[part], alone[part], atol=1e-5)


def test_a_run_begins_with_the_fast_picture_and_is_resumed(pictures, tmp_path):
    net, seen = random_encoder("vgg16"), []
    options = preset("strokes", **{**FEW, "levels": ((1.0, 4),), "start": "fast"})
    keywords = {"options": options, "encoder": net}
    done = stylize(*pictures, **keywords, on_step=lambda s: seen.append(s.picture()))
    begin = preview.preview(pictures[0], [pictures[1]], options=options)
    assert np.abs(seen[0] - begin).mean() < 0.02  # the content is made smaller in another way
    assert np.abs(begin - pictures[0][::10, ::10].mean() / 255).mean() > 0.05

    def stop(step):
        if step.call == 2:
            raise KeyboardInterrupt

    path = tmp_path / "run"
    assert not stylize(*pictures, **keywords, checkpoint=path, on_step=stop).finished
    more = stylize(*pictures, **keywords, checkpoint=path, resume=True)
    assert more.pixels.tobytes() == done.pixels.tobytes()


def test_without_the_network_the_start_is_refused(pictures, monkeypatch):
    from limner import weights

    def gone(name, **options):
        raise WeightsError(f"{name} cannot be had.")

    monkeypatch.setattr(weights, "load", gone)
    options = preset("strokes", **{**FEW, "start": "fast"})
    with pytest.raises(WeightsError, match="arbitrary_style"):
        stylize(*pictures, options=options, encoder=random_encoder("vgg16"))
