"""python -m export CHECKPOINT BUNDLE --precision fp32|int8|fp16: write a verified bundle and print the parity table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from export.write import write_bundle
from model.bundle import Limits, read_alignment
from model.errors import BundleError, ModelError


def main(arguments: Sequence[str] | None = None) -> int:
    """Export one checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="checkpoint folder, as training writes it")
    parser.add_argument("bundle", type=Path, help="bundle folder to write; an older one there is replaced")
    parser.add_argument("--precision", choices=("fp32", "int8", "fp16"), default="int8")
    parser.add_argument("--version", default="1", help="version of the bundle, shown in metrics and health")
    parser.add_argument("--source-tokens", type=int, default=256, help="longest sentence taken in one piece")
    parser.add_argument("--target-tokens", type=int, default=512, help="longest output of one sentence")
    parser.add_argument(
        "--whole-vocabulary",
        action="store_true",
        help="leave out the checkpoint's shortlist: slower, nothing excluded; fp16 never has it",
    )
    parser.add_argument("--quality", type=Path, help="JSON lines of scores to store in the manifest")
    parser.add_argument("--alignment", type=Path, help="what `python -m service align-eval --out` wrote")
    options = parser.parse_args(arguments)
    try:
        quality = _read_quality(options.quality) if options.quality else ()
        limits = _limits(options.source_tokens, options.target_tokens)
        agreement = write_bundle(
            options.checkpoint,
            options.bundle,
            options.precision,
            bundle_version=options.version,
            limits=limits,
            quality=quality,
            shortlist=not options.whole_vocabulary,
            alignment=read_alignment(options.alignment) if options.alignment else None,
            report=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except (ModelError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(agreement.table())
    print(f"{options.bundle}: {options.precision} bundle written and verified")
    return 0


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
