"""The rivals of the race on the CPU that are written in Python (bench/peers) compute the layer that they are sent."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from oracle import make_pair

PEERS = pathlib.Path(__file__).parents[3] / "bench" / "peers"
sys.path.insert(0, str(PEERS))

from channel import Channel  # noqa: E402


def race(peer, layer, x, lengths, runs):
    """Drives a peer as bench/peers/process.cpp does: its answer, and the outputs of (length, input set)."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, str(PEERS / "main.py")]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
    environment |= {name: os.environ[name] for name in ("LD_PRELOAD", "ASAN_OPTIONS") if name in os.environ}
    with theirs:
        process = subprocess.Popen(command, stdin=theirs.fileno(), env=environment)
    channel = Channel(ours.detach())
    try:
        header = {"peer": peer, "dtype": "fp32", "input_size": layer.input_size, "hidden_size": layer.hidden_size}
        header |= {"projection_size": layer.proj_size, "layers": layer.num_layers, "batch": x.shape[1]}
        header |= {"directions": 1 + layer.bidirectional, "lengths": lengths, "input_sets": len(x) - lengths[0] + 1}
        channel.send(json.dumps(header))
        for level in range(layer.num_layers):
            for suffix in ("", "_reverse")[: 1 + layer.bidirectional]:
                cell = {"RNN_TANH": "tanh", "RNN_RELU": "relu"}.get(layer.mode, layer.mode.lower())
                channel.send(json.dumps({"cell": cell, "reverse": suffix != ""}))
                for name in ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh"):
                    value = getattr(layer, f"{name}_l{level}{suffix}", None)
                    value = np.empty((0, 0), np.float32) if value is None else value.detach().numpy()
                    if name.startswith("weight"):
                        channel.send(json.dumps({"rows": value.shape[0], "cols": value.shape[1]}))
                    channel.send_floats(value)
        channel.send_floats(x)
        answer = json.loads(channel.receive())
        outputs = []
        for length, input_set in runs if "version" in answer else ():
            channel.send(f"run {length} {input_set}")
            assert float(channel.receive()) > 0
            channel.send("output")
            outputs.append(channel.receive_floats())
        return answer, outputs
    finally:
        channel._socket.close()
        process.kill()
        process.wait()


@pytest.mark.parametrize("peer", ("torch.nn fp32", "onnxruntime fp32", "sprnn.torch fp32"))
@pytest.mark.parametrize("kind", ("LSTM", "GRU"))
def test_a_peer_computes_the_layer(peer, kind):
    if peer.startswith("onnxruntime"):
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
        pytest.importorskip("onnx", reason="onnx is not installed")
    theirs, _ = make_pair(kind, density=0.3, num_layers=2, bidirectional=True)
    x = torch.randn(9, 2, 7)
    answer, outputs = race(peer, theirs, x.numpy(), [7, 2], [(0, 0), (1, 1), (0, 2)])
    assert answer["version"] and answer["implementation"]
    with torch.no_grad():
        for y, part in zip(outputs, (x[:7], x[1:3], x[2:9])):
            np.testing.assert_allclose(y, theirs(part)[0].numpy().ravel(), atol=1e-5)


def test_a_peer_refuses():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    theirs, _ = make_pair("LSTM", proj_size=3)
    answer, _ = race("onnxruntime fp32", theirs, np.zeros((3, 1, 7), np.float32), [3], [])
    assert "projection" in answer["refused"]
