"""``limner classify face``: which of its people does a trained classifier see?"""

from __future__ import annotations

from typing import Annotated

import typer

from limner.cli import output
from limner.cli.options import FindOptions, JsonOption, PickOptions, grouped


@grouped
def face(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="A photo.")],
    *,
    model: Annotated[
        str, typer.Option("--model", metavar="DIR", help="What `limner train classify` wrote.")
    ] = "mine",
    top: Annotated[int, typer.Option("--top", min=1, help="How many people to name.")] = 5,
    draw: Annotated[
        str | None,
        typer.Option(
            "--draw", metavar="OUT.jpg", help="The face and the answers' faces, side by side."
        ),
    ] = None,
    pick: PickOptions,
    find: FindOptions,
    json: JsonOption = False,
) -> None:
    """Name the people that a face is likeliest to be. It always names somebody: no verdict."""
    from limner import images
    from limner.cli import photos as work
    from limner.cli import writing
    from limner.cli.answer_sheet import Likeness, draw_answer
    from limner.training.answer import classify_face
    from limner.training.model_folder import read_model

    which = work.which_face(pick)
    writing.check_draw_target(draw, [photo])
    known = read_model(model, kind="classifier")
    image = images.read(photo)
    found = None
    if known.crop != "whole":
        analyzer = work.make_analyzer(find, None, embed=False)
        found = work.one_face(analyzer, photo, which)
    answer = classify_face(known, image, found, top=top)
    if draw is not None:
        faces = [
            Likeness(g.person, g.probability, f"{100 * g.probability:.1f} %", g.thumbnail)
            for g in answer.guesses
        ]
        images.write(draw, draw_answer(answer.chip, faces, title="this face"))
    if json:
        output.emit_json(
            {
                "model": str(known.folder),
                "people": len(known.people),
                "face": None if found is None else found.to_json(),
                "guesses": [guess.to_json() for guess in answer.guesses],
            }
        )
        return
    rows = [
        (rank, guess.person, work.percent(guess.probability))
        for rank, guess in enumerate(answer.guesses, start=1)
    ]
    output.print_table(("rank", "person", "probability"), rows, right=("rank", "probability"))
    output.say(f"One of {len(known.people):,} people it knows; a stranger gets a name as well.")
