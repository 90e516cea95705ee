"""`AsyncTranslator` for programs without an event loop."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar, Unpack, overload

from attend.async_translator import AsyncTranslator, Machine
from attend.errors import AttendError, UnavailableError
from attend.options import Options, SearchOptions
from attend.results import Translation

_Result = TypeVar("_Result")


class Translator:
    """Translates with one bundle or many; threads may share it. Close it, or use it in a `with`."""

    def __init__(self, bundle: str | os.PathLike[str] | None, machine: Machine) -> None:
        """Use `load`."""
        self._loop = _Loop()
        try:
            self._translator = self._loop.run(AsyncTranslator.load(bundle, **machine))
        except BaseException:
            self._loop.close()
            raise
        # Also for those who forget to close it: at the latest when the interpreter ends.
        self._end = weakref.finalize(self, _end, self._loop, self._translator)

    @classmethod
    def load(cls, bundle: str | os.PathLike[str] | None = None, **machine: Unpack[Machine]) -> Translator:
        """A translator with the bundle in a directory, with every bundle in the directories of one, or the shipped one.

        Raises:
            LoadError: there is no bundle, it is damaged, or it cannot be run here.
        """
        return cls(bundle, machine)

    def __enter__(self) -> Translator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish what was begun and end the engines' processes."""
        self._end()

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs of languages, source and target, that are translated."""
        return self._translator.pairs

    @property
    def provider(self) -> str:
        """What the model that was loaded first runs on: `CPUExecutionProvider` or `CUDAExecutionProvider`."""
        return self._translator.provider

    @overload
    def translate(  # type: ignore[overload-overlap]
        self, texts: str, *, source: str = ..., target: str, **options: Unpack[Options]
    ) -> Translation: ...
    @overload
    def translate(
        self, texts: Sequence[str], *, source: str = ..., target: str, **options: Unpack[Options]
    ) -> list[Translation]: ...
    def translate(
        self, texts: str | Sequence[str], *, source: str = "auto", target: str, **options: Unpack[Options]
    ) -> Translation | list[Translation]:
        """See `AsyncTranslator.translate`."""
        return self._loop.run(self._translator.translate(texts, source=source, target=target, **options))

    def translate_each(
        self, texts: Sequence[str], *, source: str = "auto", target: str, **options: Unpack[Options]
    ) -> list[Translation | AttendError]:
        """See `AsyncTranslator.translate_each`."""
        return self._loop.run(self._translator.translate_each(texts, source=source, target=target, **options))

    def translate_file(
        self,
        path: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        source: str = "auto",
        target: str,
        alt_texts: bool = False,
        progress: Callable[[int, int], None] = lambda done, total: None,
        **options: Unpack[SearchOptions],
    ) -> None:
        """See `AsyncTranslator.translate_file`; `progress` is called in another thread."""
        work = self._translator.translate_file(
            path, output, source=source, target=target, alt_texts=alt_texts, progress=progress, **options
        )
        self._loop.run(work)


def _end(loop: _Loop, translator: AsyncTranslator) -> None:
    loop.run(translator.close())
    loop.close()


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="attend", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """What the work returns or raises; given up if the caller is interrupted.

        Raises:
            UnavailableError: the loop was closed.
        """
        if self._loop.is_closed():
            work.close()
            raise UnavailableError("the translator is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
