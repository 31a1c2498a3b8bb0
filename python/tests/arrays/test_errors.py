"""Bad input: Python's usual exceptions, which name what was found and what was expected."""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from support import random_arrays

import sprnn
import sprnn.errors

X = np.zeros((3, 2, 4), np.float32)


@pytest.fixture(scope="module")
def model():
    return sprnn.Model(random_arrays("lstm", 4, 6, layers=2))


@pytest.fixture
def session(model):
    return model.session(batch=2)


def refuses(kind, match, call):
    with pytest.raises(kind, match=match) as info:
        call()
    assert isinstance(info.value, sprnn.Error)
    return info.value


@pytest.mark.parametrize(
    "x, kind, match",
    [
        ([[1.0]], TypeError, r"x is a list: expected an array"),
        (None, TypeError, r"x is a NoneType"),
        ("x", TypeError, r"x is a str"),
        (b"1234", TypeError, r"uint8"),
        (X.astype(np.int64), TypeError, r"x has dtype int64: expected float32"),
        (X.astype(bool), TypeError, r"x has dtype bool"),
        (X.astype(np.complex64), TypeError, r"x has dtype complex64"),
        (X.astype(">f4"), TypeError, r"dtype >f4"),
        (X.astype(object), TypeError, r"dtype object"),
        (X[0], ValueError, r"x has shape \[2, 4\]: expected \[T, 2, 4\] \(timesteps, batch, input size\)"),
        (X[..., None], ValueError, r"x has shape \[3, 2, 4, 1\]"),
        (X[:, :1], ValueError, r"x has shape \[3, 1, 4\]: expected \[T, 2, 4\]"),
        (X[..., :3], ValueError, r"x has shape \[3, 2, 3\]: expected \[T, 2, 4\]"),
        (X[:0], ValueError, r"0 timesteps"),
        (np.float32(1), ValueError, r"x has shape \[\]"),
        (np.full((3, 2, 4), 1e300), ValueError, r"x: element 0 is 1e\+300, which float32 cannot hold"),
    ],
)
def test_x(session, x, kind, match):
    refuses(kind, match, lambda: session(x))
    assert not session.state[0].any()


def test_x_batch_first(session):
    refuses(ValueError, r"expected \[2, T, 4\] \(batch, timesteps, input size\)", lambda: session(X, batch_first=True))


@pytest.mark.parametrize(
    "lengths, kind, match",
    [
        ([1], ValueError, r"lengths has 1 values: expected 2"),
        ([1, 4], ValueError, r"lengths\[1\] is 4, expected 1 to 3"),
        ([0, 1], ValueError, r"lengths\[0\] is 0"),
        ([1, 1.5], TypeError, r"lengths\[1\] is a float: expected an integer"),
        (np.array([1.0, 2.0]), TypeError, r"lengths has dtype float64: expected int64"),
        (np.array([[1, 2]]), ValueError, r"lengths has shape \[1, 2\]"),
        (3, TypeError, r"lengths is a int"),
    ],
)
def test_lengths(session, lengths, kind, match):
    refuses(kind, match, lambda: session(X, lengths=lengths))


def frozen():
    out = np.empty((3, 2, 6), np.float32)
    out.flags.writeable = False
    return out


@pytest.mark.parametrize(
    "out, kind, match",
    [
        (np.empty((3, 2, 6)), TypeError, r"out has dtype float64: expected float32"),
        (np.empty((3, 2, 5), np.float32), ValueError, r"out has shape \[3, 2, 5\]: expected \[3, 2, 6\]"),
        (np.empty((3, 2, 12), np.float32)[..., ::2], ValueError, r"out is not contiguous"),
        (frozen(), ValueError, r"out is read-only"),
        ([1], TypeError, r"out is a list"),
    ],
)
def test_out(session, out, kind, match):
    refuses(kind, match, lambda: session(X, out=out))


def test_out_over_x():
    square = sprnn.Model(random_arrays("tanh", 6, 6)).session(batch=2)
    memory = np.zeros((4, 2, 6), np.float32)
    refuses(ValueError, "out overlaps x", lambda: square(memory[:3], out=memory[1:]))
    square(memory[:2], out=memory[2:])


