"""What is told of a sentence beside its translation: where it stands, its tokens and how likely they are, which words
belong together, and where the model looked.

First `inspect` makes the scoring jobs of a sentence; with their answers, `Inspection.details` tells the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from model.bundle import AlignmentMethod
from service.engine.scores import AlignmentJob, AnyScoringJob, ScoringJob
from service.engine.types import Answer, Hypothesis, result_of
from service.errors import InvalidFieldError
from service.explain.alignment import (
    attention_evidence,
    by_words,
    erasure_evidence,
    link,
    membership,
    near_diagonal,
    shares,
)
from service.explain.attention import attention_stacks, select, to_json
from service.text.sentences import trim
from service.text.words import word_spans

if TYPE_CHECKING:
    from model.bundle import Manifest
    from model.tokenizers import Frame, Tokenizer
    from service.arrays import Array
    from service.engine.scores import AttentionKind, Score
    from service.engine.types import FinishReason
    from service.explain.attention import AttentionSelection
    from service.text.edits import Span
    from service.text.reading import Reader

Answers = Mapping[AnyScoringJob, Answer]
"""What became of the jobs of inspections."""

UNMEASURED = AlignmentMethod(evidence="erasure")
"""For a direction that the bundle says nothing of."""

MAX_SCORED_TOKENS = 200_000
"""Source and target tokens that one request may have scored, each source word's erasure counting as a sentence of its
own: about 12 s of two cores with the shipped model."""
MAX_ALIGNED_CELLS = 4_000_000
"""Source tokens times target tokens, summed over the sentences of one request that are aligned by `hmm`: about 5 s."""
MAX_HELD_NUMBERS = 16 * 2**20
"""Attention weights computed for one request before layers and heads are chosen: 64 MiB."""
MAX_SENT_NUMBERS = 2_000_000
"""Attention weights in one reply: about 20 MB of JSON."""


@dataclasses.dataclass(frozen=True, slots=True)
class Side:
    """One sentence, in one language: its text, where that begins in the text it is part of, and its pieces."""

    text: str
    start: int
    ids: tuple[int, ...]
    """Without tag and end token."""
    spans: tuple[Span, ...]
    """Of the pieces, in `text`, without the space before a word."""
    before: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    """What the model reads around the pieces: tags of languages, the end token."""
    outer: Callable[[Span], Span] | None = None
    """Where a place of the text that it is part of stands in a text with mark-up; None: there."""

    @classmethod
    def of_source(cls, text: str, start: int, reader: Reader) -> Side:
        """A sentence as its author wrote it, in the pieces that the model reads."""
        spans = (trim(text, *span) for span in reader.encode_spans(text))
        return cls(text, start, tuple(reader.encode(text)), tuple(spans))

    @classmethod
    def of_target(cls, ids: Sequence[int], start: int, vocabulary: Tokenizer) -> Side:
        """A sentence as the model wrote it, without the whitespace around it, which is the document's."""
        decoded = vocabulary.decode(ids)
        first, last = trim(decoded, 0, len(decoded))
        spans = (trim(decoded, *span) for span in vocabulary.decode_spans(ids))
        inside = ((min(max(a, first), last) - first, min(max(b, first), last) - first) for a, b in spans)
        return cls(decoded[first:last], start, tuple(ids), tuple(inside))

    @property
    def span(self) -> Span:
        """Of the sentence, in the text it is part of."""
        return self.placed((0, len(self.text)))

    def words(self) -> list[Span]:
        """Spans of its words, in `text`."""
        return word_spans(self.text, self.spans)

    def placed(self, span: Span) -> Span:
        """A span of `text` as one of the text that a caller knows."""
        inside = self.start + span[0], self.start + span[1]
        return inside if self.outer is None else self.outer(inside)

    def placed_words(self) -> tuple[Span, ...]:
        """`words` in the text it is part of."""
        return tuple(self.placed(word) for word in self.words())

    def framed(self, frame: Frame) -> Side:
        """The same with the tokens before and behind its pieces."""
        return dataclasses.replace(self, before=frame[0], behind=frame[1])

    @property
    def all_ids(self) -> tuple[int, ...]:
        """The pieces, and what stands around them."""
        return (*self.before, *self.ids, *self.behind)

    @property
    def all_spans(self) -> tuple[Span, ...]:
        """Spans of `all_ids` in `text`; empty for what stands around the pieces."""
        end = len(self.text)
        return (*((0, 0) for _ in self.before), *self.spans, *((end, end) for _ in self.behind))

    def placed_tokens(self) -> tuple[Span, ...]:
        """`all_spans` in the text it is part of."""
        return tuple(self.placed(span) for span in self.all_spans)

    def places_of(self, word: Span) -> tuple[int, ...]:
        """Places in `all_ids` of the pieces that have a character of the word."""
        places = range(len(self.before), len(self.before) + len(self.spans))
        spans = zip(places, self.spans, strict=True)
        return tuple(place for place, (start, end) in spans if max(start, word[0]) < min(end, word[1]))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DetailOptions:
    """What a caller wants beside tokens, spans and log-probabilities."""

    alignment: bool = False
    attention: AttentionSelection | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class AlignedWords:
    """A source word and a target word that belong together, by their spans in the texts of the request."""

    source: Span
    target: Span
    weight: float
    """The source word's share, from 0 to 1, of the evidence for the target word."""


