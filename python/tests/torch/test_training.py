"""Gradients, masks that hold while training, and the gradual schedule."""

import copy

import pytest
import torch
from oracle import PAIRS, assert_same, flat, make_pair, over_the_constructor_matrix, states
from torch.nn.utils.rnn import pack_sequence, pad_sequence

import sprnn.torch


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("training", (True, False))
def test_gradcheck(kind, training):
    _, layer = make_pair(kind, density=0.5, dtype=torch.float64, sizes=(3, 4), num_layers=2, bidirectional=True)
    layer.train(training)
    hx = states(layer, 2, torch.float64)
    hx = hx if isinstance(hx, tuple) else (hx,)
    parameters = dict(layer.named_parameters())

    def run(x, *rest):
        state, weights = rest[: len(hx)], dict(zip(parameters, rest[len(hx) :]))
        state = state if len(state) == 2 else state[0]
        y, h = torch.func.functional_call(layer, weights, (x, state))
        return (y, *h) if isinstance(h, tuple) else (y, h)

    x = torch.randn(3, 2, 3, dtype=torch.float64)
    inputs = [t.detach().requires_grad_() for t in (x, *hx, *parameters.values())]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("training", (True, False))
def test_gradients_of_gradients(kind, training):
    theirs, ours = make_pair(kind, density=0.5, dtype=torch.float64, sizes=(3, 4), num_layers=2, bidirectional=True)
    theirs.train(training), ours.train(training)
    x = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    state = torch.randn(4, 2, 4, dtype=torch.float64, requires_grad=True)
    hx = (state, state) if isinstance(states(ours, 2, torch.float64), tuple) else state  # one tensor in two places

    def second(layer):
        y, _ = layer(x, hx)
        first = torch.autograd.grad((y**3).sum(), (x, state), create_graph=True)
        penalty = sum((g**2).sum() for g in first)
        again = torch.autograd.grad(penalty, (x, state), create_graph=True)
        return again, torch.autograd.grad(sum((g**2).sum() for g in again), x)

    for expected, found in zip(second(theirs), second(ours)):
        for e, f in zip(expected, found):
            torch.testing.assert_close(f, e)


@over_the_constructor_matrix()
def test_gradients_are_those_of_torch_on_masked_weights(kind, options, one_thread):
    theirs, ours = make_pair(kind, density=0.3, **options)
    sequences = [torch.randn(n, 7, requires_grad=True) for n in (2, 5, 3)]
    padded = pad_sequence(sequences, batch_first=options["batch_first"]).detach().requires_grad_()
    hx = states(ours, 3)
    hx = hx if isinstance(hx, tuple) else (hx,)
    for state in hx:
        state.requires_grad_()
    one = [state.detach()[:, 0].requires_grad_() for state in hx]
    packed = pack_sequence(sequences, enforce_sorted=False)

    # What forward takes, and what it is differentiated by beside the parameters.
    calls = {
        "no state": ((padded, None), [padded]),
        "state": ((padded, hx if len(hx) > 1 else hx[0]), [padded, *hx]),
        "unbatched": ((sequences[1], one if len(one) > 1 else one[0]), [sequences[1], *one]),
        "packed": ((packed, hx if len(hx) > 1 else hx[0]), [*sequences, *hx]),
    }

    def gradients(layer, arguments, inputs):
        y, h = layer(*arguments)
        loss = (flat(y)[0] ** 2).sum() + sum((s**3).sum() for s in flat(h))
        return torch.autograd.grad(loss, [*inputs, *layer.parameters()], retain_graph=True)

    masks = [None if name not in ours.masks() else ours.masks()[name] for name, _ in ours.named_parameters()]
    for training in (True, False):
        theirs.train(training), ours.train(training)
        for arguments, inputs in calls.values():
            found, expected = (gradients(layer, arguments, inputs) for layer in (ours, theirs))
            kept = [*[None] * len(inputs), *masks]
            assert_same(found, [e if k is None else torch.where(k, e, 0.0) for e, k in zip(expected, kept)], 1e-4)


def train(layer, optimizer, steps, after=lambda: None):
    x = torch.randn(6, 3, 7, generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (layer(x)[0] - 0.3).square().mean()
        loss.backward()
        optimizer.step()
        after()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    "optimizer",
    (
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
        lambda p: torch.optim.Adam(p, 0.01),
        lambda p: torch.optim.AdamW(p, 0.01),
        lambda p: torch.optim.RMSprop(p, 0.01, centered=True),
    ),
)
def test_masks_are_kept_while_training(optimizer):
    _, layer = make_pair("LSTM", density=0.2)
    layer.train()
    before = {name: mask.clone() for name, mask in layer.masks().items()}
    start = layer.weight_hh_l0.detach().clone()
    losses = train(layer, optimizer(layer.parameters()), 20)
    assert losses[-1] < losses[0]
    assert not torch.equal(start, layer.weight_hh_l0)
    for name, mask in layer.masks().items():
        assert torch.equal(mask, before[name])
        assert not getattr(layer, name)[~mask].any()


