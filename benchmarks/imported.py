"""Networks of other systems, imported and decoded, against CTranslate2 int8 on the same weights, in one run.

    python -m benchmarks.imported --size opus|tc-big|nllb-600m --folder DIR [--minutes M] [--rounds N] [--only-import]

The weights are random and the outputs' length is forced: 74 million parameters of OPUS-MT, 230 of tc-big, or 615 of
NLLB-200-distilled-600M, as `transformers` writes them. Told are time and peak memory of the import, the bundle's size,
the time an engine takes to load it, and tokens a second for 1, 8 and 64 sentences at once, greedy and with beam 4,
against every setting of threads of CTranslate2. Networks and results stay in DIR: what is there is not done again, and
nothing is begun after M minutes, so that a long measurement is made in parts. The last line of stdout is one JSON
object; the status is 3 if something is still to be done.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.decode import (
    FORCED_TOKENS,
    MAX_ROWS,
    THREADS,
    Source,
    System,
    Workload,
    _machine,
    ctranslate2_system,
    measure_case,
)
from model.tokenizers import load_processor
from service.engine.bundle import Bundle
from service.engine.loading import BlockingEngine
from service.engine.types import EngineConfig, Job, SearchOptions

PIECES = Path(__file__).parents[1] / "model" / "pretrained" / "vocabulary.spm"
SIZES: dict[str, dict[str, int]] = {
    "opus": {"vocab_size": 58_101, "d_model": 512, "ffn": 2048, "layers": 6, "heads": 8},
    "tc-big": {"vocab_size": 54_776, "d_model": 1024, "ffn": 4096, "layers": 6, "heads": 16},
    "nllb-600m": {"vocab_size": 256_206, "d_model": 1024, "ffn": 4096, "layers": 12, "heads": 16},
}
CASES = ((1, 1), (1, 4), (8, 1), (8, 4), (64, 1), (64, 4))
"""(sentences at once, beam size)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not measured yet, and print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(SIZES), default="opus")
    parser.add_argument("--folder", type=Path, required=True, help="where networks and results are kept")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after these nothing more is begun")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved repetitions; medians are reported")
    parser.add_argument("--only-import", action="store_true", help="leave out decoding")
    options = parser.parse_args(arguments)
    end = time.monotonic() + 60 * options.minutes
    results = _Results(options.folder / f"{options.size}.json")
    with contextlib.ExitStack() as opened:
        stages = _stages(options, opened)
        for name, stage in stages.items():
            if results.lack(name) and time.monotonic() < end:
                results.keep(name, stage())
    print(json.dumps({"size": options.size, **results.found, "machine": _machine()}))
    return 3 if any(map(results.lack, stages)) else 0


class _Results:
    """What was found, by the name of its stage; kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}

    def lack(self, name: str) -> bool:
        return name not in self.found

    def keep(self, name: str, value: Any) -> None:
        self.found[name] = value
        print(json.dumps({name: value}), file=sys.stderr, flush=True)
        self._path.write_text(json.dumps(self.found, indent=1))


def _stages(options: argparse.Namespace, opened: contextlib.ExitStack) -> dict[str, Callable[[], Any]]:
    """Everything that is done for a size, in its order."""
    network, bundle, peer = (options.folder / f"{options.size}{end}" for end in ("", "-bundle", "-ctranslate2"))
    stages: dict[str, Callable[[], Any]] = {
        "written": lambda: write_folder(network, SIZES[options.size]),
        "import": lambda: imported(network, bundle),
    }
    if options.only_import:
        return stages
    systems = functools.cache(lambda: _opened(network, bundle, peer, options.size, opened))
    stages["converted"] = lambda: convert(network, bundle, peer)
    for case in CASES:
        stages["{} x beam {}".format(*case)] = lambda case=case: measure_case(*systems(), case, options.rounds)
    return stages


def write_folder(folder: Path, size: dict[str, int]) -> None:
    """A MarianMT folder, or one of M2M100 for the largest vocabulary, with random weights."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration, MarianConfig, MarianMTModel

    folder.mkdir(parents=True, exist_ok=True)
    is_marian = size["vocab_size"] < 200_000
    shape = {
        "vocab_size": size["vocab_size"], "d_model": size["d_model"],
        "encoder_ffn_dim": size["ffn"], "decoder_ffn_dim": size["ffn"],
        "encoder_layers": size["layers"], "decoder_layers": size["layers"],
        "encoder_attention_heads": size["heads"], "decoder_attention_heads": size["heads"],
    }  # fmt: skip
    torch.manual_seed(1)
    last = size["vocab_size"] - 1
    ends = {"pad_token_id": last, "decoder_start_token_id": last, "eos_token_id": 0, "forced_eos_token_id": None}
    model: Any = (
        MarianMTModel(MarianConfig(**shape, **ends, scale_embedding=True, activation_function="swish"))
        if is_marian
        else M2M100ForConditionalGeneration(M2M100Config(**shape))
    )
    model.save_pretrained(folder)
    write_tokens(folder, size["vocab_size"], is_marian=is_marian)


