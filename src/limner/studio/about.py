"""The tab About: which weights, which licences, how sure, and where the method ends."""

from __future__ import annotations

from importlib.metadata import version

from limner import weights
from limner.errors import LimnerError
from limner.similarity.verdicts import Verdicts
from limner.studio import markup
from limner.studio.desk import Desk
from limner.studio.events import Outcome, html

_LIMITS = (
    (
        "A probability is not a proof.",
        "It was measured on press photographs of grown-ups, mostly of public figures from the "
        "United States. For children, for poor light, for veils and masks, and for groups that "
        "such photographs show rarely, errors are more frequent than it says.",
    ),
    (
        "A photo of a photo counts.",
        "Nothing here tells a living face from a picture on a screen or a mask. Do not open "
        "doors with it.",
    ),
    (
        "Relatives look alike.",
        "Twins and near relatives may be taken for each other; so may one in a hundred "
        "strangers, in a gallery of any size.",
    ),
    (
        "Ask before you enrol.",
        "In many countries a face's embedding is biometric data: whoever is enrolled must have "
        "agreed, and can ask to be forgotten.",
    ),
    (
        "What is kept.",
        "Embeddings and names, in the gallery file on this machine. Uploads are deleted within "
        "half an hour; paintings after a day. Nothing is sent anywhere.",
    ),
)


def build(desk: Desk) -> Outcome:
    """Lay the tab out; return what fills it when it is opened first."""
    page = html(elem_id="about")
    return Outcome(lambda request: render(desk), [page], again=True)


def render(desk: Desk) -> str:
    """Return the page: the gallery's calibration, the limits, the models."""
    limits = "".join(f"<h3>{title}</h3><p>{words}</p>" for title, words in _LIMITS)
    return (
        f"{_calibration(desk)}<h2>Limits</h2><div class='l-prose'>{limits}</div>"
        f"<h2>Models</h2>{_models()}<p class='l-soft'>limner {version('limner')}, Apache-2.0. "
        "The HTTP interface is described at /openapi.json.</p>"
    )


def _calibration(desk: Desk) -> str:
    try:
        desk.wait()
        gallery, embedder = desk.engine.gallery, desk.engine.pool.embedder.embedder_id
        info = gallery.info()
    except LimnerError as error:
        return markup.problem(error)
    verdicts = Verdicts.of(embedder, gallery.own_calibration, "")
    two, many = verdicts.verify_threshold(), verdicts.identify_threshold(info.faces)
    return "<h2>This gallery</h2>" + markup.definition(
        (
            ("Embedder", f"<code>{markup.esc(embedder)}</code>"),
            ("People", f"{info.people:,}, from {info.faces:,} photos"),
            ("Calibration", markup.esc(verdicts.words or "none: no probability is given")),
            ("tau for two photos", _tau(two)),
            ("tau for who is this", _tau(many)),
            ("Kept face crops", f"{info.chips:,}"),
        )
    )


def _tau(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _models() -> str:
    rows = ""
    for name in weights.names():
        spec = weights.spec(name)
        here = "here" if weights.status(name).state == "ready" else "fetched when needed"
        rows += (
            f'<tr><th scope="row">{markup.esc(name)}</th><td>{markup.esc(spec.title)}</td>'
            f"<td>{markup.esc(spec.licence)}</td><td>{here}</td></tr>"
        )
    head = "".join(
        f'<th scope="col">{word}</th>' for word in ("Name", "What", "Licence", "Weights")
    )
    return (
        '<div class="l-wide" tabindex="0" role="region" aria-label="Models"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
