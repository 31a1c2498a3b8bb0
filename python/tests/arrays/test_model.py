"""Models: from arrays and files, pruned, saved, explained."""

import copy
import json
import pickle
import struct

import numpy as np
import pytest
from support import random_arrays, rel_error, run

import sprnn


def write_safetensors(path, arrays, metadata=None):
    names = {"float32": "F32", "float16": "F16", "int64": "I64"}
    header, data = {}, b""
    for name, array in arrays.items():
        begin = len(data)
        data += array.tobytes()
        header[name] = dict(dtype=names[str(array.dtype)], shape=list(array.shape), data_offsets=[begin, len(data)])
    if metadata:
        header["__metadata__"] = metadata
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    dtypes = {"F32": np.float32, "F16": np.float16, "I64": np.int64}
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    data = raw[8 + size :]
    return {
        name: np.frombuffer(data[slice(*t["data_offsets"])], dtypes[t["dtype"]]).reshape(t["shape"])
        for name, t in header.items()
        if name != "__metadata__"
    }


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_from_arrays_and_back():
    arrays = random_arrays("lstm", 6, 10, layers=2, directions=(False, True), projection=4)
    model = sprnn.Model({"encoder.rnn." + name: array for name, array in arrays.items()} | {"head.weight": np.eye(3)})
    assert same(model.arrays(), arrays)
    assert (model.input_size, model.hidden_size, model.projection_size, model.num_layers) == (6, 10, 4, 2)
    assert model.bidirectional and model.output_size == 8 and str(model.cell) == "lstm" and model.dtype == "fp32"
    assert "lstm" in repr(model)


def test_arrays_are_read_only_views_that_outlive_the_model():
    model = sprnn.Model(random_arrays("gru", 4, 8))
    array = model.arrays()["weight_hh_l0"]
    kept = array.copy()
    with pytest.raises(ValueError):
        array[0, 0] = 1
    assert model.arrays()["weight_hh_l0"].ctypes.data == array.ctypes.data
    del model
    assert (array == kept).all()


def test_a_model_has_its_own_copy():
    arrays = random_arrays("tanh", 3, 5)
    model = sprnn.Model(arrays)
    arrays["weight_hh_l0"][:] = 0
    assert model.arrays()["weight_hh_l0"].all()


def test_arrays_of_other_types_and_layouts():
    arrays = random_arrays("gru", 4, 6)
    assert same(sprnn.Model({k: v.astype(np.float64) for k, v in arrays.items()}).arrays(), arrays)
    assert same(sprnn.Model({k: np.asfortranarray(v) for k, v in arrays.items()}).arrays(), arrays)
    assert same(sprnn.Model({k: np.repeat(v, 2, 0)[::2] for k, v in arrays.items()}).arrays(), arrays)


def test_bfloat16_of_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy's bfloat16 comes with the package ml_dtypes")
    arrays = {k: v.astype(ml_dtypes.bfloat16) for k, v in random_arrays("gru", 4, 6).items()}
    model = sprnn.Model(arrays)
    assert model.dtype == "bf16" and same(model.arrays(), {k: v.astype(np.float32) for k, v in arrays.items()})
    x = np.random.default_rng(0).uniform(-1, 1, (6, 1, 4)).astype(ml_dtypes.bfloat16)
    for part in (x, x[::2], x[0]):
        assert (model.session()(part) == model.session()(part.astype(np.float32))).all()
    with pytest.raises(TypeError, match="out is a ndarray of dtype bfloat16"):
        model.session()(x, out=np.zeros((6, 1, 6), ml_dtypes.bfloat16))


