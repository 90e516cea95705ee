"""What holds of every translation, whatever the model writes: asked with generated texts, many in a request."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.text.numbers import numbers_differ
from tests.service.test_details import Post

# Always the same texts: a service is asked, and a failure must not come and go.
few_requests = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
TEXTS_OF_A_REQUEST = 40

WORDS = ["The door", "is open", "I love you", "where is", "my book", "a cat", "we go", "tea", "THE DOOR", "Tom"]
ENDS = [".", "!", "?", "", " …", ","]
VERBATIM = ["https://example.org/a?b=1", "{{order.id}}", "%1$s", "notes.txt", "foo_bar", "10.20.30.40", "Спасибо", "❤️"]
NUMBERS = ["19.95", "318,640", "2031-04-09", "19:45", "1999", "42", "7"]
NO_LETTERS = [
    "19.95",
    "❤️",
    "----",
    "…",
    "12:30",
    "(1)",
    "%",
    "$ 5",
    "{0}",
    "Спасибо",
    "안녕하세요",
    "https://a.org/b",
    "#",
]
INVISIBLE = "\u00ad\u200b\u2060\ufeff\u200e\u0007"
LINE_ENDS = ["\n", "\r\n", "\n\n", "\u2028", "\r", "\t"]


def many(one: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """So many texts as a request has."""
    return st.lists(one, min_size=TEXTS_OF_A_REQUEST, max_size=TEXTS_OF_A_REQUEST)


def sentences(parts: list[str]) -> st.SearchStrategy[str]:
    """Words with `parts` between them, and an end."""
    body = st.lists(st.sampled_from(WORDS) | st.sampled_from(parts), min_size=1, max_size=6).map(" ".join)
    return st.tuples(st.just("Tom likes "), body, st.sampled_from(ENDS)).map("".join)


plain_sentences = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
with_verbatim = many(sentences(VERBATIM))
with_numbers = many(sentences(NUMBERS))
without_letters = many(st.lists(st.sampled_from([*NO_LETTERS, " ", "\n"]), min_size=1, max_size=5).map(" ".join))
with_lines = many(
    st.lists(st.tuples(plain_sentences, st.sampled_from(LINE_ENDS)).map("".join), min_size=1, max_size=4).map("".join)
)
with_invisible = many(plain_sentences).flatmap(
    lambda texts: st.tuples(
        st.just(texts), st.lists(st.tuples(st.integers(0, 60), st.sampled_from(INVISIBLE)),
                                 min_size=len(texts), max_size=len(texts))
    )
)  # fmt: skip


@st.composite
def _element(draw: st.DrawFn, depth: int = 0) -> str:
    name = draw(st.sampled_from(["b", "i", "a", "span", "p", "div"]))
    inner = st.sampled_from([*WORDS, "&amp;", "<br>", "a &lt; b"])
    if depth < 2:
        inner |= _element(depth + 1)
    body = " ".join(draw(st.lists(inner, min_size=1, max_size=4)))
    attribute = draw(st.sampled_from(["", ' class="x y"', ' href="/x?a=1&amp;b=2"']))
    return f"<{name}{attribute}>{body}</{name}>"


with_tags = many(_element())


class Tags(HTMLParser):
    """The tags of a text, and whether they are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.open: list[str] = []
        self.is_balanced = True
        self.feed(text)
        self.close()
        self.is_balanced &= not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[self.get_starttag_text() or ""] += 1
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.found[f"</{tag}>"] += 1
        self.is_balanced &= bool(self.open) and self.open.pop() == tag


def translated(post: Post, texts: list[str], **fields: object) -> list[str]:
    reply = post("/translate", q=texts, source="en", target="fr", beam_size=1, **fields)
    assert reply.status_code == 200, reply.text
    found: list[str] = reply.json()["translatedText"]
    return found


def check_verbatim(post: Post, texts: list[str]) -> None:
    for text, answer in zip(texts, translated(post, texts), strict=True):
        for part in VERBATIM:
            assert answer.count(part) == text.count(part), (text, answer)


def check_numbers(post: Post, texts: list[str]) -> None:
    reply = post("/translate", q=texts, source="en", target="fr", beam_size=1).json()
    warned = {warning["index"] for warning in reply.get("warnings", []) if warning["warning"] == "numbers_differ"}
    for index, (text, answer) in enumerate(zip(texts, reply["translatedText"], strict=True)):
        assert index in warned or not numbers_differ(text, answer, ("en", "fr")), (text, answer)


def check_unchanged(post: Post, texts: list[str]) -> None:
    assert translated(post, texts) == texts


def check_lines(post: Post, texts: list[str]) -> None:
    for text, answer in zip(texts, translated(post, texts), strict=True):
        assert re.findall(r"[\r\n\u2028\t]", answer) == re.findall(r"[\r\n\u2028\t]", text), (text, answer)


def check_invisible(post: Post, made: tuple[list[str], list[tuple[int, str]]]) -> None:
    texts, inserted = made
    marked = [text[:place] + sign + text[place:] for text, (place, sign) in zip(texts, inserted, strict=True)]
    assert translated(post, marked) == translated(post, texts)


def check_tags(post: Post, texts: list[str]) -> None:
    for text, answer in zip(texts, translated(post, texts, format="html"), strict=True):
        assert Tags(answer).found == Tags(text).found, (text, answer)
        assert Tags(answer).is_balanced, (text, answer)


def check_details(post: Post, texts: list[str]) -> None:
    reply = post("/translate", q=texts, source="en", target="fr", details=True, beam_size=1).json()
    for text, answer, segments in zip(texts, reply["translatedText"], reply["segments"], strict=True):
        for segment in segments:
            for side, whole in (("source", text), ("target", answer)):
                start, end = segment[f"{side}_span"]
                assert 0 <= start < end <= len(whole)
                words = [whole[first:last] for first, last in segment[f"{side}_words"]]
                assert "".join(words) == re.sub(r"\s", "", whole[start:end])


PROPERTIES = {
    "verbatim": (with_verbatim, check_verbatim),
    "numbers": (with_numbers, check_numbers),
    "no letters": (without_letters, check_unchanged),
    "lines": (with_lines, check_lines),
    "invisible": (with_invisible, check_invisible),
    "tags": (with_tags, check_tags),
    "details": (with_verbatim, check_details),
}


def hold(post: Post, name: str) -> None:
    """Check one property with generated texts."""
    made, check = PROPERTIES[name]

    @few_requests
    @given(made)
    def holds(texts: object) -> None:
        check(post, texts)  # type: ignore[operator]

    holds()
