"""Text survives the vocabulary, whatever it is; tags and special tokens cannot be typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.errors import VocabularyError
from model.vocabulary import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Vocabulary, language_tag, train_vocabulary

SPACE_MARK = "\u2581"
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=SPACE_MARK))


@pytest.fixture(scope="session")
def loaded(vocabulary: Vocabulary) -> Vocabulary:
    return vocabulary


@given(text=ANY_TEXT)
@example(text="\0")
@example(text="  two  spaces  ")
@example(text="line\nbreak\ttab\r\n\u3000wide space\u00a0")
@example(text="e\u0301 and \u00e9, ﬁ and fi, ½, Ａ, ½")
@example(text="</s><unk><0x41>\ufeff\ufffd")
@settings(max_examples=200)
def test_any_text_comes_back(loaded: Vocabulary, text: str) -> None:
    ids = loaded.encode(text)
    assert loaded.decode(ids) == text
    assert all(UNK_ID < i < len(loaded) for i in ids)


@pytest.mark.parametrize(
    "text", ["你好，世界！", "「引號」、（括號）；：？", "臺灣的繁體字與台湾的简体字", "«\u202fguillemets\u202f»"]
)
def test_full_width_punctuation_and_script_stay(loaded: Vocabulary, text: str) -> None:
    assert loaded.decode(loaded.encode(text)) == text


@given(text=ANY_TEXT)
def test_the_space_mark_reads_back_as_a_space(loaded: Vocabulary, text: str) -> None:
    assert loaded.decode(loaded.encode(text + SPACE_MARK + text)) == text + " " + text


@given(text=st.text(st.characters(categories=["Cs", "Ll"]), min_size=1))
def test_half_a_surrogate_pair_reads_back_as_the_replacement_character(loaded: Vocabulary, text: str) -> None:
    expected = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert loaded.decode(loaded.encode(text)) == expected
    assert loaded.encode_batch([text]) == [loaded.encode(text)]


@given(before=ANY_TEXT, after=ANY_TEXT)
def test_a_tag_cannot_be_typed(loaded: Vocabulary, before: str, after: str) -> None:
    special = {PAD_ID, UNK_ID, BOS_ID, EOS_ID, loaded.tag_id("en"), loaded.tag_id("fr")}
    for token in ("<2en>", "<2fr>", "</s>", "<s>", "<pad>", "<unk>"):
        assert not special & set(loaded.encode(before + token + after))


@given(texts=st.lists(ANY_TEXT, max_size=5))
def test_a_batch_is_its_members(loaded: Vocabulary, texts: list[str]) -> None:
    assert loaded.encode_batch(texts) == [loaded.encode(text) for text in texts]


def test_source_is_tag_pieces_end(vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode_source("Je suis étudiant.", "en")
    assert vocabulary.pieces(ids)[0] == "<2en>"
    assert vocabulary.pieces(ids)[-1] == "</s>"
    assert ids[1:-1] == vocabulary.encode("Je suis étudiant.")
    assert vocabulary.decode(ids) == "Je suis étudiant.", "special tokens vanish"


def test_special_ids_are_the_first_four(vocabulary: Vocabulary) -> None:
    assert (PAD_ID, UNK_ID, BOS_ID, EOS_ID) == (0, 1, 2, 3)
    assert vocabulary.pieces([0, 1, 2, 3]) == ["<pad>", "<unk>", "<s>", "</s>"]
    assert len(vocabulary) == 400
    assert vocabulary.languages == ("en", "fr")
    assert vocabulary.pieces([vocabulary.tag_id("fr")]) == [language_tag("fr")]


def test_bytes_that_are_not_utf8_become_the_replacement_character(vocabulary: Vocabulary) -> None:
    half = vocabulary.encode("\U0001f9ff")[:-1]
    assert "\ufffd" in vocabulary.decode(half)


def test_unknown_language_names_those_there_are(vocabulary: Vocabulary) -> None:
    with pytest.raises(VocabularyError, match="no tag for language 'de'; it has en, fr"):
        vocabulary.tag_id("de")


def test_training_twice_gives_the_same_file(demo_pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    sentences = [french for french, _ in demo_pairs[:300]]
    for name in ("one", "two"):
        train_vocabulary(iter(sentences), tmp_path / name, size=340, languages=["en"])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"], "no scratch files stay"


def test_too_little_text_says_so(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match="could not train a vocabulary of 5000"):
        train_vocabulary(["a b c"], tmp_path / "v", size=5000, languages=["en"])


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_damaged_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.spm"
    path.write_bytes(content)
    with pytest.raises(VocabularyError, match=r"broken\.spm: not a SentencePiece model"):
        Vocabulary.load(path)


def test_foreign_special_ids_are_refused(demo_pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter([french for french, _ in demo_pairs[:300]]),
        model_prefix=str(tmp_path / "foreign"),
        vocab_size=200,
        minloglevel=2,
    )
    with pytest.raises(VocabularyError, match="pad, unk, bos, eos must be"):
        Vocabulary.load(tmp_path / "foreign.model")
