"""From a recipe and a folder of data to what training needs: a vocabulary, encoded corpora, validation sets."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from model.augmentation import augmented
from model.batches import EncodedCorpus, Ragged
from model.corpus import Pair, read_aligned, read_tsv, sentence_separator
from model.errors import DataError, VocabularyError
from model.recipe import ParallelFiles, Recipe, TrainingFiles, split_direction
from model.validation import ValidationSet
from model.vocabulary import EOS_ID, Vocabulary, train_vocabulary


def read_pairs(files: ParallelFiles, direction: str, root: Path) -> list[Pair]:
    """(source, target) pairs of one direction.

    Raises:
        DataError: a file or line cannot be used.
    """
    source, target = split_direction(direction)
    if files.path is not None:
        return read_tsv(root / files.path, files.columns.index(source), files.columns.index(target))
    return read_aligned(root / files.files[source], root / files.files[target])


def build_vocabulary(recipe: Recipe, root: Path, path: Path) -> Vocabulary:
    """Train the recipe's vocabulary on a sample of each of its [[data]] entries and write it to `path`."""
    section = recipe.vocabulary
    return train_vocabulary(
        _vocabulary_sentences(recipe, root),
        path,
        size=section.size,
        languages=recipe.target_languages,
        character_coverage=section.character_coverage,
        seed=recipe.seed,
    )


def load_vocabulary(recipe: Recipe, path: Path) -> Vocabulary:
    """The vocabulary in `path`, if it is one the recipe can be trained with.

    Raises:
        VocabularyError: it is missing or damaged, has another size, or lacks the tag of a target language.
    """
    vocabulary = Vocabulary.load(path)
    advice = f"train one that fits with: python -m model vocabulary RECIPE --out {path}"
    if len(vocabulary) != recipe.vocabulary.size:
        raise VocabularyError(f"{path}: {len(vocabulary)} pieces, the recipe says {recipe.vocabulary.size}; {advice}")
    missing = sorted(set(recipe.target_languages) - set(vocabulary.languages))
    if missing:
        raise VocabularyError(
            f"{path}: no tag for target language {missing[0]!r}, only for {', '.join(vocabulary.languages)}; {advice}"
        )
    return vocabulary


def _vocabulary_sentences(recipe: Recipe, root: Path) -> Iterator[str]:
    rng = random.Random(recipe.seed)
    for files in recipe.data:
        pairs = read_pairs(files, files.directions[0], root)
        for source, target in rng.sample(pairs, min(len(pairs), recipe.vocabulary.sentences_per_file)):
            yield source
            yield target


def encode_corpora(recipe: Recipe, root: Path, vocabulary: Vocabulary) -> tuple[list[EncodedCorpus], int]:
    """Every direction of every training text as ids, and the number of pairs left out as too long.

    Raises:
        VocabularyError: the vocabulary lacks the tag of a target language.
        DataError: a file or line cannot be used.
    """
    corpora, dropped = [], 0
    for files in recipe.data:
        for direction in files.directions:
            corpus, too_long = _encode(files, direction, root, vocabulary, recipe)
            corpora.append(corpus)
            dropped += too_long
    return corpora, dropped


def _encode(
    files: TrainingFiles, direction: str, root: Path, vocabulary: Vocabulary, recipe: Recipe
) -> tuple[EncodedCorpus, int]:
    source_language, target_language = split_direction(direction)
    tag = vocabulary.tag_id(target_language)
    pairs = augmented(
        read_pairs(files, direction, root),
        unmarked=files.unmarked,
        concatenated=files.concatenated,
        lowered=files.lowered,
        misspelt=files.misspelt,
        renumbered=files.renumbered,
        separators=(sentence_separator(source_language), sentence_separator(target_language)),
        seed=recipe.seed,
    )
    sources = [[tag, *ids, EOS_ID] for ids in vocabulary.encode_batch([source for source, _ in pairs])]
    targets = vocabulary.encode_batch([target for _, target in pairs])
    longest = recipe.training.longest
    kept = [i for i in range(len(pairs)) if len(sources[i]) <= longest and len(targets[i]) < longest]
    corpus = EncodedCorpus(
        name=f"{direction} {files.name}",
        source=Ragged.of([sources[i] for i in kept]),
        target=Ragged.of([targets[i] for i in kept]),
        passes=files.passes,
    )
    return corpus, len(pairs) - len(kept)


def sample_pairs(
    recipe: Recipe, root: Path, vocabulary: Vocabulary, target_language: str, most: int
) -> list[tuple[list[int], list[int]]]:
    """Pieces (source, target) of at most `most` training pairs into one language, each text by its share of them."""
    texts = [
        read_pairs(files, direction, root)
        for files in recipe.data
        for direction in files.directions
        if split_direction(direction)[1] == target_language
    ]
    return _sample(recipe, vocabulary, texts, most)


def sample_texts(
    recipe: Recipe, root: Path, vocabulary: Vocabulary, direction: str, most: int
) -> list[tuple[list[int], list[int]]]:
    """The same of the training pairs of two languages, whichever way the model learns them: each text once."""
    languages = set(split_direction(direction))
    texts = {
        files.name: files
        for files in recipe.data
        for each in files.directions
        if set(split_direction(each)) == languages
    }
    return _sample(recipe, vocabulary, [read_pairs(files, direction, root) for files in texts.values()], most)


def _sample(
    recipe: Recipe, vocabulary: Vocabulary, texts: Sequence[Sequence[Pair]], most: int
) -> list[tuple[list[int], list[int]]]:
    share = min(1.0, most / sum(map(len, texts)))
    rng = random.Random(recipe.seed)
    pairs = [pair for text in texts for pair in rng.sample(text, round(share * len(text)))]
    sources = vocabulary.encode_batch([source for source, _ in pairs])
    targets = vocabulary.encode_batch([target for _, target in pairs])
    longest = recipe.training.longest
    return [(s, t) for s, t in zip(sources, targets, strict=True) if s and t and max(len(s), len(t)) < longest]


def read_validation(recipe: Recipe, root: Path, vocabulary: Vocabulary) -> list[ValidationSet]:
    """The recipe's held-out sets, one a direction."""
    sets = []
    for files in recipe.validation:
        for direction in files.directions:
            pairs = read_pairs(files, direction, root)[: files.limit]
            name = Path(files.name.split(" + ")[0]).name.split(".")[0]
            sets.append(ValidationSet(name, direction, [p[0] for p in pairs], [p[1] for p in pairs], vocabulary))
    return sets


def describe(corpora: list[EncodedCorpus]) -> list[str]:
    """One line a corpus: pairs, target tokens, and its share of an epoch."""
    tokens = np.array([len(c.target.flat) + len(c.target) for c in corpora])
    shares = tokens * [c.passes for c in corpora]
    if not shares.sum():
        raise DataError("every training pair is too long; raise training.longest")
    return [
        f"{c.name}: {len(c.source):,} pairs, {tokens[i]:,} target tokens, x{c.passes:g} = "
        f"{shares[i] / shares.sum():.1%} of an epoch of {int(shares.sum()):,}"
        for i, c in enumerate(corpora)
    ]
