#!/usr/bin/env python3
"""Freezes what PyTorch, onnxruntime and ONNX's reference evaluator compute, for tests/reference/golden_test.cpp.

    python3 -m venv venv
    venv/bin/pip install numpy==1.26.4 onnx==1.17.0 onnxruntime==1.20.1 torch==1.13.1
    venv/bin/python make.py        # writes pytorch.safetensors and onnx.safetensors beside this script

A file holds many cases. The metadata maps a case's name to JSON that describes its cell and says where the
outputs come from; its tensors are `name/weight_ih_l0` and so on, with PyTorch's parameter names, gate order
and state shapes (ONNX's are converted here), `name/peephole_l0` [3H] in ONNX's order i o f, and `x`, `h0`,
`c0`, `lengths`, `y`, `h`, `c` where the case has them. Weights and inputs are on the grid of float32.

Who computes what:
- PyTorch in float64: all of RNN, GRU, LSTM that it has.
- ONNX's evaluator in float64. It silently ignores clip, activations (except an RNN's Tanh and Affine),
  sequence_lens, direction and input_forget, returns no Y_c, and with layout = 1 returns a wrong Y_h: it is
  used for none of these.
- onnxruntime in float32, which is all that its RNN, GRU and LSTM have, for all of those.
  It has no layout = 1, so that case is the evaluator's Y alone.
"""

import json
import pathlib
import struct

import numpy as np
import onnx
import onnx.helper
import onnx.reference
import onnxruntime
import torch

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
# Where PyTorch's gates are in ONNX's matrices: r z n from z r h; i f g o from i o f c.
ONNX_GATE = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 2, 3, 1]}
USES_ALPHA = {"Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu"}
USES_BETA = {"Affine", "ScaledTanh", "HardSigmoid"}
DEFAULT_ACTIVATIONS = {"rnn": ["Tanh"], "gru": ["Sigmoid", "Tanh"], "lstm": ["Sigmoid", "Tanh", "Tanh"]}
ONNX_OPSET = 14

rng = np.random.default_rng(20240601)


def uniform(*shape, scale=1.0):
    return (rng.uniform(-1, 1, shape) * scale).astype(np.float32)


class GoldenFile:
    DTYPES = {"float64": "F64", "float32": "F32", "int64": "I64"}

    def __init__(self):
        self.tensors = {}
        self.metadata = {}

    def add(self, name, info, tensors):
        assert name not in self.metadata, name
        self.metadata[name] = json.dumps(info)
        for key, value in tensors.items():
            if value is not None:
                self.tensors[f"{name}/{key}"] = np.ascontiguousarray(value)

    def write(self, path):
        header, data = {"__metadata__": self.metadata}, b""
        for name, value in self.tensors.items():
            end = len(data) + value.nbytes
            header[name] = {"dtype": self.DTYPES[str(value.dtype)], "shape": value.shape,
                            "data_offsets": [len(data), end]}
            data += value.tobytes()
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)
        print(f"{path.name}: {len(self.metadata)} cases, {path.stat().st_size} bytes")


# PyTorch


def pytorch_case(file, name, kind, inputs, hidden, steps, batch, layers=1, bidirectional=False, bias=True,
                 projection=0, nonlinearity="tanh", lengths=None, state=True):
    options = dict(num_layers=layers, bidirectional=bidirectional, bias=bias)
    if kind == "rnn":
        options["nonlinearity"] = nonlinearity
    if projection:
        options["proj_size"] = projection
    module = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[kind](inputs, hidden, **options)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 1.0 if parameter.dim() == 1 else 1.5 / parameter.shape[1] ** 0.5
            parameter.copy_(torch.from_numpy(uniform(*parameter.shape, scale=scale)))

    states = layers * (2 if bidirectional else 1)
    x = uniform(steps, batch, inputs)
    h0 = uniform(states, batch, projection or hidden) if state else None
    c0 = uniform(states, batch, hidden) if state and kind == "lstm" else None
    tensors = {key: value.numpy().astype(np.float32) for key, value in module.state_dict().items()}

    def double(array):
        return torch.from_numpy(array.astype(np.float64))

    initial = None
    if state:
        initial = (double(h0), double(c0)) if kind == "lstm" else double(h0)
    fed = double(x)
    if lengths is not None:
        fed = torch.nn.utils.rnn.pack_padded_sequence(fed, torch.tensor(lengths), enforce_sorted=False)
    with torch.no_grad():
        y, final = module(fed, initial)
    if lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=steps)
    h, c = final if kind == "lstm" else (final, None)
    cell = {"kind": kind, "directions": [{"activations": [[a, 0, 0] for a in DEFAULT_ACTIVATIONS[kind]]}]}
    if nonlinearity == "relu":
        cell["directions"][0]["activations"] = [["Relu", 0, 0]]
    if bidirectional:
        cell["directions"] *= 2
    tensors |= {"x": x, "h0": h0, "c0": c0, "y": y.numpy(), "h": h.numpy(), "c": None if c is None else c.numpy(),
                "lengths": None if lengths is None else np.array(lengths, np.int64)}
    file.add(name, {"source": f"PyTorch {torch.__version__}", "dtype": "float64", "layers": layers, **cell}, tensors)


