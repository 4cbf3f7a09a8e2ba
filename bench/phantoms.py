"""Second sitters and phantoms: how large and how good they are beside the largest face of a photo.

What `limner.faces.phantoms` states. Real second people are the faces of group photographs that the
annotation, or nobody's doubt, says are real; phantoms are what the detector finds in pictures of
nothing human, and beside the one sitter of an enlarged portrait, and a sitter is put beside them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import numpy as np
import skimage.data
from PIL import Image

from common import DATA, machine, save
from limner.faces import FaceAnalyzer
from limner.images import list_photos
from limner.types import Face, ImageArray, box_iou

GROUPS = DATA / "groups"
LONG_SIDES_PX = (1500, 3000, 6000)
EMPTY = (
    *("coffee", "rocket", "chelsea", "brick", "grass", "gravel", "moon", "coins", "clock", "horse"),
    *("hubble_deep_field", "immunohistochemistry", "page", "text", "cell"),
)


def _height(face: Face) -> float:
    return face.box_xyxy[3] - face.box_xyxy[1]


def _rows(faces: list[Face], largest: float, kind: str, photo: str) -> list[dict[str, object]]:
    return [
        {
            "kind": kind,
            "photo": photo,
            "ratio": round(_height(face) / largest, 4),
            "height": round(_height(face), 1),
            "score": round(face.score, 3),
            "quality": None if face.quality is None else round(face.quality, 3),
            "reason": face.reason,
        }
        for face in faces
    ]


def _annotated() -> dict[str, list[tuple[float, float, float, float]]]:
    found = json.loads((GROUPS / "wider" / "named_gt.json").read_text())
    return {
        name: [(x, y, x + w, y + h) for x, y, w, h in row["boxes_xywh"]]
        for name, row in found.items()
    }


def real_people(analyzer: FaceAnalyzer) -> Iterator[dict[str, object]]:
    """Yield the second faces of group photographs."""
    annotated = _annotated()
    for path in [*list_photos(GROUPS / "dlib" / "faces"), *list_photos(GROUPS / "wider" / "named")]:
        faces = analyzer.analyze(path)
        true = annotated.get(path.name)
        if true is not None:
            faces = [f for f in faces if max(box_iou(f.box_xyxy, box) for box in true) > 0.4]
        if len(faces) > 1:
            yield from _rows(faces[1:], max(map(_height, faces)), "real", path.name)


def _empty() -> Iterator[tuple[str, ImageArray]]:
    for name in EMPTY:
        try:
            picture = np.asarray(getattr(skimage.data, name)())
        except Exception as error:  # not in the installed package: it would be fetched
            print(f"left out: {name} ({type(error).__name__})", file=sys.stderr)
            continue
        if picture.dtype == np.uint8 and picture.ndim in (2, 3):
            yield name, np.asarray(Image.fromarray(picture).convert("RGB"))
    from sklearn.datasets import load_sample_images

    for number, picture in enumerate(load_sample_images().images):
        yield f"sklearn {number}", picture


def _enlarged(picture: ImageArray, side: int) -> ImageArray:
    image = Image.fromarray(picture)
    scale = side / max(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


def phantoms(analyzer: FaceAnalyzer) -> Iterator[dict[str, object]]:
    """Yield what is found in pictures without people, as beside a sitter of a quarter of them."""
    for name, picture in _empty():
        for side in LONG_SIDES_PX:
            large = _enlarged(picture, side)
            yield from _rows(analyzer.analyze(large), side / 4, "phantom", f"{name} {side}")
    portraits = {"astronaut": skimage.data.astronaut()}
    for name, picture in portraits.items():
        for side in LONG_SIDES_PX:
            faces = analyzer.analyze(_enlarged(picture, side))
            yield from _rows(faces[1:], _height(faces[0]), "phantom", f"{name} {side}")


def main() -> None:
    """Measure, print and save."""
    analyzer = FaceAnalyzer()
    rows = [*real_people(analyzer), *phantoms(analyzer)]
    for row in rows:
        print(row, flush=True)
    save("phantoms", {"machine": machine(), "faces": rows})


if __name__ == "__main__":
    main()
