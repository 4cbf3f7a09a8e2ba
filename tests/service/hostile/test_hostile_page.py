"""The page: it gives away no file, fetches no address, decodes within limits, keeps nothing."""

from __future__ import annotations

import io
import os
import time

import httpx
import pytest
from page_client import PageClient, file
from PIL import Image

from limner.studio import page_guard
from limner.studio.uploads import Uploads

SECRET = b"a secret that no page may show"


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


def picture(**options) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "green").save(buffer, options.pop("kind", "PNG"), **options)
    return buffer.getvalue()


# --- C1: files ----------------------------------------------------------------


def test_no_event_takes_a_file_that_was_not_uploaded(attacked, secret):
    """The four requests that gave away any file."""
    mine = attacked.upload("mine.png", picture())
    folder = os.path.dirname(os.path.dirname(mine))
    wanted = [
        str(secret),
        "/proc/self/environ",
        "/etc/passwd",
        f"{folder}/../../../../../../etc/passwd",
        str(attacked.running.folder / "g.limner"),
        "pyproject.toml",
        "../secret",
    ]
    for path in wanted:
        for event in range(8):
            answer = attacked.join(event, [file(path)])
            assert answer.status_code == 422, (path, event)
            assert path not in answer.text
    link = attacked.get("/gradio_api/deep_link", params={"session_hash": attacked.session})
    assert link.status_code == 404
    for path in (*wanted, f"{folder}/deep_links/x/state.json"):
        answer = attacked.get(f"/gradio_api/file={path}")
        assert answer.status_code in (403, 404), path
        assert SECRET not in answer.content
    assert attacked.get(f"/gradio_api/file={mine}").content == picture()


def test_a_link_among_the_uploads_leads_nowhere(tmp_path, secret):
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "link").symlink_to(secret)
    for path in ("link", "..", "../secret", "", "nowhere/../../secret", "a\0b"):
        with pytest.raises(ValueError, match="only files that were uploaded"):
            page_guard.uploaded(f"{tmp_path}/uploads/{path}/../..", tmp_path / "uploads")
    with pytest.raises(ValueError, match="only files"):
        page_guard.uploaded(str(tmp_path / "uploads" / "link"), tmp_path / "uploads")


def test_what_the_page_does_not_need_is_not_there(attacked):
    session = {"session_hash": attacked.session}
    for path in (
        "/gradio_api/deep_link",
        "/gradio_api/component_server",
        "/gradio_api/process_recording",
        "/gradio_api/proxy=http://127.0.0.1:9/",
        "/gradio_api/vibe-code",
        "/gradio_api/vibe-edit",
        "/gradio_api/dev/reload",
        "/gradio_api/runs",
        "/gradio_api/openapi.json",
        "/gradio_api/call/predict",
        "/gradio_api/user",
        "/gradio_api/token",
        "/gradio_api/stream/a/b/c/playlist.m3u8",
        "/gradio_api/custom_component/a/b/c/d",
        "/monitoring",
        "/monitoring/summary",
        "/login",
        "/pwa_icon",
        "/gradio_api//queue/data",
        "/static/../gradio_api/deep_link",
    ):
        assert attacked.get(path, params=session).status_code in (403, 404), path
    for path in ("run/predict", "api/predict", "call/predict", "call/v2/predict", "login"):
        body = {"data": [], "fn_index": 0, **session}
        assert attacked.post(f"/gradio_api/{path}", json=body).status_code == 404, path
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert attacked.request(method, "/gradio_api/upload").status_code in (403, 404, 405)


# --- C2: visitors of a Space --------------------------------------------------


def test_visitors_of_a_space_do_not_see_each_others_paintings(space, visitor):
    folder = space.folder / "service" / "jobs"
    bob = visitor(space)
    with PageClient(space) as alice:
        with alice.stream("GET", f"/gradio_api/heartbeat/{alice.session}"):
            photo = file(alice.upload("a.png", picture()))
            chosen = [{"image": photo, "caption": None}]
            wish = (0.5, "The painting's", 256, 1, "A painting")
            assert alice.join(alice.event("style-paint", "click"), photo, chosen, *wish).is_success
            _wait_until(lambda: os.listdir(folder))
            (job,) = os.listdir(folder)
            opened = bob.run(bob.event("style-history", "submit"), event_data={"job": job})
            assert "no such job" in str(opened)
            shown = str(bob.run(_opening(bob, "style-history"), False))
            assert "Before" not in shown
            assert job not in shown
            bob.run(bob.event("style-stop", "click"), job)
            assert os.listdir(folder) == [job], "nobody else ends it"
            assert bob.get(f"/v1/jobs/{job}/result").status_code == 404
    _wait_until(lambda: not os.listdir(folder))  # she has gone, and so has her job


def _opening(guest, elem_id):
    """Return the event that fills a tab when it is opened."""
    part = guest.component(elem_id)
    return next(
        event["id"]
        for event in guest.config["dependencies"]
        if part in event["outputs"] and any(name == "select" for _, name in event["targets"])
    )


