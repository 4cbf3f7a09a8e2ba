"""From a name to a network: limner's own, torchvision's, timm's, and the user's weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import InputError, MissingExtraError, UnknownNameError, WeightsError
from limner.units.network import Network
from limner.weights.encoders import ENCODERS

if TYPE_CHECKING:
    from torch import Tensor, nn

Progress = Callable[[str, int, int | None], None]

EMBEDDERS = ("facenet", "dlib")
OWN = ("frmodel", "nn4_small2", "small_resnet")
_IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def network_names() -> list[str]:
    """Return the names that need no other library: encoders, embedders, limner's own."""
    return [*ENCODERS, *EMBEDDERS, *OWN]


def load_network(
    name: str = "vgg16",
    *,
    weights: str | Path | None = None,
    size: int | None = None,
    device: str = "auto",
    offline: bool = False,
    progress: Progress | None = None,
) -> Network:
    """Return a network to look into; fetch its weights first where the cache lacks them.

    Args:
        name: `vgg19`, `vgg16`, `vgg16_oxford`, `alexnet`, `vgg16_hed` (their convolutions),
            `facenet`, `dlib` (embedders of faces), `frmodel` (the notes'), `nn4_small2`
            (OpenFace's), `small_resnet`, or a model of torchvision or timm: `resnet18`,
            `torchvision/resnet18`, `timm/convnext_atto`.
        weights: None for the published ones, `random` for none, or a file: safetensors, or a
            PyTorch checkpoint, which is read without unpickling code.
        size: Side of the square picture it reads, pixels; None for the one it was trained at.
        device: As for `limner.device.resolve`.
        offline: Use the cache only.
        progress: As for `limner.weights.load`.

    Raises:
        UnknownNameError: If there is no network of that name.
        WeightsError: If the weights cannot be had, or do not fit.
        InputError: If the size is not positive.
        MissingExtraError: If timm is needed and not installed.
    """
    from limner.device import resolve

    if size is not None and (isinstance(size, bool) or size < 1):
        raise InputError(f"size must be a positive number of pixels, got {size!r}.")
    place = resolve(device)
    source = "published" if weights is None else str(weights)
    import torch

    options: dict[str, Any] = {"offline": offline, "progress": progress}
    with torch.random.fork_rng():
        torch.manual_seed(0)  # untrained weights are the same in every run
        if name in ENCODERS:
            parts = _trunk(name, source, options)
        elif name in EMBEDDERS:
            parts = _embedder(name, source, options)
        elif name in OWN:
            parts = _own(name, source)
        else:
            parts = _library(name, source)
    if source not in ("published", "random"):
        parts["digest"] = _fill(parts["module"], Path(source), name)
    if size is not None:
        parts["size_px"] = size
    return Network(name, device=place, **parts)


def _fixed(mean: tuple[float, ...], std: tuple[float, ...], *, bgr: bool = False) -> nn.Module:
    from limner.nets.preprocess import Normalise

    return Normalise(mean, std, bgr=bgr)


def _trunk(name: str, source: str, options: dict[str, Any]) -> dict[str, Any]:
    """Build an encoder as a plain sequence, each layer a module under its own name."""
    from torch import nn

    from limner import weights
    from limner.nets.vgg import layers_of

    spec = weights.spec(name)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    width = 3
    for layer in layers_of(ENCODERS[name]):
        if layer.kind == "conv":
            layers[layer.name] = nn.Conv2d(
                width, layer.width, layer.kernel, layer.stride, layer.padding
            )
        elif layer.kind == "relu":
            layers[layer.name] = nn.ReLU()
        else:
            layers[layer.name] = nn.MaxPool2d(layer.kernel, layer.stride)
        width = layer.width
    module = nn.Sequential(layers)
    digest = "random"
    if source == "published":
        from safetensors.torch import load_file

        loaded = weights.load(name, **options)
        module.load_state_dict(load_file(loaded.files["safetensors"]))
        digest = loaded.digest
    top = spec.value_range[1]
    mean = tuple(m * 255 / top for m in spec.mean)
    std = tuple(s * 255 / top for s in spec.std)
    bgr = spec.colour == "bgr"
    return {
        "module": module,
        "normalisation": _fixed(mean, std, bgr=bgr),
        "size_px": 224,
        "digest": digest,
        "bgr": bgr,
    }


def _embedder(name: str, source: str, options: dict[str, Any]) -> dict[str, Any]:
    from limner import weights
    from limner.nets.dlib_resnet import DlibResNet
    from limner.nets.inception_resnet import InceptionResNetV1
    from limner.nets.preprocess import Standardise

    spec = weights.spec(name)
    parts: dict[str, Any] = {"size_px": spec.size_px, "digest": "random", "faces": True}
    if source == "published":
        loaded = weights.load(name, **options)
        whole = weights.torch_module(loaded)
        module, normalisation = whole.net, whole.normalisation
        return {**parts, "module": module, "normalisation": normalisation, "digest": loaded.digest}
    if name == "facenet":
        return {**parts, "module": InceptionResNetV1(), "normalisation": Standardise()}
    return {**parts, "module": DlibResNet(), "normalisation": _fixed(spec.mean, spec.std)}


def _own(name: str, source: str) -> dict[str, Any]:
    if source == "published":
        raise WeightsError(
            f"{name} has no published weights: give a file that you trained, or 'random'."
        )
    from limner.nets.inception import FRModel
    from limner.nets.nd import SmallResNet
    from limner.nets.nn4_small2 import Nn4Small2

    module: nn.Module
    normalisation, size = _fixed((0.0,) * 3, (255.0,) * 3), 96  # as trainings of faces do
    if name == "frmodel":
        module = FRModel()
    elif name == "nn4_small2":
        module = Nn4Small2()
    else:
        module, size = SmallResNet(2, 3, embedding=128), 112
        normalisation = _fixed(*_IMAGENET)
    return {
        "module": module,
        "normalisation": normalisation,
        "size_px": size,
        "digest": "random",
        "faces": True,
    }


