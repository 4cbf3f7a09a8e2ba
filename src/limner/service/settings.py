"""What a service is started with: one frozen, checked value."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from limner.device import cpu_threads
from limner.images import Limits

STATE_VARIABLE = "LIMNER_SERVICE"
MEBI = 1024 * 1024


def default_state() -> Path:
    """Return the folder of keys, jobs and the audit log: `LIMNER_SERVICE`, or user data."""
    named = os.environ.get(STATE_VARIABLE)
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_data_dir("limner", appauthor=False)) / "service"


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Settings(BaseModel):
    """What a service is started with.

    Attributes:
        gallery: The gallery file; made if it is missing. Default: as the command line's.
        state: Folder of keys, jobs and the audit log. Default: `default_state`.
        host: Address that the server listens on.
        port: Its port.
        demand_keys: Whether requests need an API key; None: wherever `host` is not loopback.
        embedder: A name of the registry or an ONNX file; None: the gallery's own, else sface.
        device: As `limner.device.resolve` takes it.
        min_size: Smallest face, longer side in pixels; None: as `limner.FaceAnalyzer` has it.
        min_score: Lowest score of the detector.
        models: Folder of classifiers that may be named in requests; None for none.
        keep_chips: Whether enrolment keeps face crops in the gallery.
        max_bytes: Largest upload, all of a request's files together, in bytes.
        max_pixels: Largest picture, width times height.
        max_faces: Most faces of one photo.
        max_photos: Most photos of one request.
        max_people: Most people that one key may enrol.
        requests_per_minute: Of one key; the caller without a key on loopback is not counted.
        queue: Requests with uploads that may be under way or waiting; more are answered 429.
        batch: Faces that go through the network at once.
        threads: Workers; None for one a core.
        max_style_px: Longest side of a painted picture.
        max_jobs: Jobs that may wait.
        keep_results_h: Hours after which a finished job and its result are deleted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gallery: Path | None = None
    state: Path | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    demand_keys: bool | None = None
    embedder: str | None = None
    device: str = "auto"
    min_size: float | None = Field(default=None, ge=8.0, le=10_000.0)
    min_score: float = Field(default=0.6, gt=0.0, lt=1.0)
    models: Path | None = None
    keep_chips: bool = False
    max_bytes: int = Field(default=20 * MEBI, ge=1024)
    max_pixels: int = Field(default=50_000_000, ge=1024)
    max_faces: int = Field(default=100, ge=1)
    max_photos: int = Field(default=16, ge=1, le=1000)
    max_people: int = Field(default=10_000, ge=1)
    requests_per_minute: int = Field(default=600, ge=1)
    queue: int = Field(default=64, ge=1, le=10_000)
    batch: int = Field(default=16, ge=1, le=256)
    threads: int | None = Field(default=None, ge=1, le=1024)
    max_style_px: int = Field(default=1024, ge=64, le=8192)
    max_jobs: int = Field(default=20, ge=1, le=1000)
    max_key_jobs: int = Field(default=5, ge=1, le=1000)
    max_results: int = Field(default=50, ge=1, le=10_000)
    keep_results_h: float = Field(default=24.0, gt=0)

    @model_validator(mode="after")
    def _check_host(self) -> Settings:
        if not self.host or any(c.isspace() or c in "/?#@" for c in self.host):
            raise ValueError(f"host must be an address or a host name, got {self.host!r}.")
        return self

    @property
    def limits(self) -> Limits:
        """The most bytes and pixels of a picture, which no client can raise: no word of how."""
        return Limits(
            max_bytes=self.max_bytes,
            max_pixels=self.max_pixels,
            max_decoded_bytes=4 * self.max_pixels,
            advice="Make it smaller.",
        )

    @property
    def keys_demanded(self) -> bool:
        """Whether every request needs an API key."""
        return not is_loopback(self.host) if self.demand_keys is None else self.demand_keys

    @property
    def state_folder(self) -> Path:
        """The folder of keys, jobs and the audit log."""
        return default_state() if self.state is None else self.state

    @property
    def workers(self) -> int:
        """How many threads find and embed faces: at most one a core."""
        cores = cpu_threads()
        return cores if self.threads is None else min(self.threads, cores)
