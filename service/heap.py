"""How the processes of the service ask the C library for memory."""

from __future__ import annotations

import ctypes
import sys

# By their numbers in malloc.h: M_ARENA_MAX, M_TRIM_THRESHOLD, M_MMAP_THRESHOLD.
_MALLOC = {-8: 1, -1: 1_000_000, -3: 131_072}


def keep_one_heap() -> None:
    """Where the C library is glibc: one heap for all threads, and what is large outside of it.

    Otherwise every thread has a heap of its own, and each grows to the largest that ever happened in it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in _MALLOC.items():
            mallopt(parameter, value)
