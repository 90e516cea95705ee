"""What can go wrong with a request, each with its HTTP status and one sentence for the caller.

ServiceError
├── InvalidRequestError 400      what LibreTranslate refuses, in its words
│   ├── NotJsonError             the body is not a JSON object
│   ├── MissingFieldError        q, source or target is absent or empty
│   ├── TextLimitError           too many texts, characters or tokens
│   ├── UnsupportedLanguageError no such language
│   ├── UnsupportedPairError     both languages are known, but not from the one into the other
│   ├── DamagedFileError         a file is not what its name says
│   ├── EncryptedFileError       a file can be read only by who has a key
│   └── UnsupportedFormatError   a format of text that is not read
├── KeyMissingError 401          a key is needed; some contracts have another status for it
├── KeyRefusedError 401          there is no such key; likewise
├── ForbiddenError 403           what is asked for is switched off, or the key is not for it
├── NotFoundError 404
├── MethodNotAllowedError 405
├── SlowBodyError 408            the body did not arrive in time
├── BodyTooLargeError 413
├── UnsupportedMediaTypeError 415
├── InvalidFieldError 422        a field of our own is wrong, or nobody knows the field
├── TruncatedError 422           a translation was cut, and the caller wanted none that is
├── BundleRefusedError 422       a bundle that an operator wants served cannot be
├── RateExceededError 429        more than this caller may ask for in a time
├── QuotaExceededError 429       more than the key may have translated in a month; some contracts have another status
├── ClientGoneError 499          the caller hung up; nobody reads the reply
├── InternalError 500            a defect; the caller gets an id, the log the rest
├── UnavailableError 503         loading, stopping or failed; worth another try later
│   └── RejectedError            refused before it is read: too much to do
└── DeadlineExceededError 504    not done within the caller's time
    └── DeadlineRefusedError     refused before it is read: it would not be
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

_MOST_PAIRS = 100
"""More than this are not told with an error: /languages has them."""

Rejection = Literal["queue_full", "too_many_requests", "deadline", "draining", "key", "rate", "quota"]
"""Why a request was refused before anything was done for it."""


class SettingsError(Exception):
    """A setting is unknown or out of range; the text is one sentence for a person. No request ever fails with it."""


class ServiceError(Exception):
    """Root: `status` is the HTTP status, `str(error)` the sentence."""

    status = 500
    rejection: Rejection | None = None
    """Set if the request was refused for what is going on, not for what it is."""

    def __init__(self, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = dict(headers or {})
        self.fields: dict[str, Any] = {}
        """What a reply tells beside the sentence, for programs to read."""


class InvalidRequestError(ServiceError):
    """The request contradicts the contract of the endpoint."""

    status = 400


class NotJsonError(InvalidRequestError):
    """The body is not a JSON object."""

    def __init__(self) -> None:
        super().__init__("Invalid JSON format")


class MissingFieldError(InvalidRequestError):
    """A field that must be there is absent or empty."""

    def __init__(self, field: str) -> None:
        super().__init__(f"Invalid request: missing {field} parameter")


class TextLimitError(InvalidRequestError):
    """More texts or characters than one request may hold."""

    def __init__(self, size: int, limit: int, unit: str = "") -> None:
        super().__init__(f"Invalid request: request ({size}{unit}) exceeds text limit ({limit}{unit})")


class DamagedFileError(InvalidRequestError):
    """A file is not what its name says."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Invalid request: the file is damaged: {why}")


class EncryptedFileError(InvalidRequestError):
    """A file can be read only by who has a key."""

    def __init__(self) -> None:
        super().__init__("Invalid request: the file is encrypted; save it without a password")


class UnsupportedLanguageError(InvalidRequestError):
    """The model knows no such language; LibreTranslate's words, and beside them what there is."""

    def __init__(self, written: str, nearest: str | None, pairs: Sequence[tuple[str, str]]) -> None:
        super().__init__(f"{shown(written)} is not supported")
        self.fields = _available(pairs) | ({"nearest": nearest} if nearest else {})


class UnsupportedPairError(InvalidRequestError):
    """The model does not translate this pair."""

    def __init__(self, target: str, source: str, pairs: Sequence[tuple[str, str]]) -> None:
        """`target` and `source` as they are shown: name and code."""
        super().__init__(f"{target} is not available as a target language from {source}")
        self.fields = _available(pairs)


