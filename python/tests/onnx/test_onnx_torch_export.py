"""What torch.onnx.export makes of torch.nn's recurrent layers: runs, and comes out as it went in."""

import io
import warnings

import numpy as np
import onnx
import pytest

import sprnn.onnx

pytest.importorskip("torch.nn", reason="the graphs are exported by torch")
import torch  # noqa: E402

CASES = [
    (torch.nn.LSTM, {"num_layers": 2}),
    (torch.nn.LSTM, {"num_layers": 3, "bidirectional": True, "batch_first": True}),
    (torch.nn.GRU, {"num_layers": 2, "bidirectional": True}),
    (torch.nn.GRU, {"num_layers": 2, "batch_first": True, "bias": False}),
    (torch.nn.RNN, {"num_layers": 2, "nonlinearity": "relu"}),
]


@pytest.mark.parametrize("opset", [9, 13, 17])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("kind, options", CASES, ids=lambda value: getattr(value, "__name__", None))
def test_export(kind, options, dynamic, opset):
    torch.manual_seed(0)
    layer = kind(6, 5, **options).eval()
    x = torch.randn(4, 2, 6)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the old one, whose graphs are all about
        torch.onnx.export(layer, (x,), file, opset_version=opset, dynamo=False, input_names=["x"],
                          dynamic_axes={"x": [0, 1]} if dynamic else None)  # fmt: skip
    model = onnx.load_from_string(file.getvalue())

    check(model, layer, torch.randn(7, 3, 6) if dynamic else x)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("kind, options", CASES, ids=lambda value: getattr(value, "__name__", None))
def test_export_with_dynamo(kind, options, dynamic):
    """The exporter that torch.onnx.export takes by default since 2.9."""
    pytest.importorskip("onnxscript", reason="torch's newer exporter needs the package onnxscript")
    if kind is torch.nn.RNN:
        pytest.skip("it writes torch.nn.RNN out as products and activations")
    torch.manual_seed(0)
    layer = kind(6, 5, **options).eval()
    x = torch.randn(4, 2, 6)
    sizes = ({0: torch.export.Dim("first"), 1: torch.export.Dim("second")},) if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.onnx.export(layer, (x,), dynamo=True, dynamic_shapes=sizes, verbose=False).model_proto
    check(model, layer, x, runs=not dynamic)  # sizes that are not known it multiplies, and Mul is refused


def check(model, layer, x, runs=True):
    """It runs as the layer does, and the layer comes out of it."""
    if runs:
        run(model, layer, x)
    found = sprnn.onnx.layers(model)
    (extracted,) = found.models.values()
    assert extracted.num_layers == layer.num_layers and not found.left
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(extracted.arrays()[name], array.numpy())


def run(model, layer, x):
    with torch.no_grad():
        y, state = layer(x)
    results = sprnn.onnx.load(model).run({model.graph.input[0].name: x.numpy()})
    for result, expected in zip(results.values(), (y, *(state if isinstance(state, tuple) else (state,)))):
        np.testing.assert_allclose(result, expected.numpy(), rtol=1e-5, atol=1e-6)
