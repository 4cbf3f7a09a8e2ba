"""What `describe` counted, so that a listing need not build every network: see `recount`."""

from __future__ import annotations

# name: (parameters, multiply-adds for one picture of the network's own size)
COUNTS: dict[str, tuple[int, int]] = {
    "frmodel": (7335328, 2053971968),
    "frmodel_half": (1871312, 517507072),
    "nn4_small2": (3733968, 200118272),
    "nn4_small2_half": (962984, 55472128),
    "plain18": (11068352, 1794359296),
    "plain34": (21176512, 3644047360),
    "inception_resnet_v1": (22779312, 1416974176),
    "dlib_resnet": (5607616, 270854144),
    "alexnet": (61100840, 714188480),
    "vgg11": (132863336, 7609090048),
    "vgg13": (133047848, 11308466176),
    "vgg16": (138357544, 15470264320),
    "vgg19": (143667240, 19632062464),
    "vgg16_bn": (138365992, 15470264320),
    "vgg19_bn": (143678248, 19632062464),
    "resnet18": (11689512, 1814073344),
    "resnet34": (21797672, 3663761408),
    "resnet50": (25557032, 4089184256),
    "resnet101": (44549160, 7801405440),
    "resnet152": (60192808, 11513626624),
    "densenet121": (7978856, 2834161664),
    "densenet161": (28681000, 7727907072),
    "densenet169": (14149480, 3359843328),
    "densenet201": (20013928, 4291365888),
    "mobilenet_v2": (3504872, 300774272),
    "mobilenet_v3_small": (2542856, 56510400),
    "mobilenet_v3_large": (5483032, 216589760),
    "resnext50_32x4d": (25028904, 4230479872),
    "resnext101_32x8d": (88791336, 16414015488),
    "efficientnet_b0": (5288548, 385814752),
    "efficientnet_b1": (7794184, 686802832),
    "efficientnet_b2": (9109994, 1087529456),
    "efficientnet_b3": (12233232, 1827141392),
    "efficientnet_b4": (19341616, 4393771024),
    "efficientnet_b5": (30389784, 10266384752),
    "efficientnet_b6": (43040704, 19067593536),
    "efficientnet_b7": (66347960, 37745884192),
    "regnet_x_400mf": (5495976, 413812608),
    "regnet_x_1_6gf": (9190136, 1602849792),
    "regnet_y_400mf": (4344144, 401842848),
    "regnet_y_800mf": (6432512, 833856256),
    "regnet_y_1_6gf": (11202430, 1612076160),
    "regnet_y_3_2gf": (19436338, 3176482752),
    "efficientnet_lite0": (4652008, 385187552),
    "mobilenet_v1": (4231976, 568740352),
    "seresnet18": (11779624, 1814161408),
    "seresnet34": (21960416, 3663920128),
    "seresnet50": (28088024, 4091699200),
    "seresnet101": (49326872, 7806148608),
    "seresnet152": (66821848, 11520204800),
    "resnest14d": (10611688, 2749405184),
    "resnest26d": (17069448, 3623391232),
    "resnest50d": (27483240, 5371160576),
    "resnest101e": (48275016, 13321472000),
    "nfnet_l0": (35074488, 4255094784),
    "nfnet_f0": (71489272, 6977003520),
    "dm_nfnet_f0": (71489284, 6977003520),
}


def recount() -> dict[str, tuple[int, int]]:
    """Build and count every network anew; about a minute."""
    from limner.training.backbones import backbone_names, describe

    return {name: describe(name)[:2] for name in backbone_names()}
