"""Each loss against plain loops, its gradient against finite differences, and bad batches."""

from __future__ import annotations

import math

import loss_oracles as oracle
import pytest
import torch
from torch.nn import functional

from limner.errors import InputError, ShapeError, UnknownNameError
from limner.training.losses import LOSSES, Mined, build_loss, scale_for

PEOPLE, PHOTOS, DIM = 5, 4, 6
TOLERANCE = 1e-9


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(PEOPLE * PHOTOS, DIM, generator=generator, dtype=torch.float64)
    labels = torch.arange(PEOPLE).repeat_interleave(PHOTOS)[
        torch.randperm(PEOPLE * PHOTOS, generator=generator)
    ]
    return x, labels


def make(name, **options):
    torch.manual_seed(3)
    return build_loss(name, classes=PEOPLE, dim=DIM, **options).double()


def logits_of(batch):
    return batch[0][:, :PEOPLE] * 3


def agrees(got, wanted):
    assert abs(float(got.detach()) - wanted) <= TOLERANCE


def test_nll(batch):
    agrees(make("nll")(logits_of(batch), batch[1]), oracle.nll(logits_of(batch).tolist(), batch[1]))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal(batch, gamma):
    logits = logits_of(batch)
    wanted = oracle.focal(logits.tolist(), batch[1].tolist(), gamma)
    agrees(make("focal", gamma=gamma)(logits, batch[1]), wanted)


def test_focal_of_a_certain_answer_has_a_finite_gradient():
    logits = torch.tensor([[800.0, 0.0], [0.0, 1.0]], requires_grad=True)
    build_loss("focal", gamma=0.5)(logits, torch.tensor([0, 1])).backward()
    assert bool(torch.isfinite(logits.grad).all())


def test_softmax_and_center(batch):
    x, labels = batch
    loss = make("center", weight=0.7).eval()
    loss.centres.copy_(torch.randn(PEOPLE, DIM, generator=torch.Generator().manual_seed(1)))
    parts = (loss.linear.weight.tolist(), loss.linear.bias.tolist())
    wanted = oracle.center(x.tolist(), labels.tolist(), *parts, loss.centres.tolist(), 0.7)
    agrees(loss(x, labels), wanted)
    plain = make("softmax")
    parts = (plain.linear.weight.tolist(), plain.linear.bias.tolist())
    agrees(plain(x, labels), oracle.softmax(x.tolist(), labels.tolist(), *parts))


def test_centres_move_as_the_paper_says_and_only_in_training(batch):
    x, labels = batch
    loss = make("center", rate=0.5)
    labels = labels.clamp(max=3)  # nobody of class 4: its centre stays
    before = torch.randn(PEOPLE, DIM, dtype=torch.float64)
    loss.centres = before.clone()
    loss.eval()(x, labels)
    with torch.no_grad():
        loss.train()(x, labels)
    assert torch.equal(loss.centres, before)
    loss.train()(x, labels).backward()
    wanted = oracle.moved_centres(x.tolist(), labels.tolist(), before.tolist())
    assert (loss.centres - torch.tensor(wanted, dtype=torch.float64)).abs().max() < TOLERANCE
    assert torch.equal(loss.centres[4], before[4])


def test_centres_do_not_run_away_on_many_photos_of_one_person():
    """The sum of the pulls, not divided by 1 + n, would diverge here."""
    x, labels = torch.ones(40, DIM), torch.zeros(40, dtype=torch.int64)
    loss = build_loss("center", classes=2, dim=DIM, rate=1.0)
    for _ in range(200):
        loss(x, labels)
    assert (loss.centres[0] - 1).abs().max() < 1e-3


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("smallest", [0.0, 5.0])
def test_asoftmax(batch, m, smallest):
    x, labels = batch
    loss = make("asoftmax", m=m, start=smallest, smallest=smallest)
    loss.eval()
    wanted = oracle.asoftmax(x.tolist(), labels.tolist(), loss.centres.tolist(), m, smallest)
    agrees(loss(x, labels), wanted)


