"""Hooks for schemathesis: real photos in half of the uploads, people who may exist."""

from __future__ import annotations

import io
import random

import numpy as np
import schemathesis
import skimage.data
from PIL import Image

CHANCE = random.Random(0)


def _jpeg(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).resize((128, 128)).save(buffer, "JPEG")
    return buffer.getvalue()


GOOD = [_jpeg(skimage.data.astronaut()[:256, 96:352]), _jpeg(skimage.data.coffee())]
UPLOADS = {"photo", "photos", "a", "b", "content", "styles"}


def _picture() -> bytes:
    data = CHANCE.choice(GOOD)
    harm = CHANCE.random()
    if harm < 0.2:
        return data[: CHANCE.randrange(len(data))]
    if harm < 0.4:
        at = CHANCE.randrange(len(data))
        return data[:at] + CHANCE.randbytes(20) + data[at + 20 :]
    return data


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and CHANCE.random() < 0.5:
        for name in UPLOADS & set(body):
            if isinstance(body[name], list):
                body[name] = [_picture() for _ in body[name][:2]]
            elif isinstance(body[name], bytes):
                body[name] = _picture()
    return body


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    for name, value in (path_parameters or {}).items():
        if isinstance(value, int) and CHANCE.random() < 0.7:
            path_parameters[name] = abs(value) % 12
    return path_parameters
