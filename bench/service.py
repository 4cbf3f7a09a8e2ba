"""Benchmark of the service: a real server on loopback, and a load generator beside it.

``python bench/service.py [PART...]`` with the parts latency, throughput, cost, overload, soak,
kill, fuzz, decoding; all of them if none is named. ``--short F`` divides every count and time by F.
Results go to ``bench/results/service.json``. Server and load generator share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image

import common
from limner import images
from limner.faces import YuNet, load_embedder
from limner.gallery import Gallery
from limner.types import Embedding
from service_decoding import decoding

PEOPLE = 10_000
SERVE = Path(__file__).parents[1] / "tests" / "service" / "serve_with.py"


def portraits(count: int = 24) -> list[bytes]:
    """Return photos in which one face is found: LFW's if they are there, else the astronaut's."""
    folder = common.DATA / "lfw" / "images"
    if folder.is_dir():
        paths = sorted(folder.glob("*/*_0001.jpg"))[:: max(1, 4000 // count)]
        detector = YuNet()
        alone = (p for p in paths if len(detector.detect(images.read(p))) == 1)
        return [path.read_bytes() for path in itertools.islice(alone, count)]
    import skimage.data

    picture = Image.fromarray(skimage.data.astronaut()[:250, 100:350])
    return [jpeg(picture.rotate(angle)) for angle in range(count)]


def jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    """Return a picture as JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def fill(path: Path, people: int) -> None:
    """Make a gallery of made-up people of the default embedder."""
    embedder_id = load_embedder().embedder_id
    rows = np.random.default_rng(0).standard_normal((people, 128)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with Gallery.open(path, create=True) as gallery:
        gallery.enroll_many(
            (f"person {n:05d}", Embedding(row, embedder_id)) for n, row in enumerate(rows)
        )


class Server:
    """A server in a process of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings = {
            "port": 0,
            "gallery": str(folder / "g.limner"),
            "state": str(folder / "state"),
            **settings,
        }
        self.address = ""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> float:
        """Start it; return the seconds until it was ready."""
        began = time.perf_counter()
        with open(self.folder / "log", "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(SERVE), json.dumps(self.settings)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        with httpx.Client(base_url=self.address, trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/readyz").status_code == 200:
                        return time.perf_counter() - began
                if time.perf_counter() - began > 120:
                    raise SystemExit((self.folder / "log").read_text())
                time.sleep(0.02)

    def end(self, how: int = signal.SIGTERM) -> None:
        """End it by a signal and wait."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            if self.process.stdout is not None:
                self.process.stdout.close()

    def cpu_s(self) -> float:
        """Return the processor time that it has used."""
        assert self.process is not None
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def rss_mib(self) -> float:
        """Return its resident memory."""
        assert self.process is not None
        return psutil.Process(self.process.pid).memory_info().rss / 2**20


@contextlib.contextmanager
def serving(*, people: int = 0, **settings: Any) -> Iterator[Server]:
    """Run a server on a fresh gallery."""
    with tempfile.TemporaryDirectory(prefix="limner-bench-") as name:
        folder = Path(name)
        if people:
            fill(folder / "g.limner", people)
        server = Server(folder, **settings)
        server.start()
        try:
            yield server
        finally:
            server.end()


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Return p50, p95 and p99 in milliseconds."""
    p50, p95, p99 = np.percentile(np.asarray(seconds) * 1000, [50, 95, 99])
    return {"p50_ms": round(p50, 2), "p95_ms": round(p95, 2), "p99_ms": round(p99, 2)}


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, payload: bytes
) -> str:
    """Send one request and read its answer; return the status."""
    async with asyncio.timeout(60):
        writer.write(payload)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length is not None, head
        await reader.readexactly(int(length[1]))
    return head[9:12].decode()


async def drive(
    address: str,
    payload: Callable[[int], bytes],
    *,
    clients: int,
    count: int = 0,
    seconds: float = 0.0,
) -> tuple[list[float], Counter[str], float]:
    """Let clients ask one after the other; return latencies, statuses and seconds.

    Requests go over the wire as bytes: generator and server share two cores, and what the
    generator takes, the server lacks.
    """
    latencies: list[float] = []
    statuses: Counter[str] = Counter()
    asked = 0
    began = time.perf_counter()

    async def client() -> None:
        nonlocal asked
        line = await connect(address)
        while True:
            number, asked = asked, asked + 1
            if (count and number >= count) or (seconds and time.perf_counter() - began > seconds):
                break
            data = payload(number)
            start = time.perf_counter()
            try:
                status = await exchange(*line, data)
            except (OSError, EOFError) as error:
                status, line = type(error).__name__, await connect(address)
            statuses[status] += 1
            if status.startswith("2"):
                latencies.append(time.perf_counter() - start)
        line[1].close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return latencies, statuses, time.perf_counter() - began


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a line to the server."""
    host, _, port = address.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


def encoded(address: str, path: str, given: dict[str, Any]) -> bytes:
    """Return a request as it goes over the wire."""
    request = httpx.Request(given.pop("method", "POST"), address + path, **given)
    body = request.read()
    lines = [f"{request.method} {request.url.raw_path.decode()} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def identify(address: str, photos: list[bytes]) -> Callable[[int], bytes]:
    """Return requests that identify the photos in turn, encoded beforehand."""
    ready = [encoded(address, "/v1/identify", {"files": {"photo": photo}}) for photo in photos]
    return lambda n: ready[n % len(ready)]


def latency(short: float) -> dict[str, Any]:
    """One client, one face, 10,000 people."""
    photos = portraits()
    with serving(people=PEOPLE) as server:
        asking = identify(server.address, photos)
        asyncio.run(drive(server.address, asking, clients=1, count=40))
        times, statuses, _ = asyncio.run(
            drive(server.address, asking, clients=1, count=int(600 / short))
        )
    return {"requests": len(times), "people": PEOPLE, "statuses": statuses, **quantiles(times)}


def throughput(short: float) -> dict[str, Any]:
    """Sixteen clients against one, in turns of equal length."""
    photos, rounds = portraits(), max(1, round(3 / short))
    rows: dict[int, list[dict[str, Any]]] = {1: [], 16: []}
    with serving(people=PEOPLE) as server:
        asking = identify(server.address, photos)
        asyncio.run(drive(server.address, asking, clients=16, count=100))
        for _ in range(rounds):
            for clients, kept in rows.items():
                times, statuses, seconds = asyncio.run(
                    drive(server.address, asking, clients=clients, seconds=20 / short)
                )
                rate = len(times) / seconds
                kept.append({"per_second": rate, "statuses": statuses, **quantiles(times)})
        batches = metric(server, "limner_batch_faces_sum") / metric(
            server, "limner_batch_faces_count"
        )
    ratios = [b["per_second"] / a["per_second"] for a, b in zip(rows[1], rows[16], strict=True)]
    return {
        "one": rows[1],
        "sixteen": rows[16],
        "ratio": sorted(ratios)[len(ratios) // 2],
        "ratios": ratios,
        "mean_batch": batches,
    }


def cost(short: float) -> dict[str, Any]:
    """Processor time of the server for a request, which other people's work hardly changes."""
    photos = portraits()
    found: dict[str, Any] = {}
    with serving(people=PEOPLE) as server:
        asking = identify(server.address, photos)
        asyncio.run(drive(server.address, asking, clients=16, count=64))
        for clients, count in ((1, 240), (16, 480)):
            faces = metric(server, "limner_batch_faces_sum")
            passes = metric(server, "limner_batch_faces_count")
            before = server.cpu_s()
            _, statuses, seconds = asyncio.run(
                drive(server.address, asking, clients=clients, count=int(count / short))
            )
            spent = server.cpu_s() - before
            faces = metric(server, "limner_batch_faces_sum") - faces
            found[f"clients_{clients}"] = {
                "cpu_ms": 1000 * spent / sum(statuses.values()),
                "seconds": seconds,
                "statuses": statuses,
                "mean_batch": faces / (metric(server, "limner_batch_faces_count") - passes),
            }
    return found


def metric(server: Server, name: str) -> float:
    """Return one figure of /metrics."""
    text = httpx.get(f"{server.address}/metrics", trust_env=False).text
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(name)))


def overload(short: float) -> dict[str, Any]:
    """Four times what it can do, for two minutes, by a steady stream that does not wait."""
    photos = portraits()
    with serving(people=1_000, queue=16) as server:
        asking = identify(server.address, photos)
        asyncio.run(drive(server.address, asking, clients=16, count=150))
        times, _, seconds = asyncio.run(drive(server.address, asking, clients=8, seconds=8))
        capacity = len(times) / seconds
        # warm at the load that is measured, so that growth is growth
        asyncio.run(stream(server.address, photos, rate=4 * capacity, seconds=15 / short))
        before = server.rss_mib()
        statuses, ok = asyncio.run(
            stream(server.address, photos, rate=4 * capacity, seconds=120 / short)
        )
        after = server.rss_mib()
        began = time.perf_counter()
        while True:  # recovered: an answer at its usual speed
            start = time.perf_counter()
            answer = httpx.post(
                f"{server.address}/v1/identify",
                files={"photo": photos[0]},
                timeout=30,
                trust_env=False,
            )
            if answer.status_code == 200 and time.perf_counter() - start < 0.5:
                break
        recovered = time.perf_counter() - began
    return {
        "capacity_per_second": capacity,
        "offered_per_second": sum(statuses.values()) / (120 / short),
        "statuses": statuses,
        "answered": quantiles(ok),
        "rss_before_mib": before,
        "rss_after_mib": after,
        "growth": after / before - 1,
        "recovered_s": recovered,
    }


async def stream(
    address: str, photos: list[bytes], *, rate: float, seconds: float
) -> tuple[Counter[str], list[float]]:
    """Send requests at a rate whatever the answers; at most 400 are open at once."""
    statuses: Counter[str] = Counter()
    ok: list[float] = []
    payload = identify(address, photos)
    free: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def one(number: int) -> None:
        start = time.perf_counter()
        try:
            line = free.popleft() if free else await connect(address)
            status = await exchange(*line, payload(number))
        except (OSError, EOFError) as error:
            statuses[type(error).__name__] += 1
            return
        free.append(line)
        statuses[status] += 1
        if status == "200":
            ok.append(time.perf_counter() - start)

    open_now: set[asyncio.Task[None]] = set()
    began, number = time.perf_counter(), 0
    while (now := time.perf_counter() - began) < seconds:
        while number < now * rate and len(open_now) < 400:
            task = asyncio.create_task(one(number))
            open_now.add(task)
            task.add_done_callback(open_now.discard)
            number += 1
        await asyncio.sleep(0.005)
    await asyncio.gather(*open_now)
    for _, writer in free:
        writer.close()
    return statuses, ok


def soak(short: float) -> dict[str, Any]:
    """Mixed requests, 5 % of them with corrupt pictures."""
    photos, total = portraits(), int(20_000 / short)
    chance = random.Random(0)
    expected: Counter[str] = Counter()

    def request(number: int) -> tuple[str, dict[str, Any]]:
        data = photos[number % len(photos)]
        draw = chance.random()
        if draw < 0.05:
            expected["422"] += 1
            harmed = data[: len(data) // 3] if chance.random() < 0.5 else chance.randbytes(2_000)
            return "/v1/identify", {"files": {"photo": harmed}}
        expected["2xx"] += 1
        if draw < 0.45:
            return "/v1/identify", {"files": {"photo": data}}
        if draw < 0.65:
            return "/v1/detect", {"files": {"photo": data}}
        if draw < 0.75:
            return "/v1/people", {
                "files": {"photos": data},
                "data": {"name": f"person {number % 200}", "pick": "largest"},
            }
        if draw < 0.85:
            return "/v1/people?limit=20", {"method": "GET"}
        if draw < 0.95:
            return "/v1/info", {"method": "GET"}
        return "/v1/lookalike", {"files": {"photo": data}, "data": {"pick": "largest"}}

    with serving() as server:

        def payload(number: int) -> bytes:
            return encoded(server.address, *request(number))

        asyncio.run(drive(server.address, payload, clients=4, count=min(1_000, total // 4)))
        expected.clear()
        before = server.rss_mib()
        seconds, statuses = 0.0, Counter[str]()
        marks = [before]
        for _ in range(10):
            _, found, took = asyncio.run(
                drive(server.address, payload, clients=4, count=total // 10)
            )
            statuses += found
            seconds += took
            marks.append(server.rss_mib())
        faults = (server.folder / "log").read_text().count("Traceback")
    good = sum(count for status, count in statuses.items() if status in ("200", "201"))
    return {
        "requests": sum(statuses.values()),
        "seconds": seconds,
        "statuses": statuses,
        "expected": expected,
        "unexpected": abs(good - expected["2xx"]) + abs(statuses["422"] - expected["422"]),
        "rss_mib": [round(mark, 1) for mark in marks],
        "growth_mib": marks[-1] - before,
        "traces_in_log": faults,
    }


def kill(short: float) -> dict[str, Any]:
    """Kill the server under load, again and again; what was acknowledged must be there."""
    times = max(2, round(20 / short))
    photos = portraits()
    acknowledged: set[str] = set()
    starts: list[float] = []
    missing: list[str] = []
    number = 0
    with tempfile.TemporaryDirectory(prefix="limner-bench-") as name:
        server = Server(Path(name))
        server.start()
        for turn in range(times):
            number = asyncio.run(_enrol_until_killed(server, photos, acknowledged, number))
            starts.append(server.start())
            known: set[str] = set()
            with httpx.Client(base_url=server.address, trust_env=False, timeout=60) as client:
                while True:
                    query = {"limit": 10_000, "offset": len(known)}
                    page = client.get("/v1/people", params=query).json()
                    known |= {person["name"] for person in page["people"]}
                    if len(known) >= page["count"]:
                        break
            missing += sorted(acknowledged - known)
            print(f"kill {turn + 1}: {len(acknowledged)} acknowledged, up in {starts[-1]:.1f} s")
        server.end()
    return {
        "kills": times,
        "acknowledged": len(acknowledged),
        "missing": missing,
        "start_s": {"median": float(np.median(starts)), "longest": max(starts)},
    }


async def _enrol_until_killed(
    server: Server, photos: list[bytes], acknowledged: set[str], number: int
) -> int:
    async with httpx.AsyncClient(base_url=server.address, trust_env=False, timeout=60) as http:
        dead = asyncio.Event()

        async def client() -> None:
            nonlocal number
            while not dead.is_set():
                mine, number = number, number + 1
                try:
                    answer = await http.post(
                        "/v1/people",
                        files={"photos": photos[mine % len(photos)]},
                        data={"name": f"person {mine}", "pick": "largest"},
                    )
                except httpx.TransportError:
                    return
                if answer.status_code == 201:
                    acknowledged.add(f"person {mine}")

        clients = [asyncio.create_task(client()) for _ in range(8)]
        before, wanted = len(acknowledged), random.Random(number).randint(3, 40)
        until = time.perf_counter() + 90
        while len(acknowledged) - before < wanted and time.perf_counter() < until:
            await asyncio.sleep(0.002)
        await asyncio.to_thread(server.end, signal.SIGKILL)
        dead.set()
        await asyncio.gather(*clients)
    return number


def fuzz(short: float) -> dict[str, Any]:
    """Mutated pictures of every kind, through the API: no crash, no hang above 2 s."""
    total = int(20_000 / short)
    seeds = _seeds()
    chance = random.Random(7)
    slow: list[float] = []
    paths = ("/v1/detect", "/v1/detect", "/v1/embed", "/v1/identify")

    def request(number: int) -> tuple[str, dict[str, Any]]:
        data = _mutated(chance.choice(seeds), chance)
        return chance.choice(paths), {"files": {"photo": data}}

    with serving(max_pixels=4_000_000) as server:
        assert server.process is not None
        pid = server.process.pid
        statuses: Counter[str] = Counter()
        longest = 0.0
        for _ in range(10):
            worst, found = asyncio.run(_timed(server.address, request, total // 10))
            statuses += found
            longest = max(longest, worst)
            slow.append(worst)
        alive = server.process.poll() is None and server.process.pid == pid
        faults = (server.folder / "log").read_text().count("Traceback")
        rss = server.rss_mib()
    return {
        "inputs": sum(statuses.values()),
        "kinds": len(seeds),
        "statuses": statuses,
        "longest_s": longest,
        "alive": alive,
        "traces_in_log": faults,
        "rss_mib": rss,
    }


async def _timed(
    address: str, request: Callable[[int], tuple[str, dict[str, Any]]], count: int
) -> tuple[float, Counter[str]]:
    """Return the longest time of any answer, good or not, and the statuses."""
    longest, asked = 0.0, 0
    statuses: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=address, timeout=30, trust_env=False) as http:

        async def client() -> None:
            nonlocal longest, asked
            while asked < count:
                asked += 1
                path, given = request(asked)
                start = time.perf_counter()
                try:
                    statuses[str((await http.post(path, **given)).status_code)] += 1
                except httpx.TransportError as error:
                    statuses[type(error).__name__] += 1
                longest = max(longest, time.perf_counter() - start)

        await asyncio.gather(*(client() for _ in range(2)))
    return longest, statuses


def _seeds() -> list[bytes]:
    """Return one small picture in every format that is read."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    picture = Image.open(io.BytesIO(portraits(1)[0])).convert("RGB").resize((96, 96))
    found = []
    for kind, mode, options in (
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {"progressive": True}),
        ("JPEG", "CMYK", {}),
        ("PNG", "RGB", {}),
        ("PNG", "P", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "I;16", {}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "RGB", {"compression": "jpeg"}),
        ("TIFF", "F", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("JPEG2000", "RGB", {}),
        ("PPM", "RGB", {}),
        ("HEIF", "RGB", {}),
        ("AVIF", "RGB", {}),
    ):
        with contextlib.suppress(OSError, KeyError, ValueError):
            source = picture if mode != "I;16" else picture.convert("L").convert("I;16")
            buffer = io.BytesIO()
            source.convert(mode).save(buffer, kind, **options)
            found.append(buffer.getvalue())
    return found


def _mutated(data: bytes, chance: random.Random) -> bytes:
    """Return a file with a few bytes changed, cut, doubled or torn out."""
    body = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = (
            chance.randrange(len(body))
            if chance.random() < 0.6
            else chance.randrange(min(len(body), 256))
        )
        way = chance.randrange(6)
        if way == 0:
            body[at] ^= 1 << chance.randrange(8)
        elif way == 1:
            body[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif way == 2:
            body[at : at + 4] = chance.choice(
                (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff")
            )
        elif way == 3:
            del body[at : at + chance.randrange(1, 64)]
        elif way == 4:
            body[at:at] = body[at : at + chance.randrange(1, 64)]
        else:
            body[at : at + 8] = chance.randbytes(8)
        if not body:
            return b"\0"
    return bytes(body[: chance.randrange(1, len(body) + 1)] if chance.random() < 0.1 else body)


PARTS: dict[str, Callable[[float], dict[str, Any]]] = {
    "latency": latency,
    "throughput": throughput,
    "cost": cost,
    "overload": overload,
    "soak": soak,
    "kill": kill,
    "fuzz": fuzz,
    "decoding": decoding,
}


def main() -> None:
    """Run the parts that were named, and save what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--short", type=float, default=1.0, help="divide counts and times")
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.parts) - set(PARTS))
    if unknown:
        parser.error(f"parts are {', '.join(PARTS)}; got {', '.join(unknown)}.")
    results: dict[str, Any] = {"machine": common.machine()}
    for name in chosen.parts or PARTS:
        load = os.getloadavg()[0]
        began = time.perf_counter()
        found = PARTS[name](chosen.short)
        found |= {"load_before": round(load, 2), "took_s": round(time.perf_counter() - began, 1)}
        if chosen.short != 1:
            found["shortened_by"] = chosen.short
        print(name, json.dumps(found, indent=1))
        results[name] = found
        common.save("service", results, merge=True)


if __name__ == "__main__":
    main()
