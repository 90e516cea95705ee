"""Spans that are carried through a translation: found, put away, put back."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.carriers import put_carriers, put_carriers_on_both, restore
from model.spans import find_spans
from model.vocabulary import CARRIERS, Vocabulary

PIECES = st.sampled_from(
    ["Open", " ", "notes.txt", "https://example.org/a?b=1", "a.b@example.org", "318,640", "2031-04-09", "%s",
     "{{a}}", "`x = 1`", "<b>", "&amp;", "❤️", "👩‍👧", "Доброе утро", "小明", "我看", "Tom", "12", "été", ".", "。", "(",
     ")", "\n", CARRIERS[0], CARRIERS[9], "\ue000", "#tag", "@me", "/usr/bin", "\u0301", "١٢٣"]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=30).map("".join))
LANGUAGES = st.sampled_from(["en", "fr", "zh"])


def found(text: str, language: str) -> list[str]:
    return [text[span.start : span.end] for span in find_spans(text, language)]


@pytest.mark.parametrize(
    ("language", "text", "spans"),
    [
        ("en", "It costs 19.95 or 318,640, not 12.", ["19.95", "318,640"]),
        ("en", "On 2031-04-09 at 19:45, call 010-62345678.", ["2031-04-09", "19:45", "010-62345678"]),
        ("fr", "Le train de 18h42 a 1 234,56 € de retard.", ["18h42", "1 234,56 €"]),
        ("en", "The machine 10.20.30.40 is new (v3.1.2).", ["10.20.30.40", "v3.1.2"]),
        ("zh", "有300万人，电话010-62345678，3.5亿。", ["300万", "010-62345678", "3.5亿"]),
        ("en", "In 2020 300 people came.", ["2020", "300"]),
        ("zh", "我在Microsoft Office里写R&D报告。", ["Microsoft Office", "R&D"]),
        ("zh", "他叫Tom。", ["Tom"]),
        ("en", "My friend 小明 is here. Спасибо большое!", ["小明", "Спасибо большое"]),
        ("fr", "안녕하세요", ["안녕하세요"]),
        ("en", "See https://a.org/a(b)?c=1. Or (www.a.org).", ["https://a.org/a(b)?c=1", "www.a.org"]),
        ("zh", "见https://example.org/a，谢谢", ["https://example.org/a"]),
        ("fr", "Écrivez à a.b@example.org.", ["a.b@example.org"]),
        ("en", "Order {{order.id}}: %1$s, %(file)s, {0}.", ["{{order.id}}", "%1$s", "%(file)s", "{0}"]),
        ("en", "Order ${x}, %s.", ["${x}", "%s"]),
        ("en", "50% of it, 5 % more", []),
        ("en", 'See <a href="/x">my house</a> &amp; more', ['<a href="/x">', "</a>", "&amp;"]),
        ("en", "Write `npm start` first.", ["`npm start`"]),
        ("en", "Open notes.txt in D:\\Data\\Music or /etc/passwd.", ["notes.txt", "D:\\Data\\Music", "/etc/passwd"]),
        ("en", "He and/or she, 1/2", ["1/2"]),
        ("en", "I love #music with @anna", ["#music", "@anna"]),
        ("en", "Run menu.file.open or getName() or file_name", ["menu.file.open", "getName()", "file_name"]),
        ("en", "The key is 7d1f0c2a-4b6e-4f80-9a3c-5e2d1b0f8a77.", ["7d1f0c2a-4b6e-4f80-9a3c-5e2d1b0f8a77"]),
        ("en", "Press Ctrl+Alt+K to stop --now", ["Ctrl+Alt+K", "--now"]),
        ("en", "I ❤️ you 👩‍👧🇫🇷", ["❤️", "👩‍👧🇫🇷"]),
        ("fr", "C'est-à-dire l’œuvre, peut-être, été/hiver…", []),
        ("en", "Hello, Tom! How are you?", []),
        ("zh", "我今天早上看到了一只猫。", []),
        ("en", f"a {CARRIERS[3]} b", [CARRIERS[3]]),
    ],
)  # fmt: skip
def test_what_is_found(language: str, text: str, spans: list[str]) -> None:
    assert found(text, language) == spans


@given(TEXTS, LANGUAGES)
def test_spans_are_in_order_and_apart(text: str, language: str) -> None:
    spans = find_spans(text, language)
    ends = [0]
    for span in spans:
        assert ends[-1] <= span.start < span.end <= len(text)
        ends.append(span.end)


@given(TEXTS, LANGUAGES, st.integers())
def test_what_is_put_away_comes_back(text: str, language: str, seed: int) -> None:
    spans = find_spans(text, language)
    changed, carried = put_carriers(text, spans, random.Random(seed))
    assert restore(changed, carried) == text
    assert len(carried) == min(len(spans), 16)
    assert all(changed.count(carrier) >= 1 for carrier in carried)
    assert (changed, carried) == put_carriers(text, spans, random.Random(seed))


@given(TEXTS, LANGUAGES, st.integers())
def test_a_carrier_of_the_text_itself_is_carried(text: str, language: str, seed: int) -> None:
    spans = find_spans(text, language)
    changed, carried = put_carriers(text, spans, random.Random(seed))
    if len(spans) <= 16:
        assert {character for character in changed if character in CARRIERS} == set(carried)


@given(TEXTS, TEXTS, LANGUAGES, st.integers())
def test_both_sides_get_the_same_carriers_for_the_same_spans(
    source: str, target: str, language: str, seed: int
) -> None:
    source, target = f"{source} 2031-04-09", f"{target} 2031-04-09"
    pair = put_carriers_on_both(source, target, language, random.Random(seed))
    if pair is None:
        return
    ours, theirs = ({character for character in side if character in CARRIERS} for side in pair)
    assert ours == theirs
    assert 0 < len(ours) <= 16


def test_spans_of_one_side_only_stay() -> None:
    rng = random.Random(1)
    assert put_carriers_on_both("It costs 300.", "Ça coûte 400.", "en", rng) is None
    pair = put_carriers_on_both("300 of 400", "300 sur 4000", "en", rng)
    assert pair is not None
    assert pair[0].endswith(" of 400")
    assert pair[1].endswith(" sur 4000")
    assert pair[0][0] == pair[1][0]


@given(TEXTS, LANGUAGES, st.integers())
def test_the_vocabulary_keeps_carriers_whole_and_spaces_as_they_were(
    vocabulary: Vocabulary, text: str, language: str, seed: int
) -> None:
    text = text.replace("\u2581", " ").encode("utf-8", "replace").decode()
    changed, carried = put_carriers(text, find_spans(text, language), random.Random(seed))
    ids = vocabulary.encode(changed)
    assert vocabulary.decode(ids) == changed
    assert {vocabulary.carrier_ids[CARRIERS.index(carrier)] for carrier in carried} <= set(ids)


def test_a_vocabulary_of_before_has_no_carriers() -> None:
    from tests.bundles import ROOT

    old = Vocabulary.load(ROOT / "tests" / "data" / "bundle-format-2" / "vocabulary.spm")
    assert old.carrier_ids == ()
