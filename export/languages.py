"""Languages as the manifest names them: BCP-47 tags and their English names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import langcodes

from model.bundle import language_groups
from model.errors import BundleError

_ALIASES = {"ns": "nso", "tgl": "tl"}
"""M2M-100's own code of Northern Sotho, and the two letters everybody writes for Tagalog."""
_FAMILIES = (
    "aav afa alv art bat ber bnt cau ccs cel cpf cpp cus dra euq fiu gem gmq gmw iir inc ine itc mkh nic "
    "poz pqe roa sal sem sit sla trk tut urj zle zls zlw zhx "
)
_NO_LANGUAGE = frozenset(("mul", "und", "zxx", "mis", *_FAMILIES.split()))
"""Several, undetermined, none, without a code; and families of languages (ISO 639-5), as OPUS-MT has them."""
_SCRIPT_SAYS_MORE = ("zh", "yue", "cmn")
"""Languages of which every reader wants to know in which of their scripts they are written."""

Detail = Literal["language", "script", "everything"]


def bcp47(code: str, detail: Detail = "language") -> str:
    """A BCP-47 tag for what a checkpoint calls a language: `fra_Latn` is `fr`, `zho_Hant` is `zh-Hant`.

    `detail`: language, and a region if there is one; with its script too; without taking `arb` and `ar` for one.

    Raises:
        BundleError: it is the code of no language.
    """
    subtags = code.strip().replace("_", "-").split("-")
    subtags[0] = _ALIASES.get(subtags[0].lower(), subtags[0])
    try:
        given = langcodes.Language.get("-".join(subtags), normalize=False)
        language = langcodes.Language.get("-".join(subtags))
    except ValueError:
        raise BundleError(f"{code!r} is not the code of a language") from None
    if not language.language or not language.is_valid() or language.language in _NO_LANGUAGE:
        raise BundleError(f"{code!r} is not the code of a language")
    if detail != "everything":
        language = language.prefer_macrolanguage()
    name = "tl" if given.language == "tl" else language.language  # elsewhere `fil`, which nobody asks for
    keeps_script = detail != "language" or name in _SCRIPT_SAYS_MORE
    parts = (name, language.script if keeps_script else None, language.territory)
    return "-".join(part for part in parts if part)


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
