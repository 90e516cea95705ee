"""How far the work is: a bar on a terminal, plain lines elsewhere, a summary at the end. All on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import click

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Tells of one input after another. Use it in a `with`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._is_terminal = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_bar()

    def begin(self, name: str, unit: str, done: int, bytes_done: int, bytes_all: int | None) -> Callable[..., None]:
        """Begin with an input of so many bytes, of which some were done before; returns what is called with the
        numbers of units, of failed ones and of bytes that are done now."""
        began = last = time.monotonic()
        if done and not self._quiet:
            click.echo(f"{name}: goes on behind {done:,} {unit}", err=True)
        if self._is_terminal and not self._quiet and bytes_all:
            self._bar = click.progressbar(
                length=bytes_all, label=name, file=sys.stderr, item_show_func=lambda said: said, width=0
            )
            self._bar.__enter__()
            self._bar.update(bytes_done)
        seen = bytes_done

        def note(units: int, failed: int, place: int) -> None:
            nonlocal last, seen
            now = time.monotonic()
            rate = (units - done) / max(now - began, 1e-9)
            if self._bar is not None:
                self._bar.update(place - seen, f"{units:,} {unit}, {rate:,.0f}/s" + _failures(failed))
            elif not self._quiet and now - last >= _SECONDS_BETWEEN_LINES:
                last = now
                left = _left(place - bytes_done, bytes_all and bytes_all - place, now - began)
                click.echo(f"{name}: {units:,} {unit}, {rate:,.0f}/s{left}{_failures(failed)}", err=True)
            seen = place

        return note

    def end(self, name: str, unit: str, count: int, failed: int, seconds: float) -> None:
        """Tell what has been done since `begin`."""
        self._end_bar()
        if not self._quiet:
            rate = count / max(seconds, 1e-9)
            click.echo(f"{name}: {count:,} {unit} in {seconds:,.1f} s, {rate:,.0f}/s{_failures(failed)}", err=True)

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def _left(done: int, left: int | None, seconds: float) -> str:
    """How long the rest will take, going by what is done."""
    if left is None or done <= 0:
        return ""
    return f", {duration(left * seconds / done)} left, {100 * done / (done + left):.0f} %"


def _failures(failed: int) -> str:
    return f", {failed:,} not translated" if failed else ""


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
