"""Graphs with their weights laid out for this processor's kernels, and shortlists, in files that all processes map.

What ONNX Runtime makes of weights when it opens a graph (prepacking) each process keeps for itself. It can save that
beside an optimised graph; whoever opens the saved graph has it packed again, compares, and maps what is alike. So a
directory that another machine filled gives the same results, and only saves less.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: a thread would report home otherwise
import numpy as np
import onnxruntime

from model.bundle import GraphName, Manifest, sha256
from model.shortlist import SHORTLIST_FILE, Shortlist
from service.engine.decoder.cpu import instructions
from service.engine.decoder.providers import CPU

_log = logging.getLogger(__name__)

MOST = 200
"""Entries that are kept, of which a bundle has up to three; those not used for longest are deleted."""
_ABANDONED_SECONDS = 3600
"""Nobody takes so long to write: a process ended meanwhile."""
_SUMS = "sums.json"
_LARGE = "1024"
"""Bytes from which on a weight is kept outside of the graph."""


def prepacked(
    directory: Path,
    manifest: Manifest,
    graphs: Collection[GraphName],
    cache: Path | None,
    options: Callable[[], onnxruntime.SessionOptions],
) -> Path:
    """Where the graphs of a bundle are to be opened: below `cache`, where they are put unless they are there; in the
    bundle itself if there is no such directory, or nothing can be written to it.

    Args:
        directory: of the bundle, whose files have been checked.
        manifest: of the bundle.
        graphs: those that are wanted, in one directory.
        cache: a directory that only those may write to who may exchange bundles; it may be emptied at any time.
        options: with which the graphs are to be opened.
    """
    if cache is None or manifest.precision == "fp16":  # which has its weights on a GPU
        return directory
    files = sorted(manifest.graphs[name].file for name in graphs)

    def write(place: Path) -> None:
        for file in files:
            _save(directory / file, place / file, options())

    key = _key(manifest, onnxruntime.__version__, instructions(), *files)
    return _kept(cache, key, write) or directory


def share_shortlist(shortlist: Shortlist, manifest: Manifest, cache: Path | None) -> None:
    """Have a shortlist read from a file below `cache` that other processes map too, if there is such a directory."""
    if cache is None:
        return
    place = _kept(cache, _key(manifest, np.__version__, SHORTLIST_FILE), shortlist.save_rows)
    if place is not None:
        shortlist.map_rows(place)


def _key(manifest: Manifest, *parts: str) -> str:
    """Another bundle, runtime or kind of processor has another place."""
    return hashlib.sha256("\n".join((manifest.model_dump_json(), *parts)).encode()).hexdigest()[:32]


def _kept(cache: Path, key: str, write: Callable[[Path], None]) -> Path | None:
    """The directory of this name, which `write` fills unless it is there; None if that cannot be done."""
    place = cache / key
    try:
        if not _is_whole(place):
            _fill(place, write)
            _delete_oldest(cache)
        os.utime(place)
    except (OSError, ValueError, RuntimeError) as error:
        _log.warning("weights are not shared among processes: %s", error)
        return None
    return place


def _is_whole(place: Path) -> bool:
    """Whether all was written there and is as it was: a machine that stopped may have lost a part."""
    try:
        sums = json.loads((place / _SUMS).read_text(encoding="ascii"))
        return bool(sums) and all(sha256(place / name) == expected for name, expected in sums.items())
    except (FileNotFoundError, ValueError, AttributeError):
        return False


def _fill(place: Path, write: Callable[[Path], None]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        write(scratch)
        sums = {path.name: sha256(path) for path in scratch.iterdir()}
        (scratch / _SUMS).write_text(json.dumps(sums), encoding="ascii")
        if place.exists() and not _is_whole(place):
            shutil.rmtree(place)
        _rename(scratch, place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _rename(scratch: Path, place: Path) -> None:
    """Another process may have been faster: what it wrote is as good, and mapped already."""
    try:
        scratch.rename(place)
    except OSError:
        if not _is_whole(place):
            raise


def _save(graph: Path, saved: Path, options: onnxruntime.SessionOptions) -> None:
    options.optimized_model_filepath = str(saved)
    entries = {
        "session.optimized_model_external_initializers_file_name": f"{saved.stem}.bin",
        "session.optimized_model_external_initializers_min_size_in_bytes": _LARGE,
        "session.save_external_prepacked_constant_initializers": "1",
    }
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    onnxruntime.InferenceSession(graph, options, [CPU])


def _delete_oldest(cache: Path) -> None:
    places = sorted(cache.glob(f"*/{_SUMS}"), key=lambda path: path.parent.stat().st_mtime, reverse=True)
    now = time.time()
    begun = [path for path in cache.glob(".*") if path.is_dir() and now - path.stat().st_mtime > _ABANDONED_SECONDS]
    for place in (*(sums.parent for sums in places[MOST:]), *begun):
        shutil.rmtree(place, ignore_errors=True)
