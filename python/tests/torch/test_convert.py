"""Between torch.nn's layers and sprnn's, and inside models."""

import pickle

import pytest
import torch
from oracle import PAIRS, assert_same, constructor_matrix, make_pair

import sprnn
import sprnn.torch


@pytest.mark.parametrize("kind", PAIRS)
def test_there_and_back(kind):
    for other, options in constructor_matrix():
        if other != kind:
            continue
        theirs = PAIRS[kind][0](7, 12, dropout=0.25 if options["num_layers"] > 1 else 0.0, **options).eval()
        theirs.weight_hh_l0.requires_grad_(False)
        ours = sprnn.torch.from_torch(theirs)
        back = ours.to_torch()
        assert type(ours) is PAIRS[kind][1] and type(back) is PAIRS[kind][0]
        assert str(ours) == str(theirs) == str(back) and not ours.masks()
        for layer in (ours, back):
            assert not layer.training
            assert [p.requires_grad for p in layer.parameters()] == [p.requires_grad for p in theirs.parameters()]
            for (name, found), (expected_name, expected) in zip(layer.named_parameters(), theirs.named_parameters()):
                assert name == expected_name and torch.equal(found, expected)
                assert found.data_ptr() != expected.data_ptr()  # a copy


def test_state_dicts_go_both_ways():
    theirs, ours = make_pair("LSTM", density=0.2, num_layers=2, proj_size=4)
    fresh = sprnn.torch.LSTM(7, 12, 2, proj_size=4).eval()
    fresh.load_state_dict(theirs.state_dict())
    assert fresh.density() == ours.density()  # read off the zeros
    x = torch.randn(4, 2, 7)
    with torch.no_grad():
        assert_same(fresh(x), ours(x), 0)
    plain = torch.nn.LSTM(7, 12, 2, proj_size=4)
    plain.load_state_dict(ours.state_dict())
    ours.load_state_dict(torch.nn.LSTM(7, 12, 2, proj_size=4).state_dict())
    assert not ours.masks()  # a dense checkpoint


def starts():
    def zeros(weight):
        torch.nn.init.zeros_(weight)

    def identity(weight):
        torch.nn.init.eye_(weight)

    def scaled_identity_of_a_gate(weight):
        torch.nn.init.zeros_(weight)
        weight.data[-8:, :8] = 0.5 * torch.eye(8)

    return [zeros, identity, scaled_identity_of_a_gate]


@pytest.mark.parametrize("start", starts(), ids=lambda f: f.__name__)
@pytest.mark.parametrize("kind", PAIRS)
def test_zeros_of_a_start_are_not_masks(kind, start):
    theirs = torch.nn.Sequential(PAIRS[kind][0](8, 8))
    start(theirs[0].weight_hh_l0), start(theirs[0].weight_ih_l0)
    ours = sprnn.torch.from_torch(theirs[0])
    loaded = PAIRS[kind][1](8, 8)
    loaded.load_state_dict(theirs[0].state_dict())
    sprnn.torch.convert(theirs)
    for layer in (ours, loaded, theirs[0]):
        assert not layer.masks()
    layer = theirs[0].train()
    layer(torch.randn(5, 2, 8))[0].square().sum().backward()
    torch.optim.SGD(layer.parameters(), 0.1).step()
    trained = torch.count_nonzero(layer.weight_hh_l0) / layer.weight_hh_l0.numel()
    assert trained > 0.9 if kind != "GRU" else trained > 0.5  # of a GRU without weights some gates have no gradient


