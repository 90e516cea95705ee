"""State on a device gives the very bits that state in the host's memory gives; here the device is the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.independence import different, requests, together
from model.bundle import StateSpec, read_manifest
from model.vocabulary import Vocabulary
from service.arrays import next_power_of_two
from service.engine.core import Decoder, Engine
from service.engine.decoder.device import DeviceGraphs
from service.engine.decoder.device_store import DeviceStore
from service.engine.decoder.opening import OnnxDecoder, capacity_for
from service.engine.decoder.runtime import Runtime
from service.engine.decoder.slots import Sizes, Slots
from service.engine.search import BeamGroup
from service.engine.types import DeviceError, Hypothesis, SearchOptions

TEXTS = (
    "Merci !", "Je suis étudiant.", "Où est la gare ?", "Il fait très beau aujourd'hui et nous allons au parc.",
    "Elle n'a jamais dit à personne ce qui s'était passé cette nuit-là.", "Bonjour.", "Tom est parti sans dire un mot.",
)  # fmt: skip


@given(st.integers(0, 10**6))
def test_buckets_are_the_next_powers_of_two(count: int) -> None:
    size = next_power_of_two(count)
    assert size.bit_count() == 1
    assert max(count, 1) <= size < 2 * max(count, 1)


@pytest.fixture(scope="module")
def host(shipped_fp32_bundle: Path) -> OnnxDecoder:
    manifest = read_manifest(shipped_fp32_bundle)
    return OnnxDecoder(Runtime(shipped_fp32_bundle, manifest, device="cpu", threads=1), None)


@pytest.fixture(scope="module")
def device(shipped_fp32_bundle: Path) -> OnnxDecoder:
    manifest = read_manifest(shipped_fp32_bundle)
    runtime = Runtime(shipped_fp32_bundle, manifest, device="cpu", threads=1, state_on_device=True)
    return OnnxDecoder(runtime, None)


@pytest.fixture(scope="module")
def sources(shipped_fp32_bundle: Path) -> list[tuple[int, ...]]:
    vocabulary = Vocabulary.load(shipped_fp32_bundle / "vocabulary.spm")
    return [tuple(vocabulary.encode_source(text, "en")) for text in TEXTS * 3]


def graphs_of(decoder: OnnxDecoder) -> DeviceGraphs:
    graphs = decoder._runtime._on_device
    assert graphs is not None
    return graphs


def slots_of(decoder: OnnxDecoder, beam_size: int, fixed: Sizes | None = None) -> Slots:
    return Slots(DeviceStore(decoder._runtime.spec, beam_size, graphs_of(decoder), fixed), beam_size)


def search(
    decoder: Decoder, group: BeamGroup[int], sources: Sequence[tuple[int, ...]], options: SearchOptions, joins: int
) -> dict[int, tuple[Hypothesis, ...]]:
    """`joins` sentences join before each step."""
    results: dict[int, tuple[Hypothesis, ...]] = {}
    waiting = list(range(len(sources)))
    while waiting or group.rows:
        new, waiting = waiting[:joins], waiting[joins:]
        for one in new:
            group.join([one], [options], decoder.encode([sources[one]]))
        result = group.step()
        assert not result.failed
        results.update(result.finished)
    return results


@pytest.mark.parametrize("joins", [1, 21])
@pytest.mark.parametrize(
    "options",
    [
        SearchOptions(max_output_tokens=40),
        SearchOptions(beam_size=4, num_hypotheses=4, max_output_tokens=40),
        SearchOptions(beam_size=3, max_output_tokens=40, no_repeat_ngram_size=2, repetition_penalty=1.3),
        SearchOptions(max_output_tokens=40, target_prefix=(300, 301)),
    ],
)
def test_free_slots_and_padded_rows_change_no_bit(
    host: OnnxDecoder,
    device: OnnxDecoder,
    sources: list[tuple[int, ...]],
    options: SearchOptions,
    joins: int,
) -> None:
    def found(decoder: OnnxDecoder) -> dict[int, tuple[Hypothesis, ...]]:
        group: BeamGroup[int] = BeamGroup(decoder.open_slots(options.beam_size), options.beam_size)
        return search(decoder, group, sources, options, joins)

    assert found(device) == found(host)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_fixed_sizes_change_no_bit_and_are_bound_once(
    host: OnnxDecoder, device: OnnxDecoder, sources: list[tuple[int, ...]], beam_size: int
) -> None:
    """What CUDA graphs run over: buffers that never move, lengths that never change."""
    options = SearchOptions(beam_size=beam_size, max_output_tokens=40)
    slots = slots_of(device, beam_size, Sizes(sentences=32, source=64, places=64))
    group: BeamGroup[int] = BeamGroup(slots, beam_size)
    first = search(device, group, sources, options, 2)
    steps, held = dict(slots._steps), slots.nbytes
    again = search(device, group, sources, options, 2)
    expected = search(host, BeamGroup(host.open_slots(beam_size), beam_size), sources, options, 2)
    assert first == again == expected
    assert slots.nbytes == held
    # A step for every power of two of slots and either side of the buffers, and none that was made twice.
    assert all(slots._steps[key] is step for key, step in steps.items())
    assert len(slots._steps) <= 4 * 6
    with pytest.raises(ValueError, match="more than the fixed"):
        group.join([0] * 33, [options] * 33, device.encode([sources[0]] * 33))


def test_arrays_grow_with_what_runs_and_large_ones_are_given_back(
    device: OnnxDecoder, sources: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = slots_of(device, 1)
    before = slots.nbytes
    monkeypatch.setattr("service.engine.decoder.device_store.DeviceStore.kept_bytes", before)
    group: BeamGroup[int] = BeamGroup(slots, 1)
    options = SearchOptions(max_output_tokens=3)
    group.join(range(21), [options] * 21, device.encode([sources[4]] * 21))
    assert slots.nbytes > 2 * before
    while group.rows:
        group.step()
    assert slots.nbytes == before


def test_state_that_the_device_cannot_move_is_refused(shipped_fp32_bundle: Path) -> None:
    manifest = read_manifest(shipped_fp32_bundle)
    hidden = StateSpec(kind="replaced", input="hidden", output="next_hidden", dtype="float32", shape=("R", 3))
    other = manifest.model_copy(update={"states": (*manifest.states, hidden)})
    with pytest.raises(DeviceError, match="cannot keep its state on a device"):
        Runtime(shipped_fp32_bundle, other, device="cpu", threads=1, state_on_device=True)


def test_cuda_graphs_need_fixed_sizes(device: OnnxDecoder) -> None:
    graphs = graphs_of(device)
    graphs.uses_cuda_graphs = True
    try:
        with pytest.raises(ValueError, match="fixed sizes"):
            slots_of(device, 1)
        slots = device.open_slots(4)
    finally:
        graphs.uses_cuda_graphs = False
    # 512 rows, and the longest texts the bundle takes.
    assert slots._sizes == Sizes(sentences=128, source=256, places=512)


def test_a_busy_engine_gives_the_same_bits_on_either_side(
    shipped_fp32_bundle: Path, host: OnnxDecoder, device: OnnxDecoder
) -> None:
    wanted = requests(Vocabulary.load(shipped_fp32_bundle / "vocabulary.spm"), 150)
    on_host, on_device = (Engine(decoder, capacity_for(256, encode_tokens=1024)) for decoder in (host, device))
    assert different(together(on_host, wanted, seed=1), together(on_device, wanted, seed=2)) == 0
