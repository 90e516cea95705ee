"""Names, types and axes of every graph: what `torch.onnx.export` is told, and what the manifest says.

Shapes as in `export.graphs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from export.calibrate import PROJECTION
from export.graphs import DecoderStep, Encoder, PackedEncoder
from export.internals import ATTENTION_PARTS, Internals
from export.lstm_graphs import LstmEncoder, LstmScorer, LstmStep
from export.moves import PutRows, TakeRows
from export.output import OutputColumns, ShortlistOnly, WholeVocabulary
from export.scaling import Scaling
from export.scorer import Scorer
from export.states import state_specs
from model.bundle import MOVES, GraphName, StateKind, StateSpec, TensorSpec
from model.lstm import LstmEncoderDecoder
from model.network import EncoderDecoder
from model.transformer import Transformer


@dataclasses.dataclass(frozen=True, slots=True)
class GraphExport:
    """All that `torch.onnx.export` needs to know of one graph."""

    name: str
    module: nn.Module
    example: tuple[object, ...]
    dynamic_shapes: tuple[object, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def graph_exports(
    model: EncoderDecoder,
    float_type: str,
    *,
    with_shortlist: bool,
    with_internals: bool = False,
    scalings: Mapping[str, Scaling] | None = None,
) -> tuple[GraphExport, ...]:
    """The graphs of a model whose weights are `float_type` (`float32` or `float16`).

    fp16 graphs compute in fp16 from the embedding to the logits; log-softmax, all scores and all attention weights that
    leave a graph are fp32. Masks are bool, ids int64, lengths int32, state has the type of the weights.
    `with_internals`: for models that `has_internals` of.
    `scalings` (`export.calibrate`) make those that take a part of the weights as an input take int8.
    """
    states = state_specs(model.config, float_type)
    is_for_cpu = scalings is not None
    # Sentences end to end, for int8 on the CPU. Not in floating point: there a token's products depend, in their last
    # bits, on how many there are.
    packs = is_for_cpu and isinstance(model, Transformer)
    whole = [_packed_encoder_export(model, states) if packs else _encoder_export(model, states), _scorer_export(model)]
    if not is_for_cpu:
        kinds = dict.fromkeys(state.kind for state in states)
        whole += [move for kind in kinds for move in _state_moves(states, kind)]
    # The last: the weights that the others need lie in the same places with it and without.
    last = (_internals_export(_transformer(model)),) if with_internals else ()
    if not with_shortlist:
        return *whole, _decoder_export(model, WholeVocabulary(model), states, ()), *last
    scaling = None if scalings is None else scalings[PROJECTION]
    columns, output = _columns_export(model, float_type, scaling), ShortlistOnly(scaling)
    return *whole, _decoder_export(model, output, states, _shortlist_inputs(columns, float_type)), columns, *last


def named_scalings(scalings: Mapping[str, Scaling]) -> dict[str, Scaling]:
    """Of the inputs of the model's linear maps, by the names of biases, or else matrices, in the graphs."""
    named = {f"model.{name}.bias": scaling for name, scaling in scalings.items() if name != PROJECTION}
    joined = {
        f"projections.{name.split('.')[1]}.bias": scaling
        for name, scaling in scalings.items()
        if name.startswith("decoder.") and name.endswith("self_attention.query")
    }
    # By the matrix where it is an embedding's too, else by what is added behind it.
    embeddings = ("model.embedding.tokens.weight", "model.own_target_embedding.tokens.weight")
    output = (*embeddings, "model.output.weight", "model.output.bias", "output.bias")
    return {**named, **joined, **dict.fromkeys(output, scalings[PROJECTION])}


def _inputs(states: Sequence[StateSpec]) -> tuple[TensorSpec, ...]:
    """What the decoder reads."""
    return tuple(TensorSpec(name=state.input, dtype=state.dtype, shape=state.shape) for state in states)


def _outputs(states: Sequence[StateSpec]) -> tuple[TensorSpec, ...]:
    """What the encoder, or the decoder, makes."""
    return tuple(TensorSpec(name=state.output, dtype=state.dtype, shape=state.shape) for state in states)


def _memory(states: Sequence[StateSpec]) -> tuple[StateSpec, ...]:
    return tuple(state for state in states if state.kind == "per_source")


def _encoder_export(model: EncoderDecoder, states: Sequence[StateSpec]) -> GraphExport:
    """Sentences of several lengths side by side, padded: on a device with many small cores a run of its own for each
    would cost more."""
    inputs = (
        TensorSpec(name="source_ids", dtype="int64", shape=("N", "S")),
        TensorSpec(name="source_mask", dtype="bool", shape=("N", "S")),
    )
    example = (torch.full((2, 5), 7), torch.ones(2, 5, dtype=torch.bool))
    module = LstmEncoder(model) if isinstance(model, LstmEncoderDecoder) else Encoder(_transformer(model))
    return GraphExport("encoder", module, example, _dynamic(inputs), inputs, _outputs(_memory(states)))


