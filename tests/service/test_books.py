"""Keys, rates, the audit log, the error table and settings."""

from __future__ import annotations

import hmac
import json
import stat

import pytest
from pydantic import ValidationError

from limner import errors
from limner.errors import InputError, ServiceError, UnknownNameError
from limner.service import Settings
from limner.service.audit import Audit
from limner.service.errors import STATUS, answer_to, without_paths
from limner.service.keys import LOCAL, Keys
from limner.service.rates import Buckets
from limner.service.state import State


@pytest.fixture
def keys(tmp_path):
    state = State(tmp_path / "state")
    yield Keys(state)
    state.close()


# --- keys ------------------------------------------------------------------------------


def test_a_key_opens_until_it_is_revoked(keys):
    key, text = keys.make("kiosk", ["enrol"])
    assert keys.check(text) == key
    assert [key.allows(scope) for scope in ("read", "enrol", "admin")] == [True, True, False]
    gone = keys.revoke(key.id)
    assert gone.revoked is not None
    assert keys.check(text) is None
    assert keys.revoke(key.id) == gone, "the time of the first revocation stays"
    assert [k.id for k in keys.all()] == [key.id]


def test_nothing_on_the_disk_opens(keys, tmp_path):
    _, text = keys.make("kiosk")
    secret = text.split("_", 2)[2].encode()
    for path in (tmp_path / "state").iterdir():
        assert secret not in path.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.suffix != ".db"
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


@pytest.mark.parametrize("change", ["x" * 70, "", "limner_", "last", "id", "é" * 60, "nul\0"])
def test_no_other_text_opens(keys, change):
    key, text = keys.make("kiosk")
    if change == "last":
        change = text[:-1] + ("A" if text[-1] != "A" else "B")
    elif change == "id":
        change = text.replace(key.id, "0" * 12)
    assert keys.check(change) is None


def test_every_check_compares_in_constant_time(keys, monkeypatch):
    _, text = keys.make("kiosk")
    compared = []

    def note(a, b):
        compared.append((len(a), len(b)))
        return hmac_compare(a, b)

    hmac_compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", note)
    for sent in (text, text[:-1] + "_", "limner_" + "0" * 12 + text[-44:], "nonsense"):
        keys.check(sent)
    assert compared == [(32, 32)] * 4


def test_bad_labels_and_scopes_are_refused(keys):
    with pytest.raises(UnknownNameError, match="read, enrol, admin"):
        keys.make("kiosk", ["root"])
    for label in ("", "  ", "x" * 101, "a\nb"):
        with pytest.raises(InputError, match="label"):
            keys.make(label)
    with pytest.raises(UnknownNameError, match="there is no key 'abc'"):
        keys.revoke("abc")


def test_people_are_counted_for_each_key(keys):
    one, other = keys.make("one", ["enrol"])[0], keys.make("other", ["enrol"])[0]
    keys.note_person(1, one)
    keys.note_person(2, one)
    keys.note_person(2, other)  # it is the first key's
    assert (keys.count_people(one), keys.count_people(other)) == (2, 0)
    keys.check_room(one, 3)
    with pytest.raises(ServiceError, match="has enrolled 2 people") as caught:
        keys.check_room(one, 2)
    assert caught.value.status == 403
    keys.drop_person(1)
    keys.check_room(one, 2)


# --- rates -----------------------------------------------------------------------------


def test_a_bucket_gives_a_minutes_requests_and_refills_evenly():
    now = [0.0]
    buckets = Buckets(6, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(6)] == [0] * 6
    assert buckets.take("a") == 10
    assert buckets.take("b") == 0, "others have their own"
    now[0] = 9.9
    assert buckets.take("a") == 1
    now[0] = 10.0
    assert buckets.take("a") == 0
    now[0] = 1000.0
    assert [buckets.take("a") for _ in range(7)] == [0] * 6 + [10]


# --- errors ----------------------------------------------------------------------------


def tree(kind):
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


def test_every_exception_of_limner_has_a_row():
    listed = {kind for kind, _ in STATUS} - {errors.LimnerError, Exception}
    own = [k for k in tree(errors.LimnerError) if k.__module__ == "limner.errors"]
    for kind in own:
        if kind not in (ServiceError, errors.LimnerError):
            assert any(issubclass(kind, row) for row in listed), kind


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ImageError("the picture is damaged."), 422),
        (errors.FaceCountError("none", count=0), 422),
        (errors.UnknownNameError("nobody is called 'x'."), 404),
        (errors.NameTakenError("taken"), 409),
        (errors.EmbedderMismatch("others"), 409),
        (errors.TooFewPairsError("more"), 409),
        (errors.GalleryError("/home/x/faces.limner is damaged"), 503),
        (errors.DigestError("/root/.cache/limner/x"), 503),
        (errors.MissingExtraError("pip install"), 501),
        (ServiceError("busy", status=429, kind="TooBusy", retry_after_s=3), 429),
        (KeyError("x"), 500),
        (RuntimeError("/etc/passwd"), 500),
    ],
)
def test_the_table(error, status):
    answer = answer_to(error)
    assert answer.status == status
    assert "/" not in answer.message
    assert answer.ours == (status in (500, 501, 503))


def test_messages_show_no_paths():
    text = "nobody in the gallery /srv/my data/g.limner is called 'Ann'; see C:\\x\\y or ~/z."
    shown = without_paths(text, ["/srv/my data/g.limner"])
    assert shown == "nobody in the gallery is called 'Ann'; see or."
    assert (
        without_paths("and/or 3/4, 24 px/s, https://x.org/y")
        == "and/or 3/4, 24 px/s, https://x.org/y"
    )


def test_messages_speak_http_not_command_line():
    from limner.faces import choose

    with pytest.raises(errors.FaceCountError) as caught:
        choose([], pick="one")
    assert "--" not in answer_to(caught.value).message


# --- the audit log ---------------------------------------------------------------------


def test_the_audit_log_is_private_and_one_object_a_line(tmp_path):
    audit = Audit(tmp_path / "state")
    audit.note(LOCAL, "127.0.0.1", "POST /v1/identify", 200, "abc", faces=2)
    audit.note(None, "10.0.0.1", "GET /v1/people", 401, "def")
    audit.close()
    lines = [json.loads(line) for line in audit.path.read_text().splitlines()]
    assert [(line["who"], line["status"], line.get("faces")) for line in lines] == [
        ("local", 200, 2),
        (None, 401, None),
    ]
    assert stat.S_IMODE(audit.path.stat().st_mode) == 0o600


# --- settings --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "demanded"),
    [
        ("127.0.0.1", False),
        ("localhost", False),
        ("::1", False),
        ("127.9.9.9", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.168.1.4", True),
        ("studio.local", True),
    ],
)
def test_any_address_but_loopback_demands_keys(host, demanded):
    assert Settings(host=host).keys_demanded is demanded


def test_unknown_and_impossible_settings_are_refused():
    for wrong in ({"prot": 1}, {"port": 70_000}, {"queue": 0}, {"host": "a b"}, {"threads": 0}):
        with pytest.raises(ValidationError):
            Settings(**wrong)
