"""The real server, asked by the real client."""

from __future__ import annotations

import io
import json
import sqlite3

import httpx
import numpy as np
import pytest
from PIL import Image

from limner import FaceAnalyzer, Gallery, errors
from limner.errors import ServiceError
from limner.gallery.enrolment import enroll_photos


@pytest.fixture(scope="module")
def analyzer():
    return FaceAnalyzer()


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.address, trust_env=False) as found:
        yield found


# --- faces: the answers are those of the library -----------------------------------------


@pytest.mark.parametrize("name", ["collins", "both", "coffee"])
def test_detect_and_embed_answer_as_the_library(client, photos, analyzer, name):
    expected = analyzer.analyze(photos[name])
    found, embedded = client.detect(photos[name]), client.embed(photos[name])
    width, height = Image.open(io.BytesIO(photos[name])).size
    assert found.size_hw == embedded.size_hw == (height, width)
    assert len(found.faces) == len(embedded.faces) == len(expected)
    for mine, theirs, own in zip(found.faces, embedded.faces, expected, strict=True):
        assert mine.box_xyxy == pytest.approx(own.box_xyxy, abs=0.01)
        assert mine.embedding is None
        assert theirs.embedding.embedder_id == analyzer.embedder_id
        assert float(theirs.embedding.vector @ own.embedding.vector) > 0.9999


def test_compare(client, photos, analyzer):
    same = client.compare(photos["collins"], photos["collins2"])
    other = client.compare(photos["collins"], photos["hopper"])
    assert (same.pair.verdict, other.pair.verdict) == ("same", "different")
    a, b = (analyzer.analyze(photos[name])[0].embedding for name in ("collins", "hopper"))
    assert other.pair.distance == pytest.approx(float(((a.vector - b.vector) ** 2).sum()), abs=1e-4)
    moved = client.compare(photos["collins"], photos["hopper"], threshold=4.0)
    assert (moved.pair.verdict, moved.pair.threshold) == ("same", 4.0)
    assert moved.pair.probability == pytest.approx(other.pair.probability)


def test_a_photo_with_two_faces_needs_a_choice(client, photos):
    with pytest.raises(errors.FaceCountError, match="pick=largest") as caught:
        client.compare(photos["both"], photos["collins"])
    assert caught.value.count == 2
    faces = client.detect(photos["both"]).faces
    right = max(faces, key=lambda face: face.box_xyxy[0])
    found = client.compare(photos["both"], photos["hopper"], box_a=right.box_xyxy)
    assert found.pair.verdict == "same"
    with pytest.raises(errors.FaceCountError, match="no face was found"):
        client.compare(photos["coffee"], photos["collins"])
    with pytest.raises(errors.FaceCountError, match="at that box"):
        client.compare(photos["both"], photos["hopper"], box_a=(0, 0, 5, 5))


def test_the_life_of_a_person(client, photos):
    done = client.enroll("Eileen Collins", photos["collins"], note="astronaut")
    assert (done.person, done.added, done.total, done.created) == ("Eileen Collins", 1, 1, True)
    client.enroll("Grace Hopper", photos["hopper"])
    again = client.enroll("eileen collins", photos["collins"])
    assert (again.added, again.created, len(again.skipped)) == (0, False, 1)
    more = client.enroll("Eileen Collins", [photos["collins2"], photos["coffee"]])
    assert (more.added, more.total) == (1, 2)
    assert [reason.split(";")[0] for _, reason in more.failed] == ["no face was found in the photo"]

    faces = client.identify(photos["both"]).faces
    assert {one.match.person for one in faces} == {"Eileen Collins", "Grace Hopper"}
    by_name = {person.name: person for person in client.people()}
    assert {one.match.person: one.person_id for one in faces} == {
        name: person.id for name, person in by_name.items()
    }
    assert by_name["Eileen Collins"].note == "astronaut"
    (turned,) = client.identify(photos["stranger"]).faces
    assert (turned.match.verdict, turned.match.person) == ("unclear", None)
    assert turned.match.reason == turned.face.reason == "the face is turned away"
    (turned,) = client.identify(photos["stranger"], accept_unclear=True).faces
    assert (turned.match.verdict, turned.match.reason) == ("not_recognised", None)
    assert client.verify("Grace Hopper", photos["hopper2"]).pair.verdict == "same"
    assert client.verify("Grace Hopper", photos["collins"]).pair.verdict == "different"
    ranks = client.lookalike(photos["hopper2"], top=2)
    assert [rank.person for rank in ranks] == ["Grace Hopper", "Eileen Collins"]

    assert client.rename("Grace Hopper", "Grace Brewster Hopper").name == "Grace Brewster Hopper"
    with pytest.raises(errors.NameTakenError):
        client.rename("Grace Brewster Hopper", "Eileen Collins")
    enrolled = client.photos("Eileen Collins")
    assert [photo.photo for photo in enrolled] == ["upload", "upload"]
    assert client.remove_photo("Eileen Collins", enrolled[0].id) == 1
    with pytest.raises(errors.InputError, match="forget the person"):
        client.remove_photo("Eileen Collins", enrolled[1].id)
    assert client.merge("Grace Brewster Hopper", "Eileen Collins").photos == 2
    gone = client.forget("Eileen Collins")
    assert (gone.photos, gone.vacuumed) == (2, True)
    assert client.people() == []
    assert client.identify(photos["collins"]).faces[0].match.person is None
    with pytest.raises(errors.UnknownNameError):
        client.verify("Eileen Collins", photos["collins"])


