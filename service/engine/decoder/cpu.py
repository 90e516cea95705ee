"""What the processor can do with 8-bit integers.

ONNX Runtime multiplies unsigned by signed bytes. With VNNI instructions the sums are exact; x86 without them adds pairs
in 16 bits, which overflow and saturate.
"""

from __future__ import annotations

import platform
from pathlib import Path

_VNNI = frozenset({"avx512_vnni", "avx512vnni", "avx_vnni", "amx_int8"})
_X86 = frozenset({"x86_64", "AMD64", "i386", "i686"})
CPU_INFO = Path("/proc/cpuinfo")


def int8_saturates(machine: str | None = None, cpu_info: Path = CPU_INFO) -> bool:
    """Whether sums of 8-bit products may saturate here; where the processor does not say, it is assumed on x86."""
    return (machine or platform.machine()) in _X86 and _VNNI.isdisjoint(_flags(cpu_info).split())


def instructions(cpu_info: Path = CPU_INFO) -> str:
    """What kind of processor this is, and which instructions it says that it has."""
    return f"{platform.machine()} {_flags(cpu_info)}"


def _flags(cpu_info: Path) -> str:
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
