"""Does a sentence get the same result, to the last bit, alone and in any company? Asked of an engine, step by step.

The tests ask it on the CPU, `benchmarks/gpu.py` on a GPU.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from pathlib import Path

from model.corpus import read_tsv
from model.vocabulary import Vocabulary
from service.engine.loading import run_here
from service.engine.types import Answer, Hypothesis, Job, Lane, Request, SearchOptions, Steppable, result_of

SAMPLE = Path(__file__).parents[1] / "model" / "recipes" / "demo-data" / "tatoeba.tsv.gz"
CHINESE = (
    "我爱你",
    "今天天气很好。",
    "他说她没来。",
    "你能告诉我去车站的路吗？",
    "我今天早上在公园看到了一只非常可爱的小猫。",
)

Results = Sequence[tuple[Hypothesis, ...]]


def requests(vocabulary: Vocabulary, count: int) -> list[Job]:
    """Sentences of every direction, from one word to several sentences in a row, with options of every kind."""
    rng = random.Random(7)
    pairs = read_tsv(SAMPLE, 1, 0)
    found = []
    for _ in range(count):
        french, english = zip(*rng.sample(pairs, rng.choice((1, 1, 1, 2, 4))), strict=True)
        text, target = rng.choice([(" ".join(french), "en"), (" ".join(english), "fr"), (rng.choice(CHINESE), "en")])
        source = tuple(vocabulary.encode_source(text, target))
        beam_size = rng.choice((1, 1, 1, 2, 3, 4, 5, 8))
        options = SearchOptions(
            beam_size=beam_size,
            num_hypotheses=rng.randint(1, beam_size),
            length_penalty=rng.choice((0.0, 0.6, 1.0, 1.5)),
            max_output_tokens=rng.choice((3, 12, 24, 2 * len(source) + 10)),
        )
        found.append(Job(source, options))
    return found


def alone(engine: Steppable, jobs: Sequence[Job]) -> list[tuple[Hypothesis, ...]]:
    """One after the other."""
    return [result for job in jobs for result in run_here(engine, [job])]


def together(engine: Steppable, jobs: Sequence[Job], seed: int) -> list[tuple[Hypothesis, ...]]:
    """All of them in random order, as requests of one or of many sentences, some at once and some between two steps."""
    rng = random.Random(seed)
    order = rng.sample(range(len(jobs)), len(jobs))
    requests: list[list[int]] = []
    answers: list[Answer] = []
    while order or engine.busy:
        while order and rng.random() < 0.8:
            size = rng.choice((1, 1, 2, 5, 40))
            some, order = order[:size], order[size:]
            requests.append(some)
            lane = Lane.BULK if size == 40 else Lane.INTERACTIVE
            engine.add(Request(len(requests), lane, time.monotonic(), math.inf, [jobs[place] for place in some]))
        answers += engine.step()
    results = {requests[answer.number - 1][answer.place]: result_of(answer) for answer in answers}
    return [results[place] for place in range(len(jobs))]


def different(first: Results, second: Results) -> int:
    """Sentences whose results differ in any bit."""
    return sum(a != b for a, b in zip(first, second, strict=True))
