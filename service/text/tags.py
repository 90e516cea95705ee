"""Where what was set aside of a sentence goes in the translation: tags around the words that are theirs, the rest
behind the word that they followed.

An element is an opening tag and its closing one, both in the sentence; anything else is a point. The words of a
translation are what evidence tells of; elements stay elements, nested as they were, and points that are tags keep their
order.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.text.edits import Span

_TAG = re.compile(r"<(?P<closing>/)?(?P<name>[A-Za-z][^\s/>]*)[^>]*?(?P<void>/)?>$", re.DOTALL)
_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)
_EACH = 0x2000
FIRST_OPEN, FIRST_CLOSE, FIRST_POINT = 0xF0000, 0xF0000 + _EACH, 0xF0000 + 2 * _EACH
"""Characters that stand for tags: for opening ones, for their closing ones as far behind, for others."""
FIRST_OPAQUE, _LAST = 0xF8000, 0xFFFFD
"""From here on they stand for what is copied as a part of a sentence."""
MOST_TAGS = _EACH - 1
"""Of one text."""
STAND_INS = re.compile(f"[{chr(FIRST_OPEN)}-{chr(_LAST)}]")
_SAME = frozenset({"**", "__", "~~", "*", "_", "==", "++"})


@dataclasses.dataclass(frozen=True, slots=True)
class Aside:
    """What was set aside, behind so many characters of the sentence without it."""

    place: int
    text: str


@dataclasses.dataclass(slots=True)
class Node:
    """An element or a point. `first` and `last` are indices of asides; equal for a point."""

    first: int
    last: int
    is_tag: bool
    children: list[Node] = dataclasses.field(default_factory=list)

    @property
    def is_element(self) -> bool:
        """Whether it encloses something."""
        return self.first != self.last


Role = tuple[str, str]
"""("open" | "close" | "point" | "mark", name); a mark is none of a tag: an emoji, a note."""


def role_of(text: str) -> Role:
    """What an aside is, by its text."""
    if len(text) == 1 and FIRST_OPEN <= ord(text) < FIRST_POINT + _EACH:
        kind, number = divmod(ord(text) - FIRST_OPEN, _EACH)
        return ("open", "close", "point")[kind], str(number)
    if text in _SAME:
        return "both", text
    if text in ("[", "!["):
        return "open", "]"
    if text.startswith("]"):
        return "close", "]"
    match = _TAG.match(text)
    if match is None:
        return ("point", "") if text.startswith("<") else ("mark", "")
    if match["closing"]:
        return "close", match["name"].lower()
    if match["void"] or match["name"].lower() in _VOID:
        return "point", ""
    return "open", match["name"].lower()


def tree(roles: Sequence[Role]) -> list[Node]:
    """The asides of a sentence as elements and points, in order."""
    partner = _partners(roles)
    root: list[Node] = []
    open_nodes: list[Node] = []
    for index, (role, _) in enumerate(roles):
        around = open_nodes[-1].children if open_nodes else root
        if partner.get(index, -1) > index:
            node = Node(index, partner[index], True)
            around.append(node)
            open_nodes.append(node)
        elif index in partner:
            open_nodes.pop()
        else:
            around.append(Node(index, index, role != "mark"))
    return root


def _partners(roles: Sequence[Role]) -> dict[int, int]:
    """Opening and closing tags that belong together, by index both ways; pairs that cross another are none."""
    partner: dict[int, int] = {}
    waiting: list[tuple[int, str]] = []
    for index, (role, name) in enumerate(roles):
        same = [place for place, (_, opened) in enumerate(waiting) if opened == name]
        if role in ("close", "both") and same:
            opening = waiting[same[-1]][0]
            del waiting[same[-1] :]
            partner[opening], partner[index] = index, opening
        elif role in ("open", "both"):
            waiting.append((index, name))
    return partner


@dataclasses.dataclass(frozen=True, slots=True)
class Words:
    """The words of a sentence and of its translation, and which of them belong together."""

    sources: Sequence[Span]
    targets: Sequence[Span]
    links: Sequence[int]
    """For each target word the source word that it comes from; -1 if none is known."""


def placed(asides: Sequence[Aside], roles: Sequence[Role], words: Words) -> list[tuple[int, int]]:
    """Where each aside goes, as (index of the aside, characters of the translation before it), in order."""
    found, least = [], 0
    for index, place in _placed(tree(roles), asides, words, 0, len(words.targets)):
        least = max(least, place)
        found.append((index, least))
    return found


def _placed(
    nodes: Sequence[Node], asides: Sequence[Aside], words: Words, low: int, high: int
) -> Iterator[tuple[int, int]]:
    """The nodes of one element, whose words are those from `low` to `high`."""
    wanted = [_wanted(node, asides, words, low, high) for node in nodes]
    order = _ordered(nodes, wanted)
    end = low
    for position, index in enumerate(order):
        node, (first, last) = nodes[index], wanted[index]
        first, last = max(first, end), max(last, end)
        if node.is_element and position + 1 < len(order):
            # Room for what comes next.
            last = max(first, min(last, _limit(nodes, wanted, order[position + 1 :], high)))
        first, last = min(first, high), min(last, high)
        if not node.is_element:
            yield node.first, _before(words, first) if _stands_before(node, asides, words) else _behind(words, first)
        elif first == last:
            place = _behind(words, first)
            yield node.first, place
            yield from ((index, place) for index in range(node.first + 1, node.last))
            yield node.last, place
        else:
            yield node.first, words.targets[first][0]
            yield from _placed(node.children, asides, words, first, last)
            yield node.last, words.targets[last - 1][1]
        end = last if node.is_element else first


def _limit(nodes: Sequence[Node], wanted: Sequence[Span], order: Sequence[int], high: int) -> int:
    starts = [wanted[index][0] for index in order if nodes[index].is_element and wanted[index][0] < wanted[index][1]]
    return min(starts, default=high)


def _ordered(nodes: Sequence[Node], wanted: Sequence[Span]) -> list[int]:
    """Indices of the nodes by where they want to be; points that are tags stay where they were among tags."""
    fixed = [index for index, node in enumerate(nodes) if node.is_tag and not node.is_element]
    if fixed:
        return list(range(len(nodes)))
    return sorted(range(len(nodes)), key=lambda index: (sum(wanted[index]), index))


def _wanted(node: Node, asides: Sequence[Aside], words: Words, low: int, high: int) -> Span:
    """The target words that belong to the node, as a range; for a point an empty one."""
    start, end = asides[node.first].place, asides[node.last].place
    if node.is_element:
        inside = {index for index, word in enumerate(words.sources) if start <= word[0] and word[1] <= end}
        found = [target for target in range(low, high) if words.links[target] in inside]
        if found:
            return found[0], found[-1] + 1
        place = _point(start, words, low, high)
        # None of its words is known to be translated: it encloses the one that stands where they stood.
        has_words = inside and low < high
        return (min(place, high - 1), min(place, high - 1) + 1) if has_words else (place, place)
    place = _point(start, words, low, high)
    return place, place


def _point(place: int, words: Words, low: int, high: int) -> int:
    """Behind how many target words something stands that stood at this place of the source."""
    before = [index for index, word in enumerate(words.sources) if word[1] <= place]
    for source in reversed(before):
        found = [target for target in range(low, high) if words.links[target] == source]
        if found:
            return found[-1] + 1
    return low if before == [] or low == high else _proportional(len(before), words, low, high)


def _proportional(before: int, words: Words, low: int, high: int) -> int:
    share = before / max(len(words.sources), 1)
    return min(max(round(share * len(words.targets)), low), high)


def _stands_before(node: Node, asides: Sequence[Aside], words: Words) -> bool:
    """Whether a point stands directly before a word, and not behind one."""
    place = asides[node.first].place
    return any(word[0] == place for word in words.sources) and all(word[1] != place for word in words.sources)


def _behind(words: Words, count: int) -> int:
    return words.targets[count - 1][1] if count else (words.targets[0][0] if words.targets else 0)


def _before(words: Words, count: int) -> int:
    if count < len(words.targets):
        return words.targets[count][0]
    return _behind(words, count)


RoleOf = Callable[[str], Role]
