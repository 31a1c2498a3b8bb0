"""The small operators between recurrent layers, in NumPy: they move data and change shapes, no more.

Each is called as function(attributes, inputs, version), with None for an input that is absent, and gives its one
output. What NumPy refuses is a ValueError, an IndexError or a TypeError; the caller names the node.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Sequence

import numpy as np

from .proto import Array, Attributes, dtype_of, tensor

Inputs = Sequence[Optional[Array]]


def _given(inputs: Inputs, at: int) -> Optional[Array]:
    return inputs[at] if at < len(inputs) else None


def _data(inputs: Inputs, at: int = 0) -> Array:
    array = _given(inputs, at)
    if array is None:
        raise ValueError(f"input {at} is absent")
    return array


def _integers(inputs: Inputs, at: int) -> List[int]:
    return [int(value) for value in _data(inputs, at).reshape(-1)]


def _axes(attributes: Attributes, inputs: Inputs) -> Optional[List[int]]:
    """Of Squeeze and Unsqueeze: an attribute before opset 13, an input since."""
    if _given(inputs, 1) is not None:
        return _integers(inputs, 1)
    return attributes.get("axes")


def _squeeze(attributes: Attributes, inputs: Inputs, version: int) -> Array:
    axes = _axes(attributes, inputs)
    return np.squeeze(_data(inputs), tuple(axes) if axes else None)  # none named: all of 1, as in onnxruntime


def _unsqueeze(attributes: Attributes, inputs: Inputs, version: int) -> Array:
    axes = _axes(attributes, inputs)
    if axes is None:
        raise ValueError("axes are absent")
    return np.expand_dims(_data(inputs), tuple(axes))


def _transpose(attributes: Attributes, inputs: Inputs, version: int) -> Array:
    return np.transpose(_data(inputs), attributes.get("perm"))


def _reshape(attributes: Attributes, inputs: Inputs, version: int) -> Array:
    data, shape = _data(inputs), _integers(inputs, 1)
    if not attributes.get("allowzero", 0):
        if any(extent == 0 and i >= data.ndim for i, extent in enumerate(shape)):
            raise ValueError(f"shape {shape} copies an axis that data of shape {list(data.shape)} has not")
        shape = [extent or data.shape[i] for i, extent in enumerate(shape)]
    return data.reshape(shape)


def _concat(attributes: Attributes, inputs: Inputs, version: int) -> Array:
    return np.concatenate([_data(inputs, i) for i in range(len(inputs))], attributes["axis"])


def _span(start: int, end: int, step: int, extent: int) -> slice:
    """ONNX clamps a start below the first element to it, where Python's slice with a negative step is empty."""
    if step == 0:
        raise ValueError("a step of 0")
    if step > 0 or extent == 0:
        return slice(*slice(start, end, abs(step)).indices(extent))
    start = min(max(start + extent * (start < 0), 0), extent - 1)
    end = min(max(end + extent * (end < 0), -1), extent - 1)
    return slice(start, None if end < 0 else end, step)


def _slice(attributes: Attributes, inputs: Inputs, version: int) -> Array:
    data = _data(inputs)
    if version < 10:
        starts, ends = attributes["starts"], attributes["ends"]
        axes, steps = attributes.get("axes"), None
    else:
        starts, ends = _integers(inputs, 1), _integers(inputs, 2)
        axes = None if _given(inputs, 3) is None else _integers(inputs, 3)
        steps = None if _given(inputs, 4) is None else _integers(inputs, 4)
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ValueError(f"{len(starts)} starts, {len(ends)} ends, {len(axes)} axes, {len(steps)} steps")
    spans = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps):
        spans[axis] = _span(start, end, step, data.shape[axis])
    return data[tuple(spans)]


def _shape(attributes: Attributes, inputs: Inputs, version: int) -> Array:
    span = slice(attributes.get("start", 0), attributes.get("end"))
    return np.array(_data(inputs).shape[span], np.int64)


def _gather(attributes: Attributes, inputs: Inputs, version: int) -> Array:
    return np.take(_data(inputs), _data(inputs, 1), attributes.get("axis", 0))


def _expand(attributes: Attributes, inputs: Inputs, version: int) -> Array:
    data = _data(inputs)
    return np.broadcast_to(data, np.broadcast_shapes(data.shape, tuple(_integers(inputs, 1))))


def _constant(attributes: Attributes, inputs: Inputs, version: int) -> Array:
    for name, dtype in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64),
                        ("value_ints", np.int64)):  # fmt: skip
        if name in attributes:
            return np.array(attributes[name], dtype)
    if "value" not in attributes:
        raise TypeError(f"its {', '.join(attributes) or 'value'}: expected a dense tensor of numbers")
    return tensor(attributes["value"])


def _constant_of_shape(attributes: Attributes, inputs: Inputs, version: int) -> Array:
    value = tensor(attributes["value"]) if "value" in attributes else np.zeros(1, np.float32)
    return np.full(_integers(inputs, 0), value.reshape(-1)[0])


def _cast(attributes: Attributes, inputs: Inputs, version: int) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return _data(inputs).astype(dtype_of(attributes["to"]))


def _identity(attributes: Attributes, inputs: Inputs, version: int) -> Array:
    return _data(inputs)


Operator = Callable[[Attributes, Inputs, int], Array]

OPERATORS: Dict[str, Operator] = {
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Gather": _gather,
    "Identity": _identity,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

# The first version of each that is known here, that of opset 7; older ones had other attributes.
OLDEST = {**dict.fromkeys(OPERATORS, 1), "Concat": 4, "Reshape": 5, "Cast": 6}
