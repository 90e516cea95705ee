"""Where what was set aside goes in a translation."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.text.tags import Aside, Role, Words, placed, role_of, tree


def words_of(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


def put(source: str, asides: list[tuple[int, str]], target: str, links: list[int]) -> str:
    roles = [role_of(text) for _, text in asides]
    words = Words(words_of(source), words_of(target), links)
    found = placed([Aside(place, text) for place, text in asides], roles, words)
    for index, place in reversed(found):
        target = target[:place] + asides[index][1] + target[place:]
    return target


@pytest.mark.parametrize(
    ("source", "asides", "target", "links", "expected"),
    [
        (
            "See my house now", [(4, "<a>"), (12, "</a>")], "Voir ma maison vite", [0, 1, 2, 3],
            "Voir <a>ma maison</a> vite",
        ),
        (
            "the red house", [(4, "<b>"), (7, "</b>"), (8, "<i>"), (13, "</i>")], "la maison rouge", [0, 2, 1],
            "la <i>maison</i> <b>rouge</b>",
        ),
        (
            "a very red house", [(2, "<b>"), (7, "<i>"), (10, "</i>"), (10, "</b>")], "maison très rouge", [3, 1, 2],
            "maison <b>très <i>rouge</i></b>",
        ),
        ("I love you much", [(10, " ❤️")], "Je vous aime beaucoup", [0, 2, 1, 3], "Je vous ❤️ aime beaucoup"),
        ("my house", [(2, "<br/>")], "ma maison", [0, 1], "ma<br/> maison"),
        ("one two", [(0, "<b>"), (3, "</b>")], "a b", [-1, -1], "<b>a</b> b"),
        ("say yes", [(3, "</i>")], "dire oui", [0, 1], "dire</i> oui"),
    ],
)  # fmt: skip
def test_where_asides_go(
    source: str, asides: list[tuple[int, str]], target: str, links: list[int], expected: str
) -> None:
    assert put(source, asides, target, links) == expected


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ('<a href="/x">', ("open", "a")), ("</A>", ("close", "a")), ("<br>", ("point", "")), ("<x/>", ("point", "")),
        ("**", ("both", "**")), ("[", ("open", "]")), ("](/x)", ("close", "]")),
        ("❤️", ("mark", "")), ("[3]", ("mark", "")),
        ("<!-- a -->", ("point", "")),
    ],
)  # fmt: skip
def test_what_an_aside_is(text: str, role: Role) -> None:
    assert role_of(text) == role


TAGS = ["<a>", "</a>", "<b>", "</b>", "<br>", "E", "**"]


@given(st.data())
def test_elements_stay_nested_and_nothing_is_lost(data: st.DataObject) -> None:
    source = " ".join("abcdef"[: data.draw(st.integers(0, 6))])
    target = " ".join("uvwxyz"[: data.draw(st.integers(0, 6))])
    count = data.draw(st.integers(0, 7))
    places = sorted(data.draw(st.lists(st.integers(0, len(source)), min_size=count, max_size=count)))
    asides = [Aside(place, data.draw(st.sampled_from(TAGS))) for place in places]
    sources, targets = words_of(source), words_of(target)
    most = len(sources) - 1
    links = data.draw(st.lists(st.integers(-1, most), min_size=len(targets), max_size=len(targets)))
    roles = [role_of(aside.text) for aside in asides]
    found = placed(asides, roles, Words(sources, targets, links))
    assert sorted(index for index, _ in found) == list(range(count))
    assert [place for _, place in found] == sorted(place for _, place in found)
    assert all(0 <= place <= len(target) for _, place in found)
    # Elements are elements still, and those inside others are inside them.
    order = [index for index, _ in found]
    assert shape(tree([roles[index] for index in order]), order) == shape(tree(roles), list(range(count)))


def shape(nodes: list, order: list[int]) -> set:
    """Which aside closes which, and what is directly inside."""
    pairs = set()
    for node in nodes:
        if node.is_element:
            inside = frozenset(order[child.first] for child in node.children if child.is_element)
            pairs.add((order[node.first], order[node.last], inside))
            pairs |= shape(node.children, order)
    return pairs
