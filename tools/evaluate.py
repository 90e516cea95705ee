"""attend evaluate: the BLEU and chrF of a bundle, through the engine that serves it."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from model.arguments import not_negative, number, positive
from model.bundle import Limits
from model.corpus import read_aligned
from model.evaluation import score
from service.engine.loading import BlockingEngine
from service.engine.types import EngineConfig, Hypothesis, Job, SearchOptions
from service.text.reading import Reader, reader_for


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = subparsers.add_parser("evaluate", help="score a bundle on line-aligned files")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--source", type=Path, required=True, help="source lines, plain or .gz")
    parser.add_argument("--reference", type=Path, required=True, help="reference lines, plain or .gz")
    parser.add_argument("--direction", required=True, help="e.g. zh-en")
    parser.add_argument("--beam", type=positive, default=1, help="beam size (default 1, greedy)")
    parser.add_argument("--length-penalty", type=number, default=1.0)
    parser.add_argument("--limit", type=positive, default=None, help="first N lines only")
    parser.add_argument("--threads", type=not_negative, default=0, help="0: one a core")
    parser.add_argument("--output", type=Path, default=None, help="write the translations, one a line")
    parser.set_defaults(run_command=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    pairs = read_aligned(options.source, options.reference)[: options.limit]
    target_language = options.direction.partition("-")[2]
    search = SearchOptions(beam_size=options.beam, length_penalty=options.length_penalty)
    with BlockingEngine(EngineConfig(directory=options.bundle, threads=options.threads, max_rows=128)) as loaded:
        reader = reader_for(options.direction, loaded.manifest.pairs(), loaded.vocabulary)
        hypotheses = translate_lines(loaded, [source for source, _ in pairs], reader, target_language, search)
    texts = [loaded.vocabulary.decode(hypothesis.target_ids) for hypothesis in hypotheses]
    if options.output:
        options.output.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    scores = score(texts, [reference for _, reference in pairs], target_language)
    cut = sum(hypothesis.finish_reason == "length" for hypothesis in hypotheses)
    print(
        json.dumps(
            {
                "bundle": loaded.manifest.name,
                "precision": loaded.manifest.precision,
                "direction": options.direction,
                "set": options.source.name.split(".")[0],
                "beam": options.beam,
                **scores.to_dict(),
                "cut": cut,
            }
        )
    )


def translate_lines(
    engine: BlockingEngine, lines: Sequence[str], reader: Reader, target_language: str, search: SearchOptions
) -> list[Hypothesis]:
    """The best hypothesis of each line, taken as one sentence, in order."""
    limits = engine.manifest.limits
    jobs = [_job(reader.encode_source(line, target_language), limits, search) for line in lines]
    return [hypotheses[0] for hypotheses in engine.run(jobs)]


def _job(source_ids: list[int], limits: Limits, search: SearchOptions) -> Job:
    """Sources over the limit lose their end: test sets hold hardly any, and a score needs an answer for each."""
    most = limits.source_tokens
    kept = source_ids if len(source_ids) <= most else [*source_ids[: most - 1], source_ids[-1]]
    return Job(tuple(kept), dataclasses.replace(search, max_output_tokens=limits.output_tokens(len(kept))))
