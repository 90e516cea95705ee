"""Where a bundle can run: ONNX Runtime's execution providers, and in one sentence why CUDA is not among them.

Where CUDA cannot start ONNX Runtime falls back to the CPU without an exception. So the sessions are asked afterwards
what they really got, and only then is the cause looked for.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import io
import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: a thread would report home otherwise
import onnxruntime

from model.bundle import Precision
from service.engine.types import Device, DeviceError

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_BUILDS = ("onnxruntime", "onnxruntime-gpu")
_DRIVER = "libcuda.so.1"


@dataclasses.dataclass(frozen=True, slots=True)
class ProviderChoice:
    """What sessions are to run on."""

    device: Device
    providers: tuple[str, ...]
    """In order of preference."""
    fallback: str | None
    """Why it is not CUDA, if CUDA was wanted."""

    def confirm(self, provider: str) -> str | None:
        """Hold what a session really got against what was wanted; returns why it is not CUDA, if CUDA was wanted.

        Raises:
            DeviceError: `cuda` was asked for, and it is something else.
        """
        if CUDA not in self.providers or provider == CUDA:
            return self.fallback
        return _give_up(self.device, explain_failure())


def wanted_providers(device: Device, precision: Precision) -> ProviderChoice:
    """What to ask of ONNX Runtime. `auto` takes CUDA for fp16 bundles alone, and says so if it cannot.

    Raises:
        DeviceError: the device cannot run the bundle, or two builds of ONNX Runtime are mixed.
    """
    check_builds()
    if device == "cuda" and precision != "fp16":
        # Operators of int8 graphs exist on the CPU only, and CUDA's GroupQueryAttention takes 16-bit types only.
        raise DeviceError(f"an {precision} bundle runs on the CPU only; export with --precision fp16 for CUDA")
    if device == "cpu" or precision != "fp16":
        return ProviderChoice(device, (CPU,), None)
    fault = _build_fault() or driver_fault()
    if fault is not None:
        return ProviderChoice(device, (CPU,), _give_up(device, fault))
    _load_libraries()
    return ProviderChoice(device, (CUDA, CPU), None)


def _give_up(device: Device, reason: str) -> str:
    if device == "cuda":
        raise DeviceError(f"CUDA was asked for but cannot be used: {reason}")
    return reason


def check_builds() -> None:
    """Refuse both builds of ONNX Runtime in one place.

    Raises:
        DeviceError: they own the same folder, and which one is loaded depends on which was installed last.
    """
    places = [place for place in map(_place_of, _BUILDS) if place is not None]
    if len(places) > len(set(places)):
        raise DeviceError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: uninstall both, install one"
        )


def _place_of(package: str) -> Path | None:
    try:
        return Path(str(distribution(package).locate_file(""))).resolve()
    except PackageNotFoundError:
        return None


def device_memory() -> int:
    """Bytes in use on the first CUDA device, by all processes: what the driver says. Only where CUDA runs."""
    driver: Any = ctypes.CDLL(_DRIVER)
    context, free, total = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    # The context that ONNX Runtime uses; a thread has none until it takes one.
    driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
    driver.cuCtxPushCurrent_v2(context)
    driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    driver.cuCtxPopCurrent_v2(ctypes.byref(context))
    driver.cuDevicePrimaryCtxRelease_v2(0)
    return total.value - free.value


def _build_fault() -> str | None:
    if CUDA in onnxruntime.get_available_providers():
        return None
    return "this ONNX Runtime is the CPU build; install the gpu extra (onnxruntime-gpu) instead of cpu"


def driver_fault() -> str | None:
    """Why the NVIDIA driver cannot be used; None if it can."""
    try:
        driver: Any = ctypes.CDLL(_DRIVER)
    except OSError as error:
        return f"the NVIDIA driver is missing ({error})"
    status = driver.cuInit(0)
    if status:
        return f"the NVIDIA driver finds no usable GPU (cuInit gives error {status})"
    found = ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(found))
    needed = str(onnxruntime.cuda_version).partition(".")[0]
    if needed and found.value // 1000 < int(needed):
        return f"the NVIDIA driver is for CUDA {found.value // 1000}, this ONNX Runtime needs CUDA {needed}"
    return None


def _load_libraries() -> str:
    """Load the CUDA and cuDNN libraries that pip installed, where ONNX Runtime finds them; returns its complaints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        onnxruntime.preload_dlls()
    return said.getvalue()


def explain_failure() -> str:
    """Why CUDA did not start although there is a driver: what the CUDA provider needs and the system does not have."""
    library = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"a library it needs cannot be loaded ({error}); install the gpu extra, which brings CUDA and cuDNN"
    missing = [line for line in _load_libraries().splitlines() if line.startswith("Failed to load")]
    return missing[0] if missing else "ONNX Runtime could not start it and says why on standard error"
