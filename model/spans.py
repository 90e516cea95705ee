"""What a translation repeats letter for letter, and where it stands in a text. Torch-free.

Linear in the length of the text: every quantifier is possessive, has a bound, or is followed by what it cannot be.
"""

from __future__ import annotations

import bisect
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import langcodes
import regex

Kind = Literal["private", "code", "placeholder", "address", "name", "number", "script", "term", "tag", "note", "emoji"]

SET_ASIDE: frozenset[Kind] = frozenset({"tag", "note", "emoji"})
"""Kinds that are no part of a sentence: without them it says the same."""


class FoundSpan(NamedTuple):
    """text[start:end], in code points."""

    start: int
    end: int
    kind: Kind


_LETTER = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
_WORD = f"0-9_{_LETTER}"
_NOT_AFTER = f"(?<![{_WORD}])"
_NOT_BEFORE = f"(?![{_WORD}])"

# Of scripts that put spaces between words: in Chinese or Japanese an address ends where the next word begins.
_ALNUM = "0-9A-Za-z\u00c0-\u1fff"
_UNSPACED_LETTERS = "\u3040-\u9fff\uac00-\ud7a3\uf900-\ufaff"
# Without a path only these end a domain: in "fini.de" and "ok.it" a space may be missing.
_TOP_LEVEL = "(?:com?|org|net|gov|edu|ac)[.][a-z]{2}|com|org|net|edu|gov|info|io|dev|app|eu|fr|ch|uk|cn|jp|hk|tw"
_NO_MORE = f"(?![{_ALNUM}-])"
_HOST = f"(?:[{_ALNUM}_-]{{1,63}}+[.]){{1,8}}"
_MAIL = f"(?:mailto:)?(?=[{_ALNUM}_])[{_ALNUM}_.%+-]{{1,64}}+@{_HOST}(?:[a-z]{{2,24}}|[A-Z]{{2,24}}){_NO_MORE}"

_PICTURES = (
    "\u231a\u231b\u23cf\u23e9-\u23f3\u23f8-\u23fa\u25fd\u25fe\u2600-\u27bf\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55"
    "\U0001f000-\U0001faff"
)
# A sign that is a picture only with variation selector 16 behind it, and a keycap.
_MADE_PICTURES = "[\u00a9\u00ae\u203c-\u3299]\ufe0f|[0-9#*]\ufe0f?\u20e3"
# After a joiner even signs without their selector.
EMOJI = (
    f"(?:[{_PICTURES}]|{_MADE_PICTURES})"
    f"(?:[{_PICTURES}\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f]|\u200d[\u2190-\u2bff]?+|{_MADE_PICTURES})*+"
)

_BRACES = r"\{(?:[^{}]++|\{(?:[^{}]++|\{(?:[^{}]++|\{[^{}]*+\})*+\})*+\})*+\}"
_PLACEHOLDER = "|".join((
    r"@(?:\.[a-z]{1,20})?:(?:\([\w.-]{1,99}\)|[A-Za-z_][A-Za-z0-9_-]{0,60}+(?:\.[A-Za-z0-9_-]{1,60}+){0,9})",
    f"[$#%@]?{_BRACES}",
    r"\$t\([^()\n]{0,99}+\)|(?<![0-9A-Za-z])\$[A-Za-z_][A-Za-z0-9_]*+",
    r"<%[^%\n]{0,200}+%>|\[\[[^\[\]\n]{0,200}+\]\]",
    rf"(?<![0-9%])%(?:[0-9]{{1,2}}+\$)?[-+0#]{{0,4}}+(?:[0-9]{{1,3}}+|\*)?(?:\.(?:[0-9]{{1,3}}|\*))?(?:hh|ll|[hlqLzjt])?[sdiufFeEgGxXoOcCpaA@]{_NOT_BEFORE}",
    r"%\([A-Za-z0-9_.]{1,99}+\)[-+0-9.#]{0,9}+[A-Za-z]",
    r"(?<![0-9%])%(?:L?[0-9]{1,2}+(?![0-9%.,])|[A-Za-z_]{2,40}+%|%[A-Za-z0-9_]{1,40}+%%)|(?<=[^0-9\s])%%|(?<=\s)%%",
    f"{_NOT_AFTER}__[A-Za-z0-9]{{1,40}}+(?:_[A-Za-z0-9]{{1,40}}+){{0,9}}__{_NOT_BEFORE}",
    r"(?<![0-9A-Za-z:]):[a-z][a-z0-9_]{1,40}+(?:_[a-z0-9]{1,40}+)*+(?![0-9A-Za-z_:])(?<=_[a-z]{2})",
))  # fmt: skip

