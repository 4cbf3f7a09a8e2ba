"""API keys: made once, shown once, kept as a salted digest."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast, get_args

from limner.errors import InputError, ServiceError, UnknownNameError
from limner.service.state import State

Scope = Literal["read", "enrol", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "limner"
_KEY = re.compile(r"limner_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NOBODY = (b"\0" * 16, b"\0" * 32)


@dataclass(frozen=True)
class Key:
    """A key without its secret.

    Attributes:
        id: Twelve hexadecimal digits; names the key in the audit log.
        label: What it is for.
        scopes: `read`, `enrol` (which includes `read`), `admin` (which includes both).
        created: UTC, ISO 8601.
        revoked: Same; None while it is good.
    """

    id: str
    label: str
    scopes: tuple[Scope, ...]
    created: str
    revoked: str | None = None

    def allows(self, scope: Scope) -> bool:
        """Tell whether a request that needs `scope` may be made with this key."""
        return any(SCOPES.index(own) >= SCOPES.index(scope) for own in self.scopes)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


LOCAL = Key("local", "this machine", ("admin",), "")
"""Who asks without a key where none is demanded."""


def now() -> str:
    """Return the time, UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _digest(salt: bytes, secret: str) -> bytes:
    # 256 random bits need no slow hash: there is nothing to guess.
    return hashlib.sha256(salt + secret.encode("ascii")).digest()


class Keys:
    """The keys of a service.

    Args:
        state: Where they are kept.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def make(self, label: str, scopes: Iterable[str] = ("read",)) -> tuple[Key, str]:
        """Make a key.

        Args:
            label: What it is for, 1 to 100 characters.
            scopes: Of `SCOPES`.

        Returns:
            The key, and the text that a client sends; it cannot be shown again.

        Raises:
            UnknownNameError: If a scope does not exist.
            InputError: If the label is empty or too long, or no scope is given.
        """
        wanted = tuple(dict.fromkeys(scopes))
        for scope in wanted:
            if scope not in SCOPES:
                raise UnknownNameError(f"scope must be one of {', '.join(SCOPES)}, got {scope!r}.")
        if not wanted:
            raise InputError(f"a key needs a scope: {', '.join(SCOPES)}.")
        clean = label.strip()
        if not 1 <= len(clean) <= 100 or not clean.isprintable():
            raise InputError(f"a key's label must have 1 to 100 characters, got {label!r}.")
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        salt = secrets.token_bytes(16)
        key = Key(key_id, clean, cast("tuple[Scope, ...]", wanted), now())
        with self._state.write() as connection:
            connection.execute(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, NULL)",
                (key_id, clean, salt, _digest(salt, secret), ",".join(wanted), key.created),
            )
        return key, f"{PREFIX}_{key_id}_{secret}"

    def all(self) -> list[Key]:
        """Return all keys, the oldest first, revoked ones included."""
        rows = self._state.rows(
            "SELECT id, label, scopes, created, revoked FROM keys ORDER BY created, id"
        )
        return [_key(row) for row in rows]

    def revoke(self, key_id: str) -> Key:
        """Make a key worthless from now on, in a running service as well.

        Raises:
            UnknownNameError: If there is no such key.
        """
        with self._state.write() as connection:
            connection.execute(
                "UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL", (now(), key_id)
            )
        for key in self.all():
            if key.id == key_id:
                return key
        known = ", ".join(key.id for key in self.all()) or "none"
        raise UnknownNameError(f"there is no key {key_id!r}; there are: {known}.")

    def check(self, text: str) -> Key | None:
        """Return the key that a client sent; None if it is none, or was revoked.

        The comparison takes the same time for every key, known or not.
        """
        match = _KEY.fullmatch(text)
        key_id, secret = match.groups() if match else ("", "")
        rows = self._state.rows(
            "SELECT id, label, scopes, created, revoked, salt, digest FROM keys WHERE id = ?",
            key_id,
        )
        salt, digest = cast("tuple[bytes, bytes]", rows[0][5:] if rows else _NOBODY)
        same = hmac.compare_digest(_digest(salt, secret), digest)
        if not (same and rows and match):
            return None
        key = _key(rows[0])
        return key if key.revoked is None else None

    # --- who enrolled whom -------------------------------------------------------------

    def count_people(self, key: Key) -> int:
        """Return how many people the key has enrolled."""
        rows = self._state.rows("SELECT count(*) FROM enrolled WHERE key = ?", key.id)
        return int(cast("int", rows[0][0]))

    def check_room(self, key: Key, most: int) -> None:
        """Refuse one person too many.

        Raises:
            ServiceError: If the key has enrolled `most` people (403).
        """
        if self.count_people(key) >= most:
            raise ServiceError(
                f"this key has enrolled {most:,} people, which is as many as it may; "
                "forget some, or ask for another limit.",
                status=403,
                kind="TooManyPeople",
            )

    def note_person(self, person: int, key: Key) -> None:
        """Remember who enrolled a person."""
        with self._state.write() as connection:
            connection.execute("INSERT OR IGNORE INTO enrolled VALUES (?, ?)", (person, key.id))

    def drop_person(self, person: int) -> None:
        """Forget who enrolled a person that is gone."""
        with self._state.write() as connection:
            connection.execute("DELETE FROM enrolled WHERE person = ?", (person,))


def _key(row: tuple[object, ...]) -> Key:
    scopes = tuple(cast("Scope", scope) for scope in str(row[2]).split(","))
    revoked = None if row[4] is None else str(row[4])
    return Key(str(row[0]), str(row[1]), scopes, str(row[3]), revoked)
