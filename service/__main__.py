"""`python -m service`: serve a bundle, or score one."""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import sys
from collections.abc import Sequence

from model.bundle import read_manifest
from model.commands import FAILED, OK, Parser, exit_status
from service.access.addresses import is_public
from service.access.keys import UnusableKeysError
from service.access.usage import UsageError
from service.app import create_app
from service.engine.loading import check_runtime
from service.engine.types import DeviceError, EngineLostError
from service.heap import keep_one_heap
from service.logs import configure_logging
from service.metrics import Metrics
from service.server import Server
from service.settings import Settings, SettingsError, load_settings, settings_table
from service.tracing import TracingError

_log = logging.getLogger("attend")

TOOLS = {
    "evaluate": ("tools.evaluate", "score a bundle on line-aligned files"),
    "align-eval": ("tools.align_eval", "measure and choose alignments against gold links"),
    "keys": ("tools.keys", "who may use the service: add, list or revoke keys"),
    "attention": ("tools.attention", "draw where the model looks as it translates a sentence"),
}
"""Module and help of each command beside serving."""


def main(arguments: Sequence[str], prog: str = "python -m service") -> int:
    """Run one command; returns the exit status. `prog` is what its help calls it."""
    mendable = (SettingsError, DeviceError, UnusableKeysError, UsageError, TracingError)
    return exit_status(lambda: _run_command(arguments, prog), *mendable, prefix="")


def _run_command(arguments: Sequence[str], prog: str) -> int:
    options = parser_for(arguments, prog).parse_args(arguments)
    try:
        options.run_command(options)
    except EngineLostError as error:
        print(error, file=sys.stderr)
        return FAILED
    return OK


def parser_for(arguments: Sequence[str], prog: str) -> argparse.ArgumentParser:
    """The parser, with all of the command that the arguments begin with."""
    parser: argparse.ArgumentParser = Parser(prog=prog, description="Translate over REST.")
    parser.set_defaults(run_command=_serve)
    commands = parser.add_subparsers(title="commands")
    serve = commands.add_parser("serve", help="serve a bundle (default); every setting is an ATTEND_* variable")
    serve.set_defaults(run_command=_serve)
    settings = commands.add_parser("settings", help="print every setting, as docs/settings.md has them")
    settings.set_defaults(run_command=_print_settings)
    metrics = commands.add_parser("metrics", help="print every metric, as docs/metrics.md has them")
    metrics.set_defaults(run_command=_print_metrics)
    _add_tools(commands, arguments[:1])
    return parser


def _add_tools(commands: argparse._SubParsersAction[argparse.ArgumentParser], called: Sequence[str]) -> None:
    """The commands beside serving. Only the one that is called is imported: they need packages that serving does
    not."""
    for name, (module, says) in TOOLS.items():
        if called == [name]:
            importlib.import_module(module).add_command(commands)
        else:
            commands.add_parser(name, help=says)


def _serve(options: argparse.Namespace) -> None:
    settings = load_settings()
    check_runtime()
    # A wrong path is worth a sentence now; what only loading can find is logged when it is found.
    if settings.models is None:
        read_manifest(settings.bundle)
    elif not settings.models.is_dir():
        raise SettingsError(f"ATTEND_MODELS: {settings.models} is no directory")
    configure_logging(settings.log_level, settings.log_format)
    if is_public(settings.host) and not (settings.keys or settings.keys_file):
        _log.warning(
            "whoever reaches %s may translate: there are no keys. `python -m service keys add` makes one; "
            "ATTEND_KEYS_FILE names the file",
            settings.host,
        )
    _run(settings)


def _print_settings(options: argparse.Namespace) -> None:
    print(settings_table(), end="")


def _print_metrics(options: argparse.Namespace) -> None:
    print(Metrics().table(), end="")


def _run(settings: Settings) -> None:
    loaded = True

    def stop() -> None:
        nonlocal loaded
        loaded = False
        server.should_exit = True

    keep_one_heap()
    app = create_app(settings, on_failure=stop)
    server = Server(app, app.state.service, settings)
    # What has been imported stays: looking through it again and again would hold up the event loop for tens of
    # milliseconds.
    gc.collect()
    gc.freeze()
    server.run()
    if not loaded:
        sys.exit(FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