def test_load_and_save_a_checkpoint(tmp_path):
    arrays = random_arrays("lstm", 5, 8)
    others = {"embed.weight": np.arange(6, dtype=np.float32), "step": np.array([7], np.int64)}
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"rnn." + k: v for k, v in arrays.items()} | others, {"made": "here"})
    model = sprnn.load(path)
    assert same(model.arrays(), arrays)
    pruned = model.prune(0.25)
    pruned.save(tmp_path / "pruned.safetensors")
    written = read_safetensors(tmp_path / "pruned.safetensors")
    assert (written["embed.weight"] == others["embed.weight"]).all() and written["step"][0] == 7
    assert (written["rnn.weight_hh_l0"] == pruned.arrays()["weight_hh_l0"]).all()
    assert same(sprnn.load(str(tmp_path / "pruned.safetensors"), prefix="rnn").arrays(), pruned.arrays())


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_save_a_model_of_arrays(tmp_path, dtype):
    model = sprnn.Model(random_arrays("gru", 5, 8, layers=2, directions=(False, True)), dtype=dtype)
    for name in ("a.safetensors", "a.sprnn"):
        model.save(tmp_path / name)
        loaded = sprnn.load(tmp_path / name)
        assert same(loaded.arrays(), model.arrays()) and loaded.dtype == dtype


def test_relu_is_told(tmp_path):
    arrays = random_arrays("relu", 5, 8)
    sprnn.Model(arrays, "relu").save(tmp_path / "a.safetensors")
    x = np.ones((3, 1, 5), np.float32)
    y = sprnn.load(tmp_path / "a.safetensors", cell="relu").session()(x)
    assert rel_error(y, run("relu", arrays, x)[0]) < 1e-5


