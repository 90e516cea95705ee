"""Words whose arguments other rooms read: `attend train ...` is `python -m model train ...`, and so on.

Each has one parser, its own; here is only said whose it is, and what a shell may complete.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem


class _Room(NamedTuple):
    """A package with commands of its own, in a module that is imported when one of them is called."""

    module: str
    """It has `main` and `parser_for`."""
    parser_takes_arguments: bool = False
    """Whether the parser depends on which command is called."""
    names: Mapping[str, str] = {"prog": "attend"}
    """What the commands are called here."""

    def run(self, arguments: Sequence[str]) -> int:
        """Run a command; returns its exit status."""
        status: int = importlib.import_module(self.module).main(arguments, **self.names)
        return status

    def parser(self, arguments: Sequence[str]) -> argparse.ArgumentParser:
        """The parser of its commands."""
        make = importlib.import_module(self.module).parser_for
        first = (arguments,) if self.parser_takes_arguments else ()
        parser: argparse.ArgumentParser = make(*first, **self.names)
        return parser


class _Training(_Room):
    """Training starts other processes and needs settings of the allocator: it takes the place of this process."""

    def run(self, arguments: Sequence[str]) -> int:
        """See `_Room`."""
        self.parser(arguments).parse_args(arguments)  # what is wrong is said by the name that was called
        if arguments[0] != "train":
            return super().run(arguments)
        importlib.import_module("torch")  # to say in one sentence that it is missing
        # -P: a folder named `model` in the current directory is none of ours.
        os.execv(sys.executable, [sys.executable, "-P", "-m", "model", *arguments])


class PassedCommand(click.Command):
    """A command whose arguments, `--help` too, go to the parser of its room."""

    def __init__(self, word: str, says: str, room: _Room) -> None:
        super().__init__(
            word,
            help=says,
            add_help_option=False,
            context_settings={
                "ignore_unknown_options": True,
                "allow_extra_args": True,
                "allow_interspersed_args": False,
            },
        )
        self._room, self._word = room, word

    def invoke(self, ctx: click.Context) -> int:
        """Run the room's command."""
        try:
            return self._room.run([self._word, *ctx.args])
        except SystemExit as error:  # argparse has told what is wrong, or helped
            return error.code if isinstance(error.code, int) else 1

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Its options and the words below it; else files."""
        parser = _inner(self._room.parser([self._word]), self._word)
        for given in ctx.args:
            parser = _inner(parser, given) or parser if parser else None
        names = _names(parser) if parser else []
        found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return found if found and incomplete.startswith("-") else [*found, CompletionItem(incomplete, type="file")]


def _inner(parser: argparse.ArgumentParser, word: str) -> argparse.ArgumentParser | None:
    """The parser below a parser for this word."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found: argparse.ArgumentParser | None = action.choices.get(word)
            return found
    return None


def _names(parser: argparse.ArgumentParser) -> list[str]:
    """The options of a parser and the words below it."""
    words = [
        word for action in parser._actions if isinstance(action, argparse._SubParsersAction) for word in action.choices
    ]
    return words + [name for action in parser._actions for name in action.option_strings]


_SERVICE = _Room("service.__main__", parser_takes_arguments=True)
_EXPORT = _Room("export.__main__", names={"prog": "attend", "own_word": "export"})
_MODEL = _Training("model.__main__")

commands = {
    "settings": PassedCommand("settings", "Print every setting, as docs/settings.md has them.", _SERVICE),
    "metrics": PassedCommand("metrics", "Print every metric, as docs/metrics.md has them.", _SERVICE),
    "keys": PassedCommand("keys", "Who may use the service: add, list or revoke keys.", _SERVICE),
    "import": PassedCommand(
        "import", "Make a bundle of another system's network: OPUS-MT, NLLB, Marian, Argos.", _EXPORT
    ),
    "export": PassedCommand("export", "Make a verified bundle of a checkpoint of your own.", _EXPORT),
    "inspect": PassedCommand(
        "inspect", "Say what a folder or file holds, and whether it can be served or imported.", _EXPORT
    ),
    "evaluate": PassedCommand("evaluate", "Score a bundle on line-aligned files: BLEU and chrF.", _SERVICE),
    "align-eval": PassedCommand("align-eval", "Measure and choose alignments against gold links.", _SERVICE),
    "attention": PassedCommand("attention", "Draw where the model looks as it translates a sentence.", _SERVICE),
    "vocabulary": PassedCommand("vocabulary", "Train the vocabulary of a recipe, before its model.", _MODEL),
    "train": PassedCommand("train", "Train the model of a recipe, or go on with it.", _MODEL),
}
