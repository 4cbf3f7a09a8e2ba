"""``limner train``: a group whose commands are declared next to it, in ``train_*.py``."""

from __future__ import annotations

import typer

from limner.cli import pair_heads, train_arrays, train_faces, train_models, train_reports

app = typer.Typer(
    help="Train on a folder of people, on signals or on volumes, and look at what came of it.",
    no_args_is_help=True,
    add_completion=False,
)
app.command("classify")(train_faces.classify)
app.command("embed")(train_faces.embed)
app.command("series")(train_arrays.train_series)
app.command("volumes")(train_arrays.train_volumes)
app.command("pair-head")(pair_heads.pair_head)
app.command("resume")(train_faces.resume)
app.command("recipes")(train_reports.recipes)
app.command("report")(train_reports.report)
app.command("open-closed")(train_reports.open_closed)
app.command("push")(train_models.push)
app.command("pull")(train_models.pull)
