"""What commands do alike: who tells of arguments that are too many, and what becomes of errors. Torch-free."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from model.errors import ModelError

OK, FAILED, BAD_INPUT, INTERRUPTED, NOBODY_READS = 0, 1, 2, 130, 141
"""Exit statuses: done; not done, or not all of it; asked for something impossible; stopped with Ctrl-C; nobody reads
what is written, as behind `| head`."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The errors of a disk, and not of whoever named the file."""


class Parser(argparse.ArgumentParser):
    """A parser of which the innermost command tells of arguments that are too many, and not the outermost."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        """As its parent does, but nothing is left over."""
        found, extras = super().parse_known_args(args, namespace)
        if extras:
            self.error(f"unrecognized arguments: {' '.join(extras)}")
        return found, extras


def sentence_of(error: BaseException) -> str:
    """An error as one line for a person."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'standard output'}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError):
        return f"this needs {error.name}, which serving does not install: pip install '.[train]' in the source tree"
    return " ".join(line.strip() for line in str(error).splitlines()) or type(error).__name__


def exit_status(command: Callable[[], int | None], *mendable: type[Exception], prefix: str = "error: ") -> int:
    """Run a command; returns its exit status. What a person can mend is one sentence on standard error.

    Args:
        command: may return a status of its own.
        mendable: further exceptions, beside `ModelError`, of which the text is a sentence for a person.
        prefix: what stands before it.
    """
    faults: tuple[type[Exception], ...] = (ModelError, ModuleNotFoundError, OSError, *mendable)
    try:
        try:
            return command() or OK
        finally:
            sys.stdout.flush()  # what is wrong with writing is found now, and not when the interpreter ends
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return NOBODY_READS
    except faults as error:
        is_full = isinstance(error, OSError) and error.errno in _FULL
        if is_full:
            _forget_output()
        print(f"{prefix}{sentence_of(error)}", file=sys.stderr)
        return FAILED if is_full else BAD_INPUT


def _forget_output() -> None:
    """Let what could not be written not be tried again when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
