"""Imported networks against `transformers.generate` on many inputs: every token, every score, every text.

    python -m benchmarks.imported_equality --folder DIR [--count 500] [--only "Marian fr-en"|"Marian en-fr"|M2M100|NLLB]

MarianMT is taught some sentences by heart first, so that its outputs end by themselves; M2M100 and NLLB have random
weights. Each is imported in fp32 and writes greedily and with 2 to 6 beams under several length penalties; counted are
outputs of the same tokens, those that differ where two choices are nearer than 1e-4 (`ties`), and all others, which
are shown and make the status 1. Texts that ids are read back as are compared with the original tokeniser's too. What
was made before in DIR is used again. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianMTModel,
    MarianTokenizer,
    NllbTokenizer,
)

from benchmarks.foreign import sentences, train_marian, write_m2m100, write_marian, write_nllb
from export.__main__ import main as export
from service.engine.bundle import Bundle
from service.engine.decoder.opening import open_engine
from service.engine.loading import run_here
from service.engine.types import EngineConfig, Hypothesis, Job, SearchOptions

MOST_TOKENS = 24
TIE = 1e-4
"""Scores that are as near as this may stand in another order."""
SEARCHES = (
    (1, 1.0), (2, 0.6), (2, 1.0), (3, 0.0), (3, 1.4), (4, 0.6), (4, 1.0), (5, 1.0), (5, 1.4), (6, 0.6), (6, 1.4),
)  # fmt: skip
"""(beam size, length penalty)."""
KINDS = ("Marian fr-en", "Marian en-fr", "M2M100", "NLLB")
_AT_ONCE = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """What `transformers` wrote to one source, whatever stands around the text left out."""

    tokens: tuple[int, ...]
    score: float
    """Not a number for a greedy search."""
    gaps: tuple[float, ...]
    """Of a greedy search, how far the second best token was behind at each step."""


@dataclasses.dataclass(frozen=True)
class Imported:
    """A folder of another system and the bundle made from it."""

    folder: Path
    bundle: Path
    model_class: Any
    pair: tuple[str, str] = ("fr", "en")

    @functools.cached_property
    def read(self) -> Bundle:
        return Bundle.read(self.bundle)

    @functools.cached_property
    def model(self) -> Any:
        return self.model_class.from_pretrained(self.folder).eval()

    def sources(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        before, behind = self.read.vocabulary.source_frame(*self.pair)
        return [(*before, *self.read.vocabulary.encode(text), *behind) for text in texts]

    def search(self, sources: Sequence[tuple[int, ...]], beams: int, penalty: float) -> list[Hypothesis]:
        """The best our engine finds for each."""
        silent = self.read.vocabulary.target_prefix(self.pair[1])
        options = SearchOptions(
            beam_size=beams, length_penalty=penalty, max_output_tokens=MOST_TOKENS, silent_prefix=silent
        )
        engine, _ = open_engine(EngineConfig(directory=self.bundle, threads=1, max_rows=64))
        return [hypotheses[0] for hypotheses in run_here(engine, [Job(source, options) for source in sources])]

    def generate(self, sources: Sequence[tuple[int, ...]], beams: int, penalty: float) -> Iterator[Written]:
        """The same by `transformers`."""
        for begin in range(0, len(sources), _AT_ONCE):
            yield from self._generate(sources[begin : begin + _AT_ONCE], beams, penalty)

    def _generate(self, sources: Sequence[tuple[int, ...]], beams: int, penalty: float) -> Iterator[Written]:
        silent = self.read.vocabulary.target_prefix(self.pair[1])
        padding, longest = self.model.config.pad_token_id, max(map(len, sources))
        found = self.model.generate(
            input_ids=torch.tensor([[*source, *[padding] * (longest - len(source))] for source in sources]),
            attention_mask=torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in sources]),
            num_beams=beams, length_penalty=penalty, do_sample=False, early_stopping=beams > 1,
            max_new_tokens=MOST_TOKENS, min_new_tokens=1 + len(silent),
            forced_bos_token_id=silent[0] if silent else None, forced_eos_token_id=None,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        ends = (padding, self.model.config.eos_token_id)
        rows = [row[1 + len(silent) :] for row in found.sequences.tolist()]
        best = [step.topk(2).values for step in found.scores[len(silent) :]] if beams == 1 else []
        for index, row in enumerate(rows):
            score = math.nan if beams == 1 else found.sequences_scores[index].item()
            gaps = tuple((values[index, 0] - values[index, 1]).item() for values in best)
            yield Written(tuple(token for token in row if token not in ends), score, gaps)


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """How many outputs are the same, and which are not."""

    same: int
    ties: int
    others: tuple[tuple[Hypothesis, Written], ...]
    ended: int
    """Outputs that ended by themselves."""
    score: float
    """Largest difference of the scores of the same tokens."""


def compared(network: Imported, sources: Sequence[tuple[int, ...]], beams: int, penalty: float) -> Comparison:
    """Our engine's outputs and those of `transformers`, one by one."""
    found = network.search(sources, beams, penalty)
    both = list(zip(found, network.generate(sources, beams, penalty), strict=True))
    same = [(one, other) for one, other in both if one.target_ids == other.tokens]
    differ = [(one, other) for one, other in both if one.target_ids != other.tokens]
    others = tuple((one, other) for one, other in differ if _gap(one, other) >= TIE)
    scores = [abs(one.score - other.score) for one, other in same] if beams > 1 else []
    ended = sum(hypothesis.finish_reason == "eos" for hypothesis in found)
    return Comparison(len(same), len(differ) - len(others), others, ended, max(scores, default=0.0))


