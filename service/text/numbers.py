"""Numbers of a sentence and of its translation: are they the same, and how does the other language write one?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import text_to_num

from service.text.languages import separates_sentences_with_spaces
from service.text.number_words import DOZENS, MONTHS, OTHER_WORDS, SCALES

Numeral = frozenset[str]
"""One number, as the digits of each of its readings: "3 million" is 3 or 3000000."""

_SPACES = "\u0020\u00a0\u2009\u202f"
_DIGITS = re.compile(f"[0-9]{{1,3}}(?:[{_SPACES}][0-9]{{3}})+(?![0-9])(?:[.,][0-9]+)?|[0-9]+(?:[.,'’٫٬][0-9]+)*")
_DIGIT = re.compile("[0-9]")
_GROUPING = re.compile("[^0-9]")
# Kilograms and kilometres are no thousands, and members no tenths.
_NOT_BEFORE = {"千": "(?![克米瓦赫卡帕伏焦字位升])", "成": "(?![员功为立就本份分])"}
_SCALE_WORDS = "|".join(word + _NOT_BEFORE.get(word, "") for word in sorted(SCALES, key=len, reverse=True))
_SCALE = re.compile(f"[{_SPACES}-]?[多余几]?({_SCALE_WORDS})(?![a-zà-ÿ])(?:多|余|几|来)?", re.IGNORECASE)
_MONEY = frozenset({"cent", "cents"})
_FULL_HOUR = re.compile(f"[{_SPACES}]?[:：hH][{_SPACES}]?00(?![0-9])")
_HALVES = {
    ".5": re.compile(rf"[{_SPACES}]?\w{{0,9}}[{_SPACES}]?(?:et demie?|and a half)|[{_SPACES}]?[个年小月][时]?半"),
    ".75": re.compile(rf"[{_SPACES}]?\w{{0,9}}[{_SPACES}]?(?:et )?trois quarts"),
}
# The first of "600-700万", which are as many 万.
_RANGE = re.compile(f"[{_SPACES}]?(?:[-–—~～至到和]|to|à|et|and|ou|or)[{_SPACES}]?[0-9]+(?:[.,][0-9]+)?")
_AND_A_HALF = re.compile(r"(?<![0-9.,])([0-9]+) and (?:a|1) half\b")
# "9.30 pm" is a time, in which the hour may be another.
_POINTED_TIME = re.compile(rf"(?<![0-9.,])([0-9]{{1,2}})[.]([0-9]{{2}})(?=[{_SPACES}]?[ap]\.?m)", re.IGNORECASE)
_DECADE = re.compile(f"([0-9]{{1,2}})[{_SPACES}]?世纪[{_SPACES}]?([0-9]0)[{_SPACES}]?年代")
_DOZENS = re.compile(rf"([0-9]+) ({'|'.join(DOZENS)})\b")
_CLOCK = re.compile(
    rf"[{_SPACES}]?(?:[:：hH时時点點][{_SPACES}]?[0-9]{{0,2}}|Uhr|heures?|o'clock|[ap]\.?[{_SPACES}]?m\b)",
    re.IGNORECASE,
)
_ROMAN = re.compile(
    r"(?<![A-Za-zÀ-ÿ])(?=[IVXLC])(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?=(?:e|er|ère|ème|th|nd|rd|st)?(?![A-Za-zÀ-ÿ]))"
)
_HAN_NUMERALS = ("零〇", "一壹", "二两兩贰双", "三叁", "四肆", "五伍", "六陆", "七柒", "八捌", "九玖")
_HAN_DIGITS = {character: value for value, characters in enumerate(_HAN_NUMERALS) for character in characters}
_HAN_UNITS = {"十": 10, "拾": 10, "百": 100, "千": 1000, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_HAN = f"[{''.join(_HAN_DIGITS)}{''.join(_HAN_UNITS)}]+"
_HAN_NUMBER = re.compile(f"{_HAN}(?:点{_HAN})?")
_TENTHS = re.compile(f"([{''.join(_HAN_DIGITS)}])成")


def numbers_differ(source: str, target: str, languages: tuple[str, str]) -> bool:
    """Whether a translation has a number that its source has not, or lacks one.

    The digits of each number stand on the other side as often, in any order. They may be separated otherwise, be
    written as words or as the name of a month, and be multiplied out: 3万 is 30,000, 5 million is 5,000,000.
    """
    if not _DIGIT.search(source) and not _DIGIT.search(target):
        return False
    missing, extra = _unmatched(list(numerals(source)), list(numerals(target)))
    if not missing and not extra:
        return False
    return bool(_left(missing, target, languages[1]) or _left(extra, source, languages[0]))


def numerals(text: str) -> Iterator[Numeral]:
    """Its numbers in digits, each in all of its readings, without leading zeros."""
    text = _POINTED_TIME.sub(r"\1:\2", text)
    if "世纪" in text:
        text = _DECADE.sub(lambda match: f"{int(match[1]) - 1}{match[2]}年代", text)
    for match in _DIGITS.finditer(text):
        number = match.group()
        if number == "00" and text[: match.start()].rstrip(_SPACES)[-1:] in (":", "：", "h", "H"):
            continue  # a full hour, which may be written without minutes
        parts = re.split(f"[{_SPACES}.,'’٫٬]", number)
        # "2012, 300" has no space between and is one number here only if the groups are of three digits.
        if len(parts) > 2 and not all(len(part) == 3 for part in parts[1:-1]):
            yield from (_readings(part, text, match.start(), match.end()) for part in parts)
        else:
            yield _readings(number, text, match.start(), match.end())


def _readings(number: str, text: str, start: int, end: int) -> Numeral:
    """Of the number at `start` to `end`."""
    found = _values(number)
    scale = _SCALE.match(text, end)
    if (further := _RANGE.match(text, end)) and (shared := _SCALE.match(text, further.end())):
        found |= {_scaled(value, SCALES[shared[1].lower()]) for value in found}
    if scale:
        zeros = SCALES[scale[1].lower()]
        second = _SCALE.match(text, scale.end())
        scaled = {_scaled(value, zeros) for value in found}
        if scale[1].lower() in ("billion", "billions"):  # in French, and once in English, a million millions
            scaled |= {_scaled(value, 12) for value in found}
        if second:
            scaled |= {_scaled(value, zeros + SCALES[second[1].lower()]) for value in found}
        # "3 m" may be metres, "3 cents" money.
        is_sure = len(scale[1]) > 4 or not scale[1].isascii()
        found = scaled if is_sure and scale[1].lower() not in _MONEY else found | scaled
    digits = _GROUPING.sub("", number)
    if digits == number and len(digits) <= 2 and _CLOCK.match(text, end):
        found |= {str(int(digits) + 12), str(int(digits) - 12)} if int(digits) != 12 else {"0", "24"}
        found |= {digits + "00"} if _FULL_HOUR.match(text, end) else set()
    if digits == number:
        found |= {_bare(digits) + part for part, pattern in _HALVES.items() if pattern.match(text, end)}
    if len(digits) <= 2 and text[end : end + 2] == "世纪":
        found.add(str(int(digits) - 1) + "00")
    if len(digits) == 4 and digits.endswith("0"):
        found.add(digits[2:])
    return frozenset(found)


def _values(number: str) -> set[str]:
    """Without separators of thousands, leading zeros and zeros at the end of decimals; "1.500" may be either."""
    parts = re.split("[^0-9]", number)
    whole = _bare("".join(parts))
    if len(parts) == 1:
        return {whole}
    decimal = f"{_bare(''.join(parts[:-1]))}.{parts[-1]}".rstrip("0").rstrip(".")
    if len(parts[-1]) != 3:
        return {decimal}
    separators = re.findall("[^0-9]", number)
    may_be_decimal = separators[-1] in ".," and (len(parts) == 2 or separators[-1] != separators[0])
    return {whole, decimal} if may_be_decimal else {whole}


def _bare(digits: str) -> str:
    return digits.lstrip("0") or "0"


def _scaled(value: str, zeros: int) -> str:
    """The value times ten to the power of `zeros`."""
    whole, _, decimals = value.partition(".")
    if len(decimals) <= zeros:
        return _bare(whole + decimals.ljust(zeros, "0"))
    return f"{_bare(whole + decimals[:zeros])}.{decimals[zeros:]}"


def _unmatched(source: list[Numeral], target: list[Numeral]) -> tuple[list[Numeral], list[Numeral]]:
    """Those of each side that the other has not as often; the same digits first, other readings then."""
    for same in (Numeral.__eq__, _may_be_same):
        for numeral in list(source):
            twin = next((other for other in target if same(numeral, other)), None)
            if twin is not None:
                source.remove(numeral)
                target.remove(twin)
    return source, target


def _may_be_same(one: Numeral, other: Numeral) -> bool:
    """Whether they share a reading; two years do not because both are of the fifties."""
    common = one & other
    are_long = all(max(map(len, each)) > 3 for each in (one, other))
    return bool(common) and not (are_long and all(len(reading) == 2 for reading in common))


def _left(numbers: Sequence[Numeral], text: str, language: str) -> list[Numeral]:
    """The numbers that `text` has not as words either; of a language whose words are unknown, those above twelve."""
    if not numbers:
        return []
    words = words_of_numbers(text, language)
    left = []
    for number in numbers:
        found = next((value for value in words if value in number), None)
        if found is not None:
            words.remove(found)
        elif words or language in _KNOWN or not all(float(reading) <= 12 for reading in number):
            left.append(number)
    return left


_KNOWN = frozenset({"en", "fr", "de", "es", "it", "pt", "nl", "zh", "zt", "ja"})


def words_of_numbers(text: str, language: str) -> list[str]:
    """Digits of the numbers that stand in `text` in words, as names of months or in Roman numerals."""
    lowered = text.lower()
    found: list[str] = []
    if not separates_sentences_with_spaces(language):
        found += [value for match in _HAN_NUMBER.finditer(text) for value in _han_values(match.group())]
        found += [f"{_HAN_DIGITS[match[1]]}0" for match in _TENTHS.finditer(text)]
        found += [digit for match in _HAN_NUMBER.finditer(text) for digit in _han_digits(match.group())]
        return found + ["30"] * text.count("半")
    if language in ("en", "fr", "de", "es", "it", "pt", "nl"):
        spelt = text_to_num.alpha2digit(lowered.replace("-", " "), language, 0)
        found += [_bare(_GROUPING.sub("", match.group())) for match in _DIGITS.finditer(spelt)]
        found += [f"{match[1]}.5" for match in _AND_A_HALF.finditer(spelt)]
        found += [str(int(match[1]) * DOZENS[match[2]]) for match in _DOZENS.finditer(spelt)]
        # What has digits is counted already.
        for match in _DIGITS.finditer(lowered):
            digits = _bare(_GROUPING.sub("", match.group()))
            if digits in found:
                found.remove(digits)
    for month, pattern in enumerate(MONTHS.get(language, MONTHS["en"]).split(), 1):
        found += [str(month)] * len(re.findall(rf"(?<!\w){pattern}(?!\w)", lowered))
    others = OTHER_WORDS.get(language, {})
    found += [str(others[word]) for word in re.findall(r"[^\W\d_]+", lowered) if word in others]
    return found + [str(_roman_value(match.group())) for match in _ROMAN.finditer(text) if match.group()]


def _roman_value(numeral: str) -> int:
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}[letter] for letter in numeral]
    return sum(-one if one < after else one for one, after in zip(values, [*values[1:], 0], strict=True))


def _han_values(numeral: str) -> Iterator[str]:
    """What a Chinese numeral may say: its value, and read digit by digit."""
    whole, point, rest = numeral.partition("点")
    if point:
        decimals = "".join(str(_HAN_DIGITS[character]) for character in rest if character in _HAN_DIGITS)
        zeros = sum(len(str(_HAN_UNITS[character])) - 1 for character in rest if character in _HAN_UNITS)
        yield _scaled(f"{_han_value(whole)}.{decimals}", zeros)
        return
    yield str(_han_value(numeral))
    if len(numeral) > 1 and all(character in _HAN_DIGITS for character in numeral):
        yield str(int("".join(str(_HAN_DIGITS[character]) for character in numeral)))


def _han_value(numeral: str) -> int:
    total = section = digit = 0
    for character in numeral:
        if character in _HAN_DIGITS:
            digit = _HAN_DIGITS[character]
        elif (unit := _HAN_UNITS[character]) >= 10**4:
            # A larger unit counts all that stands before it: 三万亿 is 三万 times 亿, 万亿 one of it.
            total = (total + section + digit or 1) * unit if total < unit else total + (section + digit) * unit
            section = digit = 0
        else:
            section, digit = section + (digit or 1) * unit, 0
    return total + section + digit


def _han_digits(numeral: str) -> Iterator[str]:
    """Each of its digits by itself, as in "三四个" or "三分之一"."""
    if len(numeral) > 1:
        yield from (str(_HAN_DIGITS[character]) for character in numeral if character in _HAN_DIGITS)
