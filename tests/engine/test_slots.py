"""Slots against a plain list of sentences, through random histories of joining, stepping, reordering and leaving."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from model.bundle import StateSpec
from service.engine.decoder.host_store import HostStore, _Growing
from service.engine.decoder.slots import Slots, State, StepSpec

Array = npt.NDArray[Any]

STATES = (
    StateSpec(kind="per_source", input="memory", output="memory", dtype="float32", shape=("N", 2, "S", 1)),
    StateSpec(kind="growing", input="past", output="present", dtype="float32", shape=("R", 2, "P", 1)),
    StateSpec(kind="replaced", input="hidden", output="next_hidden", dtype="float32", shape=("R", 3)),
)


class ArithmeticRuntime:
    """A step whose candidates are sums of everything a row should know."""

    def __init__(self, min_rows: int) -> None:
        self.min_rows = min_rows
        self.binds = 0

    def open_slots(self, beam_size: int) -> Slots:
        return Slots(HostStore(StepSpec(STATES, 64, 100, self.min_rows), beam_size, self.bind), beam_size)

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Callable[[], None]:
        self.binds += 1

        def step() -> None:
            rows = inputs["lengths"].size
            assert rows >= self.min_rows
            assert outputs["candidate_ids"].shape == (rows, inputs["num_candidates"][0])
            assert np.shares_memory(outputs["present"], inputs["past"])
            assert not np.shares_memory(outputs["next_hidden"], inputs["hidden"])
            assert inputs["lengths"].max() < inputs["longest"] <= inputs["past"].shape[2]
            tokens = inputs["token_ids"].reshape(rows)
            inputs["past"][np.arange(rows), :, inputs["lengths"]] = tokens[:, None, None]
            outputs["next_hidden"][...] = inputs["hidden"] / 2 + tokens[:, None]
            beams = inputs["token_ids"].shape[1]
            for row in range(rows):
                sentence = row // beams
                past = inputs["past"][row, 0, : inputs["lengths"][row] + 1, 0]
                memory = inputs["memory"][sentence, 1, :, 0] * inputs["source_mask"][sentence]
                value = memory.sum() + (past * np.arange(1, len(past) + 1)).sum() + outputs["next_hidden"][row, 2]
                outputs["candidate_log_probs"][row] = value

        return step


@dataclasses.dataclass
class Known:
    """What one sentence should have in its slot."""

    memory: Array
    beams: list[list[int]]

    def expected(self) -> list[float]:
        values = []
        for tokens in self.beams:
            hidden = 0.0
            for token in tokens:
                hidden = hidden / 2 + token
            values.append(float(self.memory.sum() + sum((i + 1) * t for i, t in enumerate(tokens)) + hidden))
        return values


def join(slots: Slots, known: list[Known], rng: random.Random, beams: int) -> None:
    count, source = rng.randint(1, 7), rng.randint(1, 48)
    values = np.array([[rng.randint(1, 9) for _ in range(source)] for _ in range(count)], np.float32)
    mask = np.array([[int(rng.random() < 0.7) for _ in range(source)] for _ in range(count)], np.int32)
    memory = np.stack([values + 100, values], axis=1)[..., None]
    slots.join({"source_mask": mask, "memory": memory})
    known += [Known(values[i] * mask[i], [[] for _ in range(beams)]) for i in range(count)]


def step(slots: Slots, known: list[Known], rng: random.Random, beams: int) -> None:
    tokens = np.array([[rng.randint(1, 99) for _ in range(beams)] for _ in known])
    slots.token_ids[: slots.count] = tokens
    values, _ = slots.step(3)
    for sentence, row in zip(known, tokens.tolist(), strict=True):
        sentence.beams = [[*beam, token] for beam, token in zip(sentence.beams, row, strict=True)]
    expected = np.array([sentence.expected() for sentence in known])
    assert values[:, 0].reshape(expected.shape) == pytest.approx(expected)
    slots.lengths[: slots.count] += 1


def leave(slots: Slots, known: list[Known], rng: random.Random) -> list[Known]:
    gone = sorted(rng.sample(range(len(known)), rng.randint(1, len(known))))
    kept = slots.leave(gone)
    assert sorted([*kept.tolist(), *gone]) == list(range(len(known)))
    return [known[slot] for slot in kept.tolist()]


def reorder(slots: Slots, known: list[Known], rng: random.Random, beams: int) -> list[list[int]]:
    indices = np.array([[rng.randrange(beams) for _ in range(beams)] for _ in known])
    slots.reorder(indices)
    for sentence, row in zip(known, indices.tolist(), strict=True):
        sentence.beams = [list(sentence.beams[beam]) for beam in row]
    origins: list[list[int]] = indices.tolist()
    return origins


@pytest.mark.parametrize("seed", range(12))
def test_every_row_keeps_what_is_its_own(seed: int) -> None:
    rng = random.Random(seed)
    beams, min_rows = rng.choice([1, 2, 4]), rng.choice([1, 2])
    slots = ArithmeticRuntime(min_rows).open_slots(beams)
    known: list[Known] = []
    for _ in range(60):
        if not known or (rng.random() < 0.25 and len(known) < 30):
            join(slots, known, rng, beams)
        if max(len(sentence.beams[0]) for sentence in known) < 60:
            step(slots, known, rng, beams)
            reorder(slots, known, rng, beams)
        else:
            known = leave(slots, known, rng)
        if known and rng.random() < 0.2:
            known = leave(slots, known, rng)
        assert slots.count == len(known)


@pytest.mark.parametrize("seed", range(4))
def test_only_beams_of_which_one_became_two_are_copied(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[int] = []

    def noting(copy: Callable[..., None]) -> Callable[..., None]:
        def noted(state: State, source: Array, target: Array, filled: int) -> None:
            assert not set(source.tolist()) & set(target.tolist())
            copied.append(len(source))
            copy(state, source, target, filled)

        return noted

    monkeypatch.setattr(_Growing, "copy", noting(_Growing.copy))
    rng = random.Random(seed)
    slots, known = ArithmeticRuntime(1).open_slots(4), list[Known]()
    join(slots, known, rng, 4)
    for _ in range(20):
        step(slots, known, rng, 4)
        copied.clear()
        origins = reorder(slots, known, rng, 4)
        assert sum(copied) == sum(4 - len(set(row)) for row in origins)


def test_a_step_of_the_same_sentences_is_bound_once() -> None:
    runtime = ArithmeticRuntime(1)
    slots = runtime.open_slots(2)
    known: list[Known] = []
    rng = random.Random(0)
    join(slots, known, rng, 2)
    for _ in range(20):
        step(slots, known, rng, 2)
    assert runtime.binds == 1


@pytest.mark.parametrize("kept_bytes", [0, 2**20])
def test_only_large_buffers_are_given_back_when_the_last_sentence_leaves(
    kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.engine.decoder.host_store.HostStore.kept_bytes", kept_bytes)
    slots = ArithmeticRuntime(1).open_slots(1)
    first = slots.token_ids.shape
    known: list[Known] = []
    rng = random.Random(1)
    while len(known) < 40:
        join(slots, known, rng, 1)
    full = slots.token_ids.shape
    assert full[0] >= 40
    slots.leave(list(range(len(known))))
    assert slots.token_ids.shape == (full if kept_bytes else first)
    known = []
    join(slots, known, rng, 1)
    step(slots, known, rng, 1)


def test_the_steps_that_are_kept_are_bounded_and_one_that_is_used_again_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.decoder.slots._STEP_BYTES", 12 * 3 * 200)  # 200 candidates of three rows
    runtime = ArithmeticRuntime(min_rows=1)
    slots, rng = runtime.open_slots(1), random.Random(1)
    slots.join({"source_mask": np.ones((3, 4), np.int32), "memory": np.ones((3, 2, 4, 1), np.float32)})
    for candidates in range(2, 90):
        slots.step(2)
        slots.step(candidates)
        slots.lengths[:3] = rng.randrange(8)
        assert sum(step.nbytes for step in slots._steps.values()) == slots._step_bytes <= 12 * 3 * 200
    assert runtime.binds == 88  # the one with two candidates was bound once
    slots.step(300)  # larger than all that may be kept
    assert list(slots._steps) == [(3, 300)]
