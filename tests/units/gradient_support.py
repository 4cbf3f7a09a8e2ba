"""An oracle that knows nothing of rules: which pixels have a gradient that is not zero.

The network is made such that no path can cancel or close: positive weights and pixels, leaky
ReLUs, and a mean over the same window in place of each max pooling.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from limner.units.receptive import FieldTable, trace


class OpenPool(nn.Module):
    """A mean over the window of a max pooling, whose places outside of the picture count 0."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pair = lambda v: (v, v) if isinstance(v, int) else tuple(v)  # noqa: E731
        kernel, stride, padding, dilation = (
            pair(getattr(self.pool, name))
            for name in ("kernel_size", "stride", "padding", "dilation")
        )
        out = self.pool(x).shape[2:]
        room = [(out[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1 for i in (0, 1)]
        after = [max(0, room[i] - x.shape[2 + i] - padding[i]) for i in (0, 1)]
        x = functional.pad(x, (padding[1], after[1], padding[0], after[0]))
        x = x[:, :, : room[0], : room[1]]
        weight = torch.ones(x.shape[1], 1, *kernel, dtype=x.dtype) / (kernel[0] * kernel[1])
        return functional.conv2d(x, weight, stride=stride, dilation=dilation, groups=x.shape[1])


def opened(net: nn.Module) -> nn.Module:
    for module in list(net.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, nn.MaxPool2d):
                setattr(module, name, OpenPool(part))
            elif isinstance(part, nn.ReLU | nn.ReLU6):
                setattr(module, name, nn.LeakyReLU(0.5))
            elif isinstance(part, nn.Dropout):
                setattr(module, name, nn.Identity())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.rand(parameter.shape) + 0.1)
            if parameter.dim() > 1:
                parameter.div_(parameter[0].numel())
    return net.double().eval()


def outputs(net: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return every module's result, by the names of the table."""
    found: dict[str, torch.Tensor] = {}
    calls: dict[str, int] = {}

    def hook(name):
        def note(_module, _inputs, output):
            calls[name] = calls.get(name, 0) + 1
            found[name if calls[name] == 1 else f"{name}:{calls[name]}"] = output

        return note

    handles = [m.register_forward_hook(hook(n)) for n, m in net.named_modules() if n]
    net(x)
    for handle in handles:
        handle.remove()
    return found


def compare(net: nn.Module, size: int, *, inner: int = 1, seed: int = 1) -> tuple[int, list[str]]:
    """Return how many layers were compared and what differs.

    Of each layer the two extreme corners and `inner` places at random, each in one channel.
    """
    table: FieldTable = trace(net, (1, 3, size, size))
    torch.manual_seed(seed)
    net = opened(net)
    x = (torch.rand(1, 3, size, size, dtype=torch.float64) + 0.5).requires_grad_()
    found = outputs(net, x)
    wrong = []
    for entry in table.layers:
        sides = entry.positions
        places = [tuple(0 for _ in sides), tuple(n - 1 for n in sides)]
        places += [tuple(int(torch.randint(n, (1,))) for n in sides) for _ in range(inner)]
        for place in dict.fromkeys(places):
            channel = int(torch.randint(entry.channels, (1,)))
            last = entry.layout == "channels_last"
            index = (0, *place, channel) if last else (0, channel, *place)
            (gradient,) = torch.autograd.grad(found[entry.layer][index], x, retain_graph=True)
            reached = gradient.abs().sum((0, 1)) != 0
            rows, columns = reached.any(1).nonzero().flatten(), reached.any(0).nonzero().flatten()
            truth = None
            if len(rows):
                truth = tuple(int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
            if entry.box(place, channel) != truth:
                wrong.append(f"{entry.layer} {place} {channel}: {entry.box(place)} not {truth}")
    return len(table.layers), wrong
