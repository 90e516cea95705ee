"""The command `attend`. Each of its words is a module that is imported when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from attend.cli.words import NobodyReadsError, Words
from attend.errors import AttendError, PackagesError, UnavailableError
from attend.packages import check_packages

WORDS = {
    "serve": "attend.cli.serve",
    "translate": "attend.cli.translate",
    "doctor": "attend.cli.doctor",
    "completion": "attend.cli.completion",
    **dict.fromkeys(("settings", "metrics", "keys"), "attend.cli.passed"),
    **dict.fromkeys(("import", "export", "inspect"), "attend.cli.passed"),
    **dict.fromkeys(("evaluate", "align-eval", "attention"), "attend.cli.passed"),
    **dict.fromkeys(("vocabulary", "train"), "attend.cli.passed"),
}
"""The module of each word: it has `commands`, by word."""


@click.command(
    cls=Words,
    words=WORDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`attend WORD --help` tells of one of them. Exit status: 0 done, 1 not all done, 2 asked for something "
    "impossible.",
)
@click.version_option(package_name="attend", message="%(package)s %(version)s")
def cli() -> None:
    """Translate with a Transformer of your own: as a service, from the terminal, whole corpora."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. What a person can mend is one sentence on standard error."""
    try:
        check_packages()
    except PackagesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from model.commands import exit_status  # not at the top: `model` may be a package of others

    return exit_status(lambda: _run(arguments), AttendError)


def _run(arguments: Sequence[str] | None) -> int:
    from model.commands import FAILED, INTERRUPTED, OK

    try:
        return cli.main(args=arguments, prog_name="attend", standalone_mode=False) or OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except NobodyReadsError as error:
        raise BrokenPipeError from error
    except UnavailableError as error:
        click.echo(f"error: {error}", err=True)
        return FAILED