@pytest.mark.parametrize(
    "name", ["Ünïcödé 山田太郎", "a/b?c#d%20", "O'Neill; DROP TABLE", "🙂 Smile"]
)
def test_any_name_works(client, photos, name):
    client.enroll(name, photos["collins"])
    assert client.person(name).name == name
    assert client.identify(photos["collins"]).faces[0].match.person == name
    client.rename(name, "plain")
    assert [person.name for person in client.people()] == ["plain"]


def test_forgetting_leaves_nothing_on_the_disk(client, server, photos, analyzer):
    client.enroll("Nobody Remembers", photos["collins"], note="a note to lose")
    vector = client.embed(photos["collins"]).faces[0].embedding.vector.astype("<f4").tobytes()
    with Gallery.open(server.folder / "g.limner") as gallery:
        gallery.export(server.folder / "copy.zip")
    held = b"".join(p.read_bytes() for p in server.folder.glob("g.limner*"))
    assert b"Nobody Remembers" in held
    assert vector[:64] in held
    gone = client.forget("Nobody Remembers")
    assert gone.exports == ("copy.zip",), "the copy that still holds the person is named"
    for path in server.folder.rglob("*"):
        if path.is_file() and path.name != "copy.zip":
            data = path.read_bytes()
            for secret in (b"Nobody Remembers", b"a note to lose", vector[:64]):
                assert secret not in data, path


def test_no_photo_and_no_name_reaches_the_audit_log(client, server, photos):
    client.enroll("Secret Name", photos["collins"])
    client.identify(photos["collins"])
    text = (server.folder / "state" / "audit.jsonl").read_text()
    assert "Secret Name" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    last = [line for line in lines if line["what"] == "POST /v1/identify"][-1]
    assert (last["who"], last["from"], last["faces"]) == ("local", "127.0.0.1", 1)
    assert last["people"] == [client.person("Secret Name").id]


def test_chips_are_kept_only_if_asked(client, server, photos):
    client.enroll("A", photos["collins"])
    assert not client.photos("A")[0].has_chip
    with sqlite3.connect(server.folder / "g.limner") as connection:
        assert connection.execute("SELECT count(*) FROM chips").fetchone() == (0,)


def test_calibration_needs_enough_people_and_can_be_reset(client, photos):
    client.enroll("A", photos["collins"])
    with pytest.raises(errors.TooFewPairsError, match="needs photos of"):
        client.calibrate()
    client.reset_calibration()
    assert client.info().calibration.startswith("shipped")


def test_another_process_may_enrol_meanwhile(client, server, photos, analyzer):
    with Gallery.open(server.folder / "g.limner") as gallery:
        enroll_photos(gallery, analyzer, "From Outside", [photos["hopper"]])
    assert client.identify(photos["hopper"]).faces[0].match.person == "From Outside"


# --- bad requests ----------------------------------------------------------------------


def test_bad_pictures_are_one_sentence(client, photos):
    for bad in (b"", b"hello", photos["collins"][:3000], b"\x89PNG\r\n\x1a\n" + b"x" * 500):
        with pytest.raises((errors.ImageError, errors.InputError)) as caught:
            client.detect(bad)
        assert str(caught.value).count(". ") <= 1


@pytest.mark.parametrize(
    ("method", "path", "given", "status", "kind"),
    [
        ("GET", "/v1/nowhere", {}, 404, "UnknownPath"),
        ("GET", "/../../etc/passwd", {}, 404, "UnknownPath"),
        ("PUT", "/v1/people", {}, 405, "MethodNotAllowed"),
        ("POST", "/v1/detect", {}, 422, "InvalidRequest"),
        ("POST", "/v1/detect", {"data": {"photo": "/etc/passwd"}}, 422, "InvalidRequest"),
        ("POST", "/v1/detect", {"data": {"photo": "http://x/y.jpg"}}, 422, "InvalidRequest"),
        ("GET", "/v1/people/999", {}, 404, "UnknownNameError"),
        ("GET", "/v1/people/abc", {}, 422, "InvalidRequest"),
        ("DELETE", "/v1/people/999", {}, 404, "UnknownNameError"),
        ("PATCH", "/v1/people/999", {"json": {"name": "x"}}, 404, "UnknownNameError"),
        ("PATCH", "/v1/people/999", {"json": {"nmae": "x"}}, 422, "InvalidRequest"),
        ("PATCH", "/v1/people/999", {"content": b"{"}, 422, "InvalidRequest"),
        ("POST", "/v1/people/1/merge", {"json": {"into": "a"}}, 422, "InvalidRequest"),
        ("GET", "/v1/jobs/none", {}, 404, "UnknownJob"),
        ("GET", "/v1/jobs/none/events", {}, 404, "UnknownJob"),
        ("GET", "/v1/people?limit=0", {}, 422, "InvalidRequest"),
        ("POST", "/v1/calibrate", {"json": {"false_match_rate": 0.9}}, 422, "InvalidRequest"),
    ],
)
def test_mistakes_get_our_error_shape(http, method, path, given, status, kind):
    answer = http.request(method, path, **given)
    assert answer.status_code == status
    words = answer.json()["error"]
    assert set(words) == {"type", "message", "request"}
    assert words["type"] == kind
    assert words["request"] == answer.headers["x-request-id"]
    for secret in ("Traceback", "/root", "/work", "site-packages", "passwd"):
        assert secret not in answer.text


