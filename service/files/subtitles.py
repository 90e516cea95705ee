"""SubRip and WebVTT: the lines below a time are text; numbers, times, settings, notes, styles and tags are not.

By hand, for libraries write a file anew from what they understood of it: cue settings, notes, odd times are lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from service.text.languages import separates_sentences_with_spaces
from service.text.markup.formats import PLAIN

_TIME = r"(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}"
# A cue: its line of times, then lines until an empty one. Line breaks of any kind are kept.
_CUE = re.compile(
    rf"(^[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}[^\r\n]*(?:\r\n|\r|\n))((?:[^\r\n]+(?:\r\n|\r|\n|\Z))*)", re.MULTILINE
)
_TAG = re.compile(r"(<[^<>]{0,500}>|\{\\[^{}]{0,500}\}|\{[A-Za-z]:[^{}]{0,200}\})")
_BREAK = re.compile(r"\r\n|\r|\n")
_SPEAKER = re.compile(r"[ \t]*[-\u2010-\u2015\u266a#>(\[]")


class Subtitles:
    """A file of cues. The lines of one sentence are translated together and broken again into as many."""

    def __init__(self, source: str) -> None:
        self.format = PLAIN
        self._source = source
        self._pieces = list(_pieces(source))
        self.texts = [_joined(source[start:end]) for start, end in self._pieces]

    def written(self, translations: Sequence[str], target: str) -> str:
        """The file with the translations in place of the texts."""
        parts, end = [], 0
        for (start, stop), translation in zip(self._pieces, translations, strict=True):
            original = self._source[start:stop]
            parts += [self._source[end:start], _broken(translation, _BREAK.findall(original), target)]
            end = stop
        return "".join((*parts, self._source[end:]))


def _pieces(source: str) -> Iterator[tuple[int, int]]:
    """Where there is text: between the tags of a cue, and of several speakers each by itself."""
    for cue in _CUE.finditer(source):
        place = cue.start(2)
        for part in _TAG.split(cue.group(2)):
            if not _TAG.fullmatch(part):
                yield from _turns(part, place)
            place += len(part)


def _turns(part: str, place: int) -> Iterator[tuple[int, int]]:
    """Runs of lines: one that begins as somebody's turn begins a run. Without space and line breaks around them."""
    start = 0
    ends = [each.end() for each in _BREAK.finditer(part) if _SPEAKER.match(part, each.end())]
    for end in (*ends, len(part)):
        text = part[start:end]
        if text.strip():
            yield place + start + len(text) - len(text.lstrip()), place + start + len(text.rstrip())
        start = end


def _joined(text: str) -> str:
    lines = [line.strip() for line in _BREAK.split(text)]
    spaced = " ".join(lines)
    # Between two Chinese or Japanese characters there is no space.
    return (
        re.sub(r"(?<=[\u3000-\u9fff\uff00-\uffef]) (?=[\u3000-\u9fff\uff00-\uffef])", "", spaced)
        if len(lines) > 1
        else text
    )


def _broken(text: str, breaks: Sequence[str], target: str) -> str:
    """`text` with these line breaks in it, so that its lines are about equally long."""
    spaced = separates_sentences_with_spaces(target)
    parts = text.split(" ") if spaced else list(text)
    if not breaks or len(parts) <= len(breaks):
        return text
    joint = " " if spaced else ""
    lines, rest = [], parts
    for left in range(len(breaks), 0, -1):
        count = _nearest_break(rest, len(joint.join(rest)) / (left + 1), joint, len(rest) - left)
        lines.append(joint.join(rest[:count]) + breaks[len(breaks) - left])
        rest = rest[count:]
    return "".join((*lines, joint.join(rest)))


def _nearest_break(parts: Sequence[str], wanted: float, joint: str, most: int) -> int:
    """How many parts make a line of about the wanted length: at least one, at most `most`."""
    length = best = 0
    for count, part in enumerate(parts[:most], 1):
        before, length = length, length + len(part) + len(joint) * (count > 1)
        if count > 1 and length - wanted > wanted - before:
            break
        best = count
        if length >= wanted:
            break
    return max(best, 1)
