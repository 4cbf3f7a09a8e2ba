"""Networks to look into: a module whose layers have names, and how photos are fed to it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from limner.errors import InputError, ShapeError, UnknownNameError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from limner.types import ImageArray
    from limner.units.receptive import Field, FieldTable


class _Enough(Exception):
    """Every wanted layer has been read; the rest of the network need not run."""


class Network:
    """A frozen network whose layers are read by name.

    Args:
        name: What it is called in results.
        module: Takes (N, 3, S, S), returns anything.
        normalisation: Maps pixels (N, S, S, 3), RGB 0..255, to what the module takes.
        size_px: Height and width that the module wants, pixels.
        digest: What identifies the weights; `random` for untrained ones.
        bgr: Whether the module reads blue, green, red.
        faces: Whether it was trained on chips of faces.
        device: Where it computes.

    ReLUs that write in place are told not to, so that each layer's own result can be read.
    Several threads may call `read`: one at a time runs the module.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        *,
        normalisation: nn.Module,
        size_px: int,
        digest: str,
        bgr: bool = False,
        faces: bool = False,
        device: str = "cpu",
    ) -> None:
        self.name = name
        self.module = module.eval().requires_grad_(False).to(device)
        self.normalisation = normalisation.eval().requires_grad_(False).to(device)
        self.size_px = size_px
        self.digest = digest
        self.bgr = bgr
        self.faces = faces
        self.device = device
        self._tables: dict[int, FieldTable] = {}
        self._reading = threading.RLock()  # hooks of one reader would see another's run
        for part in self.module.modules():
            if getattr(part, "inplace", False) is True:
                part.inplace = False  # type: ignore[assignment]

    @property
    def trained(self) -> bool:
        """Whether the weights are learnt ones."""
        return not self.digest.startswith("random")

    def fields(self, size_px: int | None = None) -> FieldTable:
        """Return the layers and what their units see of a square picture; kept once made.

        Raises:
            ShapeError: If the network cannot read a picture of that size.
        """
        from limner.units.receptive import fields

        size = self.size_px if size_px is None else size_px
        if size not in self._tables:
            self._tables[size] = fields(self, size)
        return self._tables[size]

    def prepare(self, pixels: ImageArray | Tensor) -> Tensor:
        """Return what the module takes.

        Args:
            pixels: Shape (N, S, S, 3), RGB in 0..255, uint8 or floating point.
        """
        import torch

        x: Tensor = self.normalisation(torch.as_tensor(pixels, device=self.device))
        return x

    def to_rgb(self, gradient: Tensor) -> Tensor:
        """Return a tensor (N, 3, ...) in the module's colour order as RGB."""
        return gradient.flip(1) if self.bgr else gradient

    def read(
        self, x: Tensor, layers: Iterable[str], *, size_px: int | None = None
    ) -> dict[str, Tensor]:
        """Run the module as far as needed and return the activations of some layers.

        Args:
            x: What `prepare` returns.
            layers: Names as `fields` lists them, or of blocks.
            size_px: Side whose table of layers is meant; None for the side of `x`.

        Returns:
            By the names as given, shape (N, C, *places); (N, C) where there are no places.

        Raises:
            UnknownNameError: If there is no such layer.
            ShapeError: If the picture does not fit the network.
        """
        table = self.fields(int(x.shape[-1]) if size_px is None else size_px)
        names = list(dict.fromkeys(layers))
        wanted = {name: table[name] for name in names}
        if not wanted:
            raise InputError("no layer was named; name at least one.")
        found: dict[str, Tensor] = {}
        hooks = self._hooked({entry.layer: entry for entry in wanted.values()}, found)
        with self._reading, hooks:
            try:
                self.module(x)
            except _Enough:
                pass
            except RuntimeError as error:
                line = str(error).splitlines()[0]
                raise ShapeError(f"{self.name} cannot read {tuple(x.shape)}: {line}") from error
        return {name: _channels_first(found[e.layer], e) for name, e in wanted.items()}

    @contextlib.contextmanager
    def _hooked(self, wanted: dict[str, Field], found: dict[str, Tensor]) -> Iterator[None]:
        calls: dict[str, int] = {}

        def hook(name: str) -> Any:
            def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
                number = calls[name] = calls.get(name, 0) + 1
                layer = name if number == 1 else f"{name}:{number}"
                if layer not in wanted:
                    return
                found[layer] = output.clone() if wanted[layer].overwritten else output
                if len(found) == len(wanted):
                    raise _Enough

            return note

        modules = {layer.partition(":")[0] for layer in wanted}
        handles = [self.module.get_submodule(m).register_forward_hook(hook(m)) for m in modules]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _channels_first(values: Tensor, entry: Field) -> Tensor:
    return values.movedim(-1, 1) if entry.layout == "channels_last" else values


def unit_layers(net: Network, layers: Iterable[str] | None = None) -> list[str]:
    """Return layers by name, or the convolutions of the network where none is named.

    Args:
        net: The network.
        layers: Names, or `all` convolutions if None.

    Raises:
        UnknownNameError: If there is no such layer, or the network has no convolution.
        InputError: If a layer is named twice, or has a single unit that sees nothing.
    """
    table = net.fields()
    if layers is None:
        found = [e.layer for e in table.layers if e.kind.startswith("Conv")]
        if not found:
            raise UnknownNameError(f"{net.name} has no convolution; name layers.")
        return found
    names = [name.strip() for name in layers]
    for name in names:
        table[name]
        if names.count(name) > 1:
            raise InputError(f"the layer {name} is named twice; name it once.")
    if not names:
        raise InputError("no layer was named; name at least one.")
    return names
