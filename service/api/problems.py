"""The shape of every error, and of bodies that a route reads itself, for the API description."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel


class Problem(BaseModel):
    """What went wrong, in one sentence."""

    error: str


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these statuses."""
    return problems_of(Problem, *statuses)


def problems_of(shape: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same in the shape of another contract."""
    return {status: {"model": shape} for status in statuses}


_KINDS = {str: "string", int: "integer", bool: "boolean"}


def described_fields(
    example: Mapping[str, Any], required: Sequence[str], choices: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """A route's `openapi_extra` for fields that may come as JSON or as a form, by an example of each; `choices` are the
    values of fields that have few."""
    properties: dict[str, dict[str, Any]] = {
        name: {"type": "array", "items": {"type": "string"}, "minItems": 1}
        if isinstance(value, list)
        else {"type": _KINDS[type(value)]}
        for name, value in example.items()
    }
    for name, values in (choices or {}).items():
        properties[name]["enum"] = list(values)
    schema = {"type": "object", "properties": properties, "required": list(required)}
    content = {"schema": schema, "example": dict(example)}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
