"""What a key may be for, and what each path asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

Right = Literal["translate", "metrics", "admin"]
Need = Right | Literal["page"]
"""`page`: any key will do."""

RIGHTS: tuple[Right, ...] = get_args(Right)

_OPEN = (
    "/health", "/v2/health", "/v2/models", "/v2/repository", "/v2/languages", "/languages",
    "/language/translate/v2/languages", "/google/language/translate/v2/languages", "/frontend/settings", "/suggest",
    "/download_file",
)  # fmt: skip
"""Paths, and what is below them, that say nothing of anybody's texts, or whose address is a secret itself."""
_PAGES = ("/learn", "/status", "/docs", "/web", "/openapi.json", "/spec")
_INFER = "/infer"


def needed(path: str) -> Need | None:
    """The right that a path asks for; None: everybody may have it. What nobody thought of asks for a key."""
    if path == "/" or _is_below(path, _PAGES):
        return "page"
    if _is_below(path, ("/metrics",)):
        return "metrics"
    if _is_below(path, ("/admin",)):
        return "admin"
    if path == "/v2" or (_is_below(path, _OPEN) and not path.endswith(_INFER)):
        return None
    return "translate"


def allows(rights: Iterable[Right], need: Need) -> bool:
    """Whether these rights are enough; an admin may do everything."""
    held = set(rights)
    return "admin" in held or need in held or (need == "page" and bool(held))


def parse_rights(text: str) -> tuple[Right, ...]:
    """Rights with commas or plus signs between them.

    Raises:
        ValueError: one of them is none; the text is one sentence.
    """
    names = [name.strip() for name in text.replace("+", ",").split(",")]
    unknown = [name for name in names if name not in RIGHTS]
    if unknown:
        raise ValueError(f"'{unknown[0]}' is no right; the rights are {', '.join(RIGHTS)}")
    return tuple(right for right in RIGHTS if right in names)


def _is_below(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(root + "/") for root in roots)
