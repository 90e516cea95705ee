"""What the tests of `service/` share: a real vocabulary, trained on a few sentences."""

from __future__ import annotations

import os

import pytest
from fastapi import FastAPI

from model.vocabulary import Vocabulary, train_vocabulary
from tests.service.fakes import FakeLoader, make_app

SENTENCES = (
    "我爱你。", "你爱我。", "今天天气很好。", "我喜欢咖啡，你喜欢茶。", "明天开会吗？", "他说她没来。", "好！",
    "I love you.", "You love me.", "The weather is nice today.", "I like coffee, you like tea.", "Do we meet tomorrow?",
    "Je suis étudiant.", "Tu m'aimes.", "Il fait beau aujourd'hui.", "J'aime le café et le thé.", "À demain ?",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests decide the settings, not the shell they run in."""
    for name in [name for name in os.environ if name.startswith("ATTEND_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.spm"
    return train_vocabulary(SENTENCES, path, size=340, languages=["en", "fr", "zh"])


@pytest.fixture
def loader(vocabulary: Vocabulary) -> FakeLoader:
    return FakeLoader(vocabulary)


@pytest.fixture
def app(loader: FakeLoader) -> FastAPI:
    return make_app(loader)
