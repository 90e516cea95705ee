"""Results as docs/study.md and its pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest

from benchmarks.study.claims import CLAIMS, ERRORS, OPEN, Results
from benchmarks.study.variants import BASE, VARIANTS
from model.evaluation import CHARACTER_TOKENIZED, score

_SAMPLES = 1000
_BUCKETS = ((1, 8), (9, 12), (13, 16), (17, 1000))
_BY_LENGTH = ("lstm-fixed", "lstm-additive", BASE, "no-positions")
COMMAND = "make study"
_WAITS = (
    "- The alignment error rate of each network: gold alignments are no part of this repository. With some,",
    "  `python -m export runs/study/NAME/checkpoint BUNDLE` and `python -m service align-eval` measure it; the same",
    "  bundle, served, shows the network's attention on the page.",
    "- Speed on a GPU, where the parallel network gains most.",
    "- A student of the shipped model: its teacher is slow here, for it searches as the textbook does.",
)


def write_report(path: Path, results: Results, setting: str, pictures: Sequence[tuple[str, str]]) -> None:
    """`setting`: what the networks were trained on; `pictures`: titles and files, relative to the document."""
    trained = {name: result for name, result in results.items() if name != "measures"}
    missing = [variant.title for variant in VARIANTS if variant.name not in trained]
    lines = [
        "# Study: one architecture after the other",
        "",
        f"Written by `{COMMAND}`, which trains what has not been trained yet and writes this page anew. {setting}",
        "Times are processor time of one thread.",
        "",
    ]
    if missing:
        lines += [f"**Not trained yet, and so open below:** {'; '.join(missing)}.", ""]
    lines += ["## Claims", "", *_claims(results), ""]
    if trained:
        lines += [
            "## Networks",
            "",
            *_networks(trained),
            "",
            "## BLEU by length of the source",
            "",
            *_by_length(trained),
            "",
        ]
    lines += ["## Cost of length", "", *_cost(results["measures"]["cost"]), ""]
    lines += ["## The softmax and sqrt(d_k)", "", *_softmax(results["measures"]["softmax"]), ""]
    lines += ["## How far a token reaches", "", *_influence(results["measures"]["influence"]), ""]
    for title, file in pictures:
        lines += [f"## {title}", "", f"![{title}]({file})", ""]
    lines += ["## Not measured here", "", *_WAITS, ""]
    lines += ["## Errors in such texts, put right", ""]
    lines += [f"- *{wrong}* {right}" for wrong, right in ERRORS]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a Markdown table."""
    marks = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(map(str, row))} |" for row in (header, marks, *rows)]


def _claims(results: Results) -> list[str]:
    rows = []
    for number, claim in enumerate(CLAIMS, start=1):
        verdict = claim.verdict(results)
        shown = "open: not trained yet" if verdict == OPEN else verdict
        rows.append(
            f"{number}. *{claim.text}* {shown[0].upper()}{shown[1:]}{f' (`{claim.proof}`)' if claim.proof else ''}."
        )
    return rows


def _networks(trained: Mapping[str, Mapping[str, Any]]) -> list[str]:
    compared = bootstrap(trained)
    rows = []
    for variant in VARIANTS:
        found = trained.get(variant.name)
        if found is None:
            continue
        bleu, chrf, chance = compared[variant.name]
        sentences = len(found["hypotheses"])
        rows.append([
            variant.title, f"{found['parameters']:,}", bleu, chrf, chance, f"{found['nll']:.3f}",
            f"{found['train_speed']:,.0f}", f"{1000 * found['translate_seconds'] / sentences:.1f}",
        ])  # fmt: skip
    header = (
        "network",
        "parameters",
        "BLEU",
        "chrF2",
        "p",
        "nats a token",
        "training, tokens/s",
        "translating, ms/sentence",
    )
    some = next(iter(trained.values()))
    return [
        *table(header, rows),
        "",
        f"{some['sentences']} held-out sentences, greedy; mean and 95 % interval of {_SAMPLES:,} bootstrap samples; "
        "p: that the difference in BLEU from the Transformer of 4 heads is chance (paired bootstrap). "
        f"{some['bleu_signature']}; {some['chrf_signature']}. Each has seen {some['target_tokens']:,} target tokens.",
    ]


