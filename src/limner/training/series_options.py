"""How series are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from limner.errors import InputError, UnknownNameError

OtherLength = Literal["refuse", "pad", "crop"]
Gaps = Literal["refuse", "fill"]
Cut = Literal["beats", "records"]

BEFORE_S = 1.0
AFTER_S = 0.5


@dataclass(frozen=True)
class SeriesOptions:
    """How series are read.

    Attributes:
        other_length: `refuse` series of different lengths, `pad` the shorter ones with their
            last sample, or `crop` the longer ones.
        gaps: `refuse` samples that are missing (NaN), or `fill` them on a straight line
            between their neighbours.
        classes: Keep only these labels; empty for all.
        before_s: Seconds of a beat before its R peak (WFDB).
        after_s: Seconds after it.
        label: Where labels are. In text: a column's heading, ``first`` or ``last``. In a WFDB
            header: the word before the colon of a comment. In `labels`: a column's heading.
        group: A column's heading whose equal values belong together (a patient).
        labels: A CSV file that labels whole records, as PTB-XL has it: a column with their
            paths, one with their labels.
        cut: Whether an item of a WFDB record is one of its `beats`, or the whole of the
            `records`; None for whole ones where labels are of records, else beats.
        leads: Which leads of records, in this order; empty for those that most records have.
    """

    other_length: OtherLength = "refuse"
    gaps: Gaps = "refuse"
    classes: tuple[str, ...] = ()
    before_s: float = BEFORE_S
    after_s: float = AFTER_S
    label: str | None = None
    group: str | None = None
    labels: Path | None = None
    cut: Cut | None = None
    leads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.other_length not in get_args(OtherLength):
            raise UnknownNameError(
                f"other_length must be 'refuse', 'pad' or 'crop', got {self.other_length!r}."
            )
        if self.gaps not in get_args(Gaps):
            raise UnknownNameError(f"gaps must be 'refuse' or 'fill', got {self.gaps!r}.")
        if self.cut is not None and self.cut not in get_args(Cut):
            raise UnknownNameError(f"cut must be 'beats' or 'records', got {self.cut!r}.")
        if self.before_s < 0 or self.after_s <= 0:
            raise InputError(
                "a beat's window needs before_s of 0 or more and after_s above 0, got "
                f"{self.before_s} and {self.after_s} seconds."
            )