_MARKUP = "|".join((
    r"<!--(?:[^-]|-(?!->)){0,1000}+-->|</?[A-Za-z][A-Za-z0-9:._-]{0,40}+(?:\s[^<>]{0,2000}+)?/?>|<[!?][A-Za-z][^<>]{0,2000}+>",
    r"&(?:[A-Za-z][A-Za-z0-9]{1,30}+|#[0-9]{1,7}+|#[xX][0-9A-Fa-f]{1,6}+);",
))  # fmt: skip
_NOTE = (
    r"\[[0-9]{1,3}\]|\[\^[A-Za-z0-9_-]{1,20}\]|(?<=[.!?,;:…»”\")])[\u00b9\u00b2\u00b3\u2070-\u2079]{1,9}+|[†‡]{1,9}+"
)

_SUFFIXES = (
    "txt|md|rst|html?|css|scss|jsx?|tsx?|mjs|json|ya?ml|toml|xml|csv|tsv|ini|cfg|conf|log|py|rb|rs|go|java|kt|cpp|hpp|cs|php|sh|bat|"
    "ps1|exe|dll|so|dmg|deb|rpm|apk|iso|zip|gz|tgz|tar|rar|7z|bz2|xz|pdf|docx?|xlsx?|pptx?|odt|ods|odp|rtf|epub|tex|bib|png|jpe?g|gif|"
    "svg|webp|bmp|tiff?|ico|mp[34]|wav|ogg|flac|avi|mkv|mov|webm|sql|db|sqlite|env|lock|bak|tmp|po|pot|srt|vtt|ipynb|onnx|pt"
)
_SEGMENT = "[A-Za-z0-9\u00c0-\u024f_@%+~.-]{1,99}+"
_PATH = "|".join((
    rf"{_NOT_AFTER}[A-Za-z]:[\\/](?:[^\s\\/:*?\"<>|,;]{{1,99}}+[\\/])*+(?:[^\s\\/:*?\"<>|,;]{{0,99}}[^\s\\/:*?\"<>|,;.!)\]])?",
    rf"(?<![{_WORD}\\])\\\\[\w.$-]{{1,99}}+(?:\\[\w.$-]{{1,99}}+)++",
    rf"(?<![{_WORD}./~<*)\]])(?:~|[.]{{1,2}})?/(?=[A-Za-z0-9_.@~\u00c0-\u024f])(?:{_SEGMENT}/)*+(?:[A-Za-z0-9\u00c0-\u024f_@%+~.-]{{0,99}}[A-Za-z0-9\u00c0-\u024f_])?(?<=[A-Za-z0-9_/\u00c0-\u024f])(?<!\s/)",
    rf"{_NOT_AFTER}(?:[A-Za-z0-9_.-]{{1,60}}+/){{1,9}}+[A-Za-z0-9_-]{{1,60}}+\.[A-Za-z0-9]{{1,5}}{_NOT_BEFORE}",
))  # fmt: skip
_KEY = "Ctrl|Control|Strg|AltGr|Alt|Shift|Maj|Cmd|Command|Win|Windows|Super|Meta|Fn|Option|Opt|Esc|Tab|[⌘⌥⇧⌃]"
# A file's name in a language with spaces; in Chinese it is Latin, or all that stands before its suffix is not.
_STEM, _UNSPACED_STEM = r"\w-", "0-9A-Za-z_\u00c0-\u024f-"
_FILE = rf"(?:\.?[STEM]{{1,99}}+)(?:\.[STEM]{{1,60}}+){{0,4}}?\.(?:{_SUFFIXES}){_NOT_BEFORE}(?!\.[\w])"
_NAME = "|".join((
    r"(?<![0-9.,])10\.[0-9]{4,9}/[^\s\"'<>(),;，。；]{1,99}[A-Za-z0-9]",
    rf"{_NOT_AFTER}[vV][0-9]{{1,9}}(?:[.][0-9]{{1,9}}){{1,6}}(?:[-+][A-Za-z0-9.]{{0,20}}[A-Za-z0-9])?{_NOT_BEFORE}",
    rf"{_NOT_AFTER}[0-9A-Fa-f]{{8}}(?:-[0-9A-Fa-f]{{4}}){{3}}-[0-9A-Fa-f]{{12}}{_NOT_BEFORE}",
    rf"(?<![{_WORD}@#&/])#(?:[0-9]{{1,9}}+{_NOT_BEFORE}|[{_LETTER}_][{_WORD}-]{{0,60}}+|[\u3400-\u9fff]{{1,30}}+#)",
    rf"(?<![{_WORD}@.])@[A-Za-z_][A-Za-z0-9_-]{{0,60}}+(?:[./][A-Za-z0-9_-]{{1,60}}+){{0,3}}",
    rf"(?<![{_WORD}:]):[a-z+-][a-z0-9_+-]{{1,40}}+:(?![{_WORD}:])",
    rf"(?<![^\s(\[|\"'`])--[A-Za-z][A-Za-z0-9-]{{0,60}}+(?:=[^\s,;]{{0,99}}[A-Za-z0-9/])?"
        rf"|(?<=[a-z0-9)] )-[a-zA-Z]{_NOT_BEFORE}(?!-)",
    rf"(?:(?<![{_WORD}])(?:{_KEY}))(?:[ ]?[+][ ]?(?:[A-Za-z]{{1,9}}|[0-9]{{1,2}}|[^\s\w])){{1,4}}{_NOT_BEFORE}"
        rf"|{_NOT_AFTER}(?:{_KEY})-[A-Z0-9]{_NOT_BEFORE}",
    rf"{_NOT_AFTER}[A-Za-z_][A-Za-z0-9_]{{0,60}}+(?:(?:\.|::|->)[A-Za-z_][A-Za-z0-9_]{{0,60}}+){{0,9}}\(\)",
    rf"{_NOT_AFTER}[A-Za-z_][A-Za-z0-9_]{{0,60}}+(?:(?:::|->)[A-Za-z_][A-Za-z0-9_]{{0,60}}+){{1,9}}{_NOT_BEFORE}",
    rf"{_NOT_AFTER}[A-Za-z0-9]{{1,60}}+(?:_[A-Za-z0-9]{{1,60}}+){{1,20}}(?:\.[A-Za-z0-9]{{1,60}}+){{0,9}}{_NOT_BEFORE}",
    f"{_NOT_AFTER}FILE",
    rf"{_NOT_AFTER}[a-z0-9_-]{{3,60}}+\.[ch](?![{_WORD}.'’])",
    rf"{_NOT_AFTER}(?:[A-Za-z_][A-Za-z0-9_-]{{1,60}}+\.){{2,9}}[A-Za-z_][A-Za-z0-9_-]{{1,60}}+{_NOT_BEFORE}",
    rf"{_NOT_AFTER}[a-z]{{1,30}}[A-Z][A-Za-z0-9]{{1,40}}+{_NOT_BEFORE}|{_NOT_AFTER}[A-Z][a-z0-9]{{1,30}}[A-Z][A-Za-z0-9]{{0,40}}+{_NOT_BEFORE}",
    rf"{_NOT_AFTER}[A-Z][+#]{{1,2}}(?![\w+#])|(?<![\w.])\.NET{_NOT_BEFORE}",
    rf"{_NOT_AFTER}[A-Za-z]{{1,30}}-?[0-9]{{1,30}}[A-Za-z0-9]{{0,30}}+(?:-[A-Za-z0-9]{{1,30}}+){{0,9}}{_NOT_BEFORE}",
    rf"{_NOT_AFTER}[0-9]{{1,9}}[A-Za-z]{{1,9}}[0-9][A-Za-z0-9]{{0,30}}+{_NOT_BEFORE}(?<![hH][0-9]{{2}})",
    rf"{_NOT_AFTER}0x[0-9A-Fa-f]{{1,32}}+{_NOT_BEFORE}",
    rf"{_NOT_AFTER}[0-9]{{1,4}}(?!AM|PM|H)[A-Z]{{1,3}}{_NOT_BEFORE}",
))  # fmt: skip

