"""Names, types and axes of every graph: what `torch.onnx.export` is told, and what the manifest says.

Shapes as in `export.graphs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from export.calibrate import PROJECTION
from export.graphs import (
    DecoderStep,
    Encoder,
    OutputColumns,
    PackedEncoder,
    Scorer,
    ShortlistOnly,
    WholeVocabulary,
)
from export.moves import PutRows, TakeRows
from export.scaling import Scaling
from model.bundle import StateSpec, TensorSpec
from model.config import ModelConfig
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
    model: Transformer, float_type: str, *, with_shortlist: bool, scalings: Mapping[str, Scaling] | None = None
) -> tuple[GraphExport, ...]:
    """The graphs of a model whose weights are `float_type` (`float32` or `float16`).

    fp16 graphs compute in fp16 from the embedding to the logits; log-softmax, all scores and all attention weights that
    leave a graph are fp32. Masks are bool, ids int64, lengths int32, state has the type of the weights.
    `scalings` (`export.calibrate`) make those that take a part of the weights as an input take int8.
    """
    config = model.config
    is_for_cpu = scalings is not None
    encoder_export = _packed_encoder_export if is_for_cpu else _encoder_export
    whole = [encoder_export(model, config, float_type), _scorer_export(model, config)]
    if not is_for_cpu:
        whole += [move for kind in ("memory", "past") for move in _state_moves(config, kind, float_type)]
    if not with_shortlist:
        return *whole, _decoder_export(model, WholeVocabulary(model), float_type, ())
    columns = _columns_export(model, config, float_type, is_quantized=scalings is not None)
    output = ShortlistOnly(scalings[PROJECTION].peak if scalings is not None else None)
    return *whole, _decoder_export(model, output, float_type, _shortlist_inputs(columns, float_type)), columns


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


def state_specs(config: ModelConfig, float_type: str) -> tuple[StateSpec, ...]:
    """Decoder state of a Transformer: memory made once, keys and values that grow."""
    memory = [
        StateSpec(kind="per_source", input=name, output=name, dtype=float_type, shape=_memory_shape(config))
        for name in _memory_names(config)
    ]
    growing = [
        StateSpec(
            kind="growing", input=f"past_{name}", output=f"present_{name}", dtype=float_type, shape=_past_shape(config)
        )
        for name in _self_names(config)
    ]
    return (*memory, *growing)


def _memory_names(config: ModelConfig) -> list[str]:
    return [f"memory_{part}.{layer}" for part in ("key", "value") for layer in range(config.decoder_layers)]


def _self_names(config: ModelConfig) -> list[str]:
    return [f"{part}.{layer}" for part in ("key", "value") for layer in range(config.decoder_layers)]


def _memory_shape(config: ModelConfig) -> tuple[int | str, ...]:
    return ("N", config.heads_of_decoder, "S", _memory_width(config))


def _past_shape(config: ModelConfig) -> tuple[int | str, ...]:
    return ("R", config.heads_of_decoder, "P", _memory_width(config))


def _memory_width(config: ModelConfig) -> int:
    """Width of one attention head of the decoder."""
    return config.d_model // config.heads_of_decoder


def _encoder_export(model: Transformer, config: ModelConfig, float_type: str) -> GraphExport:
    """Sentences of several lengths side by side, padded: on a device with many small cores a run of its own for each
    would cost more."""
    inputs = (
        TensorSpec(name="source_ids", dtype="int64", shape=("N", "S")),
        TensorSpec(name="source_mask", dtype="bool", shape=("N", "S")),
    )
    example = (torch.full((2, 5), 7), torch.ones(2, 5, dtype=torch.bool))
    outputs = _memory_outputs(config, float_type, _memory_shape(config))
    return GraphExport("encoder", Encoder(model), example, _dynamic(inputs), inputs, outputs)


def _packed_encoder_export(model: Transformer, config: ModelConfig, float_type: str) -> GraphExport:
    """Sentences end to end, for int8 on the CPU. Not in floating point: there a token's products depend, in their last
    bits, on how many there are."""
    names = ("source_ids", "positions", "sentences")
    inputs = tuple(TensorSpec(name=name, dtype="int64", shape=("T",)) for name in names)
    example = (torch.full((7,), 7), torch.tensor([0, 1, 2, 0, 1, 2, 3]), torch.tensor([0, 0, 0, 1, 1, 1, 1]))
    outputs = _memory_outputs(config, float_type, (1, config.heads_of_decoder, "T", _memory_width(config)))
    return GraphExport("encoder", PackedEncoder(model), example, _dynamic(inputs), inputs, outputs)


def _memory_outputs(config: ModelConfig, float_type: str, shape: tuple[int | str, ...]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=name, dtype=float_type, shape=shape) for name in _memory_names(config))


def _state_moves(config: ModelConfig, kind: Literal["memory", "past"], float_type: str) -> tuple[GraphExport, ...]:
    """`take_memory` and `put_memory`, or the same of `past`: tensors in the order of `state_specs`."""
    names = _memory_names(config) if kind == "memory" else [f"past_{name}" for name in _self_names(config)]

    def tensors(prefix: str, rows: str, places: str) -> tuple[TensorSpec, ...]:
        shape = (rows, config.heads_of_decoder, places, _memory_width(config))
        return tuple(TensorSpec(name=f"{prefix}{name}", dtype=float_type, shape=shape) for name in names)

    states = tensors("", "A", "P")
    rows = TensorSpec(name="rows", dtype="int64", shape=("B",))
    places = TensorSpec(name="places", dtype="int64", shape=("P",))
    parts = tensors("part_", "B", "Q")
    take = ((states,), (rows,), tensors("taken_", "B", "P"))
    put = ((states, parts), (rows, places), tensors("put_", "A", "P"))
    return (
        _move_export(f"take_{kind}", TakeRows(), *take),
        _move_export(f"put_{kind}", PutRows(), *put),
    )


def _move_export(
    name: str,
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
        *columns.outputs,
    )


def _columns_export(model: Transformer, config: ModelConfig, float_type: str, *, is_quantized: bool) -> GraphExport:
    weights = TensorSpec(
        name="output_weights", dtype="int8" if is_quantized else float_type, shape=(config.d_model, "U")
    )
    scales = (TensorSpec(name="output_scales", dtype="float32", shape=("U",)),) if is_quantized else ()
    inputs = (TensorSpec(name="ids", dtype="int64", shape=("U",)),)
    module = OutputColumns(model, is_quantized=is_quantized)
    return GraphExport("columns", module, (torch.arange(4, 9),), _dynamic(inputs), inputs, (weights, *scales))


def _decoder_export(
    model: Transformer,
    output: WholeVocabulary | ShortlistOnly,
    float_type: str,
    shortlist_inputs: tuple[TensorSpec, ...],
) -> GraphExport:
    config = model.config
    layers = config.decoder_layers
    dtype = getattr(torch, float_type)
    memory_inputs = tuple(
        TensorSpec(name=name, dtype=float_type, shape=_memory_shape(config)) for name in _memory_names(config)
    )
    past_inputs = tuple(
        TensorSpec(name=f"past_{name}", dtype=float_type, shape=_past_shape(config)) for name in _self_names(config)
    )
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
        *(
            TensorSpec(name=f"present_{name}", dtype=float_type, shape=_past_shape(config))
            for name in _self_names(config)
        ),
    )
    heads, width = config.heads_of_decoder, _memory_width(config)
    example = (
        torch.full((2, 3), 7),
        torch.full((6,), 4, dtype=torch.int32),
        torch.tensor(5, dtype=torch.int32),
        torch.tensor([4]),
        torch.ones(2, 5, dtype=torch.bool),
        [torch.zeros(2, heads, 5, width, dtype=dtype) for _ in range(2 * layers)],
        [torch.zeros(6, heads, 9, width, dtype=dtype) for _ in range(2 * layers)],
        [_example(spec, R=6, L=7, U=11) for spec in shortlist_inputs],
    )
    shapes = (
        *_dynamic(step_inputs),
        *(list(_dynamic(group)) for group in (memory_inputs, past_inputs, shortlist_inputs)),
    )
    return GraphExport(
        "decoder",
        DecoderStep(model, output),
        example,
        shapes,
        (*step_inputs, *memory_inputs, *past_inputs, *shortlist_inputs),
        outputs,
    )


def _scorer_export(model: Transformer, config: ModelConfig) -> GraphExport:
    inputs = (
        TensorSpec(name="source_ids", dtype="int64", shape=("N", "S")),
        TensorSpec(name="source_mask", dtype="bool", shape=("N", "S")),
        TensorSpec(name="target_ids", dtype="int64", shape=("N", "T")),
        TensorSpec(name="labels", dtype="int64", shape=("N", "T")),
        TensorSpec(name="allowed", dtype="bool", shape=("N", config.output_size)),
    )
    heads, encoder_layers, layers = config.heads_of_decoder, config.encoder_layers, config.decoder_layers
    outputs = (
        TensorSpec(name="token_log_probs", dtype="float32", shape=("N", "T")),
        TensorSpec(name="encoder_attention", dtype="float32", shape=("N", encoder_layers, config.num_heads, "S", "S")),
        TensorSpec(name="decoder_attention", dtype="float32", shape=("N", layers, heads, "T", "T")),
        TensorSpec(name="cross_attention", dtype="float32", shape=("N", layers, heads, "T", "S")),
    )
    mask, allowed = torch.ones(2, 5, dtype=torch.bool), torch.ones(2, config.output_size, dtype=torch.bool)
    example = (torch.full((2, 5), 7), mask, torch.full((2, 4), 7), torch.full((2, 4), 7), allowed)
    return GraphExport("scorer", Scorer(model), example, _dynamic(inputs), inputs, outputs)


def _example(spec: TensorSpec, **sizes: int) -> Tensor:
    shape = [sizes[size] if isinstance(size, str) else size for size in spec.shape]
    return torch.zeros(shape, dtype=getattr(torch, spec.dtype))


def _dynamic(specs: Sequence[TensorSpec]) -> tuple[dict[int, object], ...]:
    """The named axes of each input, as `torch.export` wants them."""
    return tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in specs
    )
