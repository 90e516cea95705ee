"""A training recipe: one TOML file that says everything a run depends on except where the data lies."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.augmentation import Shares
from model.config import ModelConfig
from model.corpus import Pair, read_aligned, read_tsv
from model.errors import CheckpointError, RecipeError
from model.glosses import with_first_gloss

Direction = Annotated[str, Field(pattern=r"^[a-z]{2,3}-[a-z]{2,3}$")]
"""Source and target language, e.g. `zh-en`."""
Share = Annotated[float, Field(ge=0, le=1)]
"""Share of the readings of a text that are changed in some way."""


def split_direction(direction: str) -> tuple[str, str]:
    """`zh-en` -> (`zh`, `en`).

    Raises:
        RecipeError: `direction` has another form.
    """
    source, separator, target = direction.partition("-")
    if not (source and separator and target) or "-" in target:
        raise RecipeError(f"direction {direction!r}: write it as source-target, e.g. zh-en")
    return source, target


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ParallelFiles(_Section):
    """One parallel text: either a TSV file and its columns' languages, or one file a language."""

    path: str | None = None
    columns: tuple[str, ...] = ()
    files: dict[str, str] = {}
    directions: tuple[Direction, ...] = Field(min_length=1)
    glosses: bool = False
    """Whether the target column lists several meanings, as a dictionary does; the first short one is taken."""

    @model_validator(mode="after")
    def _one_kind(self) -> ParallelFiles:
        if (self.path is None) == (not self.files):
            raise ValueError("give either path and columns (TSV) or files (line-aligned)")
        languages = set(self.columns) if self.path is not None else set(self.files)
        for direction in self.directions:
            missing = set(split_direction(direction)) - languages
            if missing:
                raise ValueError(f"direction {direction}: no column or file for language {sorted(missing)[0]!r}")
        return self

    @property
    def name(self) -> str:
        """What to call it in logs."""
        return self.path or " + ".join(self.files.values())


class TrainingFiles(ParallelFiles):
    """A training text and how often an epoch sees it."""

    passes: float = Field(1.0, gt=0)
    """Times the text is read in one epoch, e.g. 0.5: one half, then the other."""
    keep_held_out: bool = False
    """Whether pairs stay that a held-out text of the recipe has, such as "Yes."; such lines are then not scored."""
    vocabulary_sentences: int | None = Field(None, ge=0)
    """Most pairs of this text that the vocabulary learns from; None: `vocabulary.sentences_per_file`."""
    concatenated: Share = 0.0
    renumbered: Share = 0.0
    unmarked: Share = 0.0
    lowered: Share = 0.0
    titled: Share = 0.0
    capitals: Share = 0.0
    misspelt: Share = 0.0
    carried: Share = 0.0

    @property
    def shares(self) -> Shares:
        """What is changed in how many readings."""
        return Shares(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Shares)})


class ValidationFiles(ParallelFiles):
    """A held-out text, scored during training on its first `limit` lines."""

    limit: int = Field(500, ge=1)


class VocabularySection(_Section):
    """How the vocabulary is trained: pieces, coverage, at most how many sentences of a file, tags kept for later."""

    size: int = Field(10_000, ge=300)
    character_coverage: float = Field(0.9998, gt=0.9, le=1.0)
    sentences_per_file: int = Field(100_000, ge=1)
    reserved_languages: tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], ...] = ()


