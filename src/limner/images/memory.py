"""How much memory is free, so that a giant picture is refused instead of ending the process."""

from __future__ import annotations

from pathlib import Path

from limner.errors import ImageError

_MEMINFO = Path("/proc/meminfo")
_GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
_SHARE = 0.8
"""Of the free memory, what one picture may take."""


def free_bytes() -> int | None:
    """Return how much memory this process can still have; None where the system does not say."""
    found = []
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError, IndexError):
        pass
    for most, used in _GROUPS:  # a container's own limit
        try:
            found.append(int(most.read_text()) - int(used.read_text()))
        except (OSError, ValueError):  # "max": no limit
            continue
    return max(0, min(found)) if found else None


def fits(need_bytes: int) -> bool:
    """Tell whether so many bytes can be had, as far as the system says."""
    free = free_bytes()
    return free is None or need_bytes <= _SHARE * free


def check_fits(need_bytes: int, name: str) -> None:
    """Refuse a picture that would need more memory than is free.

    Args:
        need_bytes: What decoding it takes at most.
        name: How the picture is called in the message.

    Raises:
        ImageError: If it does not fit.
    """
    if not fits(need_bytes):
        free = free_bytes() or 0
        raise ImageError(
            f"{name} does not fit into memory: decoding it takes about {need_bytes / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free. Make it smaller, or end other programs."
        )
