"""PyTorch's recurrent layers in plain float64 Python, written from their published equations."""

import math
import random

from files import Array, rounded

GATES = {"tanh": 1, "relu": 1, "gru": 3, "lstm": 4}
SAFETENSORS_DTYPE = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}


class Model:
    """Random weights under PyTorch's names, on the grid of a dtype."""

    def __init__(self, cell, inputs, hidden, layers=1, bidirectional=False, bias=True, projection=0, density=1.0,
                 dtype="fp32", seed=1):
        self.cell, self.inputs, self.hidden, self.layers = cell, inputs, hidden, layers
        self.directions = 2 if bidirectional else 1
        self.width = projection or hidden  # of what is fed back
        self.dtype = dtype
        self.tensors = {}
        draw = random.Random(seed)

        def matrix(rows, cols):
            scale = 1.0 / math.sqrt(max(1.0, cols * density))
            values = [draw.uniform(-scale, scale) if draw.random() < density else 0.0 for _ in range(rows * cols)]
            return Array((rows, cols), rounded(values, SAFETENSORS_DTYPE[dtype]))

        rows = GATES[cell] * hidden
        for layer in range(layers):
            for suffix in [f"_l{layer}", f"_l{layer}_reverse"][: self.directions]:
                self.tensors["weight_ih" + suffix] = matrix(rows, inputs if layer == 0 else self.directions * self.width)
                self.tensors["weight_hh" + suffix] = matrix(rows, self.width)
                if bias:
                    for name in ("bias_ih", "bias_hh"):
                        values = [draw.uniform(-0.3, 0.3) for _ in range(rows)]
                        self.tensors[name + suffix] = Array((rows,), rounded(values, SAFETENSORS_DTYPE[dtype]))
                if projection:
                    self.tensors["weight_hr" + suffix] = matrix(projection, hidden)

    def named(self, prefix=""):
        return {prefix + name: array for name, array in self.tensors.items()}


def _product(array, vector):
    return [sum(map(float.__mul__, row, vector)) for row in array.rows()]


def _sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def _step(cell, hidden, tensors, suffix, x, h, c):
    """(h', c') of one sequence after one timestep."""
    zeros = Array((GATES[cell] * hidden,), [0.0] * (GATES[cell] * hidden))
    a = [p + b for p, b in zip(_product(tensors["weight_ih" + suffix], x), tensors.get("bias_ih" + suffix, zeros).values)]
    u = [p + b for p, b in zip(_product(tensors["weight_hh" + suffix], h), tensors.get("bias_hh" + suffix, zeros).values)]

    def gate(values, index):
        return values[index * hidden : (index + 1) * hidden]

    both = [p + q for p, q in zip(a, u)]
    if cell == "tanh":
        return [math.tanh(value) for value in both], c
    if cell == "relu":
        return [max(value, 0.0) for value in both], c
    if cell == "gru":
        r = [_sigmoid(value) for value in gate(both, 0)]
        z = [_sigmoid(value) for value in gate(both, 1)]
        n = [math.tanh(p + q * w) for p, q, w in zip(gate(a, 2), r, gate(u, 2))]
        return [(1.0 - q) * p + q * old for p, q, old in zip(n, z, h)], c
    i = [_sigmoid(value) for value in gate(both, 0)]
    f = [_sigmoid(value) for value in gate(both, 1)]
    g = [math.tanh(value) for value in gate(both, 2)]
    o = [_sigmoid(value) for value in gate(both, 3)]
    c = [p * old + q * w for p, old, q, w in zip(f, c, i, g)]
    h = [p * math.tanh(value) for p, value in zip(o, c)]
    if "weight_hr" + suffix in tensors:
        h = _product(tensors["weight_hr" + suffix], h)
    return h, c


def run(model, x, h0=None, c0=None, lengths=None):
    """x [T, B, I] -> y [T, B, D*R], h [L*D, B, R], c [L*D, B, H] as Arrays; inputs rounded to the model's dtype."""
    steps, batch, inputs = x.shape
    lengths = lengths or [steps] * batch
    grid = SAFETENSORS_DTYPE[model.dtype]
    x_values = rounded(rounded(x.values, "F32"), grid)
    h_values = rounded(h0.values, grid) if h0 else [0.0] * (model.layers * model.directions * batch * model.width)
    c_values = c0.values if c0 else [0.0] * (model.layers * model.directions * batch * model.hidden)

    sequences = [[x_values[(t * batch + b) * inputs :][:inputs] for t in range(steps)] for b in range(batch)]
    final_h = [[None] * batch for _ in range(model.layers * model.directions)]
    final_c = [[None] * batch for _ in range(model.layers * model.directions)]
    for b in range(batch):
        sequence = sequences[b][: lengths[b]]
        for layer in range(model.layers):
            outputs = [[] for _ in sequence]
            for direction in range(model.directions):
                suffix = f"_l{layer}" + ("_reverse" if direction else "")
                index = layer * model.directions + direction
                h = h_values[(index * batch + b) * model.width :][: model.width]
                c = c_values[(index * batch + b) * model.hidden :][: model.hidden]
                order = range(len(sequence))
                for t in reversed(order) if direction else order:
                    h, c = _step(model.cell, model.hidden, model.tensors, suffix, sequence[t], h, c)
                    outputs[t] = outputs[t] + h
                final_h[index][b], final_c[index][b] = h, c
            sequence = outputs
        sequences[b] = sequence + [[0.0] * (model.directions * model.width)] * (steps - lengths[b])

    def flat(nested):
        return [value for outer in nested for inner in outer for value in inner]

    y = Array((steps, batch, model.directions * model.width), flat([[s[t] for s in sequences] for t in range(steps)]))
    states = model.layers * model.directions
    return y, Array((states, batch, model.width), flat(final_h)), Array((states, batch, model.hidden), flat(final_c))


def relative_error(found, expected):
    assert found.shape == expected.shape, (found.shape, expected.shape)
    distance = math.sqrt(sum((a - b) ** 2 for a, b in zip(found.values, expected.values)))
    return distance / math.sqrt(sum(b * b for b in expected.values))


BOUNDS = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 1.5e-2}
