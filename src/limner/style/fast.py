"""Feed-forward stylization: a picture in about a second, with any painting or a built-in style.

Source: Ghiasi et al., Exploring the structure of a real-time, arbitrary neural artistic
stylization network, BMVC 2017; Dumoulin et al., A Learned Representation for Artistic Style,
ICLR 2017. Differs: the networks run in floating point on the whole picture at its full size,
in tiles that share their statistics where it is larger than 2.5 megapixels.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from limner import weights
from limner.errors import ImageError, InputError, ShapeError, UnknownNameError
from limner.images import PHOTO_SUFFIXES, read_float
from limner.style import fast_graph
from limner.style.colour import Colour, recolour_style
from limner.style.fast_tiles import Extra, Network, open_session
from limner.types import FloatArray

Progress = Callable[[str, int, int | None], None]
ValueRange = Literal["auto", "unit", "byte"]

# The distributor knows no names, so these say what each looks like.
BUILTIN_STYLES: tuple[str, ...] = (
    *("amber-pastel", "yellow-ink", "charcoal-dawn", "primaries", "crimson-field"),
    *("sunset-oil", "indigo-dots", "bold-bands", "white-marker", "pebbles", "umber-canvas"),
    *("ochre-print", "lilac-haze", "jungle", "pale-sea", "pastel-leading", "blue-strokes"),
    *("weave", "woodcut", "starry", "red-velvet", "cutout", "slate-ink", "dusk"),
    *("wave-print", "mosaic"),
)
STYLE_PX = 256
_VECTOR = "mobilenet_conv/Conv/BiasAdd"
_LEAST_SHARE = 0.001
_LOW_PX = 256
_RANGE_KEY = "limner_value_range"


class FastStylizer:
    """A feed-forward network that paints, ready to be called.

    Attributes:
        name: What it paints like, for people and for provenance.
        digests: SHA-256 of the files that it rests on, by name.
        matches: Whether its pictures have the content's colours already.
    """

    def __init__(
        self,
        network: Network,
        inputs: Callable[[FloatArray, float], Extra],
        *,
        name: str,
        digests: dict[str, str],
        top: float = 1.0,
        matches: bool = False,
    ) -> None:
        self.name = name
        self.digests = digests
        self.matches = matches
        self._network = network
        self._inputs = inputs
        self._top = np.float32(top)

    def __call__(self, content: FloatArray, *, strength: float = 1.0) -> FloatArray:
        """Paint a picture.

        The strength is even in what the eye sees: the root mean square difference to the
        content in CIELAB grows in proportion to it, from nothing at 0.

        Args:
            content: Shape (H, W, 3), RGB in [0, 1].
            strength: From 0, the content itself, to 1.

        Returns:
            Same shape, float32 in [0, 1].

        Raises:
            InputError: If the strength is out of range.
            ShapeError: If the content is not such a picture.
        """
        content = _picture(content, "content")
        if not 0.0 <= strength <= 1.0:
            raise InputError(f"strength must lie in [0, 1], got {strength}.")
        if strength == 0.0:
            return content.copy()
        painted = self._paint(content, strength)
        if strength == 1.0:
            return painted
        small = _small(content)
        full = _difference(small, self._paint(small, 1.0))
        here = _difference(small, self._paint(small, strength))
        share = np.float32(min(1.0, strength * full / here)) if here > 0 else np.float32(1)
        mixed: FloatArray = content + share * (painted - content)
        return mixed

    def _paint(self, content: FloatArray, strength: float) -> FloatArray:
        painted = self._network(content * self._top, self._inputs(content, strength))
        unit: FloatArray = np.clip(painted / self._top, 0, 1)
        return unit


def load_fast(
    style: str | os.PathLike[str],
    *,
    colour: Colour = "style",
    offline: bool = False,
    progress: Progress | None = None,
    threads: int | None = None,
) -> FastStylizer:
    """Open a stylizer by what the user wrote.

    Args:
        style: A painting's file; a network's file that ends in .onnx; or built-in styles by
            name or number, with weights if there are several: ``starry`` or
            ``starry:0.7,weave:0.3``.
        colour: For paintings, as for `painting`.
        offline: Use weights from the cache only.
        progress: Told (label, bytes so far, bytes in all or None) while weights are fetched.
        threads: Threads to compute with; None for all that this process may use.

    Raises:
        UnknownNameError: If it is neither a file nor a built-in style.
        ImageError: If the painting cannot be read.
        WeightsError: If the network cannot be had or is not a stylizer.
    """
    path = Path(style)
    if path.suffix.lower() == ".onnx":
        return own(path, threads=threads)
    if path.is_file() or path.suffix.lower() in PHOTO_SUFFIXES:
        return painting(
            [read_float(path)],
            name=path.name,
            colour=colour,
            offline=offline,
            progress=progress,
            threads=threads,
        )
    return builtin(str(style), offline=offline, progress=progress, threads=threads)


def painting(
    styles: Sequence[FloatArray],
    *,
    shares: Sequence[float] | None = None,
    name: str = "painting",
    colour: Colour = "style",
    offline: bool = False,
    progress: Progress | None = None,
    threads: int | None = None,
) -> FastStylizer:
    """Return a stylizer that paints like one picture, or like a blend of several.

    Args:
        styles: Each of shape (H, W, 3), RGB in [0, 1].
        shares: How much of each; equal if None. They are scaled to a sum of 1.
        name: Of the style, for people.
        colour: `moments` and `histogram` give the paintings the content's colours before they
            are imitated; the other words change nothing here.
        offline: Use weights from the cache only.
        progress: Told of the weights' download.
        threads: Threads to compute with.

    Raises:
        InputError: If there is no style, or a share is out of range.
        WeightsError: If the networks cannot be had.
    """
    if not styles:
        raise InputError("A painting is needed as style, got none.")
    mix = _shares(shares if shares is not None else [1.0] * len(styles), len(styles))
    pictures = [_picture(s, "style") for s in styles]
    loaded = weights.load("arbitrary_style", offline=offline, progress=progress)
    predict = _Predictor(loaded.parts[0].files["onnx"], threads)
    transform = fast_graph.read_graph(loaded.parts[1].files["onnx"])
    fast_graph.in_floats(transform)
    matches = colour in ("moments", "histogram")

    def vector(content: FloatArray | None) -> FloatArray:
        seen = pictures
        if content is not None:
            reference = _resized(content, STYLE_PX)
            seen = [recolour_style(_resized(p, STYLE_PX), reference, colour) for p in pictures]
        found: FloatArray = sum(m * predict(p) for m, p in zip(mix, seen, strict=True))
        return found

    fixed = None if matches else vector(None)

    def inputs(content: FloatArray, strength: float) -> Extra:
        wanted = vector(content) if fixed is None else fixed
        return {_VECTOR: predict.towards(wanted, content, strength)}

    return FastStylizer(
        Network(transform, threads=threads),
        inputs,
        name=name,
        digests={part.spec.file: part.digest for part in loaded.parts},
        matches=matches,
    )


class _Predictor:
    """The network that says of a picture, in 100 numbers, how it is painted."""

    def __init__(self, path: Path, threads: int | None) -> None:
        graph = fast_graph.read_graph(path)
        fast_graph.in_floats(graph)
        fast_graph.any_size(graph)
        self._session = open_session(graph.SerializeToString(), threads)
        self._name = self._session.get_inputs()[0].name

    def __call__(self, picture: FloatArray) -> FloatArray:
        """Return the vector, shape (1, 1, 1, 100), of a whole picture, not of a square of it."""
        seen = _resized(picture, STYLE_PX)
        return np.asarray(self._session.run(None, {self._name: seen[None]})[0], np.float32)

    def towards(self, wanted: FloatArray, content: FloatArray, strength: float) -> FloatArray:
        """Return a vector between the content's own and the wanted one."""
        if strength == 1.0:
            return wanted
        vector: FloatArray = wanted + np.float32(1 - strength) * (self(content) - wanted)
        return vector


