"""Does a sentence get the same result, to the last bit, alone and in any company? Asked of a running engine.

The tests ask it on the CPU, `benchmarks/gpu.py` on a GPU.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from model.corpus import read_tsv
from service.engine.jobs import Hypothesis, Job, SearchOptions
from service.engine.loading import LoadedEngine

SAMPLE = Path(__file__).parents[1] / "model" / "recipes" / "demo-data" / "tatoeba.tsv.gz"
CHINESE = (
    "我爱你",
    "今天天气很好。",
    "他说她没来。",
    "你能告诉我去车站的路吗？",
    "我今天早上在公园看到了一只非常可爱的小猫。",
)

Request = tuple[tuple[int, ...], SearchOptions]
Results = Sequence[tuple[Hypothesis, ...]]


def requests(loaded: LoadedEngine, count: int) -> list[Request]:
    """Sentences of every direction, from one word to several sentences in a row, with options of every kind."""
    rng = random.Random(7)
    pairs = read_tsv(SAMPLE, 1, 0)
    found = []
    for _ in range(count):
        french, english = zip(*rng.sample(pairs, rng.choice((1, 1, 1, 2, 4))), strict=True)
        text, target = rng.choice([(" ".join(french), "en"), (" ".join(english), "fr"), (rng.choice(CHINESE), "en")])
        source = tuple(loaded.vocabulary.encode_source(text, target))
        beam_size = rng.choice((1, 1, 1, 2, 3, 4, 5, 8))
        options = SearchOptions(
            beam_size=beam_size,
            num_hypotheses=rng.randint(1, beam_size),
            length_penalty=rng.choice((0.0, 0.6, 1.0, 1.5)),
            max_output_tokens=rng.choice((3, 12, 24, 2 * len(source) + 10)),
        )
        found.append((source, options))
    return found


def alone(loaded: LoadedEngine, wanted: Sequence[Request]) -> list[tuple[Hypothesis, ...]]:
    """One after the other."""
    results = []
    for source, options in wanted:
        job = Job(source, options)
        loaded.engine.submit([job])
        results.append(job.future.result(60))
    return results


def together(loaded: LoadedEngine, wanted: Sequence[Request], seed: int) -> list[tuple[Hypothesis, ...]]:
    """All of them in random order, as requests of one or of many sentences."""
    rng = random.Random(seed)
    jobs = [Job(source, options) for source, options in wanted]
    order = rng.sample(jobs, len(jobs))
    while order:
        size = rng.choice((1, 1, 2, 5, 40))
        some, order = order[:size], order[size:]
        loaded.engine.submit(some)
    return [job.future.result(300) for job in jobs]


def different(first: Results, second: Results) -> int:
    """Sentences whose results differ in any bit."""
    return sum(a != b for a, b in zip(first, second, strict=True))
