"""Where a checkpoint comes from and under which licence, as far as it says so. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NOT_COMMERCIAL = re.compile(r"(^|[^a-z])nc([^a-z]|$)|non-?commercial", re.IGNORECASE)
_MOST_CARD_BYTES = 200_000


def stated_licence(directory: Path) -> str | None:
    """The `license` of the model card's front matter, as Hugging Face's hub has it; None if it states none."""
    front = re.match(r"---\n(.*?)\n---", _read_me(directory).replace("\r\n", "\n"), re.DOTALL)
    stated = re.search(r"^licen[cs]e:[ \t]*(.+)$", front[1], re.MULTILINE) if front else None
    return stated[1].strip().strip("\"'") if stated else None


def stated_origin(directory: Path, values: Mapping[str, Any]) -> str | None:
    """The name under which a hub knows the checkpoint, if its config.json keeps it."""
    name = values.get("_name_or_path")
    return name if isinstance(name, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", name) else None


def forbids_commerce(licence: str | None) -> bool:
    """Whether a licence's words forbid commercial use, as NLLB's CC-BY-NC does."""
    return licence is not None and bool(_NOT_COMMERCIAL.search(licence))


def _read_me(directory: Path) -> str:
    path = directory / "README.md"
    try:
        return path.read_bytes()[:_MOST_CARD_BYTES].decode("utf-8", "replace")
    except OSError:
        return ""
