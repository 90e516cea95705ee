"""How the processes of the service ask the C library for memory."""

from __future__ import annotations

import ctypes
import sys

# By their numbers in malloc.h.
_ARENA_MAX, _TRIM_THRESHOLD, _MMAP_THRESHOLD = -8, -1, -3
_SMALL, _FEW = 131_072, 1_000_000
_LARGE, _MANY = 4_194_304, 16_777_216


def keep_one_heap(*, for_arrays: bool = False) -> None:
    """Where the C library is glibc: one heap for all threads, and what is large outside of it.

    Otherwise every thread has a heap of its own, and each grows to the largest that ever happened in it. `for_arrays`:
    the process makes arrays of a megabyte at every step. They come from the heap, and it keeps as much as they need;
    asking the system for each, and touching its pages for the first time, took a twentieth of an engine's time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
        mallopt(_TRIM_THRESHOLD, _MANY if for_arrays else _FEW)
        mallopt(_MMAP_THRESHOLD, _LARGE if for_arrays else _SMALL)