def test_a_finished_painting_is_its_visitors_own(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from limner.service import Settings, work
    from limner.service.jobs import Jobs
    from limner.service.state import State
    from limner.studio import style
    from limner.studio.desk import Desk

    def paint(running):
        (running.folder / work.RESULT).write_bytes(picture())

    monkeypatch.setattr(work, "KINDS", {"style": paint})
    settings = Settings(state=tmp_path / "state")
    state = State(settings.state_folder)
    jobs = Jobs(state, settings)
    jobs.start()
    alice, bob = (SimpleNamespace(session_hash=name) for name in ("alice", "bob"))
    for strangers in (True, False):
        engine = SimpleNamespace(jobs=jobs, settings=settings)
        desk = Desk(engine, strangers=strangers)  # type: ignore[arg-type]
        job = jobs.submit("style", {}, {"content": b"x"}, desk.who(alice))
        _wait_until(lambda job=job: job.status == "done")
        assert (job in jobs.all(desk.who(bob))) is not strangers
        assert bool(style.past(desk, bob)) is not strangers
        desk.leave(bob)
        assert (job in jobs.all(desk.who(alice))) is strangers
    jobs.close()
    state.close()


# --- H6: addresses ------------------------------------------------------------


def test_the_page_fetches_nothing(attacked):
    for address in (
        "http://example.invalid/x",
        "https://example.invalid/x",
        "http://127.0.0.1:9/",
        "HTTP://example.invalid/x",
        "ftp://example.invalid/x",
        "//example.invalid/x",
    ):
        assert attacked.get(f"/gradio_api/file={address}").status_code in (403, 404), address
        for event in range(4):
            assert attacked.join(event, file(address)).status_code == 422
        deep = {"a": [{"b": {"image": file(address)}}]}
        assert attacked.join(0, deep).status_code == 422


def test_pages_of_other_sites_start_nothing(attacked):
    foreign = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    for path in ("/", "/config", "/gradio_api/info", "/gradio_api/file=/etc/passwd"):
        assert attacked.get(path, headers=foreign).status_code == 403, path
    follows = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert attacked.get("/", headers=follows).status_code == 200, "a link may lead here"
    assert attacked.post("/gradio_api/upload", headers=follows).status_code == 403


# --- M8: CORS -----------------------------------------------------------------


def test_no_header_lets_another_origin_read(attacked):
    for origin in ("http://localhost:3000", "http://evil.example", "null"):
        for path in ("/", "/config", "/gradio_api/info", "/theme.css", "/healthz", "/v1/people"):
            for method in ("GET", "OPTIONS"):
                asks = {"origin": origin, "access-control-request-method": "POST"}
                answer = attacked.request(method, path, headers=asks)
                sent = [name for name in answer.headers if name.startswith("access-control-")]
                assert sent == [], (path, origin)


# --- H7: pictures and bodies --------------------------------------------------

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize(
    "elem_id",
    ["alike-photo", "compare-a", pytest.param("units-picture", marks=pytest.mark.slow)],
)
def test_a_program_called_png_is_not_run(house, visitor, elem_id, tmp_path):
    """Pillow would hand it to Ghostscript; the refusal is limner's own sentence."""
    guest = visitor(house)
    given = file(guest.upload("x.png", POSTSCRIPT))
    more = {"alike-photo": ["24 sample portraits", 3], "compare-a": [given], "units-picture": []}
    values = [given, *more[elem_id]]
    if elem_id == "units-picture":
        values.append("vgg16_hed")
    said = guest.run(guest.event(elem_id, "change"), *values)
    assert "is not a picture" in str(said), said


def test_a_bomb_on_the_page_is_refused_by_its_header(house, visitor):
    guest = visitor(house)
    buffer = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(buffer, "PNG")
    given = file(guest.upload("x.png", buffer.getvalue()))
    said = guest.run(guest.event("alike-photo", "change"), given, "24 sample portraits", 3)
    assert "at most 50,000,000 pixels" in str(said)


def test_bodies_of_the_page_are_bounded(attacked):
    large = [("files", (f"{n}.png", b"x" * (3 << 20))) for n in range(10)]
    assert attacked.post("/gradio_api/upload", files=large).status_code == 413

    def chunks():
        head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n'
        yield head
        for _ in range(64):
            yield b"x" * (1 << 20)

    kind = {"content-type": "multipart/form-data; boundary=b"}
    try:
        answer = attacked.post("/gradio_api/upload", content=chunks(), headers=kind)
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # the line was cut, which is as good
    assert attacked.join(0, "x" * (2 << 20)).status_code == 413
    assert attacked.post("/gradio_api/cancel", content=b"[" * 100_000).status_code == 422
    assert attacked.post("/gradio_api/queue/join", content=b"\xff{").status_code == 422


# --- M3: what is left behind --------------------------------------------------


def test_uploads_are_swept_by_age_and_by_a_start(tmp_path):
    folder = tmp_path / "page"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "photo.png").write_bytes(b"of a service that was killed")
    uploads = Uploads(folder, kept_s=100)
    assert os.listdir(folder) == []
    (folder / "a").mkdir()
    for name, age_s in (("a/old", 200), ("new", 10)):
        (folder / name).write_bytes(b"x")
        then = time.time() - age_s
        os.utime(folder / name, (then, then))
    uploads.sweep()
    assert sorted(os.listdir(folder)) == ["a", "new"]
    assert os.listdir(folder / "a") == []


def test_uploads_lie_in_the_private_state_folder(attacked):
    path = attacked.upload("mine.png", picture())
    states = {"house": "state", "space": "service"}
    state = next(attacked.running.folder / s for s in states.values() if s in path)
    assert path.startswith(str(state / "page"))
    assert (state / "page").stat().st_mode & 0o777 == 0o700


def _wait_until(true, seconds=30):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)