def test_momentum_from_before_a_pruning():
    """It moves masked weights off zero: they count as zero all the same, and are zero wherever they are saved."""
    _, layer = make_pair("GRU")
    layer.train()
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    train(layer, optimizer, 3)
    layer.prune(0.2)
    train(layer, optimizer, 1)
    masked = ~layer.masks()["weight_hh_l0"]
    assert layer.weight_hh_l0[masked].any()
    drifted = copy.deepcopy(layer)
    x = torch.randn(4, 2, 7)
    for training in (True, False):
        layer.train(training), drifted.train(training)
        drifted.apply_masks()
        assert_same(layer(x), drifted(x), 0 if training else 1e-6)
    assert not layer.state_dict()["weight_hh_l0"][masked].any()
    layer.train()
    train(layer, optimizer, 1)
    assert not layer.to_torch().weight_hh_l0[masked].any()


def test_two_uses_in_one_graph():
    _, layer = make_pair("GRU", density=0.4)
    layer.train()
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    schedule = sprnn.torch.GradualPruning(layer, 0.1, end=3, frequency=1)
    x = torch.randn(4, 2, 7)
    for _ in range(5):
        optimizer.zero_grad()
        (layer(x)[0] + layer(x.flip(0))[0]).sum().backward()
        optimizer.step()
        schedule.step()


def test_masks_can_be_removed():
    _, layer = make_pair("LSTM", density=0.2)
    layer.train().remove_masks()
    assert layer.density()["weight_hh_l0"] == 1.0
    train(layer, torch.optim.Adam(layer.parameters()), 2)
    assert torch.count_nonzero(layer.weight_hh_l0) > 0.9 * layer.weight_hh_l0.numel()


# ---- The schedule


def test_the_cubic_schedule():
    model = torch.nn.Sequential(sprnn.torch.GRU(20, 40))
    schedule = sprnn.torch.GradualPruning(model, 0.1, start=5, end=25, frequency=4, input_density=0.4)
    seen = {}
    for call in range(40):
        reports = schedule.step()
        if reports is not None:
            seen[call] = {r.name: r.reached for r in reports["0"]}
    assert list(seen) == [5, 9, 13, 17, 21, 25]
    for call, reached in seen.items():
        left = (1 - (call - 5) / 20) ** 3
        assert reached["weight_hh_l0"] == pytest.approx(0.1 + 0.9 * left, abs=1e-3)
        assert reached["weight_ih_l0"] == pytest.approx(0.4 + 0.6 * left, abs=1e-3)
    assert schedule.density_at(0) == 1.0 and schedule.density_at(1000) == 0.1


def test_the_end_is_reached_off_the_frequency():
    layer = sprnn.torch.GRU(8, 16)
    schedule = sprnn.torch.GradualPruning(layer, 0.25, end=10, frequency=7)
    calls = [call for call in range(15) if schedule.step() is not None]
    assert calls == [0, 7, 10]
    assert layer.density()["weight_hh_l0"] == 0.25


def tiles(mask, pattern):
    """[tiles, entries of one]: what a pattern keeps or prunes as a whole; for "row" the rows, of one count."""
    gates = mask.reshape(4, -1, mask.size(1))
    if pattern == "block:4x1":
        return gates.unflatten(1, (-1, 4)).transpose(2, 3).reshape(-1, 4)
    if pattern == "unit:2x1":
        return gates.unflatten(1, (-1, 2)).permute(1, 3, 0, 2).reshape(-1, 8)
    return mask if pattern == "row" else mask.reshape(-1, 1)


