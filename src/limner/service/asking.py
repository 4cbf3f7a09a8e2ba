"""What every route needs: who asks, the engine, and the uploads of a request."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, cast, get_args, get_origin, get_type_hints

from fastapi import Depends, File, Form, Request, UploadFile

from limner.errors import InputError, ServiceError
from limner.faces import choose
from limner.gallery import PhotoRef
from limner.service.engine import Engine
from limner.service.keys import Key, Scope
from limner.service.schemas import Error, FaceOut
from limner.types import BoxXYXY, Embedding, Face

Pick = Literal["one", "largest"]

Photo = Annotated[UploadFile, File(description="A photo: JPEG, PNG, WebP, HEIC, ...")]
Photos = Annotated[list[UploadFile], File(description="Photos, 1 to 16 of them.")]
PickForm = Annotated[
    Pick, Form(description="Which face: the only one, or the largest.", examples=["largest"])
]
BoxForm = Annotated[
    str | None,
    Form(
        description="The face in this box: x0,y0,x1,y1 in pixels.",
        examples=["173,63,282,214"],
        max_length=200,
    ),
]
ThresholdForm = Annotated[
    float | None,
    Form(description="Another tau than the calibrated one.", ge=0, le=4, examples=[0.6]),
]
AcceptUnclearForm = Annotated[
    bool,
    Form(description="Judge faces that are too poor for it, too, instead of saying `unclear`."),
]


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route, for OpenAPI; those of every route are added."""
    return {status: {"model": Error} for status in sorted({*statuses, 401, 403, 422, 429, 503})}


PHOTO_ANSWERS = answers(408, 413)


def the_engine(request: Request) -> Engine:
    """Return what all requests share."""
    return cast(Engine, request.app.state.limner)


def facts(request: Request) -> dict[str, Any]:
    """Return what the audit log will say about this request; ids and counts only."""
    return cast("dict[str, Any]", request.scope["state"]["facts"])


def needs(scope: Scope) -> Callable[[Request], Awaitable[Key]]:
    """Return a dependency that lets only keys of a scope in."""

    async def check(request: Request) -> Key:
        key = cast("Key | None", request.scope["state"]["key"])
        if key is None or not key.allows(scope):
            raise ServiceError(
                f"this needs a key with the scope {scope}.", status=403, kind="Forbidden"
            )
        return key

    return check


async def each_once(request: Request) -> None:
    """Refuse a form that brings several of what the route takes one of.

    FastAPI itself would drop all but the last without a word.

    Raises:
        InputError: If a part that is not a list came more than once.
    """
    if not request.headers.get("content-type", "").startswith(
        ("multipart/form-data", "application/x-www-form-urlencoded")
    ):
        return
    lists = _lists_of(request.scope["endpoint"])
    came = Counter(name for name, _ in (await request.form()).multi_items())
    for name, count in came.items():
        if count > 1 and name not in lists:
            shown = "".join(c for c in name if c.isprintable())[:100]
            raise InputError(f"{shown!r} came {count} times where one is expected; send one.")


@lru_cache(maxsize=256)
def _lists_of(endpoint: Callable[..., Any]) -> frozenset[str]:
    """Return the parameters of a route that may come several times."""
    hints = get_type_hints(endpoint)
    return frozenset(
        name
        for name, kind in hints.items()
        if any(get_origin(one) is list for one in (kind, *get_args(kind)))
    )


async def _engine(request: Request) -> Engine:
    return the_engine(request)


async def _facts(request: Request) -> dict[str, Any]:
    return facts(request)


Shared = Annotated[Engine, Depends(_engine)]
Facts = Annotated[dict[str, Any], Depends(_facts)]
Reader = Annotated[Key, Depends(needs("read"))]
Enroller = Annotated[Key, Depends(needs("enrol"))]
Admin = Annotated[Key, Depends(needs("admin"))]


@dataclass(frozen=True)
class Upload:
    """The bytes of an uploaded file, and how it was called."""

    name: str
    data: bytes

    def ref(self, face: Face) -> PhotoRef:
        """Return what the gallery keeps of it."""
        digest = hashlib.sha256(self.data).hexdigest()
        return PhotoRef(self.name, digest, face.box_xyxy, face.score)


async def take(upload: UploadFile, *, called: str = "photo") -> Upload:
    """Read an upload; its name is cut to a harmless file name."""
    data = await upload.read()
    if not data:
        raise InputError(f"the {called} is empty (0 bytes).")
    name = (upload.filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(c for c in name if c.isprintable())[:120].strip()
    return Upload(name or called, data)


async def take_all(uploads: Sequence[UploadFile], engine: Engine) -> list[Upload]:
    """Read the uploads of a request.

    Raises:
        InputError: If there are too many.
    """
    most = engine.settings.max_photos
    if not 1 <= len(uploads) <= most:
        raise InputError(f"a request may bring 1 to {most} photos, got {len(uploads)}.")
    return [await take(upload) for upload in uploads]


def parse_box(text: str | None) -> BoxXYXY | None:
    """Return ``x0,y0,x1,y1`` as numbers; None if there is none.

    Raises:
        InputError: If it is not four finite numbers with x1 > x0 and y1 > y0.
    """
    if text is None or not text.strip():
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    good = len(values) == 4 and all(abs(v) < 1e9 for v in values)
    if not good or values[2] <= values[0] or values[3] <= values[1]:
        raise InputError("box must be x0,y0,x1,y1 in pixels with x1 > x0 and y1 > y0.")
    return values[0], values[1], values[2], values[3]


def the_face(faces: Sequence[Face], pick: Pick, box: str | None) -> Face:
    """Return the one face that is meant.

    Raises:
        FaceCountError: If there is none, or several and nothing says which.
    """
    which = parse_box(box)
    return choose(faces, pick=pick if which is None else which)[0]


def embedding_of(face: Face) -> Embedding:
    """Return a face's embedding.

    Raises:
        InputError: If it has none.
    """
    if face.embedding is None:
        raise InputError("the face has no embedding.")
    return face.embedding


def face_out(face: Face) -> FaceOut:
    """Return a face as the service answers it."""
    return FaceOut(**face.to_json())
