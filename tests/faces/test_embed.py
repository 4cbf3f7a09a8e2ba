import subprocess
import sys

import numpy as np
import pytest

from limner import weights
from limner.errors import (
    InputError,
    MissingExtraError,
    ShapeError,
    UnknownNameError,
    WeightsError,
    ZeroNormError,
)
from limner.faces import FaceAnalyzer, load_embedder
from limner.faces.embed import unit_rows
from limner.faces.engine import resolve_engine


@pytest.fixture(scope="module")
def chips(facenet, astronaut, hopper):
    out = []
    for image in (astronaut, hopper, astronaut[:, ::-1].copy()):
        out.append(facenet.analyze(image, embed=False, keep_chips=True)[0].chip)
    return out


@pytest.fixture
def tiny_onnx(tmp_path):
    """An embedder that gives the mean of each colour channel of a chip."""
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
    graph = helper.make_graph(
        [node],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "tiny.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("name", ["facenet", "dlib", "sface"])
def test_engines_agree(name, request, astronaut, hopper):
    base = load_embedder(name, engine="onnxruntime")
    analyzer = FaceAnalyzer(embedder=base)
    chips = [
        analyzer.analyze(image, embed=False, keep_chips=True)[0].chip
        for image in (astronaut, hopper)
    ]
    reference = base.embed_chips(chips)
    from limner.device import supports_bf16

    engines = ["torch"]
    if not supports_bf16():
        pytest.importorskip("torch")
    try:
        load_embedder(name, engine="openvino")
        engines.append("openvino")
    except MissingExtraError:
        pass
    for engine in engines:
        other = load_embedder(name, engine=engine)
        assert other.embedder_id == base.embedder_id
        rows = other.embed_chips(chips)
        if supports_bf16():
            assert (rows * reference).sum(axis=1).min() > 0.999
        else:
            np.testing.assert_allclose(rows, reference, atol=1e-4)


def test_facenet_runs_in_8_bit_integers_unless_asked_otherwise(chips):
    exact = load_embedder("facenet", engine="onnxruntime")
    default, named = load_embedder("facenet"), load_embedder("facenet", engine="int8")
    assert default.embedder_id == named.embedder_id == exact.embedder_id
    rows = default.embed_chips(chips)
    np.testing.assert_array_equal(rows, named.embed_chips(chips))
    np.testing.assert_array_equal(rows, default.single_threaded().embed_chips(chips))
    apart = ((rows - exact.embed_chips(chips)) ** 2).sum(axis=1)
    assert 0 < apart.min()
    assert apart.max() < 0.005  # the threshold of two photos is 1.2


def test_embedders_without_an_int8_graph_say_so(tiny_onnx):
    with pytest.raises(UnknownNameError, match="dlib has no graph for the engine 'int8'; use"):
        load_embedder("dlib", engine="int8")
    with pytest.raises(UnknownNameError, match="the engine 'int8' cannot run"):
        load_embedder(tiny_onnx, engine="int8")


def test_the_same_face_is_near_and_another_far(facenet, dlib_net, astronaut, hopper):
    for analyzer in (facenet, dlib_net):
        a = analyzer.analyze(astronaut)[0].embedding.vector
        b = analyzer.analyze(astronaut[:, ::-1].copy())[0].embedding.vector
        c = analyzer.analyze(hopper)[0].embedding.vector
        near, far = ((a - b) ** 2).sum(), ((a - c) ** 2).sum()
        assert near < 0.3 * far


def test_embeddings_have_length_one_and_do_not_depend_on_the_batch(facenet, chips):
    embedder = facenet.embedder
    together = embedder.embed_chips(chips * 7)
    assert together.shape == (21, 128)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([embedder.embed_chips([chip]) for chip in chips])
    np.testing.assert_allclose(together[:3], alone, atol=1e-5)
    assert embedder.embed_chips([]).shape == (0, 128)


def test_mirroring_averages_a_chip_and_its_mirror_image(facenet, chips):
    mirrored, plain = load_embedder("facenet", mirror=True), load_embedder("facenet")
    assert mirrored.embedder_id == plain.embedder_id + "-m"
    mirrored.centre = plain.centre = None
    a = plain.embed_chips(chips)
    b = plain.embed_chips([np.ascontiguousarray(chip[:, ::-1]) for chip in chips])
    np.testing.assert_allclose(mirrored.embed_chips(chips), unit_rows(a + b), atol=1e-5)
    flipped = mirrored.embed_chips([np.ascontiguousarray(chip[:, ::-1]) for chip in chips])
    np.testing.assert_allclose(mirrored.embed_chips(chips), flipped, atol=1e-5)


def test_the_centre_is_taken_from_unit_embeddings(facenet, chips):
    bare = load_embedder("facenet")
    centre, bare.centre = bare.centre, None
    nuisance, bare.nuisance = bare.nuisance, None
    assert 0.05 < np.linalg.norm(centre) < 0.5
    expected = bare.embed_chips(chips) - centre
    assert nuisance.shape == (1, 128)
    np.testing.assert_allclose(nuisance @ nuisance.T, np.eye(1), atol=1e-4)
    for direction in nuisance:  # what lies along a direction of nuisance is gone
        expected -= (expected @ direction)[:, None] * direction
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(facenet.embedder.embed_chips(chips), expected, atol=1e-5)
    assert load_embedder("dlib").centre is None
    assert bare.single_threaded().centre is None


def test_duo_adds_the_distances_of_its_parts(astronaut, hopper):
    pair = [FaceAnalyzer(embedder=name, mirror=True) for name in ("facenet", "sface", "duo")]
    distances = []
    for analyzer in pair:
        a, b = (analyzer.analyze(image)[0].embedding.vector for image in (astronaut, hopper))
        distances.append(float(((a - b) ** 2).sum()))
    parts = {part.name: part.weight for part in weights.spec("duo").parts}
    total = sum(parts.values())
    expected = (parts["facenet"] * distances[0] + parts["sface"] * distances[1]) / total
    assert distances[2] == pytest.approx(expected, abs=1e-5)
    assert pair[2].embedder.dim == 256
    # Its parts are mirrored anyway: asking for it changes nothing, and is no other embedder.
    assert pair[2].embedder.embedder_id == load_embedder("duo").embedder_id
    assert all(part.mirror for part, _ in load_embedder("duo").parts)


def test_duo_embeds_the_chips_that_it_keeps(astronaut):
    analyzer = FaceAnalyzer(embedder="duo")
    face = analyzer.analyze(astronaut, keep_chips=True)[0]
    again = analyzer.embedder.embed_chips([face.chip])[0]
    np.testing.assert_allclose(again, face.embedding.vector, atol=1e-5)
    with pytest.raises(ShapeError, match="duo"):
        analyzer.embedder.embed_chips([np.zeros((160, 160, 3), np.uint8)])


def test_a_users_own_network_is_fed_as_its_options_say(tiny_onnx):
    options = weights.OnnxOptions(mean=(10.0, 20.0, 30.0), std=2.0, colour="bgr")
    embedder = load_embedder(tiny_onnx, options=options)
    chip = np.zeros((64, 64, 3), np.uint8) + np.array([100, 150, 200], np.uint8)
    expected = (np.array([200, 150, 100]) - [10, 20, 30]) / 2
    got = embedder.embed_chips([chip])[0]
    np.testing.assert_allclose(got, expected / np.linalg.norm(expected), atol=1e-5)
    assert embedder.dim == 3
    assert embedder.embedder_id.startswith("tiny-")
    assert embedder.embedder_id != load_embedder(tiny_onnx).embedder_id


def test_a_users_own_network_works_on_photos(tiny_onnx, astronaut):
    faces = FaceAnalyzer(embedder=tiny_onnx).analyze(astronaut, keep_chips=True)
    assert faces[0].chip.shape == (64, 64, 3)
    assert faces[0].embedding.dim == 3
    with pytest.raises(UnknownNameError, match="torch"):
        load_embedder(tiny_onnx, engine="torch")


def test_wrong_chips_names_and_answers_are_refused(facenet, tmp_path):
    with pytest.raises(ShapeError, match="160"):
        facenet.embedder.embed_chips([np.zeros((10, 10, 3), np.uint8)])
    with pytest.raises(ShapeError, match="float"):
        facenet.embedder.embed_chips([np.zeros((160, 160, 3))])
    with pytest.raises(UnknownNameError, match="facenet, dlib, sface, duo"):
        load_embedder("arcface")
    with pytest.raises(UnknownNameError, match="engine"):
        load_embedder("facenet", engine="tpu")
    with pytest.raises(ZeroNormError):
        unit_rows(np.zeros((1, 4), np.float32))
    missing = tmp_path / "none.onnx"
    with pytest.raises((WeightsError, InputError), match=r"none\.onnx"):
        load_embedder(missing)


@pytest.mark.parametrize(("threads", "streams", "in_all"), [(1, 4, 4), (2, 2, 4), (None, 1, 4)])
def test_openvino_answers_callers_side_by_side(monkeypatch, tmp_path, threads, streams, in_all):
    """One stream would let the threads of `analyze_many` take turns on one core."""
    seen = {}

    class Core:
        def compile_model(self, path, device, settings):
            seen.update(settings)

    monkeypatch.setattr("limner.faces.engine._has_openvino", lambda: True)
    monkeypatch.setattr("limner.faces.engine._openvino_core", Core)
    monkeypatch.setenv("LIMNER_THREADS", "4")
    resolve_engine("openvino", "cpu", onnx_path=tmp_path / "net.onnx", module=None, threads=threads)
    assert (seen["NUM_STREAMS"], seen["INFERENCE_NUM_THREADS"]) == (streams, in_all)


def test_ctrl_c_after_openvino_is_an_interrupt_and_no_crash(dlib_net):
    """Two engines, the first one given back first: the stack for signals must be there."""
    pytest.importorskip("openvino")
    program = """
import gc, os, signal
from limner.faces import load_embedder

one, two = (load_embedder("dlib", engine="openvino") for _ in range(2))
del one
gc.collect()
del two
gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
