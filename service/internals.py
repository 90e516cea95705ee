"""One sentence looked into: how its translation is searched, and what an attention head does with it.

Jobs of both kinds are done by the engine that scores, which is not one of those that translate.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from service.engine.internals import MOST_SOURCE_TOKENS, MOST_TARGET_TOKENS, InternalsJob, SearchJob
from service.errors import InvalidFieldError, NotFoundError
from service.explain.attention import attention_stacks
from service.failures import engine_errors
from service.translation.options import TranslationOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.bundle import Manifest
    from service.engine.internals import Internals, SearchRecord
    from service.engine.scores import AttentionKind
    from service.engine.types import Job
    from service.translator import Translator


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which head is looked at, over which translation."""

    target_ids: tuple[int, ...]
    kind: AttentionKind
    layer: int | None
    """None: the last."""
    head: int
    embedding: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Inside:
    """One sentence of one model."""

    translator: Translator
    job: Job
    """What the engines would be asked first for the same text and beam size."""

    @classmethod
    def of(cls, translator: Translator, text: str, source: str, target: str, beam_size: int) -> Inside:
        """A text that is one sentence, in the model's own pair of languages.

        Raises:
            InvalidFieldError: it is none, more than one, or too long.
        """
        options = TranslationOptions(beam_size=beam_size, alternatives=beam_size - 1)
        plans = translator.plan([text], translator.readers[source], target, options, is_further=False)
        jobs = [part.job for trials in plans[0].trials for part in trials.attempts[0].parts]
        if len(jobs) != 1 or jobs[0] is None:
            found = f"it has {len(jobs)}" if len(jobs) > 1 else "it has none that is translated"
            raise InvalidFieldError(f"q must be one sentence; {found}")
        job = jobs[0]
        tokens = len(job.source_ids)
        if tokens > MOST_SOURCE_TOKENS:
            raise InvalidFieldError(f"q has {tokens} tokens, more than {MOST_SOURCE_TOKENS}, the most to look into")
        return cls(translator, job)

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self.translator.inspector.manifest

    @property
    def source_tokens(self) -> list[str]:
        """As the encoder reads them: tag, pieces, end token."""
        return self.translator.vocabulary.source_pieces(self.job.source_ids)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Tokens of the target's vocabulary."""
        return self.translator.vocabulary.pieces(ids)

    async def search(self, deadline: float) -> SearchRecord:
        """How the engines search it; raises as `Inspector.answers` does."""
        room = min(self.job.options.max_output_tokens, MOST_TARGET_TOKENS)
        options = dataclasses.replace(self.job.options, max_output_tokens=room)
        record: SearchRecord = await self._run(SearchJob(self.job.source_ids, options), deadline)
        return record

    async def look(self, wanted: Wanted, deadline: float) -> tuple[InternalsJob, Internals]:
        """What one head does; the job has the tokens and the layer that there were.

        Raises:
            NotFoundError: the bundle has no graph for it.
            InvalidFieldError: there is no such layer, head or token.
            and as `Inspector.answers` does.
        """
        job = self._checked(wanted)
        return job, await self._run(job, deadline)

    def _checked(self, wanted: Wanted) -> InternalsJob:
        manifest = self.manifest
        if "internals" not in manifest.graphs:
            raise NotFoundError(
                f"the model {manifest.name}@{manifest.version} cannot be looked into: its bundle has no graph "
                "`internals`, which `python -m export` writes for Transformers"
            )
        layers, heads = attention_stacks(manifest)[wanted.kind]
        layer = layers - 1 if wanted.layer is None else wanted.layer
        for name, index, count in (("layer", layer, layers), ("head", wanted.head, heads)):
            if index >= count:
                raise InvalidFieldError(f"{name}: {index} does not exist, {wanted.kind} attention has 0 to {count - 1}")
        if len(wanted.target_ids) > MOST_TARGET_TOKENS:
            raise InvalidFieldError(f"target_ids has more than {MOST_TARGET_TOKENS} tokens, the most to look into")
        if any(each >= manifest.vocabulary_size for each in wanted.target_ids):
            raise InvalidFieldError(f"target_ids: this model has the tokens 0 to {manifest.vocabulary_size - 1}")
        written = (*self.job.options.silent_prefix, *wanted.target_ids)
        return InternalsJob(self.job.source_ids, written, wanted.kind, layer, wanted.head, wanted.embedding)

    async def _run(self, job: SearchJob | InternalsJob, deadline: float) -> Any:
        with engine_errors("scored"):
            answers = await self.translator.inspector.scorer.run([job], deadline=deadline)
        return answers[0].result
