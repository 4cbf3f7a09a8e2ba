"""``limner evaluate``: figures of an embedder on labelled photos, and fitting thresholds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limner.cli import output
from limner.cli.options import FindOptions, JsonOption, ModelOptions, grouped
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.evaluation.curves import RateAt
    from limner.faces import Embedder, YuNet
    from limner.similarity import Calibration

app = typer.Typer(
    help="Measure an embedder on labelled photos; fit its thresholds.",
    no_args_is_help=True,
    add_completion=False,
)

ImagesOption = Annotated[
    str, typer.Option("--images", metavar="DIR", help="Folder of NAME/NAME_0001.jpg.")
]
MirrorOption = Annotated[
    bool,
    typer.Option(
        "--mirror/--no-mirror",
        help="Average mirrored chips in: more accurate, twice the work. duo always does.",
    ),
]
OutOption = Annotated[
    str | None,
    typer.Option("-o", "--out", metavar="DIR", help="Folder for plots and report.json."),
]
CacheOption = Annotated[
    str | None,
    typer.Option("--cache", metavar="DIR", help="Keep embeddings here, for the next run."),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Seed of the bootstrap and of drawn folds.")
]


@app.command()
@grouped
def pairs(
    images: ImagesOption,
    pairs: Annotated[
        str, typer.Option("--pairs", metavar="FILE", help="LFW pairs file, or path1,path2,same.")
    ],
    *,
    model: ModelOptions,
    find: FindOptions,
    mirror: MirrorOption = False,
    out: OutOption = None,
    cache: CacheOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Verification: accuracy over folds, AUC, EER and TAR at fixed false accept rates."""
    from limner import evaluation

    evaluation.read_pairs(pairs).locate(images)  # before any model is fetched
    folder = _prepare(out)
    embedder, detector = _models(model, find, mirror)
    with _progress() as (start, step):
        report = evaluation.evaluate_pairs(
            pairs,
            images,
            embedder,
            detector=detector,
            cache=cache,
            seed=seed,
            on_start=start,
            on_photo=step,
        )
    files = [] if folder is None else evaluation.save_pairs(report, folder)
    document = {**report.to_json(), "files": [str(path) for path in files]}
    if json:
        output.emit_json(document)
        return
    scores = report.scores
    rows = [
        (
            "accuracy",
            _percent(scores.accuracy, 2),
            f"± {_percent(scores.accuracy_std, 2)} over {scores.accuracies.size} folds",
        ),
        ("AUC", f"{scores.auc:.5f}", _span(scores.auc_interval, plain=True)),
        ("EER", _percent(scores.eer, 2), _span(scores.eer_interval)),
        *(_rate_row(f"TAR at FAR {rate.bound:g}", rate) for rate in scores.tar_at_far),
    ]
    _print(rows, scores.tar_at_far, document, noun="pairs", count=len(report.pairs))


