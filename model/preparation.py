"""From a recipe and a folder of data to what training needs: a vocabulary, texts, validation sets."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from model.batches import Epoch, TrainingText
from model.corpus import Pair
from model.errors import VocabularyError
from model.leaks import held_out_sentences, without_leaks
from model.recipe import Recipe, TrainingFiles, read_pairs, split_direction
from model.validation import ValidationSet
from model.vocabulary import Vocabulary, train_vocabulary


def build_vocabulary(recipe: Recipe, root: Path, path: Path) -> Vocabulary:
    """Train the recipe's vocabulary on a sample of each of its [[data]] entries and write it to `path`."""
    section = recipe.vocabulary
    return train_vocabulary(
        _vocabulary_sentences(recipe, root),
        path,
        size=section.size,
        languages=tagged_languages(recipe),
        character_coverage=section.character_coverage,
        seed=recipe.seed,
    )


def tagged_languages(recipe: Recipe) -> list[str]:
    """Languages that the recipe's vocabulary has a tag for: its targets, and those it keeps for later."""
    return sorted({*recipe.target_languages, *recipe.vocabulary.reserved_languages})


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
        most = files.vocabulary_sentences
        most = recipe.vocabulary.sentences_per_file if most is None else most
        for source, target in rng.sample(pairs, min(len(pairs), most)):
            yield source
            yield target


def read_texts(recipe: Recipe, root: Path) -> list[TrainingText]:
    """Every direction of every training text, without the pairs that a held-out text of the recipe has.

    Raises:
        DataError: a file or line cannot be used.
    """
    held_out = held_out_sentences(recipe, root)
    return [text for files in recipe.data for text in _read_directions(files, root, held_out)]


def _read_directions(files: TrainingFiles, root: Path, held_out: frozenset[str]) -> Iterator[TrainingText]:
    read: dict[tuple[str, str], list[Pair]] = {}
    for direction in files.directions:
        source, target = split_direction(direction)
        if (target, source) in read:
            pairs = [(theirs, ours) for ours, theirs in read[target, source]]
        else:
            pairs = read_pairs(files, direction, root)
            pairs = pairs if files.keep_held_out else without_leaks(pairs, (source, target), held_out)
        read[source, target] = pairs
        yield TrainingText(f"{direction} {files.name}", (source, target), pairs, files.passes, files.shares)


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


def sample_as_read(recipe: Recipe, root: Path, direction: str, most: int) -> list[Pair]:
    """Training pairs of two languages, at most about `most`, each text by how much of it an epoch reads.

    Dictionaries and texts of single words and labels are left out.
    """
    languages = set(split_direction(direction))
    texts = {
        files.name: files
        for files in recipe.data
        for each in files.directions
        if set(split_direction(each)) == languages and not files.keep_held_out
    }
    read = [(files.passes, read_pairs(files, direction, root)) for files in texts.values()]
    scale = most / sum(passes * len(pairs) for passes, pairs in read)
    rng = random.Random(recipe.seed)
    return [pair for passes, pairs in read for pair in rng.sample(pairs, int(min(1.0, scale * passes) * len(pairs)))]


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


def describe(epoch: Epoch) -> list[str]:
    """One line a text of what an epoch reads: pairs, target tokens, and its share of the epoch."""
    total = sum(text.target_tokens for text in epoch.texts)
    return [
        f"{text.name}: {text.read:,} pairs ({text.read - len(text.source):,} too long), "
        f"{text.target_tokens:,} target tokens = {text.target_tokens / total:.1%} of an epoch of {total:,}"
        for text in epoch.texts
    ]
