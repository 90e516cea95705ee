"""The command `attend`. Each of its words is a module that is imported when it is called."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import click

from attend.cli.words import Words
from attend.errors import AttendError, UnavailableError
from attend.packages import check_packages

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: done; not done, or not all of it; asked for something impossible; stopped with Ctrl-C."""

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
        return cli.main(args=arguments, prog_name="attend", standalone_mode=False) or OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except UnavailableError as error:
        return _said(str(error), FAILED)
    except AttendError as error:
        return _said(str(error), BAD_INPUT)
    except OSError as error:
        return _said(
            f"{error.filename or 'a file'}: {error.strerror or error}", FAILED if _is_full(error) else BAD_INPUT
        )


def _is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def _said(sentence: str, status: int) -> int:
    click.echo(f"error: {sentence}", err=True)
    return status
