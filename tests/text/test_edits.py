"""A text and what became of it: what stands where."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.text.edits import Edit, Edited


@st.composite
def edited(draw: st.DrawFn) -> Edited:
    old = draw(st.text("abcdef", max_size=20))
    places = sorted(draw(st.lists(st.integers(0, len(old)), max_size=8)))
    pairs = zip(places[::2], places[1::2], strict=False)
    return Edited.of(old, [Edit(start, end, draw(st.text("XYZ", max_size=3))) for start, end in pairs])


@given(edited(), st.data())
def test_what_did_not_change_is_found_on_the_other_side(text: Edited, data: st.DataObject) -> None:
    for place, character in enumerate(text.text):
        start, end = text.old_span((place, place + 1))
        assert 0 <= start <= end <= len(text.old)
        if character in "abcdef":
            assert text.old[start:end] == character
            assert text.new_span((start, end)) == (place, place + 1)
        else:
            assert any((edit.start, edit.end) == (start, end) for edit in text.edits)


@given(edited())
def test_the_whole_is_the_whole(text: Edited) -> None:
    assert text.old_span((0, len(text.text))) == (0, len(text.old)) or text.edits
    start, end = text.new_span((0, len(text.old)))
    assert 0 <= start <= end <= len(text.text)


def test_of_two_edits_that_overlap_the_first_counts() -> None:
    text = Edited.of("abcdef", [Edit(2, 4, "Y"), Edit(0, 3, "X")])
    assert text.text == "Xdef"