def builtin(
    choice: str,
    *,
    offline: bool = False,
    progress: Progress | None = None,
    threads: int | None = None,
) -> FastStylizer:
    """Return a stylizer of the 26 built-in styles.

    Args:
        choice: A name of `BUILTIN_STYLES` or its number, or several with shares:
            ``starry:0.7,weave:0.3``.
        offline: Use weights from the cache only.
        progress: Told of the weights' download.
        threads: Threads to compute with.

    Raises:
        UnknownNameError: If there is no such style.
        InputError: If a share is not a positive number.
        WeightsError: If the network cannot be had.
    """
    mix = parse_builtin(choice)
    loaded = weights.load("multistyle26", offline=offline, progress=progress)
    path = loaded.files["onnx"]
    return FastStylizer(
        Network(fast_graph.read_graph(path), threads=threads),
        lambda content, strength: {"style_weights": mix},
        name=choice,
        digests={path.name: loaded.digest},
    )


def parse_builtin(choice: str) -> FloatArray:
    """Return the share of each built-in style, shape (26,), which sum to 1.

    Raises:
        UnknownNameError: If there is no such style.
        InputError: If a share is not a positive number.
    """
    found = np.zeros(len(BUILTIN_STYLES))
    for part in choice.split(","):
        word, colon, number = part.strip().partition(":")
        if word in BUILTIN_STYLES:
            index = BUILTIN_STYLES.index(word)
        elif word.isascii() and word.isdigit() and int(word) < len(BUILTIN_STYLES):
            index = int(word)
        else:
            raise UnknownNameError(
                f"There is no painting, .onnx file or built-in style {word!r}; the built-in "
                f"styles are {', '.join(BUILTIN_STYLES)}, or 0 to {len(BUILTIN_STYLES) - 1}."
            )
        try:
            share = float(number) if colon else 1.0
        except ValueError:
            share = math.nan
        if not _LEAST_SHARE <= share <= 1 / _LEAST_SHARE:  # nor what is not a number
            raise InputError(
                f"The share of style {word!r} must be positive, from {_LEAST_SHARE} to "
                f"{1 / _LEAST_SHARE:g}, got {number!r}."
            )
        found[index] += share
    total: FloatArray = (found / found.sum()).astype(np.float32)
    return total


