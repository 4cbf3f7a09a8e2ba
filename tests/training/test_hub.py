"""Push and pull against a server on this machine that speaks the hub's protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import unquote

import numpy as np
import pytest

from limner import images
from limner.errors import InputError
from limner.training.hub import HubError, pull, push
from limner.training.model_folder import TrainedModel

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """A hub with one repository, in memory: enough for create, preupload, LFS, commit, download."""

    files: ClassVar[dict[str, bytes]] = {}
    blobs: ClassVar[dict[str, bytes]] = {}
    created: ClassVar[list[dict[str, object]]] = []
    asked: ClassVar[list[str]] = []

    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, document, status=200, headers=None):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def host(self):
        return f"http://{self.headers['Host']}"

    def do_POST(self):
        Hub.asked.append(self.path)
        data = self.body()
        if self.path == "/api/repos/create":
            Hub.created.append(json.loads(data))
            return self.answer({"url": f"{self.host}/me/faces", "id": "x", "name": "me/faces"})
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = json.loads(data)["files"]
            return self.answer(
                {
                    "files": [
                        {
                            "path": f["path"],
                            "uploadMode": "lfs" if f["path"].endswith(".onnx") else "regular",
                            "shouldIgnore": False,
                            "oid": None,
                        }
                        for f in files
                    ]
                }
            )
        if self.path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(data)["objects"]
            upload = lambda o: {"href": f"{self.host}/blob/{o['oid']}", "header": {}}  # noqa: E731
            return self.answer(
                {
                    "transfer": "basic",
                    "objects": [{**o, "actions": {"upload": upload(o)}} for o in objects],
                }
            )
        if "/commit/" in self.path:
            for line in data.decode().splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    Hub.files[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    Hub.files[value["path"]] = Hub.blobs[value["oid"]]
            return self.answer(
                {
                    "commitUrl": f"{self.host}/me/faces/commit/{COMMIT}",
                    "commitOid": COMMIT,
                    "success": True,
                }
            )
        return self.answer({"error": self.path}, 404)

    def do_PUT(self):
        Hub.asked.append(self.path)
        Hub.blobs[self.path.rpartition("/")[2].partition("?")[0]] = self.body()
        self.answer({})

    def do_GET(self):
        Hub.asked.append(self.path)
        path = unquote(self.path.partition("?")[0])
        if "/absent" in path:
            return self.answer(
                {"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"}
            )
        if "/tree/" in path:
            return self.answer(
                [
                    {"type": "file", "path": p, "size": len(d), "oid": hashlib.sha1(d).hexdigest()}
                    for p, d in Hub.files.items()
                ]
            )
        if found := re.search(r"/resolve/[^/]+/(.+)$", path):
            data = Hub.files.get(found[1])
            if data is None:
                return self.answer({"error": "no entry"}, 404, {"X-Error-Code": "EntryNotFound"})
            digest = hashlib.sha256(data).hexdigest()
            headers = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            return self.answer(data, 200, headers)
        if path.startswith("/api/models/"):
            return self.answer(
                {
                    "id": "me/faces",
                    "sha": COMMIT,
                    "private": True,
                    "siblings": [{"rfilename": p} for p in Hub.files],
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                }
            )
        return self.answer({"error": path}, 404)

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch, tmp_path):
    Hub.files, Hub.blobs, Hub.created, Hub.asked = {}, {}, [], []
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    # the stand-in speaks plain LFS; Xet is a service of its own
    monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    made = TrainedModel(folder, "classifier", "toy", "whole", 32, ("a", "b"), 2)
    made.save()
    (folder / "model.onnx").write_bytes(np.random.default_rng(0).bytes(3000))
    (folder / "README.md").write_text("# card\n")
    (folder / "last.ckpt").write_bytes(b"secret state")
    images.write(folder / "faces.jpg", np.zeros((96, 192, 3), np.uint8))
    (folder / "cache").mkdir()
    (folder / "cache" / "chips.npz").write_bytes(b"other people's faces")
    return folder


def test_what_is_pushed_comes_back_and_nothing_else_leaves(hub, model, tmp_path):
    where = push(model, "me/faces", endpoint=hub, token="hf_test")
    assert COMMIT in where
    made = Hub.created[0]
    assert made.get("visibility") == "private" or made.get("private") is True
    assert set(Hub.files) == {"model.onnx", "model.json", "README.md", "faces.jpg"}
    target = pull("me/faces", tmp_path / "theirs", endpoint=hub, token="hf_test")
    assert {p.name for p in target.iterdir()} == set(Hub.files)
    for name in Hub.files:
        assert (target / name).read_bytes() == (model / name).read_bytes()


def test_a_pull_that_fails_leaves_nothing(hub, model, tmp_path):
    with pytest.raises(HubError, match="did not do it for me/absent"):
        pull("me/absent", tmp_path / "theirs", endpoint=hub, token="hf_test")
    Hub.files["README.md"] = b"# something else\n"
    with pytest.raises(InputError, match=r"no model of limner: there is no model\.json"):
        pull("me/faces", tmp_path / "theirs", endpoint=hub, token="hf_test")
    assert not (tmp_path / "theirs").exists()
    assert not list(tmp_path.glob(".pull-*"))


def test_a_hub_that_is_not_there(model, tmp_path):
    with pytest.raises(HubError, match="did not do it"):
        push(model, "me/faces", endpoint="http://127.0.0.1:9", token="hf_test")


def test_names_and_folders_are_checked_before_anything_is_sent(hub, model, tmp_path):
    with pytest.raises(InputError, match="OWNER/NAME"):
        push(model, "faces", endpoint=hub)
    with pytest.raises(InputError, match="is not a trained model"):
        push(tmp_path / "empty", "me/faces", endpoint=hub)
    with pytest.raises(InputError, match="exists already"):
        pull("me/faces", model, endpoint=hub)
    assert Hub.asked == []
