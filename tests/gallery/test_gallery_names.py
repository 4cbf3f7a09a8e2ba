"""Names in any script, one spelling each."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limner.errors import InputError
from limner.gallery.names import MAX_NAME, name_key, normalise_name, normalise_note


@pytest.mark.parametrize(
    "name",
    [
        "Ada Lovelace",
        "Łukasz Żółć",
        "佐藤 花子",
        "محمد علي",
        "नरेन्द्र",
        "Ольга",
        "O'Neil-Smith, Jr.",
        "👩🏽‍🚀",
        "می‌خواهم",  # holds a zero-width non-joiner, which Persian needs
        "x" * MAX_NAME,
    ],
)
def test_names_of_any_script_stay_as_they_are(name: str) -> None:
    assert normalise_name(f"  {name}\t") == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "must not be empty"),
        ("  \u200d ", "must not hold invisible"),
        ("\u3000", "must not be empty"),
        ("a\nb", "control"),
        ("a\x00b", "control"),
        ("a\x1b[31mb", "control"),
        ("abc\u202edef", "control"),
        ("a\u2028b", "control"),
        ("\udc80", "control"),
        ("x" * (MAX_NAME + 1), "200 characters, got 201"),
    ],
)
def test_names_that_cannot_be_stored(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        normalise_name(name)


def test_a_name_is_text() -> None:
    with pytest.raises(InputError, match="must be text, got int"):
        normalise_name(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Zo\u00eb", "Zoe\u0308"),
        ("ADA", "ada"),
        ("Straße", "STRASSE"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("\u212bngström", "ångström"),
    ],
)
def test_spellings_of_one_name_have_one_key(one: str, other: str) -> None:
    assert name_key(normalise_name(one)) == name_key(normalise_name(other))


def test_different_names_have_different_keys() -> None:
    keys = {name_key(normalise_name(n)) for n in ("Ada", "Adä", "Ada B", "Бда", "\u0410da")}
    assert len(keys) == 5


@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing(name: str) -> None:
    try:
        once = normalise_name(name)
    except InputError:
        return
    assert normalise_name(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert name_key(once) == name_key(normalise_name(once.swapcase().swapcase()))


def test_notes_may_have_lines_but_no_other_control_characters() -> None:
    assert normalise_note(" met in\r\nParis\t1843 ") == "met in\nParis\t1843"
    with pytest.raises(InputError, match="control"):
        normalise_note("bell\x07")
    with pytest.raises(InputError, match=r"10000 characters, got 10001"):
        normalise_note("x" * 10_001)
