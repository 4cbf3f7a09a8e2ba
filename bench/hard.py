"""Ask limner about photos as they come: tilted, turned, blurred, small, dark, covered.

For each row of ``spoil.py``, and for the most turned heads of LFW: how many of 60 people are
found and recognised in galleries of 60 and of 500 that were enrolled from one clean photo each,
how many of 120 strangers are given a name, and how many of all pairs of those strangers, both
spoiled alike, are judged the same person. Only calls that users have are used, with the
thresholds that ship. Nothing was fitted on these people; ``hard_data.py`` says who they are.

Usage: ``python bench/hard.py [--embedder NAME] [--json COLUMN]`` (see `--help`; a run of
all rows takes five to fifteen minutes), and ``--calibration`` for how honest the probabilities are.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import DATA, RESULTS, machine, save
from hard_data import Portrait, Sitters, read_choice, read_photo
from limner import similarity
from limner.errors import LimnerError
from limner.faces import FaceAnalyzer
from limner.gallery import Gallery
from limner.types import Embedding, Face, ImageArray, Pair
from spoil import CLEAN, ROWS, Row

PROFILE = "profile"
COLUMNS = ("today", "default", "duo")
"""Columns of the page: facenet at commit cd1cf52, for ever; the default now; the best pair now."""


def judge(a: Embedding, b: Embedding) -> Pair:
    """Judge two faces as ``limner compare`` does."""
    compare = getattr(similarity, "compare", None)
    if compare is not None:
        return compare(a, b)
    calibration = similarity.shipped(a.embedder_id)
    if calibration is None:
        raise SystemExit(f"limner ships no threshold for {a.embedder_id}.")
    return calibration.head.judge(a.vector, b.vector)


def seed_of(portrait: Portrait) -> int:
    """Return the seed of a photo's noise."""
    return zlib.crc32(portrait.photo.encode())


def meant(faces: Sequence[Face], portrait: Portrait, row: Row, size_hw: tuple[int, int]) -> Any:
    """Return the face that lies where the portrait's face went; None if it was not found.

    Args:
        faces: The faces of the spoiled photo.
        portrait: The clean photo's face.
        row: How the photo was spoiled.
        size_hw: Of the clean photo.
    """
    x, y = row.middle(portrait.face, size_hw)
    turn = row.move(portrait.face, size_hw)[:, :2]
    x0, y0, x1, y1 = portrait.face.box_xyxy
    reach = 0.5 * max(x1 - x0, y1 - y0) * abs(np.linalg.det(turn)) ** 0.5

    def distance(face: Face) -> float:
        a, b, c, d = face.box_xyxy
        return float(np.hypot((a + c) / 2 - x, (b + d) / 2 - y))

    nearest = min(faces, key=distance, default=None)
    return nearest if nearest is not None and distance(nearest) <= reach else None


def look(analyzer: FaceAnalyzer, portraits: Sequence[Portrait], row: Row) -> list[Face | None]:
    """Spoil photos, find and embed their faces; None where the face meant was not found."""
    sizes: list[tuple[int, int]] = []

    def spoiled() -> Iterator[ImageArray]:
        for portrait in portraits:
            image = read_photo(portrait)
            sizes.append((image.shape[0], image.shape[1]))
            yield row(image, portrait.face, seed_of(portrait))

    return [
        meant(photo.faces or (), portraits[index], row, sizes[index])
        for index, photo in enumerate(analyzer.analyze_many(spoiled()))
    ]


def embedding_of(face: Face) -> Embedding:
    """Return a face's embedding, which `analyze_many` has made."""
    if face.embedding is None:
        raise SystemExit("the face has no embedding.")
    return face.embedding


@dataclass(frozen=True, eq=False)
class Galleries:
    """The galleries that a row asks: of the known people alone, and of the others too.

    Attributes:
        small: The known people.
        large: They and the others.
        refused: Photos that enrolment refused, or in which it found no face.
    """

    small: Gallery
    large: Gallery
    refused: list[str]


def enrol(analyzer: FaceAnalyzer, sitters: Sitters, folder: Path) -> Galleries:
    """Enrol everybody from one clean photo each."""
    folder.mkdir()
    small = Gallery.open(folder / "small.limner", create=True)
    large = Gallery.open(folder / "large.limner", create=True)
    refused = []
    known = [photo for photo, _ in sitters.known]
    for number, portraits in enumerate((known, sitters.others)):
        for portrait, face in zip(portraits, look(analyzer, portraits, CLEAN), strict=True):
            try:
                if face is None:
                    raise LimnerError("no face was found.")
                for gallery in (small, large)[number:]:
                    gallery.enroll(portrait.person, embedding_of(face), photo=portrait.photo)
            except LimnerError as error:
                refused.append(f"{portrait.photo}: {error}")
    return Galleries(small, large, refused)


def ask(gallery: Gallery, faces: Sequence[Face | None], names: Sequence[str]) -> dict[str, int]:
    """Count what `identify` answers.

    Args:
        gallery: Whom to ask.
        faces: The faces that were found.
        names: Who each is.
    """
    found = [(face, name) for face, name in zip(faces, names, strict=True) if face is not None]
    matches = gallery.identify([embedding_of(face) for face, _ in found])
    told = [(match, name) for match, (_, name) in zip(matches, found, strict=True)]
    return {
        "right": sum(m.verdict == "recognised" and m.person == name for m, name in told),
        "wrong": sum(m.verdict == "recognised" and m.person != name for m, name in told),
        "unclear": sum(m.verdict == "unclear" for m, _ in told),
    }


