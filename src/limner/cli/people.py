"""Commands about people: enrol them, ask who is who, keep their names in order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli import output
from limner.cli.options import (
    AcceptUnclearOption,
    DrawOption,
    FindOptions,
    ForceOption,
    GalleryOption,
    JsonOption,
    ModelOptions,
    NameArgument,
    PickOptions,
    ThresholdOption,
    grouped,
)
from limner.cli.pair_heads import HeadOption, HeadsOption, choose_head
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.cli.photos import PhotoResult
    from limner.types import Face, Match

PhotoArgument = Annotated[str, typer.Argument(metavar="PHOTO", help="A photo.")]
PhotosArgument = Annotated[
    list[str], typer.Argument(metavar="PHOTO...", help="Photos, or folders of photos.")
]


@grouped
def enroll(
    name: NameArgument,
    photos: PhotosArgument,
    *,
    every: Annotated[
        bool,
        typer.Option(
            "--all", help="Enrol all faces of a photo as this person.", rich_help_panel="Which face"
        ),
    ] = False,
    note: Annotated[
        str | None, typer.Option("--note", help="A note about the person, kept in the gallery.")
    ] = None,
    keep_chips: Annotated[
        bool,
        typer.Option(
            "--keep-chips", help="Keep the face crops, so that another embedder can read them."
        ),
    ] = False,
    force: ForceOption = False,
    gallery: GalleryOption = None,
    pick: PickOptions,
    model: ModelOptions,
    find: FindOptions,
    json: JsonOption = False,
) -> None:
    """Enrol a person from one photo or several.

    A photo too poor to be recognised by is refused. On a terminal you are asked before a photo
    that is far from the person's others is enrolled.
    """
    from limner.cli import photos as work
    from limner.cli.galleries import open_gallery
    from limner.gallery import PhotoProblem
    from limner.gallery.enrolment import enroll_photos

    which = work.which_face(pick, every=every)
    paths, unreadable = work.expand(photos)
    if pick.box is not None and len(paths) > 1:
        raise InputError(f"--box is for one photo, got {len(paths)}.")
    with open_gallery(gallery, create=True) as people:
        analyzer = people.analyzer(find, model)
        done = enroll_photos(
            people.gallery,
            analyzer,
            name,
            paths,
            pick=which,
            keep_chips=keep_chips,
            note=note,
            force=force,
            confirm=output.ask if output.can_ask() else None,
        )
    for reason in [p.reason for p in done.failed] + [str(r.error) for r in unreadable]:
        output.warn(f"left out: {reason}")
    for sentence in done.warnings:
        output.warn(sentence)
    if json:
        folders = [PhotoProblem(r.photo, str(r.error)) for r in unreadable]
        done = replace(done, failed=done.failed + tuple(folders))
        output.emit_json({**done.to_json(), "left_out": work.left_out(photos)})
    known = f"; {work.count(len(done.skipped), 'photo')} enrolled before" if done.skipped else ""
    output.say(
        f"{done.person}: {work.count(done.added, 'face')} enrolled, {done.total} in all{known}."
    )


@grouped
def verify(
    name: NameArgument,
    photo: PhotoArgument,
    *,
    threshold: ThresholdOption = None,
    draw: DrawOption = None,
    head: HeadOption = None,
    heads: HeadsOption = None,
    accept_unclear: AcceptUnclearOption = False,
    gallery: GalleryOption = None,
    pick: PickOptions,
    model: ModelOptions,
    find: FindOptions,
    json: JsonOption = False,
) -> None:
    """Tell whether a photo shows a certain person. Status 0: same, 1: different or unclear."""
    from limner.cli import photos as work
    from limner.cli import writing
    from limner.cli.draw import Mark
    from limner.cli.galleries import open_gallery

    which = work.which_face(pick)
    writing.check_draw_target(draw, [photo])
    with open_gallery(gallery) as people:
        people.person(name)
        analyzer = people.analyzer(find, model)
        face = work.one_face(analyzer, photo, which)
        judge = choose_head(analyzer.embedder_id, head, heads)
        embedding = work.embedding_of(face)
        pair = people.gallery.verify(
            name, embedding, threshold=threshold, head=judge, accept_unclear=accept_unclear
        )
    same = pair.verdict == "same"
    if draw is not None:
        title, kind = (name, "recognised") if same else (f"not {name}", "not_recognised")
        if pair.verdict == "unclear":
            title = "unclear"
        mark = Mark(face.box_xyxy, title, f"distance {pair.distance:.2f}", kind)  # type: ignore[arg-type]
        writing.draw_photos(draw, [(photo, [mark])])
    if json:
        output.emit_json({**pair.to_json(), "person": name, "embedder": analyzer.embedder_id})
    output.say(work.pair_sentence(pair))
    raise typer.Exit(output.OK if same else output.NO)


@grouped
def identify(
    photos: PhotosArgument,
    *,
    threshold: ThresholdOption = None,
    draw: DrawOption = None,
    accept_unclear: AcceptUnclearOption = False,
    gallery: GalleryOption = None,
    model: ModelOptions,
    find: FindOptions,
    json: JsonOption = False,
) -> None:
    """Tell who is in photos, face by face. Status 0: somebody is recognised, 1: nobody is."""
    from limner.cli import photos as work
    from limner.cli import writing
    from limner.cli.galleries import open_gallery

    writing.check_draw_target(draw, photos)
    with open_gallery(gallery) as people:
        analyzer = people.analyzer(find, model)
        results = work.analyze_all(analyzer, photos, embed=True)
        flat = [work.embedding_of(face) for result in results for face in result.faces or ()]
        found = people.gallery.identify(flat, threshold=threshold, accept_unclear=accept_unclear)
        answers = iter(found)
    matches = [[(face, next(answers)) for face in result.faces or ()] for result in results]
    if draw is not None:
        marked = [
            (result.photo, [writing.mark_of(face, match) for face, match in found])
            for result, found in zip(results, matches, strict=True)
            if result.faces is not None
        ]
        writing.draw_photos(draw, marked)
    if json:
        work.emit_photos(photos, results, lambda i: [_match_json(f, m) for f, m in matches[i]])
    else:
        _print_matches(results, matches)
    known = sum(match.person is not None for found in matches for _, match in found)
    output.say(f"{work.summary(results)}; {known} recognised.")
    raise typer.Exit(output.OK if known else output.NO)


def _match_json(face: Face, match: Match) -> dict[str, Any]:
    plain = face.to_json()
    return {**plain, **match.to_json()}


def _unnamed(match: Match) -> str:
    return "not recognised" if match.reason is None else f"unclear: {match.reason}"


def _print_matches(results: list[PhotoResult], matches: list[list[tuple[Face, Match]]]) -> None:
    from limner.cli.photos import percent

    rows = [
        [
            result.photo if number == 1 else "",
            number,
            match.person or _unnamed(match),
            None if match.distance is None else f"{match.distance:.3f}",
            f"{match.threshold:.3f}",
            None if match.probability is None else percent(match.probability),
        ]
        for result, found in zip(results, matches, strict=True)
        for number, (_, match) in enumerate(found, start=1)
    ]
    if rows:
        columns = ["photo", "face", "person", "distance", "threshold", "probability"]
        output.print_table(columns, rows, right=["face", *columns[3:]])


@grouped
def lookalike(
    photo: PhotoArgument,
    *,
    top: Annotated[int, typer.Option("--top", min=1, help="How many people to list.")] = 5,
    draw: Annotated[
        str | None,
        typer.Option("--draw", metavar="OUT.jpg", help="The face and theirs, side by side."),
    ] = None,
    gallery: GalleryOption = None,
    pick: PickOptions,
    model: ModelOptions,
    find: FindOptions,
    json: JsonOption = False,
) -> None:
    """List the people who look most like the face in a photo; no verdict."""
    from limner.cli import photos as work
    from limner.cli import writing
    from limner.cli.galleries import open_gallery

    which = work.which_face(pick)
    writing.check_draw_target(draw, [photo])
    with open_gallery(gallery) as people:
        analyzer = people.analyzer(find, model)
        face = work.one_face(analyzer, photo, which)
        ranked = people.gallery.lookalike(work.embedding_of(face), top=top)
        if draw is not None:
            writing.draw_lookalikes(draw, photo, face, ranked, people.gallery)
    if json:
        plain = face.to_json()
        output.emit_json(
            {
                "face": {"box_xyxy": plain["box_xyxy"], "score": plain["score"]},
                "lookalikes": [one.to_json() for one in ranked],
            }
        )
    rows = [
        [
            rank,
            one.person,
            f"{one.distance:.3f}",
            None if one.probability is None else work.percent(one.probability),
        ]
        for rank, one in enumerate(ranked, start=1)
    ]
    if rows:
        columns = ["rank", "person", "distance", "probability"]
        output.print_table(columns, rows, right=["rank", "distance", "probability"])
    else:
        output.say("The gallery is empty.")


def forget(name: NameArgument, *, gallery: GalleryOption = None, json: JsonOption = False) -> None:
    """Delete a person and every embedding of theirs."""
    from limner.cli.galleries import open_gallery
    from limner.cli.photos import count

    with open_gallery(gallery) as opened:
        deleted = opened.gallery.forget(name)
    if json:
        output.emit_json({"forgotten": name, "photos": deleted})
    output.say(f"{name} is forgotten, with {count(deleted, 'photo')}.")


def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The name now.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name from now on.")],
    *,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Give a person another name."""
    from limner.cli.galleries import open_gallery

    with open_gallery(gallery) as opened:
        stored = opened.gallery.rename(old, new)
    if json:
        output.emit_json({"old": old, "new": stored})
    output.say(f"{old} is now {stored}.")


def merge(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Who goes into the other.")],
    into: Annotated[str, typer.Argument(metavar="INTO", help="Whose name remains.")],
    *,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Make two people one."""
    from limner.cli.galleries import open_gallery
    from limner.cli.photos import count

    with open_gallery(gallery) as opened:
        total = opened.gallery.merge(source, into)
    if json:
        output.emit_json({"merged": source, "into": into, "photos": total})
    output.say(f"{source} is part of {into} now, who has {count(total, 'photo')}.")
