"""Every network by name: what it counts, what it returns, what trains, and where weights go."""

from __future__ import annotations

import pytest
import torch

from limner.errors import InputError, UnknownNameError, WeightsError
from limner.nets.backbone import fit_kernel
from limner.training import pretrained
from limner.training.architectures import ARCHITECTURES, architecture
from limner.training.backbones import (
    backbone_names,
    build,
    build_available,
    describe,
    input_of,
)
from limner.training.counts import COUNTS, recount

SMALL = {  # one of each family, and the smallest of it
    "frmodel_half": 512,
    "nn4_small2_half": 368,
    "plain18": 512,
    "inception_resnet_v1": 1792,
    "dlib_resnet": 256,
    "alexnet": 4096,
    "vgg11": 4096,
    "resnet18": 512,
    "densenet121": 1024,
    "mobilenet_v1": 1024,
    "mobilenet_v2": 1280,
    "mobilenet_v3_small": 1024,
    "resnext50_32x4d": 2048,
    "seresnet18": 512,
    "efficientnet_b0": 1280,
    "efficientnet_lite0": 1280,
    "regnet_y_400mf": 440,
    "resnest14d": 2048,
    "nfnet_l0": 2304,
}


def published(name):
    """Parameters and multiply-adds (1e9) that torchvision's pages state."""
    from torchvision import models

    meta = models.get_model_weights(name)["IMAGENET1K_V1"].meta
    return meta["num_params"], meta["_ops"]


TORCHVISION = [n for n, found in ARCHITECTURES.items() if found.library == "torchvision"]


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_listing_agrees_with_what_torchvision_publishes(name):
    parameters, giga = published(name)
    assert COUNTS[name][0] == parameters
    assert COUNTS[name][1] / 1e9 == pytest.approx(giga, abs=0.0006)


@pytest.mark.parametrize(
    ("name", "millions"),  # as the papers state them
    [("seresnet50", 28.1), ("resnest50d", 27.5), ("mobilenet_v1", 4.2), ("nfnet_f0", 71.5)],
)
def test_the_listing_agrees_with_the_papers(name, millions):
    assert COUNTS[name][0] / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize(
    "name", ["frmodel", "nn4_small2_half", "dlib_resnet", "resnet18", "mobilenet_v1"]
)
def test_the_listing_is_what_is_counted(name):
    counted = describe(name)
    assert COUNTS[name] == (counted.parameters, counted.flops)
    assert counted.input == (3, input_of(name).size_px, input_of(name).size_px)


@pytest.mark.slow
def test_the_whole_listing_is_what_is_counted():
    assert recount() == COUNTS


def test_names():
    assert list(COUNTS) == backbone_names() == list(ARCHITECTURES)
    assert architecture("facenet").name == "inception_resnet_v1"
    families = {found.family for found in ARCHITECTURES.values()}
    wanted = "AlexNet VGG ResNet DenseNet MobileNet ResNeXt SE-ResNet EfficientNet RegNet"
    assert {
        *wanted.split(),
        "ResNeSt",
        "NFNet",
        "FRModel",
        "nn4.small2",
        "Inception-ResNet",
    } <= families
    with pytest.raises(UnknownNameError, match="did you mean resnet50"):
        build("resnt50", head="embedding", width_or_classes=8)


def build_anywhere(name, **options):
    """Build on the meta device, which draws no weights; RegNet computes while it is built."""
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        return build(name, **options)


def test_an_embedding_is_the_head_of_the_features():
    torch.manual_seed(0)
    net = build("resnet18", head="embedding", width_or_classes=16).eval()
    pictures = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        embedding = net(pictures)
        assert torch.equal(embedding, net.head(net.features(pictures)))
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))
    plain = build("resnet18", head="embedding", width_or_classes=16, normalise=False)
    assert not torch.allclose(plain.eval()(pictures).norm(dim=1), torch.ones(2), atol=0.1)


@pytest.mark.parametrize("name", SMALL)
def test_features_embeddings_logits_and_what_trains(name):
    net = build_anywhere(name, head="embedding", width_or_classes=16).eval()
    assert net.width == SMALL[name]
    net = net.to("meta")
    pictures = torch.empty(2, 3, net.input.size_px, net.input.size_px, device="meta")
    features = net.features(pictures)
    assert features.shape == (2, SMALL[name])
    assert net(pictures).shape == (2, 16)
    classifier = build_anywhere(name, head="classifier", width_or_classes=5, layers=2).to("meta")
    assert classifier.head(features).shape == (2, 5)
    last = {id(p) for module in net.last_block() for p in module.parameters()}
    trunk = {id(p) for p in net.trunk.parameters()}
    assert last < trunk
    for part, wanted in (("head", set()), ("last_block", last), ("all", trunk)):
        net.free(part)
        free = {id(p) for p in net.trunk.parameters() if p.requires_grad}
        fixed = {id(p) for p in net.trunk.parameters() if p.ndim == 1 and not p.requires_grad}
        assert free <= wanted
        assert wanted - free <= fixed  # gains that Keras fixes at 1
        assert all(p.requires_grad for p in net.head.parameters() if p.ndim > 1)


def test_frozen_parts_keep_their_statistics():
    net = build("resnet18", head="classifier", width_or_classes=3)
    pictures = torch.rand(4, 3, 64, 64) * 5
    for part, moves in (("head", (False, False)), ("last_block", (False, True))):
        net.free(part)
        before = net.state_dict()
        before = {k: v.clone() for k, v in before.items() if k.endswith("running_mean")}
        net.train()(pictures)
        after = net.state_dict()
        for start, moved in zip(("trunk.layer1", "trunk.layer4"), moves, strict=True):
            names = [k for k in before if k.startswith(start)]
            assert all(torch.equal(before[k], after[k]) != moved for k in names)
    net.free("all")
    assert all(m.training for m in net.train().modules())
    with pytest.raises(UnknownNameError, match="part must be one of head, last_block, all"):
        net.free("tail")


