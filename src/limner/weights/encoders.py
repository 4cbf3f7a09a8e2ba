"""The encoders that the registry has, and the layers that each of them is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.nets.vgg import Architecture

ENCODERS: dict[str, Architecture] = {
    "vgg19": "vgg19",
    "vgg16": "vgg16",
    "vgg16_oxford": "vgg16",
    "alexnet": "alexnet",
    "vgg16_hed": "vgg16",
}
