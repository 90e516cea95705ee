"""Export: three precisions of a small model, verified, whole or not at all."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from export import write
from export.__main__ import main
from export.calibrate import made_up_calibration
from export.contracts import graph_exports
from export.internals import has_internals
from export.quantize import quantize, quantize_columns
from export.scaling import Scaling
from export.verify import verify_bundle
from model.bundle import Limits, Manifest, check_files, read_manifest
from model.checkpoint import load_checkpoint
from model.config import ModelConfig
from model.errors import BundleError
from model.transformer import Transformer
from tests.export.sessions import exact_session


@pytest.fixture(scope="session", params=["fp32", "int8", "fp16"])
def bundle(request: pytest.FixtureRequest, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the tiny model in each precision."""
    directory = tmp_path_factory.mktemp("bundle") / request.param
    directory.mkdir()
    (directory / "old").write_text("of a bundle that stood there")
    assert main([str(tiny_checkpoint), str(directory), "--precision", request.param]) == 0
    return directory


def test_manifest_names_every_file_and_its_hash(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert set(manifest.files) == {path.name for path in bundle.iterdir()} - {"manifest.json"}
    check_files(bundle, manifest)


def test_manifest_declares_the_graphs_as_they_are(bundle: Path) -> None:
    for spec in read_manifest(bundle).graphs.values():
        graph = onnx.load(bundle / spec.file, load_external_data=False).graph
        for declared, found in ((spec.inputs, graph.input), (spec.outputs, graph.output)):
            shapes = {
                value.name: tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)
                for value in found
            }
            assert shapes == {tensor.name: tensor.shape for tensor in declared}


