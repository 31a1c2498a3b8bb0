"""Recurrent layers taken out of graphs, and those of a real model."""

import json
import pathlib
import struct

import numpy as np
import onnx
import pytest
import random_graphs
from onnx import TensorProto, helper, numpy_helper
from random_graphs import Layer, floats, model_of

import sprnn
import sprnn.onnx

MODELS = pathlib.Path(__file__).parents[3] / "build/models"
WEIGHTS = ("W", "R", "B", "P")


def assert_same(model, other):
    ours, theirs = model.arrays(), other.arrays()
    assert list(ours) == list(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], strict=True)


def tensors_of(path):
    content = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    return {name for name in json.loads(content[8 : 8 + size]) if name != "__metadata__"}


def plain_layer(rng, operator="LSTM", **options):
    layer = Layer(rng, operator, variants=False, **options)
    if operator == "GRU":
        layer.attributes["linear_before_reset"] = 1
    if layer.direction == "reverse":
        layer.attributes["direction"] = layer.direction = "forward"
    return layer


def constants_of(layer):
    return [name for name in WEIGHTS if name in layer.inputs]


@pytest.mark.parametrize("operator", ["RNN", "GRU", "LSTM"])
def test_what_is_extracted_runs_as_the_graph_does(operator, tmp_path):
    for seed in range(20):
        layer = plain_layer(np.random.default_rng(seed), operator, lengths=False)
        for name in ("initial_h", "initial_c"):
            layer.inputs.pop(name, None)
        model = model_of([layer.node("net/rnn/")], {f"net/rnn/{n}": a for n, a in layer.inputs.items()},
                         [f"net/rnn/{n}" for n in layer.outputs], 14, [f"net/rnn/{n}" for n in constants_of(layer)])  # fmt: skip
        onnx.save(model, tmp_path / "model.onnx")
        found = sprnn.onnx.extract(tmp_path / "model.onnx")
        assert found.path == str(tmp_path / "model.safetensors")
        assert list(found.models) == ["net.rnn."] and not found.left
        loaded = sprnn.load(found.path)
        assert_same(loaded, found.models["net.rnn."])
        x = layer.inputs["X"]
        expected = sprnn.onnx.load(tmp_path / "model.onnx").run({"net/rnn/X": x})["net/rnn/Y"]
        result = loaded.session(batch=layer.batch)(x)
        np.testing.assert_array_equal(result, expected.transpose(0, 2, 1, 3).reshape(result.shape))


def test_weights_behind_operators_are_folded():
    """Gates reordered with Slice and Concat, as exporters do, biases summed, dequantised weights: all constants."""
    layer = plain_layer(np.random.default_rng(1), batch=1)
    layer.inputs["B"] = floats(np.random.default_rng(2), layer.directions, 8 * layer.hidden)
    plain = sprnn.onnx.layers(model_of([layer.node()], layer.inputs, ["Y"], 14, constants_of(layer))).models["LSTM."]
    quantised = np.round(layer.inputs["R"] * 127 / abs(layer.inputs["R"]).max()).astype(np.int8)
    inputs = dict(layer.inputs) | {
        "W_top": layer.inputs["W"][:, : layer.hidden], "W_rest": layer.inputs["W"][:, layer.hidden :],
        "B_less": layer.inputs["B"] - 1, "one": np.float32([1]), "R_q": quantised, "scale": np.float32(0.01),
    }  # fmt: skip
    nodes = [
        helper.make_node("Concat", ["W_top", "W_rest"], ["W"], axis=1),
        helper.make_node("Add", ["B_less", "one"], ["B"]),
        helper.make_node("DequantizeLinear", ["R_q", "scale"], ["R"]),
        layer.node(),
    ]
    for name in ("W", "B", "R"):
        del inputs[name]
    names = [name for name in inputs if name.split("_")[0] in ("W", "B", "R", "one", "scale")]
    (folded,) = sprnn.onnx.layers(model_of(nodes, inputs, ["Y"], 19, names)).models.values()
    a, b = plain.arrays(), folded.arrays()
    np.testing.assert_array_equal(a["weight_ih_l0"], b["weight_ih_l0"])
    np.testing.assert_allclose(a["bias_hh_l0"], b["bias_hh_l0"], atol=1e-6)
    reordered = np.concatenate([np.split(quantised[0], 4)[g] for g in (0, 2, 3, 1)])
    np.testing.assert_allclose(b["weight_hh_l0"], reordered * np.float32(0.01), rtol=1e-6)


