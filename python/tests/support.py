"""What the tests share: random models, and their equations in NumPy float64."""

import os
import subprocess
import sys

import numpy as np

GATES = {"tanh": 1, "relu": 1, "gru": 3, "lstm": 4}


def random_arrays(cell, inputs, hidden, layers=1, directions=(False,), projection=0, bias=True, peephole=False, seed=0):
    """Weights under PyTorch's names, float32, uniform in +-1/sqrt(hidden)."""
    rng = np.random.default_rng(seed)
    gates, width = GATES[cell], projection or hidden
    arrays = {}

    def add(name, *shape):
        arrays[name] = (rng.uniform(-1, 1, shape) / np.sqrt(hidden)).astype(np.float32)

    for layer in range(layers):
        for reverse in directions:
            suffix = f"_l{layer}" + "_reverse" * reverse
            add("weight_ih" + suffix, gates * hidden, inputs if layer == 0 else width * len(directions))
            add("weight_hh" + suffix, gates * hidden, width)
            if bias:
                add("bias_ih" + suffix, gates * hidden)
                add("bias_hh" + suffix, gates * hidden)
            if projection:
                add("weight_hr" + suffix, projection, hidden)
            if peephole:
                add("peephole" + suffix, 3 * hidden)
    return arrays


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _step(cell, x, h, c, w, suffix):
    a = x @ w["weight_ih" + suffix].T + w.get("bias_ih" + suffix, 0)
    u = h @ w["weight_hh" + suffix].T + w.get("bias_hh" + suffix, 0)
    if cell in ("tanh", "relu"):
        return (np.tanh(a + u) if cell == "tanh" else np.maximum(a + u, 0)), c
    if cell == "gru":
        (ar, az, an), (ur, uz, un) = np.split(a, 3, -1), np.split(u, 3, -1)
        r, z = sigmoid(ar + ur), sigmoid(az + uz)
        return (1 - z) * np.tanh(an + r * un) + z * h, c
    i, f, g, o = np.split(a + u, 4, -1)
    pi, po, pf = np.split(w.get("peephole" + suffix, np.zeros(3 * c.shape[-1])), 3)
    c_new = sigmoid(f + pf * c) * c + sigmoid(i + pi * c) * np.tanh(g)
    h_new = sigmoid(o + po * c_new) * np.tanh(c_new)
    if "weight_hr" + suffix in w:
        h_new = h_new @ w["weight_hr" + suffix].T
    return h_new, c_new


def run(cell, arrays, x, h0=None, c0=None, lengths=None):
    """y [T, B, D * R], h [L * D, B, R], c [L * D, B, H] in float64."""
    w = {name: array.astype(np.float64) for name, array in arrays.items()}
    layers = 1 + max(int(name.split("_l")[1].split("_")[0]) for name in w)
    directions = sorted({name.endswith("_reverse") for name in w})
    steps, batch = x.shape[:2]
    lengths = [steps] * batch if lengths is None else lengths
    y, h_out, c_out = x.astype(np.float64), [], []
    for layer in range(layers):
        outputs = []
        for reverse in directions:
            suffix = f"_l{layer}" + "_reverse" * reverse
            hidden = w["weight_hh" + suffix].shape[0] // GATES[cell]
            width = w["weight_hh" + suffix].shape[1]
            index = len(h_out)
            h = np.zeros((batch, width)) if h0 is None else h0[index].astype(np.float64)
            c = np.zeros((batch, hidden)) if c0 is None else c0[index].astype(np.float64)
            h, c = h.copy(), c.copy()
            out = np.zeros((steps, batch, width))
            for b in range(batch):
                times = range(lengths[b])
                for t in reversed(times) if reverse else times:
                    h[b], c[b] = _step(cell, y[t, b], h[b], c[b], w, suffix)
                    out[t, b] = h[b]
            outputs.append(out)
            h_out.append(h)
            c_out.append(c)
        y = np.concatenate(outputs, -1)
    return y, np.stack(h_out), np.stack(c_out)


def rel_error(found, expected):
    return np.linalg.norm(np.asarray(found, np.float64) - expected) / np.linalg.norm(expected)


def peak_growth(prepare, call):
    """Bytes by which the most memory that a process of its own has held grows in `call`, lines of Python after `prepare`.

    Not of this process, where memory that an earlier test gave back would do; nor getrusage's, which begins with the
    peak of the process that started it.
    """
    program = f"""
def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
{prepare}
before = peak()
{call}
print(peak() - before)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return int(run.stdout.splitlines()[-1])