@dataclasses.dataclass(frozen=True, slots=True)
class WordEvidence:
    """The words of a sentence and of its translation, by their spans in each, and what links them."""

    sources: tuple[Span, ...]
    targets: tuple[Span, ...]
    evidence: Array
    """[targets, sources], see `service.explain.alignment`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SegmentDetails:
    """All that is told of one sentence. Spans are half-open, in Unicode code points."""

    source_span: Span
    target_span: Span
    source_tokens: tuple[str, ...]
    """As the encoder reads them: tag, pieces, end token."""
    target_tokens: tuple[str, ...]
    """Pieces, and the end token if the model wrote one."""
    log_prob: float
    score: float
    token_log_probs: tuple[float, ...]
    """One for each of `target_tokens`."""
    source_token_spans: tuple[Span, ...]
    """Without the space before a word; those of tag and end token are empty."""
    target_token_spans: tuple[Span, ...]
    source_words: tuple[Span, ...]
    """In order, without overlap; what alignments link."""
    target_words: tuple[Span, ...]
    finish_reason: FinishReason
    alignment: tuple[AlignedWords, ...] | None
    attention: dict[str, Any] | None
    """JSON-ready, see `service.explain.attention.to_json`."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in a reply; what was not asked for is absent."""
        # Not asdict: it would copy every number of the attention.
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if self.alignment is not None:
            values["alignment"] = [dataclasses.asdict(words) for words in self.alignment]
        values["truncated"] = self.finish_reason == "length"
        return {name: value for name, value in values.items() if value is not None}


