"""Random ONNX graphs with their inputs: a recurrent node with any attributes, and chains of them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ACTIVATIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
KINDS = ["Sigmoid", "Tanh", "Relu", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu",
         "Softsign", "Softplus"]  # fmt: skip
BOUNDED = ["Sigmoid", "Tanh", "HardSigmoid", "Softsign"]
RNN_INPUTS = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]


def floats(rng, *shape, scale=1.0):
    return (rng.uniform(-1, 1, shape) * scale).astype(np.float32)


class Layer:
    """A recurrent node: its attributes, and its inputs by ONNX's names."""

    def __init__(self, rng, operator, layout=0, variants=True, lengths=True, steps=None, batch=None, inputs=None):
        pick = lambda *choices: choices[rng.integers(len(choices))]  # noqa: E731
        self.operator, self.layout = operator, layout
        self.direction = pick("forward", "reverse", "bidirectional")
        self.directions = 1 + (self.direction == "bidirectional")
        self.hidden, self.steps, self.batch = int(rng.integers(1, 40)), steps or pick(1, 2, 7), batch or pick(1, 3)
        inputs = inputs or int(rng.integers(1, 20))
        d, g, h = self.directions, GATES[operator], self.hidden
        state = (self.batch, d, h) if layout else (d, self.batch, h)
        self.inputs = {
            "X": floats(rng, *((self.batch, self.steps) if layout else (self.steps, self.batch)), inputs),
            "W": floats(rng, d, g * h, inputs, scale=inputs**-0.5),
            "R": floats(rng, d, g * h, h, scale=h**-0.5),
        }
        if pick(True, False):
            self.inputs["B"] = floats(rng, d, 2 * g * h, scale=0.5)
        if lengths and pick(True, False):
            self.inputs["sequence_lens"] = rng.integers(0, self.steps + 1, self.batch).astype(np.int32)
        if pick(True, False):
            self.inputs["initial_h"] = floats(rng, *state)
        self.attributes = {"hidden_size": h, "direction": self.direction}
        if layout:
            self.attributes["layout"] = layout
        if operator == "GRU" and pick(True, False):
            self.attributes["linear_before_reset"] = pick(0, 1)
        if operator == "LSTM":
            if pick(True, False):
                self.inputs["initial_c"] = floats(rng, *state)
            if variants and pick(True, False):
                self.inputs["P"] = floats(rng, d, 3 * h, scale=0.5)
            if variants and pick(True, False):
                self.attributes["input_forget"] = pick(0, 1)
        if variants and pick(True, False):
            self.attributes["clip"] = float(rng.uniform(0.3, 2))
        if variants and pick(True, False):
            self._activate(rng, pick)

    def _activate(self, rng, pick):
        """Gates bounded, so that the numbers stay small over the timesteps."""
        each = ACTIVATIONS[self.operator]
        names = [pick(*(BOUNDED if each > 1 and i % each == 0 else KINDS)) for i in range(each * self.directions)]
        self.attributes["activations"] = names
        alphas = [n for n in names if n in ("Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu")]
        betas = [n for n in names if n in ("Affine", "ScaledTanh", "HardSigmoid")]
        if alphas and pick(True, False):
            self.attributes["activation_alpha"] = rng.uniform(0.1, 0.5, len(alphas)).tolist()
        if betas and pick(True, False):
            self.attributes["activation_beta"] = rng.uniform(0.1, 0.5, len(betas)).tolist()

    @property
    def outputs(self):
        return ["Y", "Y_h"] + ["Y_c"] * (self.operator == "LSTM")

    def node(self, prefix="", **names):
        """Its inputs and outputs are prefix + ONNX's names, unless renamed."""
        inputs = [names.get(n, prefix + n) if n in self.inputs else "" for n in RNN_INPUTS]
        while not inputs[-1]:
            inputs.pop()
        outputs = [names.get(n, prefix + n) for n in self.outputs]
        return helper.make_node(self.operator, inputs, outputs, name=prefix + self.operator, **self.attributes)