def own(
    path: str | os.PathLike[str],
    *,
    value_range: ValueRange = "auto",
    threads: int | None = None,
) -> FastStylizer:
    """Return a stylizer from a network of the user's own.

    Args:
        path: An ONNX file whose input is one RGB picture, (1, 3, H, W) or (1, H, W, 3), and
            whose first output is a picture of the same size. A fixed size is set free.
        value_range: ``unit`` if it works on [0, 1], ``byte`` on [0, 255]; ``auto`` reads the
            file's metadata or looks at what it makes of a probe.
        threads: Threads to compute with.

    Raises:
        InputError: If the value range is unknown.
        WeightsError: If the file is not such a network.
    """
    if value_range not in get_args(ValueRange):
        raise InputError(f"value_range must be 'auto', 'unit' or 'byte', got {value_range!r}.")
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"{path} does not exist.")
    model = fast_graph.read_graph(path)
    said = {p.key: p.value for p in model.metadata_props}.get(_RANGE_KEY, "auto")
    network = Network(model, threads=threads)
    if value_range == "auto":
        value_range = "byte" if said == "byte" else "unit"
        if said not in ("unit", "byte") and _gives_bytes(network):
            value_range = "byte"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return FastStylizer(
        network,
        lambda content, strength: {},
        name=path.name,
        digests={path.name: digest},
        top=255.0 if value_range == "byte" else 1.0,
    )


def _gives_bytes(network: Network) -> bool:
    """Tell whether a network's pictures reach far beyond 1 even for one within [0, 1]."""
    probe = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    return bool(np.abs(network(probe)).max() > 4.0)


def _shares(shares: Sequence[float], count: int) -> FloatArray:
    values = np.asarray(shares, np.float64)
    if values.shape != (count,) or not np.isfinite(values).all() or (values < 0).any():
        raise InputError(
            f"shares must be {count} numbers that are not negative, got {list(shares)}."
        )
    if values.max(initial=0) <= 0:
        raise InputError("shares must not all be 0.")
    values /= values.max()  # so that a sum of very large ones is still a number
    total: FloatArray = (values / values.sum()).astype(np.float32)
    return total


def _picture(image: Any, what: str) -> FloatArray:
    array = np.asarray(image, np.float32)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ShapeError(f"{what} must have shape (H, W, 3), got {array.shape}.")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise InputError(f"{what} must be RGB in [0, 1], got values outside.")
    return array


def _resized(picture: FloatArray, shorter: float) -> FloatArray:
    """Return the picture with its shorter side at least 32 px and near `shorter`."""
    import cv2

    height, width = picture.shape[:2]
    factor = shorter / min(height, width)
    longest = 4 * shorter
    size = tuple(max(32, round(min(longest, side * factor))) for side in (width, height))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.clip(np.asarray(cv2.resize(picture, size, interpolation=way), np.float32), 0, 1)


def _small(content: FloatArray) -> FloatArray:
    return content if max(content.shape[:2]) <= _LOW_PX else _resized(content, _LOW_PX * 0.6)


def _difference(a: FloatArray, b: FloatArray) -> float:
    import cv2

    lab = [cv2.cvtColor(np.ascontiguousarray(p), cv2.COLOR_RGB2Lab) for p in (a, b)]
    return float(np.sqrt(np.mean((lab[0] - lab[1]) ** 2, dtype=np.float64)))
