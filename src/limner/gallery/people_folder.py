"""A folder that holds one folder of photos for each person: who is in it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from limner.errors import InputError
from limner.gallery.names import name_key, normalise_name
from limner.gallery.records import PhotoProblem


@dataclass
class PeopleFolder:
    """What a folder of people holds.

    Attributes:
        people: Name -> photos, in the order of the folder.
        problems: Loose photos and folders that are no names.
    """

    people: dict[str, list[Path]] = field(default_factory=dict)
    problems: list[PhotoProblem] = field(default_factory=list)


def read_people_folder(folder: str | os.PathLike[str]) -> PeopleFolder:
    """List a folder that holds one folder of photos for each person.

    Folders whose names differ only in Unicode composition or case are one person.

    Args:
        folder: ``folder/Ada Lovelace/anything.jpg``; photos may lie deeper as well.

    Returns:
        People with at least one photo, and what is in the wrong place.

    Raises:
        InputError: If it is no folder, or holds nobody's photos.
    """
    from limner import images
    from limner.images.folders import leads_back

    root = Path(folder)
    loose = images.list_photos(root, recursive=False)
    found = PeopleFolder()
    spelled: dict[str, str] = {}
    for entry in sorted(root.iterdir()):
        if not entry.is_dir() or entry.name.startswith(".") or leads_back(entry):
            continue
        try:
            listing = images.scan_folder(entry)
            found.problems += [
                PhotoProblem(images.describe(left.path), left.reason) for left in listing.unreadable
            ]
            photos = listing.photos
            if not photos:
                continue
            name = normalise_name(entry.name)
        except InputError as error:
            found.problems.append(PhotoProblem(images.describe(entry), str(error)))
            continue
        name = spelled.setdefault(name_key(name), name)
        found.people.setdefault(name, []).extend(photos)
    if not found.people and not found.problems:
        lies = f"its {len(loose)} photos lie loose" if loose else "there is no photo in it"
        raise InputError(
            f"the folder {images.describe(root)} holds no people: {lies}; "
            "make one folder for each person, named after them, and put their photos inside."
        )
    for photo in loose:
        found.problems.append(
            PhotoProblem(
                images.describe(photo), "it lies loose; put it in a folder named after the person."
            )
        )
    return found
