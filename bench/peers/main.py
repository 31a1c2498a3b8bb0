"""Rivals written in Python, and our own layer there: each in a process of its own, started by the driver
(process.cpp) with a socket as its standard input; of no use by hand."""

import ctypes
import json
import os
import signal
import time

from channel import Channel, Job


class Refused(Exception):
    """Why the library, this build of it or this machine cannot do it."""


def make_peer(job, threads):
    if job.reverse:
        raise Refused("no layer of its runs in reverse alone")
    try:
        if job.peer == "onnxruntime fp32":
            import onnx_runtime

            return onnx_runtime.OnnxRuntime(job, threads, Refused)
        import torch_layers

        kinds = {"sprnn.torch fp32": torch_layers.Sprnn, "torch.nn fp16 cuda": torch_layers.TorchNNOnGpu}
        return kinds.get(job.peer, torch_layers.TorchNN)(job, threads)
    except ModuleNotFoundError as error:
        raise Refused(f"this Python has no module {error.name}") from None


def serve(channel):
    job = Job(channel)
    try:
        peer = make_peer(job, int(os.environ["OMP_NUM_THREADS"]))
    except Refused as refused:
        channel.send(json.dumps({"refused": str(refused)}))
        return
    channel.send(json.dumps({"version": peer.version, "implementation": peer.implementation}))
    y = None
    while True:
        verb, *numbers = channel.receive().split()
        if verb == "output":
            channel.send_floats(y)
            continue
        length, input_set = map(int, numbers)
        x = peer.prepared(job.input(length, input_set))
        begin = time.perf_counter()
        y = peer.run(x)
        took = (time.perf_counter() - begin) * 1e6
        channel.send(repr(getattr(peer, "microseconds", took)))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides when this process ends,
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: also when it is killed itself
    try:
        serve(Channel(0))
    except (EOFError, ConnectionError):
        pass  # the race is over