def branches(first, second, inputs, constants):
    """If x then one layer, else the other; weights that are in `inputs` alone belong to the graph around."""

    def branch(nodes, output):
        info = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        return helper.make_graph(nodes, "branch", [], [info])

    node = helper.make_node("If", ["which"], ["Y"], then_branch=branch(*first), else_branch=branch(*second))
    return model_of([node], {**inputs, "which": np.array(True)}, ["Y"], 14, constants)


def test_branches_are_entered_and_copies_merged(tmp_path):
    layer = plain_layer(np.random.default_rng(3))
    other = plain_layer(np.random.default_rng(4), "GRU")
    inputs = {f"a_{n}": array for n, array in layer.inputs.items()}
    second = [helper.make_node("Constant", [], [f"b_{n}"], value=numpy_helper.from_array(array))
              for n, array in other.inputs.items()]  # fmt: skip
    again = {name: f"a_{name}" for name in layer.inputs}
    model = branches(
        ([layer.node("a_"), layer.node("copy_", **again)], "a_Y"),
        ([*second, other.node("b_"), layer.node("deep_", **again)], "b_Y"),
        inputs,
        [f"a_{n}" for n in constants_of(layer)],
    )
    found = sprnn.onnx.extract(model, tmp_path / "two.safetensors")
    # In the file the else branch comes first.
    assert found.nodes == {
        "b_GRU.": ("GRU 'b_GRU'",),
        "deep_LSTM.": ("LSTM 'deep_LSTM'", "LSTM 'a_LSTM'", "LSTM 'copy_LSTM'"),
    }
    assert_same(sprnn.load(found.path, prefix="b_GRU."), found.models["b_GRU."])
    assert "from GRU 'b_GRU'" in str(found)


def test_a_constant_condition_chooses_the_weights():
    layer = plain_layer(np.random.default_rng(5))
    w = layer.inputs["W"]
    keep = helper.make_node("Identity", ["W0"], ["W1"])
    twice = helper.make_node("Add", ["W0", "W0"], ["W2"])
    graphs = [helper.make_graph([node], "g", [], [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)])
              for node in (keep, twice)]  # fmt: skip
    choose = helper.make_node("If", ["which"], ["W"], then_branch=graphs[0], else_branch=graphs[1])
    for which in (True, False):
        inputs = {**layer.inputs, "W0": w, "which": np.array(which)}
        del inputs["W"]
        names = [name for name in ("W0", "which", *constants_of(layer)) if name in inputs]
        (model,) = sprnn.onnx.layers(model_of([choose, layer.node()], inputs, ["Y"], 14, names)).models.values()
        first = np.split(w[0], 4)[0] * (1 if which else 2)
        np.testing.assert_array_equal(model.arrays()["weight_ih_l0"][: layer.hidden], first)