def test_facenets_network_is_the_embedder_itself():
    """Trunk and head, filled from the registry, against the embedder's own module."""
    from limner import weights
    from limner.weights import torch_module

    net = build("facenet", head="embedding", width_or_classes=128, pretrained=True)
    assert net.provenance["digest"] == weights.spec("facenet").sha256
    from skimage.data import astronaut

    chip = torch.from_numpy(astronaut()[20:180, 140:300].copy())[None]
    theirs = torch_module(weights.load("facenet"))(chip)
    net.head.normalise = False
    with torch.no_grad():
        ours = net.eval()(net.input.normalisation()(chip))
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)
    other = build("facenet", head="embedding", width_or_classes=64, pretrained=True)
    assert other.head.linear.out_features == 64  # a head of another width begins anew


def test_dlibs_network_is_the_embedder_itself():
    from limner import weights
    from limner.weights import torch_module

    net = build("dlib", head="embedding", width_or_classes=128, pretrained=True, normalise=False)
    chip = torch.randint(0, 256, (2, 150, 150, 3), dtype=torch.uint8)
    with torch.no_grad():
        ours = net.eval()(net.input.normalisation()(chip))
    torch.testing.assert_close(ours, torch_module(weights.load("dlib"))(chip), atol=1e-5, rtol=0)


def test_grey_pictures_make_the_activations_of_grey_rgb():
    torch.manual_seed(0)
    rgb = build("efficientnet_lite0", head="embedding", width_or_classes=8, pretrained=True)
    grey = build(
        "efficientnet_lite0", head="embedding", width_or_classes=8, pretrained=True, in_channels=1
    )
    picture = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        a, b = rgb.eval().features(picture.expand(-1, 3, -1, -1)), grey.eval().features(picture)
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert fit_kernel(torch.rand(4, 3, 3, 3), 5).shape == (4, 5, 3, 3)
    assert input_of("resnet18", in_channels=2).mean == (pytest.approx(114.495),) * 2


@pytest.mark.parametrize("name", ["resnet18", "dlib_resnet", "frmodel_half", "inception_resnet_v1"])
def test_other_numbers_of_channels(name):
    net = build(name, head="embedding", width_or_classes=8, in_channels=2).eval()
    side = net.input.size_px
    assert net(torch.rand(1, 2, side, side)).shape == (1, 8)


def test_a_trunk_that_cannot_be_had_falls_back_and_says_so(monkeypatch):
    def refuse(name):
        if name == "resnet50":
            raise WeightsError("no network today.")
        return real(name)

    real = pretrained._from_registry
    monkeypatch.setattr(pretrained, "_from_registry", refuse)
    net = build_available("resnet50", head="classifier", width_or_classes=4)
    assert net.name == "efficientnet_lite0"
    assert net.provenance["asked"] == "resnet50"
    assert net.provenance["used"] == "efficientnet_lite0"
    assert net.provenance["reason"] == "no network today."
    with pytest.raises(WeightsError, match="no network today"):
        build_available("resnet50", fallbacks=(), head="classifier", width_or_classes=4)
    own = build_available("facenet", head="classifier", width_or_classes=4)
    assert (own.provenance["used"], own.provenance["reason"]) == ("inception_resnet_v1", "")


def test_torchvisions_weights_fill_the_trunk(monkeypatch):
    """A stand-in for the address: the tensors of a fresh network under torchvision's names."""
    from torchvision import models

    torch.manual_seed(5)
    source = models.resnet50()
    monkeypatch.setattr(
        pretrained, "_from_registry", lambda name: (source.state_dict(), "stand-in", "0" * 64)
    )
    net = build("resnet50", head="classifier", width_or_classes=4, pretrained=True).eval()
    source.fc = torch.nn.Identity()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net.features(x), source.eval()(x))
    assert net.provenance["source"] == "stand-in"


def test_weights_that_do_not_fit_are_refused(monkeypatch):
    state = {"conv1.weight": torch.zeros(64, 3, 7, 7)}
    monkeypatch.setattr(pretrained, "_from_registry", lambda name: (state, "", ""))
    with pytest.raises(WeightsError, match=r"do not fit: bn1\.weight is missing"):
        build("resnet50", head="classifier", width_or_classes=4, pretrained=True)


def test_networks_without_weights_say_so():
    with pytest.raises(WeightsError, match="no trained weights for frmodel_half; train it"):
        build("frmodel_half", head="embedding", width_or_classes=8, pretrained=True)
    with pytest.raises(WeightsError, match="timm has no trained weights for seresnet18"):
        build("seresnet18", head="embedding", width_or_classes=8, pretrained=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"head": "verifier"}, "head must be 'embedding' or 'classifier'"),
        ({"width_or_classes": 0}, "width must be 1 or more, got 0"),
        ({"head": "classifier", "width_or_classes": 1}, "classes must be 2 or more, got 1"),
        ({"image_size": 8}, "image_size must be 32 pixels or more, got 8"),
        ({"in_channels": 0}, "in_channels must be 1 or more"),
        ({"head": "classifier", "layers": 3}, "layers must be 1 or 2, got 3"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(InputError, match=words):
        build("resnet18", **{"head": "embedding", "width_or_classes": 8, **options})
