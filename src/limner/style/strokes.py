"""The picture laid in with the style's own brush strokes, before anything is optimised.

From coarse to fine, every cell of the picture (4 x 4 px) looks for the cell of the style that is
most like it: in its deep features, which say what is there, and in its colour. A patch of the
style's pixels goes where each cell is, and patches that overlap are averaged. What lies beside
each other in the style may stay so, hence whole strokes are carried over; and what was taken often
becomes dear, so that all of the style is used, not just its flattest corner. No slope of a network
is asked: there can be no ringing, and the strokes are the painter's.

Source: Kwatra and others, Texture Optimization for Example-based Synthesis, 2005 (the votes);
Kolkin and others, Neural Neighbor Style Transfer, 2022 (nearest columns of features); Ashikhmin,
Synthesizing Natural Textures, 2001 (neighbours stay neighbours); Bertsekas, 1988, auctions (the
prices). Differs: pixels are copied instead of features inverted; features are compressed by
principal components.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from limner.style.pyramid import MIN_SIDE_PX, Side, fit, resize
from limner.style.stroke_bank import CELL_PX, PATCH_PX, Bank
from limner.style.taps import WeightedTaps, resolve_weighted

if TYPE_CHECKING:
    from limner.style.encoder import Encoder
    from limner.style.masks import Masks

LARGEST_PIXELS = 1_100_000
"""Larger pictures are laid in at this size and enlarged."""

SIZES = 4
"""At most: the whole, a half, a quarter and an eighth."""

LAYERS: WeightedTaps = (("relu1_1", 0.3), ("relu2_1", 0.6), ("relu3_1", 1.0), ("relu4_1", 1.0))
"""What a cell's column is made of, and how much each layer counts."""

_GRAIN = 2 * CELL_PX  # sides are multiples of it, so that relu4_1 fits
_COLOUR = 1.0  # weight of the squared distance of colours beside the cosine of the features
_COHERENCE = 0.15  # a bonus for each of four neighbours that lies beside it in the style, too
_SWEEPS = 6
_PRICE = 0.06  # what a cell costs more, each round, for every time it is taken too often
_DEAREST = 4.0
_ALL_PAIRS = 10_000_000_000  # above, a cell looks only where the coarser size and neighbours point
_AT_ONCE = 1 << 26  # likenesses that are in memory at a time
_BARRED = 100.0  # of a style whose region is elsewhere
_AROUND = ((0, 1), (1, 0), (0, -1), (-1, 0))


@dataclass(frozen=True)
class Order:
    """What is to be laid in.

    Attributes:
        content: Shape (1, 3, H, W), RGB in [0, 1], in the colours that it shall have.
        styles: Each of shape (1, 3, H, W).
        weights: Share of the picture that each style gets, positive; without masks.
        masks: Each style's region, or None.
        size: Pixels of the side that `side` names.
        side: `longer` or `shorter`.
        style_scale: Size of the strokes: of the style relative to the content.
        guidance: How closely the strokes follow the content, in [0, 1].
    """

    content: Tensor
    styles: Sequence[Tensor]
    weights: Sequence[float]
    masks: Masks | None
    size: float
    side: Side
    style_scale: float
    guidance: float


def lay_in(order: Order, encoder: Encoder) -> Iterator[Tensor]:
    """Yield the picture at each size, from coarse to fine; the last one is the result.

    Args:
        order: What is painted.
        encoder: Reads the pictures, with as many of `LAYERS` as it has.

    Yields:
        Shape (1, 3, h, w), in [0, 1]; sides are multiples of 8 near those that were asked for.
    """
    sizes = plan(order)
    names = [layer.name for layer in encoder.trunk.layers]
    layers = resolve_weighted(LAYERS, encoder.architecture)
    layers = tuple(layer for layer in layers if layer[0] in names)
    encoder = encoder.cut(layers[-1][0])
    picture: Tensor | None = None
    before: _Choice | None = None
    with torch.no_grad():
        for index, (size, style_sizes) in enumerate(sizes):
            ahead = len(sizes) - 1 - index  # sizes that follow
            along = index / max(1, len(sizes) - 1)
            content = resize(order.content, size)
            styles = [resize(s, hw) for s, hw in zip(order.styles, style_sizes, strict=True)]
            bank = Bank(encoder, layers, styles)
            scale = _Scale(bank, content, order, share=_guided(order.guidance, along))
            picture = content if picture is None else resize(picture, size)
            before = scale.begin(before)
            repeats = max(2, round(6 - 4 * along))
            for repeat in range(repeats):
                finest = ahead == 0 and repeat == repeats - 1
                if finest:
                    picture = scale.paint_twice(picture, before)
                else:
                    picture, before = scale.paint(picture, before, rounds=min(16, 2 << ahead))
            yield picture