@app.command()
@grouped
def identification(
    images: ImagesOption,
    *,
    model: ModelOptions,
    find: FindOptions,
    mirror: MirrorOption = False,
    out: OutOption = None,
    cache: CacheOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Open-set identification: rank 1, and TPIR at fixed false-positive rates.

    One photo a person is enrolled, the others are probes; one-photo people are strangers.
    """
    from limner import evaluation
    from limner.cli.photos import tell_left_out

    folder = _prepare(out)
    embedder, detector = _models(model, find, mirror)
    tell_left_out(images)
    with _progress() as (start, step):
        report = evaluation.evaluate_identification(
            images,
            embedder,
            detector=detector,
            cache=cache,
            seed=seed,
            on_start=start,
            on_photo=step,
        )
    files = [] if folder is None else evaluation.save_identification(report, folder)
    document = {**report.to_json(), "files": [str(path) for path in files]}
    if json:
        output.emit_json(document)
        return
    scores = report.scores
    rows = [
        ("rank 1", _percent(scores.rank1), _span(scores.rank1_interval)),
        *(_rate_row(f"TPIR at FPIR {rate.bound:g}", rate) for rate in scores.tpir_at_fpir),
    ]
    _print(rows, scores.tpir_at_fpir, document, noun="probes", count=int(scores.rank.size))
    output.say(
        f"{scores.enrolled:,} people enrolled from one photo, "
        f"{scores.stranger_distance.size:,} strangers"
    )


@app.command()
@grouped
def fit(
    images: ImagesOption,
    train: Annotated[
        str, typer.Option("--train", metavar="FILE", help="Pairs to fit on (pairsDevTrain.txt).")
    ],
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="FILE.json", help="Calibration file to write.")
    ],
    test: Annotated[
        str | None,
        typer.Option("--test", metavar="FILE", help="Pairs to check on (pairsDevTest.txt)."),
    ] = None,
    *,
    model: ModelOptions,
    find: FindOptions,
    mirror: MirrorOption = False,
    cache: CacheOption = None,
    fitted_on: Annotated[
        str | None, typer.Option("--fitted-on", metavar="WORDS", help="The data, in words.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Fit pair heads and the table of false-match rates; check them on other pairs."""
    from limner import evaluation

    _check_target(out)
    for file in (train, test):
        if file is not None:
            evaluation.read_pairs(file).locate(images)
    embedder, detector = _models(model, find, mirror)
    with _progress() as (start, step):
        calibration = evaluation.fit_from_files(
            train,
            test,
            images,
            embedder,
            fitted_on=fitted_on,
            detector=detector,
            cache=cache,
            on_start=start,
            on_photo=step,
        )
    calibration.save(out)
    if json:
        output.emit_json({"calibration": calibration.to_json(), "file": out})
        return
    _print_calibration(calibration)
    output.say(f"{calibration.embedder_id}: written to {out}")


# --- what the commands share ------------------------------------------------------------


def _prepare(out: str | None) -> Path | None:
    from limner.evaluation.report import prepare_folder

    return None if out is None else prepare_folder(out)


def _check_target(out: str) -> None:
    target = Path(out)
    if target.is_dir():
        raise InputError(f"{out} is a folder; name the calibration file to write.")
    if not target.resolve().parent.is_dir():
        raise InputError(f"the folder {target.parent} does not exist; make it first.")


def _models(model: ModelOptions, find: FindOptions, mirror: bool) -> tuple[Embedder, YuNet]:
    """Load what the options ask for, and show what has to be fetched first."""
    from limner import weights
    from limner.cli.photos import DETECTOR, onnx_options
    from limner.faces import YuNet, load_embedder
    from limner.weights.registry import DEFAULT_EMBEDDER

    chosen = model.embedder or DEFAULT_EMBEDDER
    names = [DETECTOR] + ([chosen] if chosen in weights.names() else [])
    for name in names:
        with output.fetch_progress() as progress:
            weights.load(name, progress=progress)
    embedder = load_embedder(
        chosen, device=model.device, mirror=mirror, options=onnx_options(model)
    )
    return embedder, YuNet(min_score=find.min_score, min_size=find.min_size, threads=1)


@contextlib.contextmanager
def _progress() -> Iterator[tuple[Callable[[int], None], Callable[[], None]]]:
    """Yield the two callbacks of a driver: the number of photos, and one photo done."""
    with contextlib.ExitStack() as stack:
        steps: list[Callable[[], None]] = []

        def start(photos: int) -> None:
            steps.append(stack.enter_context(output.progress_bar("photos", photos)))

        yield start, lambda: steps[0]()


def _percent(value: float, places: int = 1) -> str:
    return f"{100 * value:.{places}f} %"


def _span(interval: tuple[float, float], *, plain: bool = False) -> str:
    low, high = interval
    if plain:
        return f"{low:.5f} to {high:.5f}"
    return f"{_percent(low, 2)} to {_percent(high, 2)}"


def _rate_row(name: str, rate: RateAt) -> tuple[str, str | None, str | None]:
    if rate.value is None or rate.low is None or rate.high is None:
        return name, None, None
    return name, _percent(rate.value, 2), _span((rate.low, rate.high))


def _print(
    rows: Sequence[tuple[str, str | None, str | None]],
    rates: Sequence[RateAt],
    document: dict[str, Any],
    *,
    noun: str,
    count: int,
) -> None:
    output.print_table(("figure", "value", "95 % interval"), rows, right=("value",))
    for rate in rates:
        if rate.note:
            output.say(f"rate {rate.bound:g} {rate.note}")
    faceless = document["no_face"]
    output.say(
        f"{document['embedder']}: {count:,} {noun}, {document['photos']:,} photos, "
        f"{document['seconds']:.1f} s"
    )
    if faceless["photos"]:
        first = ", ".join(faceless["first"][:5])
        output.warn(f"no face was found in {faceless['photos']:,} photos: {first}")
    for path in document["files"]:
        output.say(f"written: {path}")


def _print_calibration(calibration: Calibration) -> None:
    heads: dict[str, dict[str, float]] = calibration.figures.get("heads", {})
    rows = [
        (
            kind,
            f"{calibration.heads[kind].threshold:.4f}",
            *(_percent(f["accuracy"], 2), f"{f['log_loss']:.4f}", f"{f['ece']:.4f}"),
        )
        for kind, f in heads.items()
    ]
    columns = ("head", "threshold", "accuracy", "log loss", "calibration error")
    if rows:
        output.print_table(columns, rows, right=columns[1:])
    rates = [(f"{rate:g}", f"{tau:.4f}") for rate, tau in calibration.false_match]
    output.say()
    output.print_table(
        ("false-match rate", "threshold"), rates, right=("false-match rate", "threshold")
    )
