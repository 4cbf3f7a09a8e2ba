"""Which pair head judges: options of ``compare`` and ``verify``, and ``limner train pair-head``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limner.cli import output
from limner.cli.options import FindOptions, JsonOption, ModelOptions, grouped
from limner.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from limner.similarity import Calibration, PairHead

_TARGET_ECE = 0.02

HeadOption = Annotated[
    str | None,
    typer.Option(
        "--head",
        metavar="KIND",
        help="Pair head that judges: squared_l2, cosine, weighted_l1 or chi_square.",
    ),
]
HeadsOption = Annotated[
    str | None,
    typer.Option(
        "--heads", metavar="FILE.json", help="Pair heads of `limner train pair-head` to judge by."
    ),
]


def choose_head(embedder_id: str, head: str | None, heads: str | None) -> PairHead | None:
    """Return the head that the options name; None where they name none.

    Raises:
        UnknownNameError: If the calibration has no such head.
        InputError: If there is no calibration for the embedder.
        EmbedderMismatch: If the file belongs to another embedder.
    """
    from limner.similarity import KINDS, Calibration, shipped

    if head is None and heads is None:
        return None
    if head is not None and head not in KINDS:
        raise UnknownNameError(f"--head must be one of {', '.join(KINDS)}, got {head!r}.")
    if heads is not None:
        calibration: Calibration | None = Calibration.load(heads)
        assert calibration is not None
        calibration.require(embedder_id)
    else:
        calibration = shipped(embedder_id)
    if calibration is None:
        raise InputError(
            f"no pair heads are known for embedder {embedder_id}; fit them with `limner train "
            "pair-head DIR --embedder ... -o heads.json` and give --heads heads.json."
        )
    if head is None:
        return calibration.head
    found = {calibration.head.kind: calibration.head, **calibration.heads}.get(head)
    if found is None:
        words = ", ".join(sorted(calibration.heads))
        raise UnknownNameError(f"the calibration has no head {head!r}; it has {words}.")
    chosen: PairHead = found
    return chosen


@grouped
def pair_head(
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="A folder of people: DIR/NAME/photo.jpg.")
    ],
    *,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE.json",
            help="File to write. Default: pair_heads.json of a trained folder, else heads.json.",
        ),
    ] = None,
    head: HeadOption = None,
    held_out: Annotated[
        float, typer.Option("--held-out", help="Share of the people that only the figures see.")
    ] = 0.3,
    seed: Annotated[int, typer.Option("--seed", help="Of the choice of people and pairs.")] = 0,
    cache: Annotated[
        str | None, typer.Option("--cache", metavar="DIR", help="Keep embeddings here.")
    ] = None,
    model: ModelOptions,
    find: FindOptions,
    json: JsonOption = False,
) -> None:
    """Fit pair heads to an embedder by logistic regression: |difference| and chi-square too."""
    from limner.cli import photos as work
    from limner.cli import writing
    from limner.evaluation import embed_photos
    from limner.similarity import KINDS
    from limner.training.pair_fit import fit_heads
    from limner.training.people import read_people

    kind = head or "squared_l2"
    if kind not in KINDS:
        raise UnknownNameError(f"--head must be one of {', '.join(KINDS)}, got {kind!r}.")
    target = _target(out, model.embedder)
    writing.check_writable(str(target))
    work.tell_left_out(folder)
    people = read_people(folder)
    analyzer = work.make_analyzer(find, model)
    embedder, detector = analyzer.embedder, analyzer.detector
    assert embedder is not None
    with output.progress_bar("embedding", len(people.photos)) as step:
        photos = embed_photos(
            people.photos, embedder, detector=detector, cache=cache, on_photo=step
        )
    for text in people.notes:
        output.note(text)
    if not photos.found.all():
        output.note(f"left out, no face: {int((~photos.found).sum()):,} photos.")
    calibration = fit_heads(
        photos.vectors[photos.found],
        people.labels[photos.found],
        embedder_id=photos.embedder_id,
        fitted_on=f"{people.root.name}: {len(people.names):,} people, "
        f"{int(photos.found.sum()):,} photos, {1 - held_out:.0%} of the people",
        head=kind,
        held_out=held_out,
        seed=seed,
    )
    calibration.save(target)
    _report(calibration, target, kind)


def _target(out: str | None, embedder: str | None) -> Path:
    if out is not None:
        return Path(out)
    if embedder is not None and Path(embedder).is_dir():
        return Path(embedder) / "pair_heads.json"
    return Path("heads.json")


def _report(calibration: Calibration, target: Path, kind: str) -> None:
    heads = calibration.figures["heads"]
    if output.wants_json():
        document = {"out": str(target), "embedder": calibration.embedder_id, "heads": heads}
        output.emit_json({**document, "default": kind, "fitted_on": calibration.fitted_on})
    rows = [
        (
            name,
            f"{calibration.heads[name].threshold:.4f}",
            f"{100 * row['accuracy']:.2f} %",
            f"{row['log_loss']:.4f}",
            f"{row['brier']:.4f}",
            f"{row['ece']:.4f}",
        )
        for name, row in heads.items()
    ]
    columns = ("head", "threshold", "accuracy", "log loss", "Brier", "calibration error")
    output.print_table(columns, rows, right=columns[1:])
    pairs = heads[kind]["pairs"]
    output.say(
        f"{target}: fitted on {calibration.same_pairs:,} + {calibration.different_pairs:,} pairs, "
        f"measured on {pairs:,} pairs of other people. {kind} judges by default."
    )
    if heads[kind]["ece"] > _TARGET_ECE:
        output.warn(
            f"the probabilities of {kind} are off by {heads[kind]['ece']:.3f} on people it has "
            "not seen; more people, or another head, will help."
        )
