"""Makes service/text/language_names.json from the CLDR of Babel: `python -m tests.service.names` writes it anew."""

from __future__ import annotations

import json

from babel import Locale

from service.text.languages import NAMES

TRANSLATED = [
    "ar",
    "az",
    "bg",
    "bn",
    "ca",
    "cs",
    "da",
    "de",
    "el",
    "en",
    "eo",
    "es",
    "et",
    "eu",
    "fa",
    "fi",
    "fr",
    "ga",
    "gl",
    "he",
    "hi",
    "hu",
    "id",
    "it",
    "ja",
    "ko",
    "ky",
    "lt",
    "lv",
    "ms",
    "nb",
    "nl",
    "pb",
    "pl",
    "pt",
    "ro",
    "ru",
    "sk",
    "sl",
    "sq",
    "sr",
    "sv",
    "th",
    "tl",
    "tr",
    "uk",
    "ur",
    "vi",
    "zh",
    "zt",
]
"""LibreTranslate's languages: in each of them the names of all of them."""
OTHERS = [
    "af",
    "am",
    "be",
    "bs",
    "cy",
    "eu",
    "ht",
    "hr",
    "hy",
    "is",
    "ka",
    "kk",
    "km",
    "kn",
    "ku",
    "la",
    "lb",
    "lo",
    "mg",
    "mk",
    "ml",
    "mn",
    "mr",
    "mt",
    "my",
    "ne",
    "no",
    "ny",
    "pa",
    "sa",
    "si",
    "so",
    "sw",
    "ta",
    "te",
    "tt",
    "uz",
    "yi",
    "zu",
]
"""With an English name only."""
TAGS = {"zt": "zh_Hant", "pb": "pt_BR", "tl": "fil"}
AS_LIBRETRANSLATE = {"zt": "Chinese (traditional)", "pb": "Portuguese (Brazil)"}


def table() -> dict[str, dict[str, str]]:
    names = {locale: _names(locale, TRANSLATED) for locale in TRANSLATED}
    names["en"] |= _names("en", OTHERS) | AS_LIBRETRANSLATE
    return {locale: dict(sorted(row.items())) for locale, row in names.items()}


def _names(code: str, codes: list[str]) -> dict[str, str]:
    locale = Locale.parse(TAGS.get(code, code))
    found = {each: locale.languages.get(TAGS.get(each, each)) for each in codes}
    return {each: name[:1].upper() + name[1:] for each, name in found.items() if name}


def written(names: dict[str, dict[str, str]]) -> str:
    rows = (f"{json.dumps(locale)}: {json.dumps(row, ensure_ascii=False)}" for locale, row in names.items())
    return "{\n" + ",\n".join(rows) + "\n}\n"


if __name__ == "__main__":
    NAMES.write_text(written(table()), encoding="utf-8")
