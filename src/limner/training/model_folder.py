"""A trained model's folder: what is in it, and how it is read and written.

mine/
model.onnx           uint8 RGB chips (N, S, S, 3) in; `embeddings` and, where it knows people,
                     `probabilities` out
model.toml           how limner cuts chips for it as an embedder
model.safetensors    the network's weights
model.json           kind, people, crop, network, figures
pair_heads.json      thresholds and probabilities of its embeddings
faces.jpg            one chip of each of the people it knows, in their order
recipe.yaml          how it was trained
README.md            the model card
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from limner.errors import InputError

Kind = Literal["embedder", "classifier"]
ONNX, TOML, WEIGHTS = "model.onnx", "model.toml", "model.safetensors"
MODEL, HEADS, FACES = "model.json", "pair_heads.json", "faces.jpg"
RECIPE, CARD = "recipe.yaml", "README.md"
FORMAT = 2
UPLOADED = (ONNX, TOML, WEIGHTS, MODEL, HEADS, FACES, RECIPE, CARD, "metrics.csv", "curves.png")
"""What `push` sends: the model and how it came about, no checkpoint."""


@dataclass(frozen=True)
class TrainedModel:
    """What `model.json` holds.

    Attributes:
        folder: Where it is.
        kind: What it was trained as: `embedder` or `classifier`. Most can do both (`require`).
        net: The architecture.
        crop: How chips are cut; see `limner.training.chips`.
        size_px: Side of a chip.
        people: The people that it knows, in the order of its probabilities; empty for an
            embedder whose loss knew none.
        width: Of the embedding.
        licence: Of the weights, in words; empty where nobody said.
        provenance: Where the trunk's weights come from.
        figures: What was measured.
    """

    folder: Path
    kind: Kind
    net: str
    crop: str
    size_px: int
    people: tuple[str, ...]
    width: int
    licence: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def onnx(self) -> Path:
        """The graph's file."""
        return self.folder / ONNX

    def require(self, kind: Kind) -> None:
        """Refuse a model that cannot do a task.

        Raises:
            InputError: If it knows no people and a classifier is wanted, or was trained on whole
                photos and an embedder is wanted.
        """
        if kind == "classifier" and not self.people:
            raise InputError(
                f"{self.folder} is a trained embedder whose loss knows no people, so it cannot "
                "name anybody: enrol people in a gallery, or train with --loss softmax, center, "
                "asoftmax, cosface or arcface, or with `limner train classify`."
            )
        if kind == "embedder" and not (self.folder / TOML).is_file():
            raise InputError(
                f"{self.folder} holds no embedder: it was trained on whole photos (crop: whole); "
                "`limner classify face` asks it."
            )

    def save(self) -> None:
        """Write `model.json`.

        Raises:
            InputError: If it cannot be written.
        """
        document = {"format": FORMAT, **asdict(self)}
        del document["folder"]
        write_text(self.folder / MODEL, json.dumps(document, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        InputError: If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error


def read_model(folder: str | Path, *, kind: Kind | None = None) -> TrainedModel:
    """Read a trained model's folder.

    Args:
        folder: What `limner train ... -o` wrote, or `limner train pull` fetched.
        kind: What it must be able to do; None for either.

    Raises:
        InputError: If it is no such folder, or cannot do that.
    """
    root = Path(folder)
    try:
        document = json.loads((root / MODEL).read_text("utf-8"))
    except OSError as error:
        raise InputError(
            f"{root} is not a trained model: it holds no {MODEL}; `limner train` writes one."
        ) from error
    except ValueError as error:
        raise InputError(f"{root / MODEL} is not JSON.") from error
    try:
        if document.pop("format") != FORMAT or document["kind"] not in get_args(Kind):
            raise InputError(
                f"{root / MODEL} has a format that this limner does not read; "
                "train it again, or use the limner that wrote it."
            )
        document["people"] = tuple(document["people"])
        found = TrainedModel(folder=root, **document)
    except (KeyError, TypeError) as error:
        raise InputError(f"{root / MODEL} is damaged: {error!r}.") from error
    if kind is not None:
        found.require(kind)
    if not found.onnx.is_file():
        raise InputError(f"{root} lacks {ONNX}.")
    return found
