"""Faces at any angle, found with a detector that knows upright ones.

A head that leans is found up to about 60 degrees, but its landmarks are read as if it leant less:
of a tilt YuNet reads about two fifths (measured on LFW View 1, photos turned on purpose). So a face
whose landmarks lean is turned upright and looked at again, on a small patch, until they stand.
A photo that lies on its side is found by turning all of it by quarters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from limner.faces.align import Interpolation, Matrix, cut_chip, tilt_of, turn_about
from limner.faces.detect import MERGE_IOU, Detector
from limner.types import Face, Head, ImageArray, box_iou

LEANS_DEG = 4.0
"""A face is looked at again where its landmarks lean by more than this."""

READ_SHARE = 0.42
"""The share of a head's tilt that the landmarks show: medians of 5.1 to 6.2 degrees at 15, 13.1 to
13.9 at 30, 16 to 19 at 45."""

LOOKS = 4
"""How often a leaning face is looked at again, at most."""

LARGEST_TURN_DEG = 40.0
"""The largest turn between two looks: a larger reading is not believed at once."""

SURE_SCORE = 0.905
"""A photo whose best face scores less is looked at on its sides and upside down too: two in a
hundred of the upright photos of LFW, and all but a few in a hundred of those turned on purpose."""

BETTER_BY = 0.02
"""By how much a turned photo's best score must be higher than the photo's own."""

TURNED_PX = 1280
"""A photo is looked at turned with its longer side at most this long, unless it is asked for."""

_PATCH_PX = 160
_PATCH_SIDE = 2.0
"""The patch that a face is looked at again on, in pixels; its side over the box's longer one."""

TRIED_DEG = (35.0, -35.0)
"""How a face that is not sure, although its landmarks stand upright, is tried."""

_TRIED_PX = 32
"""The longer side from which on a face is tried so: a crowd of specks isn't worth the time."""

QUARTERS = (90, 270, 180)


@dataclass(frozen=True)
class _Patch:
    """A square of a photo that is turned about its middle; see `limner.faces.align.Crop`."""

    centre_xy: tuple[float, float]
    side: float
    angle_deg: float
    interpolation: Interpolation = "linear"

    def matrix(self, face: Face, size: int) -> Matrix:
        """Return the (2, 3) affine map from patch pixels to photo pixels (pixel centres)."""
        pivot = (self.centre_xy[0] - 0.5, self.centre_xy[1] - 0.5)  # of pixel centres, not edges
        turn = turn_about(pivot, self.angle_deg)
        step = self.side / size
        corner = np.asarray(pivot) - self.side / 2 + step / 2
        return np.column_stack([turn[:, :2] * step, turn[:, :2] @ corner + turn[:, 2]])


class Upright:
    """A detector for heads that lean and photos that lie on their side.

    Args:
        detector: Finds upright faces.
        any_rotation: Whether every photo is looked at in all four quarters, and each face is
            taken from the one that it is clearest in: for crowds seen from above, at four times
            the work. Without it a photo counts as turned as a whole, and only where its best
            face is not a sure one.
    """

    def __init__(self, detector: Detector, *, any_rotation: bool = False) -> None:
        self._detector = detector
        self._any_rotation = any_rotation

    def detect(self, image: ImageArray) -> list[Face]:
        """Return the faces of an RGB photo, shape (H, W, 3), largest first.

        Boxes and landmarks are in pixels of the photo as it is; `Face.rotation` says how far
        each head is turned in it.
        """
        faces = self._detector.detect(image)
        if self._any_rotation:
            faces = self._from_all_quarters(image, faces)
        elif _best(faces) < SURE_SCORE:
            faces = self._from_best_quarter(image, faces)
        faces = [self._stand_up(image, face) for face in faces]
        return sorted(faces, key=lambda face: face.area, reverse=True)

    def _from_best_quarter(self, image: ImageArray, faces: list[Face]) -> list[Face]:
        """Return the faces of the quarter in which the clearest face stands upright."""
        small = _shrunk(image)
        scores = {quarter: self._upright_score(small, quarter) for quarter in (0, *QUARTERS)}
        quarter = max(QUARTERS, key=lambda q: scores[q])
        if scores[quarter] < max(scores[0], _best(faces)) + BETTER_BY:
            return faces
        return self._at_quarter(image, quarter)

    def _upright_score(self, image: ImageArray, quarter: int) -> float:
        """Return the score of a quarter's clearest face when it stands upright; 0 for none."""
        view = _turned(image, quarter)
        clearest = max(self._detector.detect(view), key=lambda face: face.score, default=None)
        return 0.0 if clearest is None else self._stand_up(view, clearest).score

    def _from_all_quarters(self, image: ImageArray, faces: list[Face]) -> list[Face]:
        found = [face for quarter in QUARTERS for face in self._at_quarter(image, quarter)]
        stay: list[Face] = []
        for face in sorted([*faces, *found], key=lambda face: face.score, reverse=True):
            if all(box_iou(face.box_xyxy, other.box_xyxy) <= MERGE_IOU for other in stay):
                stay.append(face)
        return stay

    def _at_quarter(self, image: ImageArray, quarter: int) -> list[Face]:
        """Return the faces that are upright in a photo that is turned anticlockwise."""
        height, width = image.shape[:2]
        found = self._detector.detect(_turned(image, quarter))
        return [_from_quarter(face, quarter, height, width) for face in found]

    def _stand_up(self, image: ImageArray, face: Face) -> Face:
        """Return a face with landmarks and head's box as they are seen when it stands upright."""
        lean = _lean(face, face.rotation)
        if abs(lean) > LEANS_DEG:
            return self._followed(image, face, face, lean)
        if face.score >= SURE_SCORE or _longer_side(face) < _TRIED_PX:
            return face
        # Of some heads that lean far the landmarks show nothing: only the score is low.
        seen = [self._seen_at(image, face, face, face.rotation + turn) for turn in TRIED_DEG]
        clearest = max((s for s in seen if s), key=lambda s: s.score, default=None)
        if clearest is None or clearest.score < face.score + BETTER_BY:
            return face
        return self._followed(image, face, clearest, _lean(clearest, clearest.rotation))

    def _followed(self, image: ImageArray, face: Face, best: Face, lean: float) -> Face:
        """Return a face of the photo as it is seen when its landmarks lean no more."""
        for _ in range(LOOKS):
            if abs(lean) <= LEANS_DEG:
                break
            turn = float(np.clip(lean / READ_SHARE, -LARGEST_TURN_DEG, LARGEST_TURN_DEG))
            seen = self._seen_at(image, face, best, best.rotation + turn)
            if seen is None:
                break
            best, lean = seen, _lean(seen, seen.rotation)
        return best

    def _seen_at(self, image: ImageArray, face: Face, best: Face, angle: float) -> Face | None:
        """Return a face as it is seen on a patch about its best middle that is turned upright."""
        patch = _Patch(_middle(best), _PATCH_SIDE * _longer_side(face), _wrapped(angle))
        seen = _central(self._detector.detect(cut_chip(image, face, patch, size=_PATCH_PX)))
        if seen is None:
            return None
        return _from_patch(seen, patch.matrix(face, _PATCH_PX), patch.angle_deg, face)


