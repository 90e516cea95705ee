"""Sizes in which work is handed to a device: few different ones, so that each can be prepared once and used again."""

from __future__ import annotations


def bucket(count: int) -> int:
    """The smallest power of two that is not below `count` (at least 1)."""
    return 1 << max(count - 1, 0).bit_length()