SPACES = "\u0020\u00a0\u2009\u202f"
_CURRENCY = "€$£¥￥₹₽₩"
_FREE = "(?<![0-9])(?<![0-9][.,])"
_GROUPED = (
    f"[0-9]{{1,3}}(?:(?:[{SPACES}][0-9]{{3}})++|(?:,[0-9]{{3}})++|(?:[.][0-9]{{3}})++|(?:['’][0-9]{{3}})++)"
    f"(?:[.,][0-9]{{1,9}})?"
)
_ISO = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_MOMENT = (
    r"\[?[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?[.,][0-9]{1,3}(?:\s?-->\s?[0-9:.,]{4,12})?\]?"
    r"|\[[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?\]"
)
_PHONE = r"(?:\+[0-9]{1,3}[ .-]?)?(?:\([0-9]{1,4}\)[ .-]?)?[0-9]{1,4}(?:[ .-][0-9]{2,8}){1,6}"
_VERSION = r"[0-9]{1,9}(?:[.][0-9]{1,9}){2,6}(?:[-+][A-Za-z0-9.]{1,20})?(?:/[0-9]{1,3})?"
_SEPARATED = r"[0-9]{1,18}(?:[.,:/'’\u2013-][0-9]{1,18}){1,9}"
_PLAIN = f"(?:{_GROUPED}(?![0-9])|{_SEPARATED}|[0-9]{{3,}}+)"
_SCALE = "(?:[万亿億萬千百][亿億万萬]?)"
_HAN_DATE = "(?:[0-9]{4}年)?[0-9]{1,2}月[0-9]{1,2}[日号]|[0-9]{4}年[0-9]{1,2}月(?!份)"
_NUMBER = "|".join((
    f"{_FREE}(?:{_HAN_DATE})",
    f"{_FREE}{_MOMENT}",
    f"{_FREE}{_ISO}(?![0-9])",
    f"{_FREE}{_VERSION}(?![0-9])",
    f"(?<![{_WORD}.,])[0-9]{{1,2}}(?:[ .-][0-9]{{2}}){{3,6}}(?![0-9])",
    f"[{_CURRENCY}][{SPACES}]?{_PLAIN}(?![0-9])",
    f"{_FREE}{_GROUPED}(?![0-9])(?:[{SPACES}]?[{_CURRENCY}%‰]|{_SCALE})?",
    f"(?<![{_WORD}.,(])(?=(?:[^0-9]{{0,3}}[0-9]){{7}})(?=[(+0]){_PHONE}(?![0-9]|[.,:/-][0-9])",
    f"{_FREE}[0-9]{{1,2}}[{SPACES}]?[hH][{SPACES}]?[0-9]{{2}}(?![0-9])",
    f"{_FREE}{_SEPARATED}(?![0-9])(?:[{SPACES}]?[{_CURRENCY}%‰]|{_SCALE})?",
    f"{_FREE}[0-9]{{3,}}+(?:[{SPACES}]?[{_CURRENCY}%‰]|{_SCALE})?",
    f"{_FREE}[0-9]{{1,2}}{_SCALE}",
))  # fmt: skip