@pytest.mark.parametrize(
    "way, direction",
    [("squeeze", "forward")]
    + [(way, direction) for way in ("reshape", "static", "swapped", "static swapped", "relu")
       for direction in ("forward", "bidirectional")],
)
def test_layers_that_feed_the_next_are_stacked(way, direction):
    rng = np.random.default_rng(6)
    d, h, t, b = 1 + (direction == "bidirectional"), 5, 4, 3
    shapes = {"W0": (d, 4 * h, 7), "R0": (d, 4 * h, h), "W1": (d, 4 * h, d * h), "R1": (d, 4 * h, h)}
    inputs = {"x": floats(rng, t, b, 7)} | {name: floats(rng, *shape) for name, shape in shapes.items()}
    attributes = {"hidden_size": h, "direction": direction}
    nodes = [helper.make_node("LSTM", ["x", "W0", "R0"], ["y0"], name="/rnn/LSTM", **attributes)]
    if way == "squeeze":
        inputs["axes"] = np.array([1], np.int64)
        nodes.append(helper.make_node("Squeeze", ["y0", "axes"], ["x1"]))
    else:
        # Only sizes that are those of the graph fit a shape that is a constant.
        inputs["to"] = np.array([t, b, d * h] if "static" in way else [0, 0, -1], np.int64)
        # "swapped" mixes batch and directions (or time and batch): not what a stack does.
        perm = ([0, 1, 2, 3] if d == 2 else [2, 1, 0, 3]) if "swapped" in way else [0, 2, 1, 3]
        nodes.append(helper.make_node("Transpose", ["y0"], ["turned"], perm=perm))
        nodes.append(helper.make_node("Reshape", ["turned", "to"], ["relued" if way == "relu" else "x1"]))
        if way == "relu":
            nodes.append(helper.make_node("Relu", ["relued"], ["x1"]))
    nodes.append(helper.make_node("LSTM", ["x1", "W1", "R1"], ["y1"], name="/rnn/LSTM_1", **attributes))
    model = model_of(nodes, inputs, ["y1"], 14, [name for name in inputs if name != "x"])
    found = sprnn.onnx.layers(model)
    if "swapped" in way or way == "relu":
        assert {prefix: model.num_layers for prefix, model in found.models.items()} == {"rnn.": 1, "rnn_2.": 1}
        return
    stack = found.models["rnn."]
    assert list(found.models) == ["rnn."] and stack.num_layers == 2 and stack.bidirectional == (d == 2)
    expected = sprnn.onnx.load(model).run({"x": inputs["x"]})["y1"].transpose(0, 2, 1, 3).reshape(t, b, -1)
    np.testing.assert_allclose(stack.session(batch=b)(inputs["x"]), expected, rtol=1e-5, atol=1e-6)


def test_a_size_that_no_memory_could_hold_is_not_tried():
    rng = np.random.default_rng(6)
    inputs = {"x": floats(rng, 1, 1, 7), "W0": floats(rng, 1, 20, 7), "R": floats(rng, 1, 20, 5)}
    inputs |= {"W1": floats(rng, 1, 20, 5), "to": np.array([10**9, 10**9, 5], np.int64)}
    nodes = [
        helper.make_node("LSTM", ["x", "W0", "R"], ["y0"], hidden_size=5),
        helper.make_node("Reshape", ["y0", "to"], ["x1"]),
        helper.make_node("LSTM", ["x1", "W1", "R"], ["y1"], hidden_size=5),
    ]
    model = model_of(nodes, inputs, ["y1"], 14, [name for name in inputs if name != "x"])
    for axis in (0, 1):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 10**9
    assert len(sprnn.onnx.layers(model).models) == 2


def test_a_chain_of_thousands_of_nodes():
    """Between two layers, and before weights; also of branches each of which waits for the one before."""
    rng, n = np.random.default_rng(6), 2000
    inputs = {"x": floats(rng, 4, 3, 7), "W0": floats(rng, 1, 20, 7), "R": floats(rng, 1, 20, 5)}
    inputs |= {"W1": floats(rng, 1, 20, 5), "which": np.array(True)}
    chain = lambda operator, first, last: [  # noqa: E731
        helper.make_node(operator, [first if i == 0 else f"{last}_{i}"], [last if i == n - 1 else f"{last}_{i + 1}"])
        for i in range(n)
    ]
    first = helper.make_node("LSTM", ["x", "W", "R"], ["y0"], hidden_size=5)
    second = helper.make_node("LSTM", ["x1", "W1", "R"], ["y1"], hidden_size=5)
    turn = [helper.make_node("Squeeze", ["y0"], ["s"], axes=[1])]
    nodes = [*chain("Identity", "W0", "W"), first, *turn, *chain("Identity", "s", "x1"), second]
    (model,) = sprnn.onnx.layers(model_of(nodes, inputs, ["y1"], 11, [n for n in inputs if n != "x"])).models.values()
    assert model.num_layers == 2
    nodes = [*chain("Relu", "x", "x2"), helper.make_node("LSTM", ["x2", "W0", "R"], ["y0"], hidden_size=5)]
    nodes += [*turn, *chain("Relu", "s", "x1"), second]
    found = sprnn.onnx.layers(model_of(nodes, inputs, ["y1"], 11, [n for n in inputs if n != "x"]))
    assert [model.num_layers for model in found.models.values()] == [1, 1]

    def choice(i):
        before = "W0" if i == 0 else f"W_{i}"
        info = helper.make_tensor_value_info("w", TensorProto.FLOAT, None)
        graphs = [helper.make_graph([helper.make_node(op, [before], ["w"])], "g", [], [info]) for op in ("Identity", "Neg")]
        last = "W" if i == n - 1 else f"W_{i + 1}"
        return helper.make_node("If", ["which"], [last], then_branch=graphs[0], else_branch=graphs[1])

    nodes = [*map(choice, range(n)), first]
    found = sprnn.onnx.layers(model_of(nodes, inputs, ["y0"], 11, [n for n in inputs if n != "x"]))
    assert found.left == {"LSTM of 'y0'": "W is not a constant"}  # these are given up


