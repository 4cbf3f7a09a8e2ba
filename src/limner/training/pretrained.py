"""Trained weights for a trunk: from limner's registry, from torchvision, or from timm."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from torch import Tensor

from limner.errors import WeightsError
from limner.nets.backbone import Backbone, EmbeddingHead, first_convolution, fit_kernel
from limner.training.architectures import Architecture

_CONNECT_S = 10


def load_pretrained(net: Backbone, found: Architecture) -> dict[str, Any]:
    """Fill the trunk of `net` with trained weights.

    Args:
        net: As `limner.training.backbones.build` made it.
        found: Its architecture.

    Returns:
        What to record: `asked`, `used`, `source`, `digest`, `reason`.

    Raises:
        WeightsError: If the weights cannot be had or do not fit.
    """
    if found.weights:
        state, source, digest = _from_registry(found.weights)
    elif found.library == "torchvision":
        state, source, digest = _from_torchvision(found)
    elif found.library == "timm":
        state, source, digest = _from_timm(found)
    else:
        raise WeightsError(
            f"There are no trained weights for {found.name}; train it, or take one of "
            "inception_resnet_v1, dlib_resnet, efficientnet_lite0."
        )
    _fill(net, found, state)
    return {
        "asked": found.name,
        "used": found.name,
        "source": source,
        "digest": digest,
        "reason": "",
    }


def _from_registry(name: str) -> tuple[dict[str, Tensor], str, str]:
    from safetensors.torch import load_file

    from limner import weights

    loaded = weights.load(name, kinds=("safetensors",))
    return load_file(loaded.files["safetensors"]), loaded.source, loaded.digest


def _from_torchvision(found: Architecture) -> tuple[dict[str, Tensor], str, str]:
    """Fetch torchvision's first weights; the file's name states the start of its SHA-256."""
    import urllib.error

    from torch.hub import load_state_dict_from_url
    from torchvision import models

    url = models.get_model_weights(found.factory)["IMAGENET1K_V1"].url
    try:
        state = load_state_dict_from_url(
            url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (OSError, urllib.error.URLError, RuntimeError) as error:
        raise WeightsError(f"The weights of {found.name} cannot be had from {url}: {error}") from (
            error
        )
    return dict(state), url, url.rpartition("-")[2].removesuffix(".pth")


def _from_timm(found: Architecture) -> tuple[dict[str, Tensor], str, str]:
    """Fetch timm's weights from the Hugging Face hub, as safetensors."""
    import timm
    from safetensors.torch import load_file

    from limner.weights.cache import sha256_of

    config = timm.get_pretrained_cfg(found.factory)
    if config is None or not config.hf_hub_id:
        raise WeightsError(f"timm has no trained weights for {found.name}.")
    try:
        path = _hub_file(config.hf_hub_id)
        return load_file(path), config.hf_hub_id, sha256_of(path)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"The weights of {found.name} cannot be had from {config.hf_hub_id}: {reason}"
        ) from error


def _hub_file(repository: str) -> Path:
    """Return the weights of a hub's repository, from its cache or its address."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    file = "model.safetensors"
    try:
        return Path(hf_hub_download(repository, file, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    address = urlsplit(constants.ENDPOINT)
    if address.hostname and not getproxies().get(address.scheme):
        # The hub's client tries an absent network again and again, for most of a minute.
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname, port), timeout=_CONNECT_S).close()
    return Path(hf_hub_download(repository, file, etag_timeout=_CONNECT_S))


def _fill(net: Backbone, found: Architecture, state: Mapping[str, Tensor]) -> None:
    """Copy the tensors that the trunk has; the ones left over are the old head's."""
    trunk = net.trunk
    wanted = trunk.state_dict()
    kernel = f"{first_convolution(trunk)[0]}.weight"
    filled = {k: v for k, v in state.items() if k in wanted}
    if kernel in filled:
        filled[kernel] = fit_kernel(filled[kernel], net.input.channels)
    missing = [k for k in wanted if k not in filled and not k.endswith("num_batches_tracked")]
    misfit = [k for k, v in filled.items() if v.shape != wanted[k].shape]
    if missing or misfit:
        raise WeightsError(
            f"The weights of {found.name} do not fit: {(missing + misfit)[0]} is missing or has "
            "another shape."
        )
    trunk.load_state_dict(filled, strict=False)
    if isinstance(net.head, EmbeddingHead):
        _fill_head(net.head, found.name, state)


def _fill_head(head: EmbeddingHead, name: str, state: Mapping[str, Tensor]) -> None:
    """Give an embedding head of the embedder's own width its trained weights."""
    names = {
        "inception_resnet_v1": ("bottleneck.weight", "bottleneck_norm."),
        "dlib_resnet": ("head.weight", ""),
    }.get(name)
    if names is None:
        return
    weight = state[names[0]]
    if weight.shape != head.linear.weight.shape:
        return
    own: dict[str, Tensor] = {"linear.weight": weight}
    if names[1]:
        own |= {
            f"norm.{key.removeprefix(names[1])}": value
            for key, value in state.items()
            if key.startswith(names[1])
        }
    elif head.linear.bias is not None:
        own["linear.bias"] = head.linear.bias.detach() * 0
    head.load_state_dict(own, strict=False)
