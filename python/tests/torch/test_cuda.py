"""sprnn.torch on CUDA tensors: engine cuda in the current stream, against torch.nn on the same GPU."""

import copy

import pytest
import torch
from oracle import PAIRS, assert_same, constructor_matrix, flat, make_pair, states
from torch.nn.utils.rnn import pack_sequence

import sprnn.torch
from sprnn.torch import op, sessions

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")

# cuDNN rounds h and multiplies as it likes: the bound is wider than for the CPU's fp32.
TOLERANCE = {torch.float32: 2e-4, torch.float16: 1e-2, torch.bfloat16: 6e-2}


@pytest.fixture(autouse=True)
def exact_products():
    """No TF32, whose products have 10 bits."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    sessions.clear()


def cuda_pair(kind, dtype=torch.float32, density=0.3, sizes=(7, 12), **options):
    theirs, ours = make_pair(kind, density=density, sizes=sizes, dtype=dtype, **options)
    return theirs.cuda(), ours.cuda()


def to_gpu(value):
    return tuple(to_gpu(v) for v in value) if isinstance(value, tuple) else value.cuda()


def engines_used(layer):
    """Of the sessions that the layer's weights have."""
    entry = sessions._find([t for ts in layer._tensors()[:2] for t in ts], layer._layout())
    packed = [p for p in entry.by_batch.values() if p is not None]
    idle = [session for p in packed for kept in p.idle.values() for _, session in kept]
    return {session.engine for session in [*idle, *entry.captured]}


def close(found, expected):
    assert_same(found, expected, TOLERANCE[flat(expected)[0].dtype])


@pytest.mark.parametrize("dtype", (torch.float32, torch.float16, torch.bfloat16))
def test_forward_is_torchs(dtype):
    for kind, options in constructor_matrix():
        if options["bias"] is False and dtype != torch.float32:
            continue
        theirs, ours = cuda_pair(kind, dtype, **options)
        x = torch.randn((3, 9, 7) if options["batch_first"] else (9, 3, 7), dtype=dtype, device="cuda")
        with torch.no_grad():
            close(ours(x), theirs(x))
            hx = to_gpu(states(ours, 3, dtype))
            close(ours(x, hx), theirs(x, hx))
            one = x[:1] if options["batch_first"] else x[:, :1]
            close(ours(one), theirs(one))
        assert engines_used(ours) == {"cuda"}, (kind, options)


@pytest.mark.parametrize("kind", PAIRS)
def test_larger_layers(kind):
    theirs, ours = cuda_pair(kind, torch.float16, density=0.1, sizes=(256, 512))
    x = torch.randn(100, 4, 256, dtype=torch.float16, device="cuda")
    with torch.no_grad():
        close(ours(x), theirs(x))
    assert engines_used(ours) == {"cuda"}


@pytest.mark.parametrize("kind", PAIRS)
def test_a_state_of_any_size(kind):
    """A GRU's state of 2 or more has a kernel of its own."""
    theirs, ours = cuda_pair(kind, bidirectional=True)
    x = torch.randn(9, 3, 7, device="cuda")
    with torch.no_grad():
        for scale in (1.0, 10.0, 0.5):
            hx = to_gpu(states(ours, 3))
            hx = tuple(scale * s for s in hx) if isinstance(hx, tuple) else scale * hx
            close(ours(x, hx), theirs(x, hx))


@pytest.mark.parametrize("kind", PAIRS)
def test_packed_sequences(kind):
    theirs, ours = cuda_pair(kind, num_layers=2, bidirectional=True)
    packed = pack_sequence([torch.randn(n, 7, device="cuda") for n in (3, 8, 5)], enforce_sorted=False)
    with torch.no_grad():
        close(ours(packed), theirs(packed))
        hx = to_gpu(states(ours, 3))
        close(ours(packed, hx), theirs(packed, hx))
    assert engines_used(ours) == {"cuda"}


def test_the_current_stream():
    """Work of another stream before and behind it, which nothing but the streams' order holds together."""
    theirs, ours = cuda_pair("LSTM", torch.float16, density=0.1, sizes=(64, 256))
    with torch.no_grad():
        ours(torch.randn(5, 2, 64, dtype=torch.float16, device="cuda"))  # packs and compiles
        stream = torch.cuda.Stream()
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            x = torch.zeros(200, 2, 64, dtype=torch.float16, device="cuda")
            torch.cuda._sleep(50_000_000)
            x += 0.25
            y, (h, c) = ours(x)
            total = (2 * y).float().sum()
            assert not stream.query(), "the call waited for its stream"
        stream.synchronize()
        close(y, theirs(torch.full_like(x, 0.25))[0])
        torch.testing.assert_close(total, 2 * y.float().sum())


def test_calls_on_several_streams():
    """They share a session: one call's buffers must not be another's."""
    _, ours = cuda_pair("GRU", torch.float16, density=0.1, sizes=(64, 256))
    inputs = [torch.randn(50, 2, 64, dtype=torch.float16, device="cuda") for _ in range(4)]
    with torch.no_grad():
        expected = [ours(x)[0].clone() for x in inputs]
        torch.cuda.synchronize()
        streams = [torch.cuda.Stream() for _ in inputs]
        for _ in range(10):
            found = []
            for x, stream in zip(inputs, streams):
                with torch.cuda.stream(stream):
                    found.append(ours(x)[0])
            torch.cuda.synchronize()
            for a, b in zip(found, expected):
                assert torch.equal(a, b)


