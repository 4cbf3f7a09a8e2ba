"""A trained classifier's own answer: the likeliest of its people, with their faces.

Needs ONNX Runtime only: neither torch nor Lightning is imported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from limner import images
from limner.errors import InputError
from limner.faces.align import ARCFACE, DLIB, FACENET, Crop, cut_chip
from limner.training.model_folder import FACES, TrainedModel
from limner.types import Face, ImageArray

THUMB_PX = 96
_CROPS: dict[str, Crop] = {"facenet": FACENET, "arcface": ARCFACE, "dlib": DLIB}


@dataclass(frozen=True, eq=False)
class Guess:
    """One of a classifier's people.

    Attributes:
        person: The name.
        probability: Softmax over all of its people, in [0, 1]: it says nothing about strangers.
        thumbnail: Shape (T, T, 3), uint8 RGB: a training photo's chip.
    """

    person: str
    probability: float
    thumbnail: ImageArray

    def to_json(self) -> dict[str, Any]:
        """Return name and probability as plain JSON values."""
        return {"person": self.person, "probability": self.probability}


@dataclass(frozen=True, eq=False)
class Answer:
    """What a classifier says of one face.

    Attributes:
        chip: Shape (S, S, 3), uint8 RGB: what it looked at.
        guesses: Likeliest first.
    """

    chip: ImageArray
    guesses: tuple[Guess, ...]


def classify_face(
    model: TrainedModel, image: ImageArray, face: Face | None, *, top: int = 5
) -> Answer:
    """Ask a trained classifier who a face is.

    Args:
        model: A classifier's folder, read.
        image: Shape (H, W, 3), uint8 RGB, upright.
        face: A face of it; None where the model was trained on whole photos.
        top: How many people to name.

    Returns:
        The likeliest of its people: always somebody, whoever the face is.

    Raises:
        InputError: If the model is no classifier, `top` is below 1, or its files are damaged.
    """
    model.require("classifier")
    if top < 1:
        raise InputError(f"top must be 1 or larger, got {top}.")
    chip = _chip(model, image, face)
    probabilities = run(model, chip[None])[0]
    order = np.argsort(-probabilities, kind="stable")[:top]
    thumbs = thumbnails(model)
    return Answer(
        chip,
        tuple(Guess(model.people[i], float(probabilities[i]), thumbs[i]) for i in order),
    )


def _chip(model: TrainedModel, image: ImageArray, face: Face | None) -> ImageArray:
    import cv2

    crop = _CROPS.get(model.crop)
    if crop is not None:
        if face is None:
            raise InputError("this classifier was trained on faces; give a face of the photo.")
        return cut_chip(image, face, crop, size=model.size_px)
    side = min(image.shape[:2])
    y, x = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    way = cv2.INTER_AREA if side > model.size_px else cv2.INTER_LINEAR
    square = image[y : y + side, x : x + side]
    size = (model.size_px, model.size_px)
    return np.asarray(cv2.resize(square, size, interpolation=way), np.uint8)


def run(model: TrainedModel, chips: ImageArray) -> Any:
    """Return a model's probabilities (N, C) for chips (N, S, S, 3), uint8 RGB.

    Raises:
        InputError: If its graph cannot be run, or does not fit its people.
    """
    from limner.training.onnx_run import PROBABILITIES, run_onnx

    found = run_onnx(model.onnx, chips, output=PROBABILITIES)
    if found.shape != (len(chips), len(model.people)):
        raise InputError(
            f"{model.onnx} gives {found.shape}, not {len(model.people)} numbers a chip."
        )
    return found


def tile_faces(chips: ImageArray) -> ImageArray:
    """Return chips (K, S, S, 3), made small, as one square picture, black where empty."""
    import cv2

    columns = math.ceil(math.sqrt(len(chips)))
    sheet = np.zeros((-(-len(chips) // columns) * THUMB_PX, columns * THUMB_PX, 3), np.uint8)
    for k, chip in enumerate(chips):
        small = cv2.resize(chip, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA)
        y, x = k // columns * THUMB_PX, k % columns * THUMB_PX
        sheet[y : y + THUMB_PX, x : x + THUMB_PX] = small
    return sheet


def thumbnails(model: TrainedModel) -> list[ImageArray]:
    """Return one chip of each of a classifier's people, (T, T, 3) each.

    They are grey where the sheet of faces was taken out of the folder.

    Raises:
        InputError: If the sheet of faces is damaged.
    """
    if not (model.folder / FACES).exists():
        return [np.full((THUMB_PX, THUMB_PX, 3), 223, np.uint8)] * len(model.people)
    sheet = images.read(model.folder / FACES)
    columns = math.ceil(math.sqrt(len(model.people)))
    rows = -(-len(model.people) // columns)
    if sheet.shape != (rows * THUMB_PX, columns * THUMB_PX, 3):
        raise InputError(f"{model.folder / FACES} does not hold {len(model.people)} faces.")
    found = []
    for k in range(len(model.people)):
        y, x = k // columns * THUMB_PX, k % columns * THUMB_PX
        found.append(sheet[y : y + THUMB_PX, x : x + THUMB_PX])
    return found