def _packed_encoder_export(model: EncoderDecoder, states: Sequence[StateSpec]) -> GraphExport:
    names = ("source_ids", "positions", "sentences")
    inputs = tuple(TensorSpec(name=name, dtype="int64", shape=("T",)) for name in names)
    example = (torch.full((7,), 7), torch.tensor([0, 1, 2, 0, 1, 2, 3]), torch.tensor([0, 0, 0, 1, 1, 1, 1]))
    outputs = tuple(
        spec.model_copy(update={"shape": (1, spec.shape[1], "T", spec.shape[3])}) for spec in _outputs(_memory(states))
    )
    return GraphExport("encoder", PackedEncoder(_transformer(model)), example, _dynamic(inputs), inputs, outputs)


def _transformer(model: EncoderDecoder) -> Transformer:
    assert isinstance(model, Transformer)
    return model


def _state_moves(states: Sequence[StateSpec], kind: StateKind) -> tuple[GraphExport, ...]:
    """The graphs that take and put state of this kind: tensors in the order of `state_specs`."""
    moved = [state for state in states if state.kind == kind]

    def tensors(prefix: str, rows: str, places: str) -> tuple[TensorSpec, ...]:
        """State without places has one, which is no axis that varies."""
        return tuple(
            TensorSpec(
                name=f"{prefix}{state.input}",
                dtype=state.dtype,
                shape=(rows, state.shape[1], places if isinstance(state.shape[2], str) else 1, state.shape[3]),
            )
            for state in moved
        )

    whole = tensors("", "A", "P")
    rows = TensorSpec(name="rows", dtype="int64", shape=("B",))
    places = TensorSpec(name="places", dtype="int64", shape=("P",))
    take, put = MOVES[kind]
    put_indices = (rows, places) if any(isinstance(state.shape[2], str) for state in moved) else (rows,)
    return (
        _move_export(take, TakeRows(), (whole,), (rows,), tensors("taken_", "B", "P")),
        _move_export(put, PutRows(), (whole, tensors("part_", "B", "Q")), put_indices, tensors("put_", "A", "P")),
    )


def _move_export(
    name: GraphName,
    module: nn.Module,
    groups: Sequence[tuple[TensorSpec, ...]],
    indices: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
) -> GraphExport:
    sizes = {"A": 5, "B": 3, "P": 7, "Q": 4}
    example = (
        *([_example(spec, **sizes) for spec in group] for group in groups),
        *(_example(spec, **sizes) for spec in indices),
    )
    shapes = (*(list(_dynamic(group)) for group in groups), *_dynamic(indices))
    inputs = (*(spec for group in groups for spec in group), *indices)
    return GraphExport(name, module, example, shapes, inputs, outputs)


def _shortlist_inputs(columns: GraphExport, float_type: str) -> tuple[TensorSpec, ...]:
    return (
        TensorSpec(name="shortlist_ids", dtype="int64", shape=("R", "L")),
        TensorSpec(name="shortlist_columns", dtype="int64", shape=("R", "L")),
        TensorSpec(name="output_bias", dtype=float_type, shape=("U",)),
        *(spec for spec in columns.outputs if spec.name != "output_bias"),
    )


def _columns_export(model: EncoderDecoder, float_type: str, scaling: Scaling | None) -> GraphExport:
    is_quantized = scaling is not None
    weights = TensorSpec(
        name="output_weights", dtype="int8" if is_quantized else float_type, shape=(model.config.d_model, "U")
    )
    scales = (TensorSpec(name="output_scales", dtype="float32", shape=("U",)),) if is_quantized else ()
    bias = TensorSpec(name="output_bias", dtype=float_type, shape=("U",))
    biases = () if model.output.bias is None else (bias,)
    inputs = (TensorSpec(name="ids", dtype="int64", shape=("U",)),)
    module = OutputColumns(model, scaling)
    return GraphExport("columns", module, (torch.arange(4, 9),), _dynamic(inputs), inputs, (weights, *scales, *biases))


