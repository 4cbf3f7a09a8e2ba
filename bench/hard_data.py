"""Whom the hard bench asks about: people of LFW on whom nothing was fitted.

Everything that ships was fitted on the people of LFW View 1 (``bench/fit_shipped.py``); none of
them is here. People of View 2 are. The choice, with each face's box and landmarks, is kept in
``bench/results/hard_people.json``, so that every version of limner is asked about the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import DATA, RESULTS
from crops import photos_of_view_1
from limner import images
from limner.evaluation.photos import central_face
from limner.faces import FaceAnalyzer
from limner.types import Face, ImageArray

LFW = DATA / "lfw" / "images"
FILE = RESULTS / "hard_people.json"
SEED = 20261127
KNOWN, STRANGERS, OTHERS = 60, 120, 440


@dataclass(frozen=True, eq=False)
class Portrait:
    """A photo and the face in it that is asked about, as found in the clean photo.

    Attributes:
        photo: Path below LFW's folder of images.
        face: Box, landmarks and score.
    """

    photo: str
    face: Face

    @property
    def person(self) -> str:
        """The person's name: the folder of the photo."""
        return Path(self.photo).parent.name


@dataclass(frozen=True, eq=False)
class Sitters:
    """Whom a row asks about; no two of the three groups share a person.

    Attributes:
        known: A photo to enrol and another of the same person to ask about.
        strangers: One photo each of people who are not enrolled.
        others: One photo each of people who fill the large gallery.
    """

    known: list[tuple[Portrait, Portrait]]
    strangers: list[Portrait]
    others: list[Portrait]

    def first(self, people: int) -> Sitters:
        """Return the first of the known people, and twice as many strangers."""
        return Sitters(self.known[:people], self.strangers[: 2 * people], self.others)


def free_people() -> dict[str, list[Path]]:
    """Return the photos of everybody in LFW whom View 1 leaves out, by name."""
    fitted = set(photos_of_view_1(every=True)[1])
    return {
        folder.name: sorted(folder.glob("*.jpg"))
        for folder in sorted(LFW.iterdir())
        if folder.is_dir() and folder.name not in fitted
    }


def nose_offset(face: Face) -> float:
    """Return how far the nose lies beside the middle of the eyes, over the eyes' distance.

    0 is a face straight on; towards 0.5 and beyond it is in profile.
    """
    left, right, nose = np.asarray(face.landmarks_xy[:3], np.float64)
    level = right - left
    return float(abs((nose - (left + right) / 2) @ level) / (level @ level))


def find_portraits(people: dict[str, list[Path]]) -> dict[str, list[Portrait]]:
    """Return the photos of each person in which the detector finds a face, in their order."""
    paths = [path for photos in people.values() for path in photos]
    out: dict[str, list[Portrait]] = {name: [] for name in people}
    found = FaceAnalyzer(embedder=None).analyze_many(paths, embed=False)
    for path, photo in zip(paths, found, strict=True):
        face = central_face(photo.faces or [], photo.size_hw or (0, 0))
        if face is not None:
            out[path.parent.name].append(Portrait(str(path.relative_to(LFW)), face))
    return {name: photos for name, photos in out.items() if photos}


def choose(portraits: dict[str, list[Portrait]]) -> tuple[Sitters, Sitters]:
    """Choose whom the spoiled rows and the row of profiles ask about.

    The first by seed. The second by their landmarks: the people whose most turned photo is
    turned furthest, enrolled by the photo that is turned least.
    """
    generator = np.random.default_rng(SEED)
    names = [str(name) for name in generator.permutation(sorted(portraits))]
    several = [name for name in names if len(portraits[name]) > 1]
    known = several[:KNOWN]
    strangers = [name for name in names if name not in known][:STRANGERS]

    def turned(name: str) -> list[Portrait]:
        return sorted(portraits[name], key=lambda p: nose_offset(p.face))

    by_turn = sorted(names, key=lambda n: -nose_offset(turned(n)[-1].face))
    in_profile = [name for name in by_turn if name in several][:KNOWN]
    profiles = [name for name in by_turn if name not in in_profile][:STRANGERS]
    taken = {*known, *strangers, *in_profile, *profiles}
    others = [portraits[name][0] for name in names if name not in taken][:OTHERS]
    spoiled = Sitters(
        known=[(portraits[name][0], portraits[name][1]) for name in known],
        strangers=[portraits[name][0] for name in strangers],
        others=others,
    )
    sideways = Sitters(
        known=[(turned(name)[0], turned(name)[-1]) for name in in_profile],
        strangers=[turned(name)[-1] for name in profiles],
        others=others,
    )
    return spoiled, sideways


def _row(portrait: Portrait) -> list[Any]:
    """Return a portrait as one line: photo, box, landmarks, score."""
    face = portrait.face
    numbers = [*face.box_xyxy, *face.landmarks_xy.ravel()]
    return [portrait.photo, *(round(float(v), 1) for v in numbers), round(face.score, 3)]


def _portrait(row: list[Any]) -> Portrait:
    photo, x0, y0, x1, y1, *landmarks, score = row
    points = np.array(landmarks, np.float32).reshape(5, 2)
    return Portrait(photo, Face(box_xyxy=(x0, y0, x1, y1), landmarks_xy=points, score=score))


def _to_json(sitters: Sitters) -> dict[str, Any]:
    return {
        "known": [[_row(p) for p in pair] for pair in sitters.known],
        "strangers": [_row(p) for p in sitters.strangers],
        "others": [_row(p) for p in sitters.others],
    }


def _from_json(part: dict[str, Any]) -> Sitters:
    return Sitters(
        known=[(_portrait(a), _portrait(b)) for a, b in part["known"]],
        strangers=[_portrait(p) for p in part["strangers"]],
        others=[_portrait(p) for p in part["others"]],
    )


def write_choice() -> None:
    """Choose, and keep the choice; done once, for ever."""
    spoiled, sideways = choose(find_portraits(free_people()))
    lines = {"spoiled": _to_json(spoiled), "profile": _to_json(sideways)}
    del lines["profile"]["others"]  # the same ones
    text = json.dumps(lines, separators=(",", ":")).replace('["', '\n["')
    FILE.write_text(text + "\n", "utf-8")
    print(f"written: {FILE}")


def read_choice() -> tuple[Sitters, Sitters]:
    """Return whom the spoiled rows and the row of profiles ask about."""
    document = json.loads(FILE.read_text("utf-8"))
    document["profile"]["others"] = document["spoiled"]["others"]
    return _from_json(document["spoiled"]), _from_json(document["profile"])


def read_photo(portrait: Portrait) -> ImageArray:
    """Return the clean photo, uint8 RGB, shape (H, W, 3)."""
    return images.read(LFW / portrait.photo)


if __name__ == "__main__":
    write_choice()
