"""Options of the commands for signals and volumes, each declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from limner.errors import InputError

if TYPE_CHECKING:
    from limner.training.array_fit import ArrayRecipe
    from limner.training.series_options import SeriesOptions
    from limner.training.volume_options import VolumeOptions

_READING = "Reading"
_TRAINING = "Training"

OutOption = Annotated[
    str | None,
    typer.Option("--out", "-o", metavar="DIR", help="Write the model here. Default: nowhere."),
]
TestOption = Annotated[
    str | None, typer.Option("--test", metavar="FILE", help="Test on this. Default: see above.")
]
PlotOption = Annotated[
    str | None,
    typer.Option("--plot", metavar="OUT.png", help="Draw items and what the network looked at."),
]
GapsOption = Annotated[
    Literal["refuse", "fill"],
    typer.Option(
        "--gaps",
        help="Missing samples, voxels or slices: refuse them, or fill them.",
        rich_help_panel=_READING,
    ),
]
ItemsOption = Annotated[int, typer.Option("--items", help="Items in the picture, 1 to 12.")]


@dataclass(frozen=True)
class FitOptions:
    """How a network of signals or volumes is built and trained."""

    seed: Annotated[int, typer.Option("--seed", help="Of everything that is drawn.")] = 0
    hold_out: Annotated[
        float, typer.Option("--hold-out", help="Share held out where there is no test data.")
    ] = 0.2
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="WORD",
            help="What stays together then: record, patient, time, item, or a CSV column. "
            "Default: record or patient where the files say it.",
        ),
    ] = None
    net: Annotated[
        Literal["resnet", "frmodel", "frmodel_half", "nn4_small2", "nn4_small2_half"],
        typer.Option(
            "--net",
            help="resnet, frmodel (the notes' Inception), nn4_small2, or these with half widths.",
            rich_help_panel=_TRAINING,
        ),
    ] = "resnet"
    width: Annotated[
        int | None,
        typer.Option(
            "--width", help="Channels of a resnet's first stage.", rich_help_panel=_TRAINING
        ),
    ] = None
    members: Annotated[
        int | None,
        typer.Option("--members", help="Networks that answer together.", rich_help_panel=_TRAINING),
    ] = None
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", help="Passes over the data.", rich_help_panel=_TRAINING),
    ] = None
    batch: Annotated[
        int, typer.Option("--batch", help="Items in a batch.", rich_help_panel=_TRAINING)
    ] = 32
    rate: Annotated[
        float, typer.Option("--rate", help="Highest learning rate.", rich_help_panel=_TRAINING)
    ] = 2e-3
    loss: Annotated[
        str,
        typer.Option(
            "--loss",
            help="nll or focal for a classifier; triplet, contrastive, pairwise, softmax, center, "
            "asoftmax, cosface or arcface for an embedding.",
            rich_help_panel=_TRAINING,
        ),
    ] = "nll"
    miner: Annotated[
        str | None,
        typer.Option(
            "--miner",
            help="Of the triplet loss: random, all, semihard, hard or batch_hard.",
            rich_help_panel=_TRAINING,
        ),
    ] = None
    embedding: Annotated[
        int | None,
        typer.Option(
            "--embedding",
            help="Width of the embedding; 64 if not given.",
            rich_help_panel=_TRAINING,
        ),
    ] = None
    balance: Annotated[
        bool,
        typer.Option(
            "--balance",
            help="Every class fills an equal part of a batch.",
            rich_help_panel=_TRAINING,
        ),
    ] = False
    scaling: Annotated[
        Literal["each", "training"] | None,
        typer.Option(
            "--scaling",
            help="Mean 0 and deviation 1 for each item, or by the training set.",
            rich_help_panel=_TRAINING,
        ),
    ] = None
    precision: Annotated[
        Literal["32", "bf16", "16"],
        typer.Option("--precision", help="Arithmetic of the training.", rich_help_panel=_TRAINING),
    ] = "32"
    device: Annotated[
        str,
        typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...", rich_help_panel=_TRAINING),
    ] = "auto"
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            help="Stop after the epoch that reaches this; limner train resume goes on.",
            rich_help_panel=_TRAINING,
        ),
    ] = None

    def recipe(self, default: ArrayRecipe, distortion: Any) -> ArrayRecipe:
        """Return the recipe that these options describe.

        Raises:
            InputError: If an option was given that the loss or network does not use.
        """
        from dataclasses import replace

        from limner.training.array_fit import CLASSIFIER_LOSSES

        if self.loss in CLASSIFIER_LOSSES and self.embedding is not None:
            raise InputError(
                f"--embedding is for losses that train an embedding; {self.loss} trains a "
                "classifier: leave it out, or choose another --loss."
            )
        if self.miner is not None and self.loss != "triplet":
            raise InputError(f"--miner is for the triplet loss, got --loss {self.loss}.")
        if self.width is not None and self.net != "resnet":
            raise InputError(f"--width is for --net resnet, got --net {self.net}.")
        return replace(
            default,
            epochs=default.epochs if self.epochs is None else self.epochs,
            batch=self.batch,
            rate=self.rate,
            loss=self.loss,
            miner=self.miner or default.miner,
            balance=self.balance,
            precision=self.precision,
            distortion=distortion,
        )

    def network(self) -> dict[str, Any]:
        """Return keyword arguments of `train_series` and `train_volumes`: network and run."""
        from limner.training.array_fit import CLASSIFIER_LOSSES

        given = {
            "width": self.width,
            "members": self.members,
            "scaling": self.scaling,
            "embedding": None if self.loss in CLASSIFIER_LOSSES else self.embedding or 64,
        }
        run = {
            "seed": self.seed,
            "hold_out": self.hold_out,
            "group": self.group,
            "device": self.device,
            "seconds": None if self.minutes is None else self.minutes * 60.0,
        }
        return {"net": self.net, **run, **{k: v for k, v in given.items() if v is not None}}


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


@dataclass(frozen=True)
class SeriesReading:
    """How files of series are read."""

    classes: Annotated[
        str | None,
        typer.Option(
            "--classes", metavar="A,B", help="Keep only these labels.", rich_help_panel=_READING
        ),
    ] = None
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            metavar="NAME",
            help="Where labels are: a column's heading, first or last; of records, a word of the "
            "header.",
            rich_help_panel=_READING,
        ),
    ] = None
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="FILE.csv",
            help="Labels of whole records, as PTB-XL has them.",
            rich_help_panel=_READING,
        ),
    ] = None
    cut: Annotated[
        Literal["beats", "records"] | None,
        typer.Option(
            "--cut",
            help="Items of records: their beats, or the records whole. Default: beats, whole where "
            "labels are of records.",
            rich_help_panel=_READING,
        ),
    ] = None
    leads: Annotated[
        str | None,
        typer.Option(
            "--leads",
            metavar="A,B",
            help="Leads of records, in this order. Default: those that most records have.",
            rich_help_panel=_READING,
        ),
    ] = None
    other_length: Annotated[
        Literal["refuse", "pad", "crop"],
        typer.Option(
            "--other-length",
            help="Series of other lengths: refuse them, pad shorter ones or crop longer ones.",
            rich_help_panel=_READING,
        ),
    ] = "refuse"
    before: Annotated[
        float,
        typer.Option(
            "--before",
            metavar="S",
            help="Seconds before a beat's R peak.",
            rich_help_panel=_READING,
        ),
    ] = 1.0
    after: Annotated[
        float,
        typer.Option("--after", metavar="S", help="Seconds after it.", rich_help_panel=_READING),
    ] = 0.5

    def options(
        self, gaps: Literal["refuse", "fill"], *, group: str | None = None
    ) -> SeriesOptions:
        """Return how to read."""
        from pathlib import Path

        from limner.training.series_options import SeriesOptions

        return SeriesOptions(
            other_length=self.other_length,
            gaps=gaps,
            classes=_words(self.classes),
            label=self.label,
            group=group,
            labels=None if self.labels is None else Path(self.labels),
            cut=self.cut,
            leads=_words(self.leads),
            before_s=self.before,
            after_s=self.after,
        )


@dataclass(frozen=True)
class VolumeReading:
    """How files of volumes are read."""

    larger: Annotated[
        Literal["refuse", "crop"],
        typer.Option(
            "--larger",
            help="Volumes of more than 134 million voxels: refuse, or crop the middle.",
            rich_help_panel=_READING,
        ),
    ] = "refuse"
    frame: Annotated[
        int | None,
        typer.Option(
            "--frame",
            help="Which volume of a 4-D NIfTI, or of a DICOM series with several at the same "
            "places, from 0.",
            rich_help_panel=_READING,
        ),
    ] = None
    series: Annotated[
        str | None,
        typer.Option(
            "--series",
            metavar="WORD",
            help="Which series of DICOM folders with several: its number, description or UID.",
            rich_help_panel=_READING,
        ),
    ] = None

    def options(self, gaps: Literal["refuse", "fill"], side: int | None = None) -> VolumeOptions:
        """Return how to read."""
        from limner.training.volume_options import VolumeOptions

        return VolumeOptions(
            side=side, larger=self.larger, frame=self.frame, gaps=gaps, series=self.series
        )