def test_modified_softmax_is_the_softmax_of_unit_centres(batch):
    x, labels = batch
    loss = make("modified_softmax")
    unit = [[v / oracle.length(c) for v in c] for c in loss.centres.tolist()]
    wanted = oracle.softmax(x.tolist(), labels.tolist(), unit, [0.0] * len(unit))
    agrees(loss(x, labels), wanted)


def test_asoftmax_without_annealing_is_the_librarys_sphereface(batch):
    from pytorch_metric_learning.losses import SphereFaceLoss

    x, labels = batch
    ours = make("asoftmax", m=4, start=0.0, smallest=0.0).eval()
    theirs = SphereFaceLoss(PEOPLE, DIM, margin=4, scale=1).double()
    theirs.W.data = functional.normalize(ours.centres.data, dim=1).t().clone()
    assert abs(float((ours(x, labels) - theirs(x, labels)).detach())) < 1e-6


def test_the_annealing_falls_with_every_batch_in_training(batch):
    loss = make("asoftmax")
    seen = []
    for _ in range(3):
        seen.append(loss.annealing)
        loss(*batch)
    assert seen == [1000.0, 1000 / 1.12, 1000 / 1.24]
    loss.eval()(*batch)
    assert int(loss.step) == 3
    loss.step.fill_(10_000)
    assert loss.annealing == 5.0
    copy = make("asoftmax")
    copy.load_state_dict(loss.state_dict())
    assert copy.annealing == 5.0  # a resumed training goes on where it was


@pytest.mark.parametrize("name", ["cosface", "arcface"])
@pytest.mark.parametrize("scale", [None, 20.0])
def test_cosface_and_arcface(batch, name, scale):
    x, labels = batch
    loss = make(name, scale=scale)
    centres = loss.inner.W.t().tolist()
    s = scale_for(PEOPLE) if scale is None else scale
    wanted = getattr(oracle, name)(x.tolist(), labels.tolist(), centres, s)
    agrees(loss(x, labels), wanted)


def test_arcface_past_the_turning_point(batch):
    """A face opposite to its own centre."""
    x, labels = batch
    loss = make("arcface", margin_rad=0.5)
    centres = loss.inner.W.t()
    turned = -centres[labels].detach() + 0.02 * x
    wanted = oracle.arcface(turned.tolist(), labels.tolist(), centres.tolist(), loss.scale)
    agrees(loss(turned, labels), wanted)


def test_arcface_of_a_face_on_its_centre_has_a_finite_gradient():
    loss = build_loss("arcface", classes=3, dim=4)
    x = loss.inner.W.t().detach().clone().requires_grad_()
    loss(x, torch.arange(3)).backward()
    assert bool(torch.isfinite(x.grad).all())


def test_scale_grows_with_the_number_of_classes():
    assert scale_for(2) == scale_for(3) == 2.0
    assert scale_for(62) == math.sqrt(2) * math.log(61)
    assert build_loss("arcface", classes=10_575, dim=4).scale == pytest.approx(13.1, abs=0.05)


@pytest.mark.parametrize("reduction", ["mean", "active"])
@pytest.mark.parametrize("margin", [0.01, 0.2, 30.0])
def test_every_triplet_without_a_list(batch, reduction, margin):
    x, labels = batch
    loss = make("triplet", margin=margin, reduction=reduction)
    triplets = oracle.all_triplets(labels.tolist())
    wanted = oracle.triplet(x.tolist(), triplets, margin, active=reduction == "active")
    agrees(loss(x, labels), wanted)
    terms = oracle.triplet_terms(x.tolist(), triplets, margin)
    assert loss.active == pytest.approx(sum(t > 0 for t in terms) / len(terms))


@pytest.mark.parametrize("reduction", ["mean", "active"])
def test_listed_triplets(batch, reduction):
    x, labels = batch
    triplets = oracle.all_triplets(labels.tolist())[::7]
    mined = Mined(*torch.tensor(triplets).t())
    loss = make("triplet", reduction=reduction)
    wanted = oracle.triplet(x.tolist(), triplets, active=reduction == "active")
    agrees(loss(x, labels, mined), wanted)
    terms = oracle.triplet_terms(x.tolist(), triplets)
    assert loss.active == pytest.approx(sum(t > 0 for t in terms) / len(terms))


