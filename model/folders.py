"""Folders that appear whole: one takes another's place in a single step, so that nobody ever finds none."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def put_in_place(scratch: Path, destination: Path) -> None:
    """Make the folder `scratch` the folder `destination`; an older one there is replaced in one step and removed.

    Where the operating system cannot exchange two folders (it is not Linux, or the file system refuses) the old folder
    steps aside first, and for a moment there is none.

    Raises:
        OSError: it cannot be moved; both folders are then where they were.
    """
    if not os.path.lexists(destination):
        os.replace(scratch, destination)
        return
    if not _exchange(scratch, destination):
        _step_aside(scratch, destination)
    _remove(scratch)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places; False where that cannot be done."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    arguments = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    if rename(*arguments) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), os.fspath(one), None, os.fspath(other))


def _step_aside(scratch: Path, destination: Path) -> None:
    """The exchange in three renames; `scratch` ends as the old folder, as after a real one."""
    aside = destination.with_name(destination.name + ".old")
    _remove(aside)
    os.replace(destination, aside)
    try:
        os.replace(scratch, destination)
    except OSError:
        os.replace(aside, destination)
        raise
    os.replace(aside, scratch)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
