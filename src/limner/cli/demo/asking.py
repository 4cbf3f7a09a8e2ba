"""Ask a gallery about pictures whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from limner.cli.demo.page import Card
from limner.cli.draw import Mark, draw_marks
from limner.cli.photos import embedding_of, percent
from limner.cli.writing import mark_of
from limner.studio.pictures import GroupPhoto, View

if TYPE_CHECKING:
    from limner.faces import FaceAnalyzer
    from limner.gallery import Gallery
    from limner.types import Face, ImageArray, Match

NOT_RECOGNISED = "not recognised"
NO_FACE = "no face"
UNCLEAR = "unclear"
_EXPECTED = {"a stranger": NOT_RECOGNISED, "nobody": NO_FACE}


@dataclass(frozen=True)
class Row:
    """One picture that was shown, and the answer.

    Attributes:
        photo: What it is.
        expected: A name, ``not recognised`` or ``no face``.
        match: The answer; None where no face was found.
        image: Shape (H, W, 3), uint8 RGB.
    """

    photo: str
    expected: str
    match: Match | None
    image: ImageArray

    @property
    def answer(self) -> str:
        """The answer, in the words of `expected`, or ``unclear``."""
        if self.match is None:
            return NO_FACE
        if self.match.verdict == "unclear":
            return UNCLEAR
        return self.match.person or NOT_RECOGNISED

    @property
    def verdict(self) -> Literal["right", "not found", "not judged", "WRONG"]:
        """Whether the answer is the expected one.

        A stranger whose face was not found, or too poor to judge by, was not mistaken for anybody
        either; nor was what is no face and looks like a poor one.
        """
        if self.answer == self.expected:
            return "right"
        if self.answer == UNCLEAR and self.expected in (NOT_RECOGNISED, NO_FACE):
            return "not judged"
        unseen = self.expected == NOT_RECOGNISED and self.match is None
        return "not found" if unseen else "WRONG"

    @property
    def figures(self) -> tuple[str | None, str | None]:
        """Distance and probability as text; None where there is none."""
        if self.match is None or self.match.distance is None:
            return None, None
        chance = self.match.probability
        return f"{self.match.distance:.3f}", None if chance is None else percent(chance)

    def cells(self) -> list[str | None]:
        """Return the row of the table."""
        return [self.photo, self.expected, self.answer, *self.figures, self.verdict]

    def card(self) -> Card:
        """Return the card of the page."""
        figures = " · ".join(text for text in self.figures if text).replace(
            " ", "\N{NO-BREAK SPACE}"
        )
        return Card(
            self.image,
            self.answer,
            self.photo,
            figures,
            self.match.person is not None if self.match and self.answer != UNCLEAR else None,
            None if self.match is None else self.match.distance,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain JSON values."""
        match = None if self.match is None else self.match.to_json()
        return {
            "photo": self.photo,
            "expected": self.expected,
            "answer": self.answer,
            "verdict": self.verdict,
            "figures": match,
        }


def ask(gallery: Gallery, analyzer: FaceAnalyzer, views: Sequence[View]) -> list[Row]:
    """Ask who is in each picture."""
    rows = []
    for view in views:
        faces = analyzer.analyze(view.image)[:1]
        matches = gallery.identify([embedding_of(face) for face in faces])
        match = matches[0] if matches else None
        expected = _EXPECTED.get(view.person, view.person)
        rows.append(Row(view.title, expected, match, view.image))
    return rows


def ask_group(
    gallery: Gallery, analyzer: FaceAnalyzer, group: GroupPhoto
) -> tuple[list[Row], ImageArray]:
    """Ask who is in the group picture.

    Returns:
        A row for each view that was pasted in, and one for each face that was found outside
        of them; and the picture with the answers drawn on it.
    """
    faces = analyzer.analyze(group.image)
    matches = gallery.identify([embedding_of(face) for face in faces])
    found = list(zip(faces, matches, strict=True))
    marks: list[Mark] = [mark_of(face, match) for face, match in found]
    rows = []
    for place in group.places:
        here = [pair for pair in found if _centre_in(pair[0], place.box_xyxy)]
        found = [pair for pair in found if pair not in here[:1]]
        expected = _EXPECTED.get(place.view.person, place.view.person)
        match = here[0][1] if here else None
        rows.append(Row(f"{place.view.title}, in the group", expected, match, place.view.image))
    rows += [Row("something else in the group", NO_FACE, m, group.image) for _, m in found]
    return rows, draw_marks(group.image, marks).image


def _centre_in(face: Face, box: tuple[float, float, float, float]) -> bool:
    x = (face.box_xyxy[0] + face.box_xyxy[2]) / 2
    y = (face.box_xyxy[1] + face.box_xyxy[3]) / 2
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]
