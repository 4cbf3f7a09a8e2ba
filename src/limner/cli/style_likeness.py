"""Is the sitter still recognised in the painted portrait? Said by ``limner style`` of portraits."""

from __future__ import annotations

from typing import Any

from limner.cli import output
from limner.errors import LimnerError
from limner.types import ImageArray


def likeness(photo: str, painted: ImageArray) -> dict[str, Any] | None:
    """Compare the largest face of a photo with that of its painting, and say the verdict.

    Args:
        photo: The content's path.
        painted: Shape (H, W, 3), uint8 RGB.

    Returns:
        The pair's verdict, reason, distance, threshold and probability; ``verdict`` is ``no face``
        where the painting shows none. None where the photo shows none or the weights cannot be had.
    """
    from limner.faces import FaceAnalyzer
    from limner.faces.quality import NO_FACE
    from limner.similarity import compare

    try:
        with output.fetch_progress():
            analyzer = FaceAnalyzer()
            of_photo, of_painting = analyzer.analyze(photo), analyzer.analyze(painted)
    except LimnerError as error:
        output.note(f"likeness: not looked at, {error}")
        return None
    if not of_photo or of_photo[0].reason == NO_FACE:
        output.note("likeness: no face is found in the content, so there is none to keep.")
        return None
    if not of_painting:
        output.note("likeness: no face is found in the painting; a lower --strength keeps more.")
        figures = dict.fromkeys(("reason", "distance", "threshold", "probability"))
        return {"verdict": "no face", **figures}
    first, second = (faces[0].embedding for faces in (of_photo, of_painting))
    assert first is not None
    assert second is not None
    # A painted face is none that a camera would take: it is judged however poor it looks.
    pair = compare(first, second, accept_unclear=True)
    words = "still recognised" if pair.verdict == "same" else "no longer recognised"
    hint = "" if pair.verdict == "same" else "; a lower --strength or --size 768 keeps more"
    output.note(
        f"likeness: {words} by {analyzer.embedder_id.split('-')[0]}, distance {pair.distance:.2f} "
        f"at threshold {pair.threshold:.2f}{hint}."
    )
    return pair.to_json()
