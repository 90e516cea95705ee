"""Which options of `attend translate` have a meaning for what is translated; one that has none is refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from attend.cli.inputs import Kind

Thing = Kind | Literal["text"]
_CALLED: Mapping[Thing, str] = {
    "text": "texts on the command line",
    "lines": "plain lines",
    "tsv": "TSV",
    "jsonl": "JSON lines",
    "document": "documents",
}
_LINES: tuple[Thing, ...] = ("lines", "tsv", "jsonl")
_ROWS: tuple[Thing, ...] = ("tsv",)
_ONLY_FOR: Mapping[str, Collection[Thing]] = {
    "kind": (*_LINES, "document"),
    # Of plain lines their format itself says more.
    "columns": _LINES,
    "into": _LINES,
    "no_header": _ROWS,
    "shard": _LINES,
    "errors": _LINES,
    "chunk": _LINES,
    "commit_every": _LINES,
    "format": ("text", *_LINES),
    "ray": _LINES,
}
"""Options that are not for everything."""
_SEARCH = ("beam_size", "glossary", "do_not_translate", "length_penalty", "max_output_tokens", "model", "strict")
_ENGINES = ("bundle", "device", "sessions", "ray")
_SPELT = {"kind": "--as", "columns": "--column"}


def spelt(option: str) -> str:
    """An option as it is typed."""
    return _SPELT.get(option, f"--{option.replace('_', '-')}")


def misfit(given: Collection[str], thing: Thing, *, has_output: bool, has_service: bool) -> str | None:
    """A sentence about an option that has no meaning for a kind of thing; None if each has one.

    Args:
        given: the options that were given, by their names.
        thing: what is translated.
        has_output: whether it goes to a file.
        has_service: whether a service translates.
    """
    for option in given:
        if thing not in _ONLY_FOR.get(option, _CALLED):
            return f"{spelt(option)} is not for {_CALLED[thing]}"
        if option in ("errors", "overwrite") and not has_output:
            return f"{spelt(option)} needs --output"
        if option == "api_key_file" and not has_service:
            return f"{spelt(option)} needs --service"
        if option in _ENGINES and has_service:
            return f"{spelt(option)} is for engines here, and --service names one elsewhere"
        if option == "sessions" and "ray" in given:
            return f"{spelt(option)} is for engines here, and --ray starts one on each core of a cluster"
        if option in _SEARCH and has_service and thing == "document":
            return f"{spelt(option)} is not for documents that a service translates"
    return None
