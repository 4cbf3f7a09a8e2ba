"""People's names: any script, one spelling each.

A name is kept as it was typed, trimmed and in Unicode's composed form (NFC). Two names
that differ only in composition or in upper and lower case are one name, as in a folder
of most desktop file systems.
"""

from __future__ import annotations

import unicodedata

from limner.errors import InputError

MAX_NAME = 200
MAX_NOTE = 10_000

# Overrides and isolates of the writing direction: they make a name look like another one.
_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
# Characters that nobody sees: two names would look alike and be two.
_INVISIBLE = frozenset(
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060\u2061\u2062\u2063\u2064\u2800\u3164\ufeff\uffa0"
)
_TAGS = range(0xE0000, 0xE0080)
_JOINERS = "\u200c\u200d"  # they change the look of Persian, Indic scripts and emoji, of no others
_UNJOINED = (
    "LATIN",
    "GREEK",
    "CYRILLIC",
    "DIGIT",
    "SPACE",
    "HANGUL",
    "CJK",
    "HIRAGANA",
    "KATAKANA",
)
_FORBIDDEN = frozenset(("Cc", "Cs", "Zl", "Zp"))


def _shown(text: str) -> str:
    short = text if len(text) <= 40 else text[:40] + "..."
    return ascii(short)


def normalise_name(name: str) -> str:
    """Return a person's name as it is stored.

    Args:
        name: Any script; 1 to 200 characters after trimming.

    Returns:
        The trimmed name in NFC.

    Raises:
        InputError: If it is not text, empty, too long, or holds control characters.
    """
    if not isinstance(name, str):
        raise InputError(f"a person's name must be text, got {type(name).__name__}.")
    for at, character in enumerate(name.strip()):
        if unicodedata.category(character) in _FORBIDDEN or character in _DIRECTION:
            raise InputError(
                f"a person's name must not hold control characters, got {_shown(character)} "
                f"in {_shown(name)}."
            )
        if _is_invisible(name.strip(), at):
            raise InputError(
                f"a person's name must not hold invisible characters, got {_shown(character)} "
                f"in {_shown(name)}."
            )
    trimmed = unicodedata.normalize("NFC", name.strip())
    if not any(unicodedata.category(character)[0] in "LNPS" for character in trimmed):
        raise InputError(f"a person's name must not be empty, got {_shown(name)}.")
    if len(trimmed) > MAX_NAME:
        raise InputError(
            f"a person's name may have {MAX_NAME} characters, got {len(trimmed)}: {_shown(trimmed)}"
        )
    return trimmed


def _is_invisible(name: str, at: int) -> bool:
    """Tell whether a character shows nothing where it stands."""
    character = name[at]
    if character in _INVISIBLE or ord(character) in _TAGS:
        return True
    if character not in _JOINERS:
        return False
    before, after = name[at - 1 : at], name[at + 1 : at + 2]
    return any(
        not side or side in _JOINERS or unicodedata.name(side, "").startswith(_UNJOINED)
        for side in (before, after)
    )


def name_key(name: str) -> str:
    """Return what two spellings of one name have in common.

    Args:
        name: A normalised name.

    Returns:
        The name without case distinctions, in NFC.
    """
    folded = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", folded)


def normalise_note(note: str) -> str:
    """Return a note as it is stored: text in NFC, line breaks and tabs allowed.

    Args:
        note: At most 10,000 characters; empty for none.

    Returns:
        The trimmed note.

    Raises:
        InputError: If it is not text, too long, or holds other control characters.
    """
    if not isinstance(note, str):
        raise InputError(f"a note must be text, got {type(note).__name__}.")
    trimmed = unicodedata.normalize("NFC", note.strip().replace("\r\n", "\n"))
    for character in trimmed:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t":
            raise InputError(f"a note must not hold control characters, got {_shown(character)}.")
    if len(trimmed) > MAX_NOTE:
        raise InputError(f"a note may have {MAX_NOTE} characters, got {len(trimmed)}.")
    return trimmed
