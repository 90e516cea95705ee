"""Sentences whose translation is beyond doubt, for whoever loads a bundle to try: see `model.bundle.SelfTest`."""

from __future__ import annotations

import torch

from export.network import Network
from model.bundle import SelfTest
from model.reference_search import next_log_probs
from model.shortlist import Shortlist

CLEAR_LEAD = 1.0
"""Nats that the best token must have before the second at every step, so that rounding cannot change the output."""
_LONGEST = 40
_SENTENCES = {
    "en": ("I don't know.", "She has two cats.", "I am happy.", "Tom is here."),
    "fr": ("Je ne sais pas.", "Elle a deux chats.", "Je suis fatigué.", "Tom est ici."),
    "zh": ("我爱你。", "她有两只猫。", "我喜欢咖啡。", "汤姆在这里。"),
}


def sentences_in(language: str) -> tuple[str, ...]:
    """A few sentences in a language, none where none are shipped."""
    return _SENTENCES.get(language.partition("-")[0], ())


def self_tests(network: Network, shortlist: Shortlist | None) -> tuple[SelfTest, ...]:
    """What PyTorch makes of a few sentences in some pairs of languages, choosing among what the bundle chooses among;
    none where the model is sure of nothing."""
    found = []
    for source, target in network.pairs():
        texts = sentences_in(source) or _SENTENCES["en"]
        tests = (_translated(network, shortlist, text, (source, target)) for text in texts)
        found += [test for test in tests if test is not None]
    return tuple(found)


@torch.inference_mode()
def _translated(network: Network, shortlist: Shortlist | None, text: str, pair: tuple[str, str]) -> SelfTest | None:
    """The greedy translation; None if a step of it was not clear, or it does not end."""
    model, tokenizer, config = network.model, network.tokenizer, network.model.config
    before, behind = tokenizer.source_frame(*pair)
    source = [*before, *tokenizer.encode(text), *behind]
    source_ids = torch.tensor([source])
    source_mask = torch.ones_like(source_ids, dtype=torch.bool)
    memory = model.encode(source_ids, source_mask)
    allowed = None if shortlist is None else torch.from_numpy(shortlist.of(source))
    forced = tokenizer.target_prefix(pair[1])
    prefix, log_prob = [config.start_id, *forced], 0.0
    while len(prefix) <= _LONGEST:
        log_probs = next_log_probs(model, torch.tensor([prefix]), memory, source_mask, allowed)[0]
        (best, second), (token, _) = (values.tolist() for values in log_probs.topk(2))
        if best - second < CLEAR_LEAD:
            return None
        log_prob += best
        if token == config.eos_id:
            written = tuple(prefix[1 + len(forced) :])
            return SelfTest(
                source_ids=tuple(source), target_prefix=forced, target_ids=written, log_prob=round(log_prob, 4)
            )
        prefix.append(token)
    return None