def test_states_connect_encoder_and_decoder(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    decoder_inputs = {tensor.name: tensor for tensor in manifest.graphs["decoder"].inputs}
    for state in manifest.states:
        producer = "encoder" if state.kind == "per_source" else "decoder"
        assert state.output in {tensor.name for tensor in manifest.graphs[producer].outputs}
        assert decoder_inputs[state.input].shape == state.shape
    assert {state.kind for state in manifest.states} == {"per_source", "growing"}


def test_graphs_share_one_weights_file_without_copies(bundle: Path) -> None:
    places: dict[str, set[tuple[int, int]]] = {}
    for name, spec in read_manifest(bundle).graphs.items():
        graph = onnx.load(bundle / spec.file, load_external_data=False).graph
        entries = [{e.key: e.value for e in t.external_data} for t in graph.initializer if t.external_data]
        if name.startswith(("take_", "put_")):  # they only move state
            assert not entries
            continue
        assert {entry["location"] for entry in entries} == {"weights.bin"}
        places[name] = {(int(entry["offset"]), int(entry["length"])) for entry in entries}
    # The scorer holds both stacks: all but a few of the others' weights are its own.
    assert len(places["encoder"] & places["scorer"]) > 0.6 * len(places["encoder"])
    assert len(places["decoder"] & places["scorer"]) > 0.6 * len(places["decoder"])
    stored = sum(length for _, length in set.union(*places.values()))
    assert stored <= (bundle / "weights.bin").stat().st_size < 1.05 * stored + 4096


def test_graphs_say_nothing_of_the_machine_they_were_made_on(bundle: Path) -> None:
    for spec in read_manifest(bundle).graphs.values():
        data = (bundle / spec.file).read_bytes()
        assert b".py" not in data
        assert str(Path(__file__).parents[2]).encode() not in data


def test_shapes_and_types_follow_from_the_inputs(bundle: Path) -> None:
    for spec in read_manifest(bundle).graphs.values():
        onnx.checker.check_model(bundle / spec.file, full_check=True)


def test_fp16_graphs_compute_in_fp16_up_to_the_logits(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    if manifest.precision != "fp16":
        pytest.skip("about fp16 only")
    assert {state.dtype for state in manifest.states} == {"float16"}
    for spec in manifest.graphs.values():
        graph = onnx.load(bundle / spec.file, load_external_data=False).graph
        wide = [tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT]
        # What the log-softmax adds to the logits; weights would be matrices.
        assert all(len(tensor.dims) < 2 for tensor in wide)
    decoder = onnx.load(bundle / manifest.graphs["decoder"].file, load_external_data=False).graph
    casts = [node for node in decoder.node if node.op_type == "Cast"]
    assert [attribute.i for node in casts for attribute in node.attribute] == [TensorProto.FLOAT]
    scores = {tensor.name: tensor.dtype for tensor in manifest.graphs["decoder"].outputs}
    assert scores["candidate_log_probs"] == "float32"
    assert {tensor.dtype for tensor in manifest.graphs["scorer"].outputs} == {"float32"}


@pytest.mark.parametrize("kind", ["memory", "past"])
def test_state_is_moved_as_an_array_is_indexed(bundle: Path, kind: str) -> None:
    manifest = read_manifest(bundle)
    if manifest.precision == "int8":
        assert not {"take_memory", "put_memory", "take_past", "put_past"} & set(manifest.graphs)
        return
    take, put = (
        onnxruntime.InferenceSession(bundle / manifest.graphs[name].file, providers=["CPUExecutionProvider"])
        for name in (f"take_{kind}", f"put_{kind}")
    )
    rng = np.random.default_rng(0)
    names = [value.name for value in take.get_inputs()[:-1]]
    states = [state.input for state in manifest.states if (state.kind == "per_source") == (kind == "memory")]
    assert names == states
    heads, width = take.get_inputs()[0].shape[1], take.get_inputs()[0].shape[3]
    dtype = np.float16 if manifest.precision == "fp16" else np.float32
    old = {name: rng.normal(size=(6, heads, 9, width)).astype(dtype) for name in names}
    rows, places = np.array([4, 0, 4]), np.array([2, 3, 3])
    for name, value in zip(names, take.run(None, {**old, "rows": rows}), strict=True):
        assert np.array_equal(value, old[name][rows])
    parts = {f"part_{name}": rng.normal(size=(3, heads, 4, width)).astype(dtype) for name in names}
    old = {name: value[:, :, :3] for name, value in old.items()}
    rows = np.array([5, 1, 0])
    for name, value in zip(names, put.run(None, {**old, **parts, "rows": rows, "places": places}), strict=True):
        expected = old[name].copy()
        expected[rows] = parts[f"part_{name}"][:, :, places]
        assert np.array_equal(value, expected)


def test_agreement_with_torch_is_recorded(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    rows = manifest.agreement["rows"]
    assert len(rows) == 6
    worst = max(row["log_prob_difference"] for row in rows)
    assert 0 < worst < {"fp32": 1e-4, "fp16": 5e-2, "int8": 0.5}[manifest.precision]


def test_a_damaged_file_is_named(bundle: Path, tmp_path: Path) -> None:
    manifest = read_manifest(bundle)
    for name in manifest.files:
        (tmp_path / name).write_bytes((bundle / name).read_bytes())
    with (tmp_path / "weights.bin").open("r+b") as file:
        file.seek(1000)
        file.write(b"\x55\xaa\x55")
    with pytest.raises(BundleError, match=r"weights\.bin: damaged"):
        check_files(tmp_path, manifest)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(BundleError, match=r"weights\.bin: .*missing"):
        check_files(tmp_path, manifest)


def test_verification_notices_other_weights(bundle: Path, tiny_checkpoint: Path) -> None:
    manifest = read_manifest(bundle)
    model = load_checkpoint(tiny_checkpoint).model
    with torch.no_grad():
        model.decoder[0].cross_attention.value.weight.mul_(-1.0)
    with pytest.raises(BundleError, match="do not agree"):
        verify_bundle(bundle, dict(manifest.graphs), model, manifest.precision, manifest.limits)


def test_verification_notices_another_contract(bundle: Path, tiny_checkpoint: Path) -> None:
    manifest = read_manifest(bundle)
    graphs = {**manifest.graphs, "encoder": manifest.graphs["decoder"].model_copy(update={"file": "encoder.onnx"})}
    with pytest.raises(BundleError, match="encoder inputs"):
        verify_bundle(bundle, graphs, load_checkpoint(tiny_checkpoint).model, manifest.precision, manifest.limits)


def test_a_failed_export_leaves_the_old_bundle_and_no_half_one(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "bundle"
    destination.mkdir()
    (destination / "old").write_text("stays")

    def refuse(*arguments: object) -> None:
        raise BundleError("exported graphs do not agree with PyTorch")

    monkeypatch.setattr(write, "verify_bundle", refuse)
    monkeypatch.setattr(write, "_trace", lambda graph: (_empty_model(), {}))
    monkeypatch.setattr(write, "_name_axes", lambda proto, graph: None)
    assert main([str(tiny_checkpoint), str(destination), "--precision", "fp32"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert (destination / "old").read_text() == "stays"


def test_a_missing_checkpoint_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none"), str(tmp_path / "bundle")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def _empty_model() -> onnx.ModelProto:
    return helper.make_model(helper.make_graph([], "empty", [], []), opset_imports=[helper.make_opsetid("", 21)])


def test_every_export_names_its_inputs_like_its_signature(tiny_checkpoint: Path) -> None:
    model = load_checkpoint(tiny_checkpoint).model
    for graph in [
        *graph_exports(model, "float32", with_shortlist=False),
        *graph_exports(model, "float32", with_shortlist=True),
        *graph_exports(model, "float32", with_shortlist=True, scalings=made_up_calibration(model).scalings),
    ]:
        flat = [value for part in graph.example for value in (part if isinstance(part, list) else [part])]
        assert len(flat) == len(graph.inputs)
        for value, spec in zip(flat, graph.inputs, strict=True):
            assert str(value.dtype) == f"torch.{spec.dtype}", spec.name
            assert len(value.shape) == len(spec.shape), spec.name


def test_quantised_columns_are_within_half_a_step() -> None:
    matrix = np.random.default_rng(0).normal(size=(64, 40)).astype(np.float32) * np.logspace(
        -3, 3, 40, dtype=np.float32
    )
    values, scale = quantize_columns(matrix)
    assert values.dtype == np.int8
    assert np.abs(values).max() <= 127
    assert np.all(np.abs(values * scale - matrix) <= scale * 0.5001)
    zero_values, zero_scale = quantize_columns(np.zeros((4, 2), np.float32))
    assert not zero_values.any()
    assert np.isfinite(zero_scale).all()


def _matmul_model(weight: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "one product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", weight.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", weight.shape[1]])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_int8_rows_do_not_depend_on_their_neighbours() -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(64, 48)).astype(np.float32)
    rows = rng.normal(size=(9, 64)).astype(np.float32)
    model = quantize(_matmul_model(weight), {"w": Scaling(float(np.abs(rows).max()))})
    session = exact_session(model)
    exact = rows @ weight
    # One neighbour a million times larger: a scale for the whole batch would leave the others nothing.
    rows[4] *= 1e6
    together = session.run(None, {"x": rows})[0]
    for index in range(len(rows)):
        alone = session.run(None, {"x": rows[index : index + 1]})[0][0]
        assert np.array_equal(alone, together[index])
    others = np.arange(len(rows)) != 4
    relative = np.abs(together - exact)[others].max(axis=1) / np.abs(exact)[others].max(axis=1)
    assert relative.max() < 0.03


def test_manifest_survives_json(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


@pytest.mark.parametrize(
    ("option", "other"), [("--source-tokens", "--target-tokens"), ("--target-tokens", "--source-tokens")]
)
def test_limits_beyond_the_positions_are_refused(
    option: str, other: str, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_checkpoint), str(tmp_path / "bundle"), option, "1025", other, "64"]
    assert main(arguments) == 2
    sentence = f"error: the network knows 1024 positions, so {option} can be 1024 at most, not 1025"
    assert capsys.readouterr().err.splitlines()[-1] == sentence
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_verified_at_its_limits(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    limits = manifest.limits
    shapes = [tuple(row["shape"]) for row in manifest.agreement["rows"]]
    assert (1, 1, limits.source_tokens, limits.target_tokens) in shapes


def test_verification_goes_to_the_limits(bundle: Path, tiny_checkpoint: Path) -> None:
    manifest = read_manifest(bundle)
    beyond = Limits(source_tokens=64, target_tokens=1025)  # the table of positions has 1,024
    with pytest.raises(Exception, match=r"out of range|out of (data )?bounds"):
        verify_bundle(bundle, dict(manifest.graphs), load_checkpoint(tiny_checkpoint).model, manifest.precision, beyond)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--quality", "none.jsonl"], "none.jsonl: not JSON lines of scores"),
        (["--quality", "broken.jsonl"], "broken.jsonl: not JSON lines of scores"),
        (["--source-tokens", "2"], "--source-tokens: input should be greater than or equal to 3, not 2"),
        (["--target-tokens", "-1"], "--target-tokens: input should be greater than or equal to 2, not -1"),
    ],
)
def test_what_a_person_can_mend_is_one_sentence(
    arguments: list[str],
    sentence: str,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.jsonl").write_text("{")
    assert main([str(tiny_checkpoint), "bundle", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {sentence}")
    assert error.count("\n") == 1
    assert not Path("bundle").exists()


def test_a_constant_that_follows_no_product_is_still_added() -> None:
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(16, 12)).astype(np.float32)
    before, between, after = (rng.normal(size=size).astype(np.float32) for size in (16, 12, 12))
    nodes = [
        helper.make_node("Add", ["x", "before"], ["x1"]),
        helper.make_node("Relu", ["x1"], ["x2"]),
        helper.make_node("MatMul", ["x2", "w"], ["y1"]),
        helper.make_node("Relu", ["y1"], ["y2"]),
        helper.make_node("Add", ["between", "y2"], ["y3"]),
        helper.make_node("Add", ["y1", "after"], ["y4"]),  # y1 is read twice: the product keeps no bias
        helper.make_node("Add", ["y3", "y4"], ["y"]),
    ]
    constants = {"before": before, "w": weight, "between": between, "after": after}
    graph = helper.make_graph(
        nodes,
        "constants on all sides",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 12])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    rows = rng.normal(size=(9, 16)).astype(np.float32)
    product = np.maximum(rows + before, 0) @ weight
    expected = np.maximum(product, 0) + between + product + after
    quantised = quantize(model, dict.fromkeys(constants, Scaling(6.0)))
    session = exact_session(quantised)
    assert np.abs(session.run(None, {"x": rows})[0] - expected).max() < 0.05 * np.abs(expected).max()


def test_internals_are_the_numbers_of_the_network(bundle: Path, tiny_checkpoint: Path) -> None:
    manifest, model = read_manifest(bundle), load_checkpoint(tiny_checkpoint).model
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    path = bundle / manifest.graphs["internals"].file
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    source, target = torch.tensor([[9, 300, 4000, 17, 3]]), torch.tensor([[2, 50, 600, 7]])
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {"source_ids": source.numpy(), "target_ids": target.numpy()})
    found = dict(zip(names, values, strict=True))
    for kind in ("encoder", "decoder", "cross"):
        query, key, products = (found[f"{kind}_{part}"] for part in ("query", "key", "products"))
        scores, weights = found[f"{kind}_scores"], found[f"{kind}_weights"]
        close = {"rtol": 5e-3, "atol": 5e-3} if manifest.precision == "fp16" else {"rtol": 1e-5, "atol": 1e-5}
        assert np.allclose(products, query @ key.swapaxes(-1, -2), **close)
        assert np.allclose(scores, products / np.sqrt(query.shape[-1]), **close)
        seen = np.tril(np.ones(scores.shape[-2:])) if kind == "decoder" else 1.0
        powers = np.exp(scores) * seen
        assert np.allclose(weights, powers / powers.sum(-1, keepdims=True), **close)
    if manifest.precision != "fp32":
        return
    with torch.inference_mode():
        logits, attention = model.with_attention(source, torch.ones_like(source, dtype=torch.bool), target)
    for kind in ("encoder", "decoder", "cross"):
        expected = torch.stack(getattr(attention, kind), 1)[0].numpy()
        assert np.allclose(found[f"{kind}_weights"], expected, atol=1e-5)
    possible = np.isfinite(found["log_probs"])
    expected = logits[0].masked_fill(~torch.from_numpy(possible), -torch.inf).log_softmax(-1).numpy()
    assert np.allclose(found["log_probs"][possible], expected[possible], atol=1e-4)
    table = model.embedding.positions.table.numpy()
    assert np.array_equal(found["target_positions"], table[:4])
    assert np.allclose(
        found["source_tokens"], model.embedding.tokens.weight[source[0]].detach() * model.embedding.scale
    )


def test_internals_are_left_out_where_they_are_not_wanted_or_not_what_the_page_explains(tiny_checkpoint: Path) -> None:
    model = load_checkpoint(tiny_checkpoint).model
    names = [graph.name for graph in graph_exports(model, "float32", with_shortlist=False)]
    assert "internals" not in names
    assert has_internals(model)
    other = ModelConfig(vocabulary_size=50, d_model=8, num_heads=2, d_ff=8, encoder_layers=1, decoder_layers=1)
    assert not has_internals(Transformer(dataclasses.replace(other, window=3)))
    assert not has_internals(Transformer(dataclasses.replace(other, similarity="additive")))