def _available(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    if len(pairs) > _MOST_PAIRS:
        return {}
    return {"available": [{"source": source, "target": target} for source, target in pairs]}


class UnsupportedFormatError(InvalidRequestError):
    """Texts of this format are not read."""

    def __init__(self, name: object) -> None:
        super().__init__(f"{shown(name)} format is not supported")


class KeyMissingError(ServiceError):
    """A key is needed, and the request has none; LibreTranslate's words."""

    status = 401
    rejection: Rejection | None = "key"

    def __init__(self) -> None:
        super().__init__("Please contact the server operator to get an API key", {"WWW-Authenticate": "Bearer"})


class KeyRefusedError(ServiceError):
    """Nobody has the key that was presented; LibreTranslate's words."""

    status = 401
    rejection: Rejection | None = "key"

    def __init__(self) -> None:
        super().__init__("Invalid API key", {"WWW-Authenticate": 'Bearer error="invalid_token"'})


class ForbiddenError(ServiceError):
    """The service does this for nobody, or not for this key."""

    status = 403


class RateExceededError(ServiceError):
    """More than this caller may ask for in a time."""

    status = 429
    rejection: Rejection | None = "rate"

    def __init__(self, message: str, retry_after_seconds: float, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, {"Retry-After": str(max(math.ceil(retry_after_seconds), 1)), **(headers or {})})


class QuotaExceededError(ServiceError):
    """More than this key may have translated in a month."""

    status = 429
    rejection: Rejection | None = "quota"

    def __init__(self, limit: int, retry_after_seconds: float) -> None:
        headers = {"Retry-After": str(math.ceil(retry_after_seconds))}
        super().__init__(f"Quota exceeded: {limit} characters a month", headers)


class NotFoundError(ServiceError):
    """No such path."""

    status = 404


class MethodNotAllowedError(ServiceError):
    """The path exists, the method does not."""

    status = 405


class SlowBodyError(ServiceError):
    """The body did not arrive in time; the rest of it is not waited for."""

    status = 408

    def __init__(self, milliseconds: int) -> None:
        super().__init__(f"the request body did not arrive within {milliseconds} ms", {"Connection": "close"})


class BodyTooLargeError(ServiceError):
    """The body is longer than the limit; the rest of it was not read."""

    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request body is larger than {limit} bytes", {"Connection": "close"})


class UnsupportedMediaTypeError(ServiceError):
    """The body is of a type, or packed in a way, that this endpoint does not read."""

    status = 415

    def __init__(self, written: str, readable: str = "a JSON body with Content-Type: application/json") -> None:
        super().__init__(f"cannot read {shown(written)}; send {readable}")


class InvalidFieldError(ServiceError):
    """A field of our own has a wrong value, or the field is unknown."""

    status = 422


class TruncatedError(ServiceError):
    """A translation reached its length limit before it was complete."""

    status = 422

    def __init__(self, start: int, end: int, index: int | None = None) -> None:
        """`index`: which of several texts it is, from 0."""
        place = f"{start} to {end}" if index is None else f"{start} to {end} of text {index}"
        super().__init__(f"the translation of the sentence at {place} was cut at its length limit, and strict is set")


class BundleRefusedError(ServiceError):
    """A bundle is damaged, fails its self-test, or cannot be run; what was served before still is."""

    status = 422


class ClientGoneError(ServiceError):
    """The caller closed the connection before the answer."""

    status = 499

    def __init__(self) -> None:
        super().__init__("the client closed the connection")


class InternalError(ServiceError):
    """A defect of the service; only the id leaves the machine."""

    status = 500

    def __init__(self, request_id: str) -> None:
        super().__init__(f"internal error, logged with id {request_id}")


class UnavailableError(ServiceError):
    """The service cannot translate now."""

    status = 503

    def __init__(self, message: str, retry_after_seconds: float = 2) -> None:
        super().__init__(message, _retry_after(retry_after_seconds))


class RejectedError(UnavailableError):
    """Too much to do: nothing was begun, and it was said at once."""

    def __init__(self, message: str, rejection: Rejection, retry_after_seconds: float = 2) -> None:
        super().__init__(message, retry_after_seconds)
        self.rejection = rejection
        if rejection == "draining":
            self.headers["Connection"] = "close"  # the next request had better go elsewhere


class DeadlineExceededError(ServiceError):
    """The time a request has is over; nothing goes on for it."""

    status = 504


class DeadlineRefusedError(DeadlineExceededError):
    """The time a request has will be over before its turn comes; nothing was begun."""

    rejection: Rejection | None = "deadline"

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("too much waits already to answer in time", _retry_after(retry_after_seconds))


def _retry_after(seconds: float) -> dict[str, str]:
    """Whole seconds, as HTTP wants them; no client should come back at once or stay away for minutes."""
    return {"Retry-After": str(min(max(math.ceil(seconds), 1), 30))}


def shown(value: object, limit: int = 60) -> str:
    """`value` as it may stand in a message: short, and text that UTF-8 can carry."""
    text = str(value)
    cut = text if len(text) <= limit else text[:limit] + "..."
    return cut.encode("utf-8", "replace").decode("utf-8")