def test_security_headers_are_on_every_answer(http):
    for path in ("/healthz", "/v1/people", "/v1/nowhere", "/nowhere", "/openapi.json"):
        headers = http.get(path, headers={"origin": "https://elsewhere.example"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers
    assert http.get("/v1/people").headers["cache-control"] == "no-store"


def test_pages_of_other_sites_cannot_ask(http, photos, server):
    files = {"photo": photos["coffee"]}
    for headers in (
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"origin": "http://127.0.0.1:1"},
    ):
        answer = http.post("/v1/detect", files=files, headers=headers)
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, "Forbidden")
    own = http.post("/v1/detect", files=files, headers={"origin": server.address})
    assert own.status_code == 200
    options = http.options("/v1/detect", headers={"origin": "https://elsewhere.example"})
    assert options.status_code == 405


def test_a_rebound_host_name_is_refused(http):
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example"):
        assert http.get("/v1/people", headers={"host": host}).status_code == 403
    assert http.get("/v1/people", headers={"host": "localhost:9"}).status_code == 200


# --- jobs ------------------------------------------------------------------------------


def picture(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_fast_painting_is_a_job_with_events_and_a_result(client, photos):
    job = client.style(photos["coffee"], method="fast", look="starry", size=128)
    states = list(client.events(job))
    assert states[-1].status == "done"
    assert states[-1].progress == 1.0
    progress = [state.progress for state in states]
    assert progress == sorted(progress)
    result = client.result(job)
    assert picture(result).shape == (85, 128, 3)
    assert picture(result).std() > 10
    assert client.preview(job)[:2] == b"\xff\xd8"
    assert client.jobs()[0].id == job.id
    client.delete_job(job)
    with pytest.raises(ServiceError, match="no such job"):
        client.job(job)


def test_a_job_that_paints_in_steps_shows_progress_and_can_be_cancelled(client, photos):
    job = client.style(photos["coffee"], photos["collins"], size=64, steps=6, seed=3)
    done = client.wait(job)
    assert done.status == "done"
    assert picture(client.result(job)).shape == (43, 64, 3)
    endless = client.style(photos["coffee"], photos["collins"], size=256, steps=2000)
    for state in client.events(endless):
        if state.status == "running" and state.progress > 0:
            client.cancel(endless)
    assert client.job(endless).status == "cancelled"
    with pytest.raises(ServiceError, match="it is cancelled"):
        client.result(endless)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "fast"}, "either paintings or a look"),
        ({"method": "fast", "look": "starry;rm"}, "built-in style"),
        ({"method": "optimise"}, "at least one painting"),
        ({"method": "optimise", "size": 4096}, "at most 1024"),
        ({"method": "fast", "look": "starry", "strength": 2}, "less than or equal to 1"),
        ({"preset": "best"}, "default"),
    ],
)
def test_a_painting_that_cannot_work_is_refused_at_once(client, photos, options, words):
    with pytest.raises((ServiceError, errors.InputError), match=words):
        client.style(photos["coffee"], **options)


# --- the rest --------------------------------------------------------------------------


def test_health_readiness_info_and_metrics(http, client, photos):
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ready"}
    info = client.info()
    assert info.presentation_attack_detection is False
    assert info.limits["max_bytes"] == 20 * 1024 * 1024
    client.detect(photos["coffee"])
    text = http.get("/metrics").text
    assert 'limner_requests_total{method="POST",route="/v1/detect",status="200"}' in text
    for name in ("limner_ready 1.0", "limner_batch_faces_bucket", "process_resident_memory_bytes"):
        assert name in text


def test_the_client_says_when_nobody_answers():
    from limner import Client

    with Client("http://127.0.0.1:9", patience_s=0) as nobody:
        assert not nobody.is_ready()
        with pytest.raises(ServiceError, match="cannot be reached"):
            nobody.people()
