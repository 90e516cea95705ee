"""Engines on the nodes of a Ray cluster, for corpora that are too large for one machine. Needs the extra `ray`.

Here the input is read, the output written and noted down, as with engines of this machine; what travels are chunks of
texts. So order and going on after an interruption need nothing from the cluster, and a node may go at any moment: what
it had is asked of another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from attend.errors import AttendError, LoadError, RequestError, UnavailableError
from attend.results import Translation
from service.engine.types import Device
from service.shipped import shipped_bundle

CHUNKS_AN_ENGINE = 2
"""One is translated while another is on its way."""
_LOAD_SECONDS = 600.0


class _Engine:
    """An actor: a translator with one engine, in a process of a node."""

    def __init__(self, files: Mapping[str, bytes], device: Device) -> None:
        """`files`: those of the bundle, for the node need not have it."""
        from attend.translator import Translator

        # Kept: an engine that is started again reads them again.
        self._folder = tempfile.TemporaryDirectory()
        for name, content in files.items():
            path = Path(self._folder.name, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self._translator = Translator.load(self._folder.name, device=device, sessions=1)

    def is_ready(self) -> bool:
        """Answers when it is loaded."""
        return True

    def translate_each(self, texts: Sequence[str], wish: Mapping[str, Any]) -> list[Translation | tuple[str, bool]]:
        """Translations; or why there is none, and whether another engine may have one."""
        try:
            done = self._translator.translate_each(texts, **wish)
        except AttendError as error:  # of all texts alike
            done = [error] * len(texts)
        return [
            (str(each), isinstance(each, UnavailableError)) if isinstance(each, AttendError) else each for each in done
        ]


class RayTranslator:
    """Translates on a cluster. Use `load`, and an `async with`."""

    def __init__(self, ray: Any, bundle: Path, device: Device) -> None:
        files = {path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
        self._ray, self._files, self._device = ray, ray.put(files), device
        resources = {"num_gpus": 1} if device == "cuda" else {"num_cpus": 1}
        self._actor = ray.remote(_Engine).options(max_concurrency=CHUNKS_AN_ENGINE, max_restarts=0, **resources)
        self.engines = max(1, int(ray.cluster_resources().get("GPU" if device == "cuda" else "CPU", 1)))
        self._free: asyncio.Queue[Any] = asyncio.Queue()
        self._gone: set[Any] = set()
        self._starting: set[asyncio.Task[None]] = set()

    @classmethod
    async def load(cls, bundle: Path | None, device: Device) -> RayTranslator:
        """Engines on every processor, or GPU, of the cluster that `RAY_ADDRESS` names, or else of this machine.

        Raises:
            LoadError: Ray is not installed, or there is no cluster, or the bundle cannot be loaded on any node.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ModuleNotFoundError:
            raise LoadError("Ray is not installed: `pip install '.[ray]'`, or `pip install ray`") from None
        try:
            await asyncio.to_thread(ray.init, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise LoadError(f"no Ray cluster at {os.environ.get('RAY_ADDRESS', 'this machine')}: {error}") from None
        translator = cls(ray, bundle or shipped_bundle(), device)
        try:
            await translator._start()
        except BaseException:
            await translator.close()
            raise
        return translator

    async def __aenter__(self) -> RayTranslator:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the cluster, which ends the engines."""
        for task in self._starting:
            task.cancel()
        await asyncio.to_thread(self._ray.shutdown)

    async def translate(self, text: str, **wish: Any) -> Translation:
        """The translation of a text."""
        [done] = await self.translate_each([text], **wish)
        if isinstance(done, AttendError):
            raise done
        return done

    async def translate_each(self, texts: Sequence[str], **wish: Any) -> list[Translation | AttendError]:
        """The translation of each text, or its error, from whichever engine is free first."""
        while True:
            actor = await self._next()
            try:
                done = await actor.translate_each.remote(texts, wish)
            except (self._ray.exceptions.RayActorError, self._ray.exceptions.ObjectLostError):
                self._replace(actor)
                continue
            except BaseException:
                self._free.put_nowait(actor)
                raise
            self._free.put_nowait(actor)
            return [each if isinstance(each, Translation) else _error(*each) for each in done]

    async def _next(self) -> Any:
        """An engine that is free and, as far as anybody knows, alive."""
        while True:
            async with _patience():
                actor = await self._free.get()
            if actor not in self._gone:
                return actor

    async def _start(self) -> None:
        for _ in range(self.engines):
            self._begin()
        async with _patience():
            await asyncio.wait(self._starting, return_when=asyncio.FIRST_COMPLETED)
        for task in [each for each in self._starting if each.done()]:
            task.result()

    def _begin(self) -> None:
        task = asyncio.create_task(self._join())
        # Of several only the first is waited for; what is wrong with others is no news.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._starting.add(task)

    async def _join(self) -> None:
        """Start an engine, which is free as soon as it is loaded; where there is no room for it that may be never."""
        actor = self._actor.remote(self._files, self._device)
        try:
            await actor.is_ready.remote()
        except self._ray.exceptions.RayActorError as error:
            raise LoadError(f"no engine can be loaded in the cluster: {_last_line(error)}") from None
        for _ in range(CHUNKS_AN_ENGINE):
            self._free.put_nowait(actor)

    def _replace(self, actor: Any) -> None:
        """Another engine in the place of one whose node is gone."""
        if actor not in self._gone:
            self._gone.add(actor)
            self._begin()


@contextlib.asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_LOAD_SECONDS):
            yield
    except TimeoutError:
        raise UnavailableError(f"no engine in the Ray cluster was free for {_LOAD_SECONDS:.0f} s") from None


def _error(message: str, is_for_now: bool) -> AttendError:
    return UnavailableError(message) if is_for_now else RequestError(message)


def _last_line(error: BaseException) -> str:
    """The last line of Ray's report, which is that of the exception in the actor."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