def _decoder_export(
    model: EncoderDecoder,
    output: WholeVocabulary | ShortlistOnly,
    states: Sequence[StateSpec],
    shortlist_inputs: tuple[TensorSpec, ...],
) -> GraphExport:
    of_rows = [state for state in states if state.kind != "per_source"]
    memory_inputs, past_inputs = _inputs(_memory(states)), _inputs(of_rows)
    step_inputs = (
        TensorSpec(name="token_ids", dtype="int64", shape=("N", "K")),
        TensorSpec(name="lengths", dtype="int32", shape=("R",)),
        TensorSpec(name="longest", dtype="int32", shape=()),
        TensorSpec(name="num_candidates", dtype="int64", shape=(1,)),
        TensorSpec(name="source_mask", dtype="bool", shape=("N", "S")),
    )
    outputs = (
        TensorSpec(name="candidate_log_probs", dtype="float32", shape=("R", "C")),
        TensorSpec(name="candidate_ids", dtype="int64", shape=("R", "C")),
        *_outputs(of_rows),
    )
    groups = (memory_inputs, past_inputs, shortlist_inputs)
    example = (
        torch.full((2, 3), 7),
        torch.full((6,), 4, dtype=torch.int32),
        torch.tensor(5, dtype=torch.int32),
        torch.tensor([4]),
        torch.ones(2, 5, dtype=torch.bool),
        *([_example(spec, N=2, R=6, S=5, P=9, L=7, U=11) for spec in group] for group in groups),
    )
    shapes = (*_dynamic(step_inputs), *(list(_dynamic(group)) for group in groups))
    is_lstm = isinstance(model, LstmEncoderDecoder)
    module = LstmStep(model, output) if is_lstm else DecoderStep(_transformer(model), output)
    inputs = (*step_inputs, *memory_inputs, *past_inputs, *shortlist_inputs)
    return GraphExport("decoder", module, example, shapes, inputs, outputs)


def _scorer_export(model: EncoderDecoder) -> GraphExport:
    vocabulary_size = model.config.output_size
    inputs = (
        TensorSpec(name="source_ids", dtype="int64", shape=("N", "S")),
        TensorSpec(name="source_mask", dtype="bool", shape=("N", "S")),
        TensorSpec(name="target_ids", dtype="int64", shape=("N", "T")),
        TensorSpec(name="labels", dtype="int64", shape=("N", "T")),
        TensorSpec(name="allowed", dtype="bool", shape=("N", vocabulary_size)),
    )
    axes = {"encoder": ("S", "S"), "decoder": ("T", "T"), "cross": ("T", "S")}
    outputs = (
        TensorSpec(name="token_log_probs", dtype="float32", shape=("N", "T")),
        *(
            TensorSpec(name=f"{kind}_attention", dtype="float32", shape=("N", *stack, *axes[kind]))
            for kind, stack in model.config.attention_stacks.items()
        ),
    )
    mask, allowed = torch.ones(2, 5, dtype=torch.bool), torch.ones(2, vocabulary_size, dtype=torch.bool)
    example = (torch.full((2, 5), 7), mask, torch.full((2, 4), 7), torch.full((2, 4), 7), allowed)
    module = LstmScorer(model) if isinstance(model, LstmEncoderDecoder) else Scorer(model)
    return GraphExport("scorer", module, example, _dynamic(inputs), inputs, outputs)


def _internals_export(model: Transformer) -> GraphExport:
    config = model.config
    inputs = (
        TensorSpec(name="source_ids", dtype="int64", shape=(1, "S")),
        TensorSpec(name="target_ids", dtype="int64", shape=(1, "T")),
    )
    axes = {"encoder": ("S", "S"), "decoder": ("T", "T"), "cross": ("T", "S")}
    outputs = [TensorSpec(name="log_probs", dtype="float32", shape=("T", config.output_size))]
    for side, axis in (("source", "S"), ("target", "T")):
        for part in ("tokens", "positions"):
            outputs.append(TensorSpec(name=f"{side}_{part}", dtype="float32", shape=(axis, config.d_model)))
    for kind, (layers, heads) in config.attention_stacks.items():
        queries, keys = axes[kind]
        of_part = {"query": (queries, config.d_model // heads)}
        of_part |= dict.fromkeys(("key", "value"), (keys, config.d_model // heads))
        for part in ATTENTION_PARTS:
            shape = (layers, heads, *of_part.get(part, (queries, keys)))
            outputs.append(TensorSpec(name=f"{kind}_{part}", dtype="float32", shape=shape))
    example = (torch.full((1, 5), 7), torch.full((1, 4), 7))
    return GraphExport("internals", Internals(model), example, _dynamic(inputs), inputs, tuple(outputs))


def _example(spec: TensorSpec, **sizes: int) -> Tensor:
    shape = [sizes[size] if isinstance(size, str) else size for size in spec.shape]
    return torch.zeros(shape, dtype=getattr(torch, spec.dtype))


def _dynamic(specs: Sequence[TensorSpec]) -> tuple[dict[int, object], ...]:
    """The named axes of each input, as `torch.export` wants them."""
    return tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in specs
    )
