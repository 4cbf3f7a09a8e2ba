"""A server that asks for keys, with narrow limits."""

from __future__ import annotations

import base64
import threading
from collections import Counter

import httpx
import pytest
from PIL import Image
from servers import jpeg

from limner import errors
from limner.errors import ServiceError
from limner.service.keys import Keys
from limner.service.state import State


@pytest.fixture
def make(strict):
    state = State(strict.folder / "state")
    clients = []

    def make(*scopes):
        key, text = Keys(state).make("test", scopes)
        clients.append(strict.client(text, patience_s=0))
        clients[-1].key = key
        clients[-1].text = text
        return clients[-1]

    make.keys = Keys(state)
    yield make
    for client in clients:
        client.close()
    state.close()


@pytest.fixture
def http(strict):
    with httpx.Client(base_url=strict.address, trust_env=False) as found:
        yield found


def test_nothing_but_health_is_open(http):
    assert http.get("/healthz").status_code == 200
    assert http.get("/readyz").status_code == 200
    for path in ("/v1/people", "/v1/info", "/metrics", "/openapi.json", "/", "/nowhere"):
        answer = http.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"]
        assert answer.json()["error"]["type"] == "Unauthorised"


def test_scopes(make, photos):
    reader, enroller, admin = make("read"), make("enrol"), make("admin")
    assert reader.detect(photos["coffee"]).faces == []
    with pytest.raises(ServiceError, match="scope enrol") as caught:
        reader.enroll("Ann", photos["collins"])
    assert caught.value.status == 403
    assert enroller.enroll("Ann", photos["collins"]).created
    with pytest.raises(ServiceError, match="scope enrol"):
        reader.forget("Ann")
    with pytest.raises(ServiceError, match="scope admin"):
        enroller.calibrate()
    with pytest.raises(errors.TooFewPairsError):
        admin.calibrate()
    enroller.forget("Ann")


def test_a_revoked_key_is_worthless_at_once(make):
    reader = make("read")
    assert reader.people() == []
    make.keys.revoke(reader.key.id)
    with pytest.raises(ServiceError, match="revoked") as caught:
        reader.people()
    assert caught.value.status == 401


def test_the_page_takes_a_key_as_the_password_of_an_admin(make, http):
    for scope, status in (("read", 403), ("admin", 404)):
        text = base64.b64encode(f"any:{make(scope).text}".encode()).decode()
        answer = http.get("/", headers={"authorization": f"Basic {text}"})
        assert answer.status_code == status, "404: this server has no page"
    for junk in ("Basic !!!", "Basic", "Bearer", "Digest x", "Basic " + "a" * 5000):
        assert http.get("/v1/people", headers={"authorization": junk}).status_code == 401


def test_people_are_limited_for_each_key(make, photos):
    one, other = make("enrol"), make("enrol")
    one.enroll("A", photos["collins"])
    one.enroll("B", photos["hopper"])
    one.enroll("A", photos["collins2"])
    with pytest.raises(ServiceError, match="has enrolled 2 people") as caught:
        one.enroll("C", photos["stranger"])
    assert (caught.value.status, caught.value.kind) == (403, "TooManyPeople")
    other.enroll("C", photos["stranger"], force=True)
    one.merge("A", "B")
    one.enroll("D", photos["collins"])
    for name in ("B", "C", "D"):
        one.forget(name)


def test_bytes_pixels_and_photos_are_limited(make, http, photos):
    reader, enroller = make("read"), make("enrol")
    head = {"authorization": f"Bearer {reader.text}"}
    big = http.post("/v1/detect", files={"photo": b"x" * 600_000}, headers=head)
    assert (big.status_code, big.json()["error"]["type"]) == (413, "TooLarge")

    def chunks():
        yield b'--b\r\nContent-Disposition: form-data; name="photo"; filename="x"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 10_000

    head["content-type"] = "multipart/form-data; boundary=b"
    streamed = http.post("/v1/detect", content=chunks(), headers=head)
    assert streamed.status_code == 413, "without a length as well"
    with pytest.raises(errors.ImageError, match="pixels"):
        reader.detect(jpeg(Image.new("RGB", (2000, 1001))))
    with pytest.raises(errors.InputError, match="1 to 3 photos, got 4"):
        enroller.enroll("A", [photos["coffee"]] * 4)
    three = Image.new("RGB", (1536, 512))
    for place in range(3):
        import io

        three.paste(Image.open(io.BytesIO(photos["collins"])), (512 * place, 0))
    with pytest.raises(errors.InputError, match="3 faces; at most 2"):
        reader.detect(jpeg(three))


def test_requests_are_limited_for_each_key(make, http):
    reader, other = make("read"), make("read")
    head = {"authorization": f"Bearer {reader.text}"}
    statuses = Counter(http.get("/v1/jobs", headers=head).status_code for _ in range(70))
    assert set(statuses) == {200, 429}
    assert 60 <= statuses[200] <= 65
    answer = http.get("/v1/jobs", headers=head)
    assert int(answer.headers["retry-after"]) >= 1
    assert other.jobs() == []


def test_overload_is_answered_429_and_nothing_else(make, photos, strict):
    keys = [make("read").text for _ in range(8)]
    statuses, lock = Counter(), threading.Lock()

    def ask(key):
        with httpx.Client(base_url=strict.address, trust_env=False, timeout=30) as own:
            for _ in range(10):
                answer = own.post(
                    "/v1/identify",
                    files={"photo": photos["both"]},
                    headers={"authorization": f"Bearer {key}"},
                )
                with lock:
                    statuses[answer.status_code] += 1
                if answer.status_code == 429:
                    assert int(answer.headers["retry-after"]) >= 1

    threads = [threading.Thread(target=ask, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 429}
    assert sum(statuses.values()) == 80
    assert make("read").identify(photos["coffee"]).faces == [], "it has recovered"


def test_guessing_keys_is_slowed_down(http):
    """Last of this file: afterwards this address must wait a minute."""
    wrong = {"authorization": "Bearer limner_000000000000_" + "x" * 43}
    statuses = Counter(http.get("/v1/people", headers=wrong).status_code for _ in range(60))
    assert set(statuses) == {401, 429}
    assert statuses[429] >= 25
    assert http.get("/healthz").status_code == 200