def _best(faces: Iterable[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _shrunk(image: ImageArray) -> ImageArray:
    """Return a photo with its longer side at most `TURNED_PX`."""
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, TURNED_PX / max(height, width))
    if scale == 1.0:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _turned(image: ImageArray, quarter: int) -> ImageArray:
    """Return a photo turned anticlockwise by 0, 90, 180 or 270 degrees."""
    return np.ascontiguousarray(np.rot90(image, quarter // 90)) if quarter else image


def _from_quarter(face: Face, quarter: int, height: int, width: int) -> Face:
    """Return a face of the turned photo as it lies in the photo of that height and width."""
    # The map of pixel edges from the turned photo to the photo: a turn clockwise and a shift.
    linear, shift = {
        90: (((0, -1), (1, 0)), (width, 0)),
        180: (((-1, 0), (0, -1)), (width, height)),
        270: (((0, 1), (-1, 0)), (0, height)),
    }[quarter]
    turn, offset = np.array(linear, np.float64), np.array(shift, np.float64)
    corners = np.array(face.box_xyxy).reshape(2, 2) @ turn.T + offset
    (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
    # Landmarks are pixel centres: half a pixel from the edges that the map is of.
    landmarks = (face.landmarks_xy + 0.5) @ turn.T + offset - 0.5
    head = Head(
        centre_xy=(float(x0 + x1) / 2, float(y0 + y1) / 2),
        size_wh=(face.box_xyxy[2] - face.box_xyxy[0], face.box_xyxy[3] - face.box_xyxy[1]),
        angle_deg=float(_wrapped(quarter)),
    )
    return replace(
        face,
        box_xyxy=(float(x0), float(y0), float(x1), float(y1)),
        landmarks_xy=landmarks.astype(np.float32),
        head=head,
    )


def _from_patch(seen: Face, matrix: Matrix, angle: float, face: Face) -> Face:
    """Return a face of a patch as it lies in the photo; its box stays the photo's."""
    x0, y0, x1, y1 = seen.box_xyxy
    step = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    middle = matrix[:, :2] @ np.array([(x0 + x1) / 2 - 0.5, (y0 + y1) / 2 - 0.5]) + matrix[:, 2]
    head = Head(
        centre_xy=(float(middle[0]) + 0.5, float(middle[1]) + 0.5),
        size_wh=((x1 - x0) * step, (y1 - y0) * step),
        angle_deg=float(angle),
    )
    landmarks = seen.landmarks_xy @ matrix[:, :2].T + matrix[:, 2]
    return replace(face, landmarks_xy=landmarks.astype(np.float32), head=head, score=seen.score)


def _central(faces: list[Face]) -> Face | None:
    """Return the face that a patch is of: the one whose box's middle is nearest to its own."""
    middle = np.array([_PATCH_PX / 2, _PATCH_PX / 2])
    near = [
        (float(np.linalg.norm(np.array(_middle(face)) - middle)), i) for i, face in enumerate(faces)
    ]
    if not near or min(near)[0] > _PATCH_PX / 4:
        return None
    return faces[min(near)[1]]


def _middle(face: Face) -> tuple[float, float]:
    if face.head is not None:
        return face.head.centre_xy
    x0, y0, x1, y1 = face.box_xyxy
    return (x0 + x1) / 2, (y0 + y1) / 2


def _longer_side(face: Face) -> float:
    if face.head is not None:
        return max(face.head.size_wh)
    x0, y0, x1, y1 = face.box_xyxy
    return max(x1 - x0, y1 - y0)


def _lean(face: Face, angle: float) -> float:
    """Return how far the landmarks lean beyond an angle, degrees; 0 where they tell nothing."""
    points: NDArray[np.float32] = face.landmarks_xy
    if np.ptp(points, axis=0).max() <= 0:
        return 0.0
    return _wrapped(tilt_of(points) - angle)


def _wrapped(angle: float) -> float:
    """Return an angle in (-180, 180]."""
    return float(-((-angle + 180.0) % 360.0 - 180.0))
