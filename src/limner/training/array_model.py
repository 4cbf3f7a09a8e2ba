"""A trained classifier or embedder of signals or volumes: scores, class maps, embeddings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from limner import device as devices
from limner.errors import InputError, ShapeError, UnknownNameError
from limner.similarity import PairHead
from limner.training.depths import inner_depth
from limner.training.samples import FloatArray, Layout
from limner.types import Embedding

if TYPE_CHECKING:
    from limner.nets.nd import TrunkAndHead

Kind = Literal["series", "volumes"]
Net = Literal["resnet", "frmodel", "frmodel_half", "nn4_small2", "nn4_small2_half"]
Scaling = Literal["each", "training"]

DESCRIPTION, REFERENCE = "model.json", "reference.npz"
VERSION = 1
NEIGHBOURS = 5
_BATCH = {1: 256, 3: 32}


@dataclass(frozen=True)
class ArrayNet:
    """What the network is and how its input is prepared.

    Attributes:
        kind: `series` or `volumes`.
        net: `resnet` (`SmallResNet`), `frmodel` (the notes' `FRModelNet`) or `nn4_small2`
            (OpenFace's `Nn4Small2`); with `_half`, half of every width.
        shape: Channels and sides of what it reads.
        classes: Names, in the order of the scores.
        width: Channels of the first stage of a `resnet`.
        embedding: Width of the embedding where a metric loss trained it; None for a
            classifier.
        members: How many networks answer together.
        depths: Whether each channel gets another beside it: how far every voxel lies inside
            the body, for volumes that are masks (`inner_depth`).
        scaling: `each` item by its own mean and deviation, channel by channel, or by those
            of the `training` set.
        mean: Per channel, for `training`.
        std: Per channel, for `training`.
        dropout: Share of features left out before the last layer in training.
        layout: How what it was trained on was read.
        several: Whether an item may be of several classes at once; each score is then a
            probability of its own.
    """

    kind: Kind
    net: Net
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    width: int = 16
    embedding: int | None = None
    members: int = 1
    depths: bool = False
    scaling: Scaling = "each"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    dropout: float = 0.0
    layout: Layout = field(default_factory=Layout)
    several: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("kind", Kind), ("net", Net), ("scaling", Scaling)):
            if getattr(self, name) not in get_args(allowed):
                raise UnknownNameError(
                    f"{name} must be one of {', '.join(get_args(allowed))}, "
                    f"got {getattr(self, name)!r}."
                )

    @property
    def dims(self) -> Literal[1, 3]:
        """1 for series, 3 for volumes."""
        return 1 if self.kind == "series" else 3

    def build(self) -> TrunkAndHead:
        """Return one untrained network."""
        import torch

        from limner.nets.inception import FRModelNet
        from limner.nets.nd import SmallResNet
        from limner.nets.nn4_small2 import Nn4Small2

        classes = len(self.classes) if self.embedding is None else None
        if self.net == "resnet":
            resnet = SmallResNet(
                self.dims,
                self.channels,
                classes=classes,
                embedding=self.embedding,
                width=self.width,
                stem_stride=self._stem_stride(),
                dropout=self.dropout,
            )
            if self.dims == 3:  # a quarter faster on a CPU
                return resnet.to(memory_format=torch.channels_last_3d)
            return resnet
        make = FRModelNet if self.net.startswith("frmodel") else Nn4Small2
        size: Literal["full", "half"] = "half" if self.net.endswith("_half") else "full"
        return make(self.dims, self.channels, self.embedding or 1, size=size, classes=classes)

    @property
    def channels(self) -> int:
        """Channels that the network itself reads."""
        return self.shape[0] * (2 if self.depths else 1)

    def _stem_stride(self) -> int:
        """Return the first step: long series and volumes are looked at more coarsely."""
        if self.dims == 3:  # 28 voxels a side are as much work as a picture of 148
            return min(4, max(1, min(self.shape[1:]) // 7))
        return min(4, max(1, self.shape[1] // 128))

    def scale(self, values: FloatArray) -> FloatArray:
        """Bring values (N, C, ...) to mean 0 and deviation 1; a flat item becomes zeros."""
        if self.scaling == "training":
            shape = (1, -1) + (1,) * self.dims
            mean = np.array(self.mean, np.float32).reshape(shape)
            std = np.array(self.std, np.float32).reshape(shape)
        else:
            axes = tuple(range(2, 2 + self.dims))
            mean = values.mean(axis=axes, keepdims=True)
            std = values.std(axis=axes, keepdims=True)
        scaled: FloatArray = np.asarray(
            (values - mean) / np.where(std > 1e-8, std, 1), dtype=np.float32
        )
        return np.concatenate([scaled, inner_depth(values)], axis=1) if self.depths else scaled


@dataclass(frozen=True, eq=False)
class ArrayModel:
    """Trained networks that answer together, and the training items to compare with.

    Attributes:
        net: What they are.
        members: The networks, in evaluation mode.
        reference: Embeddings of the training items, shape (N, D), unit rows.
        reference_labels: Shape (N,), into the classes.
        reference_names: Shape (N,).
        figures: What was measured when it was trained.
        flips: Whether volumes are also read mirrored, and the scores averaged.
        device: Where it computes, as `limner.device.resolve` returns it.
        head: Turns the distance of two embeddings into the probability of one class; None
            where there were too few pairs to fit it.
    """

    net: ArrayNet
    members: tuple[TrunkAndHead, ...]
    reference: FloatArray
    reference_labels: NDArray[np.int64]
    reference_names: tuple[str, ...]
    figures: dict[str, Any] = field(default_factory=dict)
    flips: bool = False
    head: PairHead | None = None
    device: str = "cpu"

    def scores(self, values: FloatArray) -> FloatArray:
        """Return the probability of each class.

        Args:
            values: Shape (N, C, ...), unscaled, as the model was trained on.

        Returns:
            Shape (N, classes), rows that sum to 1. A classifier's are the mean softmax of
            its members; an embedder's are the votes of the nearest training items. Where an
            item may be of several classes each score lies in [0, 1] by itself.

        Raises:
            ShapeError: If the shape is not the one that the model reads.
        """
        if self.net.embedding is None:
            import torch

            if self.net.several:
                return self._run(values, lambda net, x: torch.sigmoid(net(x)))
            return self._run(values, lambda net, x: torch.softmax(net(x), dim=1))
        vectors = self.vectors(values)
        near = vectors @ self.reference.T
        count = min(NEIGHBOURS, near.shape[1])
        order = np.argsort(-near, axis=1)[:, :count]
        votes = np.zeros((len(values), len(self.net.classes)), np.float32)
        for row, picks in enumerate(order):
            np.add.at(votes[row], self.reference_labels[picks], 1.0 / count)
        return votes

    def class_maps(self, values: FloatArray) -> FloatArray:
        """Return how much each place speaks for each class.

        Args:
            values: Shape (N, C, ...), unscaled.

        Returns:
            Shape (N, classes, the sides of the input): the maps of
            `TrunkAndHead.class_maps`, averaged over members and enlarged linearly. For an
            embedder: the direction of each class's mean training embedding.
        """
        import torch
        from torch.nn import functional

        mode = "linear" if self.net.dims == 1 else "trilinear"
        means: torch.Tensor | None = None
        if self.net.embedding is not None:
            width = self.net.embedding
            rows = [
                self.reference[self.reference_labels == i].mean(axis=0)
                if (self.reference_labels == i).any()
                else np.zeros(self.reference.shape[1], np.float32)
                for i in range(len(self.net.classes))
            ]
            means = torch.from_numpy(np.stack(rows))
        total: FloatArray | None = None
        for number, net in enumerate(self.members):

            def maps(_: TrunkAndHead, x: torch.Tensor, n: int = number) -> torch.Tensor:
                found = self.members[n].class_maps(x)
                if means is not None:
                    own = means[:, n * width : (n + 1) * width].to(found.device)
                    found = torch.einsum("ke,ne...->nk...", own, found)
                size = list(x.shape[2:])
                return functional.interpolate(found, size=size, mode=mode, align_corners=False)

            part = self._run(values, maps, nets=[net], flips=False)
            total = part if total is None else total + part
        assert total is not None
        return np.asarray(total / len(self.members), dtype=np.float32)

    def vectors(self, values: FloatArray) -> FloatArray:
        """Return embeddings as rows of unit length, shape (N, D).

        A classifier's embedding is its averaged maps, before the last layer. Members stand
        side by side, each with the same weight.
        """
        return np.concatenate(
            [
                self._run(values, _embed, nets=[net], flips=False) / len(self.members) ** 0.5
                for net in self.members
            ],
            axis=1,
        )

    def embed(self, values: FloatArray) -> list[Embedding]:
        """Return embeddings that `limner.gallery` and the pair heads take."""
        return [Embedding(vector, self.embedder_id) for vector in self.vectors(values)]

    @property
    def embedder_id(self) -> str:
        """Kind, net and digest of the weights."""
        digest = hashlib.sha256()
        for net in self.members:
            for name, tensor in sorted(net.state_dict().items()):
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return f"{self.net.kind}-{self.net.net}:{digest.hexdigest()[:12]}:v{VERSION}"

    def check(self, values: FloatArray) -> None:
        """Refuse items of another shape.

        Raises:
            ShapeError: If (C, sides) is not what the model reads.
        """
        if tuple(values.shape[1:]) != self.net.shape:
            words = "leads and samples" if self.net.dims == 1 else "channels and voxels"
            raise ShapeError(
                f"this model reads {self.net.kind} of {self.net.shape} ({words}), got "
                f"{tuple(values.shape[1:])}."
            )

    def _run(
        self,
        values: FloatArray,
        function: Any,
        *,
        nets: Sequence[TrunkAndHead] | None = None,
        flips: bool | None = None,
    ) -> FloatArray:
        """Average a function of a network over members (and mirrored volumes), in batches."""
        import torch

        self.check(values)
        scaled = torch.from_numpy(self.net.scale(values))
        mirrored: list[list[int]] = [[]]
        if self.flips if flips is None else flips:
            mirrored = [[], [2], [3], [4], [2, 3], [2, 4], [3, 4], [2, 3, 4]]
        parts = []
        chosen = [net.to(self.device) for net in (self.members if nets is None else nets)]
        with torch.inference_mode():
            for x in torch.split(scaled, _BATCH[self.net.dims]):
                x = x.to(self.device)
                answers = [function(net, x.flip(axes)) for net in chosen for axes in mirrored]
                parts.append(torch.stack(answers).mean(dim=0).cpu())
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)

    # --- files --------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write the model: `DESCRIPTION`, one safetensors file a member, `REFERENCE`.

        Raises:
            InputError: If it cannot be written.
        """
        from limner.training.checkpoints import save_weights

        target = Path(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
            for number, net in enumerate(self.members):
                save_weights(target / f"member_{number}.safetensors", net.state_dict())
            with open(target / REFERENCE, "wb") as stream:
                np.savez_compressed(
                    stream,
                    vectors=self.reference,
                    labels=self.reference_labels,
                    names=np.array(self.reference_names, dtype=np.str_),
                )
            document = {
                "format": VERSION,
                "embedder_id": self.embedder_id,
                **asdict(self.net),
                "flips": self.flips,
                "head": None if self.head is None else self.head.to_json(),
                "figures": self.figures,
            }
            (target / DESCRIPTION).write_text(json.dumps(document, indent=2) + "\n")
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error.strerror}.") from error


def load_model(folder: str | Path, *, device: str = "cpu") -> ArrayModel:
    """Read a model that `ArrayModel.save` wrote.

    Args:
        folder: Where it is.
        device: Where it computes, as `limner.device.resolve` takes it.

    Raises:
        InputError: If the folder is not such a model, or is damaged.
    """
    from limner.training.checkpoints import load_weights

    source = Path(folder)
    try:
        document = json.loads((source / DESCRIPTION).read_text())
        with np.load(source / REFERENCE, allow_pickle=False) as held:
            vectors, labels, names = held["vectors"], held["labels"], held["names"]
    except FileNotFoundError:
        raise InputError(
            f"{folder} is not a model of series or volumes: it lacks {DESCRIPTION} or "
            f"{REFERENCE}; make one with limner train series or limner train volumes."
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder} cannot be read as a model: {error}.") from error
    if document.get("format") != VERSION:
        raise InputError(
            f"{folder} has format {document.get('format')}, this limner reads {VERSION}."
        )
    fields = ArrayNet.__dataclass_fields__
    values: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in document.items()
    }
    values["layout"] = Layout.from_json(values.get("layout", {}))
    net = ArrayNet(**{k: v for k, v in values.items() if k in fields})
    members = []
    for number in range(net.members):
        member = net.build()
        try:
            member.load_state_dict(load_weights(source / f"member_{number}.safetensors"))
        except RuntimeError as error:
            raise InputError(f"{folder}: member {number} has other weights: {error}.") from error
        members.append(member.eval())
    return ArrayModel(
        net,
        tuple(members),
        vectors,
        labels,
        tuple(str(name) for name in names),
        document["figures"],
        bool(document["flips"]),
        None if document["head"] is None else PairHead.from_json(document["head"]),
        devices.resolve(device),
    )


def _embed(net: TrunkAndHead, x: Any) -> Any:
    """Return a member's unit-length embedding of a batch."""
    from torch.nn import functional

    return net(x) if net.unit_length else functional.normalize(net.features(x), dim=1)
