"""Find DICOM slices: which files are DICOM, and what each slice says of itself.

Files of one slice and files of many (enhanced CT and MR, dose grids) become the same list of
slices; `limner.training.dicom_stack` puts them in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError, MissingExtraError
from limner.training.samples import FloatArray

Vector = NDArray[np.float64]

_MOMENTS = (
    *("TemporalPositionIndex", "TemporalPositionIdentifier", "AcquisitionNumber", "EchoNumbers"),
    *("DiffusionBValue", "TriggerTime", "AcquisitionTime"),
)


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice of a series.

    Attributes:
        path: Its file.
        frame: Its number in a file of many; None for a file of one.
        shape: Rows and columns.
        position: Of its first pixel, millimetres, shape (3,); None where it does not say.
        turn: Directions of a row and of a column, shape (6,); None where it does not say.
        spacing: Between rows and between columns, millimetres; None where it does not say.
        thickness: Distance of neighbours, millimetres; None where it does not say.
        number: InstanceNumber, or of the frame; None where it does not say.
        moment: Orders slices at one place: time point, acquisition, echo, b-value, number.
        uid: SOPInstanceUID.
        series: SeriesInstanceUID, SeriesNumber and SeriesDescription.
        patient: PatientID, PatientName and PatientBirthDate.
        scale: Slope and intercept.
    """

    path: Path
    frame: int | None
    shape: tuple[int, int]
    position: Vector | None
    turn: Vector | None
    spacing: tuple[float, float] | None
    thickness: float | None
    number: int | None
    moment: tuple[float, ...]
    uid: str
    series: tuple[str, str, str]
    patient: tuple[str, str, str]
    scale: tuple[float, float]

    @property
    def name(self) -> str:
        """Where it comes from, for people to read."""
        return self.path.name if self.frame is None else f"{self.path.name}, frame {self.frame}"


def is_dicom(path: Path) -> bool:
    """Tell by a file's first bytes whether it is DICOM, with the preamble or without."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(132)
    except OSError:
        return False
    if head[128:] == b"DICM":
        return True
    # Without the preamble: a tag of group 2 or 8, then a length or a type of two letters.
    return len(head) > 8 and head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00"


def list_slices(files: Sequence[Path]) -> tuple[list[Slice], list[Path]]:
    """Return the slices in some files, and the files that hold none."""
    slices: list[Slice] = []
    passed: list[Path] = []
    for path in files:
        head = _head(path)
        if head is None:
            passed.append(path)
        else:
            slices += _slices(path, head)
    return slices, passed


def _head(path: Path) -> Any:
    """Return a file's header, or None where it is no picture in DICOM."""
    import pydicom

    if not is_dicom(path):
        return None
    try:
        head = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    except Exception:  # pydicom raises what its parsers raise
        return None
    return head if _get(head, "Rows") and _get(head, "Columns") else None


def _slices(path: Path, head: Any) -> Iterator[Slice]:
    count = int(_get(head, "NumberOfFrames") or 1)
    if count == 1 and "PerFrameFunctionalGroupsSequence" not in head:
        yield _slice(path, head, (head,), None)
        return
    shared = list(_get(head, "SharedFunctionalGroupsSequence") or [])[:1]
    own = list(_get(head, "PerFrameFunctionalGroupsSequence") or [])
    offsets = [float(v) for v in _get(head, "GridFrameOffsetVector") or []]
    for frame in range(count):
        groups = [*own[frame : frame + 1], *shared]
        # What a frame says of itself goes before what all share, and that before the file.
        said = (*(item for g in groups for item in _macros(g)), head)
        made = _slice(path, head, said, frame)
        if len(offsets) == count and made.position is not None and made.turn is not None:
            along = np.cross(made.turn[:3], made.turn[3:]) * (offsets[frame] - offsets[0])
            made = _slice(path, head, said, frame, position=made.position + along)
        elif count > 1 and not own:  # frames that do not say where they lie
            made = _slice(path, head, said, frame, position=None)
        yield made


def _macros(group: Any) -> Iterator[Any]:
    """Yield the items of a functional group: position, orientation, spacing, scale, ..."""
    for element in group:
        if element.VR == "SQ" and len(element.value):
            yield element.value[0]


