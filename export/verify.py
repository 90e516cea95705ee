"""Run the written graphs in ONNX Runtime and hold them against PyTorch in fp32, on shapes that were not traced.

Names are compared as sets first, then values; every fault is collected before anything is raised.
Shapes: N sentences, K beams, S source tokens, T target tokens, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: a thread would report home otherwise
import onnxruntime

from export.output import excluded_ids, suppressed_ids
from export.scorer import stacked
from export.verify_internals import internals_faults
from model.bundle import GraphSpec, Limits, Precision
from model.config import ModelConfig
from model.errors import BundleError
from model.network import EncoderDecoder
from model.transformer import Transformer
from model.vocabulary import PAD_ID

Array = npt.NDArray[Any]
_FIRST_PIECE = 4
"""Ids below are special in our own vocabularies; in those of others any will do."""

SHAPES = ((1, 1, 3, 1), (1, 4, 17, 9), (3, 1, 8, 12), (5, 3, 31, 20), (2, 8, 64, 40))
"""(N, K, S, T) of each check; the traced shape was (2, 3, 5, 4). One more is (1, 1, longest source, longest target)."""

TOLERANCE = {"fp32": 2e-4, "fp16": 5e-2, "int8": None}
"""Largest difference of a log-probability allowed; int8 is judged by `AGREEMENT`, and by BLEU."""

AGREEMENT = {"fp32": 1.0, "fp16": 0.99, "int8": 0.9}
"""Smallest share of steps whose best token must be PyTorch's, where PyTorch's lead is clear."""

_CLEAR_LEAD = 0.5
"""Nats between best and second best from which a choice is not a coin toss."""


@dataclasses.dataclass(frozen=True, slots=True)
class ShapeAgreement:
    """One row of the parity table."""

    shape: tuple[int, int, int, int]
    log_prob_difference: float
    attention_difference: float
    same_best_token: float


@dataclasses.dataclass(frozen=True, slots=True)
class Agreement:
    """The parity table."""

    precision: Precision
    rows: tuple[ShapeAgreement, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)

    def table(self) -> str:
        """For a person."""
        lines = ["  N  K   S   T   max |log p|   max |attention|   same best token"]
        for row in self.rows:
            n, k, s, t = row.shape
            lines.append(
                f"{n:3d}{k:3d}{s:4d}{t:4d}   {row.log_prob_difference:11.2e}   {row.attention_difference:15.2e}   "
                f"{row.same_best_token:15.1%}"
            )
        return "\n".join(lines)


def verify_bundle(
    directory: Path, graphs: dict[str, GraphSpec], model: EncoderDecoder, precision: Precision, limits: Limits
) -> Agreement:
    """Compare all graphs with `model` (fp32), up to the longest source and the longest output.

    Raises:
        BundleError: names differ, or values differ by more than the precision allows; the message lists every fault.
    """
    sessions = {name: _session(directory / spec.file) for name, spec in graphs.items()}
    faults = [fault for name, spec in graphs.items() for fault in _name_faults(name, sessions[name], spec)]
    if faults:
        raise BundleError("exported graphs do not match their contract: " + "; ".join(faults))
    shapes = [shape for shape in SHAPES if shape[2] <= limits.source_tokens and shape[3] <= limits.target_tokens]
    shapes.append((1, 1, limits.source_tokens, limits.target_tokens))
    rows = tuple(_compare(sessions, model, shape, seed) for seed, shape in enumerate(shapes))
    agreement = Agreement(precision, rows)
    faults = _value_faults(agreement)
    if "internals" in sessions and isinstance(model, Transformer):
        faults += internals_faults(sessions["internals"], sessions["scorer"], model, precision)
    if faults:
        raise BundleError("exported graphs do not agree with PyTorch: " + "; ".join(faults) + "\n" + agreement.table())
    return agreement


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()  # of a small network each would wait for the others
    # As the service does: on processors whose 8-bit sums saturate, exact kernels; elsewhere it changes nothing.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _name_faults(name: str, session: onnxruntime.InferenceSession, spec: GraphSpec) -> list[str]:
    faults = []
    for kind, found, wanted in (
        ("inputs", session.get_inputs(), spec.inputs),
        ("outputs", session.get_outputs(), spec.outputs),
    ):
        found_types = {value.name: value.type for value in found}
        wanted_types = {tensor.name: _ORT_TYPES[tensor.dtype] for tensor in wanted}
        if found_types != wanted_types:
            faults.append(f"{name} {kind}: {sorted(found_types.items() ^ wanted_types.items())}")
    return faults


_ORT_TYPES = {
    "int8": "tensor(int8)",
    "int32": "tensor(int32)",
    "int64": "tensor(int64)",
    "bool": "tensor(bool)",
    "float32": "tensor(float)",
    "float16": "tensor(float16)",
}


def _value_faults(agreement: Agreement) -> list[str]:
    tolerance, least = TOLERANCE[agreement.precision], AGREEMENT[agreement.precision]
    faults = []
    for row in agreement.rows:
        if tolerance is not None and not row.log_prob_difference <= tolerance:
            faults.append(f"shape {row.shape}: log-probabilities differ by {row.log_prob_difference:.2e}")
        if not row.same_best_token >= least:
            faults.append(f"shape {row.shape}: only {row.same_best_token:.1%} of the best tokens agree")
        if not np.isfinite(row.log_prob_difference) or not np.isfinite(row.attention_difference):
            faults.append(f"shape {row.shape}: not finite")
    return faults


def _compare(
    sessions: dict[str, onnxruntime.InferenceSession],
    model: EncoderDecoder,
    shape: tuple[int, int, int, int],
    seed: int,
) -> ShapeAgreement:
    n, k, s, t = shape
    config = model.config
    rng = np.random.default_rng(seed)
    source_ids, source_mask = _random_sources(rng, n, s, config)
    # Beams of a sentence differ in their prefix: as rows of a batch for PyTorch, as [N, K, T] for the decoder.
    prefixes = rng.integers(_FIRST_PIECE, config.output_size, (n, k, t))
    prefixes[:, :, 0] = config.start_id
    labels = np.concatenate([prefixes[:, 0, 1:], np.full((n, 1), config.eos_id)], axis=1)
    found = _decoder_log_probs(sessions, source_ids, source_mask, prefixes, config)
    expected = _torch_scores(model, source_ids, source_mask, prefixes, found.best_ids, labels)
    inputs = {
        "source_ids": source_ids,
        "source_mask": source_mask,
        "target_ids": prefixes[:, 0],
        "labels": labels,
        "allowed": np.ones((n, config.output_size), np.bool_),
    }
    scored, _, _, cross = sessions["scorer"].run(None, inputs)
    clear = expected.leads > _CLEAR_LEAD
    same = found.best_ids == expected.best_ids
    differences = (found.best_log_probs - expected.found_log_probs, scored - expected.label_log_probs)
    return ShapeAgreement(
        shape=shape,
        log_prob_difference=float(max(np.abs(each).max() for each in differences)),
        attention_difference=float(np.abs(cross - expected.cross).max(initial=0.0)),
        same_best_token=float(same[clear].mean()) if clear.any() else 1.0,
    )


def _random_sources(rng: np.random.Generator, n: int, s: int, config: ModelConfig) -> tuple[Array, Array]:
    """Ragged sources: the first is full, the others shorter and padded."""
    lengths = [s, *rng.integers(1, s + 1, n - 1)]
    ids = rng.integers(_FIRST_PIECE, config.vocabulary_size, (n, s))
    mask = np.arange(s) < np.array(lengths)[:, None]
    ids[~mask] = PAD_ID
    return ids, mask


@dataclasses.dataclass(frozen=True, slots=True)
class _Scores:
    """What PyTorch says of every prefix position, without keeping V numbers for each."""

    best_ids: Array  # [N, K, T]
    leads: Array  # [N, K, T] of the best before the second, in nats
    found_log_probs: Array  # [N, K, T] of the tokens the decoder graph thinks best
    label_log_probs: Array  # [N, T] of the labels after beam 0, where nothing is suppressed
    cross: Array  # [N, L, H, T, S] attention of beam 0


@torch.inference_mode()
def _torch_scores(
    model: EncoderDecoder, source_ids: Array, source_mask: Array, prefixes: Array, found_ids: Array, labels: Array
) -> _Scores:
    n, k, t = prefixes.shape
    rows = torch.from_numpy(prefixes.reshape(n * k, t))
    ids = torch.from_numpy(source_ids).repeat_interleave(k, dim=0)
    mask = torch.from_numpy(source_mask).repeat_interleave(k, dim=0)
    states, attention = model.states_with_attention(ids, mask, rows)
    found = torch.from_numpy(found_ids.reshape(n * k, t))
    wanted = torch.from_numpy(labels).repeat_interleave(k, dim=0)
    best, leads, of_found, of_labels = (torch.zeros(n * k, t) for _ in range(4))
    for place in range(t):
        log_probs = (model.project(states[:, place]) + excluded_ids(model.config)).log_softmax(-1)
        of_labels[:, place] = log_probs.gather(1, wanted[:, place, None])[:, 0]
        possible = log_probs + suppressed_ids(model.config)
        (first, second), (token, _) = (part.T for part in possible.topk(2))
        best[:, place], leads[:, place] = token, first - second
        of_found[:, place] = possible.gather(1, found[:, place, None])[:, 0]
    by_beam = [part.unflatten(0, (n, k)).numpy() for part in (best, leads, of_found, of_labels)]
    cross = stacked(attention.cross, rows, ids).unflatten(0, (n, k))[:, 0]
    return _Scores(*by_beam[:3], by_beam[3][:, 0], cross.numpy())


@dataclasses.dataclass(frozen=True, slots=True)
class _Steps:
    """The best continuation of every prefix, one decoder step after another."""

    best_ids: Array  # [N, K, T]
    best_log_probs: Array  # [N, K, T]


def _everything(columns: onnxruntime.InferenceSession, rows: int, config: ModelConfig) -> dict[str, Array]:
    """The shortlist that leaves nothing out, which makes a step comparable with PyTorch's."""
    ids = np.flatnonzero(excluded_ids(config).numpy() == 0)
    weights = columns.run(None, {"ids": np.concatenate([[PAD_ID], ids])})  # the first column stands for no token
    named = {output.name: value for output, value in zip(columns.get_outputs(), weights, strict=True)}
    bias = np.zeros(len(ids) + 1, np.float16 if named["output_weights"].dtype == np.float16 else np.float32)
    bias[0] = -np.inf
    return {
        "shortlist_ids": np.tile(ids, (rows, 1)),
        "shortlist_columns": np.tile(np.arange(1, len(ids) + 1), (rows, 1)),
        "output_bias": bias,
        **named,
    }


