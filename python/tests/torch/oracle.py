"""Layers of torch.nn and sprnn.torch side by side."""

import itertools

import pytest
import torch

import sprnn.torch

PAIRS = {"RNN": (torch.nn.RNN, sprnn.torch.RNN), "GRU": (torch.nn.GRU, sprnn.torch.GRU)}
PAIRS["LSTM"] = (torch.nn.LSTM, sprnn.torch.LSTM)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def constructor_matrix():
    """Every combination of the constructor's options, one id each."""
    for kind, layers, bias, batch_first, bidirectional in itertools.product(
        PAIRS, (1, 2), (True, False), (False, True), (False, True)
    ):
        extras = [{}]
        if kind == "RNN":
            extras = [{"nonlinearity": "tanh"}, {"nonlinearity": "relu"}]
        if kind == "LSTM":
            extras = [{}, {"proj_size": 5}]
        for extra in extras:
            options = {"num_layers": layers, "bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}
            yield kind, {**options, **extra}


def over_the_constructor_matrix():
    """Runs a test, which takes kind and options, once for each."""
    cases = list(constructor_matrix())
    ids = ["-".join([kind, *(f"{k}={v}" for k, v in options.items())]) for kind, options in cases]
    return pytest.mark.parametrize(("kind", "options"), cases, ids=ids)


def make_pair(kind, density=None, dtype=torch.float32, sizes=(7, 12), **options):
    """A torch.nn layer and sprnn's with the same weights, masked alike, both in eval mode."""
    ours = PAIRS[kind][1](*sizes, dtype=dtype, **options)
    if density is not None:
        ours.prune(density, density)
    return ours.to_torch().eval(), ours.eval()


def flat(value):
    """All tensors of nested outputs, packed sequences included."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        return [t for t in value if t is not None]
    return [tensor for item in value for tensor in flat(item)]


def assert_same(found, expected, tolerance=None):
    found, expected = flat(found), flat(expected)
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        bound = TOLERANCE.get(b.dtype, 0) if tolerance is None else tolerance
        assert a.shape == b.shape and a.dtype == b.dtype and a.device == b.device
        torch.testing.assert_close(a, b, atol=bound, rtol=bound)


def states(layer, batch, dtype=torch.float32):
    """Random initial states in the form that forward takes."""
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    h = torch.randn(count, batch, layer.proj_size or layer.hidden_size, dtype=dtype)
    return (h, torch.randn(count, batch, layer.hidden_size, dtype=dtype)) if layer.mode == "LSTM" else h