class TrainingSection(_Section):
    """Optimiser, budget and reporting."""

    batch_tokens: int = Field(4096, ge=16)
    """Most padded tokens of a batch, on the longer side."""
    longest: int = Field(128, ge=4)
    """Pairs with a longer side, in tokens, are left out (and counted in the log)."""
    optimizer: Literal["adam", "muon"] = "adam"
    """Muon is for the matrices of the layers; the rest has Adam either way."""
    max_steps: int = Field(10_000, ge=1)
    schedule: Literal["paper", "constant"] = "paper"
    warmup_steps: int = Field(1000, ge=1)
    cooldown_steps: int = Field(0, ge=0)
    learning_rate: float = Field(2e-3, gt=0)
    """The rate of schedule "constant"."""
    learning_rate_factor: float = Field(1.0, gt=0)
    """Multiplies the rate of schedule "paper"."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    sampled_words: int = Field(0, ge=0)
    """Words that are no label of the batch which the softmax of a step sees, drawn anew each time; 0: all."""
    gradient_clip: float = Field(1.0, gt=0)
    checkpoint_every: int = Field(250, ge=1)
    average_last: int = Field(5, ge=1)
    validate_every: int = Field(1000, ge=1)
    log_every: int = Field(20, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile_loss: bool = True

    @model_validator(mode="after")
    def _longest_fits(self) -> TrainingSection:
        if self.longest > self.batch_tokens:
            raise ValueError(f"longest ({self.longest}) must not exceed batch_tokens ({self.batch_tokens})")
        return self


class Recipe(_Section):
    """The whole file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = 1
    model: dict[str, Any] = {}
    vocabulary: VocabularySection = VocabularySection()
    training: TrainingSection = TrainingSection()
    data: tuple[TrainingFiles, ...] = Field(min_length=1)
    validation: tuple[ValidationFiles, ...] = ()
    test: tuple[ParallelFiles, ...] = ()
    """Texts that the model's card reports scores on, which no training text may hold."""

    @model_validator(mode="after")
    def _architecture_fits(self) -> Recipe:
        try:
            config = self.config_for(self.vocabulary.size)
        except CheckpointError as error:
            raise ValueError(str(error)) from error
        if self.training.longest > config.max_positions:
            longest, most = self.training.longest, config.max_positions
            raise ValueError(f"training.longest ({longest}) must not exceed model.max_positions ({most})")
        return self

    def config_for(self, vocabulary_size: int) -> ModelConfig:
        """The architecture that section [model] describes.

        Raises:
            CheckpointError: a field of it is unknown or out of range.
        """
        return ModelConfig.from_dict({**self.model, "vocabulary_size": vocabulary_size})

    @property
    def directions(self) -> tuple[str, ...]:
        """Every direction that is trained, in order of first mention."""
        return tuple(dict.fromkeys(direction for files in self.data for direction in files.directions))

    @property
    def language_pairs(self) -> tuple[str, ...]:
        """Every two languages that are trained, by the direction of first mention."""
        first = {frozenset(split_direction(direction)): direction for direction in reversed(self.directions)}
        return tuple(direction for direction in self.directions if direction in first.values())

    @property
    def target_languages(self) -> tuple[str, ...]:
        """Languages that need a tag."""
        return tuple(sorted({split_direction(direction)[1] for direction in self.directions}))


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        RecipeError: missing file, broken TOML, or a field that is unknown or out of range.
    """
    if not path.is_file():
        raise RecipeError(f"{path}: no such recipe; see model/recipes/ for examples")
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not a TOML file: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = "unknown field" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        found = f" (found {first['input']!r})" if isinstance(first["input"], str | int | float) else ""
        raise RecipeError(
            f"{path}: {where or 'recipe'}: {what}{found}; model/recipes/README.md lists the fields"
        ) from error


def read_pairs(files: ParallelFiles, direction: str, root: Path) -> list[Pair]:
    """(source, target) pairs of one direction.

    Raises:
        DataError: a file or line cannot be used.
    """
    pairs = _read_pairs(files, direction, root)
    return list(with_first_gloss(pairs)) if files.glosses else pairs


def _read_pairs(files: ParallelFiles, direction: str, root: Path) -> list[Pair]:
    source, target = split_direction(direction)
    if files.path is not None:
        return read_tsv(root / files.path, files.columns.index(source), files.columns.index(target))
    return read_aligned(root / files.files[source], root / files.files[target])
