"""Terms that a caller or the service wants translated in one way, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from service.glossaries import GlossaryError, read_glossaries
from service.text.terms import Terms
from tests.service.fakes import FakeLoader, make_app, translate

TEXT = {"q": "I love the Big House and coffee.", "source": "en", "target": "fr"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"glossary": [{"source": "big house", "target": "manoir"}]}, "I love the manoir and coffee."),
        ({"glossary": [{"source": "house", "target": "maison"}, {"source": "big house", "target": "manoir"}]},
         "I love the manoir and coffee."),
        ({"glossary": [{"source": "BIG", "target": "x"}]}, "I love the Big House and coffee."),
        ({"glossary": [{"source": "cof", "target": "x"}]}, "I love the Big House and coffee."),
        ({"do_not_translate": ["Big House"]}, "I love the Big House and coffee."),
    ],
)  # fmt: skip
def test_terms_of_a_request(app: FastAPI, fields: dict[str, Any], expected: str) -> None:
    assert translate(app, TEXT | fields).json() == {"translatedText": expected}


def test_a_glossary_of_the_service(loader: FakeLoader, tmp_path: Path) -> None:
    (tmp_path / "shop.tsv").write_text("# our words\nbig house\tmanoir\n\ncoffee\tcafé\n", encoding="utf-8")
    app = make_app(loader, glossaries=tmp_path)
    assert translate(app, TEXT | {"glossary": "shop"}).json() == {"translatedText": "I love the manoir and café."}
    reply = translate(app, TEXT | {"glossary": "other"})
    assert (reply.status_code, reply.json()) == (422, {"error": "there is no glossary 'other'; there is shop"})


@pytest.mark.parametrize("line", ["one column", "\tno term"])
def test_a_bad_glossary_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "bad.tsv").write_text(f"a\tb\n{line}\n", encoding="utf-8")
    with pytest.raises(GlossaryError, match="line 2: a term, a tab and its translation are expected"):
        read_glossaries(tmp_path)
    with pytest.raises(GlossaryError, match="is no directory"):
        read_glossaries(tmp_path / "none")


@pytest.mark.parametrize("glossary", [5, [{"source": "", "target": "a"}], [{"source": "a"}], ["a"]])
def test_what_is_no_glossary_is_refused(app: FastAPI, glossary: Any) -> None:
    reply = translate(app, TEXT | {"glossary": glossary})
    assert reply.status_code == 422
    assert reply.json()["error"].startswith("glossary must be")


def test_chinese_terms_need_no_ends_of_words() -> None:
    terms = Terms({"苹果": "Apple"})
    assert [(span.start, span.end, span.kind) for span in terms.spans("我吃苹果派")] == [(2, 4, "term")]
