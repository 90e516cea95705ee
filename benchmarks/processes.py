"""Servers in processes of their own, and what they use."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 90.0


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    pid: int
    port: int
    start_seconds: float
    """From the start of the process until it was ready."""

    def cpu_seconds(self) -> float:
        """Of all its threads and those of its child processes, user and system."""
        return self.own_cpu_seconds() + self.child_cpu_seconds()

    def own_cpu_seconds(self) -> float:
        """Of the process itself."""
        return _cpu_seconds(self.pid)

    def child_cpu_seconds(self) -> float:
        """Of its child processes."""
        return sum(map(_cpu_seconds, _family(self.pid)[1:]))

    def resident_bytes(self) -> int:
        """See `resident_bytes`."""
        return resident_bytes(self.pid)


def resident_bytes(pid: int) -> int:
    """What a process and its children hold in memory now; what several share counts in equal parts."""
    maps = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in _family(pid)]
    return sum(int(one.partition("Pss:")[2].split()[0]) for one in maps) * 1024


def parts_of_memory(pid: int) -> dict[str, int]:
    """The same by what it is: what each process, the server and then its children, has for itself, and what comes from
    files."""
    found = {}
    for index, one in enumerate(_family(pid)):
        maps = Path(f"/proc/{one}/smaps_rollup").read_text()
        anonymous, whole = (int(maps.partition(f"{kind}:")[2].split()[0]) * 1024 for kind in ("Pss_Anon", "Pss"))
        found[f"process {index}"] = anonymous
        found["files"] = found.get("files", 0) + whole - anonymous
    return found


def _family(pid: int) -> list[int]:
    children = (path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [pid, *(int(child) for some in children for child in some)]


def _cpu_seconds(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _stat(pid: int) -> list[str]:
    """What /proc says of a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


@contextlib.contextmanager
def started(
    command: Callable[[int], Sequence[str]], environment: Mapping[str, str], health: str, folder: Path = ROOT
) -> Iterator[Server]:
    """A server on a free port, ready, stopped at the end; what it says is shown only if it fails to start."""
    port = _free_port()
    variables = {**os.environ, "ATTEND_PORT": str(port), "ORT_DISABLE_TELEMETRY": "1", **environment}
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(command(port), cwd=folder, env=variables, stdout=said, stderr=said)
        try:
            _wait_until_ready(process, f"http://127.0.0.1:{port}{health}", began)
            yield Server(process.pid, port, time.perf_counter() - began)
        except NotReadyError:
            said.seek(0)
            raise NotReadyError(said.read().decode(errors="replace")[-2000:]) from None
        finally:
            process.kill()
            process.wait()


class NotReadyError(RuntimeError):
    """A server ended, or took too long, before it was ready."""


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, began: float) -> None:
    while process.poll() is None and time.perf_counter() - began < START_SECONDS:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.02)
    raise NotReadyError


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
