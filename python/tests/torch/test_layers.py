"""sprnn.torch's layers compute what torch.nn's do on the masked weights."""

import copy
import inspect
import pickle
import re

import pytest
import torch
from oracle import PAIRS, TOLERANCE, assert_same, flat, make_pair, over_the_constructor_matrix, states
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

import sprnn.torch
from sprnn.torch import sessions


@pytest.fixture
def dense_runs(monkeypatch):
    """How often PyTorch's own operation ran in sprnn's layers."""
    from sprnn.torch import dense

    calls = []
    run = dense.run
    monkeypatch.setattr(dense, "run", lambda *a, **k: (calls.append(1), run(*a, **k))[1])
    return calls


@over_the_constructor_matrix()
def test_the_constructor_matrix(kind, options, dense_runs):
    theirs, ours = make_pair(kind, density=0.4, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    x = torch.randn(3, 4, 7)
    batch = 3 if options["batch_first"] else 4
    with torch.no_grad():
        for hx in (None, states(theirs, batch)):
            assert_same(ours(x, hx), theirs(x, hx))
        alone = torch.randn(5, 7)
        assert_same(ours(alone), theirs(alone))
        one = states(theirs, 1)
        one = tuple(s.squeeze(1) for s in one) if isinstance(one, tuple) else one.squeeze(1)
        assert_same(ours(alone, one), theirs(alone, one))
    assert not dense_runs  # it was sprnn's engine


@over_the_constructor_matrix()
def test_packed_sequences(kind, options, dense_runs, one_thread):
    theirs, ours = make_pair(kind, density=0.4, **options)
    unsorted = [torch.randn(n, 7) for n in (3, 6, 1, 6)]
    in_order = sorted(unsorted, key=len, reverse=True)
    with torch.no_grad():
        for packed in (pack_sequence(unsorted, enforce_sorted=False), pack_sequence(in_order)):
            for hx in (None, states(theirs, 4)):
                found, expected = ours(packed, hx), theirs(packed, hx)
                assert isinstance(found[0], PackedSequence)
                assert_same(found, expected)
    assert not dense_runs


def test_padded_input_packed_with_batch_first():
    theirs, ours = make_pair("LSTM", batch_first=True)
    packed = pack_padded_sequence(torch.randn(3, 5, 7), torch.tensor([2, 5, 4]), batch_first=True, enforce_sorted=False)
    with torch.no_grad():
        assert_same(ours(packed), theirs(packed))


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_dtypes(kind, dtype):
    theirs, ours = make_pair(kind, density=0.5, dtype=dtype, bidirectional=True)
    x = torch.randn(6, 2, 7, dtype=dtype)
    with torch.no_grad():
        assert_same(ours(x), theirs(x))


def test_signatures_are_those_of_torch():
    for theirs, ours in PAIRS.values():
        assert list(inspect.signature(ours.forward).parameters) == ["self", "input", "hx"]
        made = ours(3, 4, 2, bias=False, batch_first=True, bidirectional=True, device="cpu", dtype=torch.float64)
        assert str(made) == str(theirs(3, 4, 2, bias=False, batch_first=True, bidirectional=True))
    assert sprnn.torch.RNN(3, 4, 1, "relu").mode == "RNN_RELU"
    assert sprnn.torch.RNN(3, 4, 1, "tanh", False).bias is False  # torch's positions
    assert sprnn.torch.LSTM(3, 4, 2, False, True, 0.5, True, 2).proj_size == 2


def test_the_same_random_weights():
    for theirs, ours in PAIRS.values():
        torch.manual_seed(5)
        expected = theirs(3, 4).state_dict()
        torch.manual_seed(5)
        found = ours(3, 4).state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("bidirectional", (False, True))
def test_dropout_is_that_of_torch(kind, bidirectional, one_thread):
    theirs, ours = make_pair(kind, density=0.5, num_layers=3, dropout=0.5, bidirectional=bidirectional)
    padded = torch.randn(5, 2, 7)
    for x in (padded, pack_padded_sequence(padded, torch.tensor([3, 5]), enforce_sorted=False)):
        theirs.train(), ours.train()
        for enabled in (True, False):
            with torch.set_grad_enabled(enabled):
                torch.manual_seed(1)
                expected = theirs(x)
                torch.manual_seed(1)
                assert_same(ours(x), expected)
                assert not torch.equal(flat(ours(x))[0], flat(expected)[0])  # it drops
        theirs.eval(), ours.eval()
        with torch.no_grad():
            assert_same(ours(x), theirs(x))


def test_input_of_any_layout():
    theirs, ours = make_pair("LSTM")
    wide = torch.randn(4, 6, 14)
    with torch.no_grad():
        for x in (wide[..., ::2], wide.transpose(0, 1)[..., :7], wide[:1, :, :7].expand(5, 6, 7)):
            assert not x.is_contiguous()
            assert_same(ours(x), theirs(x))
        h, c = (torch.randn(6, 1, 12).transpose(0, 1) for _ in "hc")
        assert_same(ours(wide[..., :7], (h, c)), theirs(wide[..., :7], (h, c)))


def test_input_that_is_a_view_of_negated_values():
    theirs, ours = make_pair("GRU")
    x = torch.randn(4, 2, 7, dtype=torch.complex64).conj().imag
    h = torch._neg_view(torch.randn(1, 2, 12))
    assert x.is_neg() and h.is_neg()
    session = ours.model().session(batch=2)
    with torch.no_grad():
        expected = theirs(x.resolve_neg(), h.resolve_neg())
        assert_same(ours(x, h), expected)
    for y in (torch._neg_view(torch.randn(4, 2, 7)), x):
        session.state = h
        found = torch.from_numpy(session(y))
        assert_same(found, theirs(y.resolve_neg(), h.resolve_neg())[0].detach())
    arrays = {name: torch._neg_view(-value) for name, value in ours.state_dict().items()}
    assert all((sprnn.Model(arrays).arrays()[n] == v.numpy()).all() for n, v in ours.state_dict().items())
    with pytest.raises(TypeError, match="out is a view of negated values"):
        session(y, out=torch._neg_view(torch.zeros(4, 2, 12)))


def test_the_input_stays_as_it_was():
    _, ours = make_pair("LSTM")
    x, (h, c) = torch.randn(4, 2, 7), states(ours, 2)
    copies = [t.clone() for t in (x, h, c)]
    with torch.no_grad():
        ours(x, (h, c))
    assert all(torch.equal(a, b) for a, b in zip((x, h, c), copies))


def test_a_large_batch_and_an_empty_one():
    theirs, ours = make_pair("GRU")
    with torch.no_grad():
        for batch in (sessions.MOST_SEQUENCES + 1, 0):
            x = torch.randn(2, batch, 7)
            assert_same(ours(x), theirs(x))


# ---- Weights that change, move and are copied


def changes():
    def optimizer(layer):
        sgd = torch.optim.SGD(layer.parameters(), lr=0.5)
        layer(torch.randn(3, 2, 7))[0].sum().backward()
        sgd.step()

    @torch.no_grad()
    def in_place(layer):
        layer.bias_hh_l0.add_(0.3)

    def data(layer):
        layer.weight_hh_l0.data.mul_(0.5)

    def data_replaced(layer):
        layer.weight_ih_l0.data = torch.randn_like(layer.weight_ih_l0)

    def parameter_replaced(layer):
        layer.weight_hh_l0 = torch.nn.Parameter(torch.randn_like(layer.weight_hh_l0))

    def loaded(layer):
        layer.load_state_dict({k: torch.randn_like(v) for k, v in layer.state_dict().items()})

    def assigned(layer):
        layer.load_state_dict({k: torch.randn_like(v) for k, v in layer.state_dict().items()}, assign=True)

    def pruned(layer):
        layer.prune(0.2, 0.2)

    def initialised(layer):
        layer.reset_parameters()

    def vector(layer):
        values = torch.nn.utils.parameters_to_vector(layer.parameters())
        torch.nn.utils.vector_to_parameters(values * 2, layer.parameters())

    return [optimizer, in_place, data, data_replaced, parameter_replaced, loaded, assigned, pruned, initialised, vector]


@pytest.mark.parametrize("change", changes(), ids=lambda f: f.__name__)
def test_changed_weights_are_seen(change, dense_runs):
    _, ours = make_pair("LSTM", density=0.5)
    x = torch.randn(5, 2, 7)
    with torch.no_grad():
        before = ours(x)[0]
    ours.train()
    change(ours)
    ours.eval()
    dense_runs.clear()
    with torch.no_grad():
        found = ours(x)
        assert not torch.equal(found[0], before)
        assert not dense_runs
        assert_same(found, ours.to_torch()(x))


@pytest.mark.parametrize("dtype", (torch.float32, torch.float16, torch.bfloat16))
def test_data_written_to_weights_of_any_layout_is_seen(dtype):
    """A transposed matrix, one with gaps, and one with a single element."""
    ours = sprnn.torch.GRU(1, 12, dtype=dtype).eval()
    ours.weight_hh_l0 = torch.nn.Parameter(torch.randn(12, 36, dtype=dtype).t())
    ours.bias_hh_l0 = torch.nn.Parameter(torch.randn(73, dtype=dtype)[1::2])
    one = sprnn.torch.RNN(1, 1).eval()
    with torch.no_grad():
        for layer, name in ((ours, "weight_hh_l0"), (ours, "bias_hh_l0"), (one, "weight_hh_l0"), (one, "weight_ih_l0")):
            x = torch.randn(4, 2, 1, dtype=layer.bias_ih_l0.dtype)
            layer(x)
            getattr(layer, name).data.mul_(-0.5)
            assert_same(layer(x), layer.to_torch()(x))


def test_new_tensors_at_an_old_address():
    """functional_call makes weights of a moment, whose memory the next ones get."""
    theirs, ours = make_pair("LSTM")
    x = torch.randn(4, 1, 7)
    with torch.no_grad():
        for scale in (0.5, 2.0, 3.0):
            weights = {name: value * scale for name, value in ours.named_parameters()}
            found = torch.func.functional_call(ours, weights, (x,))
            assert_same(found, torch.func.functional_call(theirs, weights, (x,)))
            del weights


def test_a_session_is_packed_once(monkeypatch):
    _, ours = make_pair("LSTM", density=0.3)
    x = torch.randn(5, 2, 7)
    packed = []
    to_model = sessions.to_model
    monkeypatch.setattr(sessions, "to_model", lambda *a: (packed.append(1), to_model(*a))[1])
    with torch.no_grad():
        for _ in range(3):
            ours(x)
        assert len(packed) == 1
        ours.weight_hh_l0.mul_(0.5)
        for _ in range(3):
            ours(x)
        assert len(packed) == 2


def test_packed_weights_end_with_the_layer():
    sessions.clear()
    _, ours = make_pair("LSTM")
    with torch.no_grad():
        ours(torch.randn(2, 1, 7))
        assert len(sessions._known) == 1
        del ours
        make_pair("LSTM")[1](torch.randn(2, 1, 7))
    assert len(sessions._known) == 1


def test_threads_share_a_layer():
    import concurrent.futures

    theirs, ours = make_pair("GRU", density=0.4, num_layers=2)
    inputs = [torch.randn(20, 1 + i % 3, 7) for i in range(24)]

    def run(x):
        with torch.no_grad():
            return ours(x)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for x, found in zip(inputs, pool.map(run, inputs)):
            with torch.no_grad():
                assert_same(found, theirs(x))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_are_pruned_and_apart(again):
    _, ours = make_pair("LSTM", density=0.2, num_layers=2)
    x = torch.randn(4, 2, 7)
    with torch.no_grad():
        expected = ours(x)
        twin = again(ours)
        assert_same(twin(x), expected, 0)
        assert twin.density() == ours.density()
        ours.weight_hh_l0.mul_(2.0)
        assert_same(twin(x), expected, 0)


def test_moves_keep_the_masks():
    _, ours = make_pair("GRU", density=0.3)
    for dtype in (torch.float64, torch.bfloat16, torch.float16, torch.float32):
        ours.to(dtype)
        assert ours.weight_hh_l0.dtype == dtype
        assert all(mask.dtype == torch.bool for mask in ours.masks().values())
        theirs, x = ours.to_torch(), torch.randn(4, 2, 7, dtype=dtype)
        with torch.no_grad():
            assert_same(ours(x), theirs(x))
    ours.type(torch.float64)  # which converts buffers of any type
    assert all(mask.dtype == torch.bool for mask in ours.masks().values())
    with torch.no_grad():
        assert_same(ours(x.double()), ours.to_torch()(x.double()))
    ours.float()
    on_meta = copy.deepcopy(ours).to("meta")
    y, h = on_meta(torch.randn(4, 2, 7, device="meta"))
    assert y.shape == (4, 2, 12) and h.is_meta


def test_weights_that_are_assigned_bring_the_masks_to_their_device():
    theirs, ours = make_pair("LSTM", density=0.3)
    twin = copy.deepcopy(ours).to("meta")
    twin.load_state_dict(ours.state_dict(), assign=True)
    x = torch.randn(4, 2, 7)
    with torch.no_grad():
        assert_same(twin(x), theirs(x))
    assert twin.density() == ours.density()


def test_weights_left_on_meta_are_refused_as_torch_does():
    for theirs, ours in PAIRS.values():
        state = theirs(7, 12, 2).state_dict()
        del state["weight_hh_l1"]
        for cls in (theirs, ours):
            layer = cls(7, 12, 2, device="meta").eval()
            layer.load_state_dict(state, strict=False, assign=True)
            with torch.no_grad(), pytest.raises(RuntimeError, match="meta"):
                layer(torch.randn(4, 2, 7))


def test_inference_mode():
    theirs, ours = make_pair("LSTM")
    with torch.inference_mode():
        x = torch.randn(4, 2, 7)
        assert_same(ours(x), theirs(x))
        made_inside = sprnn.torch.LSTM(7, 12).eval()
        assert_same(made_inside(x), made_inside.to_torch()(x))
        for parameter in made_inside.parameters():
            parameter.mul_(2)
        assert_same(made_inside(x), made_inside.to_torch()(x))


@pytest.mark.parametrize("kind", PAIRS)
def test_autocast_is_that_of_torch(kind):
    theirs, ours = make_pair(kind, density=0.5)
    x = torch.randn(4, 2, 7)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        try:
            expected = theirs(x)
        except RuntimeError as error:  # oneDNN has no bfloat16 LSTM for processors without AVX-512
            with pytest.raises(RuntimeError, match=re.escape(str(error))):
                ours(x)
        else:
            assert_same(ours(x), expected)


def test_diverged_weights_give_what_torch_gives():
    theirs, ours = make_pair("GRU")
    for layer in (theirs, ours):
        with torch.no_grad():
            layer.weight_hh_l0[3, 4] = float("nan")
    x = torch.randn(4, 2, 7)
    with torch.no_grad():
        found, expected = flat(ours(x)), flat(theirs(x))
    assert all(torch.equal(a.isnan(), b.isnan()) for a, b in zip(found, expected))
    with torch.no_grad():
        ours.weight_hh_l0[3, 4] = 0.5
        assert not ours(x)[0].isnan().any()


# ---- Bad input: the exceptions of torch.nn


@pytest.mark.parametrize("kind", PAIRS)
def test_bad_input_is_refused_as_torch_does(kind):
    theirs, ours = make_pair(kind, num_layers=2)
    x, good = torch.randn(4, 3, 7), states(theirs, 3)
    lstm = kind == "LSTM"

    def hx(h, c=None):
        return (h, good[1] if c is None else c) if lstm else h

    h = good[0] if lstm else good
    cases = [
        (x[..., :6], None),
        (x.double(), None),
        (x.long(), None),
        (x[None], None),
        (x[0, 0], None),
        (x, hx(h[:1])),
        (x, hx(h[:, :2])),
        (x, hx(h[..., :5])),
        (x, hx(h[0])),
        (x[:, 0], hx(h)),
        (x, hx(h.double())),
        (pack_sequence([x[:, 0], x[:2, 1]]), hx(h)),
        (x[:0], None),
    ]
    if lstm:
        cases += [(x, (h, h[..., :5])), (x, (h, h[:1]))]
    for value, state in cases:
        with pytest.raises(Exception) as expected:
            theirs(value, state)
        with pytest.raises(type(expected.value)) as found:
            ours(value, state)
        assert len(str(found.value)) > 20


@pytest.mark.parametrize("training", (False, True))
@pytest.mark.parametrize("kind", PAIRS)
def test_packed_sequences_that_no_packing_makes(kind, training):
    """Lengths out of order, sizes that do not add up: PyTorch's padding would write past its end for some of them."""
    _, layer = make_pair(kind, density=0.5)
    layer.train(training)
    forged = [[1, 2], [2, 2], [2, -1, 1], [2, -1, 2], [2, 0, 1], [2], [1, 1, 1, 1], [2, 1, 1, -1]]
    for sizes in forged:
        packed = PackedSequence(torch.randn(3, 7), torch.tensor(sizes))
        text = re.escape(", ".join(map(str, sizes)))
        with pytest.raises(RuntimeError, match=rf"batch_sizes are \[{text}\] .*expected .* the 3 rows of data"):
            layer(packed)
    for sizes, found in ((torch.tensor([2, 1], dtype=torch.int32), "int32"), (torch.tensor([2.0, 1.0]), "float32")):
        with pytest.raises(RuntimeError, match=f"batch_sizes are .*{found}.*expected .*int64"):
            layer(PackedSequence(torch.randn(3, 7), sizes))
    assert layer(PackedSequence(torch.randn(3, 7), torch.tensor([2, 1])))[0].data.shape[0] == 3


def test_messages_name_what_was_found():
    _, ours = make_pair("LSTM", num_layers=2)
    x = torch.randn(4, 3, 7)
    h = torch.randn(2, 3, 12)
    with pytest.raises(RuntimeError, match=r"Expected 7, got 6"):
        ours(x[..., :6])
    with pytest.raises(RuntimeError, match=r"c_0 has shape \[1, 3, 12\], expected \[2, 3, 12\]"):
        ours(x, (h, h[:1]))
    with pytest.raises(TypeError, match="pair"):
        ours(x, h)
    with pytest.raises(ValueError, match="float64"):
        ours(x.double())
    with pytest.raises(RuntimeError, match="meta"):
        ours(x.to("meta"))
    with pytest.raises(RuntimeError, match="h_0 is on meta"):
        ours(x, (h.to("meta"), h))
    with pytest.raises(TypeError, match="h_0 is a ndarray: expected a tensor"):
        ours(x, (h.numpy(), h))
    with pytest.raises(TypeError, match="hx is a tuple: expected a tensor"):
        sprnn.torch.GRU(7, 12)(x, (h, h))


def test_constructors_refuse_what_torch_refuses():
    for kind, (theirs, ours) in PAIRS.items():
        for options in (
            {"input_size": 0, "hidden_size": 4},
            {"input_size": 4, "hidden_size": -1},
            {"input_size": 4, "hidden_size": 4, "num_layers": 0},
            {"input_size": 4, "hidden_size": 4, "dropout": 1.5},
            {"input_size": 4, "hidden_size": 4.0},
            {"input_size": 4, "hidden_size": 4, "proj_size": 4},
            {"input_size": 4, "hidden_size": 4, "nonlinearity": "gelu"},
            {"input_size": 4, "hidden_size": 4, "no_such": 1},
        ):
            with pytest.raises(Exception) as expected:
                theirs(**options)
            with pytest.raises(type(expected.value)):
                ours(**options)


def test_a_checkpoint_with_missing_names():
    _, ours = make_pair("GRU")
    state = ours.state_dict()
    del state["weight_hh_l0"]
    with pytest.raises(RuntimeError, match="weight_hh_l0"):
        ours.load_state_dict(state)
    state["weight_hh_l0"] = torch.zeros(3, 3)
    with pytest.raises(RuntimeError, match="size mismatch for weight_hh_l0"):
        ours.load_state_dict(state)
