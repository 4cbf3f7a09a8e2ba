"""What every benchmark needs: where the data is, what machine this is, where results go."""

from __future__ import annotations

import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from limner.device import cpu_threads, supports_bf16

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared" / "data"
RESULTS = REPOSITORY / "bench" / "results"


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, versions, commit."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    commit = subprocess.run(
        ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    packages = ("limner", "torch", "onnxruntime", "opencv-python-headless", "faiss-cpu", "numpy")
    return {
        "processor": model,
        "threads": cpu_threads(),
        "bf16": supports_bf16(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "commit": commit,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return old parts and new ones; `earlier` says on what machine the old ones were run."""
    earlier = {
        part: old["machine"]
        for part, value in old.items()
        if isinstance(value, dict | list) and part not in ("machine", "earlier")
    }
    earlier |= old.get("earlier", {})
    return {**old, **new, "earlier": {part: m for part, m in earlier.items() if part not in new}}


def save(name: str, results: dict[str, Any], *, merge: bool = False) -> Path:
    """Write results as JSON; with `merge`, keep the parts that were not run this time."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if merge and path.is_file():
        results = _merged(json.loads(path.read_text("utf-8")), results)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"written: {path}")
    return path
