"""Devices, threads and processor features."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from limner import device
from limner.errors import InputError, UnknownNameError


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIMNER_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    device.supports_bf16.cache_clear()


def test_cpu_and_auto_do_not_import_torch() -> None:
    code = (
        "import sys; from limner import device; device._signs_of_cuda = lambda: False; "
        "assert device.resolve('cpu') == 'cpu'; device.resolve('auto'); device.cpu_threads(); "
        "device.supports_bf16(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ("True" if sys.platform == "darwin" else "False")


@pytest.mark.parametrize("name", ["gpu", "CPU", "", "cuda:", "cuda:x", "cuda:-1", "tpu", None, 0])
def test_unknown_names_are_refused(name: object) -> None:
    with pytest.raises(UnknownNameError, match=r"device must be 'auto', 'cpu', .* got "):
        device.resolve(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_cuda_that_is_there(name: str, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_cuda_devices", lambda: 2)
    assert device.resolve(name) == f"cuda:{index}"


def test_cuda_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_cuda_devices", lambda: 0)
    with pytest.raises(InputError, match="'cuda' is not available: there is none here"):
        device.resolve("cuda")
    monkeypatch.setattr(device, "_cuda_devices", lambda: 2)
    with pytest.raises(InputError, match="the highest here is 'cuda:1'"):
        device.resolve("cuda:2")


def test_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_mps_works", lambda: False)
    monkeypatch.setattr(device, "_signs_of_cuda", lambda: True)
    monkeypatch.setattr(device, "_cuda_devices", lambda: 1)
    assert device.resolve() == "cuda:0"
    monkeypatch.setattr(device, "_cuda_devices", lambda: 0)  # a driver, but no card
    assert device.resolve("auto") == "cpu"
    monkeypatch.setattr(device, "_cuda_devices", lambda: pytest.fail("looked for a hidden card"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device.resolve("auto") == "cpu"
    monkeypatch.setattr(device, "_mps_works", lambda: True)
    assert device.resolve("auto") == "mps"
    assert device.resolve("mps") == "mps"


def test_mps_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_mps_works", lambda: False)
    with pytest.raises(InputError, match="'mps' is not available"):
        device.resolve("mps")


def test_threads_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_THREADS", " 3 ")
    assert device.cpu_threads() == 3


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "4096", "²"])
def test_a_wrong_number_of_threads_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_THREADS", value)
    with pytest.raises(InputError, match=f"LIMNER_THREADS must be .* got '{value}'"):
        device.cpu_threads()


@pytest.mark.parametrize(
    ("quota", "cores", "threads"),
    [
        ("max 100000", 8, 8),
        ("200000 100000", 8, 2),
        ("150000 100000", 8, 2),
        ("50000 100000", 8, 1),
        ("900000 100000", 4, 4),
        ("nonsense", 4, 4),
        ("1 0", 4, 4),
    ],
)
def test_cgroup_v2(
    quota: str, cores: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(device, "_CGROUP", tmp_path)
    monkeypatch.setattr(device, "_cores", lambda: cores)
    assert device.cpu_threads() == threads


@pytest.mark.parametrize(("quota", "threads"), [(-1, 8), (300000, 3), (1000, 1)])
def test_cgroup_v1(
    quota: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(str(quota))
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    monkeypatch.setattr(device, "_CGROUP", tmp_path)
    monkeypatch.setattr(device, "_cores", lambda: 8)
    assert device.cpu_threads() == threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
def test_affinity() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert device.cpu_threads() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ("flags\t\t: fpu avx2 avx512f", False),
        ("flags\t\t: fpu avx512_bf16 avx512f", True),
        ("processor : 0\nflags : amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags : avx512_bf16x", False),
        ("", False),
    ],
)
def test_bf16(flags: str, has: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(flags)
    monkeypatch.setattr(device, "_SYSTEM", "Linux")
    monkeypatch.setattr(device, "_CPUINFO", path)
    assert device.supports_bf16() is has


def test_bf16_without_cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_SYSTEM", "Linux")
    monkeypatch.setattr(device, "_CPUINFO", tmp_path / "absent")
    assert device.supports_bf16() is False
