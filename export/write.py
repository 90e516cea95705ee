"""Write a bundle: trace, quantise, share the weights, verify, and only then let it appear."""

from __future__ import annotations

import collections
import contextlib
import copy
import gc
import hashlib
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir
import torch
from onnx.external_data_helper import set_external_data

from export.calibrate import Calibration, made_up_calibration, text_calibration
from export.contracts import GraphExport, graph_exports, named_scalings
from export.internals import has_internals
from export.network import Network, own_network
from export.quantize import quantize
from export.self_test import self_tests
from export.states import state_specs
from export.verify import Agreement, verify_bundle
from model import bundle
from model.bundle import DecoderSpec, GraphSpec, Limits, Manifest, Precision, SpecialIds
from model.errors import BundleError
from model.folders import put_in_place
from model.lexical import lexical_tables
from model.network import EncoderDecoder
from model.shortlist import SHORTLIST_FILE, Shortlist, load_shortlist
from model.vocabulary import Vocabulary

Array = npt.NDArray[Any]

OPSET = 21
_MOST_TOKENS = 96
"""Of a sentence that is calibrated on."""
_ALIGNMENT = 64
_SHARED_FROM_BYTES = 1024
"""Smaller constants stay inside their graph: shape inference and constant folding need to see them."""


def write_bundle(
    checkpoint_directory: Path,
    destination: Path,
    precision: Precision,
    *,
    bundle_version: str,
    limits: Limits,
    shortlist: bool = True,
) -> Agreement:
    """A bundle of one of our own checkpoints: `write_network` of `own_network`."""
    network = own_network(checkpoint_directory, shortlist=shortlist)
    return write_network(network, destination, precision, bundle_version=bundle_version, limits=limits)


