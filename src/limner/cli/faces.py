"""Commands that need no gallery: ``detect``, ``compare`` and ``embed``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from limner.cli import output
from limner.cli.options import (
    AcceptUnclearOption,
    DrawOption,
    FindOptions,
    JsonOption,
    ModelOptions,
    PickOptions,
    ThresholdOption,
    grouped,
)
from limner.cli.pair_heads import HeadOption, HeadsOption, choose_head

if TYPE_CHECKING:
    from limner.types import Face, Pair

PhotosArgument = Annotated[
    list[str], typer.Argument(metavar="PHOTO...", help="Photos, or folders of photos.")
]
LargestOption = Annotated[
    bool, typer.Option("--largest", help="Of several faces in a photo, take the largest.")
]


@grouped
def detect(
    photos: PhotosArgument, *, draw: DrawOption = None, find: FindOptions, json: JsonOption = False
) -> None:
    """Find the faces in photos: box, landmarks, score and quality of each."""
    from limner.cli import photos as work
    from limner.cli import writing
    from limner.cli.draw import Mark

    writing.check_draw_target(draw, photos)
    analyzer = work.make_analyzer(find, None, embed=False)
    results = work.analyze_all(analyzer, photos, embed=False)
    if draw is not None:
        marks = [
            (r.photo, [Mark(f.box_xyxy, f"{f.score:.2f}") for f in r.faces])
            for r in results
            if r.faces is not None
        ]
        writing.draw_photos(draw, marks)
    if json:
        work.emit_photos(photos, results, lambda i: [f.to_json() for f in results[i].faces or ()])
        return
    rows = [
        [result.photo if number == 1 else "", number, *_box_cells(face), *_look_cells(face)]
        for result in results
        for number, face in enumerate(result.faces or (), start=1)
    ]
    if rows:
        columns = ["photo", "face", "left", "top", "width", "height", "score", "turned", "quality"]
        output.print_table([*columns, "too poor because"], rows, right=columns[1:])
    output.say(f"{work.summary(results)}.")


def _box_cells(face: Face) -> list[int]:
    x0, y0, x1, y1 = face.box_xyxy
    return [round(x0), round(y0), round(x1 - x0), round(y1 - y0)]


def _look_cells(face: Face) -> list[str | None]:
    turned = f"{face.rotation:.0f}" if face.rotation else ""
    quality = "" if face.quality is None else f"{face.quality:.2f}"
    return [f"{face.score:.2f}", turned, quality, face.reason or ""]


@grouped
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A photo with one face.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another photo with one face.")],
    *,
    threshold: ThresholdOption = None,
    draw: DrawOption = None,
    largest: LargestOption = False,
    box_a: Annotated[
        str | None, typer.Option("--box-a", metavar="X0,Y0,X1,Y1", help="The face meant in A.")
    ] = None,
    box_b: Annotated[
        str | None, typer.Option("--box-b", metavar="X0,Y0,X1,Y1", help="The face meant in B.")
    ] = None,
    head: HeadOption = None,
    heads: HeadsOption = None,
    accept_unclear: AcceptUnclearOption = False,
    model: ModelOptions,
    find: FindOptions,
    json: JsonOption = False,
) -> None:
    """Tell whether two photos show the same person. Status 0: same, 1: different or unclear."""
    from limner.cli import photos as work
    from limner.cli import writing
    from limner.similarity import compare as judge_pair

    boxes = [(a, box_a), (b, box_b)]
    wanted = [(p, work.which_face(PickOptions(largest and box is None, box))) for p, box in boxes]
    writing.check_draw_target(draw, [a])
    analyzer = work.make_analyzer(find, model)
    judge = choose_head(analyzer.embedder_id, head, heads)
    faces = [work.one_face(analyzer, photo, which) for photo, which in wanted]
    first, second = (work.embedding_of(face) for face in faces)
    pair = judge_pair(first, second, threshold=threshold, head=judge, accept_unclear=accept_unclear)
    if draw is not None:
        _draw_pair(draw, [a, b], faces, pair)
    if json:
        output.emit_json({**pair.to_json(), "embedder": analyzer.embedder_id})
    output.say(work.pair_sentence(pair))
    raise typer.Exit(output.OK if pair.verdict == "same" else output.NO)


def _draw_pair(draw: str, photos: list[str], faces: list[Face], pair: Pair) -> None:
    """Draw both photos side by side, with the verdict on the two faces."""
    from limner import images
    from limner.cli.draw import Mark, MarkKind, draw_side_by_side

    kind: MarkKind = "recognised" if pair.verdict == "same" else "not_recognised"
    detail = f"distance {pair.distance:.2f}, threshold {pair.threshold:.2f}"
    pictures = [images.read(photo) for photo in photos]
    marks = [Mark(face.box_xyxy, pair.verdict, detail, kind) for face in faces]
    images.write(draw, draw_side_by_side(pictures, marks))
    output.note(f"drawn: {draw}")


@grouped
def embed(
    photos: PhotosArgument,
    *,
    out: Annotated[str, typer.Option("-o", "--out", metavar="OUT.npz", help="File to write.")],
    largest: LargestOption = False,
    model: ModelOptions,
    find: FindOptions,
    json: JsonOption = False,
) -> None:
    """Write the embeddings of the faces in photos to an .npz file."""
    from limner.cli import photos as work
    from limner.cli import writing

    writing.check_writable(out)
    analyzer = work.make_analyzer(find, model)
    results = work.analyze_all(analyzer, photos, embed=True)
    rows = [
        (result.photo, face)
        for result in results
        for face in (result.faces or [])[: 1 if largest else None]
    ]
    embedder = analyzer.embedder_id
    writing.save_embeddings(out, rows, embedder_id=embedder, dim=work.width_of(analyzer))
    if json:
        output.emit_json(
            {
                "out": out,
                "embedder": embedder,
                "faces": [{"photo": photo, **face.to_json()} for photo, face in rows],
                "unreadable": [work.error_entry(r) for r in results if r.faces is None],
                "left_out": work.left_out(photos),
            }
        )
    output.say(f"{work.summary(results)}; {work.count(len(rows), 'embedding')} in {out}.")