@pytest.mark.parametrize("mined", [False, True])
def test_the_sum_is_the_notes_cost(batch, mined):
    """J of the notes: the sum over the triplets, in a plain loop."""
    x, labels = batch
    triplets = oracle.all_triplets(labels.tolist())
    chosen = Mined(*torch.tensor(triplets).t()) if mined else None
    wanted = math.fsum(oracle.triplet_terms(x.tolist(), triplets))
    agrees(make("triplet", reduction="sum")(x, labels, chosen), wanted)


@pytest.mark.parametrize("mined", [False, True])
def test_unsquared_is_the_class_that_the_notes_code_uses(mined):
    """Oracle: torch.nn.TripletMarginLoss(margin=0.2, p=2), which adds 1e-6 to each difference."""
    torch.manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(12, 8, dtype=torch.float64), dim=1)
    labels = torch.arange(12) % 4
    a, p, n = torch.tensor(oracle.all_triplets(labels.tolist())).t()
    theirs = torch.nn.TripletMarginLoss(margin=0.2, p=2)(x[a], x[p], x[n])
    chosen = Mined(a, p, n) if mined else None
    loss = build_loss("triplet", margin=0.2, squared=False)
    assert float(loss(x, labels, chosen)) == pytest.approx(float(theirs), abs=1e-5)
    terms = [(x[i] - x[j]).norm() - (x[i] - x[k]).norm() + 0.2 for i, j, k in zip(a, p, n)]  # noqa: B905
    assert loss.active == pytest.approx(float((torch.stack(terms) > 0).double().mean()))
    formula = build_loss("triplet", margin=0.2)(x, labels, chosen)
    assert abs(float(formula) - float(theirs)) > 0.02  # the notes' formula is another number


def test_all_triplets_listed_and_not_listed_have_the_same_gradient(batch):
    x, labels = batch
    mined = Mined(*torch.tensor(oracle.all_triplets(labels.tolist())).t())
    gradients = []
    for chosen in (None, mined):
        y = x.clone().requires_grad_()
        make("triplet")(y, labels, chosen).backward()
        gradients.append(y.grad)
    assert (gradients[0] - gradients[1]).abs().max() < TOLERANCE


def test_no_mined_triplet_is_a_loss_of_nothing(batch):
    x = batch[0].clone().requires_grad_()
    empty = torch.empty(0, dtype=torch.int64)
    loss = make("triplet")
    value = loss(x, batch[1], Mined(empty, empty, empty))
    value.backward()
    assert float(value.detach()) == loss.active == 0
    assert float(x.grad.abs().max()) == 0


@pytest.mark.parametrize("balanced", [False, True])
def test_contrastive(batch, balanced):
    x, labels = batch
    wanted = oracle.contrastive(x.tolist(), labels.tolist(), 3.0, balanced=balanced)
    agrees(make("contrastive", margin=3.0, balanced=balanced)(x, labels), wanted)


def test_pairwise(batch):
    x, labels = batch
    wanted = oracle.pairwise(x.tolist(), labels.tolist(), 3.0)
    agrees(make("pairwise", margin=3.0)(x, labels), wanted)


def test_contrastive_of_two_people_in_one_place_has_a_finite_gradient():
    x = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    make("contrastive")(x, torch.tensor([0, 0, 1, 1])).backward()
    assert bool(torch.isfinite(x.grad).all())


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients(batch, name):
    x, labels = batch
    loss = make(name).eval()
    if name == "asoftmax":
        loss = make(name, start=5.0).eval()
    start = logits_of(batch) if loss.reads == "logits" else x / x.norm(dim=1, keepdim=True)
    inputs = (start.detach().clone().requires_grad_(),)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), inputs, atol=1e-6)


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_few_steps_lower_it(batch, name):
    x, labels = batch
    torch.manual_seed(0)
    loss = build_loss(name, classes=PEOPLE, dim=DIM).eval()
    width = PEOPLE if loss.reads == "logits" else DIM
    net = torch.nn.Linear(DIM, width)
    adam = torch.optim.Adam([*net.parameters(), *loss.parameters()], lr=0.02)
    values = []
    for _ in range(60):
        y = net(x.float())
        value = loss(functional.normalize(y, dim=1) if loss.unit_length else y, labels)
        adam.zero_grad()
        value.backward()
        adam.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.9 * values[0]


