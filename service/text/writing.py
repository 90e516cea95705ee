"""How a number that was copied is written in the language it was copied to."""

from __future__ import annotations

import re

from service.text.number_words import MONTH_NAMES

SPACES = "\u0020\u00a0\u2009\u202f"
_COMMA_LANGUAGES = frozenset(
    {"fr", "de", "es", "it", "pt", "pb", "nl", "pl", "cs", "sv", "fi", "ru", "uk", "ro", "tr", "el", "id", "vi"}
)
"""That write 19,95."""
_SPACE_LANGUAGES = frozenset({"fr", "pl", "cs", "sv", "fi", "ru", "uk"})
"""That write 318 640; the others of the above write 318.640."""
_POINT_LANGUAGES = frozenset({"en", "zh", "zt", "ja", "ko", "th", "he", "hi"})
"""That write 318,640 and 19.95."""
NARROW = "\u202f"
_NUMBER = re.compile(
    rf"(?P<before>[€$£¥₹₽₩])?[{SPACES}]?(?P<number>[0-9][0-9{SPACES}.,'’]*[0-9]|[0-9])"
    rf"(?:[{SPACES}]?(?P<after>[€$£¥₹₽₩%‰])|(?P<scale>[万亿億萬千百]+))?"
)
_FRENCH_TIME = re.compile(rf"([0-9]{{1,2}})[{SPACES}]?[hH][{SPACES}]?([0-9]{{2}})")
_ZEROS = {"百": 2, "千": 3, "万": 4, "萬": 4, "亿": 8, "億": 8}
_HAN_DATE = re.compile("(?:([0-9]{4})年)?([0-9]{1,2})月(?:([0-9]{1,2})[日号])?")
_VERSION_BEFORE = re.compile(
    r"(?:(?<![^\W_])v(?:er(?:sion|\.)?)?|[A-ZÀ-Ý][A-Za-zÀ-ÿ]*|版本?|第|№|#|[Nn][o°]\.?)[ .:\u00a0]?$"
)


def written(number: str, before: str, source: str, target: str) -> str:
    """`number`, a span of a text in `source` behind `before`, as a text in `target` has it.

    Only what is surely a plain number, an amount of money, a percentage or a French time changes: ids, versions,
    addresses and telephone numbers stay as they are.
    """
    if date := _HAN_DATE.fullmatch(number):
        return number if _keeps_scale(target) else _date(date[1], int(date[2]), date[3], target)
    time = _FRENCH_TIME.fullmatch(number)
    if time and target != "fr":
        return f"{time[1]}:{time[2]}"
    match = _NUMBER.fullmatch(number)
    parts = _plain(match["number"], source) if match else None
    if match is None or parts is None or source == target:
        return number
    is_amount = match["before"] or match["after"] or match["scale"]
    if not is_amount and _VERSION_BEFORE.search(before):
        return number
    digits = _digits(parts, match["scale"], source, target)
    return _with_sign(digits, match["before"], match["after"], target, number) + (
        match["scale"] if match["scale"] and _keeps_scale(target) else ""
    )


def _date(year: str | None, month: int, day: str | None, target: str) -> str:
    """Of a Chinese date; as ISO 8601 has it where the names of the months are not known."""
    names = MONTH_NAMES.get(target)
    if names is None or not 1 <= month <= 12:
        return "-".join(part.zfill(2) for part in (year, str(month), day) if part)
    name = names.split()[month - 1]
    if target == "en":
        return f"{name} {day}{f', {year}' if year else ''}" if day else f"{name} {year}"
    between = " de " if target == "es" else " "
    return between.join(part for part in (f"{day}." if day and target == "de" else day, name, year) if part)


def _keeps_scale(target: str) -> bool:
    return target in ("zh", "zt", "ja")


def _plain(number: str, source: str) -> tuple[str, str, bool] | None:
    """Its whole part and decimals, and whether it was grouped, by the rules of the source language; None: it is no
    plain number by them."""
    point, group = (",", f"[{SPACES}.]") if source in _COMMA_LANGUAGES else (".", f"[,{SPACES}]")
    pattern = rf"([0-9]{{1,3}}(?:({group})[0-9]{{3}}(?:\2[0-9]{{3}})*)?|[0-9]+)(?:{re.escape(point)}([0-9]+))?"
    match = re.fullmatch(pattern, number)
    if match is None:
        return None
    whole = re.sub("[^0-9]", "", match[1])
    return whole, match[3] or "", len(whole) < len(match[1])


def _digits(parts: tuple[str, str, bool], scale: str | None, source: str, target: str) -> str:
    whole, decimals, grouped = parts
    if scale and not _keeps_scale(target):
        zeros = sum(_ZEROS[character] for character in scale)
        whole, decimals, grouped = whole + decimals[:zeros].ljust(zeros, "0"), decimals[zeros:], True
        whole = whole.lstrip("0") or "0"
    point, group = (
        (",", "." if target not in _SPACE_LANGUAGES else NARROW) if target in _COMMA_LANGUAGES else (".", ",")
    )
    if grouped:
        whole = f"{int(whole):,}".replace(",", group)
    return whole + (point + decimals if decimals else "")


def _with_sign(digits: str, before: str | None, after: str | None, target: str, number: str) -> str:
    """With its currency or percent sign where the language puts it."""
    sign = before or after
    if not sign:
        return digits
    spaced = target in _COMMA_LANGUAGES
    if sign in "%‰":
        return digits + ("\u00a0" if target in _SPACE_LANGUAGES or target == "de" else "") + sign
    return f"{digits}\u00a0{sign}" if spaced else sign + digits
