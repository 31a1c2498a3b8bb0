"""The recurrent cases that ONNX itself comes with: those of the installed package, and of Debian's libonnx-testdata."""

import pathlib
import warnings

import numpy as np
import onnx
import pytest
from onnx.backend.test.loader import load_model_tests

import sprnn.onnx

RECURRENT = {"RNN", "GRU", "LSTM"}
DEBIAN = pathlib.Path("/usr/share/libonnx-testdata/data/node")
DEBIAN_CASES = 12  # of libonnx-testdata 1.12


def is_recurrent(model):
    return any(node.op_type in RECURRENT for node in model.graph.node)


def check(graph, inputs, outputs):
    results = graph.run(dict(zip((spec.name for spec in graph.inputs), inputs)))
    assert len(results) == len(outputs)
    for result, expected in zip(results.values(), outputs):
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6, strict=True)


def installed_cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the other cases' own arithmetic
        return [case for case in load_model_tests(kind="node") if is_recurrent(case.model)]


@pytest.mark.parametrize("case", installed_cases(), ids=lambda case: case.name)
def test_installed(case):
    graph = sprnn.onnx.load(case.model)
    for inputs, outputs in case.data_sets:
        check(graph, inputs, outputs)


def test_the_installed_cases_are_found():
    names = {case.name for case in installed_cases()}
    assert {"test_lstm_with_peepholes", "test_gru_batchwise", "test_simple_rnn_defaults"} <= names


def read_tensors(folder, kind):
    paths = sorted(folder.glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.rpartition("_")[2]))
    return [onnx.numpy_helper.to_array(onnx.load_tensor(path)) for path in paths]


def test_debian():
    if not DEBIAN.is_dir():
        pytest.skip("the cases of Debian's package libonnx-testdata: it is not installed")
    count = 0
    for folder in sorted(DEBIAN.iterdir()):
        if not any(word in folder.name for word in ("rnn", "gru", "lstm")):
            continue
        assert is_recurrent(onnx.load(folder / "model.onnx"))
        graph = sprnn.onnx.load(folder / "model.onnx")
        for data in folder.glob("test_data_set_*"):
            check(graph, read_tensors(data, "input"), read_tensors(data, "output"))
        count += 1
    assert count >= DEBIAN_CASES
