"""Text that a translator was not made for, from text that it was: the inputs of `robustness.py`.

Everything is drawn with fixed seeds, so that two models see the same inputs.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from model.corpus import Pair, sentence_separator

UNCASED = frozenset({"zh", "ja"})
DOCUMENTS = 3
DOCUMENT_CHARACTERS = 3000
ROUNDS = 100
"""How often a word stands in a text that is nothing but this word."""

NUMBERS = "numbers, dates, prices"

_DIGITS = re.compile(r"\d+")
_WORD = re.compile(r"[^\W\d_]{4,}")
_HAN = re.compile("[\u3400-\u9fff]")
_PUNCTUATION = re.compile(r"[^\w\s'’\-]+")
_CLOSING = re.compile(r"\s*[.!?。！？…]+\s*$")
_WIDTHS = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
_EMOJI = ("😀", "😂", "❤️", "👍🏽", "🎉", "🙏", "👩‍👩‍👧", "🇫🇷", "☕", "😭")
_CHARACTERS = {"zh": "我你他好是不大人一上", "fr": "aàyoçéAZnx", "en": "aIoOAZbxsn"}
_REPEATED = {
    "zh": ("好", "哈", "我爱你", "谢谢", "不"),
    "fr": ("non", "bonjour", "merci", "chat", "très"),
    "en": ("no", "hello", "thanks", "cat", "very"),
}
_LETTERLESS = {
    "only punctuation": ("?!", "...", "。。。", "— « » —", "!?!?!?!?", "(((())))", "，、；："),
    "only digits": ("7", "2024", "3.14159", "1 234 567", "12/03/2024", "192.168.0.1", "0" * 60),
    "only emoji": ("😀", "❤️❤️❤️", "👩‍👩‍👧 👍🏽", "🎉" * 50, "🇫🇷🇨🇳🇬🇧", "😂 😭"),
    "blank": ("", " ", "\n", "\t \n\n", "\u3000"),
}
_MARKUP: tuple[tuple[str, str], ...] = (
    ("<p>", "</p>"), ("<b>", "</b>"), ("**", "**"), ("# ", ""), ("- ", ""), ("`", "`"), ("<i>", "</i><br>"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Input:
    """A text to translate, and what is known about what should come of it."""

    text: str
    reference: str | None = None
    """How its clean text is translated."""
    kept: tuple[str, ...] = ()
    """What must stand in the translation as it stands in the text."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """Inputs that are alike."""

    name: str
    inputs: tuple[Input, ...]
    scored: bool
    """Whether a translation should be what the reference is, so that BLEU and chrF mean something."""
    cased: bool = True
    """Whether case counts in the scores."""
    usual_length: bool = True
    """Whether a translation should be about as long as translations of that language are."""


Change = Callable[[str, random.Random], str]


def noisy_kinds(pairs: Sequence[Pair], source: str, foreign: Sequence[str]) -> Iterator[Kind]:
    """The pairs as they are, then changed in one way after the other.

    Args:
        source: language of the first side of the pairs.
        foreign: sentences in other languages.
    """
    yield _changed("clean", pairs, lambda text, chance: text)
    for name, change in _changes(source).items():
        yield _changed(name, pairs, change)
    for name, make in _INSERTED.items():
        chance = random.Random(name)
        inputs = (_with_value(pair, source, make(source, chance), chance) for pair in pairs)
        yield Kind(name, tuple(map(_digits_only, inputs) if name == NUMBERS else inputs), scored=False)
    chance = random.Random("markup")
    marked = (_marked(pair, *chance.choice(_MARKUP)) for pair in pairs)
    yield Kind("HTML, Markdown", tuple(marked), scored=False)
    chance = random.Random("foreign")
    others = [chance.choice(foreign) for _ in pairs]
    mixed = (Input(_half_and_half(pair[0], other)) for pair, other in zip(pairs, others, strict=True))
    yield Kind("two languages", tuple(mixed), scored=False, usual_length=False)
    yield Kind("another language", tuple(map(Input, others)), scored=False, usual_length=False)


def hard_kinds(pairs: Sequence[Pair], source: str, target: str) -> Iterator[Kind]:
    """Inputs that are the same whatever the pairs, and documents made of the pairs."""
    yield Kind("one character", tuple(Input(character) for character in _CHARACTERS.get(source, "aox")), scored=False)
    for name, texts in _LETTERLESS.items():
        yield Kind(name, tuple(Input(text, kept=(text,)) for text in texts), scored=False)
    separator = sentence_separator(source)
    words = _REPEATED.get(source, _REPEATED["en"])
    repeated = tuple(Input(separator.join([word] * ROUNDS)) for word in words)
    yield Kind(f"a word {ROUNDS} times", repeated, scored=False)
    documents = [_document(pairs, source, target, seed) for seed in range(DOCUMENTS)]
    yield Kind("3,000 characters", tuple(documents), scored=True)
    endless = (
        dataclasses.replace(document, text=without_punctuation(document.text), reference=None) for document in documents
    )
    yield Kind("3,000 without an end", tuple(endless), scored=False)


def _changes(source: str) -> Mapping[str, Change]:
    if source in UNCASED:
        return {
            "a character too few or too many": one_slip_in_han,
            "no punctuation": lambda text, chance: without_punctuation(text),
            "spaces everywhere": lambda text, chance: " ".join(text),
            "a line break inside": broken_line,
            "half-width punctuation": lambda text, chance: text.translate(_HALF_WIDTH),
        }
    return {
        "all capitals": lambda text, chance: text.upper(),
        "all lower case": lambda text, chance: text.lower(),
        "a typo": lambda text, chance: with_typos(text, chance, most=1),
        "a typo in every long word": with_typos,
        "no punctuation": lambda text, chance: without_punctuation(text),
        "wide spaces": lambda text, chance: text.replace(" ", chance.choice(("  ", "   ", " \u00a0"))),
        "a line break inside": broken_line,
        "full-width letters": lambda text, chance: text.translate(_WIDTHS),
    }


_HALF_WIDTH = str.maketrans("，。！？：；（）", ",.!?:;()")


def _changed(name: str, pairs: Sequence[Pair], change: Change) -> Kind:
    chance = random.Random(name)
    inputs = tuple(Input(change(source, chance), target) for source, target in pairs)
    # Nobody can say in what case the translation of a text in capitals should be.
    return Kind(name, inputs, scored=True, cased=False)


def with_typos(text: str, chance: random.Random, most: int | None = None) -> str:
    """Two letters swapped, one dropped or one doubled, in `most` of the words of four letters or more (None: all)."""
    places = [match.span() for match in _WORD.finditer(text)]
    chosen = places if most is None else chance.sample(places, min(most, len(places)))
    for start, end in sorted(chosen, reverse=True):
        text = text[:start] + _mistyped(text[start:end], chance) + text[end:]
    return text


def _mistyped(word: str, chance: random.Random) -> str:
    # Not the first letter: people rarely get that one wrong.
    place = chance.randrange(1, len(word) - 1)
    left, letter, right = word[:place], word[place], word[place + 1 :]
    return chance.choice((left + right[0] + letter + right[1:], left + right, left + letter + letter + right))


def one_slip_in_han(text: str, chance: random.Random) -> str:
    """One Chinese character left out or written twice."""
    places = [match.start() for match in _HAN.finditer(text)]
    if len(places) < 3:
        return text
    place = chance.choice(places)
    return text[:place] + chance.choice(("", 2 * text[place])) + text[place + 1 :]


def without_punctuation(text: str) -> str:
    """Letters, digits, apostrophes and hyphens, with one space where there was anything else between them."""
    return " ".join(_PUNCTUATION.sub(" ", text).split())


def broken_line(text: str, chance: random.Random) -> str:
    """A line break in place of the space nearest the middle, or in the middle where there is no space."""
    middle = len(text) // 2
    spaces = [place for place, character in enumerate(text) if character == " "]
    if spaces:
        place = min(spaces, key=lambda place: abs(place - middle))
        return text[:place] + "\n" + text[place + 1 :]
    return text[:middle] + "\n" + text[middle:]


def _number(source: str, chance: random.Random) -> str:
    mark = "," if source == "fr" else "."
    amount = f"{chance.randint(10, 999)}{mark}{chance.randint(10, 99)}"
    return chance.choice(
        (
            str(chance.randint(100, 99_999)),
            amount,
            f"{amount} €" if source == "fr" else f"${amount}",
            f"20{chance.randint(10, 30)}-{chance.randint(10, 12)}-{chance.randint(10, 28)}",
            f"{chance.randint(10, 23)}:{chance.randint(10, 59)}",
            f"{chance.randint(2, 99)}%",
        )
    )


def _address(source: str, chance: random.Random) -> str:
    host = chance.choice(("www.example.org", "docs.example.com", "example.net"))
    path = chance.choice(
        ("", "/help", f"/{source}/page-{chance.randint(1, 99)}.html", f"/?id={chance.randint(1, 9999)}")
    )
    return f"https://{host}{path}"


def _mail(source: str, chance: random.Random) -> str:
    name = chance.choice(("anna.meyer", "li_wei", "j.dupont", "info", "support"))
    return f"{name}{chance.choice(('', chance.randint(1, 99)))}@example.{chance.choice(('com', 'org', 'net'))}"


_INSERTED: Mapping[str, Callable[[str, random.Random], str]] = {
    NUMBERS: _number,
    "URLs": _address,
    "e-mail addresses": _mail,
    "emoji": lambda source, chance: chance.choice(_EMOJI),
}


def _with_value(pair: Pair, source: str, value: str, chance: random.Random) -> Input:
    """At the end after a colon, in brackets before the closing mark, or after it."""
    text, reference = pair
    closing = _CLOSING.search(text)
    body, end = (text[: closing.start()], closing.group()) if closing else (text, "")
    colon, opening, close = ("：", "（", "）") if source in UNCASED else (": ", " (", ")")
    placed = (body + colon + value, body + opening + value + close + end, text + " " + value)
    return Input(chance.choice(placed), reference, (value,))


def _digits_only(number: Input) -> Input:
    """What stands between digits is the language's: 2.50 is 2,50 in French."""
    return dataclasses.replace(number, kept=tuple(_DIGITS.findall(number.kept[0])))


def _marked(pair: Pair, opening: str, closing: str) -> Input:
    kept = tuple(mark for mark in (opening.strip(), closing) if mark)
    return Input(opening + pair[0] + closing, pair[1], kept)


def _half_and_half(first: str, second: str) -> str:
    """The first half of one sentence and the second of another, cut at the space nearest the middle."""
    left, right = (broken_line(text, random.Random()).split("\n") for text in (first, second))
    return f"{left[0]} {right[1]}"


def _document(pairs: Sequence[Pair], source: str, target: str, seed: int) -> Input:
    order = random.Random(seed).sample(pairs, len(pairs))
    lengths = itertools.accumulate(len(text) for text, _ in order)
    few = [pair for pair, length in zip(order, lengths, strict=True) if length <= DOCUMENT_CHARACTERS]
    texts, references = zip(*few, strict=True)
    return Input(sentence_separator(source).join(texts), sentence_separator(target).join(references))
