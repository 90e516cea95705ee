"""Which importer reads a path."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from export.importers import ctranslate2, huggingface, marian
from export.importers.kinds import kind_of
from export.importers.request import Request
from export.network import Network


@contextlib.contextmanager
def read_any(path: Path, request: Request) -> Iterator[Network]:
    """The network in a folder or package of whatever kind; its files are there while the context lasts.

    Raises:
        CheckpointError: there is none that can be imported.
    """
    kind = kind_of(path)
    if kind == "argos":
        with ctranslate2.unpacked(path) as directory:
            yield ctranslate2.read_package(directory, request)
    else:
        read = {"transformers": huggingface, "marian": marian, "ctranslate2": ctranslate2}[kind].read_network
        yield read(path, request)
