"""``limner classify``: the answer of a trained classifier, in its own words."""

from __future__ import annotations

import typer

from limner.cli import classify_arrays, classify_faces

app = typer.Typer(
    help="Ask a classifier that was trained with limner.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def classify() -> None:
    """Ask a classifier that was trained with limner."""


app.command("face")(classify_faces.face)
app.command("series")(classify_arrays.classify_series)
app.command("volume")(classify_arrays.classify_volume)
