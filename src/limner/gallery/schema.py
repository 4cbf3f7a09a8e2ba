"""The tables of a SQLite gallery, as numbered steps.

``PRAGMA user_version`` counts the steps that a file has been through. To change the
schema, append a step to `MIGRATIONS`: never edit one that was released.
"""

from __future__ import annotations

APPLICATION_ID = 0x4C4D4E52  # "LMNR", in the header of every gallery file

_FIRST = (
    # embedder_id, dim, created, epoch, calibration
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE counts (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        people INTEGER NOT NULL,
        faces INTEGER NOT NULL,
        changes INTEGER NOT NULL
    )""",
    "INSERT INTO counts VALUES (1, 0, 0, 0)",
    """CREATE TABLE people (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        key TEXT NOT NULL UNIQUE,
        note TEXT NOT NULL DEFAULT '',
        created TEXT NOT NULL
    )""",
    # AUTOINCREMENT: an id is never used twice, so "new since the index was saved" is id > last.
    """CREATE TABLE embeddings (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        person_id INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE,
        vector BLOB NOT NULL,
        photo TEXT,
        photo_digest TEXT,
        x0 REAL, y0 REAL, x1 REAL, y1 REAL,
        score REAL,
        created TEXT NOT NULL
    )""",
    "CREATE INDEX embeddings_by_person ON embeddings (person_id)",
    """CREATE INDEX embeddings_by_digest ON embeddings (photo_digest)
        WHERE photo_digest IS NOT NULL""",
    # Apart from the embeddings, so that reading vectors does not read pictures.
    """CREATE TABLE chips (
        embedding_id INTEGER PRIMARY KEY REFERENCES embeddings (id) ON DELETE CASCADE,
        png BLOB NOT NULL
    )""",
    # What the index must drop; the additions it finds by their ids.
    """CREATE TABLE removed (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        embedding_id INTEGER NOT NULL
    )""",
    """CREATE TRIGGER person_added AFTER INSERT ON people BEGIN
        UPDATE counts SET people = people + 1;
    END""",
    """CREATE TRIGGER person_removed AFTER DELETE ON people BEGIN
        UPDATE counts SET people = people - 1;
    END""",
    """CREATE TRIGGER face_added AFTER INSERT ON embeddings BEGIN
        UPDATE counts SET faces = faces + 1;
    END""",
    """CREATE TRIGGER face_removed AFTER DELETE ON embeddings BEGIN
        UPDATE counts SET faces = faces - 1;
        INSERT INTO removed (embedding_id) VALUES (OLD.id);
    END""",
)

_QUALITY = (
    "ALTER TABLE embeddings ADD COLUMN quality REAL",
    "ALTER TABLE embeddings ADD COLUMN reason TEXT",  # why it is too poor to judge by
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _QUALITY)