def pytorch():
    file = GoldenFile()
    for kind, nonlinearity in [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]:
        name = nonlinearity if kind == "rnn" else kind

        def case(suffix, *args, **kwargs):
            pytorch_case(file, f"{name} {suffix}", kind, *args, nonlinearity=nonlinearity, **kwargs)

        case("plain", 4, 5, 7, 3)
        case("all ones", 1, 1, 1, 1)
        case("hidden 1", 3, 1, 5, 2, bidirectional=True)
        case("zero state", 3, 4, 5, 2, state=False)
        case("no bias", 5, 3, 6, 2, bias=False)
        case("two layers", 3, 7, 5, 2, layers=2)
        case("three layers bidirectional", 2, 3, 4, 2, layers=3, bidirectional=True)
        case("three layers bidirectional no bias lengths", 3, 2, 5, 4, layers=3, bidirectional=True, bias=False,
             lengths=[2, 5, 1, 4])
        case("lengths", 4, 6, 6, 4, lengths=[3, 6, 1, 5])
        case("lengths shorter than the padding", 2, 3, 6, 3, bidirectional=True, lengths=[2, 4, 3])
        case("two layers bidirectional lengths", 3, 5, 6, 3, layers=2, bidirectional=True, lengths=[4, 1, 6])
        case("batch 1, 40 steps", 2, 11, 40, 1)
    pytorch_case(file, "lstm projection", "lstm", 4, 7, 6, 3, projection=3)
    pytorch_case(file, "lstm projection 1", "lstm", 3, 2, 4, 2, projection=1, state=False)
    pytorch_case(file, "lstm projection no bias", "lstm", 3, 5, 4, 2, projection=4, bias=False)
    pytorch_case(file, "lstm projection two layers bidirectional lengths", "lstm", 3, 6, 5, 3, projection=2, layers=2,
                 bidirectional=True, lengths=[5, 2, 3])
    pytorch_case(file, "lstm projection three layers", "lstm", 2, 5, 5, 2, projection=3, layers=3)
    return file


# ONNX


def onnx_model(kind, direction, attributes, inputs, hidden, element_type):
    """A graph of the one operator with the given inputs (name -> array or None), in the operator's order."""
    outputs = ["Y", "Y_h", "Y_c"][:3 if kind == "lstm" else 2]
    node = onnx.helper.make_node(kind.upper(), [name if value is not None else "" for name, value in inputs.items()],
                                 outputs, hidden_size=hidden, direction=direction, **attributes)
    types = {name: onnx.TensorProto.INT32 if name == "sequence_lens" else element_type for name in inputs}
    graph = onnx.helper.make_graph(
        [node], "golden",
        [onnx.helper.make_tensor_value_info(name, types[name], value.shape)
         for name, value in inputs.items() if value is not None],
        [onnx.helper.make_tensor_value_info(name, element_type, [None] * (4 if name == "Y" else 3))
         for name in outputs])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", ONNX_OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model, outputs


def run_onnxruntime(model, outputs, feeds):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(outputs, feeds)))


def run_evaluator(model, outputs, feeds):
    outputs = outputs[:2]  # it has no Y_c
    del model.graph.node[0].output[2:], model.graph.output[2:]
    return dict(zip(outputs, onnx.reference.ReferenceEvaluator(model).run(outputs, feeds)))