def count_pairs(faces: Sequence[Face | None]) -> dict[str, Any]:
    """Judge all pairs of different people's faces."""
    vectors = [embedding_of(face) for face in faces if face is not None]
    pairs = [judge(a, b) for i, a in enumerate(vectors) for b in vectors[i + 1 :]]
    sure = [p.probability for p in pairs if p.verdict == "same" and p.probability is not None]
    return {
        "judged": len(pairs),
        "same": sum(pair.verdict == "same" for pair in pairs),
        "unclear": sum(pair.verdict == "unclear" for pair in pairs),
        "median_distance": float(np.median([p.distance for p in pairs])) if pairs else None,
        "highest_probability_of_same": max(sure, default=None),
    }


def qualities(faces: Sequence[Face | None]) -> dict[str, Any]:
    """Say what is known of faces' quality: their median, and how many are too poor to enrol."""
    found = [face for face in faces if face is not None]
    known = [q for face in found if (q := getattr(face, "quality", None)) is not None]
    return {
        "found": len(found),
        "too_poor": sum(getattr(face, "reason", None) is not None for face in found),
        "median_quality": float(np.median(known)) if known else None,
    }


def measure(
    analyzer: FaceAnalyzer, sitters: Sitters, galleries: Galleries, row: Row
) -> dict[str, Any]:
    """Return the figures of one row."""
    probes = [photo for _, photo in sitters.known]
    known, strangers = (look(analyzer, group, row) for group in (probes, sitters.strangers))
    names = [photo.person for photo in probes]
    nobody = [""] * len(strangers)
    return {
        "known": {
            "asked": len(known),
            **qualities(known),
            "small": ask(galleries.small, known, names),
            "large": ask(galleries.large, known, names),
        },
        "strangers": {
            "asked": len(strangers),
            **qualities(strangers),
            "small": ask(galleries.small, strangers, nobody),
            "large": ask(galleries.large, strangers, nobody),
        },
        "pairs": count_pairs(strangers),
    }


def sentence(name: str, figures: dict[str, Any]) -> str:
    """Return a row's figures as one line."""
    known, strangers, pairs = figures["known"], figures["strangers"], figures["pairs"]
    same, unclear = (100 * pairs[k] / max(1, pairs["judged"]) for k in ("same", "unclear"))
    return (
        f"{name:20} found {known['found']:3}, right {known['small']['right']:3} /"
        f"{known['large']['right']:3}, wrong {known['small']['wrong']} /"
        f" {known['large']['wrong']}, unclear {known['small']['unclear']:3}; strangers found "
        f"{strangers['found']:3}, named {strangers['small']['wrong']} / "
        f"{strangers['large']['wrong']}, unclear {strangers['small']['unclear']:3}; pairs same "
        f"{same:5.2f} %, unclear {unclear:6.2f} %"
    )


def run(analyzer: FaceAnalyzer, rows: Sequence[str], people: int) -> dict[str, Any]:
    """Measure rows, and return them as a column."""
    spoiled, sideways = (sitters.first(people) for sitters in read_choice())
    column: dict[str, Any] = {
        "embedder": analyzer.embedder_id,
        "machine": machine(),
        "people": {"known": people, "strangers": 2 * people, "others": len(spoiled.others)},
        "rows": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        made: dict[bool, Galleries] = {}
        for name in rows:
            aside = name == PROFILE
            sitters, row = (sideways, CLEAN) if aside else (spoiled, ROWS[name])
            if aside not in made:
                made[aside] = enrol(analyzer, sitters, Path(folder) / str(aside))
            figures = measure(analyzer, sitters, made[aside], row)
            column["rows"][name] = figures
            print(sentence(name, figures), flush=True)
        column["not_enrolled"] = sorted({r for g in made.values() for r in g.refused})
        for galleries in made.values():
            galleries.small.close()
            galleries.large.close()
    return column


def stored() -> dict[str, Any]:
    """Return what ``bench/results/hard.json`` holds."""
    path = RESULTS / "hard.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def keep(part: str, column: str, figures: dict[str, Any]) -> None:
    """Write a column of a part of ``bench/results/hard.json``; the others stay."""
    results = stored()
    results["machine"] = figures["machine"]
    results.setdefault(part, {})[column] = figures
    save("hard", results)


def main() -> None:
    """Run the rows that were asked for."""
    every = [*ROWS, PROFILE]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--embedder", help="facenet, dlib, ...; default: limner's default")
    parser.add_argument("--rows", nargs="+", choices=every, default=every, metavar="ROW")
    parser.add_argument("--people", type=int, default=60, help="known people, 1 to 60")
    parser.add_argument("--json", choices=COLUMNS, help="keep the figures as this column")
    parser.add_argument(
        "--calibration", action="store_true", help="how honest quality and probability are"
    )
    options = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"{DATA} is absent: these benchmarks need the developers' data.")
    if not 1 <= options.people <= 60:
        parser.error(f"--people must lie between 1 and 60, got {options.people}.")
    if options.json and (options.rows != every or options.people != 60):
        parser.error("--json keeps whole columns: leave --rows and --people out.")
    part = "calibration" if options.calibration else "columns"
    if options.json == "today" and "today" in stored().get(part, {}):
        parser.error("the column 'today' is kept for ever; use 'default' or 'duo'.")
    analyzer = FaceAnalyzer(embedder=options.embedder) if options.embedder else FaceAnalyzer()
    if options.calibration:
        from hard_quality import measure_quality

        figures = measure_quality(analyzer)
        print(json.dumps(figures, indent=1))
    else:
        figures = run(analyzer, options.rows, options.people)
    if options.json:
        keep(part, options.json, figures)


if __name__ == "__main__":
    main()
