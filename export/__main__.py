"""python -m export checkpoint|import|inspect: verified bundles of our own checkpoints and of other systems' networks.

Without a word, `python -m export CHECKPOINT BUNDLE` is `python -m export checkpoint CHECKPOINT BUNDLE`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from model.bundle import Limits, read_alignment
from model.commands import BAD_INPUT, OK, Parser, exit_status
from model.errors import BundleError

if TYPE_CHECKING:
    from export.network import Network

OWN_WORD = "checkpoint"
"""What exports a checkpoint of our own; `attend` calls it `export`."""
_SOURCE_TOKENS, _TARGET_TOKENS = 256, 512
_MOST_SENTENCES = 2000
_CALIBRATED_ON = 256
"""Sentences of a text from which something else is learned too."""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m export", own_word: str = OWN_WORD) -> int:
    """Run one command; 2 if the input is to blame. `prog` and `own_word` are what its help calls it."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] not in (own_word, "import", "inspect", "-h", "--help"):
        given.insert(0, own_word)
    options = parser_for(prog, own_word).parse_args(given)
    return exit_status(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    try:
        options.run(options)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        print("error: not enough memory for this network; nothing was written", file=sys.stderr)
        return BAD_INPUT
    return OK


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "bad allocation" in str(error)


def parser_for(prog: str, own_word: str = OWN_WORD) -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    checkpoint = commands.add_parser(own_word, help="a checkpoint of our own, as training writes it")
    checkpoint.add_argument("checkpoint", type=Path, help="checkpoint folder, as training writes it")
    _add_common(checkpoint)
    checkpoint.add_argument(
        "--whole-vocabulary",
        action="store_true",
        help="leave out the checkpoint's shortlist: slower, nothing excluded; fp16 never has it",
    )
    checkpoint.add_argument("--quality", type=Path, help="JSON lines of scores to store in the manifest")
    checkpoint.add_argument("--alignment", type=Path, help="what `python -m service align-eval --out` wrote")
    checkpoint.set_defaults(run=_export_checkpoint)
    foreign = commands.add_parser("import", help="a network of another system: see README, Your own language pair")
    foreign.add_argument("path", type=Path, help="folder or package that holds it")
    _add_common(foreign)
    foreign.add_argument("--source", nargs="+", default=[], metavar="LANG", help="languages it reads")
    foreign.add_argument("--target", nargs="+", default=[], metavar="LANG", help="languages it writes")
    foreign.add_argument("--languages", nargs="+", default=[], metavar="LANG", help="the same ones on both sides")
    foreign.add_argument("--calibrate", type=Path, help="sentences of the first source language, for int8")
    foreign.add_argument(
        "--text",
        nargs=3,
        action="append",
        default=[],
        metavar=("PAIR", "SOURCE", "TARGET"),
        help="line-aligned files of a pair such as de-en, to learn a shortlist and word alignments from",
    )
    foreign.add_argument("--alignment", type=Path, help="what `python -m service align-eval --out` wrote")
    foreign.add_argument("--name", help="name of the bundle; the folder's otherwise")
    foreign.set_defaults(run=_import_network)
    inspect = commands.add_parser("inspect", help="say what a folder or file is, and what can be done with it")
    inspect.add_argument("path", type=Path)
    inspect.set_defaults(run=_inspect, importing=f"{prog} import", exporting=f"{prog} {own_word}")
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, help="bundle folder to write; an older one there is replaced")
    parser.add_argument("--precision", choices=("fp32", "int8", "fp16"), default="int8")
    parser.add_argument("--version", default="1", help="version of the bundle, shown in metrics and health")
    parser.add_argument("--source-tokens", type=int, help="longest sentence taken in one piece; usually 256")
    parser.add_argument("--target-tokens", type=int, help="longest output of one sentence; usually 512")
    parser.add_argument(
        "--internals",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="add the graph that the page /learn looks into a Transformer with; it costs about 100 kB",
    )


