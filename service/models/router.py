"""What one request sees of the models: the pairs there are, and a translator that goes the right way through them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from model.bundle import Limits
from service.errors import InvalidFieldError, NotFoundError, RejectedError, ServiceError, shown
from service.models.pivot import combined, first_options, refuse_alignment, second_options, total
from service.translation.results import Hop as ToldHop
from service.translation.results import Piece, TranslatedTexts, Translation

if TYPE_CHECKING:
    from service.explain.inspector import Inspector
    from service.metrics import Metrics
    from service.model_names import ModelName
    from service.models.catalogue import Catalogue
    from service.models.entry import Entry
    from service.models.loads import Loads
    from service.models.routing import Hop, Routes
    from service.text.languages import Directions
    from service.text.reading import Reader
    from service.text_work import TextWork
    from service.translation.options import TranslationOptions
    from service.translation.progress import Listener
    from service.translator import Running, Translator


class Router:
    """Translates texts with the models of one catalogue; one for each request, which goes to one version of each."""

    def __init__(
        self,
        catalogue: Catalogue,
        loads: Loads,
        metrics: Metrics,
        routes: Routes | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`routes`: those of the catalogue unless the request names a model. `chance`: from 0 to 1, for canaries."""
        self._catalogue = catalogue
        self._loads = loads
        self._metrics = metrics
        self._routes = routes or catalogue.routes
        self._chance = chance
        self._drawn: dict[str, ModelName | None] = {}

    @property
    def directions(self) -> Directions:
        """All pairs that are translated."""
        return self._routes.directions

    @property
    def text_work(self) -> TextWork:
        """For work on texts, whichever model they are for."""
        return self._loads.text_work

    @property
    def limits(self) -> Limits:
        """The most that any of the models takes."""
        limits = [self._catalogue.entries[each.model].manifest.limits for each in self._routes.candidates]
        return Limits(
            source_tokens=max(each.source_tokens for each in limits),
            target_tokens=max(each.target_tokens for each in limits),
        )

    @property
    def names(self) -> list[str]:
        """The names of the models, the preferred first."""
        return list(dict.fromkeys(each.model.name for each in self._routes.candidates))

    @property
    def language_names(self) -> dict[str, str]:
        """What the bundles call their languages."""
        return self._catalogue.language_names

    def only(self, written: str | None) -> Router:
        """The same through one model, if `written` names one: `fr-en@2`, or `fr-en` for its default version.

        Raises:
            InvalidFieldError: no such model is served.
        """
        if not written:
            return self
        routes = self._catalogue.only(written)
        if routes is None:
            known = ", ".join(str(each.model) for each in self._catalogue.routes.candidates)
            raise InvalidFieldError(f"model must be one of {known}; {shown(written)} is not served")
        return Router(self._catalogue, self._loads, self._metrics, routes, self._chance)

    def entry(self, written: str) -> Entry:
        """A model by name and version, or its default version by the name alone.

        Raises:
            NotFoundError: no such model is served.
        """
        for each in self._catalogue.ordered:
            if each.model.is_meant_by(written):
                return each
        served = "; ".join(f"{each.model.name}, version {each.model.version}" for each in self._catalogue.ordered)
        raise NotFoundError(f"no such model; there is {served}")

    def check_room(self, body_bytes: int | None) -> None:
        """Whether it is worth reading a request, see `Translator.check_room`.

        Raises:
            RejectedError: whichever model it is for, its queue is full.
        """
        self._check_each(lambda translator: translator.check_room(body_bytes))

    def check_room_to_score(self) -> None:
        """Whether it is worth reading a request of something to score.

        Raises:
            RejectedError: whichever model it is for, too much waits.
        """
        self._check_each(lambda translator: translator.inspector.check_room())

    def _check_each(self, check: Callable[[Translator], None]) -> None:
        for each in self._routes.candidates:
            memory = self._catalogue.entries[each.model].memory
            if memory is None:
                return
            try:
                check(memory.translator)
                return
            except RejectedError as error:
                refusal = error
        raise refusal

    def route(self, source: str, target: str) -> tuple[Hop, ...]:
        """The way of this request's texts from one of `directions` to the other."""
        return self._routes.route(source, target, self._draw)

    def _draw(self, name: str) -> ModelName | None:
        if name not in self._drawn:
            canary = self._catalogue.canaries.get(name)
            goes = canary is not None and self._chance() < canary.share
            self._drawn[name] = canary.model if canary is not None and goes else None
        return self._drawn[name]

    async def translate(
        self,
        texts: Sequence[str],
        source: str,
        target: str,
        options: TranslationOptions,
        deadline: float = math.inf,
        running: Running = lambda _: contextlib.nullcontext(),
        listener: Listener | None = None,
    ) -> TranslatedTexts:
        """One translation for each text, in order, by one model or by two; see `Translator.translate`.

        By two, `listener` is told of each text as a whole, for only its end is what the second model reads.
        """
        route = self.route(source, target)
        if len(route) == 1:
            return await self._by_one(texts, route[0], options, deadline, running, listener)
        refuse_alignment(route, options)
        done = await self._by_two(texts, route, options, deadline, running)
        for place, each in enumerate(done.texts):
            if listener is not None and isinstance(each, Translation):
                listener.note_piece(place, Piece(each.text, (0, len(texts[place])), is_last=True))
        return done

    async def _by_one(
        self,
        texts: Sequence[str],
        hop: Hop,
        options: TranslationOptions,
        deadline: float,
        running: Running = lambda _: contextlib.nullcontext(),
        listener: Listener | None = None,
        *,
        is_further: bool = False,
    ) -> TranslatedTexts:
        entry = self._catalogue.entries[hop.model]
        _check_lengths(options, entry)
        with self._counted(hop.model):
            async with self._loads.use(entry, deadline) as translator:
                done = await translator.translate(
                    texts, hop.source, hop.target, options, deadline, running, listener, is_further=is_further
                )
        if options.details is None:
            return done
        told = tuple(_told(each, hop) if isinstance(each, Translation) else each for each in done.texts)
        return dataclasses.replace(done, texts=told)

    async def _by_two(
        self,
        texts: Sequence[str],
        route: Sequence[Hop],
        options: TranslationOptions,
        deadline: float,
        running: Running,
    ) -> TranslatedTexts:
        first, second = route
        one = await self._by_one(texts, first, first_options(options), deadline, running)
        good = [each.text for each in one.texts if isinstance(each, Translation)]
        other = await self._by_one(good, second, second_options(options), deadline, running, is_further=True)
        remaining = iter(other.texts)
        done: list[Translation | ServiceError] = []
        for index, each in enumerate(one.texts):
            result = each if isinstance(each, ServiceError) else next(remaining)
            whole = combined(each, result, strict=options.strict, index=index if len(texts) > 1 else None)
            if isinstance(whole, ServiceError) and not options.text_by_text:
                raise whole
            done.append(whole)
        return TranslatedTexts(tuple(done), total(one.timing, other.timing))

    @contextlib.contextmanager
    def _counted(self, model: ModelName) -> Iterator[None]:
        began = time.monotonic()
        outcome = "error"
        try:
            yield
            outcome = "ok"
        finally:
            self._metrics.models.observe_request(model, outcome, time.monotonic() - began)

    @contextlib.asynccontextmanager
    async def scoring(self, source: str, target: str, deadline: float) -> AsyncIterator[tuple[Inspector, Reader, str]]:
        """What scores translations of a pair, what reads its source, and the model's code for the target.

        Raises:
            InvalidFieldError: no model translates the pair by itself.
        """
        async with self.by_itself(source, target, deadline, "scores") as (translator, hop):
            yield translator.inspector, translator.readers[hop.source], hop.target

    @contextlib.asynccontextmanager
    async def by_itself(
        self, source: str, target: str, deadline: float, does: str
    ) -> AsyncIterator[tuple[Translator, Hop]]:
        """The translator of the one model that translates a pair, and its own codes for it; `does` says what it is
        wanted for.

        Raises:
            InvalidFieldError: no model translates the pair by itself.
        """
        route = self.route(source, target)
        if len(route) != 1:
            ways = ", ".join(f"{hop.source} to {hop.target}" for hop in route)
            raise InvalidFieldError(f"no model {does} {source} to {target} by itself; ask for {ways}")
        hop = route[0]
        async with self._loads.use(self._catalogue.entries[hop.model], deadline) as translator:
            yield translator, hop


def _check_lengths(options: TranslationOptions, entry: Entry) -> None:
    limit = entry.manifest.limits.target_tokens
    if options.min_output_tokens > limit:
        raise InvalidFieldError(f"min_output_tokens must be at most {limit}, the limit of the model {entry.model}")


def _told(translation: Translation, hop: Hop) -> Translation:
    told = ToldHop(str(hop.model), hop.source, hop.target, translation.text, translation.inspections)
    return dataclasses.replace(translation, hops=(told,))
