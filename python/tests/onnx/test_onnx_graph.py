"""Graphs as a user meets them: absent inputs, weights that change, other types, explanations, refusals, bad input."""

import copy
import subprocess
import sys

import numpy as np
import onnx
import pytest
import random_graphs
from onnx import TensorProto, helper, numpy_helper
from random_graphs import floats, model_of

import sprnn
import sprnn.onnx

T, B, I, H = 5, 2, 3, 4


def lstm_inputs(seed=0, batch=B):
    rng = np.random.default_rng(seed)
    weights = {"W": (1, 4 * H, I), "R": (1, 4 * H, H), "B": (1, 8 * H), "P": (1, 3 * H)}
    arrays = {name: floats(rng, *shape, scale=0.5) for name, shape in weights.items()}
    arrays["X"] = floats(rng, T, batch, I)
    arrays["sequence_lens"] = np.array([3, 5][:batch], np.int32)
    arrays["initial_h"], arrays["initial_c"] = floats(rng, 1, batch, H), floats(rng, 1, batch, H)
    return {name: arrays[name] for name in random_graphs.RNN_INPUTS}


def lstm(constants=(), opset=14, inputs=None, **attributes):
    inputs = inputs or lstm_inputs()
    node = helper.make_node("LSTM", list(inputs), ["Y", "Y_h", "Y_c"], name="cell", hidden_size=H, **attributes)
    return model_of([node], inputs, ["Y_c", "Y", "Y_h"], opset, constants)


def torch_like(inputs):
    """The same by the arrays layer."""
    reorder = lambda a: np.concatenate([np.split(a, 4)[g] for g in (0, 2, 3, 1)])  # noqa: E731
    arrays = {"weight_ih_l0": reorder(inputs["W"][0]), "weight_hh_l0": reorder(inputs["R"][0])}
    if "B" in inputs:
        arrays["bias_ih_l0"], arrays["bias_hh_l0"] = map(reorder, np.split(inputs["B"][0], 2))
    if "P" in inputs:
        arrays["peephole_l0"] = inputs["P"][0]
    session = sprnn.Model(arrays, "lstm").session(batch=inputs["X"].shape[1])
    if "initial_h" in inputs:
        session.state = (inputs["initial_h"], inputs["initial_c"])
    return session(inputs["X"], lengths=inputs.get("sequence_lens"))


# ---- Running


def test_results_are_in_the_order_of_the_graph_and_equal_the_arrays_layer():
    inputs = lstm_inputs()
    results = sprnn.onnx.load(lstm()).run(inputs)
    assert list(results) == ["Y_c", "Y", "Y_h"]
    np.testing.assert_array_equal(results["Y"][:, 0], torch_like(inputs))


def test_optional_inputs_may_be_absent():
    graph = sprnn.onnx.load(lstm())
    assert {spec.name for spec in graph.inputs if spec.optional} == {"B", "sequence_lens", "initial_h", "initial_c", "P"}
    inputs = {name: array for name, array in lstm_inputs().items() if name in ("X", "W", "R")}
    np.testing.assert_array_equal(graph.run(inputs)["Y"][:, 0], torch_like(inputs))
    np.testing.assert_array_equal(graph.run({**inputs, "P": None})["Y"][:, 0], torch_like(inputs))
    with pytest.raises(ValueError, match="input 'R' is missing"):
        graph.run({"X": inputs["X"], "W": inputs["W"]})


def test_an_initializer_that_is_an_input_is_a_default():
    inputs = lstm_inputs()
    model = lstm(constants=["W", "R", "B", "P"])
    model.graph.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, [1, 4 * H, I]))
    graph = sprnn.onnx.load(model)
    rest = {name: inputs[name] for name in ("X", "sequence_lens", "initial_h", "initial_c")}
    np.testing.assert_array_equal(graph.run(rest)["Y"][:, 0], torch_like(inputs))
    other = {**inputs, "W": -inputs["W"]}
    np.testing.assert_array_equal(graph.run({**rest, "W": other["W"]})["Y"][:, 0], torch_like(other))
    np.testing.assert_array_equal(graph.run(rest)["Y"][:, 0], torch_like(inputs))


def test_weights_are_packed_again_when_they_change_and_only_then():
    graph = sprnn.onnx.load(lstm())
    layer = graph._steps[0].layer
    inputs = lstm_inputs()
    graph.run(inputs)
    first = layer.model
    graph.run(copy.deepcopy(inputs))
    assert layer.model is first
    inputs["R"][0, 3, 2] += 1  # in place
    np.testing.assert_array_equal(graph.run(inputs)["Y"][:, 0], torch_like(inputs))
    assert layer.model is not first
    del inputs["P"]
    np.testing.assert_array_equal(graph.run(inputs)["Y"][:, 0], torch_like(inputs))


