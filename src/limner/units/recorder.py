"""Hooks that note what every module of a network returns, once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from limner.units.extent import Extent


@dataclass
class Record:
    """What a module returned.

    Attributes:
        layer: Name of the module; `:2` is its second call.
        kind: Its class.
        output: The tensor.
        extent: What its values see.
        version: How often it had been written to by then.
        overwritten: Whether a later operation wrote into it.
    """

    layer: str
    kind: str
    output: Tensor
    extent: Extent
    version: int
    overwritten: bool = False


class Recorder:
    """Notes every module's result, once; a block that returns its last layer's is an alias.

    Attributes:
        records: In the order of the calls.
        aliases: By block, the layer whose result it returns.
    """

    def __init__(self, follower: Any) -> None:
        self.records: list[Record] = []
        self.aliases: dict[str, str] = {}
        self._follower = follower
        self._calls: dict[str, int] = {}
        self._names: dict[int, str] = {}

    @contextlib.contextmanager
    def hooked(self, module: nn.Module) -> Iterator[None]:
        """Hook all modules for as long as the block runs."""
        handles = []
        for name, part in module.named_modules():
            if name:
                handles.append(part.register_forward_hook(self._hook(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Any:
        def note(module: nn.Module, _: Any, output: Any) -> None:
            from torch import Tensor

            number = self._calls[name] = self._calls.get(name, 0) + 1
            layer = name if number == 1 else f"{name}:{number}"
            if not isinstance(output, Tensor) or output.dim() < 2:
                return
            extent = self._follower.of(output)
            if extent is None:
                return
            if id(output) in self._names and _version(output) == self._version_of(output):
                self.aliases[layer] = self._names[id(output)]
                return
            self._names[id(output)] = layer
            kind = type(module).__name__
            self.records.append(Record(layer, kind, output, extent, _version(output)))

        return note

    def _version_of(self, output: Tensor) -> int:
        return next(r.version for r in reversed(self.records) if r.output is output)

    def look_back(self) -> None:
        """Mark the results that a later operation wrote into."""
        for record in self.records:
            record.overwritten = _version(record.output) != record.version


def _version(tensor: Tensor) -> int:
    return int(tensor._version)
