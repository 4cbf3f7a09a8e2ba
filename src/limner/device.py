"""Which processor does the arithmetic, and how much of it there is.

torch takes seconds to import, so nothing here imports it unless a GPU is asked for, or there
are signs of one.
"""

from __future__ import annotations

import ctypes.util
import math
import os
import platform
import re
import subprocess
from functools import lru_cache
from pathlib import Path

from limner.errors import InputError, MissingExtraError, UnknownNameError

_SYSTEM = platform.system()
_CPUINFO = Path("/proc/cpuinfo")
_CGROUP = Path("/sys/fs/cgroup")
_NVIDIA = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/nvhost-gpu", "/dev/kfd")
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


def resolve(name: str = "auto") -> str:
    """Return the device to compute on.

    Args:
        name: ``auto`` (a GPU that works, else the CPU), ``cpu``, ``cuda``, ``cuda:N`` or
            ``mps``.

    Returns:
        ``cpu``, ``cuda:N`` or ``mps``: a name that torch accepts.

    Raises:
        UnknownNameError: If the name is none of these.
        InputError: If that device is not there.
        MissingExtraError: If a GPU was asked for and torch cannot be imported.
    """
    if name == "cpu":
        return "cpu"
    if name == "auto":
        return _auto()
    if name == "mps":
        if not _mps_works():
            raise InputError("device 'mps' is not available here; use 'cpu' or 'auto'.")
        return "mps"
    wanted = re.fullmatch(r"cuda(?::(\d{1,3}))?", name) if isinstance(name, str) else None
    if wanted is None:
        raise UnknownNameError(
            f"device must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got {name!r}."
        )
    index = int(wanted[1] or 0)
    count = _cuda_devices()
    if index >= count:
        there = "there is none here" if count == 0 else f"the highest here is 'cuda:{count - 1}'"
        raise InputError(f"device {name!r} is not available: {there}; use 'cpu' or 'auto'.")
    return f"cuda:{index}"


def _auto() -> str:
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() not in ("", "-1"):
        try:
            if _signs_of_cuda() and _cuda_devices() > 0:
                return "cuda:0"
        except MissingExtraError:
            return "cpu"
    try:
        return "mps" if _mps_works() else "cpu"
    except MissingExtraError:
        return "cpu"


def _signs_of_cuda() -> bool:
    """Look for a driver without importing torch: device files, or the driver's library."""
    if _SYSTEM == "Linux":
        return any(Path(p).exists() for p in _NVIDIA)
    return _SYSTEM == "Windows" and ctypes.util.find_library("nvcuda") is not None


def _cuda_devices() -> int:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(f"torch cannot be imported: {error}.") from error
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _mps_works() -> bool:
    if _SYSTEM != "Darwin" or platform.machine() != "arm64":
        return False
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(f"torch cannot be imported: {error}.") from error
    return bool(torch.backends.mps.is_available())


def cpu_threads() -> int:
    """Return how many threads computation should use.

    ``LIMNER_THREADS`` decides where it is set. Otherwise it is the number of cores that this
    process may run on, cut to the container's CPU quota (cgroup v1 or v2), and at least 1.

    Raises:
        InputError: If ``LIMNER_THREADS`` is not a whole number of at least 1.
    """
    wanted = os.environ.get("LIMNER_THREADS", "").strip()
    if wanted:
        if not wanted.isascii() or not wanted.isdigit() or not 1 <= int(wanted) <= 1024:
            raise InputError(
                f"LIMNER_THREADS must be a whole number from 1 to 1024, got {wanted!r}."
            )
        return int(wanted)
    cores = _cores()
    quota = _quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _cores() -> int:
    if _SYSTEM == "Linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota() -> float | None:
    """Return the container's quota in cores, or None where there is none."""
    try:
        limit, period = (_CGROUP / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        pass
    try:
        limit_us = int((_CGROUP / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((_CGROUP / "cpu/cpu.cfs_period_us").read_text())
        return limit_us / period_us if limit_us > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def resolve_onnx(name: str = "auto") -> str:
    """Return the device on which ONNX Runtime computes.

    Args:
        name: As for `resolve`; ``auto`` is a GPU where ONNX Runtime itself can use it.

    Returns:
        ``cpu`` or ``cuda:N``.

    Raises:
        UnknownNameError: If the name is none of these.
        InputError: If that device is not there, or ONNX Runtime has nothing for it.
        MissingExtraError: If ONNX Runtime was built without that GPU's provider.
    """
    if name == "cpu":
        return "cpu"
    import onnxruntime

    able = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if name == "auto":
        return "cuda:0" if able and resolve("auto") == "cuda:0" else "cpu"
    where = resolve(name)
    if not where.startswith("cuda"):
        raise InputError(f"ONNX Runtime does not compute on {where!r}; use 'cpu' or 'auto'.")
    if not able:
        raise MissingExtraError(
            f"ONNX Runtime here cannot compute on {where!r}: install onnxruntime-gpu in place of "
            "onnxruntime, or use 'cpu'."
        )
    return where


@lru_cache(maxsize=8)
def supports_bf16(device: str = "cpu") -> bool:
    """Tell whether a device multiplies bfloat16 in hardware.

    On a CPU that is AVX512-BF16, AMX, or Arm's bf16; on a GPU it is compute capability 8 or
    more. Without the hardware, bfloat16 is emulated and slower than float32.

    Args:
        device: As `resolve` returns it.
    """
    if device.startswith("cuda"):
        import torch

        return bool(torch.cuda.get_device_capability(device)[0] >= 8)
    if device != "cpu":
        return False
    if _SYSTEM == "Linux":
        return bool(_linux_flags() & (_BF16_FLAGS | {"bf16"}))
    if _SYSTEM == "Darwin":
        return _sysctl("hw.optional.arm.FEAT_BF16") == "1"
    return False


def _linux_flags() -> frozenset[str]:
    try:
        text = _CPUINFO.read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", text, flags=re.MULTILINE)
    return frozenset(line[1].split()) if line else frozenset()


def _sysctl(key: str) -> str:
    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "-n", key], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
