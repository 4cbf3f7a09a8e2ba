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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import DATA, RESULTS, machine, save
from hard_data import Sitters, read_choice
from hard_look import embedding_of, judge, look
from limner.errors import LimnerError
from limner.faces import FaceAnalyzer
from limner.gallery import Gallery
from limner.types import Face
from spoil import CLEAN, ROWS, Row

PROFILE = "profile"
COLUMNS = ("today", "default", "duo")
"""Columns of the page: facenet at commit cd1cf52, for ever; the default now; the best pair now."""


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
        for reason in column["not_enrolled"]:
            print(f"not enrolled: {reason}")
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