@pytest.mark.parametrize("pattern", ("unstructured", "row", "global", "block:4x1", "unit:2x1"))
def test_masks_only_shrink_and_hold(pattern):
    _, layer = make_pair("LSTM", num_layers=2)
    layer.train()
    schedule = sprnn.torch.GradualPruning(layer, 0.1, end=20, frequency=5, input_density=0.3, pattern=pattern)
    kept = []

    def after():
        schedule.step()
        masks = {name: mask.clone() for name, mask in layer.masks().items()}
        for name, mask in masks.items():
            assert not getattr(layer, name)[~mask].any()
            assert not kept or not (mask & ~kept[-1][name]).any()
            counts = tiles(mask, pattern).sum(1)
            whole = (counts == counts[0]) if pattern == "row" else (counts == 0) | (counts == tiles(mask, pattern).size(1))
            assert whole.all()
        kept.append(masks)

    train(layer, torch.optim.Adam(layer.parameters(), 0.05), 25, after)
    for name in kept[-1]:  # pruned five times; the last two densities may round to the same
        assert len({int(masks[name].sum()) for masks in kept}) >= 4
    for kind, density in (("weight_hh", 0.1), ("weight_ih", 0.3)):
        groups = [[mask] for name, mask in kept[-1].items() if name.startswith(kind)]
        groups = [sum(groups, [])] if pattern == "global" else groups  # one density for all
        for group in groups:
            wanted, found = density * sum(m.numel() for m in group), sum(int(m.sum()) for m in group)
            rounded = group[0].size(0) if pattern == "row" else tiles(group[0], pattern).size(1)
            assert abs(found - wanted) <= rounded / 2


def test_a_schedule_at_density_1_masks_nothing():
    layer = sprnn.torch.RNN(4, 8, nonlinearity="relu").train()
    torch.nn.init.eye_(layer.weight_hh_l0), torch.nn.init.zeros_(layer.weight_ih_l0)
    schedule = sprnn.torch.GradualPruning(layer, 0.2, end=10, frequency=5, input_density=0.5)
    for mean in (1.0, 1.0):
        assert all(mask.all() for mask in layer.masks().values()) and set(layer.density().values()) == {mean}
        schedule.step()
    layer.weight_hh_l0.data.normal_()  # trained since
    for _ in range(10):
        schedule.step()
    assert layer.density() == {"weight_ih_l0": 1.0, "weight_hh_l0": pytest.approx(0.2, abs=0.01)}  # zeros are left alone


@pytest.mark.parametrize("load", (False, True))
def test_an_average_of_the_model_gets_its_masks(load):
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    model = torch.nn.Sequential(sprnn.torch.LSTM(7, 12), torch.nn.BatchNorm1d(12)).train()
    layer, dense = model[0], copy.deepcopy(model.state_dict())
    schedule = sprnn.torch.GradualPruning(model, 0.2, end=6, frequency=2)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    if load:  # a checkpoint without zeros
        average.module.load_state_dict(dense), model.load_state_dict(dense)
    optimizer = torch.optim.Adam(layer.parameters(), 0.02)
    train(layer, optimizer, 8, lambda: (schedule.step(), average.update_parameters(model)))
    mask = layer.masks()["weight_hh_l0"]
    assert torch.equal(average.module[0].masks()["weight_hh_l0"], mask) and mask.float().mean() < 0.25
    state = average.module.state_dict()
    assert list(state) == list(dense) and not state["0.weight_hh_l0"][~mask].any()


def test_a_resumed_run_is_the_same_run():
    def make():
        torch.manual_seed(3)
        layer = sprnn.torch.LSTM(7, 12).train()
        optimizer = torch.optim.Adam(layer.parameters(), 0.02)
        return layer, optimizer, sprnn.torch.GradualPruning(layer, 0.2, end=16, frequency=3)

    layer, optimizer, schedule = make()
    whole = train(layer, optimizer, 20, schedule.step)

    layer, optimizer, schedule = make()
    first = train(layer, optimizer, 9, schedule.step)
    saved = copy.deepcopy([part.state_dict() for part in (layer, optimizer, schedule)])
    layer, optimizer, schedule = make()
    for part, state in zip((layer, optimizer, schedule), saved):
        part.load_state_dict(state)
    assert first + train(layer, optimizer, 11, schedule.step) == whole


def test_what_the_schedule_refuses():
    layer = sprnn.torch.GRU(3, 4)
    for options, message in (
        ({"density": 1.5, "end": 3}, "density is 1.5"),
        ({"density": 0.5, "end": 3, "start": 4}, "start is 4"),
        ({"density": 0.5, "end": 3, "frequency": 0}, "frequency is 0"),
        ({"density": 0.5, "end": 3, "initial_density": 0.2}, "initial_density is 0.2"),
        ({"density": 0.5, "end": 3, "pattern": "2:4"}, "2:4"),
    ):
        with pytest.raises(ValueError, match=message):
            sprnn.torch.GradualPruning(layer, **options)
    with pytest.raises(ValueError, match="no sprnn.torch layer"):
        sprnn.torch.GradualPruning(torch.nn.GRU(3, 4), 0.5, end=3)
    with pytest.raises(ValueError, match="spiral"):
        sprnn.torch.GradualPruning(layer, 0.5, end=3, pattern="spiral").step()
