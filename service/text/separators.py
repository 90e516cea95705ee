"""What stands between sentences, in a language that spaces otherwise."""

from __future__ import annotations

import re

_PLAIN = str.maketrans("、，。！？；：（）【】", ",,.!?;:()[]")
_LIST_MARK = re.compile(r"\s*[（(]?[一二三四五六七八九十]{1,3}[、）)]\s*")
"""Of a list: it stays what it is."""
_NEEDS_SPACE = re.compile(r"(?<=[^\s(\[“])(?=[(\[“])|(?<=[,.;:!?)\]”])(?=[^\s,.;:!?)\]”])")


def spaced_marks(marks: str, *, after_text: bool, before_text: bool) -> str:
    """Marks of a language without spaces as one with spaces has them: "，" is ", " and "（" is " (".

    Args:
        after_text: something stands directly before them.
        before_text: something stands directly after them.
    """
    if _LIST_MARK.fullmatch(marks):
        return marks if marks[-1].isspace() else marks + " "
    around = "x" * after_text + marks.translate(_PLAIN) + "x" * before_text
    spaced = _NEEDS_SPACE.sub(" ", around)
    return spaced[after_text : len(spaced) - before_text]
