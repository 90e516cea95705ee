"""What the arguments of commands may be: a wrong one is said in a sentence."""

from __future__ import annotations

import argparse
import math


def positive(text: str) -> int:
    """A whole number above 0, for `add_argument(type=positive)`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number above 0")
    return int(text)


def not_negative(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no whole number, 0 or more")
    return int(text)


def number(text: str) -> float:
    """A finite number, 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number, 0 or more")
    return value
