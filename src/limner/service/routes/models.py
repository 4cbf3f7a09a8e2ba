"""Trained classifiers by name, and the units of networks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from fastapi import APIRouter, File, Form, UploadFile

from limner.errors import ImageError, InputError, ServiceError, WeightsError
from limner.service.asking import (
    BoxForm,
    Facts,
    Photo,
    PickForm,
    Reader,
    Shared,
    Upload,
    answers,
    take,
    the_face,
)
from limner.service.engine import Engine
from limner.service.lane import SlowLane
from limner.service.pool import Looked
from limner.service.schemas import (
    Classified,
    ClassOut,
    ItemOut,
    LayerOut,
    Layers,
    ModelOut,
    Models,
    UnitOut,
    Units,
)
from limner.service.shelf import PATCHES, Shelved, find, shelved
from limner.service.unpacked import TIMES, check_unpacked
from limner.types import ImageArray

if TYPE_CHECKING:
    from limner.units import Network, TopPatches

router = APIRouter(prefix="/v1")
NetworkName = Literal["vgg16", "alexnet", "vgg16_oxford", "vgg19", "vgg16_hed", "facenet", "dlib"]
_ENDINGS = (".csv", ".tsv", ".txt", ".ucr", ".npz", ".nii", ".nii.gz", ".npy")
_MOST_ITEMS = 1_000
_MOST_MAPS = 50


@router.get("/models", summary="What can be named?", tags=["classify"], responses=answers())
async def models(engine: Shared, key: Reader) -> Models:
    """List the classifiers that the server was started with, and the networks to look into."""
    found = await engine.run(shelved, engine.settings.models)
    out = [ModelOut(name=one.name, kind=one.kind, classes=list(one.classes)) for one in found]
    return Models(models=out, networks=list(get_args(NetworkName)))


@router.post(
    "/classify", summary="Classify", tags=["classify"], responses=answers(404, 408, 413, 501)
)
async def classify(
    model: Annotated[
        str, Form(description="As /v1/models lists it.", examples=["beats"], max_length=200)
    ],
    file: Annotated[
        UploadFile, File(description="A photo; or series as text or npz; or a volume.")
    ],
    engine: Shared,
    key: Reader,
    facts: Facts,
    pick: PickForm = "one",
    box: BoxForm = None,
    top: Annotated[int, Form(ge=1, le=100, description="Classes to name.")] = 5,
    maps: Annotated[bool, Form(description="Whether class maps are sent along.")] = False,
) -> Classified:
    """Ask a trained classifier. One of faces always names somebody: it gives no verdict."""
    chosen = find(engine.settings.models, model, "faces", "series", "volumes")
    upload = await take(file, called="file")
    if chosen.kind == "faces":
        item = await _classify_photo(engine, chosen, upload, pick, box, top)
        items = [item]
    else:
        most = TIMES * engine.settings.max_bytes
        items = await engine.slow.run(
            _classify_arrays, engine.slow, chosen, upload, top, maps, most
        )
    facts.update(model=chosen.name, items=len(items))
    kind = "faces" if chosen.kind == "faces" else chosen.kind
    return Classified(model=chosen.name, kind=kind, items=items)  # type: ignore[arg-type]


async def _classify_photo(
    engine: Engine, chosen: Shelved, upload: Upload, pick: Any, box: str | None, top: int
) -> ItemOut:
    looked = (await engine.see([upload.data], embed=False, keep_image=True))[0]
    return await engine.slow.run(_guess, chosen, looked, upload.name, pick, box, top)


def _guess(
    chosen: Shelved, looked: Looked, name: str, pick: Any, box: str | None, top: int
) -> ItemOut:
    from limner.training.answer import classify_face
    from limner.training.model_folder import read_model

    known = read_model(chosen.folder, kind="classifier")
    face = None if known.crop == "whole" else the_face(looked.faces, pick, box)
    if looked.image is None:
        raise InputError("the photo was not kept.")
    guesses = classify_face(known, looked.image, face, top=top).guesses
    classes = [ClassOut(label=g.person, probability=g.probability) for g in guesses]
    first = classes[0]
    return ItemOut(
        name=name,
        label=first.label,
        probability=first.probability,
        classes=classes,
        class_map=None,
    )


def _classify_arrays(
    lane: SlowLane, chosen: Shelved, upload: Upload, top: int, maps: bool, most: int
) -> list[ItemOut]:
    """Read an upload by its ending, in a folder that is gone afterwards, and classify it."""
    from limner.training import series, volumes
    from limner.training.array_model import load_model
    from limner.training.array_report import answer

    ending = next((e for e in _ENDINGS if upload.name.lower().endswith(e)), None)
    if ending is None:
        raise InputError(f"the file's name must end in {', '.join(_ENDINGS)}; got another ending.")
    check_unpacked(upload.data, ending, most=most)
    model = lane.keep(f"model {chosen.folder}", lambda: load_model(chosen.folder))
    read = series.read_for if chosen.kind == "series" else volumes.read_for
    with tempfile.TemporaryDirectory(prefix="limner-") as folder:
        path = Path(folder) / f"file{ending}"
        path.write_bytes(upload.data)
        try:
            samples = read(model, path)
        except ImageError as error:
            raise InputError(str(error)) from error
    if len(samples) > _MOST_ITEMS:
        raise InputError(f"at most {_MOST_ITEMS:,} items are classified at once.")
    if maps and len(samples) > _MOST_MAPS:
        raise InputError(f"class maps are sent for at most {_MOST_MAPS} items.")
    items = []
    for number, one in enumerate(answer(model, samples), start=1):
        ranked = sorted(one.scores.items(), key=lambda score: -score[1])[:top]
        classes = [ClassOut(label=label, probability=float(p)) for label, p in ranked]
        items.append(
            ItemOut(
                name=f"{upload.name} {number}",
                label=one.label,
                probability=float(one.probability),
                classes=classes,
                class_map=one.class_map.tolist() if maps else None,
            )
        )
    return items


# --- units -----------------------------------------------------------------------------


@router.get(
    "/units/{network}", summary="What do units see?", tags=["units"], responses=answers(404)
)
async def layers(network: NetworkName, engine: Shared, key: Reader) -> Layers:
    """List the layers of a network and the receptive field of each."""
    return await engine.slow.run(_layers, engine.slow, network)


def _layers(lane: SlowLane, name: str) -> Layers:
    net = _network(lane, name)
    found = [
        LayerOut(layer=entry.layer, channels=entry.channels, size=[int(v) for v in entry.size])
        for entry in net.fields().layers
    ]
    return Layers(network=name, size_px=net.size_px, layers=found)


def _network(lane: SlowLane, name: str, top: TopPatches | None = None) -> Network:
    from limner.units import load_network

    try:
        if top is None:
            return lane.keep(f"network {name}", lambda: load_network(name, offline=True))
        weights = "random" if top.digest.startswith("random") else None
        words = f"network {name} {weights} {top.size_px}"
        return lane.keep(
            words, lambda: load_network(name, weights=weights, size=top.size_px, offline=True)
        )
    except WeightsError as error:  # not the service's fault, and another try would not help
        raise ServiceError(
            f"the weights of {name} are not on this server; ask for another network, or run "
            f"limner weights pull {name} there.",
            status=404,
            kind="NoWeights",
        ) from error


@router.post(
    "/units",
    summary="Which units does a picture excite?",
    tags=["units"],
    responses=answers(404, 408, 409, 413),
)
async def units(
    photo: Photo,
    engine: Shared,
    key: Reader,
    network: Annotated[NetworkName, Form(description="Which network.")] = "vgg16",
    layer: Annotated[
        str | None,
        Form(description="As /v1/units/{network} lists it.", max_length=200, examples=["conv3_1"]),
    ] = None,
    patches: Annotated[
        str | None,
        Form(description="Patches of the models folder: then units are compared.", max_length=200),
    ] = None,
    count: Annotated[int, Form(ge=1, le=200, description="How many units.")] = 12,
) -> Units:
    """Tell which units of a layer a picture excites most, or more than other photos do."""
    data = (await take(photo)).data
    image = await engine.read(data)
    if patches is not None:
        shelf = find(engine.settings.models, patches, "patches")
        return await engine.slow.run(_excited, engine.slow, shelf, image, layer, count)
    if layer is None:
        raise InputError("name a layer, as /v1/units/{network} lists them, or patches.")
    return await engine.slow.run(_strongest, engine.slow, network, image, layer, count)


def _excited(
    lane: SlowLane, shelf: Shelved, image: ImageArray, layer: str | None, count: int
) -> Units:
    from limner.units import TopPatches, excites

    top = lane.keep(f"patches {shelf.folder}", lambda: TopPatches.load(shelf.folder / PATCHES))
    net = _network(lane, top.network, top)
    chosen = None if layer is None else [layer]
    found = excites(image, net, top, layers=chosen, count=count)
    out = [
        UnitOut(
            layer=one.layer,
            unit=one.unit,
            value=one.value,
            box_xyxy=[float(v) for v in one.box_xyxy],
            strength=one.strength,
        )
        for one in found
    ]
    return Units(network=top.network, units=out)


def _strongest(lane: SlowLane, name: str, image: ImageArray, layer: str, count: int) -> Units:
    import numpy as np
    import torch

    from limner.units import photos
    from limner.units.top import strongest

    net = _network(lane, name)
    framed = photos.frame_photo(image, net.size_px)
    entry = net.fields()[layer]
    with torch.no_grad():
        found = net.read(net.prepare(framed.pixels[None]), [layer])[layer]
    values, places = strongest(found.cpu().float())
    out = []
    for unit in np.argsort(-values[0], kind="stable")[:count]:
        place = tuple(int(p) for p in places[0, unit])
        x0, y0, x1, y1 = entry.frame(place, int(unit))
        box = photos.to_photo((x0, y0, x1, y1), framed.region_xyxy, net.size_px)
        out.append(
            UnitOut(
                layer=layer,
                unit=int(unit),
                value=float(values[0, unit]),
                box_xyxy=[float(v) for v in box],
                strength=None,
            )
        )
    return Units(network=name, units=out)
