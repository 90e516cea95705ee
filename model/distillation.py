"""Sequence-level knowledge distillation (Kim & Rush 2016): a network learns from what a larger one writes.

The teacher translates the training sources with beam search; the student's recipe is the same with these texts in place
of people's. They are simpler to learn: one translation of a sentence, and always in the same words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from model.checkpoint import Checkpoint
from model.errors import CheckpointError
from model.preparation import read_texts
from model.progress import Progress
from model.recipe import Recipe, TrainingFiles
from model.translation import translate_with_beam

RECIPE_FILE = "recipe.toml"
_REPORT_EVERY = 20


def distil(
    recipe: Recipe,
    root: Path,
    teacher: Checkpoint,
    out: Path,
    *,
    beam_size: int = 5,
    length_penalty: float = 1.0,
    limit: int | None = None,
) -> Path:
    """Translate every training text of a recipe; an interrupted call goes on where it stopped.

    `limit`: the first so many pairs of each text and direction.

    Returns:
        The recipe to train the student with: this one, with the teacher's translations.

    Raises:
        CheckpointError: the teacher does not translate a direction of the recipe.
        DataError: a file or line of the recipe cannot be used.
    """
    missing = [direction for direction in recipe.directions if direction not in teacher.directions]
    if missing:
        known = ", ".join(teacher.directions)
        raise CheckpointError(f"{teacher.name}: does not translate {missing[0]}, only {known}; choose another teacher")
    out.mkdir(parents=True, exist_ok=True)
    entries = [(files, direction) for files in recipe.data for direction in files.directions]
    sections = []
    for number, ((files, direction), text) in enumerate(zip(entries, read_texts(recipe, root), strict=True)):
        path = out / f"{number:02d}-{direction}.tsv"
        sources = [source for source, _ in text.pairs[:limit]]
        if not path.exists():
            search = {"beam_size": beam_size, "length_penalty": length_penalty}
            _write_translations(path, sources, teacher, text.languages[1], search)
        sections.append(_distilled(files, path, text.languages))
    student = recipe.model_copy(update={"data": tuple(sections)})
    result = out / RECIPE_FILE
    result.write_text(to_toml(student.model_dump(mode="json", exclude_defaults=True)), encoding="utf-8")
    return result


def _distilled(files: TrainingFiles, path: Path, languages: tuple[str, str]) -> TrainingFiles:
    """The entry of the teacher's translations: read as often, and changed as much, as the one they stand for."""
    changes = {
        "path": str(path.resolve()), "columns": languages, "files": {}, "directions": ("-".join(languages),),
        "glosses": False,
    }  # fmt: skip
    return TrainingFiles.model_validate({**files.model_dump(), **changes})


def _write_translations(
    path: Path, sources: Sequence[str], teacher: Checkpoint, target_language: str, search: Mapping[str, Any]
) -> None:
    """Lines of source and translation; the file appears when it is whole. Sources that become nothing are left out."""
    scratch = path.with_suffix(".partial")
    done = list(_whole_lines(scratch))
    scratch.write_text("".join(done), encoding="utf-8")
    progress = Progress(len(sources), len(done), quiet=False)
    with scratch.open("a", encoding="utf-8") as file:
        for place, source in enumerate(sources[len(done) :], start=len(done) + 1):
            translation = translate_with_beam(teacher.model, teacher.vocabulary, source, target_language, **search)
            file.write(f"{source}\t{' '.join(translation.split())}\n")
            if place % _REPORT_EVERY == 0:
                file.flush()
                progress.update(place, 0, path.name)
    progress.close()
    kept = [line for line in _whole_lines(scratch) if line.partition("\t")[2].strip()]
    scratch.write_text("".join(kept), encoding="utf-8")
    scratch.replace(path)


def _whole_lines(path: Path) -> Iterator[str]:
    """The last line of a killed process may end anywhere."""
    if path.exists():
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            yield from (line for line in file if line.endswith("\n"))


def to_toml(values: Mapping[str, Any]) -> str:
    """A recipe's values as TOML: plain ones, tables of them, and arrays of tables."""
    lines, tables = [], []
    for name, value in values.items():
        if isinstance(value, dict):
            tables.append(f"\n[{name}]\n{_assignments(value)}")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            tables += [f"\n[[{name}]]\n{_assignments(each)}" for each in value]
        else:
            lines.append(f"{name} = {_toml_value(value)}\n")
    return "".join((*lines, *tables))


def _assignments(values: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {_toml_value(value)}\n" for name, value in values.items() if value is not None)


def _toml_value(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml_value(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    # JSON's strings, numbers and truth values are TOML's too.
    return json.dumps(value, ensure_ascii=False)