def bootstrap(trained: Mapping[str, Mapping[str, Any]], samples: int = _SAMPLES) -> dict[str, tuple[str, str, str]]:
    """BLEU and chrF2 with their intervals, and p against the base, of each network; the base, or else the first, is
    what all are compared with."""
    first = BASE if BASE in trained else next(iter(trained))
    names = [first, *(name for name in trained if name != first)]
    if len(names) == 1:
        return {first: (f"{trained[first]['bleu']:.1f}", f"{trained[first]['chrf']:.1f}", "")}
    references = [list(trained[first]["references"])]
    tokenize = CHARACTER_TOKENIZED.get(trained[first]["language"], "13a")
    metrics = {"BLEU": BLEU(tokenize=tokenize, references=references), "chrF2": CHRF(references=references)}
    systems = [(name, trained[name]["hypotheses"]) for name in names]
    _, scores = PairedTest(systems, metrics, None, test_type="bs", n_samples=samples)()
    found = {}
    for place, name in enumerate(names):
        bleu, chrf = (scores[metric][place] for metric in metrics)
        chance = "" if bleu.p_value is None else f"{bleu.p_value:.3f}"
        found[name] = (f"{bleu.mean:.1f} ± {bleu.ci:.1f}", f"{chrf.mean:.1f} ± {chrf.ci:.1f}", chance)
    return found


def _by_length(trained: Mapping[str, Mapping[str, Any]]) -> list[str]:
    shown = [variant for variant in VARIANTS if variant.name in _BY_LENGTH and variant.name in trained]
    rows = []
    for low, high in _BUCKETS:
        row: list[object] = [f"{low} to {high} tokens" if high < 1000 else f"{low} tokens or more"]
        for variant in shown:
            found = trained[variant.name]
            places = [place for place, length in enumerate(found["lengths"]) if low <= length <= high]
            row.append(_bleu_of(found, places))
        rows.append([row[0], f"{len(places)}" if shown else "", *row[1:]])
    return table(["source", "sentences", *(variant.title for variant in shown)], rows)


def _bleu_of(found: Mapping[str, Any], places: Sequence[int]) -> str:
    if not places:
        return "-"
    hypotheses, references = ([found[side][place] for place in places] for side in ("hypotheses", "references"))
    return f"{score(hypotheses, references, found['language']).bleu:.1f}"


def _cost(cost: Mapping[str, Any]) -> list[str]:
    rows = [
        [f"{length:,}", *(figure for name in ("full", "window") for figure in (
            f"{1000 * cost[name]['seconds'][place]:.1f}", f"{cost[name]['numbers'][place] / 1e6:.1f}",
        ))]
        for place, length in enumerate(cost["lengths"])
    ]  # fmt: skip
    rows.append(
        [
            "exponent",
            *(f"n^{cost[name][f'{kind}_exponent']}" for name in ("full", "window") for kind in ("seconds", "numbers")),
        ]
    )
    header = (
        "positions",
        "full, ms",
        "full, million numbers",
        f"window {cost['reach']}, ms",
        "window, million numbers",
    )
    return [
        *table(header, rows),
        "",
        f"One layer of self-attention of width {cost['width']} with 4 heads, forwards; exponents are fitted to the "
        "longer half.",
    ]


def _softmax(rows: Sequence[Mapping[str, float]]) -> list[str]:
    header = ("d_k", "variance of q . k", "largest weight, plain", "scaled", "gradient, plain", "scaled")
    shown = [
        [f"{row['width']:.0f}", f"{row['variance']:.1f}", f"{row['plain_weight']:.3f}", f"{row['scaled_weight']:.3f}",
         f"{row['plain_gradient']:.1e}", f"{row['scaled_gradient']:.1e}"]
        for row in rows
    ]  # fmt: skip
    return [
        *table(header, shown),
        "",
        "Random queries and keys, 32 keys each; the gradient is the norm of the softmax's Jacobian, its median over "
        "queries.",
    ]


def _influence(shares: Mapping[str, Sequence[float]]) -> list[str]:
    rows = [
        [
            distance,
            *(
                f"{shares[name][place]:.1e}" if not math.isnan(shares[name][place]) else "-"
                for name in ("lstm", "transformer")
            ),
        ]
        for place, distance in enumerate(shares["distances"])
    ]
    return [
        *table(("tokens before the last", "LSTM", "Transformer"), rows),
        "",
        "Gradient of the encoder's last state with respect to a token's embedding, as a share of that of the last "
        "token: untrained networks of one layer.",
    ]