def _gap(hypothesis: Hypothesis, written: Written) -> float:
    """How far apart the two choices were where the outputs part."""
    if not math.isnan(written.score):
        return abs(hypothesis.score - written.score)
    pairs = zip(hypothesis.target_ids, written.tokens, strict=False)
    shorter = min(len(hypothesis.target_ids), len(written.tokens))
    return written.gaps[next((place for place, (a, b) in enumerate(pairs) if a != b), shorter)]


def imported(
    folder: Path, model_class: Any, precision: str, *more: str, pair: tuple[str, str] = ("fr", "en")
) -> Imported:
    """The folder as a bundle beside it."""
    bundle = folder.with_name(f"{folder.name}-{precision}")
    if bundle.is_dir():
        return Imported(folder, bundle, model_class, pair)
    arguments = ["import", str(folder), str(bundle), "--precision", precision, "--target-tokens", "64"]
    arguments += ["--source-tokens", "64", "--source", pair[0], "--target", pair[1]]
    if export([*arguments, *more]):
        raise SystemExit(f"{folder} cannot be imported")
    return Imported(folder, bundle, model_class, pair)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="a folder for the networks")
    parser.add_argument("--only", choices=KINDS, action="append", help="this one; may be repeated")
    parser.add_argument("--count", type=int, default=500, help="inputs of each network")
    parser.add_argument("--steps", type=int, default=1500, help="of teaching MarianMT its sentences")
    options = parser.parse_args(arguments)
    told: dict[str, Any] = {}
    for name in options.only or KINDS:
        network, tokenizer = _network(name, options)
        told[name] = _told(network, tokenizer, options.count)
    print(json.dumps(told))
    return int(any(row["others"] for each in told.values() for row in each["searches"]))


def _network(name: str, options: argparse.Namespace) -> tuple[Imported, Any]:
    """A network of this kind and its original tokeniser."""
    family, _, pair = name.lower().partition(" ")
    folder = options.folder / "-".join(filter(None, (family, pair)))
    if family == "marian":
        source, target = pair.split("-")
        if not folder.is_dir():
            write_marian(folder, pair=(source, target))
            train_marian(folder, pairs=options.count, steps=options.steps, pair=(source, target))
        network = imported(folder, MarianMTModel, "fp32", pair=(source, target))
        return network, MarianTokenizer.from_pretrained(folder)
    write, tokenizer, code = {
        "m2m100": (write_m2m100, M2M100Tokenizer, "fr"), "nllb": (write_nllb, NllbTokenizer, "fra_Latn"),
    }[family]  # fmt: skip
    if not folder.is_dir():
        write(folder, init_std=0.3)
    network = imported(folder, M2M100ForConditionalGeneration, "fp32")
    return network, tokenizer.from_pretrained(folder, src_lang=code)


def _told(network: Imported, tokenizer: Any, count: int) -> dict[str, Any]:
    texts = sentences(network.pair[0], count)
    sources = network.sources(texts)
    rows = []
    for beams, penalty in SEARCHES:
        found = compared(network, sources, beams, penalty)
        row = {
            "beams": beams, "penalty": penalty, "same": found.same, "ties": found.ties, "others": len(found.others),
            "ended": found.ended, "score difference": round(found.score, 7),
        }  # fmt: skip
        print(network.folder.name, json.dumps(row), flush=True)
        for hypothesis, other in found.others:
            print(f"  ours {hypothesis.target_ids} {hypothesis.score:.6f}\n  {other}", flush=True)
        rows.append(row)
    written = [hypothesis.target_ids for hypothesis in network.search(sources, 4, 1.0)]
    vocabulary = network.read.vocabulary
    theirs = [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in written]
    return {
        "inputs": len(texts),
        "same source ids": sum(list(s) == tokenizer(t).input_ids for s, t in zip(sources, texts, strict=True)),
        "same texts": sum(vocabulary.decode(ids) == text for ids, text in zip(written, theirs, strict=True)),
        "searches": rows,
    }


if __name__ == "__main__":
    sys.exit(main())
