"""The eighteen claims that introductions to "Attention Is All You Need" make, and the errors they make, with what the
study says to each. A claim is confirmed or corrected where there is a number, and open where there is none yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

Results = Mapping[str, Mapping[str, Any]]
"""Of each variant that has been trained, and of `measures`."""
OPEN = "open"


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """One sentence of the texts."""

    text: str
    verdict: Callable[[Results], str]
    """What a number says, or `OPEN`."""
    proof: str = ""
    """A test that shows it, where it is a matter of logic and not of degree."""


def _trained(*names: str) -> Callable[[Callable[..., str]], Callable[[Results], str]]:
    """A verdict on trained variants, open until all of them are."""

    def decorate(verdict: Callable[..., str]) -> Callable[[Results], str]:
        def judge(results: Results) -> str:
            missing = [name for name in names if name not in results]
            return OPEN if missing else verdict(*(results[name] for name in names))

        return judge

    return decorate


def _judged(is_so: bool, numbers: str) -> str:
    return f"{'confirmed' if is_so else 'not confirmed'}: {numbers}"


def _bleu(*results: Mapping[str, Any]) -> str:
    return " against ".join(f"{result['bleu']:.1f}" for result in results)


@_trained("lstm-fixed", "lstm-additive")
def _bottleneck(fixed: Mapping[str, Any], attention: Mapping[str, Any]) -> str:
    return _judged(attention["bleu"] > fixed["bleu"], f"BLEU {_bleu(fixed, attention)} with attention; by length below")


@_trained("lstm-additive", "transformer")
def _faster(lstm: Mapping[str, Any], transformer: Mapping[str, Any]) -> str:
    ratio = transformer["train_speed"] / lstm["train_speed"]
    return _judged(ratio > 1, f"{ratio:.1f} times the tokens a processor second of the LSTM with attention")


def _measured(verdict: Callable[[Mapping[str, Any]], str]) -> Callable[[Results], str]:
    return lambda results: verdict(results["measures"])


def _one_step(measures: Mapping[str, Any]) -> str:
    shares = measures["influence"]
    far, lstm, transformer = (shares[name][-1] for name in ("distances", "lstm", "transformer"))
    return _judged(
        lstm < 0.1 * transformer,
        f"{far} tokens away, an untrained LSTM's state depends on a token by {lstm:.1e} of what it does on the last, a "
        f"Transformer's by {transformer:.1e}",
    )


def _square(measures: Mapping[str, Any]) -> str:
    cost = measures["cost"]["full"]
    return _judged(
        cost["numbers_exponent"] > 1.5,
        f"numbers made grow as n^{cost['numbers_exponent']}, processor time as n^{cost['seconds_exponent']} (products "
        "with the weights, which grow as n, are in both)",
    )


def _window(measures: Mapping[str, Any]) -> str:
    cost = measures["cost"]["window"]
    grows = f"n^{cost['numbers_exponent']} and n^{cost['seconds_exponent']}"
    return _judged(cost["numbers_exponent"] < 1.2, f"{grows}; equal to full attention for r >= n")


def _order(measures: Mapping[str, Any]) -> str:
    without, with_them = (measures["order"][name] for name in ("no positions", "transformer"))
    return _judged(
        without < 1e-3 < with_them,
        f"logits of the two differ by {without:.0e} without positions, by {with_them:.1f} with them",
    )


def _rotation(measures: Mapping[str, Any]) -> str:
    return _judged(measures["rotation"] < 1e-4, f"to {measures['rotation']:.0e}")


def _scaling(measures: Mapping[str, Any]) -> str:
    narrow, wide = measures["softmax"]
    return _judged(
        wide["plain_gradient"] < 0.1 * wide["scaled_gradient"],
        f"variance {narrow['variance']:.0f} and {wide['variance']:.0f} for d_k 64 and 512; the median gradient of the "
        f"softmax is {narrow['plain_gradient']:.0e} and {wide['plain_gradient']:.0e} without the division, "
        f"{narrow['scaled_gradient']:.2f} and {wide['scaled_gradient']:.2f} with it",
    )


def _layers(measures: Mapping[str, Any]) -> str:
    millions = measures["six and six"] / 1e6
    return _judged(
        60 < millions < 66, f"{millions:.1f} million parameters with 37,000 tokens, as the paper's base model"
    )


@_trained("transformer", "learned-positions")
def _positions(fixed: Mapping[str, Any], learned: Mapping[str, Any]) -> str:
    return _judged(abs(fixed["bleu"] - learned["bleu"]) < 1, f"BLEU {_bleu(fixed, learned)} learned (within 1)")


@_trained("heads-1", "heads-2", "transformer", "heads-8")
def _heads(*results: Mapping[str, Any]) -> str:
    scores = [result["bleu"] for result in results]
    shown = ", ".join(f"{each:.1f}" for each in scores)
    return _judged(max(scores[1:]) > scores[0], f"BLEU of 1, 2, 4, 8 heads: {shown}")


@_trained("lstm-dot", "lstm-scaled-dot", "lstm-bilinear", "lstm-additive", "lstm-cosine")
def _similarities(*results: Mapping[str, Any]) -> str:
    scores = ", ".join(f"{result['bleu']:.1f}" for result in results)
    return f"all five train; BLEU of dot, scaled dot, bilinear, additive, cosine: {scores}"


@_trained("transformer", "no-smoothing", "no-norm", "no-residuals")
def _parts(*results: Mapping[str, Any]) -> str:
    names = ("whole", "without smoothing", "without norm", "without residuals")
    shown = ", ".join(f"{result['bleu']:.1f} {name}" for name, result in zip(names, results, strict=True))
    return _judged(all(results[0]["bleu"] > other["bleu"] for other in results[1:]), f"BLEU {shown}")


@_trained("small", "distilled", "transformer")
def _distilled(small: Mapping[str, Any], taught: Mapping[str, Any], teacher: Mapping[str, Any]) -> str:
    return _judged(
        taught["bleu"] > max(small["bleu"], 0.8 * teacher["bleu"]),
        f"BLEU {_bleu(small, taught)} taught; the teacher {teacher['bleu']:.1f}",
    )


def _logic(results: Results) -> str:
    return "confirmed by a test"


CLAIMS = (
    Claim("A fixed vector is a bottleneck; attention is its cure.", _bottleneck),
    Claim(
        "Every word sees every other in one step; a recurrent network needs as many as they are apart.",
        _measured(_one_step),
    ),
    Claim("All positions of a layer at once: training is faster than a recurrent network's.", _faster),
    Claim("The price is the square of the length.", _measured(_square)),
    Claim("Restricted self-attention takes the square away.", _measured(_window), "tests/model/test_window.py"),
    Claim("Without positions 我爱你 and 你爱我 are the same.", _measured(_order), "tests/model/test_architectures.py"),
    Claim(
        "The sinusoid of position p + k is a rotation of that of p.",
        _measured(_rotation),
        "tests/model/test_positions.py",
    ),
    Claim("Sinusoids and learned positions do equally well.", _positions),
    Claim("Without the division by sqrt(d_k) the softmax saturates and its gradient vanishes.", _measured(_scaling)),
    Claim("Several heads see several things.", _heads),
    Claim("Four similarities, and the cosine.", _similarities, "tests/model/test_similarity.py"),
    Claim(
        "Query, key and value of an LSTM's attention are its decoder's state and, twice, its encoder's states.",
        _logic,
        "tests/model/test_attention.py",
    ),
    Claim(
        "Masked self-attention replaces the recurrent decoder: steps with a cache give what the masked pass gives.",
        _logic,
        "tests/engine/test_architectures.py",
    ),
    Claim(
        "Prediction with the unknown rest padded equals decoding step by step.",
        _logic,
        "tests/model/test_transformer.py",
    ),
    Claim("Smoothing helps to generalise, norm trains faster, residuals make it stable.", _parts),
    Claim(
        "Six and six layers.",
        _measured(_layers),
        "tests/model/test_transformer.py",
    ),
    Claim(
        "Convolutional sequence to sequence was the parallel rival before.",
        lambda results: "left open: it is not built here",
    ),
    Claim("A distilled small model keeps most of the quality.", _distilled),
)

ERRORS = (
    (
        "d_k is 6, the number of tokens.",
        "d_k is the width of a key: 64 in a head of the paper's, whatever the sentence.",
    ),
    (
        "The result of attention is 512 x 64.",
        "It is tokens by width: 6 x 64 in a head, 6 x 512 with the heads joined. The matrices of a head are 512 x 64.",
    ),
    (
        "The outputs of the N layers are concatenated.",
        "Each layer's output is the next one's input. Concatenated are the heads of one layer.",
    ),
    ("Sine at even positions, cosine at odd ones.", "At even and odd dimensions, at every position."),
    ("The convolutional model concatenates its two embeddings.", "It adds word and position, too."),
    (
        "A product of 0 means parallel.",
        "It means perpendicular: nothing in common. Parallel vectors have the largest product.",
    ),
    (
        "The query is a word's absolute position, the key its relative one, the value a bias.",
        "They are three learned projections of one vector: what it looks for, what it is found by, what it gives.",
    ),
    (
        "Attention significantly reduces the computation.",
        "It is n^2 d where a recurrent layer's is n d^2: less only while sentences are shorter than the width.",
    ),
    ("Beyond 512 words a text must be cut.", "A limit of some models' learned positions, not of the network."),
    (
        "BERT and GPT are the models of machine translation.",
        "The one is an encoder alone, the other a decoder alone. Translation is what the whole was made for.",
    ),
)