@pytest.mark.parametrize("name", list(LOSSES))
def test_half_precision_embeddings(batch, name):
    x, labels = batch
    loss = make(name).float().eval()
    x = logits_of(batch) if loss.reads == "logits" else x / x.norm(dim=1, keepdim=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(x.bfloat16() if name not in ("center",) else x.float(), labels)
    wanted = make(name).eval()(x, labels)
    assert float(value.detach()) == pytest.approx(float(wanted.detach()), rel=0.05)


def test_unknown_words():
    with pytest.raises(UnknownNameError, match=r"got 'arcfase'. Did you mean 'arcface'\?"):
        build_loss("arcfase", classes=3, dim=4)
    with pytest.raises(UnknownNameError, match=r"no option 'margn'; it takes margin, reduction"):
        build_loss("triplet", margn=0.2)
    with pytest.raises(UnknownNameError, match="takes no options"):
        build_loss("nll", margin=0.2)
    with pytest.raises(UnknownNameError, match="reduction must be"):
        build_loss("triplet", reduction="total")
    with pytest.raises(InputError, match="squared must be true or false"):
        build_loss("triplet", squared=2)


@pytest.mark.parametrize("name", ["triplet", "contrastive", "pairwise", "cosface"])
@pytest.mark.parametrize("margin", [0, -0.2, math.nan, math.inf, True])
def test_margins_that_are_none(name, margin):
    with pytest.raises(InputError, match="margin must be a positive number"):
        build_loss(name, classes=3, dim=4, margin=margin)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("arcface", {"margin_rad": 28.6}),
        ("cosface", {"margin": 1.0}),
        ("asoftmax", {"m": 6}),
        ("asoftmax", {"smallest": 10.0, "start": 5.0}),
        ("focal", {"gamma": -1.0}),
        ("center", {"rate": 1.5}),
        ("center", {"weight": 0.0}),
        ("cosface", {"scale": 0.0}),
    ],
)
def test_values_out_of_range(name, options):
    with pytest.raises(InputError, match=f"{next(iter(options))}"):
        build_loss(name, classes=3, dim=4, **options)


def test_missing_and_impossible_sizes():
    with pytest.raises(InputError, match="softmax loss needs the embedding's width"):
        build_loss("softmax", classes=3)
    with pytest.raises(InputError, match="needs the number of classes and the embedding's width"):
        build_loss("arcface")
    for name in ("softmax", "arcface", "asoftmax"):
        with pytest.raises(InputError, match="classes must be 2 or more, got 1"):
            build_loss(name, classes=1, dim=4)


@pytest.mark.parametrize("name", ["triplet", "contrastive", "pairwise"])
def test_batches_that_hold_nothing_to_compare(name):
    loss = build_loss(name)
    with pytest.raises(InputError, match="no two photos of one person"):
        loss(torch.randn(4, 3), torch.arange(4))
    with pytest.raises(InputError, match="one person only"):
        loss(torch.randn(4, 3), torch.zeros(4, dtype=torch.int64))
    broken = torch.full((4, 3), math.nan)
    with pytest.raises(InputError, match="not finite"):
        loss(broken, torch.tensor([0, 0, 1, 1]))


def test_rows_and_labels_that_do_not_fit():
    for labels in (torch.arange(3), torch.zeros(4), torch.zeros(4, 1, dtype=torch.int64)):
        with pytest.raises(ShapeError, match="labels must be whole numbers"):
            build_loss("nll")(torch.randn(4, 3), labels)
    with pytest.raises(ShapeError, match="a batch must have shape"):
        build_loss("nll")(torch.randn(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(InputError, match=r"labels must lie in 0\.\.2, got 0\.\.3"):
        build_loss("nll")(torch.randn(4, 3), torch.arange(4))
    with pytest.raises(ShapeError, match="must be 4 wide, got 5"):
        build_loss("arcface", classes=3, dim=4)(torch.randn(2, 5), torch.arange(2))
    with pytest.raises(ShapeError, match=r"must be \(T,\)"):
        Mined(torch.arange(2), torch.arange(3), torch.arange(2))
