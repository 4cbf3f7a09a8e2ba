"""Malformed and hostile requests without end, the same for a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

PATHS = (
    "/v1/detect", "/v1/embed", "/v1/compare", "/v1/identify", "/v1/verify", "/v1/lookalike",
    "/v1/people", "/v1/people/1", "/v1/people/1/photos", "/v1/people/1/merge", "/v1/style",
    "/v1/jobs", "/v1/jobs/x/events", "/v1/jobs/x/result", "/v1/models", "/v1/classify",
    "/v1/units/nothing", "/v1/units", "/v1/info", "/v1/calibrate", "/metrics", "/healthz",
    "/openapi.json", "/", "/config", "/gradio_api/queue/join", "/gradio_api/upload",
    "/gradio_api/file=/etc/passwd", "/gradio_api/queue/data", "/gradio_api/info",
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "x")
FIELDS = ("photo", "photos", "a", "b", "content", "styles", "name", "box", "pick", "file", "model")
Kind = Callable[["random.Random", str, str], bytes]


def head(method: str, path: str, host: str, *more: str) -> bytes:
    """Return a request's head."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *more]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"


def _noise(r: random.Random, host: str, key: str) -> bytes:
    return r.randbytes(r.randrange(1, 2000))


def _path(r: random.Random, host: str, key: str) -> bytes:
    harm = r.choice(
        ["/../../etc/passwd", "%00", "%2e%2e%2f" * 5, "%ff%fe", "?" + "a=1&" * 500, "#x",
         "//evil.example/", "/" * 300, "%0d%0aX-Evil: 1", ";jsessionid=1", "?limit=-1&offset=1e99",
         "?name=" + "%f0%9f%92%a9" * 200, "/9" * 100, "/-1", "/9007199254740993", "/NaN"]
    )  # fmt: skip
    return head(r.choice(METHODS), r.choice(PATHS) + harm, host, key)


def _lengths(r: random.Random, host: str, key: str) -> bytes:
    lines = r.choice(
        [["Content-Length: 5", "Content-Length: 6"], ["Content-Length: -1"],
         ["Content-Length: 5", "Transfer-Encoding: chunked"], ["Transfer-Encoding: chunked, x"],
         ["Content-Length: 99999999999999999999"], ["Content-Length: 0x10"],
         ["Transfer-Encoding: \x0bchunked"], ["Content-Length: +5"], ["Content-Length: 5 5"]]
    )  # fmt: skip
    return (
        head("POST", r.choice(PATHS), host, key, *lines) + b"0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n"
    )


def _chunks(r: random.Random, host: str, key: str) -> bytes:
    body = r.choice(
        [b"zz\r\nabc\r\n0\r\n\r\n", b"5\r\nabc", b"ffffffffffffffff\r\nx", b"-1\r\nx\r\n0\r\n\r\n",
         b"1;" + b"x" * 5000 + b"\r\na\r\n0\r\n\r\n", b"0\r\nX: " + b"y" * 9000 + b"\r\n\r\n"]
    )  # fmt: skip
    kind = "Content-Type: application/json"
    return head("POST", r.choice(PATHS), host, key, kind, "Transfer-Encoding: chunked") + body


def _headers(r: random.Random, host: str, key: str) -> bytes:
    lines = r.choice(
        [["X: " + "y" * 70_000], [f"X-{n}: y" for n in range(3000)], ["Authorization: Basic !!!"],
         ["Authorization: Bearer"], ["Authorization: Bearer " + "x" * 5000],
         ["Cookie: " + "a=b;" * 900],
         ["Origin: http://evil.example"], ["Sec-Fetch-Site: cross-site"], ["X : y"], [" folded"],
         ["Range: bytes=0-,1-,2-" + ",3-" * 300], ["Accept-Encoding: " + "gzip," * 500],
         ["X-Forwarded-Host: evil.example"], ["X-Forwarded-Prefix: /x"], ["Upgrade: websocket",
          "Connection: Upgrade", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"],
         ["Expect: 100-continue", "Content-Length: 3"], ["If-None-Match: " + "\"x\"," * 500]]
    )  # fmt: skip
    return head(r.choice(METHODS), r.choice(PATHS), host, key, *lines)


def _json(r: random.Random, host: str, key: str) -> bytes:
    body = r.choice(
        [b"[" * 50_000, b"{\"a\":" * 9000, b"NaN", b"1e999999", b"\"\\ud800\"",
         b"{\"name\": \"\\u0000\"}",
         b"{\"into\": 1e400}", b"{\"false_match_rate\": \"x\"}", b"\xff\xfe{}", b"{" * 3, b"null",
         b"{\"false_match_rate\": 1" + b"0" * 5000 + b"}", b"{\"a\": 1, \"a\": 2}",
         b"{\"data\": [{\"path\": \"/etc/passwd\", \"meta\": {}}], \"fn_index\": 0}",
         b"{\"fn_index\": -1, \"data\": null, \"session_hash\": [1]}"]
    )  # fmt: skip
    method = r.choice(("POST", "PATCH", "DELETE", "PUT"))
    lines = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    return head(method, r.choice(PATHS), host, key, *lines) + body


def _form(r: random.Random, host: str, key: str) -> bytes:
    boundary = r.choice(("b", "x" * 300, "b b", "", "--", "b\x00"))
    mark = boundary.encode("latin-1")
    parts = []
    for _ in range(r.choice((0, 1, 2, 5, 1200))):
        name = r.choice((*FIELDS, "x" * 3000, 'a"b', "../x", "\u00e9"))
        file = r.choice(
            ("", '; filename="../../etc/passwd"', '; filename="a\x00b"', "; filename*=x")
        )
        text = f'Content-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        data = r.choice(
            (b"", b"\xff\xd8\xff" + r.randbytes(60), b"x" * 50, b"1,2,3,4", r.randbytes(9))
        )
        parts.append(b"--" + mark + b"\r\n" + text.encode("latin-1") + data + b"\r\n")
    end = r.choice((b"--" + mark + b"--\r\n", b"", b"--" + mark, b"--nothing--"))
    body = b"".join(parts) + end
    kind = r.choice(
        (
            f"multipart/form-data; boundary={boundary}",
            "multipart/form-data",
            "application/x-www-form-urlencoded",
            "text/plain",
            "image/jpeg; charset=\xff",
        )
    )
    lines = (f"Content-Type: {kind}", f"Content-Length: {len(body)}")
    return head("POST", r.choice(PATHS), host, key, *lines) + body


def _half(r: random.Random, host: str, key: str) -> bytes:
    whole = _form(r, host, key)
    return whole[: r.randrange(1, len(whole))]


def _several(r: random.Random, host: str, key: str) -> bytes:
    return b"".join(head("GET", r.choice(PATHS), host, key) for _ in range(r.randrange(2, 20)))


KINDS: tuple[Kind, ...] = (
    _noise, _path, _lengths, _chunks, _headers, _json, _form, _half, _several,
)  # fmt: skip


def requests(
    count: int, host: str, keys: list[str], *, seed: int = 0
) -> Iterator[tuple[str, bytes]]:
    """Yield kinds and requests."""
    r = random.Random(seed)
    for _ in range(count):
        kind = r.choice(KINDS)
        key = r.choice((*keys, *keys, *keys, "", "Bearer limner_000000000000_" + "x" * 43))
        line = f"Authorization: Bearer {key}" if key else "X-Nothing: 1"
        yield kind.__name__.strip("_"), kind(r, host, line)
