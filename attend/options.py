"""How texts are translated: the fields of `POST /translate`, as keyword arguments of translators and clients."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

Format = Literal["text", "html", "xml", "markdown"]
Glossary = Mapping[str, str] | str | os.PathLike[str]
"""Terms with their translations, or the path of a file with a term, a tab and its translation in each line. For a
client a string is the name of a glossary of the service."""


class SearchOptions(TypedDict, total=False):
    """Those that documents have too; all of them may be left out."""

    beam_size: int
    """1 (greedy, fastest) to 8; default 4."""
    glossary: Glossary
    do_not_translate: Sequence[str]
    """Terms that come back as they are."""
    model: str
    """The only model that may be used: `fr-en`, or `fr-en@2` for one version."""
    length_penalty: float
    """0 to 5; translations are ranked by log-probability / length^penalty."""
    repetition_penalty: float
    no_repeat_ngram_size: int
    min_output_tokens: int
    max_output_tokens: int
    strict: bool
    """A text of which a sentence was cut at its length limit is an error."""


class Options(SearchOptions, total=False):
    """Those of texts; all of them may be left out."""

    alternatives: int
    """How many further translations of each text, at most 7."""
    format: Format
    html_attributes: bool
    """With `html`: values such as those of `alt` and `title` are translated too."""
    target_prefix: str
    """What the translation of each text's first sentence begins with."""
    details: bool
    """Tell how each sentence was translated: `Translation.segments`."""
    alignment: bool
    attention: bool | Mapping[str, Any]


def check_names(options: Mapping[str, object], known: type = Options) -> None:
    """Refuse unknown keyword arguments as Python itself does.

    Raises:
        TypeError: there is one.
    """
    for name in options:
        if name not in known.__annotations__:
            raise TypeError(f"an unexpected keyword argument '{name}' was given")
