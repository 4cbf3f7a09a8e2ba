"""``limner style-train``: a feed-forward stylizer of one's own, for one painting."""

from __future__ import annotations

import json as json_text
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limner.cli import output
from limner.cli.options import DeviceOption, JsonOption
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.style.fast_train import Training, TrainStep

_SAVE_EVERY_S = 120.0
_SAY_EVERY = 100


def style_train(
    painting: Annotated[str, typer.Argument(metavar="PAINTING", help="The style to learn.")],
    *,
    photos: Annotated[str, typer.Option("--photos", metavar="DIR", help="Photos to learn on.")],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="OUT.onnx", help="The network to write.")
    ] = "mine.onnx",
    steps: Annotated[int, typer.Option("--steps", help="Batches in all.")] = 4000,
    batch: Annotated[int, typer.Option("--batch", help="Photos in a batch.")] = 4,
    size: Annotated[int, typer.Option("--size", metavar="PX", help="Side of the crops.")] = 256,
    style_size: Annotated[
        int,
        typer.Option("--style-size", metavar="PX", help="Shorter side of the painting as seen."),
    ] = 384,
    style_weight: Annotated[
        float, typer.Option("--style-weight", help="Weight of the style; the content's is 1.")
    ] = 10.0,
    smoothness: Annotated[
        float, typer.Option("--smoothness", help="Weight of the total variation.")
    ] = 20.0,
    seed: Annotated[int, typer.Option("--seed", help="Of crops and first weights.")] = 0,
    encoder: Annotated[
        str, typer.Option("--encoder", help="auto, vgg19, vgg16, vgg16_oxford or vgg16_hed.")
    ] = "auto",
    device: DeviceOption = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where Ctrl-C or a crash ended it.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train a feed-forward network for one painting, for `limner style --fast OUT.onnx`."""
    from limner.cli.photos import report_folder
    from limner.images import read_float
    from limner.style import fast_export, fast_train
    from limner.style.checkpoint import write_whole
    from limner.style.encoder import load_encoder

    target, state = Path(out), Path(f"{out}.training")
    if target.suffix.lower() != ".onnx" or not target.absolute().parent.is_dir():
        raise InputError(f"{out} cannot be written: it must end in .onnx, in a folder that exists.")
    if state.exists() and not resume:
        raise InputError(f"{state} holds an unfinished training: give --resume, or remove it.")
    options = fast_train.TrainOptions(
        steps=steps,
        batch=batch,
        size_px=size,
        style_px=style_size,
        style=style_weight,
        smoothness=smoothness,
        seed=seed,
    )
    style, files = read_float(painting), list(report_folder(photos).photos)
    taps = sorted({fast_train.CONTENT_TAP, *fast_train.STYLE_TAPS})
    with output.fetch_progress() as progress:
        net = load_encoder(encoder, deepest=max(taps), device=device, progress=progress)
    if net.chosen:
        output.note(net.chosen)
    see = partial(net.features, taps=taps)
    training = fast_train.Training(style, files, see, options, device=net.device)
    if resume:
        training.resume(state)
        output.note(f"going on after step {training.done} of {steps}.")
    began, finished = time.perf_counter(), _run(training, state, steps)
    notes = {
        "painting": Path(painting).name,
        "encoder": net.name,
        "steps": str(training.done),
        "photos": str(len(files)),
    }
    document = {
        "network": out,
        **notes,
        "finished": finished,
        "seconds": round(time.perf_counter() - began, 1),
        "options": asdict(options),
        "losses": [[s.step, s.total, s.content, s.style, s.variation] for s in training.steps],
    }
    if training.done:
        fast_export.export(training.painter.cpu(), target, notes=notes)
        write_whole(Path(f"{out}.json"), json_text.dumps(document).encode())
    if not finished:
        output.note(
            f"interrupted at step {training.done}: {out} is the network so far, --resume goes on "
            f"from {state}."
        )
        raise typer.Exit(output.INTERRUPTED)
    state.unlink(missing_ok=True)
    if output.wants_json():
        output.emit_json(document)
    total = training.steps[-1].total
    output.say(f"{out}: {steps} steps, {document['seconds']:.0f} s, last total {total:.4g}.")


def _run(training: Training, state: Path, steps: int) -> bool:
    """Train with a bar, a line now and then, and a checkpoint every two minutes."""
    saved = time.perf_counter()
    with output.progress_bar("training", steps) as advance:

        def on_step(step: TrainStep) -> None:
            nonlocal saved
            advance()
            if step.step % _SAY_EVERY == 0:
                output.note(
                    f"{step.step}/{steps}  total {step.total:.4g}  content {step.content:.4g}  "
                    f"style {step.style:.4g}  variation {step.variation:.4g}"
                )
            if time.perf_counter() - saved > _SAVE_EVERY_S:
                training.save(state)
                saved = time.perf_counter()

        try:
            training.run(on_step)
        except KeyboardInterrupt:
            training.save(state)
            return False
    return True
