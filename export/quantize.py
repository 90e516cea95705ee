"""int8 for the CPU: signed weights with one scale a column, activations with one scale a product, fixed at export.

A scale that is fixed, not taken from the largest activation of the batch as ONNX Runtime's fused DynamicQuantizeMatMul
does, keeps a sentence's result independent of its neighbours: integer accumulation is exact, so rows never touch.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from export.scaling import HEADROOM, Scaling

CONTRIB = "com.microsoft"
Array = npt.NDArray[Any]
Matrix = npt.NDArray[np.float32]
_SMALLEST_SCALE = 1e-12
"""A column of zeros must not divide by zero."""
_COLUMNS_AT_ONCE = 8192
ACTIVATION_ZERO = 128
"""The uint8 value that stands for zero, where both signs occur."""


def quantize(
    model: onnx.ModelProto, scalings: Mapping[str, Scaling], arrays: Mapping[str, Array] | None = None
) -> onnx.ModelProto:
    """Rewrite in place every MatMul with a constant matrix, and every Gather from one, to int8 weights.

    `scalings`: of each product's input, by the name of its matrix or of the bias added to it. `arrays`: values of
    constants that the graph only names.
    """
    rewriter = _Rewriter(model.graph, scalings, arrays or {})
    rewriter.run()
    if not any(entry.domain == CONTRIB for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    return model


@dataclasses.dataclass(frozen=True, slots=True)
class _Activation:
    """A quantised tensor: its uint8 values, and the constants that say what they mean."""

    values: str
    scale: str
    zero: str
    factors: npt.NDArray[np.float32] | None = None
    """What its channels were divided by."""
    row_scale: str = ""
    """What its rows were divided by, if each was."""


class _Rewriter:
    """One pass over one graph."""

    def __init__(self, graph: onnx.GraphProto, scalings: Mapping[str, Scaling], arrays: Mapping[str, Array]) -> None:
        self.graph = graph
        self.arrays = arrays
        self.scalings = scalings
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.transposed = {
            node.output[0]: node.input[0]
            for node in graph.node
            if node.op_type == "Transpose" and node.input[0] in self.constants
        }
        self.nodes: list[onnx.NodeProto] = []
        self.activations: dict[str, _Activation] = {}
        self.new_constants: dict[str, onnx.TensorProto] = {}
        self.rectified = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Relu"}
        self.biases = self._biases()

    def run(self) -> None:
        """Replace nodes, then drop the constants nothing reads any more."""
        folded = {addition.output[0] for addition, _ in self.biases.values()}
        for node in self.graph.node:
            if node.output[0] in folded:
                continue
            matrix = self._matrix(node.input[1]) if node.op_type == "MatMul" else None
            if matrix is not None:
                self._matmul(node, matrix)
            elif node.op_type == "Gather" and self._is_embedding(node):
                self._gather(node)
            else:
                self.nodes.append(node)
        self._finish()

    def _matrix(self, name: str) -> Matrix | None:
        """The constant [inner, columns] behind `name`, seen through a transposition."""
        source = self.transposed.get(name, name)
        tensor = self.constants.get(source)
        if tensor is None or len(tensor.dims) != 2:
            return None
        values = self._values(tensor)
        return values.T if name in self.transposed else values

    def _values(self, tensor: onnx.TensorProto) -> Matrix:
        found = self.arrays.get(tensor.name)
        return numpy_helper.to_array(tensor) if found is None else found

    def _is_embedding(self, node: onnx.NodeProto) -> bool:
        tensor = self.constants.get(node.input[0])
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        return (
            tensor is not None and len(tensor.dims) == 2 and axis == 0 and tensor.data_type == onnx.TensorProto.FLOAT
            and tensor.name.endswith("tokens.weight")
        )  # fmt: skip

    def _biases(self) -> dict[str, tuple[onnx.NodeProto, str]]:
        """Constants of one dimension that are added to a product: the product's operator adds them itself.

        By the product's output, which nothing else may read: the addition that disappears, and the name of its
        constant.
        """
        products = {
            node.output[0]
            for node in self.graph.node
            if node.op_type == "MatMul" and self._matrix(node.input[1]) is not None
        }
        readers = collections.Counter(name for node in self.graph.node for name in node.input)
        readers.update(output.name for output in self.graph.output)
        found = {}
        for node in self.graph.node:
            if node.op_type == "Add":
                for product, constant in (node.input, node.input[::-1]):
                    tensor = self.constants.get(constant)
                    is_vector = tensor is not None and len(tensor.dims) == 1
                    if is_vector and product in products and readers[product] == 1:
                        found[product] = node, constant
        return found

    def _matmul(self, node: onnx.NodeProto, matrix: Matrix) -> None:
        addition, bias = self.biases.get(node.output[0], (node, ""))
        activation = self._quantized(node.input[0], self._scaling(node, bias))
        if activation.factors is not None:
            matrix = matrix * activation.factors[:, None]
        weights, scale = quantize_columns(matrix)
        output, inner_bias = (addition.output[0], bias) if not activation.row_scale else (f"{node.output[0]}.unit", "")
        inputs = [
            activation.values,
            self._constant(f"{node.output[0]}.weight", np.ascontiguousarray(weights)),
            activation.scale,
            self._constant(f"{node.output[0]}.weight_scale", scale),
            activation.zero,
            *(("", inner_bias) if inner_bias else ()),
        ]
        self._add("MatMulIntegerToFloat", inputs, output, domain=CONTRIB)
        if activation.row_scale:
            product = addition.output[0] if not bias else f"{node.output[0]}.product"
            self._add("Mul", [output, activation.row_scale], product)
            if bias:
                self._add("Add", [product, bias], addition.output[0])

    def _scaling(self, node: onnx.NodeProto, bias: str) -> Scaling:
        """The exporter transposes matrices beforehand and gives them new names; a bias keeps its own."""
        matrix = self.transposed.get(node.input[1], node.input[1])
        return self.scalings[matrix] if matrix in self.scalings else self.scalings[bias]

    def _quantized(self, name: str, scaling: Scaling) -> _Activation:
        """Unsigned with 128 for zero: on x86 ONNX Runtime multiplies unsigned with signed numbers fast, and signed with
        signed slowly. What a ReLU lets through has no sign: all 256 values serve it, and clipping at 0 is the ReLU.
        """
        if name not in self.activations:
            rectified = name in self.rectified
            source = self.rectified.get(name, name)
            row_scale = ""
            if scaling.kind == "rows":
                source, row_scale = self._rows_divided(name)
                rectified, scale_value = False, 1 / 127
            else:
                source = self._channels_divided(name, source, scaling)
                scale_value = activation_scale(scaling.peak, rectified=rectified)
            scale = self._constant(f"{name}.scale", np.float32(scale_value))
            zero = self._constant(f"{name}.zero", np.uint8(0 if rectified else ACTIVATION_ZERO))
            self._add("QuantizeLinear", [source, scale, zero], f"{name}.uint8")
            self.activations[name] = _Activation(f"{name}.uint8", scale, zero, scaling.factors, row_scale)
        return self.activations[name]

    def _channels_divided(self, name: str, source: str, scaling: Scaling) -> str:
        if scaling.factors is None:
            return source
        inverse = self._constant(f"{name}.inverse_factors", (1 / scaling.factors).astype(np.float32))
        self._add("Mul", [source, inverse], f"{name}.balanced")
        return f"{name}.balanced"

    def _rows_divided(self, name: str) -> tuple[str, str]:
        """Each row divided by its largest magnitude, and these: what others are in the batch changes nothing."""
        axis = self._constant(f"{name}.last_axis", np.array([-1]))
        least = self._constant(f"{name}.least", np.float32(_SMALLEST_SCALE))
        self._add("Abs", [name], f"{name}.magnitude")
        self._add("ReduceMax", [f"{name}.magnitude", axis], f"{name}.largest", keepdims=1)
        self._add("Max", [f"{name}.largest", least], f"{name}.row_scale")
        self._add("Div", [name, f"{name}.row_scale"], f"{name}.unit_rows")
        return f"{name}.unit_rows", f"{name}.row_scale"

    def _gather(self, node: onnx.NodeProto) -> None:
        output, ids = node.output[0], node.input[1]
        rows, scale = quantize_columns(self._values(self.constants[node.input[0]]).T)
        table = self._constant(f"{output}.table", np.ascontiguousarray(rows.T))
        scales = self._constant(f"{output}.table_scale", scale[:, None])
        self._add("Gather", [table, ids], f"{output}.int8")
        self._add("Cast", [f"{output}.int8"], f"{output}.unscaled", to=onnx.TensorProto.FLOAT)
        self._add("Gather", [scales, ids], f"{output}.row_scale")
        self._add("Mul", [f"{output}.unscaled", f"{output}.row_scale"], output)

    def _constant(self, name: str, values: npt.NDArray[np.generic] | np.generic) -> str:
        self.new_constants.setdefault(name, numpy_helper.from_array(np.asarray(values), name))
        return name

    def _add(self, op_type: str, inputs: list[str], output: str, domain: str = "", **attributes: int) -> None:
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, domain=domain, **attributes))

    def _finish(self) -> None:
        del self.graph.node[:]
        self.graph.node.extend(self._reachable())
        self.graph.initializer.extend(self.new_constants.values())
        used = {name for node in self.graph.node for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _reachable(self) -> list[onnx.NodeProto]:
        """Nodes some graph output needs, in order."""
        needed = {output.name for output in self.graph.output}
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        return kept[::-1]


def activation_scale(peak: float, *, rectified: bool = False) -> float:
    """What one step of a quantised activation is worth."""
    return HEADROOM * max(peak, _SMALLEST_SCALE) / (255 if rectified else 127)


def quantize_columns(matrix: Matrix) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """[inner, columns] -> int8 of the same shape in [-127, 127], and the scale of each column.

    Some columns after others: a matrix for a vocabulary of 256,000 takes a gigabyte, and so would each step on the way.
    """
    values = np.empty_like(matrix, np.int8)
    scale = np.empty(matrix.shape[1], np.float32)
    for start in range(0, matrix.shape[1], _COLUMNS_AT_ONCE):
        some = slice(start, start + _COLUMNS_AT_ONCE)
        columns = matrix[:, some]
        scale[some] = np.maximum(np.abs(columns).max(axis=0) / 127, _SMALLEST_SCALE)
        values[:, some] = np.rint(columns / scale[some])
    return values, scale
