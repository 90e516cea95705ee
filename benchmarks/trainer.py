"""The trainer of today against an earlier one: target tokens a second, and time to a loss, on the same text.

    git worktree add EARLIER a21bd2e
    python -m benchmarks.trainer --earlier EARLIER --root DATA --minutes 20 --json trainers.json

Both train the text of model/recipes/first.toml with one vocabulary, in turn, `--rounds` times, until tatoeba-dev fr-en
has `--nll` nats a token or the minutes are over. Seconds are of updates: reading, validation, saving do not
count. On a machine that others use too, `--threads 1` and the tokens by second of processor time, up to the first
validation, say more. The earlier trainer keeps the recipe's settings; today's has those of second.toml.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "model" / "recipes" / "first.toml"
VALIDATION = """[[validation]]
files = {en = "fr-en/dev/tatoeba-dev.en.gz", fr = "fr-en/dev/tatoeba-dev.fr.gz"}
directions = ["fr-en"]
limit = 200
"""
TODAY = """[training]
optimizer = "muon"
schedule = "constant"
learning_rate = 4e-3
warmup_steps = 150
batch_tokens = 3072
longest = 100
max_steps = 9000
checkpoint_every = 1000
validate_every = 50
log_every = 10

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train with both in turn, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--earlier", type=Path, required=True, help="a checkout of the earlier trainer")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data")
    parser.add_argument("--minutes", type=float, default=20.0, help="most for each run (20)")
    parser.add_argument("--nll", type=float, default=2.2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="of today's trainer")
    parser.add_argument("--threads", type=int, help="of either (default: as many as there are cores)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocabulary.spm"
        recipes = {"earlier": _earlier(RECIPE), "today": _today(RECIPE)}
        for name, text in recipes.items():
            (Path(folder) / f"{name}.toml").write_text(text, encoding="utf-8")
        # The earlier trainer's vocabulary: today's would have carriers, which cost a few pieces.
        _model(options, options.earlier, "vocabulary", Path(folder) / "earlier.toml", "--out", vocabulary).wait()
        for number in range(options.rounds):
            for name, checkout in (("earlier", options.earlier), ("today", ROOT)):
                run = Path(folder) / f"{name}-{number}"
                rows.append({"trainer": name, "round": number, **_train(options, checkout, run, vocabulary)})
                print(rows[-1], file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print("\n".join(_table(rows, options.nll)))
    return 0


def _earlier(recipe: Path) -> str:
    """The recipe, validated often and on one set."""
    text = recipe.read_text(encoding="utf-8").split("[[validation]]")[0] + VALIDATION
    return re.sub(r"validate_every = \d+", "validate_every = 100", text)


def _today(recipe: Path) -> str:
    return re.sub(r"\[training\]\n.*?\n\n", lambda _: TODAY, _earlier(recipe), count=1, flags=re.DOTALL)


def _model(
    options: argparse.Namespace, checkout: Path, command: str, recipe: Path, *rest: object
) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-m", "model", command, str(recipe), "--root", str(options.root), *map(str, rest)]
    threads = {"OMP_NUM_THREADS": str(options.threads)} if options.threads else {}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(arguments, cwd=checkout, env={**os.environ, **threads}, stdout=quiet, stderr=quiet)


def _train(options: argparse.Namespace, checkout: Path, run: Path, vocabulary: Path) -> dict[str, Any]:
    recipe = run.parent / f"{run.name.split('-')[0]}.toml"
    rest = ["--vocabulary", vocabulary, "--out", run, "--device", "cpu"]
    if checkout == ROOT:
        rest += ["--processes", str(options.processes)]
    process = _model(options, checkout, "train", recipe, *rest)
    started = time.monotonic()
    seen: dict[int, float] = {}
    try:
        while process.poll() is None and time.monotonic() - started < 60 * options.minutes:
            time.sleep(0.2)
            if not _log(run, "validation"):
                seen.setdefault(_tokens(run), _processor_seconds(process.pid))
            if any(row["nll"] <= options.nll for row in _log(run, "validation")):
                break
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    return {**_result(run, options.nll), "tokens_per_processor_second": _rate(seen)}


def _tokens(run: Path) -> int:
    """Target tokens that the log has seen."""
    return max((row["target_tokens"] for row in _log(run, "train")), default=0)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rate(seen: dict[int, float]) -> float | None:
    """Tokens by seconds between the first and the last report; before the first lie imports and reading."""
    points = [(tokens, seconds) for tokens, seconds in seen.items() if tokens]
    if len(points) < 2:
        return None
    (first, began), (last, ended) = points[0], points[-1]
    return round((last - first) / (ended - began), 1)


def _log(run: Path, kind: str) -> list[dict[str, Any]]:
    path = run / "log.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def _result(run: Path, nll: float) -> dict[str, Any]:
    train, validation = _log(run, "train"), _log(run, "validation")
    last = train[-1] if train else {"target_tokens": 0, "seconds": 0.0}
    reached = next((row for row in validation if row["nll"] <= nll), None)
    return {
        "target_tokens": last["target_tokens"],
        "seconds": last["seconds"],
        "seconds_to_nll": reached and reached["seconds"],
        "tokens_to_nll": reached and reached["target_tokens"],
        "last_nll": validation[-1]["nll"] if validation else None,
    }


def _table(rows: Sequence[dict[str, Any]], nll: float) -> list[str]:
    names = ("trainer", "target tokens/s", "by processor second", f"seconds to nll {nll}", "target tokens", "last nll")
    lines = [f"| {' | '.join(names)} |", "| --- " * 6 + "|"]
    for row in rows:
        speed = row["target_tokens"] / max(row["seconds"], 1e-9)
        to_it = f"{row['seconds_to_nll']:.0f} | {row['tokens_to_nll']:,}" if row["seconds_to_nll"] else "not reached | "
        by_processor = row["tokens_per_processor_second"] or ""
        lines.append(f"| {row['trainer']} | {speed:,.0f} | {by_processor} | {to_it} | {row['last_nll']} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