def _library(name: str, source: str) -> dict[str, Any]:
    library, slash, model = name.rpartition("/")
    if slash and library not in ("torchvision", "timm"):
        raise _unknown(name)
    if library != "timm":
        from torchvision import models

        if model in models.list_models(module=models):
            return _torchvision(model, source)
    if library != "torchvision":
        try:
            import timm
        except ImportError as error:
            if library == "timm":
                raise MissingExtraError(
                    f"{name} needs timm, which is not installed: pip install 'limner[train]'."
                ) from error
            raise _unknown(name) from error
        if timm.is_model(model):
            return _timm(model, source)
    raise _unknown(name)


def _unknown(name: str) -> UnknownNameError:
    import difflib

    known = network_names()
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return UnknownNameError(
        f"there is no network {name!r}; there are {', '.join(known)}, and the models of "
        f"torchvision and timm (torchvision/resnet18, timm/convnext_atto).{hint}"
    )


def _torchvision(model: str, source: str) -> dict[str, Any]:
    from torchvision import models

    entry = models.get_model_weights(model).DEFAULT
    transform = entry.transforms()
    try:
        module = models.get_model(model, weights="DEFAULT" if source == "published" else None)
    except Exception as error:
        raise _no_weights(model, entry.url, error) from error
    return {
        "module": module,
        "normalisation": _fixed(
            tuple(255 * m for m in transform.mean), tuple(255 * s for s in transform.std)
        ),
        "size_px": int(transform.crop_size[0]),
        "digest": entry.url.rsplit("/", 1)[-1] if source == "published" else "random",
    }


def _timm(model: str, source: str) -> dict[str, Any]:
    import importlib

    import timm

    data: Any = importlib.import_module("timm.data")  # which has no types
    try:
        module = timm.create_model(model, pretrained=source == "published")
    except Exception as error:
        raise _no_weights(model, "its place on the hub", error) from error
    config = data.resolve_model_data_config(module)
    return {
        "module": module,
        "normalisation": _fixed(
            tuple(255 * m for m in config["mean"]), tuple(255 * s for s in config["std"])
        ),
        "size_px": int(config["input_size"][1]),
        "digest": f"timm/{model}" if source == "published" else "random",
    }


def _no_weights(model: str, place: str, error: Exception) -> WeightsError:
    reason = (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(".")[:160]
    return WeightsError(
        f"the weights of {model} cannot be had from {place} ({reason}). Give a file with "
        "--weights, or --weights random for its untrained layers."
    )


def _fill(module: nn.Module, path: Path, name: str) -> str:
    """Load a user's file into a module and return its SHA-256.

    Raises:
        WeightsError: If the file cannot be read or does not fit.
    """
    import hashlib

    state = _match(module, read_state(path))
    _fit_head(module, state)
    own = module.state_dict()
    lacking = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    wrong = [k for k in own if k in state and state[k].shape != own[k].shape]
    if lacking or wrong:
        first = (lacking or wrong)[0]
        came = "nothing" if lacking else f"shape {tuple(state[first].shape)}"
        raise WeightsError(
            f"{path} does not fit {name}: {len(lacking)} of {len(own)} tensors are missing and "
            f"{len(wrong)} have another shape; for {first} of shape {tuple(own[first].shape)} "
            f"came {came}."
        )
    module.load_state_dict(state, strict=False)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint; no pickled code is ever run.

    Args:
        path: A .safetensors file, or what `torch.save` wrote: a state dictionary, or one below
            `state_dict`, `model` or the like.

    Raises:
        WeightsError: If it cannot be read.
    """
    import torch

    if not path.is_file():
        raise WeightsError(f"{path} does not exist; give a .safetensors, .pt or .pth file.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise WeightsError(
            f"{path} cannot be read as weights alone: {reason} Save the state dictionary, best "
            "as safetensors."
        ) from error
    for key in ("state_dict", "model_state_dict", "model", "net", "weights"):
        if isinstance(document, Mapping) and isinstance(document.get(key), Mapping):
            document = document[key]
    if not isinstance(document, Mapping) or not document:
        raise WeightsError(f"{path} holds no tensors by name, but {type(document).__name__}.")
    found = {str(k): v for k, v in document.items() if isinstance(v, torch.Tensor)}
    if not found:
        raise WeightsError(f"{path} holds no tensors.")
    return found


def _match(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the module's names, a common prefix taken off or put on."""
    own = set(module.state_dict())
    best = state
    prefixes = {k[: -len(o) or None] for o in list(own)[:1] for k in state if k.endswith(o)}
    for prefix in sorted({*prefixes, "module.", "model.", "net.", "0."} - {""}):
        cut = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if len(own & set(cut)) > len(own & set(best)):
            best = cut
    return best


def _fit_head(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Give the last linear layer as many outputs as the file has: the user's own classes."""
    from torch import nn

    heads = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.Linear)]
    if not heads:
        return
    name, head = heads[-1]
    weight = state.get(f"{name}.weight")
    if weight is None or weight.dim() != 2 or weight.shape[1] != head.in_features:
        return
    if weight.shape[0] != head.out_features:
        parent, _, leaf = name.rpartition(".")
        fresh = nn.Linear(head.in_features, int(weight.shape[0]), bias=head.bias is not None)
        setattr(module.get_submodule(parent), leaf, fresh)
