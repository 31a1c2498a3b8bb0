"""The small operators, each over its versions, against ONNX's reference evaluator (and onnxruntime, through chains)."""

import numpy as np
import onnxruntime
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from random_graphs import model_of

import sprnn
import sprnn.onnx

X = np.arange(24, dtype=np.float32).reshape(2, 1, 3, 4)
I32 = np.arange(-3, 3, dtype=np.int32).reshape(2, 3)


def ints(*values):
    return np.array(values, np.int64)


CASES = [
    ("Squeeze", 11, [X], {}),
    ("Squeeze", 11, [X], {"axes": [1]}),
    ("Squeeze", 13, [X, ints(-3)], {}),
    ("Squeeze", 22, [X], {}),
    ("Unsqueeze", 11, [X], {"axes": [0, 5]}),
    ("Unsqueeze", 13, [X, ints(-1, 0)], {}),
    ("Transpose", 9, [X], {}),
    ("Transpose", 22, [X], {"perm": [3, 0, 1, 2]}),
    ("Reshape", 7, [X, ints(0, -1, 2)], {}),
    ("Reshape", 13, [X, ints(4, 6)], {}),
    ("Reshape", 14, [np.zeros((0, 3), np.float32), ints(3, 0)], {"allowzero": 1}),
    ("Reshape", 22, [X, ints(-1)], {}),
    ("Concat", 7, [X, X], {"axis": 2}),
    ("Concat", 13, [X, X, X], {"axis": -1}),
    ("Slice", 9, [X], {"starts": [0, -2], "ends": [1, 1000], "axes": [0, 3]}),
    ("Slice", 10, [X, ints(1), ints(2)], {}),
    ("Slice", 13, [X, ints(-1), ints(-1000), ints(3), ints(-2)], {}),
    ("Slice", 13, [X, ints(3, 0), ints(0, 2), ints(-1, 2), ints(-1, 2)], {}),
    ("Slice", 13, [X, np.array([1], np.int32), np.array([3], np.int32), np.array([2], np.int32)], {}),
    ("Shape", 13, [X], {}),
    ("Shape", 15, [X], {"start": 1, "end": -1}),
    ("Shape", 22, [X], {"start": -2}),
    ("Gather", 7, [X, ints(1, 0)], {}),
    ("Gather", 13, [X, np.array(-1, np.int32)], {"axis": 3}),
    ("Gather", 13, [X, np.array([[0, 2], [1, -1]], np.int64)], {"axis": 2}),
    ("Expand", 8, [X, ints(3, 1, 1)], {}),
    ("Expand", 13, [X, ints(5, 1, 4, 1, 1)], {}),
    ("ConstantOfShape", 9, [ints(2, 3)], {}),
    ("ConstantOfShape", 20, [ints(2, 0, 1)], {"value": numpy_helper.from_array(ints(7))}),
    ("Cast", 9, [X], {"to": TensorProto.INT64}),
    ("Cast", 13, [X / 3 - 1], {"to": TensorProto.FLOAT16}),
    ("Cast", 13, [I32], {"to": TensorProto.BOOL}),
    ("Cast", 22, [X / 3], {"to": TensorProto.INT32}),
    ("Cast", 22, [np.array([True, False])], {"to": TensorProto.FLOAT}),
    ("Identity", 7, [I32], {}),
    ("Identity", 22, [X], {}),
]


def one(operator, opset, arrays, attributes, constants=()):
    names = [f"in{i}" for i in range(len(arrays))]
    node = helper.make_node(operator, names, ["out"], name="node", **attributes)
    inputs = dict(zip(names, arrays))
    return model_of([node], inputs, ["out"], opset, constants), inputs


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}-{case[3] or ''}")
def test_operator(case):
    operator, opset, arrays, attributes = case
    model, inputs = one(operator, opset, arrays, attributes)
    (expected,) = ReferenceEvaluator(model).run(None, inputs)
    result = sprnn.onnx.load(model).run(inputs)["out"]
    np.testing.assert_array_equal(result, expected, strict=True)
    # As a constant it is worked out when the graph is loaded.
    model, inputs = one(operator, opset, arrays, attributes, constants=list(inputs))
    np.testing.assert_array_equal(sprnn.onnx.load(model).run({})["out"], expected, strict=True)


@pytest.mark.parametrize("opset", [11, 13])
def test_an_empty_list_of_axes_squeezes_all_of_1(opset):
    """The standard says it of absent ones only, and its evaluator squeezes none; onnxruntime is followed."""
    model, inputs = one("Squeeze", opset, [X, ints()][: 1 + (opset == 13)], {})
    if opset == 11:
        model.graph.node[0].attribute.append(helper.make_attribute("axes", [], attr_type=AttributeProto.INTS))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, inputs)
    np.testing.assert_array_equal(sprnn.onnx.load(model).run(inputs)["out"], expected, strict=True)


@pytest.mark.parametrize(
    "attributes, expected",
    [
        ({"value_float": 1.5}, np.float32(1.5)),
        ({"value_floats": [1.5, 2.5]}, np.array([1.5, 2.5], np.float32)),
        ({"value_int": 3}, np.int64(3)),
        ({"value_ints": [3, 4]}, np.array([3, 4], np.int64)),
        ({"value": numpy_helper.from_array(X)}, X),
    ],
)
def test_constant(attributes, expected):
    model, _ = one("Constant", 13, [], attributes)
    np.testing.assert_array_equal(sprnn.onnx.load(model).run({})["out"], expected, strict=True)


@pytest.mark.parametrize(
    "operator, opset, arrays, attributes, error, message",
    [
        ("Squeeze", 13, [X, ints(0)], {}, ValueError, "size not equal to one"),
        ("Reshape", 14, [X, ints(5, 5)], {}, ValueError, "cannot reshape"),
        ("Reshape", 14, [X, ints(1, 1, 1, 1, 0)], {}, ValueError, "copies an axis"),
        ("Concat", 13, [X, I32], {"axis": 0}, ValueError, "dimensions"),
        ("Transpose", 13, [X], {"perm": [0, 0, 1, 2]}, ValueError, "repeated"),
        ("Gather", 13, [X, ints(2)], {}, ValueError, "out of bounds"),
        ("Slice", 13, [X, ints(0), ints(1), ints(7)], {}, ValueError, "index"),
        ("Slice", 13, [X, ints(0, 1), ints(1)], {}, ValueError, "2 starts"),
        ("Slice", 13, [X, ints(0), ints(1), ints(0), ints(0)], {}, ValueError, "step of 0"),
        ("Expand", 13, [X, ints(7, 7)], {}, ValueError, "broadcast"),
        ("Cast", 13, [X], {"to": TensorProto.STRING}, TypeError, "type STRING"),
        ("Cast", 19, [X], {"to": TensorProto.FLOAT8E4M3FN}, TypeError, "type FLOAT8E4M3FN"),
        ("Constant", 13, [], {"value_string": "a"}, TypeError, "value_string"),
    ],
)
def test_what_cannot_be_done_names_the_node(operator, opset, arrays, attributes, error, message):
    model, inputs = one(operator, opset, arrays, attributes)
    with pytest.raises(error, match=f"{operator} 'node': .*{message}") as caught:
        sprnn.onnx.load(model).run(inputs)
    assert isinstance(caught.value, sprnn.Error)