def test_a_packed_file_keeps_variants_and_its_plan(tmp_path):
    cell = sprnn.Cell("lstm", input_forget=True, clip=2)
    model = sprnn.Model(random_arrays("lstm", 4, 8, peephole=True), cell).pack("cpu", batch=4)
    model.save(tmp_path / "a.sprnn")
    loaded = sprnn.load(tmp_path / "a.sprnn")
    assert str(loaded.cell) == "lstm(input_forget, clip=2)"
    assert loaded.plan().batch == 4 and loaded.plan().to_json() == model.plan().to_json()
    x = np.ones((3, 4, 4), np.float32)
    assert (loaded.session(batch=4)(x) == model.session(batch=4)(x)).all()
    with pytest.raises(NotImplementedError, match=r"input_forget.*\.sprnn"):
        model.save(tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


def test_prune_leaves_the_model_as_it_was():
    model = sprnn.Model(random_arrays("lstm", 12, 16, layers=2))
    pruned = model.prune(0.25, input_density=[0.5, 1], pattern="row")
    assert model.report == () and model.arrays()["weight_hh_l0"].all()
    assert [r.name for r in pruned.report] == ["weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"]
    report = pruned.report[1]
    assert (report.reached, report.min_row, report.max_row) == (0.25, 4, 4) and 0 < report.norm_lost < 1
    assert "weight_hh_l0" in str(report)
    masks = pruned.masks()
    assert masks["weight_hh_l0"].mean() == 0.25 and masks["weight_ih_l0"].mean() == 0.5
    assert masks["weight_ih_l1"].all() and masks["weight_hh_l0"].dtype == bool
    kept = masks["weight_hh_l0"]
    assert (pruned.arrays()["weight_hh_l0"] == np.where(kept, model.arrays()["weight_hh_l0"], 0)).all()


@pytest.mark.parametrize("pattern, density", [("global", 0.1), ("block:4x2", 0.5), ("unit:4x1", 0.5), ("2:4", None)])
def test_patterns(pattern, density):
    model = sprnn.Model(random_arrays("gru", 8, 16, layers=2)).prune(density, pattern=pattern)
    stored = np.concatenate([m.ravel() for n, m in model.masks().items() if n.startswith("weight_hh")])
    assert abs(stored.mean() - (density or 0.5)) < 0.02
    assert model.verify(steps=20).passed


def test_prune_mask_is_what_prune_does():
    model = sprnn.Model(random_arrays("lstm", 8, 16))
    mask = sprnn.prune_mask(model.arrays()["weight_hh_l0"], 0.3, "block:4x2", gates=4)
    assert mask.dtype == bool
    assert (mask == model.prune(0.3, pattern="block:4x2").masks()["weight_hh_l0"]).all()


def test_masks_keep_minus_zero():
    arrays = random_arrays("tanh", 2, 3)
    arrays["weight_hh_l0"][0] = [0.0, -0.0, 1.0]
    assert sprnn.Model(arrays).masks()["weight_hh_l0"][0].tolist() == [False, True, True]


def test_explain_says_who_runs_it(tmp_path):
    model = sprnn.Model(random_arrays("lstm", 8, 16)).prune(0.1)
    text = sprnn.explain(model, target="cpu")
    assert "lstm for cpu" in text and "predicted" in text
    assert "interpreter" in text.split("engines, the preferred first:")[1]
    assert "h100" in sprnn.explain(model, target="h100", batch=4)
    model.pack("h100").save(tmp_path / "a.sprnn")
    assert "h100" in sprnn.explain(tmp_path / "a.sprnn")
    plan = model.plan("cpu")
    assert sprnn.Plan.from_json(plan.to_json()).to_json() == plan.to_json() and plan.us_per_step > 0


def test_verify():
    model = sprnn.Model(random_arrays("lstm", 8, 16)).prune(0.5)
    for engine in ("cpu", "interpreter", "reference"):
        result = sprnn.verify(model, engine, batch=2, steps=30, seed=3)
        assert result.passed and result.engine == engine and result.rel_error <= result.bound


def test_devices():
    devices = sprnn.devices()
    assert devices["isas"][-1] == "scalar" and "cpu" in devices["engines"]
    assert isinstance(devices["cuda"], list)
    assert set(devices["known"]) == {"h100", "h200", "a100"} and devices["cpu"]


def test_copies_and_pickles():
    model = sprnn.Model(random_arrays("gru", 3, 4, directions=(True,)), sprnn.Cell("gru", clip=3), dtype="bf16")
    pruned = model.prune(0.5)
    again = pickle.loads(pickle.dumps(pruned))
    assert same(again.arrays(), pruned.arrays())
    assert again.report == pruned.report and again.cells == pruned.cells and again.dtype == "bf16"
    assert same(copy.deepcopy(pruned).arrays(), pruned.arrays())
    assert copy.copy(pruned) is pruned


def test_a_pickle_keeps_the_cell_of_each_layer():
    cells = [sprnn.Cell("gru", clip=clip) for clip in (None, 0.1, 0.2, 0.3)]
    model = sprnn.Model(random_arrays("gru", 3, 4, layers=2, directions=(False, True)), cells)
    assert [cell.clip for cell in model.cells] == [None, pytest.approx(0.1)]
    again = pickle.loads(pickle.dumps(model))
    x = np.ones((5, 1, 3), np.float32)
    assert (again.session()(x) == model.session()(x)).all()
    first_alone = sprnn.Model(model.arrays(), model.cells).session()(x)
    assert (first_alone != model.session()(x)).any()


def test_a_pickle_of_a_packed_model_keeps_its_plan(tmp_path):
    model = sprnn.Model(random_arrays("lstm", 5, 16)).prune(0.3).pack("h100", batch=4)
    again = pickle.loads(pickle.dumps(model))
    assert again.plan().device == model.plan().device != sprnn.Model(model.arrays()).plan("cpu").device
    for name, one in (("a.sprnn", model), ("b.sprnn", again)):
        one.save(tmp_path / name)
    assert (tmp_path / "a.sprnn").read_bytes() == (tmp_path / "b.sprnn").read_bytes()
    assert pickle.loads(pickle.dumps(sprnn.load(tmp_path / "a.sprnn"))).plan().to_json() == model.plan().to_json()


def test_a_pickle_keeps_the_checkpoint(tmp_path):
    arrays = {"a.rnn." + k: v for k, v in random_arrays("gru", 5, 8).items()}
    arrays |= {"b." + k: v.astype(np.float16) for k, v in random_arrays("lstm", 3, 4).items()}
    arrays["step"] = np.array([7], np.int64)
    write_safetensors(tmp_path / "model.safetensors", arrays, {"made": "here"})
    model = sprnn.load(tmp_path / "model.safetensors", prefix="a.rnn")
    for name, one in (("a", model.prune(0.5)), ("b", pickle.loads(pickle.dumps(model)).prune(0.5))):
        one.save(tmp_path / f"{name}.safetensors")
    assert read_safetensors(tmp_path / "b.safetensors").keys() == arrays.keys()
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_version():
    assert sprnn.__version__.count(".") == 2
