"""The shape of every error, for the API description."""

from typing import Any

from pydantic import BaseModel


class Problem(BaseModel):
    """What went wrong, in one sentence."""

    error: str


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these statuses."""
    return {status: {"model": Problem} for status in statuses}
