"""`attend doctor`: what this machine and a bundle can do, and what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import click

_MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "problem": ("PROBLEM", "red")}


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@click.option("--no-trial", is_flag=True, help="Do not load the bundle and translate with it.")
def doctor(bundle: Path | None, as_json: bool, no_trial: bool) -> int:
    """Say what this machine can do with a BUNDLE, by default the one that would be served, and what is wrong.

    Exit status 1 if anything is.
    """
    from attend.checks import findings

    has_problem = False
    for found in findings(bundle, tries=not no_trial):
        has_problem |= found.level == "problem"
        if as_json:
            click.echo(json.dumps(found._asdict(), ensure_ascii=False))
        else:
            mark, colour = _MARKS[found.level]
            click.echo(f"{click.style(f'{mark:8}', fg=colour)} {found.subject:9} {found.says}")
    return 1 if has_problem else 0


commands = {"doctor": doctor}