def write_network(
    network: Network,
    destination: Path,
    precision: Precision,
    *,
    bundle_version: str,
    limits: Limits,
    calibration: Sequence[str] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Agreement:
    """Export, verify and write; `destination` is replaced whole or left as it was.

    `calibration`: sentences of the first source language by which int8 chooses scales; None: a fixed scale for each
    product, from made-up sources. A shortlist among the network's files is left out in fp16: the columns of a shortlist
    are laid out on the host, and change their number at every turn.

    Raises:
        BundleError: the limits are beyond the network's positions, the exported graphs do not agree with PyTorch, or
            the alignment needs what the network has not.
        OSError: the bundle cannot be written, for want of room for example.
    """
    check_limits(limits, network.model.config.max_positions)
    scratch = destination.with_name(destination.name + ".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        files = {name: file for name, file in network.files.items() if (name, precision) != (SHORTLIST_FILE, "fp16")}
        scales = None if precision != "int8" else _calibrated(network, calibration, report)
        with_shortlist = SHORTLIST_FILE in files
        graphs = _write_graphs(network, scratch, precision, report, scales, with_shortlist=with_shortlist)
        for name, file in files.items():
            _put(scratch / name, file)
        report("verifying against PyTorch")
        agreement = verify_bundle(scratch, graphs, network.model, precision, limits)
        made = {
            "version": bundle_version,
            "precision": precision,
            "limits": limits,
            "graphs": graphs,
            "agreement": agreement.to_dict(),
            "self_tests": self_tests(network, _shortlist(network, scratch)),
            "files": {path.name: bundle.sha256(path) for path in sorted(scratch.iterdir())},
        }
        described = _described(network, precision)
        if scales is not None and scales.choices:
            described["provenance"]["calibration"] = _told(scales)
        manifest = Manifest.model_validate({**described, **made})
        if isinstance(network.tokenizer, Vocabulary):
            lexical_tables(scratch, manifest, network.tokenizer)
        bundle.write_manifest(scratch, manifest)
        put_in_place(scratch, destination)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return agreement


def _calibrated(network: Network, sentences: Sequence[str] | None, report: Callable[[str], None]) -> Calibration:
    if sentences is None:
        return made_up_calibration(network.model)
    report(f"calibrating on {len(sentences)} sentences")
    pair = network.pairs()[0]
    before, behind = network.tokenizer.source_frame(*pair)
    most = network.model.config.max_positions - len(before) - len(behind)
    sources = [(*before, *network.tokenizer.encode(text)[: min(most, _MOST_TOKENS)], *behind) for text in sentences]
    return text_calibration(network.model, sources, network.tokenizer.target_prefix(pair[1]))


def _told(scales: Calibration) -> dict[str, Any]:
    """What the manifest keeps of a calibration: how many products are quantised in which way, and why some are not in
    the cheapest."""
    counts = collections.Counter(choice.scaling.kind for choice in scales.choices.values())
    dearer = {name: each.to_dict() for name, each in scales.choices.items() if each.scaling.kind != "static"}
    return {"products": dict(counts), "dearer": dearer}


def _put(path: Path, content: Path | bytes) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        shutil.copyfile(content, path)


def _shortlist(network: Network, directory: Path) -> Shortlist | None:
    path = directory / SHORTLIST_FILE
    if not path.is_file() or not isinstance(network.tokenizer, Vocabulary):
        return None
    return load_shortlist(path, network.tokenizer)


def check_limits(limits: Limits, positions: int) -> None:
    """Refuse what a network with so many positions cannot read or write.

    Raises:
        BundleError: a limit is larger; the message names the option that sets it.
    """
    for side, tokens in (("source", limits.source_tokens), ("target", limits.target_tokens)):
        if tokens > positions:
            raise BundleError(
                f"the network knows {positions} positions, so --{side}-tokens can be {positions} at most, not {tokens}"
            )


def _write_graphs(
    network: Network,
    directory: Path,
    precision: Precision,
    report: Callable[[str], None],
    scales: Calibration | None,
    *,
    with_shortlist: bool,
) -> dict[str, GraphSpec]:
    model = _half(network.model) if precision == "fp16" else network.model
    scalings = None if scales is None else scales.scalings
    specs: dict[str, GraphSpec] = {}
    exports = graph_exports(
        model,
        _float_type(precision),
        with_shortlist=with_shortlist,
        with_internals=network.with_internals and has_internals(network.model),
        scalings=scalings,
    )
    with (directory / bundle.WEIGHTS_FILE).open("wb") as weights:
        store = _SharedWeights(weights)
        for graph in exports:
            report(f"exporting {graph.name}")
            proto, arrays = _trace(graph)
            if scalings is not None and graph.name not in _exact_graphs(model):
                quantize(proto, named_scalings(scalings), arrays)
            _name_axes(proto, graph)
            _strip_origins(proto)
            store.move_out(proto, arrays)
            file = f"{graph.name}.onnx"
            onnx.save(proto, directory / file)
            specs[graph.name] = GraphSpec(file=file, inputs=graph.inputs, outputs=graph.outputs)
    return specs


def _exact_graphs(model: EncoderDecoder) -> tuple[str, ...]:
    """Graphs that stay in floating point in an int8 bundle: an LSTM's recurrences are no products by themselves."""
    return ("encoder", "scorer") if model.config.architecture == "lstm" else ()


def _half(model: EncoderDecoder) -> EncoderDecoder:
    """A copy of the model with fp16 weights; position tables too, so that no graph mixes types."""
    return copy.deepcopy(model).half()


def _float_type(precision: Precision) -> str:
    return "float16" if precision == "fp16" else "float32"


def _trace(graph: GraphExport) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The graph, and the values of its large constants by name: the weights themselves, and not copies."""
    with _quiet_exporter(), _without_collection(), torch.no_grad():
        program = torch.onnx.export(
            graph.module.eval(),
            graph.example,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=graph.dynamic_shapes,
            input_names=[spec.name for spec in graph.inputs],
            output_names=[spec.name for spec in graph.outputs],
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError(f"torch.onnx.export returned nothing for {graph.name}")
    arrays = _taken_out(program.model)
    return program.model_proto, arrays


def _taken_out(model: onnx_ir.Model) -> dict[str, Array]:
    """The large constants, of which the graph keeps names, types and shapes only."""
    arrays = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and tensor.nbytes >= _SHARED_FROM_BYTES:
            arrays[name] = tensor.numpy()
            value.const_value = onnx_ir.ExternalTensor(
                bundle.WEIGHTS_FILE, 0, tensor.nbytes, tensor.dtype, shape=tensor.shape, name=name
            )
    return arrays


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """The collector does not run: a trace makes millions of objects that live on, and it would look at them all again
    and again, a quarter of an export's time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """torch's exporter warns of its own deprecations and of packages nobody needs; `verify` is what we trust."""
    exporter, trace = logging.getLogger("torch.onnx"), logging.getLogger("torch.__trace")
    level, propagate = exporter.level, trace.propagate
    exporter.setLevel(logging.ERROR)
    # Its records are whole graphs: whoever listens at the root, as pytest does, formats them for minutes.
    trace.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
        trace.propagate = propagate


def _name_axes(proto: onnx.ModelProto, graph: GraphExport) -> None:
    """Give the inputs' and outputs' axes the names of the contract instead of the exporter's.

    Sizes in between are forgotten: the exporter takes the number of candidates for the 1 it traced.
    """
    del proto.graph.value_info[:]
    specs = {spec.name: spec for spec in (*graph.inputs, *graph.outputs)}
    for value in (*proto.graph.input, *proto.graph.output):
        for dimension, size in zip(value.type.tensor_type.shape.dim, specs[value.name].shape, strict=True):
            if isinstance(size, str):
                dimension.dim_param = size


def _strip_origins(proto: onnx.ModelProto) -> None:
    """Remove what the exporter notes of this machine: stack traces, with paths, at every node."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


def _runtime_version() -> dict[str, str]:
    """The build of ONNX Runtime the graphs were verified with: two packages hold one module."""
    for name in ("onnxruntime", "onnxruntime-gpu"):
        with contextlib.suppress(PackageNotFoundError):
            return {name: version(name)}
    return {}


class _SharedWeights:
    """One file of raw tensors for all graphs; equal tensors are stored once."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._offsets: dict[bytes, int] = {}

    def move_out(self, proto: onnx.ModelProto, arrays: Mapping[str, Array]) -> None:
        """Replace the graph's large constants by references into the file; `arrays` has those it only names."""
        for tensor in proto.graph.initializer:
            values = arrays.get(tensor.name)
            values = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor) if values is None else values)
            if values.nbytes < _SHARED_FROM_BYTES:
                continue
            data = values.reshape(-1).view(np.uint8).data
            offset = self._store(data)
            for field in ("raw_data", "float_data", "int32_data", "int64_data"):
                tensor.ClearField(field)
            tensor.raw_data = b""
            del tensor.external_data[:]
            set_external_data(tensor, location=bundle.WEIGHTS_FILE, offset=offset, length=len(data))
            tensor.ClearField("raw_data")

    def _store(self, data: memoryview) -> int:
        key = hashlib.sha256(data).digest()
        if key not in self._offsets:
            self._file.write(b"\0" * (-self._file.tell() % _ALIGNMENT))
            self._offsets[key] = self._file.tell()
            self._file.write(data)
        return self._offsets[key]


def _described(network: Network, precision: Precision) -> dict[str, Any]:
    """What the manifest says that is known before the graphs are made."""
    config = network.model.config
    states = state_specs(config, _float_type(precision))
    tools = {name: version(name) for name in ("torch", "onnx", "onnxscript")} | _runtime_version()
    return {
        "format": bundle.FORMAT,
        "name": network.name,
        "languages": network.languages,
        "language_names": dict(network.language_names),
        "tokenizer": network.tokenizer_spec,
        "decoder": DecoderSpec(
            architecture=config.architecture,
            state_kinds=tuple(dict.fromkeys(state.kind for state in states)),
            suppressed_ids=config.suppressed_ids,
        ),
        "special_ids": SpecialIds(pad=config.pad_id, unk=config.unk_id, bos=config.start_id, eos=config.eos_id),
        "vocabulary_size": config.output_size,
        "source_vocabulary_size": config.vocabulary_size,
        "states": states,
        "architecture": {"kind": config.architecture, **config.to_dict()},
        "provenance": {**network.provenance, "tools": tools, "opset": OPSET},
        "quality": network.quality,
        "alignment": dict(network.alignment),
        "licence": network.licence,
        "origin": network.origin,
        "extra": dict(network.extra),
    }