@dataclasses.dataclass(frozen=True, slots=True)
class Inspection:
    """A sentence, and the jobs whose results are its details."""

    source: Side
    target: Side
    source_tokens: tuple[str, ...]
    target_tokens: tuple[str, ...]
    """With the end token."""
    wanted: DetailOptions
    method: AlignmentMethod
    hypothesis: Hypothesis | None
    """What the engine found; None for a translation that came from outside."""
    jobs: tuple[ScoringJob, ...]
    """The sentence as it is, then, for alignment by erasure, without each of its words. None where all that is wanted
    is known without the scorer."""
    alignment_job: AlignmentJob | None
    """For alignment by `hmm`."""
    scores: tuple[Score, ...] = ()
    """One for each of `jobs`, once they are done."""
    links: Array | None = None
    """What `alignment_job` gave."""

    def at(self, start: int) -> Inspection:
        """The same with the translation beginning at `start` of another text; the jobs are shared."""
        return dataclasses.replace(self, target=dataclasses.replace(self.target, start=start))

    def answered(self, answers: Answers) -> Inspection:
        """The same with the results of its jobs; raises what one of them failed with."""
        scores = tuple(result_of(answers[job]) for job in self.jobs)
        links = None if self.alignment_job is None else result_of(answers[self.alignment_job])
        return dataclasses.replace(self, scores=scores, links=links)

    def inside(self, source: Callable[[Span], Span], target: Callable[[Span], Span]) -> Inspection:
        """The same as a part of texts with mark-up, given where places of its texts stand in those."""
        return dataclasses.replace(
            self,
            source=dataclasses.replace(self.source, outer=source),
            target=dataclasses.replace(self.target, outer=target),
        )

    def details(self) -> SegmentDetails:
        """All that is told, once `answered`."""
        scores = self.scores
        hypothesis = self.hypothesis or _forced(self.target.ids, scores[0].token_log_probs)
        shown = len(self.target_tokens) - (hypothesis.finish_reason == "length")
        selection = self.wanted.attention
        return SegmentDetails(
            source_span=self.source.span,
            target_span=self.target.span,
            source_tokens=self.source_tokens,
            target_tokens=self.target_tokens[:shown],
            log_prob=hypothesis.log_prob,
            score=hypothesis.score,
            token_log_probs=hypothesis.token_log_probs,
            source_token_spans=self.source.placed_tokens(),
            target_token_spans=self.target.placed_tokens()[:shown],
            source_words=self.source.placed_words(),
            target_words=self.target.placed_words(),
            finish_reason=hypothesis.finish_reason,
            alignment=self._alignment() if self.wanted.alignment else None,
            attention=self._attention(scores[0].attention, selection, shown) if selection else None,
        )

    def _attention(
        self, attention: Mapping[AttentionKind, Array], selection: AttentionSelection, shown: int
    ) -> dict[str, Any]:
        """Without the row of an end token that was not written."""
        sizes: dict[AttentionKind, int] = {"encoder": len(self.source_tokens), "decoder": shown, "cross": shown}
        columns: dict[AttentionKind, int] = {**sizes, "cross": len(self.source_tokens)}
        chosen = select(attention, selection)
        cut = {kind: weights[:, :, : sizes[kind], : columns[kind]] for kind, weights in chosen.items()}
        return to_json(cut, self.source_tokens, self.target_tokens[:shown], selection)

    def words(self) -> WordEvidence:
        """The words of both sides and what links them, once `answered`, if alignment was wanted."""
        sources, targets = self.source.words(), self.target.words()
        return WordEvidence(tuple(sources), tuple(targets), self._evidence(sources, targets))

    def _alignment(self) -> tuple[AlignedWords, ...]:
        words = self.words()
        evidence = near_diagonal(words.evidence, self.method.diagonal)
        weights = shares(evidence)
        return tuple(
            AlignedWords(
                self.source.placed(words.sources[i]), self.target.placed(words.targets[j]), float(weights[j, i])
            )
            for i, j in sorted(link(evidence, self.method.symmetrisation))
        )

    def _evidence(self, sources: Sequence[Span], targets: Sequence[Span]) -> Array:
        """[target words, source words]."""
        if self.links is not None:
            return by_words(self.links, membership(self.source.spans, sources), membership(self.target.spans, targets))
        target = membership(self.target.all_spans, targets)
        if self.method.evidence == "erasure":
            return erasure_evidence(np.stack([score.token_log_probs for score in self.scores]), target)
        source = membership(self.source.all_spans, sources)
        return attention_evidence(self.scores[0].attention["cross"], source, target, self.method)


def inspect(
    source: Side,
    target: Side,
    hypothesis: Hypothesis | None,
    *,
    pair: tuple[str, str],
    wanted: DetailOptions,
    manifest: Manifest,
    vocabulary: Tokenizer,
) -> Inspection:
    """The jobs that tell what is wanted of one sentence and its translation; `pair` has the languages of both.

    The probability of what the engine found is shared among the tokens it decoded with. That of a translation from
    outside is shared among the whole vocabulary, which it is made of.
    """
    direction = "-".join(pair)
    method = manifest.alignment.get(direction, UNMEASURED)
    source = source.framed(vocabulary.source_frame(*pair))
    target = target.framed(((), (manifest.special_ids.eos,)))
    by_hmm = wanted.alignment and method.evidence == "hmm"
    is_known = hypothesis is not None and wanted.attention is None and (by_hmm or not wanted.alignment)
    is_ours = hypothesis is not None
    return Inspection(
        source=source,
        target=target,
        source_tokens=tuple(vocabulary.source_pieces(source.all_ids)),
        target_tokens=tuple(vocabulary.pieces(target.all_ids)),
        wanted=wanted,
        method=method,
        hypothesis=hypothesis,
        jobs=() if is_known else _jobs(source, target, vocabulary.target_prefix(pair[1]), wanted, method, is_ours),
        alignment_job=AlignmentJob(source.ids, target.ids, direction) if by_hmm else None,
    )


