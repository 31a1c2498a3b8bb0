"""The recurrent cases that ONNX itself comes with: those of the installed package, and of Debian's libonnx-testdata."""

import pathlib
import warnings

import numpy as np
import onnx
import pytest
from onnx.backend.test.loader import load_model_tests

import sprnn.onnx

RECURRENT = {"RNN", "GRU", "LSTM"}
INSTALLED_CASES = 18  # of onnx 1.23
DEBIAN = pathlib.Path("/usr/share/libonnx-testdata/data/node")
DEBIAN_CASES = 12  # of libonnx-testdata 1.12


def is_recurrent(model):
    return any(node.op_type in RECURRENT for node in model.graph.node)


def check(graph, inputs, outputs):
    results = graph.run(dict(zip((spec.name for spec in graph.inputs), inputs)))
    assert len(results) == len(outputs)
    for result, expected in zip(results.values(), outputs):
        assert result.dtype == expected.dtype and result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def read_tensors(folder, kind):
    paths = sorted(folder.glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.rpartition("_")[2]))
    return [onnx.numpy_helper.to_array(onnx.load_tensor(path)) for path in paths]


def read_data(folder):
    return [(read_tensors(data, "input"), read_tensors(data, "output")) for data in sorted(folder.glob("test_data_set_*"))]


def installed_cases():
    """(name, model, data sets): in files in older versions of onnx, made when asked for in newer ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the other cases' own arithmetic
        for case in load_model_tests(kind="node"):
            folder = pathlib.Path(case.model_dir) if case.model is None else None
            model = case.model if folder is None else onnx.load(folder / "model.onnx")
            if is_recurrent(model):
                yield case.name, model, case.data_sets if folder is None else read_data(folder)


INSTALLED = list(installed_cases())


@pytest.mark.parametrize("name, model, data_sets", INSTALLED, ids=[case[0] for case in INSTALLED])
def test_installed(name, model, data_sets):
    graph = sprnn.onnx.load(model)
    assert data_sets
    for inputs, outputs in data_sets:
        check(graph, inputs, outputs)


def test_the_installed_cases_are_found():
    names = {name for name, _, _ in INSTALLED}
    assert {"test_lstm_with_peepholes", "test_gru_batchwise", "test_simple_rnn_defaults"} <= names
    assert len(names) >= INSTALLED_CASES  # a loader that gives fewer would go unseen


def test_debian():
    if not DEBIAN.is_dir():
        pytest.skip("the cases of Debian's package libonnx-testdata: it is not installed")
    count = 0
    for folder in sorted(DEBIAN.iterdir()):
        model = onnx.load(folder / "model.onnx")
        if not is_recurrent(model):
            continue
        graph = sprnn.onnx.load(model)
        for inputs, outputs in read_data(folder):
            check(graph, inputs, outputs)
        count += 1
    assert count >= DEBIAN_CASES
