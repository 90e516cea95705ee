"""XML texts, also those that are none."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from service.text.markup.html import parse_html, parse_xml

PIECES = st.sampled_from(
    ["<a>", "</a>", "<b x='1'/>", "<!--", "-->", "&amp;", "&", "<", ">", "text", " ", "\n", "<![CDATA["]
)


@given(st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join))
@example("")
def test_whatever_comes_is_kept_and_its_units_are_parts_of_it(source: str) -> None:
    for parse in (parse_xml, parse_html):
        marked = parse(source)
        assert marked.source == source
        ends = 0
        for unit in marked.units:
            assert ends <= unit.start <= len(source)
            ends = unit.start
