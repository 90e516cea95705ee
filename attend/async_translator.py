"""The service's models and text layer for programs of one's own, without HTTP, on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from attend.errors import AttendError, LoadError, RequestError, UnavailableError
from attend.options import Glossary, Options, SearchOptions, check_names
from attend.results import Translation, TranslationWarning, all_or_error
from model.bundle import MANIFEST_FILE
from model.errors import ModelError
from service.api.bodies import validate
from service.api.core import Wish, answers_to, answers_to_document
from service.api.details import segments_of
from service.api.translating import wish_of
from service.api.wishes import OWN_FIELDS, TranslateRequest
from service.assembly import assembled
from service.engine.loading import check_runtime
from service.engine.types import Device, DeviceError, EngineLostError
from service.errors import DeadlineExceededError, ServiceError, SettingsError
from service.errors import UnavailableError as ServiceUnavailableError
from service.files.formats import FileOptions, read_file
from service.glossaries import read_terms
from service.metrics import Metrics
from service.settings import Settings
from service.shipped import shipped_bundle

if TYPE_CHECKING:
    from service.api.core import Answer
    from service.models.registry import Registry
    from service.models.router import Router

# Whether what engines note is told is the affair of the program that this is a part of.
logging.getLogger("service").addHandler(logging.NullHandler())

_ANY_SIZE = sys.maxsize
"""Nobody else waits: a program's own texts are kept out by no limit."""
_NAMED = "glossary"
"""The name under which the terms of a file are looked up."""


class Machine(TypedDict, total=False):
    """Where models run; all of it may be left out."""

    device: Device
    """`auto` (CUDA if it works), `cpu` or `cuda`."""
    sessions: int
    """Engines, each a process; 0: one a core, at most 8."""
    threads: int
    """Threads of one model run; 0: the cores by the sessions."""
    max_rows: int
    """Rows (sentences times beams) that run at once."""
    pivot: str
    """Languages through which two models translate pairs that none does alone, as `ATTEND_PIVOT`."""
    cache_bytes: int
    """Memory for translated sentences, which are not translated again; 0: none is kept."""


class _OwnSettings(Settings):
    """Settings that only the program decides, not the environment."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *others: Any, **named: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given by name, and nothing else."""
        return (init_settings,)


