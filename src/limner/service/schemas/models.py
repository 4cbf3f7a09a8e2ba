"""Classifiers and units in answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from limner.service.schemas.base import Schema, example


class ModelOut(Schema):
    """Something in the models folder."""

    name: str
    kind: Literal["faces", "series", "volumes", "patches"]
    classes: list[str] = Field(description="What it can answer; empty for patches.")


class Models(Schema):
    """What requests may name."""

    model_config = example(
        {
            "models": [{"name": "beats", "kind": "series", "classes": ["N", "V"]}],
            "networks": ["vgg16", "facenet", "dlib"],
        }
    )
    models: list[ModelOut]
    networks: list[str] = Field(description="Networks that /v1/units can look into.")


class ClassOut(Schema):
    """One class and how likely it is."""

    label: str
    probability: float


class ItemOut(Schema):
    """What a model says about one item."""

    name: str
    label: str
    probability: float
    classes: list[ClassOut] = Field(description="The likeliest first.")
    class_map: list[Any] | None = Field(
        description="How much each place speaks for the label, nested lists; null for faces."
    )


class Classified(Schema):
    """What a model says about what was uploaded."""

    model_config = example(
        {
            "model": "beats",
            "kind": "series",
            "items": [
                {
                    "name": "beat.csv 1",
                    "label": "N",
                    "probability": 0.97,
                    "classes": [{"label": "N", "probability": 0.97}],
                    "class_map": [0.1, 0.4, 0.2],
                }
            ],
        }
    )
    model: str
    kind: Literal["faces", "series", "volumes"]
    items: list[ItemOut]


class UnitOut(Schema):
    """A unit that a picture excites."""

    layer: str
    unit: int
    value: float = Field(description="Its largest activation in the picture.")
    box_xyxy: list[float] = Field(description="What it sees there; pixels, may reach beyond.")
    strength: float | None = Field(
        description="Deviations above what photos do to it; null without patches."
    )


class Units(Schema):
    """The units that a picture excites most."""

    model_config = example(
        {
            "network": "vgg16",
            "units": [
                {
                    "layer": "conv3_1",
                    "unit": 17,
                    "value": 12.5,
                    "box_xyxy": [40.0, 32.0, 64.0, 56.0],
                    "strength": None,
                }
            ],
        }
    )
    network: str
    units: list[UnitOut]


class LayerOut(Schema):
    """What the units of a layer see."""

    layer: str
    channels: int
    size: list[int] = Field(description="Of the receptive field, pixels.")


class Layers(Schema):
    """The layers of a network, in order."""

    model_config = example(
        {
            "network": "vgg16",
            "size_px": 224,
            "layers": [{"layer": "conv1_1", "channels": 64, "size": [3, 3]}],
        }
    )
    network: str
    size_px: int
    layers: list[LayerOut]