_PRIVATE = "[\ue000-\uf8ff\U000f0000-\U0010ffff]++"
_CODE = "|".join(
    (
        r"``[^`\n]{1,2000}+``|`[^`\n]{1,2000}+`",
        *(
            rf"<{name}(?:\s[^<>]{{0,200}}+)?>[^<>\n]{{0,2000}}+</{name}\s?>"
            for name in ("code", "kbd", "samp", "var", "tt")
        ),
    )
)


def _address(letters: str) -> str:
    """URLs, e-mail addresses and domains, where paths have `letters`.

    What ends a URL is as GitHub Flavored Markdown has it: marks at its end and a bracket that it did not open are not
    its own.
    """
    inner = rf"{letters}_/=&#%@+$\-"
    marks = ".,;:!?'*~"
    rest = (
        rf"(?:[{inner}]++|[{marks}]++(?=[{inner}])|\([{inner}{marks}]*+\)|\[[{inner}{marks}]*+\])*+"
    )  # fmt: skip
    begun = rf"(?:[A-Za-z][A-Za-z0-9+]{{1,15}}+://|[Ww]{{3}}[0-9]?[.])(?=[\[{inner}]){rest}"
    bare = (
        f"(?<![.@/-]){_HOST}(?:(?:{_TOP_LEVEL}){_NO_MORE}(?![.][a-z0-9])|[a-z]{{2,24}}(?=/[A-Za-z0-9]))"
        f"(?:(?=[/?#]|:[0-9]){rest})?"
    )
    return f"(?<![{_ALNUM}])(?:{_MAIL}|{begun}|{bare})"


