"""Pair heads: trained with the network, fitted to a folder, and used to judge."""

from __future__ import annotations

import json

import loss_oracles as oracle
import numpy as np
import pytest
import torch
from torch.nn import functional

from limner.errors import InputError, ShapeError, TooFewPairsError, UnknownNameError
from limner.similarity import (
    LabelledPairs,
    abs_difference,
    chi_square,
    expected_calibration_error,
    fit_pair_head,
    recalibrate,
)
from limner.training.finish import calibrate
from limner.training.losses import build_loss
from limner.training.pair_fit import draw_pairs, fit_heads
from limner.training.pairs import SiamesePairHead, pair_terms

KINDS = ("weighted_l1", "chi_square")


def faces(people=40, photos=6, dim=16, noise=0.35, seed=0):
    """Made-up embeddings: people around random directions."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(people, dim))
    rows = np.repeat(centres, photos, axis=0)
    rows = rows + noise * np.sqrt(dim) * generator.normal(size=rows.shape) / 2
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), np.repeat(np.arange(people), photos)


@pytest.mark.parametrize("kind", KINDS)
def test_terms_are_those_of_similarity(kind):
    a, b = (torch.randn(9, 5, dtype=torch.float64) for _ in range(2))
    a[0], b[0] = 0.0, 0.0
    wanted = {"weighted_l1": abs_difference, "chi_square": chi_square}[kind](a.numpy(), b.numpy())
    assert np.abs(pair_terms(kind, a, b).numpy() - wanted).max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_against_plain_loops(kind):
    torch.manual_seed(1)
    x = functional.normalize(torch.randn(12, 6, dtype=torch.float64), dim=1)
    labels = torch.arange(4).repeat(3)
    loss = build_loss("siamese", dim=6, head=kind, decay=0.01).double()
    loss.head.weights.data = torch.randn(6, dtype=torch.float64)
    loss.head.bias.data.fill_(0.3)
    wanted = oracle.siamese(
        x.tolist(), labels.tolist(), loss.head.weights.tolist(), 0.3, kind, 0.01
    )
    assert abs(float(loss(x, labels).detach()) - wanted) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_head_judges_as_its_module_does(kind):
    head = SiamesePairHead(kind, 7).double()
    head.weights.data = torch.randn(7, dtype=torch.float64)
    a, b = (functional.normalize(torch.randn(20, 7).double(), dim=1) for _ in range(2))
    trained = head.to_pair_head()
    logits = head(a, b).detach().numpy()
    distance = trained.distance(a.numpy(), b.numpy())
    np.testing.assert_allclose(trained.probability(distance), 1 / (1 + np.exp(-logits)), atol=1e-12)
    assert ((distance <= trained.threshold) == (logits >= 0)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_siamese_network_learns_which_numbers_matter(kind):
    """Half of the input is the person, half is noise: f and w together must find out."""
    torch.manual_seed(0)
    rows, labels = faces(30, 8, dim=8, noise=0.25)
    noise = np.random.default_rng(1).normal(size=rows.shape)
    x = torch.from_numpy(np.concatenate([rows, noise], axis=1)).float()
    labels = torch.from_numpy(labels)
    net = torch.nn.Linear(16, 8)
    loss = build_loss("siamese", dim=8, head=kind)

    def accuracy(rows):
        with torch.no_grad():
            y = functional.normalize(net(x[rows]), dim=1)
        first, second = torch.triu_indices(len(y), len(y), offset=1)
        same = labels[rows][first] == labels[rows][second]
        right = (loss.head(y[first], y[second]) > 0) == same
        return float((right[same].float().mean() + right[~same].float().mean()) / 2)

    train, held_out = labels < 20, labels >= 20
    before = accuracy(held_out)
    adam = torch.optim.Adam([*net.parameters(), *loss.parameters()], lr=0.02)
    for _ in range(150):
        adam.zero_grad()
        loss(functional.normalize(net(x[train]), dim=1), labels[train]).backward()
        adam.step()
    assert accuracy(held_out) > max(0.85, before + 0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_recalibration_makes_probabilities_true_and_leaves_the_order(kind):
    rows, labels = faces()
    pairs = draw_pairs(rows, labels, most=2000)
    fitted = fit_pair_head(kind, pairs.a, pairs.b, pairs.same)
    boastful = type(fitted)(
        kind=kind, weights=20 * fitted.weights, threshold=20 * fitted.threshold + 9, slope=1.0
    )
    mended = recalibrate(boastful, pairs.a, pairs.b, pairs.same)

    def error(head):
        return expected_calibration_error(
            head.probability(head.distance(pairs.a, pairs.b)), pairs.same
        )

    assert error(boastful) > 0.03 > 0.02 > error(mended)
    assert np.array_equal(mended.weights, boastful.weights)


def test_drawn_pairs_are_what_they_say():
    rows, labels = faces(12, 5)
    pairs = draw_pairs(rows, labels, most=30, seed=3)
    assert pairs.same.sum() == 30 == (~pairs.same).sum()
    of = {row.tobytes(): label for row, label in zip(rows, labels, strict=True)}
    who = np.array(
        [[of[a.tobytes()], of[b.tobytes()]] for a, b in zip(pairs.a, pairs.b, strict=True)]
    )
    assert np.array_equal(who[:, 0] == who[:, 1], pairs.same)
    counts = np.bincount(who[pairs.same, 0], minlength=12)
    assert counts.max() <= 5  # nobody has much more than a fair share, 2.5 pairs
    again = draw_pairs(rows, labels, most=30, seed=3)
    assert np.array_equal(pairs.a, again.a)
    assert not np.array_equal(pairs.a, draw_pairs(rows, labels, most=30, seed=4).a)


def test_heads_of_a_folder_are_measured_on_other_people():
    rows, labels = faces(60, 6)
    calibration = fit_heads(rows, labels, embedder_id="toy-1", fitted_on="made up", seed=1)
    assert set(calibration.heads) == {"squared_l2", "cosine", "weighted_l1", "chi_square"}
    for figures in calibration.figures["heads"].values():
        assert figures["accuracy"] > 0.9
        assert figures["pairs"] > 300
    test = np.isin(labels, np.random.default_rng(1).permutation(60)[:18])
    pairs = draw_pairs(rows[test], labels[test], most=10_000, seed=1)
    head = calibration.heads["chi_square"]
    wanted = np.mean((head.distance(pairs.a, pairs.b) <= head.threshold) == pairs.same)
    assert calibration.figures["heads"]["chi_square"]["accuracy"] == pytest.approx(wanted)
    impostors = oracle_impostors(rows[~test], labels[~test])
    for rate, tau in calibration.false_match:
        assert np.mean(impostors <= tau) <= rate + 1e-9


def oracle_impostors(rows, labels):
    return np.array(
        [
            float(((rows[i].astype(float) - rows[j]) ** 2).sum())
            for i in range(len(rows))
            for j in range(i)
            if labels[i] != labels[j]
        ]
    )


def test_a_trained_head_takes_the_place_of_the_fitted_one_on_export():
    rows, labels = faces(20, 6)
    head = SiamesePairHead("chi_square", 16)
    head.weights.data = -30 * torch.rand(16)
    found = calibrate(
        rows,
        labels,
        embedder_id="toy-1",
        fitted_on="made up",
        seed=0,
        trained=head.to_pair_head(),
    )
    np.testing.assert_allclose(found.heads["chi_square"].weights, head.weights.detach().numpy())
    assert found.heads["chi_square"].slope != 1.0
    assert found.figures["trained_head"] == "chi_square"
    assert found.head.kind == "squared_l2"  # a gallery's strict thresholds belong to it
    assert json.loads(json.dumps(found.to_json()))["heads"]["chi_square"]["weights"]


def test_bad_input():
    rows, labels = faces(6, 2)
    with pytest.raises(TooFewPairsError, match=r"need 10 pairs of one person .* got 6 pairs"):
        draw_pairs(rows, labels, most=100)
    with pytest.raises(TooFewPairsError, match="people to held out"):
        fit_heads(*faces(20, 6), embedder_id="t", fitted_on="", held_out=0.01)
    with pytest.raises(InputError, match="held_out must lie between 0 and 1"):
        fit_heads(rows, labels, embedder_id="t", fitted_on="", held_out=1.0)
    with pytest.raises(UnknownNameError, match="head must be 'weighted_l1' or 'chi_square'"):
        build_loss("siamese", dim=4, head="cosine")
    with pytest.raises(InputError, match="decay must lie"):
        build_loss("siamese", dim=4, decay=-1.0)
    with pytest.raises(InputError, match="needs the embedding's width"):
        build_loss("siamese")
    with pytest.raises(InputError, match="no two photos of one person"):
        build_loss("siamese", dim=4)(torch.randn(3, 4), torch.arange(3))
    with pytest.raises(ShapeError, match=r"must have shape \(N, 4\)"):
        SiamesePairHead("weighted_l1", 4)(torch.randn(3, 5), torch.randn(3, 5))
    pairs = LabelledPairs(rows, rows[::-1].copy(), np.ones(12, bool))
    with pytest.raises(TooFewPairsError):
        recalibrate(SiamesePairHead("weighted_l1", 16).to_pair_head(), pairs.a, pairs.b, pairs.same)
