"""`python -m service`: serve a bundle, or score one."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Sequence

import uvicorn

from model.bundle import read_manifest
from model.errors import ModelError
from service.app import create_app
from service.settings import Settings, SettingsError, load_settings

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT = 0, 1, 2


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status."""
    try:
        options = _parser(arguments).parse_args(arguments)
        options.run_command(options)
    except (ModelError, SettingsError) as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    return EXIT_OK


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service", description="Translate over REST.")
    parser.set_defaults(run_command=_serve)
    commands = parser.add_subparsers(title="commands")
    serve = commands.add_parser("serve", help="serve a bundle (default); every setting is an ATTEND_* variable")
    serve.set_defaults(run_command=_serve)
    if arguments[:1] == ["evaluate"]:
        # Only now: it needs packages that serving does not.
        from service.evaluate import add_evaluate_command

        add_evaluate_command(commands)
    else:
        commands.add_parser("evaluate", help="score a bundle on line-aligned files")
    return parser


def _serve(options: argparse.Namespace) -> None:
    settings = load_settings()
    # A wrong path is worth a sentence now; what only loading can find is logged when it is found.
    read_manifest(settings.bundle)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _run(settings)


def _run(settings: Settings) -> None:
    loaded = True

    def stop() -> None:
        nonlocal loaded
        loaded = False
        server.should_exit = True

    app = create_app(settings, on_failure=stop)
    config = uvicorn.Config(
        app, host=settings.host, port=settings.port, log_level=settings.log_level, access_log=False, lifespan="on"
    )
    server = uvicorn.Server(config)
    # After its own graceful shutdown uvicorn raises the signal again, which for Ctrl-C is this.
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not loaded:
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
