"""`attend serve`: the REST service."""

from __future__ import annotations

import os
from pathlib import Path

import click

_VARIABLES = {
    "bundle": "ATTEND_BUNDLE",
    "models": "ATTEND_MODELS",
    "host": "ATTEND_HOST",
    "port": "ATTEND_PORT",
    "device": "ATTEND_DEVICE",
    "sessions": "ATTEND_SESSIONS",
}


@click.command(epilog="Every other setting is a variable of the environment; `attend settings` lists them.")
@click.argument("bundle", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--models", type=click.Path(exists=True, file_okay=False), help="Directory of bundles, served together.")
@click.option("--host", help="Address to listen on; default 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; default 8000.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model runs.")
@click.option("--sessions", type=click.IntRange(0, 64), help="Engines; default: one a core, at most 8.")
@click.pass_context
def serve(ctx: click.Context, /, **options: object) -> int:
    """Serve the BUNDLE in a directory over REST; by default the shipped one.

    An option goes before the variable of the environment that says the same.
    """
    if options["bundle"] is not None and options["models"] is not None:
        raise click.UsageError("BUNDLE and --models cannot both be given")
    for name, value in options.items():
        if value is not None:
            os.environ[_VARIABLES[name]] = str(value)
    if options["bundle"] is not None:
        os.environ.pop("ATTEND_MODELS", None)
    from service.__main__ import main

    return main(["serve"], prog="attend")


commands = {"serve": serve}