@pytest.mark.parametrize(
    "state, kind, match",
    [
        (np.zeros((2, 2, 6)), TypeError, r"pair \(h, c\)"),
        ((np.zeros((2, 2, 6)),), TypeError, r"pair \(h, c\)"),
        ((np.zeros((1, 2, 6)), np.zeros((2, 2, 6))), ValueError, r"h has shape \[1, 2, 6\]: expected \[2, 2, 6\]"),
        ((np.zeros((2, 2, 6)), np.zeros((2, 2, 7))), ValueError, r"c has shape \[2, 2, 7\]: expected \[2, 2, 6\]"),
        ((np.zeros((2, 2, 6), int), np.zeros((2, 2, 6))), TypeError, r"h has dtype int64"),
    ],
)
def test_state(session, state, kind, match):
    def assign():
        session.state = state

    refuses(kind, match, assign)


def test_state_of_one(session):
    refuses(ValueError, "batch entry 2, expected 0 to 1", lambda: session.get_state(2))
    refuses(ValueError, "batch entry -1", lambda: session.reset(-1))
    zeros = np.zeros((2, 6))
    refuses(ValueError, "batch entry 7", lambda: session.set_state((zeros, zeros), 7))
    gru = sprnn.Model(random_arrays("gru", 4, 6)).session()
    refuses(TypeError, "only an lstm has a c", lambda: gru.set_state((zeros, zeros)))


def test_chunks_of_a_bidirectional_model():
    session = sprnn.Model(random_arrays("gru", 4, 6, directions=(False, True))).session(batch=2)
    session(X)
    refuses(NotImplementedError, "reverse direction", lambda: session(X))
    session.reset()
    session(X)


def test_session_options(model):
    refuses(ValueError, "engine 'gpu': expected one of", lambda: model.session(engine="gpu"))
    refuses(ValueError, "batch is 0", lambda: model.session(batch=0))
    refuses(ValueError, "batch is 5000, expected 1 to 4096", lambda: model.session(batch=5000))
    refuses(ValueError, "threads -1", lambda: model.session(threads=-1))
    refuses(sprnn.Error, "neon", lambda: model.session(isa="neon"))
    refuses(NotImplementedError, "the plan is for h100", lambda: model.session(engine="cpu", target="h100"))
    refuses(sprnn.Error, "target 'tpu'", lambda: model.session(target="tpu"))
    refuses(TypeError, "batch is '2': expected an integer", lambda: model.session(batch="2"))
    refuses(TypeError, "threads is 1.5: expected an integer", lambda: model.session(threads=1.5))
    with pytest.raises(TypeError):
        model.session(batch=2**40)


def test_prune_options(model):
    refuses(ValueError, "density is 1.5", lambda: model.prune(1.5))
    refuses(ValueError, "density is nan", lambda: model.prune(float("nan")))
    refuses(ValueError, "3 values", lambda: model.prune([0.1, 0.2, 0.3]))
    refuses(ValueError, "empty sequence", lambda: model.prune([]))
    refuses(ValueError, "pattern", lambda: model.prune(0.1, pattern="stripes"))
    refuses(ValueError, "two axes", lambda: sprnn.prune_mask(np.zeros(3), 0.5))
    refuses(ValueError, "3 gates", lambda: sprnn.prune_mask(np.zeros((4, 4)), 0.5, gates=3))
    for density in ("a lot", ["a"], [None], object()):
        refuses(TypeError, "density is .*: expected a number, or one for each layer", lambda: model.prune(density))


def test_what_is_of_the_wrong_kind_altogether(model, session):
    refuses(TypeError, "activation 1: expected a name", lambda: sprnn.Cell("lstm", [1, 2, 3]))
    refuses(TypeError, "alpha of activation Elu is 'a': expected a number", lambda: sprnn.Activation("Elu", "a"))
    refuses(TypeError, "clip is 'x': expected a number", lambda: sprnn.Cell("lstm", clip="x"))
    refuses(TypeError, r"cell \[\]: expected tanh", lambda: sprnn.Cell([]))
    refuses(TypeError, "the weights are a NoneType: expected an sprnn.Model", lambda: session.set_weights(None))
    refuses(TypeError, "the path is a int: expected a str", lambda: sprnn.load(3))
    refuses(TypeError, "the path is a int: expected a str", lambda: model.save(3))


def without(name):
    return {key: value for key, value in random_arrays("lstm", 4, 6, layers=2).items() if key != name}


def changed(name, value):
    return {**random_arrays("lstm", 4, 6, layers=2), name: value}


