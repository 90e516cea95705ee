"""Traditional Chinese as Simplified, for models that were trained on Simplified text.

One character becomes one character: an offset into one is an offset into the other. The dictionaries are OpenCC's.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from opencc import OpenCC

_HAN = (range(0x3400, 0xA000), range(0xF900, 0xFB00))
"""Where characters that tell the scripts apart are looked for. What lies beyond is too rare for a vocabulary anyhow."""
_IN_GB2312_BUT_TRADITIONAL = frozenset("於後")
"""GB 2312 has them as rare surnames; what is met is the Traditional 于 and 后."""


class Simplifier:
    """Converts between scripts; may be used by any number of threads."""

    def __init__(self) -> None:
        # Taiwan's dictionary first, which alone knows 著 for 着, then what Hong Kong writes otherwise.
        self._converters = [OpenCC(each, include_tofu_risk_dictionaries=False) for each in ("tw2s", "hk2s")]
        self._telling = frozenset(self._find_telling())

    def simplified(self, text: str) -> str:
        """`text`, Traditional or mixed, in Simplified characters; of the same length. It has no half of a surrogate
        pair."""
        # For Taiwan 么 is a form of 幺; in a text of both scripts it is Simplified already.
        converted = text.replace("么", "麼")
        for converter in self._converters:
            converted = str(converter.convert(converted))
        # No entry of OpenCC 1.4 changes a length. Should a later one, spans must not move.
        return converted if len(converted) == len(text) else text

    def simplified_if_traditional(self, text: str) -> str:
        """`text` itself unless a character of it tells that it is not Simplified: 著, 乾 and 里 are used in both."""
        return self.simplified(text) if self.is_traditional(text) else text

    def is_traditional(self, text: str) -> bool:
        """Whether a character of it tells that it is not Simplified."""
        return not self._telling.isdisjoint(text)

    def _find_telling(self) -> Iterator[str]:
        """The characters that Simplified text does not have."""
        characters = [chr(point) for points in _HAN for point in points]
        # Lines of one character each: no phrase spans them.
        for old, new in zip(characters, self.simplified("\n".join(characters)).split("\n"), strict=True):
            if old != new and (old in _IN_GB2312_BUT_TRADITIONAL or not _is_in_gb2312(old)):
                yield old


def _is_in_gb2312(character: str) -> bool:
    """Whether the character set of Simplified text, of 1980, has it."""
    try:
        character.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return True


@functools.cache
def simplifier() -> Simplifier:
    """The one of this process. It takes 8 MB and up to 0.1 s, so it is made for a model of Chinese only."""
    return Simplifier()
