"""Where the bundle is that the service serves if nobody names one."""

from __future__ import annotations

from pathlib import Path

NAME = "attend-zh-fr-en-int8"
_HERE = Path(__file__).resolve().parent


def shipped_bundle(package: Path = _HERE) -> Path:
    """The directory of the shipped bundle, for the package `service` in this directory.

    A source tree and the container image have it beside the package, an installed wheel inside it.
    """
    beside = package.parent / "bundles" / NAME
    return beside if beside.is_dir() else package / "bundles" / NAME