def encode(encoder: onnxruntime.InferenceSession, source_ids: Array, source_mask: Array) -> list[Array]:
    """Memory of padded sources, which a packed encoder gets end to end and returns as [1, H, T, d] each."""
    if "source_mask" in {value.name for value in encoder.get_inputs()}:
        return list(encoder.run(None, {"source_ids": source_ids, "source_mask": source_mask}))
    sentences, positions = np.nonzero(source_mask)
    inputs = {"source_ids": source_ids[source_mask], "positions": positions, "sentences": sentences}
    memory = []
    for packed in encoder.run(None, inputs):
        _, heads, _, width = packed.shape
        padded = np.zeros((len(source_ids), heads, source_ids.shape[1], width), packed.dtype)
        padded[sentences, :, positions] = packed[0].transpose(1, 0, 2)
        memory.append(padded)
    return memory


def _decoder_log_probs(
    sessions: dict[str, onnxruntime.InferenceSession],
    source_ids: Array,
    source_mask: Array,
    prefixes: Array,
    config: ModelConfig,
) -> _Steps:
    """Force `prefixes` through the decoder step by step."""
    n, k, t = prefixes.shape
    encoder, decoder = sessions["encoder"], sessions["decoder"]
    memory_values = encode(encoder, source_ids, source_mask)
    memory = dict(zip([output.name for output in encoder.get_outputs()], memory_values, strict=True))
    past_inputs = [value for value in decoder.get_inputs() if value.name.startswith("past_")]
    best_ids, best_log_probs = np.zeros((n, k, t), np.int64), np.zeros((n, k, t))
    # Two places more than needed: what lies behind a row's length must not matter, so it is not zero.
    shapes = {value.name: [{"R": n * k, "P": t + 2}.get(size, size) for size in value.shape] for value in past_inputs}
    past = {name: np.full(shape, 7.0, memory_values[0].dtype) for name, shape in shapes.items()}
    shortlist = {}
    if "columns" in sessions:
        shortlist = _everything(sessions["columns"], n * k, config)
    for step in range(t):
        values = decoder.run(
            None,
            {
                "token_ids": prefixes[:, :, step],
                "lengths": np.full(n * k, step, np.int32),
                "longest": np.array(step + 1, np.int32),
                "num_candidates": np.array([1]),
                "source_mask": source_mask,
                **memory,
                **past,
                **shortlist,
            },
        )
        best_log_probs[:, :, step] = values[0].reshape(n, k)
        best_ids[:, :, step] = values[1].reshape(n, k)
        past = dict(zip(past, values[2:], strict=True))
    return _Steps(best_ids, best_log_probs)