def test_a_chain_keeps_its_numbers():
    """Whatever is stacked or not, every layer of a random chain is found once."""
    for seed in range(30):
        model, _ = random_graphs.chain(np.random.default_rng(seed), 14)
        found = sprnn.onnx.layers(model)
        count = sum(1 for node in model.graph.node if node.op_type in ("RNN", "GRU", "LSTM"))
        assert sum(len(nodes) for nodes in found.nodes.values()) == count and not found.left
        assert sum(model.num_layers for model in found.models.values()) == count


def test_variants_are_models_but_not_in_a_checkpoint(tmp_path):
    plain, variant = plain_layer(np.random.default_rng(7), "GRU"), plain_layer(np.random.default_rng(8), "GRU")
    variant.attributes["linear_before_reset"] = 0
    inputs = {f"a_{n}": array for n, array in plain.inputs.items()} | {f"b_{n}": a for n, a in variant.inputs.items()}
    constants = [name for name in inputs if name[2:] in WEIGHTS]
    model = model_of([plain.node("a_"), variant.node("b_")], inputs, ["a_Y", "b_Y"], 14, constants)
    assert set(sprnn.onnx.layers(model).models) == {"a_GRU.", "b_GRU."}
    found = sprnn.onnx.extract(model, tmp_path / "one.safetensors")
    assert set(found.models) == {"a_GRU."}
    assert "gru(reset_before_product)" in found.left["GRU 'b_GRU'"] and "save as .sprnn" in str(found)
    assert {name.split("weight")[0].split("bias")[0] for name in tensors_of(found.path)} == {"a_GRU."}
    sprnn.onnx.layers(model).models["b_GRU."].save(tmp_path / "b.sprnn")
    with pytest.raises(NotImplementedError, match="no layer can be written: GRU 'b_GRU': "):
        sprnn.onnx.extract(model_of([variant.node("b_")], inputs, ["b_Y"], 14, constants), tmp_path / "none.safetensors")
    assert not (tmp_path / "none.safetensors").exists()


