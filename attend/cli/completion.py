"""`attend completion`: the script that lets a shell complete `attend`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what lets SHELL complete `attend`.

    \b
    bash: attend completion bash > ~/.local/share/bash-completion/completions/attend
    zsh:  attend completion zsh > a file `_attend` in a folder of $fpath
    fish: attend completion fish > ~/.config/fish/completions/attend.fish
    """
    from attend.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "attend", "_ATTEND_COMPLETE").source())


commands = {"completion": completion}