def _pattern(letters: str, files: str) -> re.Pattern[str]:
    kinds = {
        "private": _PRIVATE, "code": _CODE, "tag": _MARKUP, "note": _NOTE, "placeholder": _PLACEHOLDER,
        "address": _address(letters), "emoji": EMOJI, "path": _PATH,
        "name": _NAME.replace("FILE", files), "number": _NUMBER,
    }  # fmt: skip
    return re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in kinds.items()))


_SPACED = _pattern(_ALNUM + _UNSPACED_LETTERS, _FILE.replace("STEM", _STEM))
_UNSPACED = _pattern(
    _ALNUM, f"(?:{_FILE.replace('STEM', _UNSPACED_STEM)}|[\u4e00-\u9fff]{{1,40}}+\\.(?:{_SUFFIXES}){_NOT_BEFORE})"
)
# Every match has one of these in it: most sentences need no more than the search for it.
_HINT = re.compile(
    f"[0-9@#&%$<{{\\[\\\\/_`+†‡\u00b2\u00b3\u00b9\u2070-\u2079⌘⌥⇧⌃\u20e3\ufe0f{_PICTURES}{_CURRENCY}]|[.:][\\w*(]|--|[a-z][A-Z]"
    f"|[\ue000-\uf8ff\U000f0000-\U0010ffff]|->| -[A-Za-z]|(?:{_KEY})-[A-Z]"
)
_KINDS: dict[str | None, Kind] = {
    "private": "private", "code": "code", "tag": "tag", "note": "note", "placeholder": "placeholder",
    "address": "address", "emoji": "emoji", "path": "name", "name": "name", "number": "number",
}  # fmt: skip


def find_spans(text: str, language: str) -> list[FoundSpan]:
    """What is copied and what is set aside in a line in `language`, in order, none overlapping another."""
    found: list[FoundSpan] = []
    if _HINT.search(text):
        pattern = _UNSPACED if "Hani" in scripts_of(language) else _SPACED
        found = [_found(match) for match in pattern.finditer(text)]
    return _with_foreign(text, _together(found), language)


