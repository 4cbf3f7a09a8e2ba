"""A trained model's folder: what is in it, and how it is read and written.

mine/
model.onnx           uint8 RGB chips (N, S, S, 3) in; embeddings or probabilities out
model.toml           how limner cuts chips for it
model.safetensors    the network's weights
model.json           kind, people, crop, network, figures
pair_heads.json      thresholds and probabilities of an embedder
faces.jpg            one chip of each of a classifier's people, in their order
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
FORMAT = 1
UPLOADED = (ONNX, TOML, WEIGHTS, MODEL, HEADS, FACES, RECIPE, CARD, "metrics.csv", "curves.png")
"""What `push` sends: the model and how it came about, no checkpoint."""


@dataclass(frozen=True)
class TrainedModel:
    """What `model.json` holds.

    Attributes:
        folder: Where it is.
        kind: `embedder` or `classifier`.
        net: The architecture.
        crop: How chips are cut; see `limner.training.chips`.
        size_px: Side of a chip.
        people: A classifier's people, in the order of its outputs.
        width: Numbers that come out.
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
        kind: What it must be; None for either.

    Raises:
        InputError: If it is no such folder, or of the other kind.
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
            raise InputError(f"{root / MODEL} has a format that this limner does not read.")
        document["people"] = tuple(document["people"])
        found = TrainedModel(folder=root, **document)
    except (KeyError, TypeError) as error:
        raise InputError(f"{root / MODEL} is damaged: {error!r}.") from error
    if kind is not None and found.kind != kind:
        article = "an" if kind == "embedder" else "a"
        raise InputError(f"{root} is a trained {found.kind}; {article} {kind} is wanted here.")
    if not found.onnx.is_file():
        raise InputError(f"{root} lacks {ONNX}.")
    return found