@pytest.mark.parametrize(
    "arrays, kind, match",
    [
        (None, TypeError, r"arrays is a NoneType: expected a dict of arrays by PyTorch's names"),
        ({0: X}, TypeError, r"arrays is a dict: expected a dict of arrays by PyTorch's names"),
        ({}, ValueError, r"no recurrent module among the arrays none"),
        ({"fc.weight": X}, ValueError, r"no recurrent module among the arrays 'fc.weight'"),
        (without("weight_hh_l1"), ValueError, r"weight_hh_l1 is missing"),
        (without("weight_ih_l0"), ValueError, r"weight_ih_l0 is missing"),
        (without("bias_hh_l0"), ValueError, r"bias_ih_l0 and bias_hh_l0: only one of them"),
        (changed("weight_ih_l1_reverse", np.zeros((24, 6))), ValueError, r"weight_ih_l0_reverse is missing"),
        (changed("weight_hh_l0", np.zeros(3)), ValueError, r"weight_hh_l0 has shape \[3\]: expected two axes"),
        (changed("weight_hh_l0", np.zeros((24, 5))), ValueError, r"24, 5"),
        (changed("weight_ih_l1", np.zeros((24, 5))), ValueError, r"weight_ih_l1: shape \[24, 5\], expected \[24, 6\]"),
        (changed("bias_ih_l0", np.zeros((24, 1))), ValueError, r"bias_ih_l0 has shape \[24, 1\]: expected one axis"),
        (changed("weight_ih_l0", np.zeros((24, 4), int)), TypeError, r"weight_ih_l0 has dtype int64"),
        (changed("weight_ih_l0", [[1.0]]), TypeError, r"weight_ih_l0 is a list"),
        (changed("weight_ih_l0", np.full((24, 4), np.nan)), ValueError, r"weight_ih_l0\[0\] is nan"),
        (changed("peephole_l0", np.zeros(7)), ValueError, r"peephole_l0: 7 values, expected 18"),
    ],
    ids=lambda value: "arrays" if isinstance(value, dict) else None,
)
def test_arrays(arrays, kind, match):
    refuses(kind, match, lambda: sprnn.Model(arrays))


def test_model_options():
    arrays = random_arrays("lstm", 4, 6)
    both = {"a." + k: v for k, v in arrays.items()} | {"b." + k: v for k, v in arrays.items()}
    refuses(ValueError, r"2 recurrent modules; choose one by its prefix: 'a.', 'b.'", lambda: sprnn.Model(both))
    refuses(ValueError, r"no recurrent module with the prefix 'c'", lambda: sprnn.Model(both, prefix="c"))
    assert sprnn.Model(both, prefix="b").hidden_size == 6
    refuses(ValueError, "fp8", lambda: sprnn.Model(arrays, dtype="fp8"))
    refuses(ValueError, r"weight_ih_l0: shape \[24, 4\], expected \[18, 4\]", lambda: sprnn.Model(arrays, "gru"))
    refuses(ValueError, "cell 'elman'", lambda: sprnn.Model(arrays, "elman"))
    refuses(ValueError, "3 cells: expected one", lambda: sprnn.Model(arrays, ["lstm"] * 3))
    refuses(ValueError, "2 activations, expected 3", lambda: sprnn.Cell("lstm", ["Tanh", "Tanh"]))
    refuses(ValueError, "activation 'Swish'", lambda: sprnn.Cell("tanh", ["Swish"]))
    refuses(ValueError, "clip -1", lambda: sprnn.Model(arrays, sprnn.Cell("lstm", clip=-1)))
    refuses(ValueError, "too large for fp16", lambda: sprnn.Model(changed("bias_ih_l0", np.full(24, 1e6)), dtype="fp16"))