def test_each_run_starts_anew_and_any_batch_will_do():
    graph = sprnn.onnx.load(lstm(constants=["W", "R", "B", "P"]))
    for spec in graph.inputs:
        object.__setattr__(spec, "shape", None)
    for batch in (2, 1, 2):
        inputs = lstm_inputs(batch=batch)
        run_time = {spec.name: inputs[spec.name] for spec in graph.inputs}
        for _ in range(2):
            np.testing.assert_array_equal(graph.run(run_time)["Y"][:, 0], torch_like(inputs))


def test_a_batch_of_none_and_no_timesteps():
    inputs = lstm_inputs()
    model = lstm(constants=["W", "R", "B", "P"])
    for info in model.graph.input:
        info.type.tensor_type.ClearField("shape")
    graph = sprnn.onnx.load(model)
    results = graph.run({"X": inputs["X"][:0], "initial_h": inputs["initial_h"], "initial_c": inputs["initial_c"]})
    assert results["Y"].shape == (0, 1, B, H)
    np.testing.assert_array_equal(results["Y_c"], inputs["initial_c"])
    assert graph.run({"X": inputs["X"][:, :0]})["Y"].shape == (T, 1, 0, H)


def test_arrays_of_any_layout_and_outputs_of_their_own():
    inputs = lstm_inputs()
    expected = torch_like(inputs)
    inputs["X"] = np.asfortranarray(inputs["X"])
    inputs["W"] = np.repeat(inputs["W"], 2, axis=2)[:, :, ::2]
    np.testing.assert_array_equal(sprnn.onnx.load(lstm()).run(inputs)["Y"][:, 0], expected)

    x = np.ones((2, 3), np.float32)
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["c"], ["z"])]
    graph = sprnn.onnx.load(model_of(nodes, {"x": x, "c": x}, ["y", "z"], 14, ["c"]))
    for result in graph.run({"x": x}).values():
        result[:] = 7  # neither the input nor the constant
    assert x.max() == 1
    assert graph.run({"x": x})["z"].max() == 1


def test_half_and_double():
    inputs = lstm_inputs()
    expected = torch_like(inputs)
    for dtype, bound in ((np.float16, 2e-3), (np.float64, 1e-6)):
        typed = {n: a if a.dtype == np.int32 else a.astype(dtype) for n, a in inputs.items()}
        result = sprnn.onnx.load(lstm(inputs=typed)).run(typed)["Y"]
        assert result.dtype == dtype
        error = np.linalg.norm(result[:, 0].astype(np.float64) - expected) / np.linalg.norm(expected)
        assert error < bound


def test_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy's bfloat16 comes with the package ml_dtypes")
    inputs = lstm_inputs()
    typed = {n: a if a.dtype == np.int32 else a.astype(ml_dtypes.bfloat16) for n, a in inputs.items()}
    result = sprnn.onnx.load(lstm(opset=22, inputs=typed)).run(typed)["Y"]
    assert result.dtype == ml_dtypes.bfloat16
    expected = torch_like(inputs)
    assert np.linalg.norm(result[:, 0].astype(np.float64) - expected) / np.linalg.norm(expected) < 1.5e-2


def test_bfloat16_of_an_onnx_that_has_none_is_refused(monkeypatch):
    """Before 1.19 onnx reads it as float32 or as a structure of its own."""
    monkeypatch.setattr(onnx.helper, "tensor_dtype_to_np_dtype", lambda elem_type: np.dtype(np.float32))
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)
    x = np.ones(1, np.float32)
    with pytest.raises(TypeError, match="BFLOAT16, which onnx .* reads as another: install 1.19"):
        sprnn.onnx.load(model_of([node], {"x": x}, ["y"], 22, dtypes={"y": TensorProto.BFLOAT16})).run({"x": x})


def test_what_onnxruntime_takes_as_absent():
    """An empty list of activations, and a negative size of an input."""
    inputs = lstm_inputs()
    model = lstm()
    model.graph.node[0].attribute.append(onnx.AttributeProto(name="activations", type=onnx.AttributeProto.STRINGS))
    for info in model.graph.input:
        info.type.tensor_type.shape.dim[0].dim_value = -1
    np.testing.assert_array_equal(sprnn.onnx.load(model).run(inputs)["Y"][:, 0], torch_like(inputs))


