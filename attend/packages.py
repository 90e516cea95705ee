"""Our packages have plain names. Here is found out whether others of these names stand before them on the path."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from attend.errors import PackagesError

NAMES = ("service", "model", "export", "tools")
"""The top-level packages that are installed together with `attend`."""


def home(name: str) -> Path | None:
    """The directory that holds a package, or None if there is no such package."""
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(places[0]).resolve().parent if places else None


@functools.cache
def check_packages() -> None:
    """Refuse to go on with packages of other projects.

    Raises:
        PackagesError: one of `NAMES` is missing, or is not from where `attend` is from.
    """
    ours = Path(__file__).resolve().parents[1]
    for name in NAMES:
        found = home(name)
        if found is None:
            raise PackagesError(f"the package '{name}' of Attend is missing; install Attend again")
        if found != ours:
            raise PackagesError(
                f"the package '{name}' in {found} stands before Attend's own in {ours}: start from another directory, "
                "take it off PYTHONPATH, or install Attend into a virtual environment of its own"
            )
