"""The work of `attend translate`, on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attend.async_translator import AsyncTranslator
from attend.cli.fitting import Thing, misfit
from attend.cli.inputs import Input, inputs_of
from attend.cli.progress import Progress
from attend.client import AsyncClient
from attend.corpus.output import Place
from attend.corpus.pipeline import Pace
from attend.corpus.session import Corpus, shards_of, translate_corpus
from attend.errors import AttendError, RequestError
from attend.results import Translation
from model.bundle import MANIFEST_FILE
from model.commands import sentence_of
from service.shipped import shipped_bundle

if TYPE_CHECKING:
    from attend.ray_translator import RayTranslator

    Translating = AsyncTranslator | AsyncClient | RayTranslator
_SEARCH = (
    "beam_size", "format", "glossary", "do_not_translate", "length_penalty", "max_output_tokens", "model", "strict",
)  # fmt: skip
"""Options of the command that are options of a translator."""
_SERVICE_LINES, _SERVICE_AHEAD = 200, 7
"""Of one request to a service, and of requests beside the one that is written next."""
_RAY_AHEAD = 3
"""Chunks of each engine of a cluster: those that it has, and one that waits for a slow one before it to be written."""


class Work:
    """One call of the command."""

    def __init__(self, options: Mapping[str, Any], given: Sequence[str]) -> None:
        """`given`: the names of the options that are no defaults.

        Raises:
            click.UsageError: they do not belong together.
        """
        self._options, self._given = options, given
        self._languages = {"source": options["source"], "target": options["target"]}
        self._search = {name: options[name] for name in _SEARCH if options[name] not in (None, False, ())}
        try:
            self._shard = shards_of(options["shard"] or "1/1")
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        if options["into"] and len(options["into"]) != len(options["columns"]):
            raise click.UsageError("--into is wanted once for each --column, or not at all")
        self._inputs = inputs_of(options["inputs"], options["texts"], options["output"], options["kind"])
        if self._inputs.texts:
            self._check_fit("text")
        if len(self._inputs.files) == 1:
            self._check_fit(_thing(self._inputs.files[0]))
        elif options["errors"]:
            raise click.UsageError("--errors is for one file; those of several stand beside their outputs")
        self._failed, self._engines = 0, 1

    def _check_fit(self, thing: Thing) -> None:
        """Refuse an option that would be ignored."""
        has_output, has_service = self._options["output"] is not None, bool(self._options["service"])
        fault = misfit(self._given, thing, has_output=has_output, has_service=has_service)
        if fault is not None:
            raise click.UsageError(fault)

    async def run(self) -> int:
        """Do it; returns the exit status."""
        task = asyncio.current_task()
        assert task is not None
        stopped: list[int] = []

        def stop() -> None:
            stopped.append(128 + signal.SIGTERM)
            task.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        try:
            async with self._translator() as translator:
                await self._translate(translator)
        except asyncio.CancelledError:
            if not stopped:
                raise  # Ctrl-C
            return stopped[0]
        return 1 if self._failed else 0

    @contextlib.asynccontextmanager
    async def _translator(self) -> AsyncIterator[Translating]:
        options = self._options
        if options["service"]:
            key = options["api_key_file"].read_text(encoding="utf-8").strip() if options["api_key_file"] else None
            try:
                client = AsyncClient(options["service"], api_key=key)
            except ValueError as error:
                raise click.UsageError(str(error)) from None
            async with client:
                yield client
            return
        if options["ray"]:
            from attend.ray_translator import RayTranslator

            async with await RayTranslator.load(options["bundle"], options["device"]) as cluster:
                self._engines = cluster.engines
                yield cluster
            return
        translator = await AsyncTranslator.load(
            options["bundle"], device=options["device"], sessions=options["sessions"]
        )
        async with translator:
            yield translator

    async def _translate(self, translator: Translating) -> None:
        # A wrong language or option is found before anything is written.
        await translator.translate(".", **self._languages, **self._search)
        if self._inputs.texts:
            await self._texts(translator)
        with Progress(quiet=self._options["quiet"]) as progress:
            for each in self._inputs.files:
                try:
                    await self._file(translator, each, progress)
                except (click.UsageError, RequestError, OSError) as error:
                    if len(self._inputs.files) == 1:
                        raise
                    self._failed += 1
                    click.echo(f"{each.path}: {sentence_of(error)}", err=True)
        if self._inputs.skipped:
            click.echo(f"{len(self._inputs.skipped)} files of unknown kinds are left out", err=True)

    async def _texts(self, translator: Translating) -> None:
        output: Path | None = self._options["output"]
        if output is not None and self._is_done(output):
            raise RequestError(f"{output} exists; --overwrite replaces it")
        done = await translator.translate_each(self._inputs.texts, **self._languages, **self._search)
        said = []
        for each in done:
            if isinstance(each, AttendError):
                self._failed += 1
                click.echo(f"error: {each}", err=True)
            said.append("" if isinstance(each, AttendError) else each.text)
        written = "".join(f"{text}\n" for text in said)
        if output is None:
            click.echo(written, nl=False)
        else:
            await asyncio.to_thread(output.write_text, written, encoding="utf-8")

    async def _file(self, translator: Translating, file: Input, progress: Progress) -> None:
        self._check_fit(_thing(file))
        if file.output is not None:
            file.output.parent.mkdir(parents=True, exist_ok=True)
        if file.kind == "document":
            assert isinstance(translator, AsyncTranslator | AsyncClient)  # a cluster was refused
            await self._document(translator, file, progress)
        elif len(self._inputs.files) > 1 and file.output is not None and self._is_done(file.output):
            click.echo(f"{file.output} exists", err=True)
        else:
            await self._corpus(translator, file, progress)

    def _is_done(self, output: Path) -> bool:
        """Whether a file of several was done by an earlier call."""
        is_begun = output.with_name(f"{output.name}.journal").exists()
        return output.exists() and not is_begun and not self._options["overwrite"]

    async def _document(self, translator: AsyncTranslator | AsyncClient, file: Input, progress: Progress) -> None:
        if file.path is None or file.output is None:
            raise RequestError("a document is a file, and --output says which file its translation becomes")
        if self._is_done(file.output):
            if len(self._inputs.files) == 1:
                raise RequestError(f"{file.output} exists; --overwrite replaces it")
            click.echo(f"{file.output} exists", err=True)
            return
        began, size = time.monotonic(), 0

        def note(done: int, total: int) -> None:
            nonlocal size
            size = total
            bar(done, 0, done)

        bar = progress.begin(str(file.path), "characters", 0, 0, None)
        if isinstance(translator, AsyncClient):
            await translator.translate_file(file.path, file.output, **self._languages)
            size = file.output.stat().st_size
        else:
            await translator.translate_file(file.path, file.output, **self._languages, **self._search, progress=note)
        unit = "bytes" if isinstance(translator, AsyncClient) else "characters"
        progress.end(str(file.path), unit, size, 0, time.monotonic() - began)

    async def _corpus(self, translator: Translating, file: Input, progress: Progress) -> None:
        options, began = self._options, time.monotonic()
        name = str(file.path or "standard input")
        first = Place()

        def begin(place: Place, size: int | None) -> Callable[[Place], None]:
            nonlocal first, began
            first, began = place, time.monotonic()
            note = progress.begin(name, "lines", place.lines, place.input, size)
            return lambda place: note(place.lines, place.failed, place.input)

        corpus = Corpus(
            source=file.path,
            output=file.output,
            kind=None if file.kind == "document" else file.kind,
            columns=options["columns"],
            into=options["into"] or [f"{each}_{options['target']}" for each in options["columns"]],
            has_header=not options["no_header"],
            shard=self._shard,
            errors=options["errors"],
            overwrite=options["overwrite"],
        )
        wish = {"languages": self._languages, "options": _spelt(self._search), "model": self._model()}
        done = await translate_corpus(corpus, self._each(translator), wish, self._pace(), begin)
        self._failed += done.failed
        progress.end(name, "lines", done.lines - first.lines, done.failed, time.monotonic() - began)

    def _each(self, translator: Translating) -> Callable[[Sequence[str]], Any]:
        async def each(texts: Sequence[str]) -> list[str | AttendError]:
            done = await translator.translate_each(texts, **self._languages, **self._search)
            return [each.text if isinstance(each, Translation) else each for each in done]

        return each

    def _pace(self) -> Pace:
        options = self._options
        pace = Pace(chunk_lines=options["chunk"], commit_seconds=options["commit_every"])
        if options["service"]:
            return replace(pace, chunk_lines=min(pace.chunk_lines, _SERVICE_LINES), ahead=_SERVICE_AHEAD)
        if options["ray"]:
            return replace(pace, ahead=_RAY_AHEAD * self._engines)
        return pace

    def _model(self) -> str:
        """What tells models apart: an output is not gone on with by another one."""
        if self._options["service"]:
            return str(self._options["service"])
        directory: Path = self._options["bundle"] or shipped_bundle()
        manifests = sorted(directory.glob(f"*/{MANIFEST_FILE}")) or [directory / MANIFEST_FILE]
        digest = hashlib.sha256()
        for manifest in manifests:
            digest.update(manifest.read_bytes())
        return digest.hexdigest()


def _thing(file: Input) -> Thing:
    return file.kind or "lines"


def _spelt(search: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON; of a glossary what is in it."""
    spelt = dict(search)
    if "glossary" in spelt:
        spelt["glossary"] = hashlib.sha256(spelt["glossary"].read_bytes()).hexdigest()
    return spelt