def test_zeros_that_are_not_masked_are_weights_when_pruning():
    """As many are kept as of a matrix without zeros; one of zeros alone is left alone."""
    layer = sprnn.torch.RNN(8, 8, 2, nonlinearity="relu")
    torch.nn.init.eye_(layer.weight_hh_l0), torch.nn.init.zeros_(layer.weight_hh_l1)
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        layer.to(dtype).remove_masks()
        (report,) = layer.prune(0.5)
        assert report.name == "weight_hh_l0" and report.reached == 0.5
        assert layer.density() == {name: 0.5 if name == "weight_hh_l0" else 1.0 for name in layer.density()}
        assert layer.masks()["weight_hh_l0"].diagonal().all() and torch.equal(layer.weight_hh_l0, torch.eye(8, dtype=dtype))
    before = layer.masks()["weight_hh_l0"].clone()
    layer.prune(0.25)  # what is masked stays masked
    assert not (layer.masks()["weight_hh_l0"] & ~before).any() and layer.density()["weight_hh_l0"] == 0.25


def test_layers_pruned_by_torch():
    """torch.nn.utils.prune leaves -0.0, and a product that is a step behind."""
    from torch.nn.utils import prune

    theirs = torch.nn.LSTM(7, 12)
    prune.l1_unstructured(theirs, "weight_hh_l0", amount=0.75)
    expected = theirs.weight_hh_l0.detach().clone()
    ours = sprnn.torch.from_torch(theirs)
    assert ours.density()["weight_hh_l0"] == pytest.approx(0.25, abs=0.01)
    assert torch.equal(ours.weight_hh_l0, expected)
    model = torch.nn.ModuleDict({"rnn": theirs})
    report = sprnn.torch.convert(model, density=0.5)
    assert not report.swapped and "torch.nn.utils.prune" in report.left[0].reason
    prune.remove(theirs, "weight_hh_l0")
    report = sprnn.torch.convert(model)
    assert report.swapped[0].layer.density()["weight_hh_l0"] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("pattern", ("unstructured", "row", "global", "block:4x1", "unit:2x2", "2:4"))
def test_patterns_are_those_of_sprnn(pattern):
    _, ours = make_pair("GRU", num_layers=2, sizes=(12, 12))
    model = ours.model()
    density = None if pattern == "2:4" else 0.25
    expected = model.prune(density, density, pattern)
    reports = ours.prune(density, density, pattern)
    assert reports == expected.report
    assert set(ours.masks()) == {report.name for report in reports}
    for name in ours.masks():
        assert torch.equal(ours.masks()[name], torch.from_numpy(expected.masks()[name]))
        assert torch.equal(getattr(ours, name), torch.from_numpy(expected.arrays()[name].copy()))


def test_a_layer_as_a_model_of_sprnn(tmp_path):
    _, ours = make_pair("LSTM", density=0.3, num_layers=2, bidirectional=True)
    path = tmp_path / "layer.sprnn"
    ours.model().save(path)
    x = torch.randn(6, 1, 7)
    with torch.no_grad():
        y = ours(x)[0]
    assert_same(torch.from_numpy(sprnn.load(path).session()(x)), y)


# ---- Inside models


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.ModuleList([torch.nn.GRU(5, 8), torch.nn.Linear(8, 5)])
        self.decoder = torch.nn.LSTM(5, 8, 2)
        self.shared = self.decoder
        self.rnn = torch.nn.RNN(5, 8, nonlinearity="relu")
        self.cell = torch.nn.LSTMCell(5, 8)
        self.mine = type("MyLSTM", (torch.nn.LSTM,), {})(5, 8)

    def forward(self, x):
        y = self.encoder[1](self.encoder[0](x)[0])
        return self.shared(self.decoder(y)[0][..., :5])[0], self.rnn(x)[0]


def test_convert_swaps_in_place_and_reports():
    model = Model().eval()
    x = torch.randn(4, 2, 5)
    parameters = dict(model.named_parameters())
    calls = []
    model.rnn.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        expected = model(x)
    report = sprnn.torch.convert(model)
    assert {s.name for s in report.swapped} == {"decoder", "rnn", "encoder.0"}
    assert {left.name: left.type for left in report.left} == {"cell": "LSTMCell", "mine": "MyLSTM"}
    assert all(left.reason for left in report.left)
    assert model.shared is model.decoder and type(model.decoder) is sprnn.torch.LSTM
    assert all(parameters[name] is value for name, value in model.named_parameters())  # for an optimizer made before
    assert not model.rnn.training
    calls.clear()
    with torch.no_grad():
        assert_same(model(x), expected)
    assert calls == [1]
    text = str(report)
    assert "swapped encoder.0: GRU(5, 8)" in text and "left cell (LSTMCell)" in text
    pickle.dumps(model.decoder)