def _export_checkpoint(options: argparse.Namespace) -> None:
    quality = _read_quality(options.quality) if options.quality else ()
    limits = _limits(options.source_tokens or _SOURCE_TOKENS, options.target_tokens or _TARGET_TOKENS)
    # Not at the top: `--help` and a mistake in the options need neither PyTorch nor ONNX.
    from export.network import own_network
    from export.write import write_network

    alignment = read_alignment(options.alignment) if options.alignment else None
    network = own_network(
        options.checkpoint, shortlist=not options.whole_vocabulary, quality=quality, alignment=alignment
    )
    network = dataclasses.replace(network, with_internals=options.internals)
    agreement = write_network(
        network, options.bundle, options.precision, bundle_version=options.version, limits=limits, report=_report
    )
    print(agreement.table())
    print(f"{options.bundle}: {options.precision} bundle written and verified")


def _import_network(options: argparse.Namespace) -> None:
    from export.importers.importing import read_any
    from export.importers.origin import forbids_commerce
    from export.importers.request import Request
    from export.write import write_network

    request = Request(tuple(options.source), tuple(options.target), tuple(options.languages), options.name)
    with read_any(options.path, request) as network:
        if forbids_commerce(network.licence):
            _report(f"note: the licence of these weights, {network.licence}, forbids commercial use")
        for note in network.notes:
            _report(f"note: {note}")
        network = _with_learned(network, options)
        positions = network.model.config.max_positions
        limits = _limits(
            options.source_tokens or min(_SOURCE_TOKENS, positions),
            options.target_tokens or min(_TARGET_TOKENS, positions),
        )
        agreement = write_network(
            dataclasses.replace(network, with_internals=options.internals),
            options.bundle,
            options.precision,
            bundle_version=options.version,
            limits=limits,
            calibration=_sentences(options, network.pairs()[0]),
            report=_report,
        )
    print(agreement.table())
    print(f"{options.bundle}: {options.precision} bundle of {network.name} written and verified")


def _with_learned(network: Network, options: argparse.Namespace) -> Network:
    """With what the text of --text teaches, and the alignment that was measured to be best."""
    from export.learning import with_text_learned
    from model.corpus import read_aligned

    texts = {_languages_in(pair): read_aligned(Path(one), Path(other)) for pair, one, other in options.text}
    if texts:
        network = with_text_learned(network, texts, _report)
    measured = read_alignment(options.alignment) if options.alignment else {}
    return dataclasses.replace(network, alignment={**network.alignment, **measured})


def _languages_in(pair: str) -> tuple[str, str]:
    source, _, target = pair.partition("_" if "_" in pair else "-")
    return source, target


def _sentences(options: argparse.Namespace, pair: tuple[str, str]) -> tuple[str, ...]:
    """Those of the file of --calibrate, else of --text, else a few that are shipped for the source language."""
    path: Path | None = options.calibrate
    if path is None:
        from export.self_test import sentences_in
        from model.corpus import read_lines

        given = [read_lines(Path(one)) for languages, one, _ in options.text if _languages_in(languages) == pair]
        return tuple(given[0][:_CALIBRATED_ON]) if given else sentences_in(pair[0])
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    sentences = tuple(line.strip() for line in lines if line.strip())
    if not sentences:
        raise BundleError(f"{path}: no sentence to calibrate on")
    return sentences[:_MOST_SENTENCES]


def _inspect(options: argparse.Namespace) -> None:
    from export.importers.describing import describe

    print(describe(options.path, importing=options.importing, exporting=options.exporting))


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _limits(source_tokens: int, target_tokens: int) -> Limits:
    try:
        return Limits(source_tokens=source_tokens, target_tokens=target_tokens)
    except ValidationError as error:
        fault = error.errors()[0]
        option = "--" + str(fault["loc"][0]).replace("_", "-")
        raise BundleError(f"{option}: {fault['msg'].lower()}, not {fault['input']}") from None


def _read_quality(path: Path) -> tuple[dict[str, object], ...]:
    try:
        return tuple(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: not JSON lines of scores: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
