"""Feed-forward stylization: without seams, at any size, evenly strong."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import toy_stylizers as toys
from hypothesis import given
from hypothesis import strategies as st

from limner import weights
from limner.errors import ImageError, InputError, ShapeError, UnknownNameError, WeightsError
from limner.images import read_float
from limner.style import fast, fast_graph, fast_tiles
from limner.style.colour import recolour_style
from limner.style.fast_paint import FastOptions, FastPainter


def session(model):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def photo(shared_data):
    from limner.images import read_float

    return read_float(shared_data / "contents" / "tubingen.png")[::2, ::2].copy()


@pytest.fixture(scope="module")
def starry(shared_data):
    from limner.images import read_float

    return read_float(shared_data / "paintings" / "00_Gogh_The_Starry_Night.jpg")


def arbitrary(starry, **options):
    """The transformer as a `Network`, and the vector of a painting."""
    parts = weights.load("arbitrary_style").parts
    predict = fast_graph.read_graph(parts[0].files["onnx"])
    square = fast._resized(starry[:, : starry.shape[0]], 256)
    vector = session(predict).run(None, {"style_image": square[None]})[0]
    model = fast_graph.read_graph(parts[1].files["onnx"])
    fast_graph.in_floats(model)
    return fast_tiles.Network(model, **options), {"mobilenet_conv/Conv/BiasAdd": vector}


def multistyle(**options):
    model = fast_graph.read_graph(weights.load("multistyle26").files["onnx"])
    network = fast_tiles.Network(model, **options)
    return network, {"style_weights": fast.parse_builtin("starry")}


def trained(**options):
    """A network as `style-train` exports it, of random weights."""
    import torch

    from limner.nets.painter import Painter
    from limner.style.fast_export import onnx_of

    torch.manual_seed(0)
    return fast_tiles.Network(onnx_of(Painter(8)), **options), {}


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    tile=st.integers(1, 20),
    halo=st.integers(0, 9),
)
def test_tiles_cover_every_pixel_once_and_read_far_enough(rows, columns, tile, halo):
    height, width = 16 * rows, 16 * columns
    count = np.zeros((height, width), int)
    for t in fast_tiles.tiles(height, width, tile=16 * tile, halo=16 * halo):
        count[t.y0 : t.y1, t.x0 : t.x1] += 1
        assert t.top in (0, t.y0 - 16 * halo) or t.top == 0
        assert t.bottom == min(height, t.y1 + 16 * halo)
        assert t.left % 16 == t.top % 16 == 0
        assert t.right == min(width, t.x1 + 16 * halo)
    assert (count == 1).all()


@given(height=st.integers(1, 70), width=st.integers(1, 70), border=st.sampled_from([0, 5, 32]))
def test_padding_reflects_and_keeps_the_picture(height, width, border):
    image = np.random.default_rng(0).random((height, width, 3)).astype(np.float32)
    out = fast_tiles.padded(image, border=border)
    assert all(n % 16 == 0 and n >= 32 for n in out.shape[:2])
    assert np.array_equal(out[border : border + height, border : border + width], image)
    if height > 1 and width > 1:
        after = out.shape[0] - height - border, out.shape[1] - width - border
        wanted = np.pad(image, ((border, after[0]), (border, after[1]), (0, 0)), mode="reflect")
        assert np.array_equal(out, wanted)


def test_split_norms_leaves_the_result_as_it_was(tmp_path):
    path = toys.normalising(tmp_path / "toy.onnx")
    model = fast_graph.read_graph(path)
    picture = np.random.default_rng(1).random((1, 3, 48, 64), dtype=np.float32)
    before = session(model).run(None, {"picture": picture})[0]
    fast_graph.split_norms(model)
    assert len(fast_graph.statistics(model)) == 2
    after = session(model).run(None, {"picture": picture})[0]
    np.testing.assert_allclose(after, before, atol=2e-6)


def test_a_network_told_its_own_statistics_gives_its_own_result(tmp_path):
    model = fast_graph.read_graph(toys.normalising(tmp_path / "toy.onnx"))
    network = fast_tiles.Network(model)
    image = np.random.default_rng(1).random((48, 80, 3), dtype=np.float32)
    known = network.tell(image, {})
    assert [v.shape for v in known.values()] == [(1, 5, 1, 1)] * 2
    taking = network._run("taking", image, known)[0]
    np.testing.assert_allclose(taking, network._run("plain", image, {})[0], atol=2e-6)


def test_the_reach_is_measured(tmp_path):
    model = fast_graph.read_graph(toys.normalising(tmp_path / "toy.onnx"))
    network = fast_tiles.Network(model)
    image = np.random.default_rng(1).random((64, 64, 3), dtype=np.float32)
    assert network.halo(network.tell(image, {})) == 16  # two 3 x 3 convolutions look 2 px far


@pytest.mark.parametrize("kind", ["arbitrary", "multistyle", "trained"])
def test_tiles_equal_the_undivided_picture(kind, photo, starry):
    kinds = {"arbitrary": lambda **o: arbitrary(starry, **o)}
    make = kinds.get(kind, multistyle if kind == "multistyle" else trained)
    network, extra = make()
    whole = network(photo, extra)
    statistics = network.tell(fast_tiles.padded(photo, border=32), extra)
    tiled, _ = make(whole_pixels=1, tile=64)
    tiled.tell = lambda image, extra: statistics
    np.testing.assert_allclose(tiled(photo, extra), whole, atol=1e-4)
    assert tiled._halo == 64


def test_tiles_with_sampled_statistics_stay_near_and_show_no_seam(photo, starry):
    network, extra = arbitrary(starry)
    whole = network(photo, extra)
    tiled, _ = arbitrary(starry, whole_pixels=photo.shape[0] * photo.shape[1] // 2, tile=64)
    out = tiled(photo, extra)
    assert np.abs(out - whole).mean() < 0.08
    # The step across a tile's edge is no larger than elsewhere, compared with the whole.
    extra_step = np.abs(np.diff(out, axis=1)) - np.abs(np.diff(whole, axis=1))
    at_edges = extra_step[:, 31::64].mean()  # tiles begin 32 px outside
    assert abs(at_edges - extra_step.mean()) < 0.01


def test_the_floating_point_graph_stays_near_the_quantised_one(photo, starry):
    parts = weights.load("arbitrary_style").parts
    network, extra = arbitrary(starry)
    square = fast._resized(photo, 384)[:384, :384]
    quantised = session(fast_graph.read_graph(parts[1].files["onnx"]))
    wanted = quantised.run(None, {"content_image": square[None], **extra})[0][0]
    assert np.abs(network(square, extra) - wanted).mean() < 0.04


def test_dequantised_weights_are_those_of_the_runtime():
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.integers(-128, 127, (4, 3, 2, 2)).astype(np.int8),
        "s": rng.random(4).astype(np.float32),
        "z": rng.integers(-5, 5, 4).astype(np.int8),
    }
    node = helper.make_node("DequantizeLinear", list(arrays), ["y"], axis=0)
    graph = helper.make_graph(
        [node],
        "g",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (4, 3, 2, 2))],
        [numpy_helper.from_array(v, k) for k, v in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
    model.ir_version = 8
    wanted = session(model).run(None, {})[0]
    np.testing.assert_array_equal(fast_graph._dequantised(list(arrays.values()), 0), wanted)


def test_strength_is_even(photo, starry):
    paint = fast.painting([starry])
    full = fast._difference(photo, paint(photo))
    assert full > 10
    for strength in (0.25, 0.5, 0.75):
        share = fast._difference(photo, paint(photo, strength=strength)) / full
        assert share == pytest.approx(strength, abs=0.04)
    assert np.array_equal(paint(photo, strength=0.0), photo)


def test_several_paintings_blend(photo, starry, shared_data):
    from limner.images import read_float

    wave = read_float(shared_data / "paintings" / "04_Hokusai_The_Great_Wave_off_Kanagawa.jpg")
    a, b = (fast.painting([s])(photo) for s in (starry, wave))
    same = fast.painting([starry, wave], shares=[2, 0])(photo)
    np.testing.assert_allclose(same, a, atol=1e-5)
    mixed = fast.painting([starry, wave])(photo)
    near, far = fast._difference(a, mixed), fast._difference(a, b)
    assert 0 < near < far


@pytest.mark.parametrize("size", [(8, 8), (1, 2000), (33, 47), (129, 64)])
def test_any_size_comes_back_the_same(size, starry):
    content = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    for paint in (fast.painting([starry]), fast.builtin("weave")):
        out = paint(content)
        assert out.shape == content.shape
        assert out.dtype == np.float32
        assert np.isfinite(out).all()
        assert out.min() >= 0
        assert out.max() <= 1


def test_a_style_of_one_colour_is_accepted(photo):
    out = fast.painting([np.full((50, 40, 3), 0.5, np.float32)])(photo)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("colour", ["moments", "histogram"])
def test_a_painting_gets_the_colours_of_the_content_before_it_is_imitated(
    photo, colour, shared_data
):
    scream = read_float(shared_data / "paintings" / "01_Munch_The_Scream.jpg")
    recoloured = recolour_style(fast._resized(scream, 256), fast._resized(photo, 256), colour)
    paint = fast.painting([scream], colour=colour)
    assert paint.matches
    out = paint(photo)
    np.testing.assert_allclose(out, fast.painting([recoloured])(photo), atol=1e-5)
    plain = fast.painting([scream])(photo)
    wanted = photo.mean((0, 1))
    assert np.abs(out.mean((0, 1)) - wanted).sum() < np.abs(plain.mean((0, 1)) - wanted).sum()
    painter = FastPainter(
        [shared_data / "paintings" / "01_Munch_The_Scream.jpg"],
        options=FastOptions(colour=colour),
    )
    np.testing.assert_array_equal(painter(photo), out)


def test_built_in_styles_have_names_numbers_and_shares():
    assert len(set(fast.BUILTIN_STYLES)) == 26
    assert fast.parse_builtin("weave")[17] == 1
    assert np.array_equal(fast.parse_builtin("17"), fast.parse_builtin("weave"))
    mix = fast.parse_builtin("starry:3, 17:1")
    assert mix[19] == pytest.approx(0.75)
    assert mix.sum() == pytest.approx(1)


@pytest.mark.parametrize("choice", ["26", "-1", "stary", "", "²", "weave,"])
def test_an_unknown_style_says_which_there_are(choice):
    with pytest.raises(UnknownNameError, match="starry"):
        fast.load_fast(choice)


@pytest.mark.parametrize("choice", ["weave:0", "weave:-1", "weave:nan", "weave:x", "weave:"])
def test_a_share_must_be_positive(choice):
    with pytest.raises(InputError, match="positive"):
        fast.parse_builtin(choice)


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_a_network_of_ones_own(tmp_path, photo, top):
    path = toys.inverting(tmp_path / "mine.onnx", top)
    paint = fast.load_fast(path)
    np.testing.assert_allclose(paint(photo), 1 - photo, atol=1e-6)
    assert paint.name == "mine.onnx"
    np.testing.assert_allclose(paint(photo, strength=0.5), 0.5, atol=0.2)
    forced = fast.own(path, value_range="byte" if top > 1 else "unit")
    assert np.array_equal(forced(photo), paint(photo))


def test_what_is_no_stylizer_is_refused(tmp_path):
    from onnx import helper

    with pytest.raises(ImageError, match="does not exist"):
        fast.load_fast(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(WeightsError, match="not an ONNX graph"):
        fast.load_fast(tmp_path / "bad.onnx")
    halves = toys.save(
        tmp_path / "half.onnx",
        [
            helper.make_node(
                "AveragePool", ["picture"], ["out"], kernel_shape=[2, 2], strides=[2, 2]
            )
        ],
        {},
    )
    with pytest.raises(WeightsError, match="not a stylizer"):
        fast.load_fast(halves)
    classes = toys.save(
        tmp_path / "c.onnx", [helper.make_node("Relu", ["picture"], ["out"])], {}, shape=(1, 10)
    )
    with pytest.raises(WeightsError, match="none of its inputs"):
        fast.load_fast(classes)


def test_bad_input_is_refused(photo, starry):
    paint = fast.builtin("0")
    with pytest.raises(InputError, match="strength"):
        paint(photo, strength=1.5)
    with pytest.raises(InputError, match="strength"):
        paint(photo, strength=float("nan"))
    with pytest.raises(ShapeError):
        paint(photo[..., 0])
    bad = photo.copy()
    bad[0, 0] = np.nan
    with pytest.raises(InputError, match="outside"):
        paint(bad)
    with pytest.raises(InputError, match="shares"):
        fast.painting([starry], shares=[1, 2])
    with pytest.raises(InputError, match="all be 0"):
        fast.painting([starry], shares=[0])
    with pytest.raises(InputError, match="value_range"):
        fast.own("x.onnx", value_range="percent")
