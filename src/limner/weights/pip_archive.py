"""Fetch a package's source archive with pip's own client, and build nothing.

`package.py` runs this file as a program of its own. ``pip download`` would run the archive's
build to learn its dependencies, before anybody could look at the bytes. So pip's finder and
session are called instead, which know the user's index, proxy and certificates.

Usage: ``python -P pip_archive.py NAME==VERSION TARGET LARGEST_BYTES``. Nothing but pip is imported.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

OPTIONS = ["--no-deps", "--no-binary", ":all:", "--no-input", "--retries", "2"]


def find(package: str) -> tuple[Any, Any]:
    """Return pip's session and its link to the source archive of NAME==VERSION.

    Raises:
        LookupError: If the index has no such archive.
    """
    name, _, version = package.partition("==")
    specifiers = importlib.import_module("pip._vendor.packaging.specifiers")
    command = importlib.import_module("pip._internal.commands").create_command("download")
    options, _ = command.parse_args([*OPTIONS, package])
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session)
        found = finder.find_best_candidate(name, specifiers.SpecifierSet(f"=={version}"))
        if found.best_candidate is None:
            raise LookupError(f"No matching distribution found for {package}")
        return session, found.best_candidate.link


def receive(session: Any, link: Any, target: Path, largest: int) -> None:
    """Write what the link gives to a file.

    Raises:
        ValueError: If it has more bytes than `largest`.
    """
    as_it_is = {"Accept-Encoding": "identity"}  # a server may not unpack it on the way
    response = session.get(link.url_without_fragment, stream=True, headers=as_it_is)
    response.raise_for_status()
    done = 0
    with target.open("wb") as file:
        for chunk in response.iter_content(1 << 18):
            done += len(chunk)
            if done > largest:
                raise ValueError(f"the index offers more than the wanted {largest} bytes")
            file.write(chunk)


def main(package: str, target: str, largest: str) -> int:
    """Fetch; on failure print one line that begins with ERROR and return 1."""
    try:
        session, link = find(package)
        receive(session, link, Path(target), int(largest))
    except ModuleNotFoundError as error:
        print(error)
    except (ImportError, AttributeError, TypeError) as error:
        print(f"ERROR: this version of pip cannot fetch an archive without building it: {error}")
    except Exception as error:  # whatever pip and its network raise
        print(f"ERROR: {' '.join(str(error).split()) or type(error).__name__}")
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
