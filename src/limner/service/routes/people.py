"""People: enrol, list, rename, merge, forget, their photos; calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Path, Query

from limner.errors import InputError, LimnerError, UnknownNameError
from limner.gallery import Gallery, Person, PhotoProblem, ReviewedPhoto
from limner.gallery.chips import cut_surroundings
from limner.gallery.names import normalise_name
from limner.gallery.together import refuse_poor
from limner.service.asking import (
    Admin,
    BoxForm,
    Enroller,
    Facts,
    Photos,
    Pick,
    PickForm,
    Reader,
    Shared,
    Upload,
    answers,
    embedding_of,
    take_all,
    the_face,
)
from limner.service.engine import Engine
from limner.service.errors import answer_to
from limner.service.keys import LOCAL, Key
from limner.service.pool import Looked
from limner.service.schemas import (
    Calibrated,
    Change,
    Enrolled,
    Export,
    Forgotten,
    Into,
    Left,
    People,
    PersonOut,
    PersonWithPhotos,
    PhotoOut,
    Problem,
    Rate,
)
from limner.types import ImageArray

router = APIRouter(prefix="/v1", tags=["people"])
ForceForm = Annotated[
    bool, Form(description="Enrol photos that are too poor to be recognised by, too.")
]
PersonId = Annotated[int, Path(ge=0, le=2**53 - 1, description="As /v1/people lists it.")]
NoteForm = Annotated[str | None, Form(description="Kept in the gallery.", max_length=20_000)]
_VACUUM_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Which:
    """Which face of a photo, and whether a poor one is good enough."""

    pick: Pick
    box: str | None
    force: bool


@router.get("/people", summary="List people", responses=answers())
async def people(
    engine: Shared,
    key: Reader,
    name: Annotated[str | None, Query(max_length=1000, description="Only this person.")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
    offset: Annotated[int, Query(ge=0, le=2**53 - 1)] = 0,
) -> People:
    """List the people in the gallery, by name."""
    everybody = await engine.run(_people, engine.gallery, name)
    shown = everybody[offset : offset + limit]
    return People(count=len(everybody), people=[_person(p) for p in shown])


def _people(gallery: Gallery, name: str | None) -> list[Person]:
    if name is None:
        return gallery.people()
    try:
        return [gallery.person(name)]
    except UnknownNameError:
        return []


def _person(person: Person) -> PersonOut:
    return PersonOut(**person.to_json())


@router.post("/people", summary="Enrol a person", status_code=201, responses=answers(408, 409, 413))
async def enroll(
    photos: Photos,
    engine: Shared,
    key: Enroller,
    facts: Facts,
    name: Annotated[
        str, Form(description="Any script.", examples=["Eileen Collins"], max_length=1000)
    ],
    note: NoteForm = None,
    pick: PickForm = "one",
    box: BoxForm = None,
    force: ForceForm = False,
) -> Enrolled:
    """Enrol somebody from photos; a person of that name gets more photos.

    A photo too poor to be recognised by is left out, with the reason; a photo far from the
    person's others is enrolled with a warning.
    """
    which = Which(pick, box, force)
    return await _enroll(engine, key, facts, normalise_name(name), photos, note, which)


@router.post(
    "/people/{person}/photos",
    summary="Add photos",
    status_code=201,
    responses=answers(404, 408, 409, 413),
)
async def add_photos(
    person: PersonId,
    photos: Photos,
    engine: Shared,
    key: Enroller,
    facts: Facts,
    pick: PickForm = "one",
    box: BoxForm = None,
    force: ForceForm = False,
) -> Enrolled:
    """Enrol more photos of a person."""
    known = await engine.run(engine.gallery.person, person)
    return await _enroll(engine, key, facts, known.id, photos, None, Which(pick, box, force))


async def _enroll(
    engine: Engine,
    key: Key,
    facts: Facts,
    who: str | int,
    photos: Photos,
    note: str | None,
    which: Which,
) -> Enrolled:
    uploads = await take_all(photos, engine)
    if key is not LOCAL and isinstance(who, str):
        await engine.run(_check_room, engine, key, who)
    looked: list[Looked | LimnerError] = []
    for upload in uploads:
        try:
            looked += await engine.see([upload.data], keep_image=engine.settings.keep_chips)
        except InputError as error:
            looked.append(error)
    result = await engine.run(_store, engine, key, who, uploads, looked, note, which)
    facts.update(person=result.id, added=result.added)
    return result


def _check_room(engine: Engine, key: Key, name: str) -> None:
    if name not in engine.gallery:
        engine.keys.check_room(key, engine.settings.max_people)


def _store(
    engine: Engine,
    key: Key,
    who: str | int,
    uploads: list[Upload],
    looked: list[Looked | LimnerError],
    note: str | None,
    which: Which,
) -> Enrolled:
    embeddings, refs, failed = [], [], []
    chips: list[ImageArray | None] = []
    first: LimnerError | None = None
    for upload, found in zip(uploads, looked, strict=True):
        try:
            if isinstance(found, LimnerError):
                raise found
            face = the_face(found.faces, which.pick, which.box)
            if not which.force:
                refuse_poor([face], "the photo")
        except InputError as error:
            first = first or error
            failed.append(PhotoProblem(upload.name, answer_to(error).message))
            continue
        embeddings.append(embedding_of(face))
        refs.append(upload.ref(face))
        image = found.image
        chips.append(None if image is None else cut_surroundings(image, face.box_xyxy))
    if first is not None and not embeddings:
        raise first
    gallery = engine.gallery
    done = gallery.enroll(who, embeddings, photo=refs, note=note, chips=chips)
    number = who if isinstance(who, int) else gallery.person(done.person).id
    if done.created:
        engine.note_person(number, key)
    return Enrolled(
        id=number,
        person=done.person,
        added=done.added,
        total=done.total,
        created=done.created,
        warnings=list(done.warnings),
        skipped=list(done.skipped),
        failed=[Problem(**problem.to_json()) for problem in failed],
    )


@router.get("/people/{person}", summary="One person", responses=answers(404))
async def person(person: PersonId, engine: Shared, key: Reader) -> PersonWithPhotos:
    """Return a person and the enrolled photos, how good they are, and which are odd.

    The photos themselves are not kept.
    """
    found, enrolled = await engine.run(_with_photos, engine.gallery, person)
    return PersonWithPhotos(**found.to_json(), enrolled=[_photo(p) for p in enrolled])


def _with_photos(gallery: Gallery, number: int) -> tuple[Person, list[ReviewedPhoto]]:
    return gallery.person(number), gallery.review(number)


def _photo(photo: ReviewedPhoto) -> PhotoOut:
    box = photo.box_xyxy
    return PhotoOut(**{**photo.to_json(), "box_xyxy": None if box is None else list(box)})


@router.patch("/people/{person}", summary="Rename a person", responses=answers(404, 409))
async def change(
    person: PersonId, wanted: Change, engine: Shared, key: Enroller, facts: Facts
) -> PersonOut:
    """Give a person another name, or another note."""
    facts["person"] = person
    return _person(await engine.run(_change, engine.gallery, person, wanted))


def _change(gallery: Gallery, number: int, wanted: Change) -> Person:
    if wanted.name is not None:
        gallery.rename(number, wanted.name)
    if wanted.note is not None:
        gallery.set_note(number, wanted.note)
    return gallery.person(number)


@router.post("/people/{person}/merge", summary="Merge two people", responses=answers(404, 409))
async def merge(
    person: PersonId, wanted: Into, engine: Shared, key: Enroller, facts: Facts
) -> PersonOut:
    """Make two people one, under the second one's name."""
    facts.update(person=person, into=wanted.into)
    return _person(await engine.run(_merge, engine, person, wanted.into))


