"""Faces: detect, compare, embed, identify, verify, look-alike. Photos are not kept."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form

from limner.gallery import Gallery
from limner.service.asking import (
    PHOTO_ANSWERS,
    AcceptUnclearForm,
    BoxForm,
    Facts,
    Photo,
    PickForm,
    Reader,
    Shared,
    ThresholdForm,
    answers,
    embedding_of,
    face_out,
    take,
    the_face,
)
from limner.service.schemas import (
    Compared,
    Detected,
    Embedded,
    EmbeddedFace,
    Identified,
    IdentifiedFace,
    LookAlikeOut,
    LookAlikes,
    MatchOut,
    Verified,
)
from limner.similarity import Calibration
from limner.similarity import compare as judge
from limner.types import Face, Match

router = APIRouter(prefix="/v1", tags=["faces"], responses=PHOTO_ANSWERS)


@router.post("/detect", summary="Find faces")
async def detect(photo: Photo, engine: Shared, key: Reader, facts: Facts) -> Detected:
    """Find the faces of a photo: box, landmarks and score of each."""
    looked = (await engine.see([(await take(photo)).data], embed=False))[0]
    facts["faces"] = len(looked.faces)
    return Detected(size_hw=list(looked.size_hw), faces=[face_out(f) for f in looked.faces])


@router.post("/embed", summary="Embed faces")
async def embed(photo: Photo, engine: Shared, key: Reader, facts: Facts) -> Embedded:
    """Return the embedding of every face of a photo."""
    looked = (await engine.see([(await take(photo)).data]))[0]
    facts["faces"] = len(looked.faces)
    found = [
        EmbeddedFace(**face.to_json(), embedding=embedding_of(face).vector.tolist())
        for face in looked.faces
    ]
    embedder_id = engine.pool.embedder.embedder_id
    return Embedded(embedder_id=embedder_id, size_hw=list(looked.size_hw), faces=found)


@router.post("/compare", summary="Compare two photos")
async def compare(
    a: Photo,
    b: Photo,
    engine: Shared,
    key: Reader,
    pick: PickForm = "one",
    box_a: BoxForm = None,
    box_b: BoxForm = None,
    threshold: ThresholdForm = None,
    accept_unclear: AcceptUnclearForm = False,
) -> Compared:
    """Tell whether two photos show the same person."""
    first, second = await engine.see(
        [(await take(a, called="photo a")).data, (await take(b, called="photo b")).data]
    )
    one, two = the_face(first.faces, pick, box_a), the_face(second.faces, pick, box_b)
    pair = judge(
        embedding_of(one),
        embedding_of(two),
        threshold=threshold,
        calibration=await engine.run(_own_calibration, engine.gallery),
        accept_unclear=accept_unclear,
    )
    return Compared(**pair.to_json(), a=face_out(one), b=face_out(two))


def _own_calibration(gallery: Gallery) -> Calibration | None:
    return gallery.own_calibration


@router.post("/identify", summary="Who is in the photo?")
async def identify(
    photo: Photo,
    engine: Shared,
    key: Reader,
    facts: Facts,
    threshold: ThresholdForm = None,
    accept_unclear: AcceptUnclearForm = False,
) -> Identified:
    """Tell of every face of a photo who it is, or that it is nobody in the gallery."""
    looked = (await engine.see([(await take(photo)).data]))[0]
    matches = await engine.run(_identify, engine.gallery, looked.faces, threshold, accept_unclear)
    facts["faces"] = len(matches)
    facts["people"] = [number for _, number in matches if number is not None]
    found = [
        IdentifiedFace(**face.to_json(), match=MatchOut(**match.to_json(), person_id=number))
        for face, (match, number) in zip(looked.faces, matches, strict=True)
    ]
    return Identified(size_hw=list(looked.size_hw), faces=found)


def _identify(
    gallery: Gallery, faces: list[Face], threshold: float | None, accept_unclear: bool
) -> list[tuple[Match, int | None]]:
    matches = gallery.identify(
        [embedding_of(face) for face in faces], threshold=threshold, accept_unclear=accept_unclear
    )
    found: list[tuple[Match, int | None]] = []
    with gallery.locked() as store:
        for match in matches:
            row = None if match.person is None else store.find(match.person)
            found.append((match, None if row is None else row.id))
    return found


@router.post("/verify", summary="Is it this person?", responses=answers(404, 408, 413))
async def verify(
    photo: Photo,
    engine: Shared,
    key: Reader,
    facts: Facts,
    name: Annotated[
        str, Form(description="The person.", examples=["Eileen Collins"], max_length=1000)
    ],
    pick: PickForm = "one",
    box: BoxForm = None,
    threshold: ThresholdForm = None,
    accept_unclear: AcceptUnclearForm = False,
) -> Verified:
    """Tell whether a photo shows one particular person."""
    person = await engine.run(engine.gallery.person, name)
    facts["person"] = person.id
    face = the_face((await engine.see([(await take(photo)).data]))[0].faces, pick, box)
    pair = await engine.run(
        engine.gallery.verify,
        person.name,
        embedding_of(face),
        threshold=threshold,
        accept_unclear=accept_unclear,
    )
    return Verified(**pair.to_json(), person=person.name, person_id=person.id, face=face_out(face))


@router.post("/lookalike", summary="Who looks like this?")
async def lookalike(
    photo: Photo,
    engine: Shared,
    key: Reader,
    pick: PickForm = "one",
    box: BoxForm = None,
    top: Annotated[int, Form(ge=1, le=100, description="How many at most.", examples=[5])] = 5,
) -> LookAlikes:
    """Return the people who look most alike, nearest first, without a verdict."""
    face = the_face((await engine.see([(await take(photo)).data]))[0].faces, pick, box)
    found = await engine.run(engine.gallery.lookalike, embedding_of(face), top=top)
    people = [LookAlikeOut(**one.to_json()) for one in found]
    return LookAlikes(face=face_out(face), people=people)
