"""What a glossary term costs the rest of its sentence: for `fidelity.py`.

Sentences of the test sets that have a term, and whose reference has its target, are translated without a glossary and
with one. In both answers and in the references the targets are taken out before chrF is counted, so that what is left
is the rest of the sentence; the term itself is counted by itself.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from benchmarks.robustness import Answer
from model.corpus import Pair
from model.evaluation import score

TERMS = {
    "fr": {
        "house": "maison", "dog": "chien", "book": "livre", "water": "eau", "car": "voiture", "train": "train",
        "doctor": "médecin", "teacher": "professeur", "school": "école", "friend": "ami", "door": "porte",
        "city": "ville", "street": "rue", "letter": "lettre", "garden": "jardin", "window": "fenêtre",
    },
    "zh": {
        "house": "房子", "dog": "狗", "book": "书", "water": "水", "car": "车", "train": "火车", "doctor": "医生",
        "teacher": "老师", "school": "学校", "friend": "朋友", "door": "门", "city": "城市", "letter": "信",
        "garden": "花园", "window": "窗户",
    },
}  # fmt: skip
"""English terms in the other language."""

Send = Callable[..., Awaitable[list[Answer]]]


def terms_of(languages: tuple[str, str]) -> dict[str, str]:
    """Terms of a direction, one side of which is English; none for a language that has none here."""
    source, target = languages
    if source == "en":
        return TERMS.get(target, {})
    return {foreign: english for english, foreign in TERMS.get(source, {}).items()}


def has_term(text: str, term: str) -> bool:
    """Whether a term stands in a text as a word; in Chinese anywhere."""
    around = r"\b" if term[0] < "\u2e80" else ""
    return re.search(f"{around}{re.escape(term)}{around}", text, re.IGNORECASE) is not None


def chosen(pairs: Sequence[Pair], terms: dict[str, str], count: int) -> list[tuple[Pair, list[str]]]:
    """The first pairs that have a term on both sides and no other term, with the targets of those they have."""
    found = []
    for pair in pairs:
        there = [(term, target) for term, target in terms.items() if has_term(pair[0], term)]
        if there and all(has_term(pair[1], target) for _, target in there):
            found.append((pair, [target for _, target in there]))
    return found[:count]


def rest(text: str, targets: Sequence[str]) -> str:
    """A text without the targets of its terms."""
    for target in targets:
        text = re.sub(re.escape(target), "", text, flags=re.IGNORECASE)
    return " ".join(text.split())


async def glossary_cost(pairs: Sequence[Pair], languages: tuple[str, str], send: Send, count: int) -> dict[str, Any]:
    """The row of one direction."""
    terms = terms_of(languages)
    sentences = chosen(pairs, terms, count)
    if not sentences:
        return {}
    texts = [pair[0] for pair, _ in sentences]
    glossary = [{"source": source, "target": target} for source, target in terms.items()]
    row: dict[str, Any] = {"sentences with a glossary term": len(texts)}
    for name, answers in (("without", await send(texts)), ("with", await send(texts, glossary=glossary))):
        written = [answer.text or "" for answer in answers]
        kept = sum(
            all(has_term(text, target) for target in targets)
            for text, (_, targets) in zip(written, sentences, strict=True)
        )
        bare = [rest(text, targets) for text, (_, targets) in zip(written, sentences, strict=True)]
        references = [rest(pair[1], targets) for pair, targets in sentences]
        row[f"terms there {name} a glossary, %"] = round(100 * kept / len(texts), 1)
        row[f"chrF of the rest {name} it"] = round(score(bare, references, languages[1]).chrf, 1)
    return row