def model_of(nodes, inputs, outputs, opset, constants=(), dtypes=None):
    """inputs: arrays by name, those in `constants` become initializers."""
    value = lambda name, array: helper.make_tensor_value_info(  # noqa: E731
        name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
    )
    graph = helper.make_graph(
        nodes,
        "random",
        [value(name, array) for name, array in inputs.items() if name not in constants],
        [helper.make_tensor_value_info(n, (dtypes or {}).get(n, TensorProto.FLOAT), None) for n in outputs],
        [numpy_helper.from_array(inputs[name], name) for name in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model


def single(rng, operator, opset, layout=0, **options):
    """A graph of one node, and its run-time inputs; the weights are initializers or inputs."""
    layer = Layer(rng, operator, layout, **options)
    constants = [n for n in ("W", "R", "B", "P") if n in layer.inputs] if rng.integers(2) else []
    model = model_of([layer.node()], layer.inputs, layer.outputs, opset, constants)
    return model, {n: a for n, a in layer.inputs.items() if n not in constants}


def chain(rng, opset):
    """Recurrent layers one on the other, with small operators between: the model and its run-time inputs."""
    batch, steps, count = int(rng.integers(1, 4)), int(rng.integers(1, 6)), int(rng.integers(2, 4))
    nodes, inputs, constants, outputs = [], {}, [], []

    def constant(name, values):
        inputs[name] = np.array(values, np.int64)
        constants.append(name)
        return name

    def add(operator, used, made, **attributes):
        nodes.append(helper.make_node(operator, used, [made], name=made, **attributes))
        return made

    def with_axes(operator, data, made, axes):
        if opset < 13:
            return add(operator, [data], made, axes=axes)
        return add(operator, [data, constant(made + "_axes", axes)], made)

    def sliced(data, made, start, end, axis, step=1):
        if opset < 10:
            return add("Slice", [data], made, starts=[start], ends=[end], axes=[axis])
        names = [constant(f"{made}_{n}", [v]) for n, v in zip(("starts", "ends", "axes", "steps"), (start, end, axis, step))]
        return add("Slice", [data, *names], made)

    x, width = "x", int(rng.integers(1, 9))
    inputs["x"] = floats(rng, steps, batch, width)
    for i in range(count):
        layer = Layer(rng, ["RNN", "GRU", "LSTM"][rng.integers(3)], lengths=False, steps=steps, batch=batch, inputs=width)
        prefix, d, h = f"l{i}_", layer.directions, layer.hidden
        del layer.inputs["X"]
        names = {"X": x}
        for name, array in layer.inputs.items():
            inputs[prefix + name] = array
            if name in ("W", "R", "B", "P"):
                constants.append(prefix + name)
        if "initial_h" not in layer.inputs and opset >= 8 and rng.integers(2):
            # Zeros of the batch that x has, as exporters make them.
            shape = add("Shape", [x], prefix + "shape")
            extent = with_axes("Unsqueeze", add("Gather", [shape, constant(prefix + "one", 1)], prefix + "batch", axis=0),
                               prefix + "batch1", [0])  # fmt: skip
            parts = [constant(prefix + "d", [d]), extent, constant(prefix + "h", [h])]
            whole = add("Concat", parts, prefix + "state_shape", axis=0)
            if opset >= 9 and rng.integers(2):
                names["initial_h"] = add("ConstantOfShape", [whole], prefix + "zeros")
            else:
                half = numpy_helper.from_array(np.array([0.5], np.float32))
                names["initial_h"] = add(
                    "Expand", [add("Constant", [], prefix + "half", value=half), whole], prefix + "halves"
                )
            layer.inputs["initial_h"] = None
        layer.inputs["X"] = None
        nodes.append(layer.node(prefix, **names))
        outputs += [prefix + name for name in layer.outputs]
        # Y [T, D, B, H] -> [T, B, D * H], in one of several ways.
        way = rng.integers(3)
        y, made = prefix + "Y", prefix + "next"
        if d == 1 and way == 0:
            x = with_axes("Squeeze", y, made, [1])
        elif way == 1:
            turned = add("Transpose", [y], prefix + "turned", perm=[0, 2, 1, 3])
            x = add("Reshape", [turned, constant(prefix + "to", [0, 0, -1])], made)
        else:
            sides = [with_axes("Squeeze", sliced(y, f"{prefix}slice{k}", k, k + 1, 1), f"{prefix}side{k}", [1])
                     for k in range(d)]  # fmt: skip
            x = add("Concat", sides, made, axis=-1)
        width = d * h
        if rng.integers(2):
            x = add("Identity", [x], prefix + "same")
        if rng.integers(2):
            x = add("Cast", [add("Cast", [x], prefix + "double", to=TensorProto.DOUBLE)], prefix + "single",
                    to=TensorProto.FLOAT)  # fmt: skip
        if opset >= 10 and rng.integers(2):
            x = sliced(x, prefix + "backwards", -1, -(2**31), 0, -1)
    outputs.append(x)
    model = model_of(nodes, inputs, outputs, opset, constants)
    return model, {name: array for name, array in inputs.items() if name not in constants}
