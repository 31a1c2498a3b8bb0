"""onnxruntime's recurrent operators, one node a layer."""

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

# ONNX's gates in PyTorch's order of them.
GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


class OnnxRuntime:
    def __init__(self, job, threads, refused):
        if job.projection_size:
            raise refused("ONNX's LSTM has no projection")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            make_model(job).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.version = onnxruntime.__version__
        self.implementation = f"CPUExecutionProvider {job.cells[0].upper()}"

    def prepared(self, x):
        return {"x": x}

    def run(self, x):
        return self._session.run(["y"], x)[0]


def make_model(job):
    cell = job.cells[0]
    kind = {"lstm": "LSTM", "gru": "GRU"}.get(cell, "RNN")
    directions = job.num_directions
    attributes = {"hidden_size": job.hidden_size, "direction": "bidirectional" if directions == 2 else "forward"}
    if kind == "GRU":
        attributes["linear_before_reset"] = 1
    if kind == "RNN":
        attributes["activations"] = [cell.capitalize()] * directions

    def gates(name):  # rearranged
        parts = np.split(job.weights[name], len(GATES[kind]))
        return np.concatenate([parts[i] for i in GATES[kind]])

    nodes, initializers = [], [numpy_helper.from_array(np.array([0, 0, -1], np.int64), "flat")]
    value = "x"
    for layer in range(job.num_layers):
        suffixes = [f"_l{layer}" + "_reverse" * d for d in range(directions)]
        names = [value, f"W{layer}", f"R{layer}"]
        arrays = [np.stack([gates("weight_ih" + s) for s in suffixes]), np.stack([gates("weight_hh" + s) for s in suffixes])]
        if job.bias:
            names.append(f"B{layer}")
            arrays.append(np.stack([np.concatenate([gates("bias_ih" + s), gates("bias_hh" + s)]) for s in suffixes]))
        initializers += [numpy_helper.from_array(a, n) for a, n in zip(arrays, names[1:])]
        out = "y" if layer + 1 == job.num_layers else f"y{layer}"
        nodes += [
            helper.make_node(kind, names, [f"Y{layer}"], **attributes),  # [T, D, B, H]
            helper.make_node("Transpose", [f"Y{layer}"], [f"Z{layer}"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"Z{layer}", "flat"], [out]),
        ]
        value = out
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["T", "B", job.input_size])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["T", "B", directions * job.hidden_size])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    model.ir_version = 8  # so that an older onnxruntime reads it
    return model
