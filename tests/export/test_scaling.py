"""Scales of activations: cheap where that is accurate, by channel or row where it is not; graphs do what was chosen."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from export.quantize import quantize
from export.scaling import HEADROOM, Scaling, balancing_factors, choose, product_error
from tests.export.sessions import exact_session

Array = np.ndarray


def drawn(seed: int, *, outliers: float = 1.0, loud_rows: float = 1.0) -> tuple[Array, Array]:
    """Rows [200, 64] of which three channels, or every fifth row, are so many times larger; and a matrix [64, 48] that
    makes little of these channels, as trained networks' do."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(200, 64)).astype(np.float32)
    rows[:, [3, 17, 40]] *= outliers
    rows[::5] *= loud_rows
    matrix = rng.normal(size=(64, 48)).astype(np.float32)
    matrix[[3, 17, 40]] /= outliers
    return rows, matrix


@pytest.mark.parametrize(
    ("kind", "shape"), [("static", {}), ("channels", {"outliers": 60.0}), ("rows", {"loud_rows": 80.0})]
)
def test_the_cheapest_kind_that_is_accurate_is_chosen(kind: str, shape: dict[str, float]) -> None:
    rows, matrix = drawn(0, **shape)
    choice = choose(rows, np.abs(rows).max(axis=0), matrix)
    assert choice.scaling.kind == kind
    assert choice.errors[choice.scaling.kind] < 0.025
    if kind != "static":
        assert choice.errors["static"] > 2 * choice.errors[choice.scaling.kind]


def session_for(matrix: Array, scaling: Scaling, *, rectified: bool) -> onnxruntime.InferenceSession:
    """x, or max(x, 0), times a matrix and plus a bias, in int8."""
    first = [helper.make_node("Relu", ["x"], ["r"])] if rectified else []
    nodes = [
        *first,
        helper.make_node("MatMul", ["r" if rectified else "x", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["y"]),
    ]
    bias = np.linspace(-1, 1, matrix.shape[1]).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "one product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", matrix.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", matrix.shape[1]])],
        [numpy_helper.from_array(matrix, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    quantize(model, {"w": scaling})
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(model))
    return exact_session(model)


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("kind", ["static", "channels", "rows"])
def test_graphs_have_the_error_that_was_foretold(kind: str, rectified: bool) -> None:
    rows, matrix = drawn(1, outliers=40.0)
    peaks = np.abs(rows).max(axis=0)
    factors = balancing_factors(peaks)
    scaling = {
        "static": Scaling(float(peaks.max())),
        "channels": Scaling(float((peaks / factors).max()), "channels", factors),
        "rows": Scaling(0.0, "rows"),
    }[kind]
    [found] = session_for(matrix, scaling, rectified=rectified).run(None, {"x": rows})
    read = np.maximum(rows, 0) if rectified else rows
    exact = read @ matrix
    errors = np.linalg.norm(found - np.linspace(-1, 1, 48) - exact, axis=1) / np.linalg.norm(exact, axis=1)
    error = errors.mean()
    assert error < 1.2 * product_error(read, matrix, scaling) + 1e-3


@given(st.integers(0, 1000), st.sampled_from(["static", "channels", "rows"]))
@settings(max_examples=15, deadline=None)
def test_rows_do_not_depend_on_their_neighbours(seed: int, kind: str) -> None:
    rows, matrix = drawn(seed, outliers=30.0, loud_rows=9.0)
    factors = balancing_factors(np.abs(rows).max(axis=0))
    scaling = Scaling(20.0, kind, factors if kind == "channels" else None)  # type: ignore[arg-type]
    session = session_for(matrix, scaling, rectified=False)
    [together] = session.run(None, {"x": rows[:9]})
    for place in range(9):
        [alone] = session.run(None, {"x": rows[place : place + 1]})
        assert np.array_equal(alone[0], together[place])


def test_factors_never_enlarge() -> None:
    assert balancing_factors(np.array([1, 2, 4, 0, 2], np.float32)).tolist() == [1, 1, 2, 1, 1]
    assert np.isfinite(balancing_factors(np.zeros(4, np.float32))).all()
    assert HEADROOM > 1
