"""Networks of other systems, imported and decoded, against CTranslate2 int8 on the same weights, in one run.

    python -m benchmarks.imported --size opus|tc-big|nllb-600m [--rounds N] [--only-import]

The weights are random and the outputs' length is forced: 74 million parameters of OPUS-MT, 230 of tc-big, or 615 of
NLLB-200-distilled-600M, as `transformers` writes them. Told are time and peak memory of the import, the bundle's size,
the time an engine takes to load it, and tokens a second for 1, 8 and 64 sentences at once, greedy and with beam 4,
against every setting of threads of CTranslate2. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
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
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(SIZES), default="opus")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved repetitions; medians are reported")
    parser.add_argument("--only-import", action="store_true", help="leave out decoding")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder, bundle = Path(scratch) / options.size, Path(scratch) / "bundle"
        write_folder(folder, SIZES[options.size])
        told = {"size": options.size, **imported(folder, bundle), "machine": _machine()}
        print(json.dumps(told), flush=True)
        if not options.only_import:
            told["rows"] = decoded(folder, bundle, Path(scratch) / "ctranslate2", options)
    print(json.dumps(told))
    return 0


def write_folder(folder: Path, size: dict[str, int]) -> None:
    """A MarianMT folder, or one of M2M100 for the largest vocabulary, with random weights."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration, MarianConfig, MarianMTModel

    folder.mkdir(parents=True)
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
        "checkpoint_mib": checkpoint // 2**20,
        "bundle_mib": written // 2**20,
        "load_seconds": round(time.perf_counter() - began, 1),
    }


def decoded(folder: Path, bundle: Path, scratch: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of `benchmarks.decode`, ours against each setting of CTranslate2."""
    read = Bundle.read(bundle)
    pieces = read.vocabulary.source_pieces(range(read.vocabulary.source_size))
    ids = torch.randint(300, 9_000, (64, 24), generator=torch.Generator().manual_seed(1)).tolist()
    before, behind = read.vocabulary.source_frame("fr", "en")
    workload = Workload(options.size, folder, [(*before, *row, *behind) for row in ids], forced=True)
    convert(folder, scratch, pieces)
    systems = [ours(bundle, read.vocabulary.target_prefix("en"), sessions) for sessions in (0, 1)]
    systems += [
        ctranslate2_system(scratch, "int8", workers, threads, pieces, forced=True) for workers, threads in THREADS
    ]
    try:
        return [row for case in CASES for row in measure_case(workload, systems, case, options.rounds)]
    finally:
        for system in systems:
            system.close()


def convert(folder: Path, destination: Path, pieces: Sequence[str]) -> None:
    """The same weights as CTranslate2's own converter makes int8 of them."""
    from ctranslate2.converters import TransformersConverter, transformers

    vocabulary = [token for token in pieces if token != "<pad>"] if pieces[-1] == "<pad>" else list(pieces)
    for loader in (transformers.M2M100Loader, transformers.MarianMTLoader):
        loader.get_vocabulary = lambda *arguments: list(vocabulary)
    TransformersConverter(str(folder)).convert(str(destination), quantization="int8")


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