def test_convert_drops_what_calls_the_old_module():
    model = torch.nn.Sequential(torch.nn.LSTM(5, 8), torch.nn.GRU(5, 8)).train()
    model[0].compile(backend="eager")
    loads = []
    model[0].register_load_state_dict_pre_hook(lambda module, *rest: loads.append(module))
    old = model[1].forward
    model[1].forward = lambda *a: old(*a)  # as accelerate's hooks do
    report = sprnn.torch.convert(model, density=0.3)
    assert [s.name for s in report.swapped] == ["0"] and [left.name for left in report.left] == ["1"]
    assert "its forward was replaced" in report.left[0].reason and type(model[1]) is torch.nn.GRU
    x = torch.randn(4, 2, 5)
    model[0](x)[0].sum().backward()
    assert not model[0].weight_hh_l0.grad[~model[0].masks()["weight_hh_l0"]].any()
    model[0].load_state_dict(model[0].state_dict())
    assert loads == [model[0]]


def test_convert_prunes():
    model = Model()
    report = sprnn.torch.convert(model, density=0.25, input_density=0.5)
    for swap in report.swapped:
        assert {m.wanted for m in swap.matrices} == {0.25, 0.5}
    assert model.decoder.density()["weight_hh_l1"] == pytest.approx(0.25, abs=0.01)
    again = sprnn.torch.convert(model, density=0.1)
    assert not again.swapped and any("already" in left.reason for left in again.left)


def test_convert_with_a_density_for_each_layer():
    model = Model()
    report = sprnn.torch.convert(model, density={"encoder.0": 0.5, "decoder": 0.25})
    assert {s.name for s in report.swapped} == {"encoder.0", "decoder"}
    assert type(model.rnn) is torch.nn.RNN
    with pytest.raises(ValueError, match="'encoder'.*no layer"):
        sprnn.torch.convert(Model(), density={"encoder": 0.5})


def test_convert_does_all_or_nothing():
    model = Model()
    with torch.no_grad():
        model.rnn.weight_hh_l0[0, 0] = float("inf")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for options in ({"density": 0.5}, {"density": 1.5}, {"density": 0.5, "pattern": "spiral"}):
        with pytest.raises(ValueError):
            sprnn.torch.convert(model, **options)
        assert type(model.decoder) is torch.nn.LSTM
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_what_cannot_be_converted():
    with pytest.raises(TypeError, match="from_torch"):
        sprnn.torch.convert(torch.nn.LSTM(3, 4), density=0.5)
    with pytest.raises(TypeError, match="torch.nn.LSTM.*found a torch.nn.modules.rnn.LSTMCell"):
        sprnn.torch.from_torch(torch.nn.LSTMCell(3, 4))
    with pytest.raises(TypeError, match="Linear"):
        sprnn.torch.from_torch(torch.nn.Linear(3, 4))
    assert str(sprnn.torch.convert(torch.nn.Sequential(torch.nn.ReLU()))) == "no recurrent module"
    scripted = torch.nn.ModuleList([torch.jit.script(torch.nn.GRU(3, 4))])
    assert "TorchScript" in sprnn.torch.convert(scripted).left[0].reason
    parametrized = torch.nn.ModuleList([torch.nn.utils.parametrizations.weight_norm(torch.nn.GRU(3, 4), "weight_hh_l0")])
    assert "parametrized" in sprnn.torch.convert(parametrized).left[0].reason
