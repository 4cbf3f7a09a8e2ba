"""The pass over photos against a search through everything, one photo at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_network import small_network

from limner import images
from limner.errors import InputError, UnknownNameError
from limner.units import TopPatches, patches_of, top_patches
from limner.units.photos import cut, fingerprint, frame_photo, group_of, to_photo
from limner.units.top import strongest

LAYERS = ["conv1", "relu2", "conv2"]


def brute_force(net, paths, layer):
    """All activations of all photos, sorted by hand: value, photo, place for each unit."""
    found = []
    for number, path in enumerate(paths):
        framed = frame_photo(path, net.size_px)
        x = net.prepare(framed.pixels[None])
        modules = dict(net.module.named_children())
        for name, module in modules.items():
            x = module(x)
            if name == layer:
                break
        values = x[0].detach().numpy()
        for unit in range(values.shape[0]):
            place = np.unravel_index(values[unit].argmax(), values[unit].shape)
            found.append((unit, -float(values[unit].max()), number, tuple(int(p) for p in place)))
    found.sort()
    return found


def test_the_pass_finds_what_a_search_through_everything_finds(net, photo_folder):
    top = top_patches(net, photo_folder, layers=LAYERS, batch=5)
    assert len(top.photos) == 24
    assert top.duplicates == 0
    for layer in LAYERS:
        truth = brute_force(net, top.photos, layer)
        tally = top.layer(layer)
        for unit in range(tally.units):
            own = [row for row in truth if row[0] == unit][:9]
            assert tally.value[unit] == pytest.approx([-row[1] for row in own], abs=1e-5)
            clear = len({round(row[1], 4) for row in own}) == 9
            if clear:
                assert tally.photo[unit].tolist() == [row[2] for row in own]
                assert [tuple(p) for p in tally.place[unit].tolist()] == [row[3] for row in own]


def test_strongest_agrees_with_argmax_of_the_whole_map():
    torch.manual_seed(0)
    for shape in ((2, 3, 7, 9), (2, 3, 5), (1, 2, 3, 4, 5)):
        values = torch.randint(0, 6, shape).float()  # many equals: the first one counts
        best, place = strongest(values)
        flat = values.flatten(2).numpy()
        index = flat.argmax(-1)
        expected = np.stack(np.unravel_index(index, shape[2:]), -1)
        assert (best == flat.max(-1)).all()
        assert (place == expected).all()


def test_the_answer_does_not_depend_on_the_batch(net, photo_folder):
    one = top_patches(net, photo_folder, layers=["conv2"], batch=1)
    many = top_patches(net, photo_folder, layers=["conv2"], batch=24)
    assert (one.layer("conv2").photo == many.layer("conv2").photo).all()
    assert np.allclose(one.layer("conv2").value, many.layer("conv2").value, atol=1e-5)


def test_near_duplicates_take_one_place_together(net, photo_folder, tmp_path):
    from PIL import Image

    paths = sorted(photo_folder.rglob("*.png"))
    original = images.read(paths[3])
    picture = Image.fromarray(original)
    smaller = np.asarray(picture.resize((picture.width * 3 // 4, picture.height * 3 // 4)))
    images.write(tmp_path / "smaller.jpg", smaller, quality=70)
    images.write(tmp_path / "same.png", original)
    top = top_patches(net, [*paths, tmp_path / "smaller.jpg", tmp_path / "same.png"], layers=LAYERS)
    assert top.groups == [*range(24), 3, 3]
    for layer in LAYERS:
        for row in top.layer(layer).photo:
            kinds = [top.groups[p] for p in row]
            assert len(set(kinds)) == 9
    # of the three the strongest stays, and the others' places go to other photos
    alone = top_patches(net, paths, layers=LAYERS)
    assert (top.layer("conv2").value >= alone.layer("conv2").value - 1e-5).all()


def test_fingerprints_tell_photographs_apart_but_not_copies(photo_folder):
    marks = [fingerprint(frame_photo(p, 64).pixels) for p in sorted(photo_folder.rglob("*.png"))]
    for number, mark in enumerate(marks):
        assert group_of(mark, np.stack(marks[:number]) if number else np.zeros((0, 20))) == number
    flat = [np.full((64, 64, 3), grey, np.uint8) for grey in (10, 12)]
    assert group_of(fingerprint(flat[0]), fingerprint(flat[1])[None]) == 1  # not the same grey
    assert group_of(fingerprint(flat[0]), fingerprint(flat[0])[None]) == 0


def test_a_broken_off_run_goes_on_where_it_was(net, photo_folder, tmp_path, monkeypatch):
    from limner.units import top as module

    monkeypatch.setattr(module, "_SAVE_EVERY_S", 0.0)
    whole = top_patches(net, photo_folder, layers=LAYERS, batch=4)
    state = tmp_path / "state.safetensors"
    seen = []

    def stop(label, done, total):
        seen.append(done)
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        top_patches(net, photo_folder, layers=LAYERS, batch=4, state=state, progress=stop)
    assert TopPatches.load(state).done == 8
    seen.clear()
    after = top_patches(
        net, photo_folder, layers=LAYERS, batch=4, state=state,
        progress=lambda label, done, total: seen.append(done),
    )  # fmt: skip
    assert seen[0] == 12  # the first eight were not looked at again
    for layer in LAYERS:
        a, b = whole.layer(layer), after.layer(layer)
        assert (a.photo == b.photo).all()
        assert (a.value == b.value).all()
        assert (a.histogram == b.histogram).all()
        assert (a.responses == b.responses).all()
    assert after.photos == whole.photos
    seen.clear()
    top_patches(net, photo_folder, layers=LAYERS, state=state, progress=lambda *a: seen.append(a))
    assert seen == []  # complete: nothing to do


def test_another_run_may_not_go_on(net, photo_folder, tmp_path):
    state = tmp_path / "state.safetensors"
    top_patches(net, photo_folder, layers=["conv1"], state=state)
    with pytest.raises(InputError, match="another run"):
        top_patches(net, photo_folder, layers=["conv2"], state=state)


def test_what_is_saved_is_what_is_read(net, photo_folder, tmp_path):
    top = top_patches(net, photo_folder, layers=LAYERS)
    top.save(tmp_path / "a.safetensors")
    again = TopPatches.load(tmp_path / "a.safetensors")
    assert again.photos == top.photos
    assert again.facts == top.facts
    assert again.regions_xyxy == top.regions_xyxy
    for layer in LAYERS:
        for name, value in vars(top.layer(layer)).items():
            assert np.array_equal(getattr(again.layer(layer), name), value), name
    (tmp_path / "b.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="holds no patches"):
        TopPatches.load(tmp_path / "b.safetensors")


def test_a_patch_alone_gives_the_unit_its_value(photo_folder):
    """The crop is exact: convolved without padding, it gives the activation that was kept."""
    net = small_network(size=40)
    top = top_patches(net, photo_folder, layers=["conv1"])
    tally = top.layer("conv1")
    conv = net.module.conv1
    checked = 0
    for unit in range(tally.units):
        for rank in range(9):
            x0, y0, x1, y1 = tally.box[unit, rank]
            if min(x0, y0) < 0 or max(x1, y1) > 40:
                continue
            pixels = top.photo_pixels(int(tally.photo[unit, rank]))[y0:y1, x0:x1]
            x = net.prepare(pixels[None])
            alone = torch.nn.functional.conv2d(x, conv.weight, conv.bias)
            assert alone.shape[2:] == (1, 1)
            assert float(alone[0, unit, 0, 0]) == pytest.approx(tally.value[unit, rank], abs=1e-4)
            checked += 1
    assert checked > 20


def test_boxes_lead_back_to_the_photo(tmp_path):
    """A bright dot in a wide photo is found, and the box in the photo is around it."""
    picture = np.full((80, 200, 3), 40, np.uint8)
    picture[58:62, 118:122] = 255
    images.write(tmp_path / "dot.png", picture)
    net = small_network(size=40)
    with torch.no_grad():
        net.module.conv1.weight.fill_(0.1)
    top = top_patches(net, tmp_path, layers=["conv1"], count=1)
    assert top.photos_hw == [(80, 200)]
    assert top.regions_xyxy == [(60.0, 0.0, 140.0, 80.0)]
    x0, y0, x1, y1 = top.box_in_photo("conv1", 0, 0)
    assert x1 - x0 == pytest.approx(6)  # three pixels of 40, of a square of 80
    assert x0 <= 119 <= x1
    assert y0 <= 59 <= y1
    patch = patches_of(top, "conv1", 0, side=12)[0]
    assert patch.image.max() > 200
    assert patch.box_xyxy == (x0, y0, x1, y1)


def test_cut_is_exact_and_striped_where_there_is_nothing():
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    assert (cut(picture, (3, 4, 13, 12), 8, 10) == picture[4:12, 3:13]).all()
    over = cut(picture, (-5, -5, 5, 5), 10, 10)
    assert (over[5:, 5:] == picture[:5, :5]).all()
    assert set(np.unique(over[:5])) == {196, 222}
    within = cut(picture, (0, 0, 10, 10), 10, 10, within_xyxy=(5, 0, 30, 20))
    assert (within[:, 5:] == picture[:10, 5:10]).all()
    assert set(np.unique(within[:, :5])) == {196, 222}
    assert to_photo((10, 0, 20, 10), (100, 50, 180, 130), 40) == (120, 50, 140, 70)


def test_numbers_of_a_unit(net, photo_folder):
    top = top_patches(net, photo_folder, layers=["conv1", "relu2"])
    tally = top.layer("conv1")
    assert tally.histogram.sum(1).tolist() == [tally.sampled] * 8
    assert tally.sampled == 24 * 14 * 14
    with torch.no_grad():
        pixels = np.stack([top.photo_pixels(i) for i in range(24)])
        values = net.read(net.prepare(pixels), ["relu2"])["relu2"]
    relu = top.layer("relu2")
    assert np.allclose(relu.responses.astype(float).T, values.amax((2, 3)).T, rtol=2e-3)
    assert (relu.dead == (values.amax((0, 2, 3)) <= 0).numpy()).all()
    means = values.amax((2, 3)).reshape(3, 8, -1).mean(1).T.numpy()
    assert np.allclose(top.class_means("relu2"), means, atol=1e-4)
    assert top.classes == ["cat", "cup", "woman"]


def test_bad_input(net, photo_folder, tmp_path):
    with pytest.raises(InputError, match="holds no photo"):
        top_patches(net, tmp_path)
    with pytest.raises(UnknownNameError, match="no layer 'conv9'"):
        top_patches(net, photo_folder, layers=["conv9"])
    with pytest.raises(InputError, match="twice"):
        top_patches(net, photo_folder, layers=["conv1", "conv1"])
    with pytest.raises(InputError, match="count must be"):
        top_patches(net, photo_folder, count=0)
    with pytest.raises(UnknownNameError, match="labels must be"):
        top_patches(net, photo_folder, labels="tree")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8nothing")
    with pytest.raises(InputError, match="none of the 1 photos"):
        top_patches(net, tmp_path)


def test_one_photo_and_a_broken_one(net, photo_folder, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8nothing")
    images.write(tmp_path / "good.png", images.read(photo_folder / "cat" / "0.png"))
    top = top_patches(net, tmp_path, layers=["conv1"])
    assert len(top.photos) == 1
    assert "broken.jpg" in next(iter(top.skipped))
    assert top.kept("conv1", 0) == 1
    assert len(patches_of(top, "conv1", 0)) == 1


def test_values_that_are_not_finite_are_refused(net, photo_folder):
    net.module.conv1.bias.data[0] = float("nan")
    with pytest.raises(InputError, match="conv1 gives values that are not finite"):
        top_patches(net, photo_folder, layers=["conv1"])
