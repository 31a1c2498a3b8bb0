"""channel.hpp in Python: texts and arrays of floats over a socket, each behind its length."""

import json
import socket
import struct

import numpy as np


class Channel:
    def __init__(self, descriptor):
        self._socket = socket.socket(fileno=descriptor)

    def send(self, text):
        data = text.encode()
        self._socket.sendall(struct.pack("=Q", len(data)) + data)

    def send_floats(self, values):
        values = np.ascontiguousarray(values, np.float32)
        self._socket.sendall(struct.pack("=Q", values.size))
        self._socket.sendall(values.tobytes())

    def receive(self):
        return bytes(self._read(self._length())).decode()

    def receive_floats(self):
        return np.frombuffer(self._read(4 * self._length()), np.float32)

    def _length(self):
        return struct.unpack("=Q", self._read(8))[0]

    def _read(self, size):
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self._socket.recv_into(view)
            if count == 0:
                raise EOFError("the driver has gone")
            view = view[count:]
        return data


class Job:
    """What is to be run: see Job and Workload in channel.hpp and peer.hpp."""

    def __init__(self, channel):
        header = json.loads(channel.receive())
        self.peer = header["peer"]
        self.input_size, self.hidden_size = header["input_size"], header["hidden_size"]
        self.projection_size = header["projection_size"]
        self.num_layers, self.num_directions = header["layers"], header["directions"]
        self.lengths = header["lengths"]
        self.weights = {}  # by PyTorch's names
        self.cells = []
        self.reverse = False  # one direction, and that runs backwards
        for layer in range(self.num_layers):
            for direction in range(self.num_directions):
                about = json.loads(channel.receive())
                self.cells.append(about["cell"])
                self.reverse |= about["reverse"] and self.num_directions == 1
                suffix = f"_l{layer}" + "_reverse" * direction
                for name in ("weight_ih", "weight_hh", "weight_hr"):
                    shape = json.loads(channel.receive())
                    self._add(name + suffix, channel.receive_floats().reshape(shape["rows"], shape["cols"]))
                for name in ("bias_ih", "bias_hh"):
                    self._add(name + suffix, channel.receive_floats())
        steps = self.lengths[0] + header["input_sets"] - 1
        self.x = channel.receive_floats().reshape(steps, header["batch"], self.input_size).copy()

    def _add(self, name, values):
        if values.size:
            self.weights[name] = values.copy()

    @property
    def bias(self):
        return "bias_ih_l0" in self.weights

    def input(self, length, input_set):
        return self.x[input_set : input_set + self.lengths[length]]
