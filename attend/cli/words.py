"""A group of commands, each imported when it is called: `--help` and completion stay fast."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class NobodyReadsError(Exception):
    """Who reads what is written has gone, as behind `| head`. click would make a failure of a `BrokenPipeError`."""


class Words(click.Group):
    """The words of `attend`."""

    def __init__(self, *, words: Mapping[str, str], **how: Any) -> None:
        """`words`: the module of each, which has `commands` by word."""
        super().__init__(**how)
        self._words = words

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All words, in their order."""
        return list(self._words)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a word; None if there is no such word."""
        if cmd_name not in self._words:
            return None
        commands: Mapping[str, click.Command] = importlib.import_module(self._words[cmd_name]).commands
        return commands[cmd_name]

    def invoke(self, ctx: click.Context) -> Any:
        """As its parent does.

        Raises:
            NobodyReadsError: where a command meets a closed pipe.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise NobodyReadsError from error
