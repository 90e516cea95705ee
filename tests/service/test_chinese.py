"""Traditional Chinese, read as Simplified: which texts are converted, and where everything still stands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.bundle import language_groups
from model.commands import BAD_INPUT
from model.vocabulary import Vocabulary
from service.__main__ import main
from service.explain.details import Side
from service.text.characters import in_known_characters
from service.text.chinese import Simplifier, simplifier
from service.text.document import Document
from service.text.languages import Directions, language_name, normalise_code
from service.text.reading import Reader, readers_of
from service.text.words import word_spans
from tests.bundles import PRETRAINED, SHIPPED_BUNDLE
from tests.service.fakes import FakeLoader, ask, make_app, translate
from tests.service.test_details import Post, segments_of, serving

VOCABULARY = Vocabulary.load(PRETRAINED / "vocabulary.spm")
DIRECTIONS = ("zh-en", "fr-en", "en-fr")
READERS = readers_of(Directions.parse(DIRECTIONS), VOCABULARY)

# Phrases decide what 著, 乾, 徵 and 藉 become; 裡 and 著 are Taiwan's, 衞 and 枱 Hong Kong's.
PAIRS = [
    ("我愛你。", "我爱你。"),
    ("今天天氣很好，我們去公園吧。", "今天天气很好，我们去公园吧。"),
    ("著名的作家看著我，顯著地笑著。", "著名的作家看着我，显著地笑着。"),
    ("乾隆年間很乾燥，皇后在後面。", "乾隆年间很干燥，皇后在后面。"),
    ("他憑藉著機會徵求意見，聲名狼藉。", "他凭借着机会征求意见，声名狼藉。"),
    ("這裏、這裡、裡面和三公里", "这里、这里、里面和三公里"),
    ("香港的衞生間裏有一張枱。", "香港的卫生间里有一张台。"),
    ("我 love 你，𡡡說：「好」！\n麪包🍞", "我 love 你，𡡡说：「好」！\n面包🍞"),
    ("你為什么哭？什麼？有么？", "你为什么哭？什么？有么？"),
    ("一加二等於三。", "一加二等于三。"),
    ("\ufa0c\uf92f", "兀劳"),
]  # fmt: skip

GB2312 = "".join(
    bytes((row, cell)).decode("gb2312", "ignore") for row in range(0xA1, 0xF8) for cell in range(0xA1, 0xFF)
)
TRADITIONAL = st.text(st.sampled_from("".join(old for old, _ in PAIRS) + "發髮後麼么著乾龍龜體臺灣鬱籲 \u3000abc。"))
ANY_TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(min_codepoint=0x2E80, max_codepoint=0x323AF, exclude_categories=["Cs"])),
    TRADITIONAL,
)


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_traditional_text_becomes_simplified_by_phrases_and_regions(old: str, new: str) -> None:
    assert simplifier().simplified_if_traditional(old) == simplifier().simplified(old) == new


@settings(max_examples=500, deadline=None)
@given(ANY_TEXT)
@example("著著著乾乾乾么么么")
@example("\x00後\x00")
def test_any_text_keeps_its_length(text: str) -> None:
    assert len(simplifier().simplified(text)) == len(simplifier().simplified_if_traditional(text)) == len(text)


def test_every_character_becomes_one_character() -> None:
    characters = [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000 and point != 10]
    converted = simplifier().simplified("\n".join(characters)).split("\n")
    assert len(converted) == len(characters)
    assert {len(each) for each in converted} == {1}


@settings(max_examples=500, deadline=None)
@given(st.text(st.sampled_from(GB2312.replace("於", "").replace("後", "") + "aé1 \n🎉")))
@example("著名的著作里面余下的皇后面向乾坤，于是征求意见，干杯！他夥同别人吃了薹菜。")
@example("你好，world！")
def test_simplified_text_is_untouched(text: str) -> None:
    assert simplifier().simplified_if_traditional(text) is text


@settings(max_examples=300, deadline=None)
@given(st.text())
@example("東京へ")
def test_only_chinese_is_converted(text: str) -> None:
    for language in ("fr", "en"):
        assert READERS[language].in_its_script(text) is text


def test_what_both_scripts_use_is_converted_where_the_caller_says_traditional() -> None:
    assert READERS["zh"].in_its_script("乾杯，活著！") == "乾杯，活著！"
    assert READERS["zt"].in_its_script("乾杯，活著！") == "干杯，活着！"


def test_any_number_of_threads_convert_at_once() -> None:
    texts = [old * 20 for old, _ in PAIRS] * 50
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(simplifier().simplified, texts)) == [new * 20 for _, new in PAIRS] * 50


def test_a_dictionary_that_changes_lengths_would_not_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Simplifier()
    monkeypatch.setattr(
        known, "_converters", [type("Longer", (), {"convert": staticmethod(lambda text: text + "x")})()]
    )
    assert known.simplified("我愛你") == "我愛你"


@settings(max_examples=300, deadline=None)
@given(TRADITIONAL, st.sampled_from(["zh", "zt"]))
def test_pieces_and_words_are_those_of_the_simplified_text_and_stand_in_the_callers(text: str, code: str) -> None:
    reader = READERS[code]
    read = reader.in_its_script(text)
    side, plain = (Side.of_source(*each) for each in ((text, 3, reader), (read, 3, Reader("zh", VOCABULARY))))
    assert side.text == text
    assert (side.ids, side.spans, side.placed_words()) == (plain.ids, plain.spans, plain.placed_words())
    assert side.words() == word_spans(text, side.spans)
    assert reader.encode_source(text, "en") == VOCABULARY.encode_source(in_known_characters(read, "zh"), "en")


@settings(max_examples=300, deadline=None)
@given(st.lists(TRADITIONAL, max_size=5).map("。\n".join), st.integers(6, 40))
def test_a_document_is_split_where_its_simplified_form_is(text: str, limit: int) -> None:
    reader = READERS["zt"]
    spans = [
        [(each.start, each.end, each.translatable) for each in Document.parse(some, "zh", count, limit).segments]
        for some, count in (
            (text, lambda part: len(reader.encode(part.text))),
            (reader.in_its_script(text), lambda part: len(Reader("zh", VOCABULARY).encode(part.text))),
        )
    ]
    # Phrases end where lines and sentences do; a sentence that is cut may be cut inside one.
    if Document.parse(text, "zh", lambda part: len(reader.encode(part.text)), limit).split_sentences == 0:
        assert spans[0] == spans[1]


@pytest.mark.parametrize("code", ["zt", "ZT", "zh-Hant", "zh-TW", "zh_tw", "zh-HK", "zh-MO", "zh-Hant-HK"])
def test_codes_of_traditional_chinese(code: str, loader: FakeLoader) -> None:
    assert normalise_code(code) == "zt"
    reply = translate(make_app(loader), {"q": "我愛你。好！", "source": code, "target": "en"})
    assert reply.json() == {"translatedText": "我爱你. 好!"}


@pytest.mark.parametrize("code", ["zh", "zh-CN", "zh-SG", "zh-Hans", "zh_hans_cn"])
def test_codes_of_simplified_chinese(code: str, loader: FakeLoader) -> None:
    assert normalise_code(code) == "zh"
    # The engine gives back what it read.
    reply = translate(make_app(loader), {"q": "我愛你。乾！", "source": code, "target": "en"})
    assert reply.json() == {"translatedText": "我爱你. 乾!"}


@pytest.mark.parametrize("code", ["zt", "zh-TW"])
def test_traditional_chinese_is_refused_as_a_target(loader: FakeLoader, code: str) -> None:
    reply = translate(make_app(loader), {"q": "I love you.", "source": "en", "target": code})
    assert reply.status_code == 400
    sentence = "Chinese (traditional) (zt) is not available as a target language from English (en)"
    assert reply.json()["error"] == sentence
    assert {"source": "zt", "target": "en"} in reply.json()["available"]


def test_a_model_without_chinese_knows_no_traditional(vocabulary: Vocabulary) -> None:
    manifest = FakeLoader(vocabulary).manifest.model_copy(update={"languages": language_groups([("fr", "en")])})
    loader = FakeLoader(vocabulary, manifest=manifest)
    reply = translate(make_app(loader), {"q": "我愛你。", "source": "zt", "target": "en"})
    available = [{"source": "fr", "target": "en"}]
    assert (reply.status_code, reply.json()) == (400, {"error": "zt is not supported", "available": available})


def test_a_model_with_directions_of_its_own_from_traditional_reads_it_as_it_is() -> None:
    directions = Directions.parse(["zh-en", "zt-en", "en-zt"])
    assert directions.pairs == (("zh", "en"), ("zt", "en"), ("en", "zt"))
    readers = readers_of(directions, VOCABULARY)
    assert (readers["zt"].language, readers["zt"].in_its_script("愛")) == ("zt", "愛")
    assert (readers["zh"].language, readers["zh"].in_its_script("愛")) == ("zh", "爱")


def test_directions_from_simplified_have_one_from_traditional_beside_them() -> None:
    directions = Directions.parse(["fr-en", "zh-en", "zh-fr", "en-zh"])
    assert directions.sources == ("fr", "zh", "zt", "en")
    assert directions.targets("zt") == directions.targets("zh") == ("en", "fr")
    assert (directions.language("zt"), directions.language("zh"), directions.language("fr")) == ("zh", "zh", "fr")
    assert Directions.parse(["zh-zt"]).pairs == (("zh", "zt"),)


def test_languages_lists_it_as_a_source(loader: FakeLoader) -> None:
    listed = ask(make_app(loader), "GET", "/languages").json()
    assert {"code": "zt", "name": language_name("zt"), "targets": ["en"]} in listed
    assert language_name("zt") == "Chinese (traditional)"
    assert all("zt" not in each["targets"] for each in listed)


@pytest.fixture(scope="module")
def post() -> Iterator[Post]:
    with serving(SHIPPED_BUNDLE) as made:
        yield made


TEXT = "我愛你。\n  今天天氣很好，我們去公園吧！ 123\n他看著我。"


def told(reply: httpx.Response) -> Any:
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.parametrize("source", ["zh", "zt"])
def test_everything_told_of_traditional_text_is_what_is_told_of_simplified(post: Post, source: str) -> None:
    how = {"target": "en", "alternatives": 2, "alignment": True, "attention": {"layers": [1], "reduce": "mean"}}
    simplified = "".join(READERS[source].in_its_script(line) for line in TEXT.splitlines(keepends=True))
    assert simplified != TEXT
    traditional = told(post("/translate", q=TEXT, source=source, **how))
    assert traditional == told(post("/translate", q=simplified, source="zh", **how))
    parts = [TEXT[slice(*each["source_span"])] for each in traditional["segments"]]
    assert parts == ["我愛你。", "今天天氣很好，我們去公園吧！", "他看著我。"]
    words = [TEXT[slice(*word)] for word in traditional["segments"][1]["source_words"]]
    assert "".join(words) == parts[1]
    assert "天氣" in "".join(words)


def test_a_pair_is_scored_as_it_was_translated(post: Post) -> None:
    reply = told(post("/translate", q="我們愛你。", source="zt", target="en", details=True))
    scored = [
        segments_of(
            post("/score", q=text, translation=reply["translatedText"], source=code, target="en", alignment=True)
        )
        for text, code in (("我們愛你。", "zt"), ("我們愛你。", "zh"), ("我们爱你。", "zh"))
    ]
    assert scored[0] == scored[1] == scored[2]
    assert scored[0][0]["source_tokens"] == reply["segments"][0]["source_tokens"]


def test_a_bundle_is_evaluated_as_it_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test.en").write_text("I love you.\nWe love you.\n", encoding="utf-8")
    outputs = []
    for name, text in (("zt", "我愛你。\n我們愛你。\n"), ("zh", "我爱你。\n我们爱你。\n")):
        (tmp_path / "test.zh").write_text(text, encoding="utf-8")
        files = ["--source", str(tmp_path / "test.zh"), "--reference", str(tmp_path / "test.en")]
        out = tmp_path / name
        assert main(["evaluate", str(SHIPPED_BUNDLE), *files, "--direction", f"{name}-en", "--output", str(out)]) == 0
        outputs.append(out.read_text(encoding="utf-8"))
    assert outputs[0] == outputs[1]
    assert main(["evaluate", str(SHIPPED_BUNDLE), *files, "--direction", "en-zt"]) == BAD_INPUT
    assert "no direction en-zt; it has fr-en, zh-en, zt-en, en-fr" in capsys.readouterr().err
