"""The OpenAPI document: complete, with examples that are true; and a fuzzer that reads it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from limner.service import Settings, create_app, schemas

ROOT = Path(__file__).resolve().parents[2]
METHODS = {"get", "post", "patch", "delete"}


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    app = create_app(Settings(state=tmp_path_factory.mktemp("state"), demand_keys=True))
    yield app.openapi()
    app.state.limner.close()


@pytest.fixture(scope="module")
def calls(document):
    return {
        f"{method.upper()} {path}": call
        for path, item in document["paths"].items()
        for method, call in item.items()
        if method in METHODS
    }


def test_every_call_is_described_with_an_example(calls):
    assert len(calls) >= 28
    for name, call in calls.items():
        assert call["summary"], name
        assert call["description"].endswith("."), name
        assert call["x-codeSamples"][0]["source"].startswith("curl "), name
        good = [answer for status, answer in call["responses"].items() if status < "3"]
        assert len(good) == 1, name
        for kind, media in good[0].get("content", {}).items():
            assert "example" in media or kind.startswith("image/"), (name, kind)
        for kind, media in call.get("requestBody", {}).get("content", {}).items():
            assert "example" in media, (name, kind)


def test_examples_are_valid_by_their_schemas(calls):
    checked = 0
    for call in calls.values():
        bodies = [call.get("requestBody", {}), *call["responses"].values()]
        for body in bodies:
            for media in body.get("content", {}).values():
                name = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
                if hasattr(schemas, name):
                    getattr(schemas, name).model_validate(media["example"])
                    checked += 1
    assert checked > 50


def test_every_error_has_our_shape(calls):
    for name, call in calls.items():
        for status, answer in call["responses"].items():
            if status >= "4":
                content = answer["content"]["application/json"]
                assert content["schema"]["$ref"].endswith("/Error"), (name, status)


def test_all_but_health_needs_a_key(calls):
    open_calls = {name for name, call in calls.items() if not call.get("security")}
    assert open_calls == {"GET /healthz", "GET /readyz"}


def test_no_call_takes_a_path_or_an_address(document, calls):
    """Only uploads: no parameter may name a file or a URL for the server to read."""
    text = str({name: call.get("parameters") for name, call in calls.items()})
    forms = {
        field
        for name, schema in document["components"]["schemas"].items()
        if name.startswith("Body_")
        for field, what in schema["properties"].items()
        if "contentMediaType" not in what and what.get("format") != "binary"
    }
    assert not {"url", "path", "file", "folder", "directory"} & forms
    assert not re.search(r"'name': '(url|path|file|folder)'", text)


def test_the_guide_names_every_call_and_no_other(calls):
    text = (ROOT / "docs" / "service.md").read_text("utf-8")
    named = set(re.findall(r"`((?:GET|POST|PATCH|DELETE) /[^` ?]*)`", text))
    assert named == set(calls)


def fuzz(server, count):
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    checks += ",response_schema_conformance,response_headers_conformance,negative_data_rejection"
    words = [f"{server.address}/openapi.json", "--checks", checks, "-n", str(count)]
    words += ["--phases", "examples,fuzzing", "--seed", "1", "--no-color", "--no-shrink"]
    words += ["--request-timeout", "60"]  # the first look into a network takes a while
    words += ["--generation-database", "none", "--continue-on-failure"]
    done = subprocess.run(
        [str(Path(sys.executable).parent / "st"), "run", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=server.folder,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "st_hooks",
            "PYTHONPATH": str(Path(__file__).parent),
            "NO_PROXY": "*",
        },
    )
    found = re.search(r"(\d+) generated", done.stdout)
    assert done.returncode == 0, done.stdout[-6000:]
    assert found, done.stdout[-3000:]
    return int(found[1])


def test_schemathesis_briefly(server):
    assert fuzz(server, 2) >= 60


@pytest.mark.slow
def test_schemathesis_with_2000_cases(server):
    assert fuzz(server, 100) >= 2_000
    assert "Traceback" not in (server.folder / "log").read_text()
