"""What translators and clients raise; the text of each is one sentence for a person.

AttendError
├── PackagesError     other packages have the names of ours
├── LoadError         a model cannot be loaded
├── RequestError      what was asked for cannot be done, now or later
└── UnavailableError  it cannot be done now: the engines or the service are not there, or there is too much to do
"""

from __future__ import annotations


class AttendError(Exception):
    """Root; `status` is the HTTP status with which the service says the same, None if it never says it."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class PackagesError(AttendError, ImportError):
    """A package of another project stands where one of ours is expected."""


class LoadError(AttendError):
    """A model is missing, damaged or cannot be run here."""


class RequestError(AttendError):
    """A text, a language or an option is wrong, or a text cannot be translated."""


class UnavailableError(AttendError):
    """Nothing can be translated now; `retry_after_seconds` says when it is worth another try, if anybody knows."""

    def __init__(self, message: str, status: int | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, status)
        self.retry_after_seconds = retry_after_seconds