_OWN: Any = object()


def _slice(
    path: Path, head: Any, said: Sequence[Any], frame: int | None, *, position: Any = _OWN
) -> Slice:
    def find(name: str) -> Any:
        return next((v for v in (_get(s, name) for s in said) if v is not None), None)

    thickness = _positive(find("SpacingBetweenSlices")) or _positive(find("SliceThickness"))
    number = find("InstanceNumber") if frame is None else frame
    spacing = _numbers(find("PixelSpacing"), 2)
    spacing = _numbers(find("ImagerPixelSpacing"), 2) if spacing is None else spacing
    slope = find("RescaleSlope") or find("DoseGridScaling") or 1
    return Slice(
        path=path,
        frame=frame,
        shape=(int(head.Rows), int(head.Columns)),
        position=_numbers(find("ImagePositionPatient"), 3) if position is _OWN else position,
        turn=_numbers(find("ImageOrientationPatient"), 6),
        spacing=None if spacing is None else (float(spacing[0]), float(spacing[1])),
        thickness=thickness,
        number=None if number is None else int(number),
        moment=(*(_number(find(n)) for n in _MOMENTS), float(number or 0)),
        uid=str(_get(head, "SOPInstanceUID") or ""),
        series=_words(head, "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"),
        patient=_words(head, "PatientID", "PatientName", "PatientBirthDate"),
        scale=(float(slope), float(find("RescaleIntercept") or 0)),
    )


def _get(data: Any, name: str) -> Any:
    """Return an element's value; None where it is absent, empty or damaged."""
    try:
        value = getattr(data, name, None)
    except Exception:  # pydicom converts when asked, and raises what its converters raise
        return None
    return None if value is None or value == "" else value


def _words(head: Any, first: str, second: str, third: str) -> tuple[str, str, str]:
    a, b, c = (str(_get(head, name) or "").strip() for name in (first, second, third))
    return a, b, c


def _numbers(value: Any, count: int) -> Vector | None:
    try:
        found = np.array([float(v) for v in value], dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and np.isfinite(found).all() else None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _positive(value: Any) -> float | None:
    found = _number(value)
    return found if found > 0 and np.isfinite(found) else None


class Pixels:
    """Reads the pixels of slices in the modality's units; a file of many is decoded once."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._held: NDArray[Any] = np.zeros(0)

    def __call__(self, item: Slice) -> FloatArray:
        """Return one slice, shape (rows, columns), float32.

        Raises:
            InputError: If it cannot be decoded or is no single grey slice.
            MissingExtraError: If its compression needs a decoder that is not installed.
        """
        if item.frame is None:
            pixels = _decode(item.path)
        else:
            if self._path != item.path:
                self._held, self._path = _decode(item.path), item.path
            alone = self._held.shape[:2] == item.shape  # a file of one frame, grey or in colour
            pixels = self._held if alone else self._held[item.frame]
        if pixels.ndim != 2:
            raise InputError(
                f"{item.path} is no single grey slice: its pixels have shape {pixels.shape}."
            )
        slope, intercept = item.scale
        return np.asarray(pixels * slope + intercept, np.float32)


def _decode(path: Path) -> NDArray[Any]:
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    try:
        data = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in data.file_meta:  # a file without the preamble
            implicit = data.original_encoding[0]
            syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
            data.file_meta.TransferSyntaxUID = syntax
    except Exception as error:
        raise InputError(f"{path}: the pixels cannot be read: {error}.") from error
    _check_decoder(path, data.file_meta.TransferSyntaxUID)
    try:
        return np.asarray(data.pixel_array)
    except Exception as error:  # pydicom raises what its decoders raise
        raise InputError(f"{path}: the pixels cannot be read: {error}.") from error


def _check_decoder(path: Path, syntax: Any) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    if not syntax.is_compressed or not syntax.is_encapsulated:
        return
    try:
        ready = get_decoder(syntax).is_available
    except NotImplementedError:
        raise InputError(
            f"{path} is compressed as {syntax.name}, which cannot be read; store it uncompressed."
        ) from None
    if not ready:
        raise MissingExtraError(
            f"{path} is compressed as {syntax.name}, whose decoder is not installed: "
            "pip install 'limner[dicom]'."
        )
