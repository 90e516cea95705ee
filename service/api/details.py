"""What replies tell of a sentence beside its translation, and the fields that ask for it."""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from service.api.bodies import WHOLE
from service.engine.scores import KINDS, AttentionKind
from service.engine.types import FinishReason
from service.explain.attention import AttentionSelection
from service.explain.details import DetailOptions, Inspection
from service.translation.results import Hop as ToldHop

Span = tuple[int, int]
_Indices = Annotated[tuple[Annotated[StrictInt, Field(ge=0), WHOLE], ...], Field(min_length=1)]


class AttentionRequest(BaseModel):
    """Which attention weights, and in which form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kinds: Annotated[tuple[AttentionKind, ...], Field(min_length=1)] = Field(
        KINDS, description="Self-attention of the encoder, masked self-attention of the decoder, encoder-decoder."
    )
    layers: _Indices | None = Field(None, description="From 0; default: all.")
    heads: _Indices | None = Field(None, description="From 0; default: all.")
    reduce: Literal["none", "mean"] = Field("none", description="`mean`: over the chosen layers and heads.")
    layout: Literal["nested", "bertviz"] = Field(
        "nested",
        description="`nested`: an array [layers][heads][rows][columns] of each kind. `bertviz`: the arguments of "
        "bertviz's `head_view` and `model_view`.",
    )
    encoding: Literal["json", "float16-base64"] = Field(
        "json", description="Numbers of 6 decimals, or the bytes of little-endian 16-bit floats in C order."
    )

    def selection(self) -> AttentionSelection:
        """The same for the library."""
        return AttentionSelection(
            kinds=tuple(dict.fromkeys(self.kinds)),
            layers=self.layers,
            heads=self.heads,
            reduce=self.reduce,
            layout=self.layout,
            encoding=self.encoding,
        )


AlignmentFlag = Annotated[
    StrictBool | None, Field(description="Tell which words belong together: `alignment` of each segment.")
]
AttentionField = Annotated[
    StrictBool | AttentionRequest | None,
    Field(description="Tell where the model looked: `attention` of each segment; true: all of it."),
]
WANTED_FIELDS = {
    "alignment": "true or false",
    "attention": "true, false or an object with any of kinds (an array of 'encoder', 'decoder', 'cross'), layers and "
    "heads (arrays of integers from 0), reduce ('none' or 'mean'), layout ('nested' or 'bertviz') and encoding "
    "('json' or 'float16-base64')",
}
"""What the values of the fields may be."""


def wanted(alignment: bool | None, attention: bool | AttentionRequest | None) -> DetailOptions:
    """What these fields ask for."""
    if isinstance(attention, AttentionRequest):
        return DetailOptions(alignment=bool(alignment), attention=attention.selection())
    return DetailOptions(alignment=bool(alignment), attention=AttentionSelection() if attention else None)


class AlignedWords(BaseModel):
    """A source word and a target word that belong together."""

    source: Span
    target: Span
    weight: float = Field(description="The source word's share, from 0 to 1, of the evidence for the target word.")


class Segment(BaseModel):
    """One sentence. Spans are half-open, in Unicode code points of the texts of request and reply."""

    source_span: Span
    target_span: Span
    source_tokens: list[str] = Field(
        description="As the model reads them: tag, pieces, end token; Traditional Chinese in Simplified characters."
    )
    target_tokens: list[str] = Field(description="Pieces, and the end token unless the sentence was cut.")
    log_prob: float = Field(description="Natural logarithm of the probability of all target tokens together.")
    score: float = Field(description="log_prob / n^length_penalty; n counts the end token.")
    token_log_probs: list[float] = Field(
        description="One for each of `target_tokens`, before any option changed it; without such options their sum is "
        "`log_prob`."
    )
    source_token_spans: list[Span] = Field(description="One for each of `source_tokens`; empty for tag and end token.")
    target_token_spans: list[Span] = Field(description="One for each of `target_tokens`; empty for the end token.")
    source_words: list[Span] = Field(description="In order; where a script has no spaces, the pieces.")
    target_words: list[Span]
    finish_reason: FinishReason
    truncated: bool = Field(description="Whether the sentence was cut at its length limit.")
    alignment: list[AlignedWords] | None = Field(None, description="Only if it was asked for.")
    attention: dict[str, Any] | None = Field(None, description="Only if it was asked for; see docs/attention.md.")


def segments_of(versions: Iterable[Sequence[Inspection]]) -> list[list[dict[str, Any]]]:
    """JSON-ready segments of each version of a text; the inspections are done. May take long."""
    return [[each.details().to_json() for each in version] for version in versions]


class DetailedResponse(JSONResponse):
    """Writes matrix by matrix: one call for two million numbers holds the interpreter for a second, in a thread too."""

    def render(self, content: Any) -> bytes:
        """JSON as starlette's own response writes it."""
        return _write(content).encode()


def _write(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_dumps(name)}:{_write(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple) and value and not _is_matrix(value):
        return "[" + ",".join(map(_write, value)) + "]"
    return _dumps(value)


def _is_matrix(value: Sequence[Any]) -> bool:
    """Whether it has no more than two dimensions of plain values."""
    first = value[0][0] if isinstance(value[0], list | tuple) and value[0] else value[0]
    return not isinstance(first, list | tuple | dict)


# Made once: json.dumps makes an encoder for every call that names options.
_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Hop(BaseModel):
    """What one of two models did with a text."""

    model: str = Field(description="`name@version`.")
    source: str
    target: str
    text: str = Field(description="What it made of the text, or of what the first model had made of it.")
    segments: list[Segment] = Field(description="Spans are of the text that the model read, and of `text`.")


class Routed(BaseModel):
    """What a reply tells of the models that its texts went through."""

    route: list[str] | list[list[str]] | None = Field(
        None, description="Only with `details`: the models that each text went through, as `name@version`."
    )
    hops: list[Hop] | list[list[Hop]] | None = Field(
        None,
        description="Only with `details`, and if two models were needed: what each of them did. `segments` of such a "
        "text is empty.",
    )


def routes_of(texts: Sequence[Sequence[ToldHop]]) -> dict[str, list[Any]]:
    """`route` of a reply, and `hops` if any text went through two models: an entry for each text."""
    told: dict[str, list[Any]] = {"route": [[hop.model for hop in hops] for hops in texts]}
    if any(len(hops) > 1 for hops in texts):
        told["hops"] = [list(map(_hop, hops)) if len(hops) > 1 else [] for hops in texts]
    return told


def _hop(hop: ToldHop) -> dict[str, Any]:
    best, *_ = segments_of(hop.inspections)
    return {"model": hop.model, "source": hop.source, "target": hop.target, "text": hop.text, "segments": best}