def test_local_functions_are_inlined():
    inputs = {name: array for name, array in lstm_inputs().items() if name in ("X", "W", "R")}
    body = helper.make_node("LSTM", ["a", "b", "c"], ["y"], hidden_size=H)
    function = helper.make_function("mine", "layer", ["a", "b", "c"], ["y"], [body], [helper.make_opsetid("", 14)])
    model = model_of([helper.make_node("layer", ["X", "W", "R"], ["Y"], domain="mine")], inputs, ["Y"], 14)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.functions.append(function)
    np.testing.assert_array_equal(sprnn.onnx.load(model).run(inputs)["Y"][:, 0], torch_like(inputs))
    function.node.append(helper.make_node("layer", ["a", "b", "c"], ["z"], domain="mine"))
    function.opset_import.append(helper.make_opsetid("mine", 1))
    model.functions[0].CopyFrom(function)
    for use in (sprnn.onnx.load, sprnn.onnx.layers):
        with pytest.raises(sprnn.Error, match="its local functions cannot be inlined: .*recursive"):
            use(model)


def test_weights_in_a_file_beside(tmp_path):
    inputs = lstm_inputs()
    onnx.save(lstm(constants=["W", "R", "B", "P"]), tmp_path / "m.onnx", save_as_external_data=True,
              location="weights.bin", size_threshold=0)  # fmt: skip
    graph = sprnn.onnx.load(tmp_path / "m.onnx")
    rest = {spec.name: inputs[spec.name] for spec in graph.inputs}
    np.testing.assert_array_equal(graph.run(rest)["Y"][:, 0], torch_like(inputs))
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(sprnn.Error, match="weights.bin|m.onnx"):
        sprnn.onnx.load(tmp_path / "m.onnx")


# ---- Engines


def test_engines_agree_and_explain_says_which_runs_a_variant():
    inputs = lstm_inputs()
    model = lstm(constants=["W", "R", "B", "P"], clip=0.5, input_forget=1)
    rest = {n: inputs[n] for n in ("X", "sequence_lens", "initial_h", "initial_c")}
    results = {engine: sprnn.onnx.load(model, engine=engine).run(rest)["Y"] for engine in ("auto", "cpu", "reference")}
    for engine, result in results.items():
        np.testing.assert_allclose(result, results["reference"], rtol=1e-5, atol=1e-6, err_msg=engine)
    text = sprnn.onnx.load(model).explain(batch=B)
    assert "LSTM 'cell': lstm(input_forget, clip=0.5), forward, input 3, hidden 4" in text
    assert "cpu          runs it" in text and "reference    runs it" in text
    # Planned for a GPU, the variant is refused by name.
    assert "has no lstm(input_forget, clip=0.5) cell" in sprnn.onnx.load(model).explain(target="h100")


def test_explain_before_and_after_weights_have_come():
    graph = sprnn.onnx.load(lstm())
    assert "weights come with each run" in graph.explain()
    graph.run(lstm_inputs())
    assert "engines, the preferred first" in graph.explain()
    identity = model_of([helper.make_node("Identity", ["x"], ["y"])], {"x": np.ones(1, np.float32)}, ["y"], 14)
    assert "no recurrent layers" in sprnn.onnx.load(identity).explain()


def test_an_engine_that_has_not_the_variant_refuses_by_name():
    inputs = lstm_inputs()
    graph = sprnn.onnx.load(lstm(clip=1.0), engine="interpreter")
    with pytest.raises(NotImplementedError, match="LSTM 'cell': .*interpreter.*clip=1"):
        graph.run(inputs)


@pytest.mark.skipif(not sprnn.devices()["cuda"], reason="sprnn sees no GPU, on which ONNX's variants are refused")
def test_a_gpu_refuses_the_variant_and_auto_goes_to_the_cpu():
    inputs = lstm_inputs()
    del inputs["P"]
    weights = ["W", "R", "B"]
    given = {name: array for name, array in inputs.items() if name not in weights}
    clipped, plain = lstm(weights, inputs=inputs, clip=1.0), lstm(weights, inputs=inputs)

    with pytest.raises(NotImplementedError, match=r"LSTM 'cell': engine cuda: has no lstm\(clip=1\) cell"):
        sprnn.onnx.load(clipped, engine="cuda").run(given)

    graph = sprnn.onnx.load(clipped)
    expected = sprnn.onnx.load(clipped, engine="reference").run(given)
    np.testing.assert_allclose(graph.run(given)["Y"], expected["Y"], rtol=1e-5, atol=1e-6)
    assert [session.engine for session in graph._steps[0].layer._sessions.values()] == ["cpu"]
    assert "not for this machine's GPU: engine cuda has no lstm(clip=1) cell" in graph.explain()

    graph = sprnn.onnx.load(plain)  # which the GPU does run
    graph.run(given)
    assert [session.engine for session in graph._steps[0].layer._sessions.values()] == ["cuda"]
    assert "not for this machine's GPU" not in graph.explain()


