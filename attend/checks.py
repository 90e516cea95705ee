"""What this machine and a bundle can do together, and what is wrong: each check is a function that yields findings."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import attend
from attend.errors import AttendError
from model.bundle import check_files, read_manifest
from model.errors import ModelError
from service.engine.loading import available_cores, check_runtime
from service.engine.types import DeviceError
from service.errors import SettingsError
from service.settings import load_settings
from service.shipped import shipped_bundle

Level = Literal["ok", "note", "problem"]
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_EXTRAS: Mapping[str, str] = {
    "torch": "training, exporting and importing (extra train)",
    "sacrebleu": "attend evaluate (extra evaluate)",
    "redis": "counts that replicas share (extra redis)",
    "opentelemetry": "traces (extra tracing)",
}
_TRIAL_SECONDS = 2.0
_SENTENCES = {
    "fr": "Le train part demain matin à huit heures.",
    "en": "The train leaves tomorrow morning at eight o'clock.",
    "zh": "火车明天早上八点出发。",
    "de": "Der Zug fährt morgen früh um acht Uhr.",
    "es": "El tren sale mañana a las ocho.",
}


class Finding(NamedTuple):
    """What a check has found."""

    level: Level
    subject: str
    says: str


def findings(bundle: Path | None, *, tries: bool = True) -> Iterator[Finding]:
    """What every check finds. With `tries` the bundle is loaded and translates, which takes some seconds."""
    for check in (_installation, _machine, _runtime, _extras, _settings):
        yield from check()
    directory = bundle or _configured() or shipped_bundle()
    problems = list(_bundle(directory))
    yield from problems
    if tries and all(each.level != "problem" for each in problems):
        yield from _trial(directory)


def _installation() -> Iterator[Finding]:
    where = Path(attend.__file__).parent
    yield Finding("ok", "attend", f"{attend.__version__} in {where}, Python {platform.python_version()}")
    if sys.flags.optimize:
        yield Finding("note", "python", "runs with -O: checks of what cannot be are left out")


def _machine() -> Iterator[Finding]:
    cores, memory = available_cores(), memory_bytes()
    yield Finding("ok", "machine", f"{cores} cores to use, {memory / 2**30:.1f} GiB of memory, {platform.machine()}")
    flags = _read("/proc/cpuinfo")
    if flags and platform.machine() == "x86_64":
        if not re.search(r"\bavx2\b", flags):
            yield Finding("note", "processor", "without AVX2 everything is several times slower")
        elif not re.search(r"\bavx(512)?_vnni\b", flags):
            yield Finding("note", "processor", "without VNNI 8-bit models are computed in exact, slower sums")


def memory_bytes() -> float:
    """Memory that this process may use: the machine's, or the limit of its container."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    return min(machine, int(limit)) if limit.isdigit() else machine


def _runtime() -> Iterator[Finding]:
    builds = {name: version for name in _RUNTIMES if (version := _version(name)) is not None}
    if len(builds) > 1:
        yield Finding("problem", "runtime", "onnxruntime and onnxruntime-gpu own the same folder: uninstall both, then "
                      "install one of them")  # fmt: skip
    try:
        check_runtime()
    except DeviceError as error:
        yield Finding("problem", "runtime", str(error))
        return
    yield Finding("ok", "runtime", ", ".join(f"{name} {version}" for name, version in builds.items()) or "found")


def _extras() -> Iterator[Finding]:
    for package, what in _EXTRAS.items():
        if importlib.util.find_spec(package) is None:
            yield Finding("note", "extras", f"{package} is not installed, which is needed for {what}")


def _settings() -> Iterator[Finding]:
    try:
        settings = load_settings()
    except SettingsError as error:
        yield Finding("problem", "settings", str(error))
        return
    changed = sorted(settings.model_fields_set)
    said = ", ".join(f"ATTEND_{name.upper()}" for name in changed) or "all by default"
    yield Finding("ok", "settings", said)
    if settings.host.startswith("unix:") or not settings.port:
        return
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((settings.host, settings.port))
    except OSError as error:
        yield Finding(
            "note", "settings", f"cannot listen on {settings.host} port {settings.port} now: {error.strerror}"
        )


def _configured() -> Path | None:
    try:
        return load_settings().bundle
    except SettingsError:
        return None


def _bundle(directory: Path) -> Iterator[Finding]:
    try:
        manifest = read_manifest(directory)
        check_files(directory, manifest)
    except ModelError as error:
        yield Finding("problem", "bundle", str(error))
        return
    pairs = list(manifest.pairs())
    shown = ", ".join("-".join(pair) for pair in pairs[:6]) + (f" and {len(pairs) - 6} more" if len(pairs) > 6 else "")
    size = sum((directory / name).stat().st_size for name in manifest.files)
    what = f"{manifest.name} {manifest.version}, {manifest.precision}, {size / 1e6:.0f} MB: {shown}"
    yield Finding("ok", "bundle", f"{what}; all files are as they were written")


def _trial(directory: Path) -> Iterator[Finding]:
    from attend.translator import Translator

    began = time.monotonic()
    try:
        with Translator.load(directory) as translator:
            loaded = time.monotonic() - began
            source, target = next((pair for pair in translator.pairs if pair[0] in _SENTENCES), translator.pairs[0])
            sentence = _SENTENCES.get(source, "…")
            text = translator.translate(sentence, source=source, target=target).text
            rate = _rate(lambda count: translator.translate([sentence] * count, source=source, target=target))
            provider = translator.provider
    except AttendError as error:
        yield Finding("problem", "trial", str(error))
        return
    yield Finding("ok", "trial", f"loaded in {loaded:.1f} s on {provider}, its self-test as where it was made")
    yield Finding("ok", "trial", f"{source}-{target}: {sentence} -> {text}")
    yield Finding("ok", "trial", f"about {rate:.0f} such sentences a second, beam 4, by this machine as busy as it is")
    if provider.startswith("CPU") and read_manifest(directory).precision == "fp16":
        yield Finding("note", "trial", "fp16 is made for GPUs and slow on processors: export int8 or fp32 for them")


def _rate(translate: Callable[[int], object]) -> float:
    """Sentences a second, measured for about `_TRIAL_SECONDS`."""
    count, done, began = 16, 0, time.monotonic()
    while (passed := time.monotonic() - began) < _TRIAL_SECONDS:
        translate(count)
        done, count = done + count, min(2 * count, 256)
    return done / passed if passed else 0.0


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