def _merge(engine: Engine, number: int, into: int) -> Person:
    gallery = engine.gallery
    gallery.merge(number, into)
    engine.drop_person(number)
    return gallery.person(into)


@router.delete("/people/{person}", summary="Forget a person", responses=answers(404))
async def forget(person: PersonId, engine: Shared, key: Enroller, facts: Facts) -> Forgotten:
    """Delete a person: the database, its log, its free space and the index keep nothing."""
    facts["person"] = person
    return await engine.run(_forget, engine, person)


def _forget(engine: Engine, number: int) -> Forgotten:
    gallery = engine.gallery
    count = gallery.forget(number)
    engine.drop_person(number)
    # What was deleted is overwritten at once; the rewriting only gives the space back.
    vacuumed = gallery.info().bytes <= _VACUUM_BYTES
    if vacuumed:
        gallery.vacuum()
    return Forgotten(id=number, photos=count, vacuumed=vacuumed, exports=_exports(gallery))


def _exports(gallery: Gallery) -> list[Export]:
    return [Export(**note.to_json()) for note in gallery.exports()]


@router.delete("/people/{person}/photos/{photo}", summary="Remove a photo", responses=answers(404))
async def remove_photo(
    person: PersonId,
    photo: Annotated[int, Path(ge=0, le=2**53 - 1, description="As the person's page lists it.")],
    engine: Shared,
    key: Enroller,
    facts: Facts,
) -> Left:
    """Remove one enrolled photo of a person, who must have others."""
    facts.update(person=person, photo=photo)
    return await engine.run(_remove_photo, engine.gallery, person, photo)


def _remove_photo(gallery: Gallery, number: int, photo: int) -> Left:
    left = gallery.remove_photo(number, photo)
    return Left(id=number, photos=left, exports=_exports(gallery))


@router.post("/calibrate", summary="Calibrate", tags=["calibration"], responses=answers(409))
async def calibrate(wanted: Rate, engine: Shared, key: Admin) -> Calibrated:
    """Fit the gallery's own threshold to the enrolled photos."""
    report = await engine.run(engine.gallery.calibrate, false_match_rate=wanted.false_match_rate)
    figures = report.to_json()
    del figures["left_out"]
    return Calibrated(**figures)


@router.delete(
    "/calibrate",
    summary="Go back to the shipped thresholds",
    tags=["calibration"],
    status_code=204,
    responses=answers(),
)
async def reset_calibration(engine: Shared, key: Admin) -> None:
    """Forget the gallery's own calibration."""
    await engine.run(engine.gallery.reset_calibration)
