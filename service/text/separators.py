"""What stands between sentences, in a language that spaces otherwise."""

from __future__ import annotations

import re

_PLAIN = str.maketrans("、，。！？；：（）【】", ",,.!?;:()[]")
_NEEDS_SPACE = re.compile(r"(?<=[^\s(\[“])(?=[(\[“])|(?<=[,.;:!?)\]”])(?=[^\s,.;:!?)\]”])")


def spaced_marks(marks: str, *, after_text: bool, before_text: bool) -> str:
    """Marks of a language without spaces as one with spaces has them: "，" is ", " and "（" is " (".

    Args:
        after_text: something stands directly before them.
        before_text: something stands directly after them.
    """
    around = "x" * after_text + marks.translate(_PLAIN) + "x" * before_text
    spaced = _NEEDS_SPACE.sub(" ", around)
    return spaced[after_text : len(spaced) - before_text]
