"""The one place where what the engines raise becomes what a caller is told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

from service.engine.types import DeadlineError, EngineClosedError, EngineLostError, QueueFullError
from service.errors import DeadlineExceededError, DeadlineRefusedError, RejectedError, ServiceError, UnavailableError

Work = Literal["translated", "scored"]
_TOO_MUCH = {"translated": "too much waits already", "scored": "too much waits already to be scored"}
_TOO_LATE = {
    "translated": "the deadline passed before the translation was done",
    "scored": "the deadline passed before the translation was scored",
}


def service_error(error: BaseException, work: Work) -> ServiceError | None:
    """What a caller is told, if there is more to say than that something went wrong."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, QueueFullError):
        return RejectedError(_TOO_MUCH[work], "queue_full", error.retry_after_seconds)
    if isinstance(error, DeadlineError):
        if error.retry_after_seconds:
            return DeadlineRefusedError(error.retry_after_seconds)
        return DeadlineExceededError(_TOO_LATE[work])
    if isinstance(error, EngineClosedError):
        return UnavailableError("the service is shutting down")
    if isinstance(error, EngineLostError):
        return UnavailableError(f"this text could not be {work}: {error}")
    return None


@contextlib.contextmanager
def engine_errors(work: Work) -> Iterator[None]:
    """Raise what the engines raise as the `ServiceError` that it means."""
    try:
        yield
    except Exception as error:
        known = service_error(error, work)
        if known is None:
            raise
        raise known from None