def _jobs(
    source: Side,
    target: Side,
    silent_prefix: tuple[int, ...],
    wanted: DetailOptions,
    method: AlignmentMethod,
    is_ours: bool,
) -> tuple[ScoringJob, ...]:
    """The sentence as it is, then, for alignment by erasure, without each of its words."""
    hidden: list[tuple[int, ...]] = [()]
    if wanted.alignment and method.evidence == "erasure":
        hidden.extend(source.places_of(word) for word in source.words())
    kinds = _kinds(wanted, method)
    ids = source.all_ids, target.ids
    return tuple(ScoringJob(*ids, some, is_ours, () if some else kinds, silent_prefix) for some in hidden)


def _kinds(wanted: DetailOptions, method: AlignmentMethod) -> tuple[AttentionKind, ...]:
    """What the scorer must give."""
    kinds = dict.fromkeys(wanted.attention.kinds if wanted.attention else ())
    if wanted.alignment and method.evidence == "attention":
        kinds["cross"] = None
    return tuple(sorted(kinds))


def _forced(target_ids: tuple[int, ...], token_log_probs: Array) -> Hypothesis:
    """A translation from outside as if the engine had found it, with a length penalty of 1."""
    log_prob = float(token_log_probs.sum(dtype=np.float64))
    return Hypothesis(target_ids, log_prob, log_prob / len(token_log_probs), "eos", tuple(token_log_probs.tolist()))


def jobs_of(inspections: Sequence[Inspection]) -> list[AnyScoringJob]:
    """Each of their jobs once: a sentence that stands in several texts is scored for all of them."""
    scoring = (job for inspection in inspections for job in inspection.jobs)
    aligning = (each.alignment_job for each in inspections if each.alignment_job is not None)
    return list(dict.fromkeys([*scoring, *aligning]))


def check_size(inspections: Sequence[Inspection], manifest: Manifest) -> None:
    """Refuse what would take too long, too much memory, or too large a reply.

    Raises:
        InvalidFieldError: the sentence says what is too much.
    """
    jobs = [job for job in jobs_of(inspections) if isinstance(job, ScoringJob)]
    tokens = sum(job.tokens for job in jobs)
    if tokens > MAX_SCORED_TOKENS:
        raise InvalidFieldError(
            f"alignment and attention of these texts take {tokens} tokens of scoring, more than {MAX_SCORED_TOKENS}; "
            "send fewer sentences at once"
        )
    cells = sum(len(each.source.ids) * len(each.target.ids) for each in inspections if each.alignment_job)
    if cells > MAX_ALIGNED_CELLS:
        raise InvalidFieldError(
            f"alignment of these texts takes {cells} cells (source tokens times target tokens of each sentence), more "
            f"than {MAX_ALIGNED_CELLS}; send fewer sentences at once"
        )
    held = sum(_held_numbers(job, manifest) for job in jobs if job.attention)
    if held > MAX_HELD_NUMBERS:
        raise InvalidFieldError(
            f"these texts have {held} attention weights of these kinds, more than {MAX_HELD_NUMBERS}; "
            "send fewer sentences at once or ask for fewer kinds"
        )
    sent = sum(_sent_numbers(inspection, manifest) for inspection in inspections)
    if sent > MAX_SENT_NUMBERS:
        raise InvalidFieldError(
            f"the reply would have {sent} attention weights, more than {MAX_SENT_NUMBERS}; send fewer sentences at "
            "once or choose kinds, layers or heads, or their mean"
        )


def _matrix_sizes(job: ScoringJob) -> dict[AttentionKind, int]:
    source, target = len(job.source_ids), len(job.target_ids) + 1
    return {"encoder": source * source, "decoder": target * target, "cross": source * target}


def _held_numbers(job: ScoringJob, manifest: Manifest) -> int:
    stacks, sizes = attention_stacks(manifest), _matrix_sizes(job)
    return sum(stacks[kind][0] * stacks[kind][1] * sizes[kind] for kind in job.attention)


def _sent_numbers(inspection: Inspection, manifest: Manifest) -> int:
    if inspection.wanted.attention is None:
        return 0
    counts, sizes = inspection.wanted.attention.counts(attention_stacks(manifest)), _matrix_sizes(inspection.jobs[0])
    return sum(count * sizes[kind] for kind, count in counts.items())