# ---- Refusals


def test_other_operators_are_refused_by_name():
    x = np.ones((1, 1), np.float32)
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="act"),
        helper.make_node("Mine", ["a"], ["b"], domain="custom"),
        helper.make_node("Frobnicate", ["b"], ["y"]),
    ]
    model = model_of(nodes, {"x": x}, ["y"], 14)
    model.opset_import.append(helper.make_opsetid("custom", 1))
    with pytest.raises(NotImplementedError, match="Relu 'act', custom.Mine of 'b', Frobnicate of 'y'"):
        sprnn.onnx.load(model)


def test_old_and_new_opsets_are_refused():
    with pytest.raises(NotImplementedError, match="LSTM 'cell' .of opset 1: expected 7 to 22"):
        sprnn.onnx.load(lstm(opset=6))
    with pytest.raises(NotImplementedError, match="opset 999: the installed onnx"):
        sprnn.onnx.load(lstm(opset=999))
    x = np.ones((2, 3), np.float32)
    for node, opset in (
        (helper.make_node("Concat", ["x", "x"], ["y"]), 3),
        (helper.make_node("Reshape", ["x"], ["y"], shape=[3, 2]), 4),
        (helper.make_node("Cast", ["x"], ["y"], to="DOUBLE"), 5),
    ):
        with pytest.raises(NotImplementedError, match=f"{node.op_type} of 'y' .of opset 1: expected {opset + 1} to"):
            sprnn.onnx.load(model_of([node], {"x": x}, ["y"], opset))
    model = lstm()
    model.opset_import[0].domain = "ai.onnx.ml"
    with pytest.raises(NotImplementedError, match="ai.onnx.ml only"):
        sprnn.onnx.load(model)


def test_inputs_that_are_no_tensors_are_refused():
    node = helper.make_node("Identity", ["x"], ["y"])
    info = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [info], [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)])
    with pytest.raises(NotImplementedError, match="input 'x' is a sequence"):
        sprnn.onnx.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)]))
    graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.STRING, None))
    with pytest.raises(NotImplementedError, match="input 'x' has elements of type STRING"):
        sprnn.onnx.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)]))


# ---- Bad input


@pytest.mark.parametrize(
    "name, change, error, message",
    [
        ("X", lambda a: a.astype(np.float64), TypeError, "input 'X' is float64: expected float32"),
        ("X", lambda a: a.tolist(), TypeError, "input 'X' is float64: expected float32"),
        ("X", lambda a: object(), TypeError, "input 'X' is object"),
        ("X", lambda a: a[0], ValueError, r"input 'X' has shape \[2, 3\]: expected \[5, 2, 3\]"),
        ("W", lambda a: a[:, :8], ValueError, r"input 'W' has shape \[1, 8, 3\]"),
        ("sequence_lens", lambda a: a.astype(np.int64), TypeError, "sequence_lens' is int64: expected int32"),
        ("sequence_lens", lambda a: a + 4, ValueError, r"LSTM 'cell': sequence_lens is \[7, 9\]: expected each in 0..5"),
        ("sequence_lens", lambda a: -a, ValueError, "expected each in 0..5"),
        ("R", lambda a: a * np.nan, ValueError, "LSTM 'cell': .*weight_hh_l0"),
        ("typo", lambda a: 1, ValueError, "no input 'typo': expected 'X', 'W'"),
    ],
)
def test_bad_input(name, change, error, message):
    graph = sprnn.onnx.load(lstm())
    inputs = lstm_inputs()
    expected = graph.run(inputs)["Y"]
    with pytest.raises(error, match=message) as caught:
        graph.run({**inputs, name: change(inputs.get(name))})
    assert isinstance(caught.value, sprnn.Error)
    np.testing.assert_array_equal(graph.run(inputs)["Y"], expected)  # the graph is as it was