@pytest.mark.parametrize("kind", PAIRS)
def test_weights_that_change(kind):
    theirs, ours = cuda_pair(kind)
    x = torch.randn(9, 3, 7, device="cuda")
    with torch.no_grad():
        ours(x)
        ours.weight_hh_l0.mul_(0.5)
        theirs.weight_hh_l0.mul_(0.5)
        close(ours(x), theirs(x))


def test_gradients():
    theirs, ours = cuda_pair("LSTM", num_layers=2)
    theirs.train()  # cuDNN's backward is of training only
    x = torch.randn(9, 3, 7, device="cuda", requires_grad=True)
    found = torch.autograd.grad(ours(x)[0].sum(), [x, *ours.parameters()])
    expected = torch.autograd.grad(theirs(x)[0].sum(), [x, *theirs.parameters()])
    masks = ours.masks()
    for name, a, b in zip(["x", *(n for n, _ in ours.named_parameters())], found, expected):
        torch.testing.assert_close(a, b * masks[name] if name in masks else b, atol=1e-3, rtol=1e-3)


def test_copies_and_moves():
    _, ours = cuda_pair("GRU")
    x = torch.randn(9, 3, 7, device="cuda")
    with torch.no_grad():
        expected = ours(x)
        assert_same(copy.deepcopy(ours)(x), expected, 0)
        back = copy.deepcopy(ours).cpu()
        assert_same([t.cpu() for t in flat(expected)], flat(back(x.cpu())), 1e-5)
        assert_same(back.cuda()(x), expected, 0)


# ---- As an operator


@pytest.mark.parametrize("kind", PAIRS)
def test_opcheck(kind):
    _, layer = cuda_pair(kind, density=0.4, num_layers=2, bidirectional=True)
    x = torch.randn(4, 3, 7, device="cuda", requires_grad=True)
    h = to_gpu(states(layer, 3))
    h = h if isinstance(h, tuple) else (h, None)
    torch.library.opcheck(op.rnn, (x, None, *h, *layer._tensors(), *layer._layout(), layer.batch_first))


def test_torch_compile():
    model = torch.nn.Sequential()
    model.add_module("rnn", cuda_pair("LSTM", torch.float16, density=0.1, sizes=(32, 64), num_layers=2)[1])

    def forward(x):
        y, (h, _) = model.rnn(x)
        return torch.relu(y) * 2, h

    compiled = torch.compile(forward, fullgraph=True)
    with torch.no_grad():
        for steps in (5, 9):
            x = torch.randn(steps, 3, 32, dtype=torch.float16, device="cuda")
            assert_same(compiled(x), forward(x), 1e-3)


# ---- CUDA graphs


def captured(function, *inputs):
    """A graph of one call, after a call that prepares it, and the tensors that it writes."""
    with torch.no_grad():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            function(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = function(*inputs)
    return graph, outputs


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("with_state", (False, True))
def test_cuda_graphs(kind, with_state):
    theirs, ours = cuda_pair(kind, torch.float16, density=0.2, sizes=(16, 40), num_layers=2)
    x = torch.randn(9, 3, 16, dtype=torch.float16, device="cuda")
    hx = to_gpu(states(ours, 3, torch.float16)) if with_state else None
    graph, outputs = captured(ours, x, hx) if with_state else captured(ours, x)
    assert sessions._find([t for ts in ours._tensors()[:2] for t in ts], ours._layout()).captured, "PyTorch's ran"
    with torch.no_grad():
        for scale in (1.0, 6.0, 0.5):  # of the state; a GRU's kernel is chosen in the graph
            x.copy_(torch.randn_like(x))
            for tensor in flat(hx) if with_state else ():
                tensor.copy_(scale * torch.randn_like(tensor))
            graph.replay()
            close(outputs, theirs(x, hx))
            close(ours(x, hx), theirs(x, hx))  # between replays


def test_two_calls_in_one_graph():
    theirs, ours = cuda_pair("LSTM", torch.float16, density=0.2, sizes=(16, 16))
    x = torch.randn(9, 3, 16, dtype=torch.float16, device="cuda")

    def twice(layer, x):
        y, state = layer(x)
        return layer(y, state)

    graph, outputs = captured(lambda x: twice(ours, x), x)
    with torch.no_grad():
        for _ in range(3):
            x.copy_(torch.randn_like(x))
            graph.replay()
            close(outputs, twice(theirs, x))


def test_a_graph_outlives_its_layer():
    theirs, ours = cuda_pair("LSTM", torch.float16, density=0.2)
    x = torch.randn(9, 3, 7, dtype=torch.float16, device="cuda")
    graph, outputs = captured(ours, x)
    del ours
    sessions.clear()
    torch.cuda.empty_cache()
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
        graph.replay()
        close(outputs, theirs(x))


def test_capture_of_what_has_not_run_is_torchs():
    theirs, ours = cuda_pair("LSTM", torch.float16, density=0.2)
    x = torch.randn(9, 3, 7, dtype=torch.float16, device="cuda")
    with torch.no_grad():
        theirs(x)  # cuDNN's handle is made outside
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = ours(x)
        graph.replay()
        close(outputs, theirs(x))


def test_torch_compile_with_cuda_graphs():
    theirs, ours = cuda_pair("GRU", torch.float16, density=0.1, sizes=(32, 64))
    compiled = torch.compile(lambda x: torch.relu(ours(x)[0]), mode="reduce-overhead", fullgraph=True)
    with torch.no_grad():
        for _ in range(5):
            x = torch.randn(9, 3, 32, dtype=torch.float16, device="cuda")
            close(compiled(x).clone(), torch.relu(theirs(x)[0]))
