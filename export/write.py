"""Write a bundle: trace, quantise, share the weights, verify, and only then let it appear."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx.external_data_helper import set_external_data

from export.calibrate import input_peaks
from export.graphs import GraphExport, graph_exports, named_peaks, state_specs
from export.languages import described_languages
from export.quantize import quantize
from export.self_test import self_tests
from export.verify import Agreement, verify_bundle
from model import bundle
from model.bundle import AlignmentMethod, GraphSpec, Limits, Manifest, Precision, SpecialIds
from model.checkpoint import CONFIG_FILE, VOCABULARY_FILE, Checkpoint, load_checkpoint
from model.errors import BundleError
from model.folders import put_in_place
from model.lexical import LEXICAL_FILE, lexical_tables
from model.shortlist import SHORTLIST_FILE, load_shortlist
from model.transformer import Transformer
from model.vocabulary import BOS_ID, EOS_ID, PAD_ID, UNK_ID

OPSET = 21
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
    quality: tuple[dict[str, Any], ...] = (),
    alignment: Mapping[str, AlignmentMethod] | None = None,
    shortlist: bool = True,
    report: Callable[[str], None] = lambda line: None,
) -> Agreement:
    """Export, verify and write; `destination` is replaced whole or left as it was.

    `shortlist` False leaves out the checkpoint's shortlist: every step then considers the whole vocabulary. So it is in
    fp16 always: the columns of a shortlist are laid out on the host, and change their number at every turn.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        BundleError: the limits are beyond the network's positions, the exported graphs do not agree with PyTorch, or
            the alignment needs what the checkpoint has not.
    """
    checkpoint = load_checkpoint(checkpoint_directory)
    check_limits(limits, checkpoint.model.config.max_positions)
    scratch = destination.with_name(destination.name + ".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        with_shortlist = shortlist and precision != "fp16" and (checkpoint_directory / SHORTLIST_FILE).is_file()
        graphs = _write_graphs(checkpoint, scratch, precision, report, with_shortlist=with_shortlist)
        shutil.copyfile(checkpoint_directory / VOCABULARY_FILE, scratch / bundle.VOCABULARY_FILE)
        if with_shortlist:
            shutil.copyfile(checkpoint_directory / SHORTLIST_FILE, scratch / SHORTLIST_FILE)
        for optional in (LEXICAL_FILE, bundle.MODEL_CARD_FILE):
            if (checkpoint_directory / optional).is_file():
                shutil.copyfile(checkpoint_directory / optional, scratch / optional)
        report("verifying against PyTorch")
        agreement = verify_bundle(scratch, graphs, checkpoint.model, precision, limits)
        manifest = _manifest(
            checkpoint, checkpoint_directory, scratch, graphs, precision, bundle_version, limits, agreement, quality
        )
        known = load_shortlist(scratch / SHORTLIST_FILE, checkpoint.vocabulary) if with_shortlist else None
        measured = {"alignment": dict(alignment or {}), "self_tests": self_tests(checkpoint, known)}
        complete = manifest.model_copy(update=measured)
        lexical_tables(scratch, complete, checkpoint.vocabulary)
        bundle.write_manifest(scratch, complete)
        put_in_place(scratch, destination)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return agreement


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
    checkpoint: Checkpoint,
    directory: Path,
    precision: Precision,
    report: Callable[[str], None],
    *,
    with_shortlist: bool,
) -> dict[str, GraphSpec]:
    model = _half(checkpoint.model) if precision == "fp16" else checkpoint.model
    peaks = input_peaks(model) if precision == "int8" else None
    specs: dict[str, GraphSpec] = {}
    with (directory / bundle.WEIGHTS_FILE).open("wb") as weights:
        store = _SharedWeights(weights)
        for graph in graph_exports(model, _float_type(precision), with_shortlist=with_shortlist, peaks=peaks):
            report(f"exporting {graph.name}")
            proto = _trace(graph)
            if peaks is not None:
                quantize(proto, named_peaks(peaks))
            _name_axes(proto, graph)
            _strip_origins(proto)
            store.move_out(proto)
            file = f"{graph.name}.onnx"
            onnx.save(proto, directory / file)
            specs[graph.name] = GraphSpec(file=file, inputs=graph.inputs, outputs=graph.outputs)
    return specs


def _half(model: Transformer) -> Transformer:
    """A copy of the model with fp16 weights; position tables too, so that no graph mixes types."""
    return copy.deepcopy(model).half()


def _float_type(precision: Precision) -> str:
    return "float16" if precision == "fp16" else "float32"


def _trace(graph: GraphExport) -> onnx.ModelProto:
    with _quiet_exporter():
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
    proto: onnx.ModelProto = program.model_proto
    return proto


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

    def move_out(self, proto: onnx.ModelProto) -> None:
        """Replace the graph's large constants by references into the file."""
        for tensor in proto.graph.initializer:
            data = onnx.numpy_helper.to_array(tensor).tobytes()
            if len(data) < _SHARED_FROM_BYTES:
                continue
            offset = self._store(data)
            for field in ("raw_data", "float_data", "int32_data", "int64_data"):
                tensor.ClearField(field)
            tensor.raw_data = b""
            set_external_data(tensor, location=bundle.WEIGHTS_FILE, offset=offset, length=len(data))
            tensor.ClearField("raw_data")

    def _store(self, data: bytes) -> int:
        key = hashlib.sha256(data).digest()
        if key not in self._offsets:
            self._file.write(b"\0" * (-self._file.tell() % _ALIGNMENT))
            self._offsets[key] = self._file.tell()
            self._file.write(data)
        return self._offsets[key]


def _manifest(
    checkpoint: Checkpoint,
    checkpoint_directory: Path,
    directory: Path,
    graphs: dict[str, GraphSpec],
    precision: Precision,
    bundle_version: str,
    limits: Limits,
    agreement: Agreement,
    quality: tuple[dict[str, Any], ...],
) -> Manifest:
    config = checkpoint.model.config
    pairs = [direction.partition("-") for direction in checkpoint.directions]
    description = json.loads((checkpoint_directory / CONFIG_FILE).read_text(encoding="utf-8"))
    return Manifest.model_validate(
        {
            "format": bundle.FORMAT,
            "name": checkpoint.name,
            "version": bundle_version,
            "precision": precision,
            **described_languages([(source, target) for source, _, target in pairs]),
            "special_ids": SpecialIds(pad=PAD_ID, unk=UNK_ID, bos=BOS_ID, eos=EOS_ID),
            "vocabulary_size": config.vocabulary_size,
            "source_vocabulary_size": config.vocabulary_size,
            "limits": limits,
            "graphs": graphs,
            "states": state_specs(config, _float_type(precision)),
            "architecture": {"kind": "transformer", **config.to_dict()},
            "provenance": {
                "training": description["training"],
                "checkpoint_sha256": bundle.sha256(checkpoint_directory / "model.safetensors"),
                "tools": {name: version(name) for name in ("torch", "onnx", "onnxscript")} | _runtime_version(),
                "opset": OPSET,
            },
            "agreement": agreement.to_dict(),
            "quality": quality,
            "files": {path.name: bundle.sha256(path) for path in sorted(directory.iterdir())},
        }
    )