_OF_ONE = frozenset({"placeholder", "address", "name", "code"})


def _together(found: list[FoundSpan]) -> list[FoundSpan]:
    """Those as one that touch each other: "/users/{id}/posts" is a path."""
    kept: list[FoundSpan] = []
    for span in found:
        if kept and kept[-1].end == span.start and {kept[-1].kind, span.kind} <= _OF_ONE:
            span = FoundSpan(kept.pop().start, span.end, "name")
        kept.append(span)
    return kept


def _found(match: re.Match[str]) -> FoundSpan:
    kind = _KINDS[match.lastgroup]
    if kind == "tag" and match.group()[0] == "&":
        kind = "code"
    return FoundSpan(*match.span(), kind)


_UNUSUAL = re.compile("[^\u0000-\u02ff\u1e00-\u1eff\u2000-\u2bff\u3000-\u303f\uff00-\uff65]")


@functools.cache
def scripts_of(language: str) -> tuple[str, ...]:
    """ISO 15924 codes of the scripts that texts in a language are written in, single ones: Hani and not Hans."""
    try:
        script = langcodes.Language.get({"zt": "zh-Hant", "pb": "pt-BR"}.get(language, language)).maximize().script
    except ValueError:
        script = None
    groups = {
        "Hans": ("Hani", "Bopo"),
        "Hant": ("Hani", "Bopo"),
        "Jpan": ("Hani", "Hira", "Kana"),
        "Kore": ("Hang", "Hani"),
    }
    return groups.get(script or "Latn", (script or "Latn",))


@functools.cache
def _foreign_runs(scripts: tuple[str, ...]) -> regex.Pattern[str]:
    """Runs of letters of other scripts, with what stands between them; with Latin ones beside them in one word."""
    known = "".join(f"\\p{{Script={script}}}" for script in (*scripts, "Common", "Inherited"))
    letter = f"[\\p{{L}}--[{known}]]"
    # In Chinese, marks of its own and brackets belong to the sentence around the run.
    between = "[\\s\\d\\p{P}\\p{M}" + ("--[()\\[\\]{}\u3001-\u303f\uff01-\uff65]]" if "Hani" in scripts else "]")
    inside = f"(?:[{letter}\\p{{M}}'’]|{between}{{1,4}}(?={letter}))*+"
    if "Hani" in scripts:
        return regex.compile(f"(?V1){letter}{inside}")
    return regex.compile(f"(?V1)(?:[[\\p{{L}}]--{letter}]{{1,30}}+(?={letter}))?{letter}{inside}[\\p{{L}}\\p{{M}}]*+")


def _with_foreign(text: str, found: list[FoundSpan], language: str) -> list[FoundSpan]:
    scripts = scripts_of(language)
    if "Latn" in scripts and not _UNUSUAL.search(text):
        return found
    runs = [match.span() for match in _foreign_runs(scripts).finditer(_without(text, found))]
    return merged(found, [FoundSpan(start, end, "script") for start, end in runs])


def _without(text: str, found: Sequence[FoundSpan]) -> str:
    """The text, as long, with signs that belong to no run in place of what was found."""
    parts: list[str] = []
    end = 0
    for span in found:
        parts += (text[end : span.start], "\ufffc" * (span.end - span.start))
        end = span.end
    return "".join((*parts, text[end:])) if found else text


def merged(first: Sequence[FoundSpan], second: Iterable[FoundSpan]) -> list[FoundSpan]:
    """Both in order, without those of `second`, in order, that overlap one of `first` or one before.

    `first` is in order and without overlap.
    """
    kept: list[FoundSpan] = []
    end = 0
    for span in second:
        after = bisect.bisect_left(first, span)
        before_ends = first[after - 1].end if after else 0
        next_starts = first[after].start if after < len(first) else span.end
        if max(before_ends, end) <= span.start < span.end <= next_starts:
            kept.append(span)
            end = span.end
    return sorted((*first, *kept)) if kept else list(first)
