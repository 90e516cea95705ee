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
    if (machine or platform.machine()) not in _X86:
        return False
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return _VNNI.isdisjoint(flags.split())
