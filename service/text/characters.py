"""Characters that mean nothing, or the same as another, as the one that training text has.

`in_plain_characters` is for a whole text and may change its length; what else the model does not know is changed
sentence by sentence, one character for one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from model.spans import EMOJI
from service.text.edits import Edit, Edited
from service.text.languages import separates_sentences_with_spaces

_SPACES = dict.fromkeys((0x09, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), " ")
_WIDE_LETTERS = {
    code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))
}
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
# Chinese and Japanese have wide punctuation of their own.
_UNSPACED_TABLE = _SPACES | _WIDE_LETTERS
_SPACED_TABLE = _SPACES | _WIDE
_IN_SPACED_TABLE, _IN_UNSPACED_TABLE = (
    re.compile(f"[{''.join(map(chr, table))}]") for table in (_SPACED_TABLE, _UNSPACED_TABLE)
)

_INVISIBLE = (
    "\u0000-\u0008\u000e-\u001b\u007f-\u0084\u0086-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_JOINERS = "\u200c\u200d"
_JOINING = "\u0600-\u08ff\u0900-\u0dff\u0e80-\u0fff\u1000-\u109f\u1780-\u18af"
"""Scripts in which a joiner, or its opposite, changes a word."""
_COMPATIBLE = (
    "\u0132\u0133\u017f\u01c4-\u01cc\u01f1-\u01f3\u2100-\u2101\u2102\u2105-\u2107\u210a-\u2115\u2119-\u211d\u2121\u2124\u2128\u212c-\u2138"
    "\u2160-\u217f\u24b6-\u24e9\u2e80-\u2fd5\u3300-\u33ff\uf900-\ufaff\ufb00-\ufb4f\ufb50-\ufdcf\ufdf0-\ufdff\ufe30-\ufe4f\ufe70-\ufefc"
    "\uff61-\uffdc\U0001d400-\U0001d7ff\U0001f100-\U0001f1ad\U0002f800-\U0002fa1f"
)
"""Letters in a form of their own: ligatures, radicals, half-width kana, letters of formulas."""
_SAME = {
    "\u02bc": "'",
    "\u02b9": "'",
    "\u055a": "'",
    "\u2010": "-",
    "\u2011": "-",
    "\u2212": "-",
    "\u2024": ".",
    "\u2028": "\u2028",
}
_UNIT = re.compile(
    f"(?P<emoji>{EMOJI})|[{_INVISIBLE}]+|(?<![{_JOINING}])[{_JOINERS}]+|[{_JOINERS}]+(?![{_JOINING}])"
    f"|(?P<same>[{''.join(_SAME)}])|(?P<compatible>[{_COMPATIBLE}]+)"
)  # fmt: skip
_ACUTE = re.compile("(?<=[^\\W\\d_])\u00b4(?=[^\\W\\d_])")
"""An accent by itself between letters, for the apostrophe."""
_UNUSUAL = re.compile(
    "[^\t-\r\u0020-\u007e\u00a0-\u00ac\u00ae-\u00b3\u00b5-\u0131\u0134-\u017e\u0180-\u01c3\u2013-\u2027\u3000-\u30ff\u4e00-\u9fff\uff01-\uff60]"
)


def in_plain_characters(text: str) -> Edited:
    """`text` composed (NFC), without characters that nobody sees, and with others in the form that most texts have.

    Emoji keep their joiners and selectors, scripts that join letters their joiners.
    """
    if not _UNUSUAL.search(text):
        return Edited(text)
    edits = [edit for match in _UNIT.finditer(text) if (edit := _edit(match)) is not None]
    plain = Edited.of(text, edits)
    if acutes := [Edit(*match.span(), "'") for match in _ACUTE.finditer(plain.text)]:
        plain = _after(plain, Edited.of(plain.text, acutes))
    if unicodedata.is_normalized("NFC", plain.text):
        return plain
    composed = Edited.of(plain.text, _compositions(plain.text))
    return _after(plain, composed)


def _edit(match: re.Match[str]) -> Edit | None:
    if match.lastgroup == "emoji":
        return None
    new = ""
    if match.lastgroup == "same":
        new = _SAME[match.group()]
    elif match.lastgroup == "compatible":
        new = unicodedata.normalize("NFKC", match.group())
    return None if new == match.group() else Edit(*match.span(), new)


def _compositions(text: str) -> Iterator[Edit]:
    """Each letter with the accents behind it, where the two are one."""
    start = 0
    for place in range(1, len(text) + 1):
        if place < len(text) and _continues(text[place]):
            continue
        letter = text[start:place]
        if not letter.isascii() and (composed := unicodedata.normalize("NFC", letter)) != letter:
            yield Edit(start, place, composed)
        start = place


def _continues(character: str) -> bool:
    """Whether it may be part of the letter before it: an accent, or the second or third part of a Korean syllable."""
    return character > "\u02ff" and (unicodedata.category(character)[0] == "M" or "\u1160" <= character <= "\u11ff")


def _after(first: Edited, second: Edited) -> Edited:
    """Both changes as one."""
    edits = [Edit(*first.old_span((edit.start, edit.end)), edit.text) for edit in second.edits]
    # What is composed holds what was changed in it.
    chosen: list[Edit] = []
    for edit in sorted((*edits, *first.edits), key=lambda edit: (edit.start, -edit.end)):
        if not chosen or edit.start >= chosen[-1].end:
            chosen.append(edit)
    return Edited(first.old, tuple(chosen))


def in_known_characters(text: str, language: str) -> str:
    """`text` in as many code points: every kind of space is the plain one, full-width letters and digits are plain
    ones, and so is full-width punctuation where the language has none."""
    if text.isascii() and "\t" not in text:
        return text
    is_spaced = separates_sentences_with_spaces(language)
    # Most texts have none of these, and are searched in a fraction of the time that a translation takes.
    if not (_IN_SPACED_TABLE if is_spaced else _IN_UNSPACED_TABLE).search(text):
        return text
    return text.translate(_SPACED_TABLE if is_spaced else _UNSPACED_TABLE)
