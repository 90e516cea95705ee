"""`attend translate`: texts, standard input, corpora, documents and folders of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

_PATH = click.Path(path_type=Path)
_ONE_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OPTIONS: list[Callable[..., Any]] = [
    click.argument("inputs", nargs=-1, metavar="[TEXT|FILE|FOLDER]..."),
    click.option("-s", "--source", default="auto", show_default=True, help="Language code; auto: detected."),
    click.option("-t", "--target", required=True, help="Language code to translate into."),
    click.option("-o", "--output", type=_PATH, help="File to write; for several inputs or a folder, a folder."),
    click.option("--text", "texts", multiple=True, help="A text, whatever it looks like; may be repeated."),
    click.option("--as", "kind", type=click.Choice(["lines", "tsv", "jsonl", "document"]), help="What files hold; "
                 "default: by the ending of the name, lines if it says nothing."),
    click.option("--column", "columns", multiple=True, help="TSV and JSONL: column to translate, by name (TSV: or "
                 "number); may be repeated."),
    click.option("--into", multiple=True, help="Its translations' column, for each; default: COLUMN_TARGET."),
    click.option("--no-header", is_flag=True, help="TSV: the first line does not name the columns."),
    click.option("--shard", help="I/N: only the I-th of N parts of a file; all outputs in a row are the whole."),
    click.option("--errors", type=_PATH, help="Where lines that fail are told; default: OUTPUT.errors.jsonl."),
    click.option("--overwrite", is_flag=True, help="Replace outputs that are there or were begun."),
    click.option("--bundle", type=click.Path(exists=True, file_okay=False, path_type=Path),
                 help="Directory of the model, or of several; default: the shipped one."),
    click.option("--service", metavar="URL", help="Let a service translate, in place of a model here."),
    click.option("--ray", is_flag=True, help="Let engines on a Ray cluster translate, the one RAY_ADDRESS names; one a "
                 "core, or a GPU with --device cuda."),
    click.option("--api-key-file", type=_ONE_FILE, help="File with the key for that service."),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
    click.option("--sessions", type=click.IntRange(0, 64), default=0, help="Engines; default: one a core, at most 8."),
    click.option("--beam-size", type=click.IntRange(1, 8), help="Default 4; 1 is greedy and fastest."),
    click.option("--format", type=click.Choice(["text", "html", "xml", "markdown"]), help="What each text is."),
    click.option("--glossary", type=_ONE_FILE, help="TSV: a term, a tab, its translation."),
    click.option("--do-not-translate", multiple=True, metavar="TERM", help="Comes back as it is; may be repeated."),
    click.option("--length-penalty", type=float, help="Default 1."),
    click.option("--max-output-tokens", type=click.IntRange(1), help="Of a sentence."),
    click.option("--model", help="The only model that may be used, of several."),
    click.option("--strict", is_flag=True, help="A text of which a sentence is cut fails."),
    click.option("--chunk", type=click.IntRange(1, 100_000), default=1024, show_default=True,
                 help="Lines that are translated together."),
    click.option("--commit-every", type=click.FloatRange(0), default=1.0, show_default=True, metavar="SECONDS",
                 help="How often it is made sure that nothing is lost."),
    click.option("-q", "--quiet", is_flag=True, help="Tell nothing of progress."),
]  # fmt: skip


def _with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(
    epilog="A file of lines is begun as OUTPUT.partial beside OUTPUT.journal, and gets its name when it is complete. "
    "Interrupted in any way, the same command goes on where it stopped."
)
@_with_options
@click.pass_context
def translate(ctx: click.Context, /, **options: Any) -> int:
    """Translate texts, lines of files, or documents.

    \b
    attend translate "Je suis étudiant." -s fr -t en
    cat in.txt | attend translate -s fr -t en > out.txt
    attend translate big.txt.gz -s fr -t en -o out.txt.zst
    attend translate rows.tsv --column title --column text -s fr -t en -o out.tsv
    attend translate report.docx -t en -o report.en.docx
    attend translate folder -t en -o folder.en

    Without inputs, or with -, lines are read from standard input. Of a file of lines, TSV or JSON each line becomes one
    line, in order; .gz and .zst are unpacked and packed. docx, pptx, xlsx, odt, odp, ods, epub, html, md, srt, vtt and
    po are documents: their texts are translated, all else stays.
    """
    from attend.cli.translating import Work

    # What engines note is for the log of a service; `attend doctor` says it, too. Errors are told.
    errors = logging.StreamHandler()
    errors.setLevel(logging.ERROR)
    logging.getLogger().addHandler(errors)
    given = [name for name in options if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    return asyncio.run(Work(options, given).run())


commands = {"translate": translate}