def plan(order: Order) -> list[tuple[tuple[int, int], list[tuple[int, int]]]]:
    """Return height and width of the picture and of each style, from coarse to fine."""
    here = (int(order.content.shape[-2]), int(order.content.shape[-1]))
    height, width = fit(here, size=order.size, side=order.side)
    largest = min(1.0, (LARGEST_PIXELS / (height * width)) ** 0.5)
    found: list[tuple[tuple[int, int], list[tuple[int, int]]]] = []
    for halvings in range(SIZES):
        wanted = order.size * largest / 2**halvings
        sizes = [fit(here, size=wanted, side=order.side)]
        for style in order.styles:
            hw = (int(style.shape[-2]), int(style.shape[-1]))
            sizes.append(_bounded(fit(hw, size=wanted * order.style_scale, side=order.side)))
        if found and min(min(hw) for hw in sizes) < MIN_SIDE_PX:
            break
        whole = [_whole(hw) for hw in sizes]
        found.insert(0, (whole[0], whole[1:]))
    return found


def _bounded(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Return a style's size, smaller where its cells would fill the memory."""
    height, width = size_hw
    share = min(1.0, (2 * LARGEST_PIXELS / (height * width)) ** 0.5)
    return max(1, round(height * share)), max(1, round(width * share))


def _whole(size_hw: tuple[int, int]) -> tuple[int, int]:
    height, width = (max(MIN_SIDE_PX, round(v / _GRAIN) * _GRAIN) for v in size_hw)
    return height, width


def _guided(guidance: float, along: float) -> float:
    """Return how much the content counts beside what is painted already: less as it gets finer."""
    coarse, fine = 0.45 + 0.5 * guidance, 0.5 * guidance
    return coarse + (fine - coarse) * along


@dataclass(frozen=True)
class _Choice:
    """Which cell of the bank each cell of the picture takes, and what the bank's cells cost."""

    bank: Bank
    size: tuple[int, int]
    cells: Tensor | None
    prices: Tensor


class _Scale:
    """The picture at one size.

    Args:
        bank: The styles at this size.
        content: Shape (1, 3, H, W), sides multiples of 8.
        order: What is painted.
        share: How much the content counts beside what is painted already.
    """

    def __init__(self, bank: Bank, content: Tensor, order: Order, *, share: float) -> None:
        self._bank, self._share, self._order = bank, share, order
        self._content = content
        self._wanted = self._seen(content)
        self.size = (int(content.shape[-2]) // CELL_PX, int(content.shape[-1]) // CELL_PX)
        cost = -0.5 * _COLOUR * bank.colours.square().sum(1)
        owners = functional.one_hot(bank.style, len(order.styles)).float() * _BARRED
        self._offered = torch.cat([bank.rows, bank.colours * _COLOUR, owners], 1)
        self._cost = cost
        self._fair = self._fair_use()

    def _fair_use(self) -> Tensor:
        """Return how often each cell of the bank should be taken, with its mirror image."""
        order, bank = self._order, self._bank
        shares = torch.tensor(list(order.weights), device=bank.rows.device)
        if order.masks is not None:
            owner = self._owners(self.size)
            shares = torch.bincount(owner, minlength=len(order.styles)).float()
        shares = shares / shares.sum()
        counts = torch.bincount(bank.style, minlength=len(order.styles)).float()
        per_cell = shares / (counts / 2) * self.size[0] * self.size[1]
        return per_cell[bank.style].clamp_min(1e-6)

    def _owners(self, size: tuple[int, int]) -> Tensor:
        """Return the style that each cell belongs to."""
        masks = self._order.masks
        assert masks is not None
        shares = torch.from_numpy(masks.at(*size).copy()).to(self._bank.rows.device)
        return shares.argmax(0).flatten()

    def begin(self, before: _Choice | None) -> _Choice:
        """Carry prices and choices over from the coarser size."""
        bank = self._bank
        if before is None:
            return _Choice(bank, self.size, None, torch.zeros_like(self._cost))
        prices = [
            functional.interpolate(old.view(1, 1, *hw), size=new, mode="bilinear").flatten()
            for old, hw, new in zip(
                before.prices.split_with_sizes([h * w for h, w in before.bank.sheets]),
                before.bank.sheets,
                bank.sheets,
                strict=True,
            )
        ]
        return _Choice(bank, self.size, self._enlarged(before), torch.cat(prices))

    def _enlarged(self, before: _Choice) -> Tensor | None:
        """Return the choices of a coarser size as cells of this one."""
        if before.cells is None:
            return None
        bank, old = self._bank, before.bank
        device = bank.rows.device
        rows, columns = (torch.arange(n, device=device) for n in self.size)
        up = (rows + 0.5) * before.size[0] / self.size[0]
        left = (columns + 0.5) * before.size[1] / self.size[1]
        parent = up.long()[:, None] * before.size[1] + left.long()[None, :]
        cells = before.cells[parent.flatten()]
        sheet = old.sheet[cells]
        within_y = (up - up.long() - 0.5)[:, None].expand(*self.size).flatten()
        within_x = (left - left.long() - 0.5)[None, :].expand(*self.size).flatten()
        y = (old.row[cells] + 0.5 + within_y) * (bank.height / old.height)[sheet]
        x = (old.column[cells] + 0.5 + within_x) * (bank.width / old.width)[sheet]
        row = torch.minimum(y.long(), bank.height[sheet] - 1)
        column = torch.minimum(x.long(), bank.width[sheet] - 1)
        return bank.first[sheet] + row * bank.width[sheet] + column

    def paint(self, picture: Tensor, before: _Choice, *, rounds: int) -> tuple[Tensor, _Choice]:
        """Choose and lay in once; prices follow the demand in so many rounds."""
        asked = self._asked(picture, self._wanted, self.size)
        cells, prices = before.cells, before.prices
        for turn in range(rounds):
            cells = self._choose(asked, self.size, prices, cells)
            if turn < rounds - 1:
                prices = self._priced(prices, cells)
        assert cells is not None
        painted = self._lay(cells, self.size)
        return painted, _Choice(self._bank, self.size, cells, prices)

    def paint_twice(self, picture: Tensor, before: _Choice) -> Tensor:
        """Lay in on two grids, half a cell apart, and average: no grid is left to be seen."""
        shift = CELL_PX // 2
        straight = self._asked(picture, self._wanted, self.size)
        cells = self._choose(straight, self.size, before.prices, before.cells)
        first = self._lay(cells, self.size)
        margin = (shift,) * 4
        picture = functional.pad(picture, margin, mode="replicate")
        content = functional.pad(self._content, margin, mode="replicate")
        size = (self.size[0] + 1, self.size[1] + 1)
        guess = None
        if before.cells is not None:
            grid = cells.view(1, 1, *self.size).float()
            guess = functional.pad(grid, (0, 1, 0, 1), mode="replicate").long().flatten()
        askew = self._asked(picture, self._seen(content), size)
        cells = self._choose(askew, size, before.prices, guess)
        second = self._lay(cells, size)[..., shift:-shift, shift:-shift]
        return (first + second) / 2

    def _seen(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and colours of a picture's cells."""
        return self._bank.features(picture), self._bank.colours_of(picture)

    def _asked(
        self, picture: Tensor, wanted: tuple[Tensor, Tensor], size: tuple[int, int]
    ) -> Tensor:
        """Return what each cell asks for, so that its product with an offer is their likeness."""
        share = self._share
        parts = [
            (1 - share) * here + share * there
            for here, there in zip(self._seen(picture), wanted, strict=True)
        ]
        count = parts[0].shape[0]
        styles = len(self._order.styles)
        owner = parts[0].new_zeros(count, styles)
        if self._order.masks is not None:
            owner = functional.one_hot(self._owners(size), styles).float()
        return torch.cat([*parts, owner], 1)

    def _choose(
        self, asked: Tensor, size: tuple[int, int], prices: Tensor, guess: Tensor | None
    ) -> Tensor:
        """Return the best cell of the bank for each cell, neighbours considered."""
        ask = torch.cat([asked, asked.new_ones(len(asked), 1)], 1)
        offer = torch.cat([self._offered, (self._cost - prices)[:, None]], 1)
        if guess is None or len(ask) * len(offer) <= _ALL_PAIRS:
            turned = offer.T.contiguous()
            rows = max(1, _AT_ONCE // len(offer))
            parts = [(ask[i : i + rows] @ turned).argmax(1) for i in range(0, len(ask), rows)]
            guess = torch.cat(parts)
        return self._spread(ask, offer, guess, size)

    def _spread(self, ask: Tensor, offer: Tensor, cells: Tensor, size: tuple[int, int]) -> Tensor:
        """Let each cell take what continues a neighbour's patch, where that is worth it."""
        value = (ask * offer[cells]).sum(1)
        for _ in range(_SWEEPS):
            for direction in range(len(_AROUND)):
                continued = [self._continued(cells, size, *step) for step in _AROUND]
                other = continued[direction]
                safe = other.clamp_min(0)
                worth = (ask * offer[safe]).sum(1)
                gain = worth - value
                gain += _COHERENCE * _agreeing(other, continued)
                gain -= _COHERENCE * _agreeing(cells, continued)
                better = (other >= 0) & (gain > 0)
                cells = torch.where(better, other, cells)
                value = torch.where(better, worth, value)
        return cells

    def _continued(self, cells: Tensor, size: tuple[int, int], down: int, right: int) -> Tensor:
        """Return what would lie here if the patch of the cell above (left, ...) went on."""
        height, width = size
        around = functional.pad(cells.view(size), (1, 1, 1, 1), value=-1)
        known = around[1 - down : 1 - down + height, 1 - right : 1 - right + width].flatten()
        moved = self._bank.moved(known.clamp_min(0), down, right)
        return torch.where(known >= 0, moved, -1)

    def _priced(self, prices: Tensor, cells: Tensor) -> Tensor:
        """Return prices after a round: up where more was taken than is fair, down where less.

        A cell and its mirror image are one: they are counted together and cost the same.
        """
        sheets = self._bank.sheets
        used = torch.bincount(cells, minlength=len(prices)).float()
        parts = used.split_with_sizes([h * w for h, w in sheets])
        demands = []
        for k in range(0, len(sheets), 2):
            straight, mirrored = (parts[k + i].view(1, 1, *sheets[k]) for i in range(2))
            both = straight + mirrored.flip(-1)
            around = functional.avg_pool2d(both, 5, stride=1, padding=2, count_include_pad=False)
            demands += [around.flatten(), around.flip(-1).flatten()]
        demand = torch.cat(demands) / self._fair - 1
        return prices + _PRICE * demand.clamp(-1, _DEAREST)

    def _lay(self, cells: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the picture that the chosen patches make, averaged where they overlap."""
        margin = (PATCH_PX - CELL_PX) // 2
        height, width = size[0] * CELL_PX, size[1] * CELL_PX
        around = (height + 2 * margin, width + 2 * margin)
        places = torch.arange(PATCH_PX, device=cells.device) - (PATCH_PX - 1) / 2
        line = torch.exp(-0.5 * (places / (PATCH_PX / 4)).square())
        window = (line[:, None] * line[None, :]).flatten().repeat(3)
        laid = self._bank.patches[cells] * window
        total = functional.fold(laid.T[None], around, PATCH_PX, stride=CELL_PX)
        whole = window[None, :, None].expand(1, -1, len(cells))
        weight = functional.fold(whole, around, PATCH_PX, stride=CELL_PX)
        inner = (slice(None), slice(None), slice(margin, -margin), slice(margin, -margin))
        return (total[inner] / weight[inner]).clamp_(0, 1)


def _agreeing(wanted: Tensor, continued: Sequence[Tensor]) -> Tensor:
    """Return how many of the four neighbours' patches would go on in the wanted cells."""
    count = torch.zeros_like(wanted, dtype=torch.float32)
    for there in continued:
        count += there == wanted
    return count
