"""What the tests of `model/` share: the demo's text and a vocabulary trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model.corpus import Pair, read_tsv
from model.vocabulary import Vocabulary, train_vocabulary

RECIPES = Path(__file__).parents[2] / "model" / "recipes"
DEMO_DATA = RECIPES / "demo-data"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and bitwise comparisons want the same kernels everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def demo_pairs() -> list[Pair]:
    """(French, English)."""
    return read_tsv(DEMO_DATA / "tatoeba.tsv.gz", 1, 0)


@pytest.fixture(scope="session")
def vocabulary_path(demo_pairs: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.spm"
    sentences = [sentence for pair in demo_pairs[:1000] for sentence in pair]
    train_vocabulary(sentences, path, size=400, languages=["en", "fr"])
    return path


@pytest.fixture(scope="session")
def vocabulary(vocabulary_path: Path) -> Vocabulary:
    return Vocabulary.load(vocabulary_path)