def test_graphs_without_recurrent_layers_say_so(tmp_path):
    x = np.ones((1, 1), np.float32)
    onnx.save(model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": x}, ["y"], 14), tmp_path / "relu.onnx")
    with pytest.raises(NotImplementedError, match="relu.onnx has no recurrent layers"):
        sprnn.onnx.extract(tmp_path / "relu.onnx")
    layer = plain_layer(np.random.default_rng(9))
    with pytest.raises(NotImplementedError, match="LSTM 'LSTM': W is not a constant"):
        sprnn.onnx.extract(model_of([layer.node()], layer.inputs, ["Y"], 14), tmp_path / "x.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["relu.onnx"]


def test_files_of_others_are_not_replaced(tmp_path):
    layer = plain_layer(np.random.default_rng(10))
    model = model_of([layer.node()], layer.inputs, ["Y"], 14, constants_of(layer))
    onnx.save(model, tmp_path / "m.onnx")
    target = tmp_path / "m.safetensors"
    sprnn.onnx.extract(tmp_path / "m.onnx")
    sprnn.onnx.extract(tmp_path / "m.onnx")  # its own it replaces
    sprnn.load(target).save(target)
    content = target.read_bytes().replace(b"sprnn.onnx.extract", b"someone.else.wrote")
    for other in (content, b"", b"12345678" * 3):
        target.write_bytes(other)
        with pytest.raises(ValueError, match="m.safetensors exists"):
            sprnn.onnx.extract(tmp_path / "m.onnx")
        assert target.read_bytes() == other
    sprnn.onnx.extract(tmp_path / "m.onnx", target)
    with pytest.raises(ValueError, match="name the file"):
        sprnn.onnx.extract(model)
    with pytest.raises(OSError):
        sprnn.onnx.extract(model, tmp_path / "nowhere" / "m.safetensors")


# ---- Silero VAD


def silero(name):
    path = MODELS / name
    if not path.exists():
        pytest.skip(f"{path} is not there: scripts/fetch_models.sh fetches it")
    return path


def test_silero_vad_has_one_lstm_for_each_sampling_rate():
    found = sprnn.onnx.layers(silero("silero_vad.onnx"))
    assert [len(nodes) for nodes in found.nodes.values()] == [2, 2] and not found.left
    (only,) = sprnn.onnx.layers(silero("silero_vad_16k_op15.onnx")).models.values()
    assert_same(only, found.models["If_0_then_branch__Inline_0__.decoder.rnn."])


def test_silero_vad_is_the_lstm_of_the_wheels_own_torch_model():
    jit = pytest.importorskip("torch.jit", reason="silero_vad.jit is read by torch")
    state = jit.load(str(silero("silero_vad.jit"))).state_dict()
    found = sprnn.onnx.layers(silero("silero_vad.onnx")).models
    for prefix, module in (("If_0_then_branch__Inline_0__", "_model"), ("If_0_else_branch__Inline_0__", "_model_8k")):
        for name, array in found[prefix + ".decoder.rnn."].arrays().items():
            expected = state[f"{module}.decoder.rnn.{name.removesuffix('_l0')}"].numpy()
            np.testing.assert_array_equal(array, expected, strict=True)


def test_silero_vad_beside_its_safetensors():
    """The wheel's safetensors hold another training of the same network: near, not equal, in whichever of its files.

    Every gate of the extracted LSTM is like the same gate there and like no other, so the order of the gates is right.
    """
    (model,) = sprnn.onnx.layers(silero("silero_vad_16k_op15.onnx")).models.values()
    other = sprnn.load(silero("silero_vad.safetensors"))
    for name in ("weight_ih_l0", "weight_hh_l0"):
        gates, others = (np.split(m.arrays()[name], 4) for m in (model, other))
        likeness = [[np.corrcoef(a.ravel(), b.ravel())[0, 1] for b in others] for a in gates]
        assert np.diag(likeness).min() > 0.9
        assert np.abs(likeness - np.diag(np.diag(likeness))).max() < 0.5


def test_an_lstm_of_safetensors_goes_through_onnx_and_back(tmp_path):
    """Silero VAD's, written into a graph under ONNX's gate order and extracted from there, is equal bit for bit."""
    model = sprnn.load(silero("silero_vad.safetensors"))
    arrays = {n: np.concatenate([np.split(a, 4)[g] for g in (0, 3, 1, 2)])[None] for n, a in model.arrays().items()}
    inputs = {"X": np.zeros((1, 1, 128), np.float32), "W": arrays["weight_ih_l0"], "R": arrays["weight_hh_l0"],
              "B": np.concatenate([arrays["bias_ih_l0"], arrays["bias_hh_l0"]], 1)}  # fmt: skip
    node = helper.make_node("LSTM", list(inputs), ["Y"], hidden_size=128)
    onnx.save(model_of([node], inputs, ["Y"], 14, ["W", "R", "B"]), tmp_path / "lstm.onnx")
    assert_same(sprnn.load(sprnn.onnx.extract(tmp_path / "lstm.onnx").path), model)


def test_a_graph_that_wrote_its_lstm_out_has_none():
    with pytest.raises(NotImplementedError, match="no recurrent layers"):
        sprnn.onnx.extract(silero("silero_vad_op18_ifless.onnx"))
