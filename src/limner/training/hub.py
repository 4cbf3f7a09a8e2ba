"""Trained models to and from the Hugging Face hub, or any server that speaks its protocol."""

from __future__ import annotations

import importlib
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from limner.errors import InputError, LimnerError
from limner.training.extras import require
from limner.training.model_folder import MODEL, UPLOADED, read_model

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class HubError(LimnerError, RuntimeError):
    """The hub cannot be reached, or refuses."""


def push(
    folder: str | Path,
    name: str,
    *,
    private: bool = True,
    endpoint: str | None = None,
    token: str | None = None,
) -> str:
    """Send a trained model's folder to a hub.

    Args:
        folder: What `limner train ... -o` wrote. Checkpoints and caches stay here.
        name: ``OWNER/NAME``; made if it does not exist.
        private: Whether a new repository is private.
        endpoint: The hub's address; None for huggingface_hub's own (``HF_ENDPOINT``).
        token: Of the account; None for the one that ``hf auth login`` kept.

    Returns:
        The address of the commit.

    Raises:
        InputError: If the folder is no model's, or the name is none.
        HubError: If the hub cannot be reached, or refuses.
        MissingExtraError: If huggingface_hub is not installed.
    """
    _check_name(name)
    model = read_model(folder)
    api = _api(endpoint, token)
    try:
        api.create_repo(name, private=private, exist_ok=True, repo_type="model")
        done = api.create_commit(
            name,
            _additions(model.folder),
            commit_message=f"{model.kind} of faces, trained with limner",
        )
    except Exception as error:
        raise _refused(name, error) from error
    return str(getattr(done, "commit_url", done))


def pull(
    name: str,
    folder: str | Path,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
) -> Path:
    """Fetch a model that `push` sent, whole or not at all.

    Args:
        name: ``OWNER/NAME``.
        folder: Where it goes; must not exist, or be empty.
        revision: A commit, branch or tag; None for the newest.
        endpoint: As in `push`.
        token: As in `push`.

    Returns:
        The folder.

    Raises:
        InputError: If the folder is taken, the name is none, or what came is no model.
        HubError: If the hub cannot be reached, or refuses.
        MissingExtraError: If huggingface_hub is not installed.
    """
    _check_name(name)
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} exists already; choose another folder, or remove it.")
    api = _api(endpoint, token)
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".pull-") as temporary:
        try:
            api.snapshot_download(
                name,
                revision=revision,
                local_dir=temporary,
                allow_patterns=list(UPLOADED),
            )
        except Exception as error:
            raise _refused(name, error) from error
        if not (Path(temporary) / MODEL).is_file():
            raise InputError(f"{name} holds no model of limner: there is no {MODEL}.")
        read_model(temporary)
        target.mkdir(exist_ok=True)
        for file in sorted(Path(temporary).iterdir()):
            if file.is_file():
                shutil.move(str(file), target / file.name)
    return target


def _additions(folder: Path) -> list[Any]:
    from huggingface_hub import CommitOperationAdd

    files = [folder / file for file in UPLOADED if (folder / file).is_file()]
    return [CommitOperationAdd(path_in_repo=f.name, path_or_fileobj=str(f)) for f in files]


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f"a model on a hub is called OWNER/NAME, got {name!r}.")


def _api(endpoint: str | None, token: str | None) -> Any:
    require("huggingface_hub")
    from huggingface_hub import HfApi

    importlib.import_module("huggingface_hub.utils").disable_progress_bars()
    return HfApi(endpoint=endpoint, token=token, library_name="limner")


def _refused(name: str, error: Exception) -> HubError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return HubError(f"the hub did not do it for {name}: {reason}")
