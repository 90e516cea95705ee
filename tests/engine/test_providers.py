"""Where a bundle runs is what its session got; why it is not CUDA is one sentence with the cause in it."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from service.engine.decoder import providers
from service.engine.decoder.providers import CPU, CUDA, DeviceError, ProviderChoice, wanted_providers

MISSING = "libcublasLt.so.13: cannot open shared object file: No such file or directory"


def driver(status: int = 0, version: int = 13000) -> Any:
    def version_of(place: Any) -> int:
        place._obj.value = version
        return 0

    return SimpleNamespace(cuInit=lambda flags: status, cuDriverGetVersion=version_of)


def libraries(found: dict[str, Any]) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        if Path(name).name in found:
            return found[Path(name).name]
        raise OSError(MISSING if "providers_cuda" in name else f"{name}: cannot open shared object file")

    return load


@pytest.fixture
def cuda_build(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """A machine with onnxruntime-gpu and these libraries."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0", raising=False)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcurand.so.10: no such file"))
    return lambda found: monkeypatch.setattr(ctypes, "CDLL", libraries(found))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({}, r"the NVIDIA driver is missing \(libcuda\.so\.1: cannot open shared object file\)"),
        ({"libcuda.so.1": driver(status=100)}, r"no usable GPU \(cuInit gives error 100\)"),
        ({"libcuda.so.1": driver(version=12040)}, r"driver is for CUDA 12, this ONNX Runtime needs CUDA 13"),
    ],
)
def test_without_a_driver_cuda_is_refused_and_auto_says_why(
    cuda_build: Callable[[dict[str, Any]], None], found: dict[str, Any], reason: str
) -> None:
    cuda_build(found)
    with pytest.raises(DeviceError, match=rf"CUDA was asked for but cannot be used: .*{reason}"):
        wanted_providers("cuda", "fp16")
    wanted = wanted_providers("auto", "fp16")
    assert wanted.providers == (CPU,)
    assert wanted.fallback == wanted.confirm(CPU)
    assert re.search(reason, str(wanted.fallback))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"libcuda.so.1": driver()}, f"cannot be loaded ({MISSING}); install the gpu extra"),
        ({"libcuda.so.1": driver(), "libonnxruntime_providers_cuda.so": 1}, "Failed to load libcurand.so.10"),
    ],
)
def test_a_session_that_fell_back_is_noticed_and_the_missing_library_named(
    cuda_build: Callable[[dict[str, Any]], None], capsys: pytest.CaptureFixture[str], found: dict[str, Any], reason: str
) -> None:
    cuda_build(found)
    wanted = wanted_providers("auto", "fp16")
    assert wanted.providers == (CUDA, CPU)
    assert wanted.confirm(CUDA) is None
    assert reason in str(wanted.confirm(CPU))
    with pytest.raises(DeviceError, match="CUDA was asked for but cannot be used"):
        wanted_providers("cuda", "fp16").confirm(CPU)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_only_fp16_is_taken_to_cuda(cuda_build: Callable[[dict[str, Any]], None], precision: Any) -> None:
    cuda_build({"libcuda.so.1": driver()})
    assert wanted_providers("auto", precision) == ProviderChoice("auto", (CPU,), None)
    with pytest.raises(DeviceError, match=f"an {precision} bundle runs on the CPU only"):
        wanted_providers("cuda", precision)


@pytest.mark.parametrize(
    ("places", "mixed"),
    [
        ({"onnxruntime": "/site", "onnxruntime-gpu": "/site"}, True),
        ({"onnxruntime": "/site", "onnxruntime-gpu": "/elsewhere"}, False),  # one shadows the other, whole
        ({"onnxruntime": "/site"}, False),
        ({"onnxruntime-gpu": "/site"}, False),
        ({}, False),
    ],
)
def test_two_builds_in_one_folder_are_refused(
    monkeypatch: pytest.MonkeyPatch, places: dict[str, str], mixed: bool
) -> None:
    def distribution(name: str) -> Any:
        if name not in places:
            raise providers.PackageNotFoundError(name)
        return SimpleNamespace(locate_file=lambda path: places[name])

    monkeypatch.setattr(providers, "distribution", distribution)
    if mixed:
        with pytest.raises(DeviceError, match="both installed and overwrite each other"):
            wanted_providers("cpu", "int8")
    else:
        wanted_providers("cpu", "int8")


def test_memory_in_use_is_what_the_driver_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def memory(free: Any, total: Any) -> None:
        free._obj.value, total._obj.value = 3_000, 80_000

    calls: list[str] = []
    fake = SimpleNamespace(
        cuDevicePrimaryCtxRetain=lambda *a: calls.append("retain"), cuCtxPushCurrent_v2=lambda *a: calls.append("push"),
        cuMemGetInfo_v2=memory, cuCtxPopCurrent_v2=lambda *a: calls.append("pop"),
        cuDevicePrimaryCtxRelease_v2=lambda *a: calls.append("release"),
    )  # fmt: skip
    monkeypatch.setattr(ctypes, "CDLL", libraries({"libcuda.so.1": fake}))
    assert providers.device_memory() == 77_000
    assert calls == ["retain", "push", "pop", "release"]
