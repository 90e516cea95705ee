"""Which importer reads a path, and what there is to say of it beforehand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from export.importers import ctranslate2, huggingface, marian
from export.importers.request import Request
from export.network import Network
from model.errors import CheckpointError


@contextlib.contextmanager
def read_any(path: Path, request: Request) -> Iterator[Network]:
    """The network in a folder or package of whatever kind; its files are there while the context lasts.

    Raises:
        CheckpointError: there is none that can be imported.
    """
    if huggingface.is_folder(path):
        yield huggingface.read_network(path, request)
    elif marian.is_release(path):
        yield marian.read_network(path, request)
    elif ctranslate2.is_model(path):
        yield ctranslate2.read_network(path, request)
    elif ctranslate2.is_package(path):
        with ctranslate2.unpacked(path) as directory:
            yield ctranslate2.read_package(directory, request)
    else:
        raise CheckpointError(f"{path}: nothing here that can be imported")


def describe(path: Path) -> str:
    """What a path holds and whether it can be imported, without reading weights."""
    return str(path)
