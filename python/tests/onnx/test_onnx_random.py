"""Random graphs against onnxruntime, and against ONNX's reference evaluator where onnxruntime refuses (layout 1)."""

import numpy as np
import onnx
import onnxruntime
import pytest
import random_graphs
from onnx.reference import ReferenceEvaluator

import sprnn.onnx

onnxruntime.set_default_logger_severity(4)
OPSETS = (7, 9, 11, 13, 14, 15, 17, 21, 22)


def assert_close(results, expected, seed, model):
    """fp32's bound: 1e-5 of the whole."""
    assert len(results) == len(expected)
    for (name, result), wanted in zip(results.items(), expected):
        assert result.dtype == wanted.dtype and result.shape == wanted.shape, (seed, name)
        error = np.linalg.norm(result - wanted) / max(np.linalg.norm(wanted), 1e-6)
        assert error < 1e-5, f"seed {seed}: {name} is off by {error}\n{onnx.helper.printable_graph(model.graph)}"


def by_onnxruntime(model, inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("operator", ["RNN", "GRU", "LSTM"])
def test_one_layer(operator, engine):
    for seed in range(400 if engine == "auto" else 30):
        rng = np.random.default_rng(seed)
        model, inputs = random_graphs.single(rng, operator, OPSETS[seed % len(OPSETS)])
        results = sprnn.onnx.load(model, engine=engine).run(inputs)
        assert_close(results, by_onnxruntime(model, inputs), seed, model)


@pytest.mark.parametrize("opset", OPSETS)
def test_chains(opset):
    for seed in range(25):
        model, inputs = random_graphs.chain(np.random.default_rng(seed), opset)
        results = sprnn.onnx.load(model).run(inputs)
        assert_close(results, by_onnxruntime(model, inputs), seed, model)


@pytest.mark.parametrize("opset", [14, 22])
@pytest.mark.parametrize("operator", ["RNN", "GRU", "LSTM"])
def test_layout_1_agrees_with_the_reference_evaluator(operator, opset):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        # Which knows neither sequence_lens nor the variants.
        model, inputs = random_graphs.single(rng, operator, opset, layout=1, variants=False, lengths=False)
        results = sprnn.onnx.load(model).run(inputs)
        expected = ReferenceEvaluator(model).run(None, inputs)
        assert_close(results, expected, seed, model)


@pytest.mark.parametrize("operator", ["RNN", "GRU", "LSTM"])
def test_layout_1_is_layout_0_with_the_axes_turned(operator):
    """With what the reference evaluator does not know: lengths, and every variant."""
    for seed in range(40):
        layer = random_graphs.Layer(np.random.default_rng(seed), operator, layout=1)
        turned = dict(layer.inputs)
        for name in ("X", "initial_h", "initial_c"):
            if name in turned:
                turned[name] = turned[name].swapaxes(0, 1)
        batch_first = random_graphs.model_of([layer.node()], layer.inputs, layer.outputs, 14)
        del layer.attributes["layout"]
        time_first = random_graphs.model_of([layer.node()], turned, layer.outputs, 14)
        expected = by_onnxruntime(time_first, turned)
        expected = [expected[0].transpose(2, 0, 1, 3)] + [state.swapaxes(0, 1) for state in expected[1:]]
        assert_close(sprnn.onnx.load(batch_first).run(layer.inputs), expected, seed, batch_first)