@pytest.mark.parametrize(
    "name, shape, message",
    [
        ("W", (1, 4 * H + 1, I), r"W has shape \[1, 17, 3\]: expected \[1, 16, 3\]"),
        ("R", (1, 4 * H, H + 1), "hidden_size is 4, but R has shape"),
        ("R", (4 * H, H), "hidden_size is 4, but R has shape"),
        ("B", (1, 4 * H), r"B has shape \[1, 16\]: expected \[1, 32\]"),
        ("P", (1, 4 * H), r"P has shape \[1, 16\]: expected \[1, 12\]"),
        ("X", (T, B, I + 1), r"X has shape \[5, 2, 4\]: expected \[timesteps, batch, input size\], input size 3"),
        ("X", (T, B), r"X has shape \[5, 2\]"),
        ("initial_h", (1, B + 1, H), r"initial_h has shape \[1, 3, 4\]: expected \[1, 2, 4\]"),
        ("initial_c", (2, B, H), r"initial_c has shape \[2, 2, 4\]"),
    ],
)
def test_shapes_that_the_graph_does_not_declare(name, shape, message):
    inputs = {**lstm_inputs(), name: np.zeros(shape, np.float32)}
    with pytest.raises(ValueError, match=f"LSTM 'cell': {message}"):
        sprnn.onnx.load(lstm(inputs=inputs)).run(inputs)


@pytest.mark.parametrize(
    "attributes, message",
    [
        ({"direction": "sideways"}, "direction 'sideways': expected one of forward, reverse, bidirectional"),
        ({"activations": ["Tanh"]}, "1 activations: expected 3"),
        ({"activations": ["Sigmoid", "Tanh", "Cosine"]}, "Cosine"),
        ({"clip": -1.0}, "clip"),
        ({"direction": "bidirectional"}, r"W has shape \[1, 16, 3\]: expected \[2, 16, 3\]"),
    ],
)
def test_bad_attributes(attributes, message):
    with pytest.raises(ValueError, match=f"LSTM 'cell': .*{message}"):
        sprnn.onnx.load(lstm(**attributes)).run(lstm_inputs())


def test_what_is_of_the_wrong_kind_altogether():
    for inputs in (None, [lstm_inputs()["X"]]):
        with pytest.raises(sprnn.Error, match="inputs is a .*: expected a dict of arrays by name") as caught:
            sprnn.onnx.load(lstm()).run(inputs)
        assert isinstance(caught.value, TypeError)
    with pytest.raises(sprnn.Error, match="the source is a int: expected the path"):
        sprnn.onnx.load(3)
    size = np.array([10**7, 10**7])
    model = model_of([helper.make_node("ConstantOfShape", ["s"], ["y"])], {"s": size}, ["y"], 14)
    with pytest.raises(MemoryError, match="ConstantOfShape of 'y': ") as caught:
        sprnn.onnx.load(model).run({"s": size})
    assert isinstance(caught.value, sprnn.Error)


@pytest.mark.parametrize("broken", ("onnx", "ml_dtypes"))
def test_the_package_that_is_missing_is_named(broken, tmp_path):
    """Not onnx itself, where that is there and its own import fails."""
    code = f"import sys; sys.modules[{broken!r}] = None; import sprnn.onnx"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert ("pip install 'sprnn[onnx]'" in done.stderr) == (broken == "onnx") and broken in done.stderr.splitlines()[-1]


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.onnx: no such file"):
        sprnn.onnx.load(tmp_path / "absent.onnx")
    with pytest.raises(OSError):
        sprnn.onnx.load(tmp_path)
    whole = lstm(constants=["W", "R", "B", "P"]).SerializeToString()
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.onnx"
    for content in (b"", b"not an onnx file", *(whole[:n] for n in range(1, len(whole), 97))):
        path.write_bytes(content)
        with pytest.raises(sprnn.Error, match="bad.onnx"):
            sprnn.onnx.load(path)
    inputs = lstm_inputs()
    for seed in range(300):  # flipped bits: whatever happens is an exception of sprnn's or a result
        content = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            content[at] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        try:
            graph = sprnn.onnx.load(path)
            graph.run({spec.name: inputs[spec.name] for spec in graph.inputs if spec.name in inputs})
        except sprnn.Error:
            pass
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda g: g.node[0].input.__setitem__(0, "ghost"), "uses 'ghost', which nothing before it makes"),
        (lambda g: g.node.append(g.node[0]), "makes 'Y', which is there already"),
        (lambda g: g.output[0].__setattr__("name", "ghost"), "output 'ghost' is made by nothing"),
        (lambda g: g.node[0].attribute.append(helper.make_attribute("wings", 2)), "LSTM 'cell': .*wings"),
        (lambda g: g.node[0].input.append("X"), "LSTM 'cell': "),
    ],
)
def test_ill_formed_graphs(change, message):
    model = lstm()
    change(model.graph)
    with pytest.raises(ValueError, match=message):
        sprnn.onnx.load(model)
