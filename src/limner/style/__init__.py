"""Neural style transfer: paint one picture in the manner of another.

`stylize` takes a content picture and one or several styles and returns a `StyleResult`;
`preset` gives the options of a named look, with changes. Saving, provenance and the losses
are modules of their own: `limner.style.saving`, `.provenance`, `.losses`.
"""

from limner.style.level import Step
from limner.style.presets import PRESETS, StyleOptions, preset
from limner.style.stylize import StyleResult, stylize

__all__ = ["PRESETS", "Step", "StyleOptions", "StyleResult", "preset", "stylize"]
