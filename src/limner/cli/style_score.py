"""``limner style-score``: how near a stylized picture is to its content and its style."""

from __future__ import annotations

from typing import Annotated

import typer

from limner.cli import output
from limner.cli.options import JsonOption


def style_score(
    content: Annotated[str, typer.Argument(metavar="CONTENT", help="The content.")],
    style: Annotated[str, typer.Argument(metavar="STYLE", help="The style.")],
    results: Annotated[
        list[str], typer.Argument(metavar="RESULT...", help="Stylized pictures of the content.")
    ],
    *,
    encoder: Annotated[
        str, typer.Option("--encoder", help="auto, vgg19, vgg16, vgg16_oxford or vgg16_hed.")
    ] = "auto",
    json: JsonOption = False,
) -> None:
    """Measure stylized pictures: distances to the content and to the style, 0 is alike."""
    from limner.images import read_float
    from limner.style import score
    from limner.style.encoder import load_encoder

    pictures = [read_float(path) for path in (content, style, *results)]
    taps = sorted({*score.CONTENT_TAPS, *score.STYLE_TAPS, score.STRUCTURE_TAP})
    with output.fetch_progress() as progress:
        net = load_encoder(encoder, deepest=max(score.CONTENT_TAPS), progress=progress)
    if net.chosen:
        output.note(net.chosen)
    rows = []
    for path, result in zip(results, pictures[2:], strict=True):
        found = score.score(
            pictures[0], pictures[1], result, lambda image: net.features(image, taps)
        )
        rows.append({"picture": path, **found.to_json()})
    if output.wants_json():
        output.emit_json({"encoder": net.name, "sha256": net.digest, "scores": rows})
    names = [name for name in rows[0] if name not in ("picture", "size_px")]
    table = [(row["picture"], *(f"{row[n]:.4f}" for n in names)) for row in rows]
    output.print_table(("picture", *names), table, right=names)
