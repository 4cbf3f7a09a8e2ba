"""An evaluation's files: all figures as JSON, plots and the contact sheet as PNG."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from limner import images
from limner.errors import InputError
from limner.evaluation import contact, plots
from limner.evaluation.drivers import IdentificationReport, PairsReport


def prepare_folder(folder: str | Path) -> Path:
    """Make the folder that a report goes into, before the long work begins.

    Raises:
        InputError: If it cannot be made or written.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"the report folder {path} cannot be made: {reason}.") from error
    if not os.access(path, os.W_OK):
        raise InputError(f"the report folder {path} cannot be written: permission denied.")
    return path


def save_pairs(report: PairsReport, folder: str | Path) -> list[Path]:
    """Write ``report.json``, ``roc.png``, ``distances.png``, ``folds.png`` and ``wrong.png``.

    Args:
        report: What `evaluate_pairs` returned.
        folder: Made where it does not exist.

    Returns:
        The files.

    Raises:
        InputError: If the folder cannot be made.
        ImageError: If a plot cannot be written.
    """
    target = prepare_folder(folder)
    name = report.photos.embedder_id
    scores, same = report.scores, report.pairs.same
    wrong = contact.wrong_pairs(report)
    document = {**report.to_json(), "wrong_pairs": [pair.to_json() for pair in wrong]}
    files = [_write_json(target / "report.json", document)]
    files += [target / "roc.png", target / "distances.png", target / "folds.png"]
    plots.plot_roc(files[1], report.distances, same, scores.tar_at_far, title=f"ROC, {name}")
    tau = float(np.median(scores.thresholds))
    plots.plot_distances(files[2], report.distances, same, tau, title=f"Distances, {name}")
    plots.plot_folds(
        files[3], scores.accuracies, scores.thresholds, title=f"Accuracy by fold, {name}"
    )
    sheet = contact.draw_sheet(wrong, title=f"Wrong pairs, {name}", total=len(report.pairs))
    files.append(target / "wrong.png")
    images.write(files[4], sheet)
    return files


def save_identification(report: IdentificationReport, folder: str | Path) -> list[Path]:
    """Write ``report.json`` and ``identification.png``.

    Args:
        report: What `evaluate_identification` returned.
        folder: Made where it does not exist.

    Returns:
        The files.

    Raises:
        InputError: If the folder cannot be made.
        ImageError: If the plot cannot be written.
    """
    target = prepare_folder(folder)
    scores = report.scores
    files = [_write_json(target / "report.json", report.to_json())]
    files.append(target / "identification.png")
    strangers = int(scores.stranger_distance.size)
    plots.plot_identification(
        files[1],
        scores.det(),
        scores.tpir_at_fpir,
        rank1=scores.rank1,
        strangers=strangers,
        title=f"Open-set identification, {report.photos.embedder_id}",
        subtitle=(
            f"{scores.enrolled:,} people enrolled from one photo  ·  {scores.rank.size:,} probes"
            f"  ·  {strangers:,} strangers"
        ),
    )
    return files


def _write_json(path: Path, document: dict[str, Any]) -> Path:
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{path} cannot be written: {reason}.") from error
    return path