class AsyncTranslator:
    """Translates with one bundle or many; any number of calls at once. Close it, or use it in an `async with`."""

    def __init__(self, settings: Settings) -> None:
        """Use `load`."""
        self._settings = settings
        self._registry: Registry
        self._registry, self._close = assembled(settings, Metrics(), lambda _: None, lambda _: None)

    @classmethod
    async def load(cls, bundle: str | os.PathLike[str] | None = None, **machine: Unpack[Machine]) -> AsyncTranslator:
        """A translator with the bundle in a directory, with every bundle in the directories of one, or the shipped one.

        Raises:
            LoadError: there is no bundle, it is damaged, or it cannot be run here.
        """
        with _load_errors():
            check_runtime()
            translator = cls(_settings(Path(bundle) if bundle is not None else shipped_bundle(), machine))
            try:
                await translator._registry.start(lazy=True)
            except BaseException:
                await translator.close()
                raise
        return translator

    async def __aenter__(self) -> AsyncTranslator:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Finish what was begun and end the engines' processes."""
        await self._registry.close()
        await self._close()

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs of languages, source and target, that are translated."""
        with _request_errors():
            return tuple(self._registry.router().directions.pairs)

    @property
    def provider(self) -> str:
        """What the model that was loaded first runs on: `CPUExecutionProvider` or `CUDAExecutionProvider`."""
        return self._registry.engines()[0].ready.provider

    @overload
    async def translate(  # type: ignore[overload-overlap]
        self, texts: str, *, source: str = ..., target: str, **options: Unpack[Options]
    ) -> Translation: ...
    @overload
    async def translate(
        self, texts: Sequence[str], *, source: str = ..., target: str, **options: Unpack[Options]
    ) -> list[Translation]: ...
    async def translate(
        self, texts: str | Sequence[str], *, source: str = "auto", target: str, **options: Unpack[Options]
    ) -> Translation | list[Translation]:
        """The translation of a text, or of each of several, in order.

        Args:
            texts: any number, of any length; sentences are split and put together again.
            source: a language code, or `auto`: detected for each text.
            target: a language code.
            options: see `Options`.

        Raises:
            RequestError: a language, an option or a text is wrong.
            UnavailableError: no engine runs.
        """
        done = await self._each([texts] if isinstance(texts, str) else texts, source, target, options, "fail")
        return all_or_error(done, is_single=isinstance(texts, str))

    async def translate_each(
        self, texts: Sequence[str], *, source: str = "auto", target: str, **options: Unpack[Options]
    ) -> list[Translation | AttendError]:
        """The same, but a text that cannot be translated leaves the others alone: its error is in its place."""
        return await self._each(texts, source, target, options, "item")

    async def _each(
        self,
        texts: Sequence[str],
        source: str,
        target: str,
        options: Mapping[str, Any],
        on_error: Literal["fail", "item"],
    ) -> list[Translation | AttendError]:
        check_names(options)
        if not texts:
            return []
        with _request_errors():
            values = {**options, "q": list(texts), "source": source, "target": target, "on_error": on_error}
            with self._registry.current().held():
                router = self._registry.router()
                wish = self._wish(router, values)
                answers = await answers_to(router.only(wish.model), wish)
            if wish.options.details is None:
                return [_result(each, answers.target) for each in answers.texts]
            return await asyncio.to_thread(lambda: [_result(each, answers.target) for each in answers.texts])

    async def translate_file(
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
        """Translate the texts of a file, and write it with everything else as it was; the endings of names say what
        it is: docx, pptx, xlsx, odt, odp, ods, epub, html, md, txt, srt, vtt, po.

        Args:
            path: the file.
            output: where the result is written, all at once when it is complete.
            source: a language code, or `auto`.
            target: a language code.
            alt_texts: whether what pictures of an office file or book are said to show is translated too.
            progress: is called with the characters that are done, and all of them.
            options: see `SearchOptions`.

        Raises:
            OSError: a file cannot be read or written.
            RequestError: it is of no known kind or damaged, or a language is wrong.
            UnavailableError: no engine runs.
        """
        check_names(options, SearchOptions)
        name, content = Path(path).name, await asyncio.to_thread(Path(path).read_bytes)
        with _request_errors():
            file = await asyncio.to_thread(read_file, name, content, FileOptions(alt_texts, _ANY_SIZE))
            total = sum(map(len, file.texts))
            with self._registry.current().held():
                router = self._registry.router()
                wish = self._wish(router, {**options, "q": ["."], "source": source, "target": target})
                wish = dataclasses.replace(wish, texts=file.texts, format=file.format, is_one_text=True)
                done = await answers_to_document(
                    router.only(wish.model), wish, note=lambda characters: progress(characters, total)
                )
            written = await asyncio.to_thread(file.written, [each.text for each in done.texts], done.target)
        await asyncio.to_thread(_write_whole, Path(output), written)

    def _wish(self, router: Router, values: dict[str, Any]) -> Wish:
        """What fields as those of `POST /translate` ask for; a glossary may be a mapping or a file."""
        terms = _terms_of(values)
        body = validate(TranslateRequest, values, OWN_FIELDS)
        return wish_of(body, self._settings, router, lambda _: terms)


def _settings(directory: Path, machine: Mapping[str, Any]) -> Settings:
    for name in machine:
        if name not in Machine.__annotations__:
            raise TypeError(f"load() got an unexpected keyword argument '{name}'")
    has_many = not (directory / MANIFEST_FILE).is_file() and any(directory.glob(f"*/{MANIFEST_FILE}"))
    values: dict[str, Any] = {"models" if has_many else "bundle": directory, **machine}
    values |= dict.fromkeys(("max_tokens", "max_queue_tokens", "max_bulk_queue_tokens"), _ANY_SIZE)
    try:
        return _OwnSettings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise LoadError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}, not {first['input']!r}") from None


def _terms_of(values: dict[str, Any]) -> Mapping[str, str]:
    """The terms of a file that is named as a glossary, which then is asked for by a name; a mapping becomes a list."""
    glossary: Glossary | None = values.get("glossary")
    if glossary is None:
        return {}
    if isinstance(glossary, Mapping):
        values["glossary"] = [{"source": term, "target": said} for term, said in glossary.items()]
        return {}
    values["glossary"] = _NAMED
    return read_terms(Path(glossary))


def _result(answer: Answer, target: str) -> Translation | AttendError:
    done = answer.translation
    if isinstance(done, ServiceError):
        return _error_of(done)
    segments = [tuple(map(_as_json, version)) for version in segments_of(done.inspections)] or [()]
    return Translation(
        text=done.text,
        source=answer.source,
        target=target,
        alternatives=done.alternatives,
        warnings=tuple(TranslationWarning(note.warning, note.start, note.end) for note in answer.notes),
        confidence=None if answer.guess is None else answer.guess.confidence,
        segments=segments[0],
        alternative_segments=tuple(segments[1:]),
    )


def _as_json(value: Any) -> Any:
    """The value as it would come out of JSON: with lists for tuples."""
    if isinstance(value, dict):
        return {name: _as_json(inner) for name, inner in value.items()}
    return [_as_json(inner) for inner in value] if isinstance(value, list | tuple) else value


def _error_of(error: ServiceError) -> AttendError:
    if isinstance(error, ServiceUnavailableError | DeadlineExceededError):
        return UnavailableError(str(error), error.status)
    return RequestError(str(error), error.status)


@contextlib.contextmanager
def _request_errors() -> Iterator[None]:
    try:
        yield
    except ServiceError as error:
        raise _error_of(error) from error
    except SettingsError as error:
        raise RequestError(str(error)) from error


@contextlib.contextmanager
def _load_errors() -> Iterator[None]:
    try:
        yield
    except (ModelError, DeviceError, EngineLostError, ServiceError, SettingsError) as error:
        raise LoadError(str(error)) from error


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: who reads it sees all of it or what was there before."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
