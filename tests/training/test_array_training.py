"""Networks of signals and volumes: distortions, training, class maps, embeddings, files."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_arrays import toy_series, toy_volumes, write_ucr

from limner.errors import InputError, ShapeError, UnknownNameError
from limner.gallery import Gallery
from limner.training.alike import fit_head, most_alike
from limner.training.array_fit import ArrayRecipe, BalancedBatches
from limner.training.array_model import ArrayNet, load_model
from limner.training.array_plots import choose_items, orthogonal_slices, plot_series, plot_volumes
from limner.training.array_report import answer, measure
from limner.training.depths import inner_depth
from limner.training.distort import SeriesDistortion, VolumeDistortion
from limner.training.series import classify_series, train_series
from limner.training.volumes import classify_volume, train_volumes

QUICK = ArrayRecipe(epochs=8, batch=16, rate=1e-2, distortion=SeriesDistortion(shift=2))
QUICK_3D = ArrayRecipe(epochs=6, batch=10, rate=1e-2, distortion=VolumeDistortion(shift=1))


@pytest.fixture(scope="module")
def beats(tmp_path_factory):
    """A small model of series, written to a folder."""
    folder = tmp_path_factory.mktemp("beats")
    report = train_series(
        toy_series(80), test=toy_series(40, seed=9), recipe=QUICK, width=8, members=2, out=folder
    )
    return report, folder


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    """A small model of volumes, written to a folder."""
    folder = tmp_path_factory.mktemp("bodies")
    report = train_volumes(
        toy_volumes(40), test=toy_volumes(20, seed=9), recipe=QUICK_3D, width=4, out=folder
    )
    return report, folder


# --- distortions ------------------------------------------------------------------------


def test_a_shifted_series_is_the_series_shifted():
    x = torch.arange(20.0).expand(50, 1, 20)
    moved = SeriesDistortion(shift=3, gain=0, noise=0)(x, torch.Generator().manual_seed(0))
    steps = moved[:, 0, 10] - 10
    assert set(steps.tolist()) == set(range(-3, 4))
    for row, step in zip(moved[:, 0], steps, strict=True):
        assert torch.equal(row, (torch.arange(20) + step).clamp(0, 19))


def test_gain_and_noise_have_the_deviations_they_say():
    x = torch.ones(2000, 1, 50)
    moved = SeriesDistortion(shift=0, gain=0.2, noise=0.05)(x, torch.Generator().manual_seed(0))
    means = moved.mean(dim=2)
    assert abs(float(means.std()) - 0.2) < 0.01
    assert abs(float((moved - means[..., None]).std()) - 0.05) < 0.005


def test_mirrored_and_turned_volumes_keep_their_voxels_and_stay_in_their_axes():
    x = torch.rand(64, 1, 6, 6, 6)
    moved = VolumeDistortion("dhw", shift=0)(x, torch.Generator().manual_seed(0))
    assert torch.equal(moved.flatten(1).sort(dim=1)[0], x.flatten(1).sort(dim=1)[0])
    assert len({tuple(v.flatten().tolist()) for v in moved - x}) > 40
    video = VolumeDistortion("w", shift=0)(x, torch.Generator().manual_seed(0))
    same = [torch.equal(a, b) for a, b in zip(video, x, strict=True)]
    mirrored = [torch.equal(a, b.flip(3)) for a, b in zip(video, x, strict=True)]
    assert all(a or b for a, b in zip(same, mirrored, strict=True))
    assert any(same)
    assert any(mirrored)


def test_a_shift_brings_zeros_and_loses_nothing_in_the_middle():
    x = torch.zeros(30, 1, 9, 9, 9)
    x[:, :, 3:6, 3:6, 3:6] = 1
    moved = VolumeDistortion("", shift=3)(x, torch.Generator().manual_seed(0))
    assert moved.sum(dim=(1, 2, 3, 4)).tolist() == [27.0] * 30
    assert len({tuple(torch.nonzero(v)[0].tolist()) for v in moved}) > 10


def test_a_free_rotation_turns_without_stretching():
    """The distance of a point from the middle stays, and so does the angle it is turned by."""
    side = 21
    x = torch.zeros(40, 1, side, side, side)
    x[:, :, 10, 10, 15:18] = 1
    moved = VolumeDistortion("", degrees=90, shift=0)(x, torch.Generator().manual_seed(1))
    grid = torch.stack(torch.meshgrid(*[torch.arange(side) - 10.0] * 3, indexing="ij"), dim=-1)
    centre = (moved[:, 0, ..., None] * grid).sum(dim=(1, 2, 3)) / moved.sum(dim=(1, 2, 3, 4))[
        :, None
    ]
    assert torch.allclose(centre.norm(dim=1), torch.full((40,), 6.0), atol=0.35)
    assert float(centre[:, 2].min()) < 4
    none = VolumeDistortion("", degrees=0, shift=0)(x, torch.Generator())
    assert torch.equal(none, x)


def test_the_same_generator_draws_the_same_distortion():
    x = torch.rand(4, 1, 8, 8, 8)
    draw = VolumeDistortion("dhw", degrees=20, shift=1)
    first, second = (draw(x, torch.Generator().manual_seed(s)) for s in (1, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, draw(x, torch.Generator().manual_seed(2)))


def test_distortions_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="letters of 'dhw'"):
        VolumeDistortion("dx")
    with pytest.raises(InputError, match=r"0\.\.180"):
        VolumeDistortion(degrees=200)
    with pytest.raises(InputError, match="0 or larger, got -1"):
        SeriesDistortion(shift=-1)


# --- training ---------------------------------------------------------------------------


def test_a_network_learns_signals_and_its_figures_are_those_of_sklearn(beats):
    from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

    report, _ = beats
    scores = report.model.scores(report.test.values)
    answers = scores.argmax(axis=1)
    figures = report.figures
    assert figures.accuracy == accuracy_score(report.test.labels, answers) >= 0.9
    assert np.isclose(figures.macro_f1, f1_score(report.test.labels, answers, average="macro"))
    assert np.isclose(figures.roc_auc, roc_auc_score(report.test.labels, scores[:, 1]))
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert report.train_counts == {"one": 40, "two": 40}


def test_macro_f1_leaves_out_classes_that_are_nowhere():
    from sklearn.metrics import f1_score

    labels = np.array([0, 0, 1, 1, 3], np.int64)
    scores = np.eye(5, dtype=np.float32)[[0, 1, 1, 1, 0]]
    figures = measure(labels, scores, tuple("abcde"))
    expected = f1_score(labels, scores.argmax(axis=1), average="macro", zero_division=0)
    assert np.isclose(figures.macro_f1, expected)
    assert figures.recall == {"a": 0.5, "b": 1.0, "c": None, "d": 0.0, "e": None}
    assert figures.roc_auc is None
    assert figures.confusion[0] == (1, 1, 0, 0, 0)


def test_the_same_seed_trains_the_same_network(beats):
    report, _ = beats
    again = train_series(
        toy_series(80), test=toy_series(40, seed=9), recipe=QUICK, width=8, members=2
    )
    assert again.model.embedder_id == report.model.embedder_id
    other = train_series(toy_series(80), seed=1, recipe=replace(QUICK, epochs=1), width=8)
    assert other.model.embedder_id != report.model.embedder_id
    assert other.out is None


def test_a_network_learns_volumes(bodies):
    report, _ = bodies
    assert report.figures.accuracy >= 0.9
    assert report.model.flips
    values = report.test.values[:4]
    # Answers are averaged over mirror images: a mirrored volume gets the same one.
    mirrored = report.model.scores(np.ascontiguousarray(values[..., ::-1]))
    assert np.allclose(report.model.scores(values), mirrored, atol=1e-6)


@pytest.mark.parametrize("kind", ["beats", "bodies"])
def test_a_model_reads_from_its_folder_as_it_was(kind, request):
    report, folder = request.getfixturevalue(kind)
    model = load_model(folder)
    assert model.embedder_id == report.model.embedder_id
    assert model.net == report.model.net
    values = report.test.values[:3]
    assert np.array_equal(model.scores(values), report.model.scores(values))
    assert model.reference_names == report.model.reference_names
    assert model.head is not None


def test_class_maps_are_as_large_as_the_input_and_add_up_to_the_difference(bodies, beats):
    for report, _ in (bodies, beats):
        values = report.test.values[:4]
        maps = report.model.class_maps(values)
        assert maps.shape == (4, 2, *values.shape[2:])
    # In a network without enlargement the mean over places is the score (limner.nets.nd);
    # here: the answer's own map outweighs the other's where the network is sure.
    report, _ = beats
    scores, maps = (
        report.model.scores(report.test.values),
        report.model.class_maps(report.test.values),
    )
    sure = scores.max(axis=1) > 0.9
    assert sure.sum() > 10
    gap = (maps[:, 1] - maps[:, 0]).mean(axis=1)
    bias = np.mean([float(n.head.bias[1] - n.head.bias[0]) for n in report.model.members])
    assert (np.sign(gap + bias)[sure] == np.sign(scores[:, 1] - 0.5)[sure]).mean() > 0.9


def test_a_class_map_points_at_what_was_added():
    """A known place: only one short pulse tells the classes apart, so the map must be there."""
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal((80, 64)).astype(np.float32)
    noise[:, 5] += 2  # in both classes, so that scaling sees the same amplitude
    places = rng.integers(15, 55, 80)
    labels = np.arange(80) % 2
    noise[np.arange(80)[labels == 1], places[labels == 1]] += 2
    from limner.training.samples import from_names

    samples = from_names(
        noise[:, None], ["n" if label == 0 else "p" for label in labels], names=[""] * 80
    )
    recipe = replace(QUICK, epochs=12, distortion=None)
    report = train_series(samples, test=samples, recipe=recipe, width=8, members=1)
    assert report.figures.accuracy > 0.95
    maps = report.model.class_maps(samples.values[labels == 1])[:, 1]
    loudest = maps[:, 10:].argmax(axis=1) + 10
    # Maps are four samples coarse and see to both sides: near it, and moving with it.
    assert np.median(np.abs(loudest - places[labels == 1])) <= 10
    assert np.corrcoef(loudest, places[labels == 1])[0, 1] > 0.9


SLOWER = ("contrastive", "pairwise", "softmax", "center", "asoftmax", "cosface")


@pytest.mark.parametrize(
    "loss", ["triplet", "arcface", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOWER)]
)
def test_every_loss_trains_an_embedding_of_signals(loss):
    recipe = replace(QUICK, loss=loss, epochs=6)
    report = train_series(
        toy_series(60), test=toy_series(30, seed=5), recipe=recipe, width=8, members=1, embedding=8
    )
    assert report.model.reference.shape == (60, 8)
    assert np.allclose(np.linalg.norm(report.model.reference, axis=1), 1, atol=1e-5)
    assert report.figures.accuracy >= 0.75
    assert report.model.class_maps(report.test.values[:2]).shape == (2, 2, 48)


def test_a_triplet_embedding_of_volumes_and_the_focal_loss():
    recipe = replace(QUICK_3D, loss="triplet", miner="batch_hard", epochs=5)
    report = train_volumes(
        toy_volumes(30), test=toy_volumes(10, seed=3), recipe=recipe, width=4, embedding=8
    )
    assert not report.model.flips
    assert report.figures.accuracy >= 0.8
    focal = train_volumes(
        toy_volumes(30), recipe=replace(QUICK_3D, loss="focal", epochs=2), width=4
    )
    assert focal.tested_on == "20% held out"


@pytest.mark.slow
@pytest.mark.parametrize("net", ["nn4_small2_half", "frmodel_half"])
def test_inception_networks_learn_signals_and_volumes(net):
    report = train_series(
        toy_series(48),
        test=toy_series(20, seed=3),
        recipe=replace(QUICK, rate=3e-3),
        net=net,
        members=1,
    )
    assert report.figures.accuracy >= 0.8
    deep = train_volumes(toy_volumes(16), recipe=replace(QUICK_3D, epochs=1), net=net)
    assert len(deep.model.scores(deep.test.values)) == len(deep.test)


def test_what_cannot_be_trained_is_refused():
    samples = toy_series(20)
    one = samples.take(np.flatnonzero(samples.labels == 0))
    with pytest.raises(InputError, match=r"at least two classes, got 1 \(one\)"):
        train_series(one, test=one)
    with pytest.raises(InputError, match="trains an embedding; give its width"):
        train_series(samples, recipe=replace(QUICK, loss="triplet"))
    with pytest.raises(InputError, match="trains a classifier; leave the embedding out"):
        train_series(samples, recipe=QUICK, embedding=4)
    with pytest.raises(UnknownNameError, match="loss must be one of"):
        train_series(samples, recipe=replace(QUICK, loss="tripplet"), embedding=4)
    with pytest.raises(UnknownNameError, match="net must be one of resnet, frmodel"):
        train_series(samples, recipe=QUICK, net="vgg")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="members must be 1 or larger, got 0"):
        train_series(samples, recipe=QUICK, members=0)
    with pytest.raises(InputError, match="epochs must be 1"):
        ArrayRecipe(epochs=0)
    short = replace(samples, values=samples.values[..., :40])
    with pytest.raises(InputError, match="make them equal"):
        train_series(samples, test=short)


def test_the_depth_inside_a_body_is_the_distance_to_its_outside():
    body = np.zeros((1, 1, 20, 20, 20), np.float32)
    body[0, 0, 4:15, 4:15, 4:15] = 255
    depths = inner_depth(body)[0, 0] * 4  # shares of a fifth of the side
    assert depths[9, 9, 9] == 6
    assert depths[4, 9, 9] == 1
    assert depths[9, 9, 3] == 0
    assert (depths > 0).sum() == 11**3
    net = ArrayNet("volumes", "resnet", (1, 20, 20, 20), ("a", "b"), width=4, depths=True)
    assert net.scale(body).shape == (1, 2, 20, 20, 20)
    assert net.build()(torch.from_numpy(net.scale(body))).shape == (1, 2)


def test_balanced_batches_hold_every_class_alike():
    labels = torch.tensor([0] * 50 + [1] * 3)
    batches = BalancedBatches(labels, batch=10)
    plan = batches.plan(torch.Generator().manual_seed(0))
    assert len(plan) == len(batches) == 5
    assert all(int((labels[rows] == 1).sum()) == 5 == len(rows) - 5 for rows in plan)


# --- asking -----------------------------------------------------------------------------


def test_answers_with_and_without_labels(beats, tmp_path):
    _, folder = beats
    toy = toy_series(6, seed=9)
    plain = write_ucr(tmp_path / "plain.txt", toy, labelled=False)
    answers = classify_series(folder, plain)
    assert [a.truth for a in answers] == [None] * 6
    assert [a.label for a in answers] == [a.label for a in classify_series(folder, toy)]
    assert all(a.class_map.shape == (48,) for a in answers)
    with pytest.raises(ShapeError, match=r"reads series of \(1, 48\).*got \(1, 40\)"):
        classify_series(folder, replace(toy, values=toy.values[..., :40]))
    with pytest.raises(InputError, match="is not a model of series or volumes"):
        classify_series(tmp_path, plain)
    with pytest.raises(InputError, match="one of series; give one of volumes"):
        classify_volume(folder, tmp_path)


def test_a_volume_as_an_array_or_a_file(bodies, tmp_path):
    report, folder = bodies
    volume = report.test.values[0, 0]
    np.save(tmp_path / "a.npy", volume)
    by_array, by_file = classify_volume(folder, volume), classify_volume(folder, tmp_path / "a.npy")
    assert by_array[0].scores == by_file[0].scores
    assert by_array[0].class_map.shape == volume.shape
    # another size is brought to the model's
    np.save(tmp_path / "b.npy", np.repeat(np.repeat(np.repeat(volume, 2, 0), 2, 1), 2, 2))
    assert classify_volume(folder, tmp_path / "b.npy")[0].scores == pytest.approx(
        by_array[0].scores, abs=1e-4
    )


def test_a_damaged_model_is_refused_in_one_sentence(beats, tmp_path):
    import shutil

    _, folder = beats
    copy = shutil.copytree(folder, tmp_path / "copy")
    document = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps({**document, "width": 4}))
    with pytest.raises(InputError, match="member 0 has other weights"):
        load_model(copy)
    (copy / "model.json").write_text(json.dumps({**document, "format": 99}))
    with pytest.raises(InputError, match="has format 99"):
        load_model(copy)
    (copy / "model.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as a model"):
        load_model(copy)


# --- embeddings: gallery, pair heads, look-alikes -----------------------------------------


def test_the_beat_most_like_a_training_beat_is_itself(beats):
    report, _ = beats
    train = toy_series(80)
    found = most_alike(report.model, train.take([7, 12]), top=3)
    assert [near[0].number for near in found] == [7, 12]
    assert all(near[0].distance < 1e-6 for near in found)
    vectors = report.model.vectors(train.values)
    brute = ((vectors[7] - report.model.reference) ** 2).sum(axis=1)
    assert [n.number for n in found[0]] == np.argsort(brute, kind="stable")[:3].tolist()
    with pytest.raises(InputError, match="top must be 1"):
        most_alike(report.model, train, top=0)


def test_a_pair_head_of_signals_knows_same_from_different(beats):
    report, _ = beats
    fresh = toy_series(40, seed=77)
    vectors = report.model.vectors(fresh.values)
    same = fresh.labels[:, None] == fresh.labels[None, :]
    a, b = np.triu_indices(40, 1)
    for kind in ("squared_l2", "weighted_l1", "chi_square"):
        head = fit_head(report.model, report.test, kind=kind)
        assert head is not None
        right = (head.distance(vectors[a], vectors[b]) <= head.threshold) == same[a, b]
        assert right.mean() > 0.85


def test_a_gallery_of_beats_answers_as_it_does_for_faces(beats, tmp_path):
    report, _ = beats
    train, fresh = toy_series(80), toy_series(10, seed=5)
    embeddings = report.model.embed(train.values)
    with Gallery.open(tmp_path / "beats.limner", create=True) as gallery:
        gallery.enroll_many(
            (train.classes[label], embedding)
            for label, embedding in zip(train.labels, embeddings, strict=True)
        )
        answers = [gallery.lookalike(e, top=1)[0].person for e in report.model.embed(fresh.values)]
    assert (
        np.mean([a == fresh.classes[i] for a, i in zip(answers, fresh.labels, strict=True)]) >= 0.9
    )


# --- pictures ---------------------------------------------------------------------------


def test_pictures_show_what_was_looked_at(beats, bodies, tmp_path):
    from limner.images import read

    for (report, _), draw in ((beats, plot_series), (bodies, plot_volumes)):
        answers = answer(report.model, report.test)
        chosen = choose_items(answers, 4)
        assert len(set(chosen)) == 4
        path = tmp_path / f"{draw.__name__}.png"
        draw(path, report.test.values[chosen], [answers[i] for i in chosen])
        picture = read(path).astype(int)
        warm = (picture[..., 0] - picture[..., 2] > 30).mean()
        assert warm > 0.0005
        with pytest.raises(InputError, match="1 to 12 items"):
            draw(path, report.test.values[:0], [])
    with pytest.raises(InputError, match="1 to 12 items, got 13"):
        choose_items(answers, 13)


def test_slices_go_through_the_loudest_place_of_the_body():
    volume = np.zeros((6, 7, 8), np.float32)
    volume[2, 3, 4] = 1
    heat = np.ones((6, 7, 8), np.float32)
    heat[0, 0, 0] = 5  # louder, but in empty space
    pictures = orthogonal_slices(volume, heat)
    assert [p.shape for p in pictures] == [(7, 8, 3), (6, 8, 3), (6, 7, 3)]
    for picture, place in zip(pictures, ((3, 4), (2, 4), (2, 3)), strict=True):
        brightest = np.unravel_index(picture.sum(axis=2).argmax(), picture.shape[:2])
        assert brightest == place
    with pytest.raises(InputError, match="one shape"):
        orthogonal_slices(volume, heat[:3])


def test_the_description_of_a_network_is_checked():
    with pytest.raises(UnknownNameError, match="scaling must be one of each, training"):
        ArrayNet("series", "resnet", (1, 20), ("a", "b"), scaling="none")  # type: ignore[arg-type]
    net = ArrayNet("series", "resnet", (1, 4), ("a", "b"))
    flat = net.scale(np.full((1, 1, 4), 3, np.float32))
    assert flat.tolist() == [[[0, 0, 0, 0]]]
    scaled = ArrayNet(
        "series", "resnet", (1, 4), ("a", "b"), scaling="training", mean=(1.0,), std=(2.0,)
    ).scale(np.array([[[1, 3, 5, 7]]], np.float32))
    assert scaled.tolist() == [[[0, 1, 2, 3]]]