def onnx_case(file, name, kind, evaluator=False, inputs=3, hidden=4, steps=5, batch=3, direction="forward",
              activations=None, clip=None, linear_before_reset=None, input_forget=None, peephole=False, bias=True,
              lengths=None, state=True, layout=0, scale=1.0, bias_shift=0.0, weights=None):
    """`activations`: for each direction a list of [name, alpha, beta]."""
    directions = 2 if direction == "bidirectional" else 1
    gates = GATES[kind]
    w = uniform(directions, gates * hidden, inputs, scale=scale)
    r = uniform(directions, gates * hidden, hidden, scale=scale)
    x = uniform(steps, batch, inputs)
    if weights is not None:
        w, r, x = weights
    b = uniform(directions, 2 * gates * hidden, scale=0.5) + np.float32(bias_shift) if bias else None
    h0 = uniform(directions, batch, hidden) if state else None
    c0 = uniform(directions, batch, hidden, scale=2 * scale) if state and kind == "lstm" else None
    p = uniform(directions, 3 * hidden) if peephole else None

    attributes = {}
    if activations is not None:
        flat = [activation for of_direction in activations for activation in of_direction]
        attributes["activations"] = [a[0] for a in flat]
        # Consumed in order by the activations that have the parameter.
        attributes["activation_alpha"] = [float(a[1]) for a in flat if a[0] in USES_ALPHA]
        attributes["activation_beta"] = [float(a[2]) for a in flat if a[0] in USES_BETA]
        attributes = {key: value for key, value in attributes.items() if value}
    if clip is not None:
        attributes["clip"] = clip
    if linear_before_reset is not None:
        attributes["linear_before_reset"] = linear_before_reset
    if input_forget is not None:
        attributes["input_forget"] = input_forget
    if layout:
        attributes["layout"] = layout

    source = np.float64 if evaluator else np.float32
    feeds = {"X": x if layout == 0 else x.swapaxes(0, 1), "W": w, "R": r, "B": b, "sequence_lens": lengths,
             "initial_h": h0}
    if kind == "lstm":
        feeds |= {"initial_c": c0, "P": p}
    feeds = {key: None if value is None else np.array(value, np.int32 if key == "sequence_lens" else source)
             for key, value in feeds.items()}
    element_type = onnx.TensorProto.DOUBLE if evaluator else onnx.TensorProto.FLOAT
    model, names = onnx_model(kind, direction, attributes, feeds, hidden, element_type)
    run = run_evaluator if evaluator else run_onnxruntime
    out = run(model, names, {key: value for key, value in feeds.items() if value is not None})

    assert np.count_nonzero(out["Y"]) > 0, f"{name} computes nothing"

    tensors = {}
    for d in range(directions):
        # ONNX calls a lone reverse direction its first; PyTorch has none, and here it is `_reverse` too.
        suffix = "_l0_reverse" if direction == "reverse" or d == 1 else "_l0"

        def gate_rows(value):
            return np.concatenate([np.split(value, gates)[gate] for gate in ONNX_GATE[kind]])

        tensors["weight_ih" + suffix] = gate_rows(w[d])
        tensors["weight_hh" + suffix] = gate_rows(r[d])
        if bias:
            tensors["bias_ih" + suffix] = gate_rows(b[d][:gates * hidden])
            tensors["bias_hh" + suffix] = gate_rows(b[d][gates * hidden:])
        if peephole:
            tensors["peephole" + suffix] = p[d]

    y = out["Y"]  # [T, D, B, H], or with layout 1 [B, T, D, H]
    y = y.transpose(0, 2, 1, 3).reshape(steps, batch, -1) if layout == 0 else y.reshape(batch, steps, -1)
    tensors |= {"x": feeds["X"].astype(np.float32), "h0": h0, "c0": c0, "y": y,
                "h": None if layout else out["Y_h"].reshape(directions, batch, hidden), "c": out.get("Y_c"),
                "lengths": None if lengths is None else np.array(lengths, np.int64)}
    plain = [[[a, 0, 0] for a in DEFAULT_ACTIVATIONS[kind]]] * directions
    info = {"source": f"ONNX evaluator {onnx.__version__}" if evaluator else f"onnxruntime {onnxruntime.__version__}",
            "dtype": "float64" if evaluator else "float32", "layers": 1, "kind": kind,
            "directions": [{"activations": a} for a in activations or plain]}
    if kind == "gru":
        info["reset_before_product"] = not linear_before_reset
    if input_forget:
        info["input_forget"] = True
    if clip is not None:
        info["clip"] = clip
    if layout:
        info["batch_first"] = True
    file.add(name, info, tensors)


# All eleven, with parameters that are not the defaults and are exact in float32.
ACTIVATIONS = [["Sigmoid", 0, 0], ["Tanh", 0, 0], ["Relu", 0, 0], ["Affine", 0.5, 0.25], ["LeakyRelu", 0.125, 0],
               ["ThresholdedRelu", 0.375, 0], ["ScaledTanh", 1.25, 0.75], ["HardSigmoid", 0.25, 0.4375],
               ["Elu", 0.625, 0], ["Softsign", 0, 0], ["Softplus", 0, 0]]