def test_files(tmp_path, model):
    missing = refuses(FileNotFoundError, "nothing.safetensors", lambda: sprnn.load(tmp_path / "nothing.safetensors"))
    assert missing.code == sprnn.ErrorCode.IO and isinstance(missing, OSError)
    no_utf8 = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.safetensors")
    refuses(FileNotFoundError, r"\\xff.safetensors: there is no such file", lambda: sprnn.load(no_utf8))
    (tmp_path / "text.safetensors").write_text("not a checkpoint at all")
    bad = refuses(ValueError, "text.safetensors", lambda: sprnn.load(tmp_path / "text.safetensors"))
    assert bad.code == sprnn.ErrorCode.FORMAT
    refuses(OSError, str(tmp_path), lambda: sprnn.load(tmp_path))
    refuses(OSError, "folder.safetensors", lambda: model.save(tmp_path / "no" / "folder.safetensors"))
    refuses(ValueError, r"ends in .safetensors or .sprnn", lambda: model.save(tmp_path / "model.pt"))
    model.save(tmp_path / "a.sprnn")
    refuses(ValueError, "prefix 'x'", lambda: sprnn.load(tmp_path / "a.sprnn", prefix="x"))
    packed = (tmp_path / "a.sprnn").read_bytes()
    (tmp_path / "short.sprnn").write_bytes(packed[:-9])
    refuses(ValueError, "short.sprnn", lambda: sprnn.load(tmp_path / "short.sprnn"))
    model.save(tmp_path / "a.safetensors")
    refuses(ValueError, "no recurrent module has the prefix", lambda: sprnn.load(tmp_path / "a.safetensors", "x"))
    refuses(ValueError, "gru does not fit", lambda: sprnn.load(tmp_path / "a.safetensors", cell="gru"))


def test_every_code_has_its_exception():
    usual = (ValueError, TypeError, RuntimeError, OSError, NotImplementedError, TimeoutError, MemoryError)
    classes = [c for c in vars(sprnn.errors).values() if isinstance(c, type) and issubclass(c, sprnn.Error)]
    assert {c.code for c in classes} == set(sprnn.ErrorCode)
    for c in classes:
        assert c is sprnn.Error or issubclass(c, usual)
        again = pickle.loads(pickle.dumps(c("what")))
        assert type(again) is c and str(again) == "what"


class OnAGpu:
    """Speaks DLPack as an array in the memory of a GPU does."""

    def __init__(self):
        class Tensor(ctypes.Structure):  # DLManagedTensor
            _fields_ = [
                ("data", ctypes.c_void_p),
                ("device_type", ctypes.c_int32),
                ("device_id", ctypes.c_int32),
                ("ndim", ctypes.c_int32),
                ("code", ctypes.c_uint8),
                ("bits", ctypes.c_uint8),
                ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)),
                ("byte_offset", ctypes.c_uint64),
                ("context", ctypes.c_void_p),
                ("deleter", ctypes.c_void_p),
            ]

        self.shape = (ctypes.c_int64 * 3)(3, 2, 4)
        self.tensor = Tensor(0x1000, 2, 1, 3, 2, 32, 1, self.shape, None, 0, None, None)

    def __dlpack__(self, **options):
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(ctypes.addressof(self.tensor), b"dltensor", None)

    def __dlpack_device__(self):
        return 2, 1


def test_an_array_on_a_gpu(session):
    refuses(TypeError, r"x is on cuda:1: expected an array in the CPU's memory", lambda: session(OnAGpu()))


def long_sequence(session, seconds=1.0):
    """An input that takes about that long."""
    x = np.zeros((2000, 2, 4), np.float32)
    begin = time.perf_counter()
    session(x)
    steps = int(2000 * seconds / (time.perf_counter() - begin))
    return np.zeros((min(steps, 20_000_000), 2, 4), np.float32)


def test_two_threads_at_once(session):
    x = long_sequence(session)
    running = threading.Thread(target=session, args=(x,))
    running.start()
    time.sleep(0.05)
    try:
        for call in (lambda: session(X), lambda: session.state, session.reset, lambda: session.get_state(0)):
            error = refuses(RuntimeError, "in use by another thread", call)
            assert error.code == sprnn.ErrorCode.INVALID_ARGUMENT
    finally:
        running.join()
    session(X)


def test_sessions_run_side_by_side(model):
    """Different sessions in different threads, sharing one model."""
    packed = model.pack("cpu")
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2, 4)).astype(np.float32)
    expected = packed.session(batch=2)(x)
    results = [None] * 8

    def work(i):
        results[i] = packed.session(batch=2, threads=1)(x)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((result == expected).all() for result in results)


def test_others_run_while_a_session_does(session):
    x = long_sequence(session, 0.5)
    running = threading.Thread(target=session, args=(x,))
    running.start()
    counted = 0
    while running.is_alive():
        counted += 1
        time.sleep(0.001)
    running.join()
    assert counted > 20


def test_control_c_ends_a_long_run(session):
    x = long_sequence(session, 4.0)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begin = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        session(x)
    assert time.perf_counter() - begin < 2.0
    session.reset()
    session(X)


def test_import_needs_numpy_alone():
    code = "import sys, sprnn; print([m for m in ('torch', 'onnx', 'onnxruntime') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
