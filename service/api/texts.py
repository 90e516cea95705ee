"""Texts and codes in the fields of contracts that have no schema: strings, arrays of strings, and what is neither."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.errors import InvalidRequestError, MissingFieldError, ServiceError

_JSON_TYPES = {bool: "a truth value", int: "a number", float: "a number", list: "an array", dict: "an object"}


def text_of(values: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A string; `default` where it is absent, null or empty.

    Raises:
        MissingFieldError: it is absent or empty and there is no default.
        InvalidRequestError: it is something else, or no text.
    """
    value = values.get(name)
    if value is None or value == "":
        if default is None:
            raise MissingFieldError(name)
        return default
    if not isinstance(value, str):
        raise InvalidRequestError(f"Invalid request: {name} parameter must be a string")
    if has_half_a_pair(value):
        raise InvalidRequestError(f"Invalid request: {name} parameter holds half a surrogate pair, which is no text")
    return value


def texts_of_field(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """An array of strings, or one string.

    Raises:
        MissingFieldError: it is absent, null or an empty array.
        InvalidRequestError: it is something else, or an item is no text.
    """
    value = values.get(name)
    if value is None or value == []:
        raise MissingFieldError(name)
    texts = value if isinstance(value, list) else [value]
    for _, problem in unusable_items(name, texts):
        raise problem
    return tuple(texts)


def unusable_items(name: str, texts: Sequence[Any]) -> Iterator[tuple[int, ServiceError]]:
    """The items that are no text, each with what is wrong with it."""
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            kind = "null" if text is None else _JSON_TYPES[type(text)]
            message = (
                f"Invalid request: {name} parameter must be a string or an array of strings; item {index} is {kind}"
            )
            yield index, InvalidRequestError(message)
        elif has_half_a_pair(text):
            message = (
                f"Invalid request: {name} parameter holds half a surrogate pair, which is no text, in item {index}"
            )
            yield index, InvalidRequestError(message)


def has_half_a_pair(text: str) -> bool:
    """Whether it holds half of a surrogate pair, which JSON can spell and nothing can be done with."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