def onnx_cases():
    file = GoldenFile()
    by_name = {a[0]: a for a in ACTIVATIONS}

    # float64, the evaluator.
    for kind in GATES:
        onnx_case(file, f"evaluator {kind}", kind, evaluator=True, linear_before_reset=1 if kind == "gru" else None)
        onnx_case(file, f"evaluator {kind} no bias, no state", kind, evaluator=True, bias=False, state=False)
        onnx_case(file, f"evaluator {kind} layout 1", kind, evaluator=True, steps=3, batch=3, layout=1)
    onnx_case(file, "evaluator rnn affine", "rnn", evaluator=True, activations=[[["Affine", 0.5, 0.25]]])
    onnx_case(file, "evaluator gru reset before product", "gru", evaluator=True, hidden=7, linear_before_reset=0)
    onnx_case(file, "evaluator lstm peephole", "lstm", evaluator=True, peephole=True)
    onnx_case(file, "evaluator lstm peephole hidden 1", "lstm", evaluator=True, hidden=1, peephole=True)

    # float32, onnxruntime: every activation in every place that it can have.
    for activation in ACTIVATIONS:
        onnx_case(file, f"rnn {activation[0]}", "rnn", activations=[[activation]], scale=0.75)
    for n, f in enumerate(ACTIVATIONS):
        g, h = ACTIVATIONS[(n + 4) % 11], ACTIVATIONS[(n + 7) % 11]
        # The shifts keep gates that are a Relu of some kind from being closed all the time.
        for linear in (0, 1):
            onnx_case(file, f"gru {f[0]} {g[0]} linear_before_reset={linear}", "gru", activations=[[f, g]],
                      linear_before_reset=linear, scale=0.5, bias_shift=0.125)
        onnx_case(file, f"lstm {f[0]} {g[0]} {h[0]}", "lstm", activations=[[f, g, h]], scale=0.5, bias_shift=0.25)

    # Where ThresholdedRelu switches: h is f(x) alone, and x is alpha and its neighbours.
    edge = np.array([0.5, np.nextafter(np.float32(0.5), np.float32(0)), np.nextafter(np.float32(0.5), np.float32(1)),
                     -0.5, 0.0, 1.0], np.float32)
    onnx_case(file, "rnn ThresholdedRelu edge", "rnn", activations=[[["ThresholdedRelu", 0.5, 0]]], bias=False,
              state=False, inputs=6, hidden=6, steps=1, batch=1,
              weights=(np.eye(6, dtype=np.float32)[None], np.zeros((1, 6, 6), np.float32), edge.reshape(1, 1, 6)))

    # Directions, lengths, each direction with activations of its own.
    lengths = dict(lengths=[4, 1, 5], steps=5, batch=3)
    for kind in GATES:
        per_direction = [[by_name["ScaledTanh"], by_name["Elu"], by_name["Affine"]][:len(DEFAULT_ACTIVATIONS[kind])],
                         [by_name["HardSigmoid"], by_name["LeakyRelu"], by_name["Softsign"]][
                             :len(DEFAULT_ACTIVATIONS[kind])]]
        onnx_case(file, f"{kind} lengths", kind, **lengths)
        onnx_case(file, f"{kind} reverse", kind, direction="reverse")
        onnx_case(file, f"{kind} reverse lengths", kind, direction="reverse", **lengths)
        onnx_case(file, f"{kind} bidirectional lengths", kind, direction="bidirectional", **lengths)
        onnx_case(file, f"{kind} bidirectional lengths no bias, no state", kind, direction="bidirectional", bias=False,
                  state=False, **lengths)
        onnx_case(file, f"{kind} bidirectional activations", kind, direction="bidirectional", activations=per_direction,
                  scale=0.5)
        onnx_case(file, f"{kind} bidirectional activations clip lengths", kind, direction="bidirectional", clip=0.5,
                  activations=per_direction, **lengths)
        # Weights so large that the clip decides.
        onnx_case(file, f"{kind} clip", kind, clip=0.5, scale=2.0)
        onnx_case(file, f"{kind} clip no bias", kind, clip=0.25, scale=2.0, bias=False)
        onnx_case(file, f"{kind} hidden 1", kind, hidden=1, batch=1, inputs=1)

    onnx_case(file, "gru linear_before_reset=1 clip", "gru", linear_before_reset=1, clip=0.5, scale=2.0)
    onnx_case(file, "gru linear_before_reset=1 reverse lengths", "gru", linear_before_reset=1, direction="reverse",
              **lengths)
    onnx_case(file, "gru linear_before_reset=1 bidirectional lengths", "gru", linear_before_reset=1,
              direction="bidirectional", **lengths)
    onnx_case(file, "lstm peephole", "lstm", peephole=True)
    onnx_case(file, "lstm peephole clip", "lstm", peephole=True, clip=0.5, scale=2.0)
    onnx_case(file, "lstm peephole bidirectional lengths", "lstm", peephole=True, direction="bidirectional", **lengths)
    onnx_case(file, "lstm input_forget", "lstm", input_forget=1)
    onnx_case(file, "lstm input_forget peephole clip", "lstm", input_forget=1, peephole=True, clip=0.5, scale=2.0)
    onnx_case(file, "lstm input_forget bidirectional lengths", "lstm", input_forget=1, direction="bidirectional",
              **lengths)
    return file


if __name__ == "__main__":
    folder = pathlib.Path(__file__).parent
    pytorch().write(folder / "pytorch.safetensors")
    onnx_cases().write(folder / "onnx.safetensors")
