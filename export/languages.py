"""Languages as the manifest names them: BCP-47 tags and their English names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import langcodes

from model.bundle import language_groups
from model.errors import BundleError


def bcp47(code: str) -> str:
    """The shortest BCP-47 tag for what a checkpoint calls a language: `fra_Latn` is `fr`, `zho_Hant` is `zh-Hant`.

    Raises:
        BundleError: it is the code of no language.
    """
    try:
        language = langcodes.Language.get(code.strip().replace("_", "-"))
    except ValueError:
        raise BundleError(f"{code!r} is not the code of a language") from None
    if not language.language or not language.is_valid():
        raise BundleError(f"{code!r} is not the code of a language")
    return str(language.prefer_macrolanguage().simplify_script().to_tag())


def language_names(codes: Iterable[str]) -> dict[str, str]:
    """English names of BCP-47 tags; none for a code that is no language's, such as LibreTranslate's `zt`."""
    languages = {code: langcodes.Language.get(code) for code in dict.fromkeys(codes)}
    return {code: language.display_name() for code, language in languages.items() if language.is_valid()}


def described_languages(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The manifest's `languages` and `language_names` for exactly these pairs."""
    return {
        "languages": language_groups(pairs),
        "language_names": language_names(code for pair in pairs for code in pair),
    }