def write_tokens(folder: Path, size: int, *, is_marian: bool) -> None:
    """The shipped pieces, and words that no text has up to the size."""
    processor = load_processor(PIECES)
    pieces = [processor.IdToPiece(place) for place in range(4, processor.GetPieceSize())]
    head = ["</s>", "<unk>"] if is_marian else ["<s>", "<pad>", "</s>", "<unk>"]
    room = size - (1 if is_marian else 108)
    tokens = [*head, *pieces, *(f"word{place}" for place in range(room - len(head) - len(pieces)))]
    tokens += ["<pad>"] if is_marian else []
    (folder / "vocab.json").write_text(json.dumps({token: place for place, token in enumerate(tokens)}))
    for name in ("source.spm", "target.spm") if is_marian else ("sentencepiece.bpe.model",):
        (folder / name).write_bytes(PIECES.read_bytes())
    (folder / "tokenizer_config.json").write_text('{"source_lang": "fr", "target_lang": "en"}')


def imported(folder: Path, bundle: Path) -> dict[str, Any]:
    """What an import takes; it runs in a process of its own, whose peak is told."""
    command = [sys.executable, "-m", "export", "import", str(folder), str(bundle), "--source", "fr", "--target", "en"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the import ended with status {process.returncode}")
    seconds = time.perf_counter() - began
    checkpoint = sum(file.stat().st_size for file in folder.iterdir())
    written = sum(file.stat().st_size for file in bundle.iterdir())
    began = time.perf_counter()
    BlockingEngine(EngineConfig(directory=bundle, sessions=1, max_rows=64)).close()
    return {
        "import_seconds": round(seconds, 1),
        "import_peak_mib": usage.ru_maxrss // 1024,
        "peak_by_checkpoint": round(1024 * usage.ru_maxrss / checkpoint, 2),
        "checkpoint_mib": checkpoint // 2**20,
        "bundle_mib": written // 2**20,
        "load_seconds": round(time.perf_counter() - began, 1),
    }


def _opened(
    network: Path, bundle: Path, peer: Path, size: str, opened: contextlib.ExitStack
) -> tuple[Workload, list[System]]:
    """Ours with one process a core and with one in all, and each setting of CTranslate2, until `opened` ends."""
    read = Bundle.read(bundle)
    pieces = read.vocabulary.source_pieces(range(read.vocabulary.source_size))
    ids = torch.randint(300, 9_000, (64, 24), generator=torch.Generator().manual_seed(1)).tolist()
    before, behind = read.vocabulary.source_frame("fr", "en")
    workload = Workload(size, network, [(*before, *row, *behind) for row in ids], forced=True)
    makers = [functools.partial(ours, bundle, read.vocabulary.target_prefix("en"), sessions) for sessions in (0, 1)]
    makers += [
        functools.partial(ctranslate2_system, peer, "int8", workers, threads, pieces, forced=True)
        for workers, threads in THREADS
    ]
    systems = []
    for make in makers:
        systems.append(make())
        opened.callback(systems[-1].close)
    return workload, systems


def convert(folder: Path, bundle: Path, destination: Path) -> None:
    """The same weights as CTranslate2's own converter makes int8 of them."""
    from ctranslate2.converters import TransformersConverter, transformers

    read = Bundle.read(bundle).vocabulary
    pieces = read.source_pieces(range(read.source_size))
    vocabulary = [token for token in pieces if token != "<pad>"] if pieces[-1] == "<pad>" else list(pieces)
    for loader in (transformers.M2M100Loader, transformers.MarianMTLoader):
        loader.get_vocabulary = lambda *arguments: list(vocabulary)
    TransformersConverter(str(folder)).convert(str(destination), quantization="int8", force=True)


def ours(bundle: Path, silent: tuple[int, ...], sessions: int) -> System:
    """Our engine, with one process a core or one in all."""
    engine = BlockingEngine(EngineConfig(directory=bundle, device="cpu", sessions=sessions, max_rows=MAX_ROWS))

    def decode(sources: Sequence[Source], beam_size: int) -> list[tuple[int, ...]]:
        most = FORCED_TOKENS + len(silent)  # random weights never end a sentence themselves
        options = SearchOptions(beam_size=beam_size, max_output_tokens=most, silent_prefix=silent)
        return [hypotheses[0].target_ids for hypotheses in engine.run([Job(source, options) for source in sources])]

    return System(f"ours int8{' one session' if sessions else ''}", decode, engine.close, is_ours=True)


if __name__ == "__main__":
    sys.exit(main())
