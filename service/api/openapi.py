"""The description of the API as this service is: its languages, its limits, examples that translate as they stand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from service.access.rights import needed
from service.settings import Settings
from service.state import Model, ServiceState
from service.text.languages import AUTO, Directions

Schema = dict[str, Any]

_SENTENCES = {
    "ar": "القطة نائمة.", "de": "Die Katze schläft.", "en": "The cat sleeps.", "es": "El gato duerme.",
    "fr": "Le chat dort.", "it": "Il gatto dorme.", "ja": "猫が寝ています。", "ko": "고양이가 자고 있어요.",
    "nl": "De kat slaapt.", "pb": "O gato dorme.", "pl": "Kot śpi.", "pt": "O gato dorme.", "ru": "Кошка спит.",
    "uk": "Кішка спить.", "zh": "猫在睡觉。", "zt": "貓在睡覺。",
}  # fmt: skip
_ANY_SENTENCE = "12:30"
"""Is the same in every language."""
_SOURCE_FIELDS, _TARGET_FIELDS = ("source", "source_lang", "from"), ("target", "target_lang", "to")
_HEADERS: Schema = {
    "X-Request-ID": {
        "schema": {"type": "string"},
        "description": "The request's, or one made for it; stands in the log.",
    },
    "Server-Timing": {"schema": {"type": "string"}, "description": "Where the time went, in milliseconds."},
}
_RETRY_AFTER: Schema = {"schema": {"type": "integer"}, "description": "Seconds after which it is worth another try."}
_LATER = ("503", "504")
_ANYWHERE: tuple[tuple[str, str, Schema], ...] = (
    ("404", "No such endpoint.", {}),
    ("405", "The endpoint takes other methods.", {"Allow": {"schema": {"type": "string"}}}),
)
_REFUSALS: tuple[tuple[str, str, Schema], ...] = (
    ("401", "A key of this service is needed.", {"WWW-Authenticate": {"schema": {"type": "string"}}}),
    ("403", "No such key, or it has not the right.", {}),
    ("429", "More than this caller may ask for in a time.", {"Retry-After": _RETRY_AFTER}),
)
REASONS: Mapping[str, tuple[str, ...]] = {
    "400": (
        "... is not available as a target language from ...",
        "Invalid request: request (...) exceeds text limit (...)",
        "Invalid request: the body is nested deeper than ... levels",
        "Invalid request: q and translation parameters must be two strings or equally long arrays",
        "Invalid request: missing ... parameter",
        "Invalid request: file format not supported...",
        "Invalid request: the file is damaged: ...",
        "Invalid request: the file is encrypted...; save it without a password...",
        "Invalid request: the file holds macros; save it without them",
        "Invalid request: the file unpacks to more than ... bytes or ... parts",
        "Invalid request: ... has entities or a document type of its own",
        "Invalid request: ... is nested deeper than ... levels",
        "Invalid request: empty file",
        "Invalid request: the file is ...",
        "... format is not supported",
        "input '...' has ... elements, but its shape says ...",
        "... must be a language code, as an input or a parameter",
        "input '...' must have one element",
        "input 'text' is missing",
    ),
    "404": (
        "no such model; there is ...",
        "the model ... cannot be looked into: ...",
        "no such file, or no longer: ...",
        "no file is being translated with this id, or not yet, or no longer",
        "...: no such endpoint; ...",
    ),
    "422": (
        "unknown field '...'; the fields are ...",
        "min_output_tokens must not be larger than max_output_tokens",
        "target_prefix has ... tokens, which leaves none of the ... that a sentence may have",
        "the translation of the sentence at ... was cut at its length limit, and strict is set",
        "there is no glossary '...'; there is ...",
        "model must be one of ...; ... is not served",
        "no model scores ... to ... by itself; ask for ...",
        "min_output_tokens must be at most ..., the limit of the model ...",
        "alignment is not told across two models (..., ...); ask for ...",
        "target_prefix has characters that this model cannot write",
        "attention...: ... does not exist, ... attention of this model has ...",
        "a text of ... has ... tokens, more than ..., the limit of this model; each is scored as one sentence",
        "alignment...of these texts take..., more than ...; send fewer sentences at once",
        "these texts have ... attention weights of these kinds, more than ...; send fewer sentences at once ...",
        "the reply would have ... attention weights, more than ...; send fewer sentences at once ...",
    ),
}
"""Why a request that fits its schema may be refused nevertheless; `...` is any text."""


def operation_id(route: APIRoute) -> str:
    """`translate`, `deepl_translate`: a name for a method of a generated client."""
    module = route.endpoint.__module__.rpartition(".")[2]
    return route.name if route.name.startswith(module) or module in _OWN_NAMES else f"{module}_{route.name}"


_OWN_NAMES = ("health", "files", "frontend", "extensions", "open_inference", "languages", "metrics")


def describe(app: FastAPI, state: ServiceState) -> Callable[[], Schema]:
    """What `app.openapi` is to be: made while the models load, and again whenever there are others."""
    plain = app.openapi
    known: tuple[int | None, Schema] | None = None

    def described() -> Schema:
        nonlocal known
        model = state.model() if state.is_started and state.is_alive and state.models.catalogue else None
        generation = None if model is None else model.generation
        if known is None or known[0] != generation:
            known = generation, _described(copy.deepcopy(plain()), state.settings, model)
        return known[1]

    return described


def _described(schema: Schema, settings: Settings, model: Model | None) -> Schema:
    for path, operation in _operations(schema):
        if needed(path) is not None:
            _describe_refusals(operation)
        _describe_answers(operation)
        properties = _properties(operation)
        _limit(properties, settings, model)
        if model is not None:
            _name_languages(properties, model.translator.directions)
    if model is not None:
        _give_examples(schema, model)
    return schema


def _operations(schema: Schema) -> Iterator[tuple[str, Schema]]:
    for path, item in schema["paths"].items():
        for operation in item.values():
            yield path, operation


def _properties(operation: Schema) -> Schema:
    """Of the body of a request in JSON."""
    content = operation.get("requestBody", {}).get("content", {})
    properties: Schema = content.get("application/json", {}).get("schema", {}).get("properties", {})
    return properties


def _describe_refusals(operation: Schema) -> None:
    """What anybody may be told who has no key, or asks for much."""
    for status, description, headers in _REFUSALS:
        answer = operation["responses"].setdefault(status, {"description": description})
        answer["headers"] = {**answer.get("headers", {}), **headers}


def _describe_answers(operation: Schema) -> None:
    answers = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422")):  # FastAPI's own, which nothing here is answered with
        del answers["422"]
    for status, description, headers in _ANYWHERE:
        answers.setdefault(status, {"description": description, "headers": headers})
    for status, answer in answers.items():
        answer["headers"] = {**answer.get("headers", {}), **_HEADERS}
        if status in _LATER:
            answer["headers"]["Retry-After"] = _RETRY_AFTER
        if status in REASONS:
            listed = "".join(f"\n- `{reason}`" for reason in REASONS[status])
            answer["description"] = f"What does not fit the schema; and what fits but\n{listed}"


def _limit(properties: Schema, settings: Settings, model: Model | None) -> None:
    """Maxima that the settings, or the model, lower."""
    most = {
        "alternatives": settings.max_alternatives,
        "beam_size": settings.max_beam_size,
        "timeout_ms": settings.max_timeout_ms,
    }
    if model is not None:
        tokens = model.translator.limits.target_tokens
        most |= {"min_output_tokens": tokens, "max_output_tokens": tokens}
    for name, maximum in most.items():
        for shape in _shapes(properties.get(name, {})):
            if shape.get("type") == "integer":
                shape["maximum"] = maximum
    for name in ("q", "translation", "text", "texts", "text_list"):
        for shape in _shapes(properties.get(name, {})):
            if shape.get("type") == "array":
                shape["maxItems"] = settings.max_texts
            elif shape.get("type") == "string":
                shape["maxLength"] = settings.max_characters


def _shapes(property_: Schema) -> list[Schema]:
    """What a value may be: of a union each, else the property itself."""
    shapes: list[Schema] = property_.get("anyOf", [property_])
    return shapes


def _name_languages(properties: Schema, directions: Directions) -> None:
    sources = [*directions.sources]
    targets = [*dict.fromkeys(target for _, target in directions.pairs)]
    for name in _SOURCE_FIELDS:
        if name in properties:
            properties[name]["enum"] = sources if "translation" in properties else [AUTO, *sources]
    for name in _TARGET_FIELDS:
        if name in properties:
            properties[name]["enum"] = targets


def _give_examples(schema: Schema, model: Model) -> None:
    source, target = next(
        (pair for pair in model.translator.directions.pairs if _SENTENCES.keys() >= set(pair)),
        model.translator.directions.pairs[0],
    )
    known = _SENTENCES if _SENTENCES.keys() >= {source, target} else {}
    _name_model(schema, model)
    text, translation = known.get(source, _ANY_SENTENCE), known.get(target, _ANY_SENTENCE)
    for path, (request, reply) in _examples(source, target, text, translation).items():
        operation = schema["paths"][path]["post"]
        operation["requestBody"]["content"]["application/json"]["example"] = request
        if reply is not None:
            operation["responses"]["200"]["content"]["application/json"]["example"] = reply


def _name_model(schema: Schema, model: Model) -> None:
    """By their names."""
    names = model.translator.names
    for path, operation in _operations(schema):
        if path.startswith("/v2/models/"):
            operation["parameters"][0]["schema"]["enum"] = names


def _examples(source: str, target: str, text: str, translation: str) -> dict[str, tuple[Any, Any]]:
    """Of each endpoint a request that is answered, and about what is answered."""
    pair = {"source": source, "target": target}
    tensors = [
        {"name": name, "shape": [1], "datatype": "BYTES", "data": [value]}
        for name, value in (("text", text), *pair.items())
    ]
    google = {"data": {"translations": [{"translatedText": translation}]}}
    deepl = {"translations": [{"detected_source_language": source.upper(), "text": translation}]}
    kept = {"detected_source_lang": source, "text": translation}
    deeplx = {"code": 200, "id": 1, "data": translation, "alternatives": [], "source_lang": source.upper()}
    return {
        "/translate": ({"q": text, **pair}, {"translatedText": translation}),
        "/detect": ({"q": text}, [{"confidence": 90.0, "language": source}]),
        "/score": ({"q": text, "translation": translation, **pair}, None),
        "/v2/translate": ({"text": [text], "source_lang": source, "target_lang": target}, deepl),
        "/v2/models/{name}/infer": ({"inputs": tensors}, None),
        "/language/translate/v2": ({"q": [text], **pair, "format": "text"}, google),
        "/language/translate/v2/detect": ({"q": [text]}, None),
        "/imme": ({"source_lang": source, "target_lang": target, "text_list": [text]}, {"translations": [kept]}),
        "/kiss": ({"from": source, "to": target, "text": text}, {"text": translation, "src": source}),
        "/deeplx/translate": (
            {"text": text, "source_lang": source, "target_lang": target},
            {**deeplx, "target_lang": target.upper(), "method": "Free"},
        ),
        "/translate/batch": ({"from": source, "to": target, "texts": [text]}, {"results": [translation]}),
    }
