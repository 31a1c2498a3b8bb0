"""sprnn::rnn as an operator: checked by PyTorch, compiled, exported."""

import io

import pytest
import torch
from oracle import PAIRS, assert_same, make_pair, states
from torch.nn.utils.rnn import pack_sequence

import sprnn.torch
from sprnn.torch import op


def arguments(layer, x, batch_sizes=None, h0=None, c0=None):
    return x, batch_sizes, h0, c0, *layer._tensors(), *layer._layout(), layer.batch_first


@pytest.mark.parametrize("kind", PAIRS)
def test_opcheck(kind):
    _, layer = make_pair(kind, density=0.4, num_layers=2, bidirectional=True)
    x = torch.randn(4, 3, 7, requires_grad=True)
    h = states(layer, 3)
    h = h if isinstance(h, tuple) else (h,)
    torch.library.opcheck(op.rnn, arguments(layer, x, None, *(s.requires_grad_() for s in h)))


def test_opcheck_of_the_other_arguments():
    _, layer = make_pair("GRU", batch_first=True)  # no masks
    torch.library.opcheck(op.rnn, arguments(layer, torch.randn(3, 4, 7)))
    packed = pack_sequence([torch.randn(5, 7), torch.randn(3, 7)])
    torch.library.opcheck(op.rnn, arguments(layer, packed.data, packed.batch_sizes, torch.zeros(1, 2, 12)))
    _, layer = make_pair("LSTM", density=0.5, proj_size=5, dtype=torch.float64)  # PyTorch's own inside
    torch.library.opcheck(op.rnn, arguments(layer, torch.randn(4, 3, 7, dtype=torch.float64)))


class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.LSTM(7, 12, 2, batch_first=True, bidirectional=True)
        self.head = torch.nn.Linear(24, 3)

    def forward(self, x, hx=None):
        y, (h, _) = self.layers(x, hx)
        return self.head(torch.relu(y)), h * 2


def tagger(density=0.3):
    model = Tagger().eval()
    sprnn.torch.convert(model, density=density)
    return model


def test_torch_compile_takes_it_as_a_whole():
    model = tagger()
    compiled = torch.compile(model, fullgraph=True)
    hx = states(model.layers, 3)
    with torch.no_grad():
        for x in (torch.randn(3, 5, 7), torch.randn(2, 9, 7)):
            assert_same(compiled(x), model(x))
        assert_same(compiled(torch.ones(3, 5, 7), hx), model(torch.ones(3, 5, 7), hx))
        model.layers.prune(0.1)  # weights and masks change under the compiled program
        assert_same(compiled(x), model(x))
    x = torch.randn(3, 5, 7, requires_grad=True)  # with gradients
    found = torch.autograd.grad(compiled(x)[0].sum(), [x, *model.parameters()])
    assert_same(found, torch.autograd.grad(model(x)[0].sum(), [x, *model.parameters()]))


def test_torch_compile_while_training():
    model = tagger().train()
    compiled = torch.compile(model)
    x = torch.randn(3, 5, 7)
    expected = torch.autograd.grad(model(x)[0].sum(), list(model.parameters()))
    assert_same(torch.autograd.grad(compiled(x)[0].sum(), list(model.parameters())), expected)


@pytest.mark.parametrize("training", (False, True))
def test_torch_export(training):
    model = tagger().train(training)
    batch, steps = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("steps", min=1, max=1000)
    program = torch.export.export(model, (torch.randn(3, 5, 7),), dynamic_shapes=({0: batch, 1: steps},))
    assert "sprnn.rnn.default" in str(program.graph)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    model.eval()
    with torch.no_grad():
        for x in (torch.randn(3, 5, 7), torch.randn(1, 2, 7)):
            assert_same(program.module()(x), model(x))
            assert_same(loaded(x), model(x))


def test_fake_tensors():
    from torch._subclasses.fake_tensor import FakeTensorMode

    for kind in PAIRS:
        theirs, ours = make_pair(kind, num_layers=2, bidirectional=True, batch_first=True)
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            x = torch.empty(3, 5, 7)
            found, expected = ours(x), theirs(x)
            assert found[0].shape == expected[0].shape
            assert torch.utils._pytree.tree_map(lambda t: t.shape, found) == torch.utils._pytree.tree_map(
                lambda t: t.shape, expected
            )
