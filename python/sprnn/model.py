"""Models: loaded, made from arrays, pruned, saved, and made into sessions."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import numpy.typing as npt

from . import _core
from .cell import Cell
from .errors import ArgumentTypeError, InvalidArgumentError
from .session import Session

Path = Union[str, "os.PathLike[str]"]
Cells = Union[str, Cell, Sequence[Union[str, Cell]]]
Density = Union[float, Sequence[float]]

_NAME = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh|peephole)_l(\d+)(_reverse)?")
_KINDS = {1: "tanh", 3: "gru", 4: "lstm"}  # by the number of gates
_DTYPES = {"float16": "fp16", "bfloat16": "bf16"}


@dataclasses.dataclass(frozen=True)
class MatrixReport:
    """What pruning did to one matrix."""

    name: str
    rows: int
    cols: int
    wanted: float  # density asked for
    reached: float  # stored non-zeros / entries; entries that were zero before are not stored
    min_row: int  # non-zeros of the row with the fewest
    max_row: int  # and with the most
    norm_lost: float  # ||W - pruned W|| / ||W||, Frobenius

    def __str__(self) -> str:
        return (
            f"{self.name} [{self.rows}, {self.cols}]: density {self.reached:.4g}, rows of {self.min_row} to "
            f"{self.max_row}, norm lost {self.norm_lost:.3g}"
        )


@dataclasses.dataclass(frozen=True)
class VerifyResult:
    """An engine beside the float64 reference."""

    engine: str
    rel_error: float  # ||out - ref|| / ||ref|| over the outputs and the final state
    bound: float
    passed: bool


class Model:
    """A recurrent network: cells, shapes and weights. Immutable; what changes it returns another.

    Model(arrays, cell=None, *, prefix=None, dtype=None) makes one from arrays under PyTorch's names, weight_ih_l0,
    weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_hr_l0, with the suffix _reverse for the other direction, and
    peephole_l0 [3 * hidden_size] in the order i o f. Other names are left alone. Floating arrays of NumPy or any
    library that speaks DLPack; they are copied.

    cell    "tanh", "relu", "gru", "lstm", a Cell, or a sequence of them, one for each direction; absent: told from
            the shapes (tanh where there is one gate).
    prefix  of the names, such as "encoder.rnn."; absent: the only one.
    dtype   "fp32", "fp16" or "bf16", to which the weights are rounded; absent: that of the arrays.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        cell: Optional[Cells] = None,
        *,
        prefix: Optional[str] = None,
        dtype: Optional[str] = None,
    ) -> None:
        self._model: Optional[_core.Model] = _from_arrays(arrays, cell, prefix, dtype)
        self._packed: Optional[_core.Packed] = None
        self._report: Tuple[MatrixReport, ...] = ()

    @classmethod
    def _of(
        cls,
        model: Optional[_core.Model],
        packed: Optional[_core.Packed] = None,
        report: Tuple[MatrixReport, ...] = (),
    ) -> Model:
        self = cls.__new__(cls)
        self._model, self._packed, self._report = model, packed, report
        return self

    @property
    def _dense(self) -> _core.Model:
        if self._model is None:  # of a .sprnn file: unpacked when it is asked for
            assert self._packed is not None
            self._model = self._packed.unpack()
        return self._model

    # ---- What it is

    @property
    def cell(self) -> Cell:
        """Of the first layer and direction."""
        return self.cells[0]

    @property
    def cells(self) -> Tuple[Cell, ...]:
        """Of the first layer, one for each direction."""
        return tuple(Cell._of(data) for data in self._dense.cells[: self._dense.num_directions])

    @property
    def dtype(self) -> str:
        """The grid that weights and states are rounded to: "fp32", "fp16" or "bf16"."""
        return self._dense.dtype

    @property
    def input_size(self) -> int:
        """Of the first layer."""
        return self._dense.input_size

    @property
    def hidden_size(self) -> int:
        """Units of each layer and direction."""
        return self._dense.hidden_size

    @property
    def projection_size(self) -> int:
        """0: none."""
        return self._dense.projection_size

    @property
    def num_layers(self) -> int:
        """One on the other."""
        return self._dense.num_layers

    @property
    def bidirectional(self) -> bool:
        """Whether each layer has a reverse direction beside the forward one."""
        return self._dense.num_directions == 2

    @property
    def output_size(self) -> int:
        """Width of y: of h, for each direction."""
        return self._dense.num_directions * (self.projection_size or self.hidden_size)

    @property
    def report(self) -> Tuple[MatrixReport, ...]:
        """What the pruning that made this model did; empty for one that was not pruned here."""
        return self._report

    def arrays(self) -> Dict[str, npt.NDArray[np.float32]]:
        """The weights by PyTorch's names: read-only views, float32 whatever the dtype."""
        return self._dense.arrays()

    def masks(self) -> Dict[str, npt.NDArray[np.bool_]]:
        """True where a weight is stored, for each weight matrix. Only +0.0 is not stored."""
        return {
            name: (array != 0) | np.signbit(array) for name, array in self.arrays().items() if name.startswith("weight")
        }

    def __repr__(self) -> str:
        projection = f", projection_size={self.projection_size}" if self.projection_size else ""
        return (
            f"<sprnn.Model {self.cell}: input_size={self.input_size}, hidden_size={self.hidden_size}{projection}, "
            f"num_layers={self.num_layers}, bidirectional={self.bidirectional}, dtype={self.dtype}>"
        )

    # ---- Other models

    def prune(
        self,
        density: Optional[Density] = None,
        input_density: Optional[Density] = None,
        pattern: str = "unstructured",
    ) -> Model:
        """The model with its smallest weights set to zero; what it cost is in its `report`.

        density        of the recurrent matrices, in [0, 1]: one number, or one for each layer. (With "N:M" the
                       pattern says it.)
        input_density  likewise of the input matrices; absent: they are left alone.
        pattern        "unstructured", "row", "global", "block:RxC", "unit:UxC" or "N:M".
        """
        pruned, reports = self._dense.prune(pattern, _densities(density), _densities(input_density))
        return Model._of(pruned, report=tuple(MatrixReport(*report) for report in reports))

    def convert(self, dtype: str) -> Model:
        """The model with its weights rounded to "fp32", "fp16" or "bf16"."""
        return Model._of(self._dense.convert(dtype), report=self._report)

    def pack(self, target: str = "local", batch: int = 1, threads: int = 0) -> Model:
        """The model with its weights laid out for a device, as one from a .sprnn file is.

        Sessions of it share the weights, and `save`, `explain` and `session` take its plan unless told otherwise.

        target   "local", "cpu", "cuda", "cuda:1", or a device that need not be there: "h100", "h200", "a100" or the path
                 of a JSON description.
        batch    the batch that it is best for; it runs any.
        threads  of a cpu that it is planned for; 0: as many as there are.
        """
        packed = _core.pack(self._dense, _core.make_plan(self._dense, target, batch, threads))
        return Model._of(self._dense, packed, self._report)

    def __copy__(self) -> Model:
        return self  # immutable

    def __deepcopy__(self, memo: Dict[int, Any]) -> Model:
        return self

    def __reduce__(self) -> Tuple[Any, ...]:
        arrays = {name: array.copy() for name, array in self.arrays().items()}
        cells = tuple(Cell._of(data) for data in self._dense.cells)
        plan = None if self._packed is None else self._packed.plan.to_json()
        return _restore, (arrays, cells, self.dtype, self._report, self._dense.source, plan)

    # ---- Running

    def plan(self, target: Optional[str] = None, batch: int = 1, threads: int = 0) -> _core.Plan:
        """How the model runs on a device, absent: on the one that it was packed for, else the local one.

        str() of it is for people; see `explain`.
        """
        if target is None and self._packed is not None:
            return self._packed.plan
        return self._plan("auto", batch, threads, target)[0]

    def session(
        self,
        engine: str = "auto",
        batch: int = 1,
        threads: int = 0,
        target: Optional[str] = None,
        isa: str = "",
        device: int = 0,
        deadline_seconds: float = 0.0,
    ) -> Session:
        """A session whose state is zeros.

        engine   "cuda", "cpu", "interpreter", "reference", or "auto": the first that runs the plan.
        batch    sequences side by side.
        threads  0: as many as affinity and the cgroup quota allow; a layer too small for them leaves some asleep.
        target   the device planned for, as in `pack`; absent: the one that the model was packed for, else one that
                 the engine runs on.
        isa      of the cpu engine: "avx512", "avx2", "scalar"; empty: the best of this processor.
        device   of engine cuda: which GPU.
        deadline_seconds  of engine cuda: how long a timestep may wait for the others before the run is given up; 0:
                 the environment variable SPRNN_DEADLINE, or 2 s.
        """
        for name, value in (("batch", batch), ("threads", threads), ("device", device)):
            if not isinstance(value, (int, np.integer)):
                raise ArgumentTypeError(f"{name} is {value!r}: expected an integer")
        if target is None and engine == "cuda" and self._packed is None:
            target = f"cuda:{device}"
        packed = self._pack(engine, batch, threads, target)
        return Session(packed, engine, batch, threads, isa, device, deadline_seconds)

    def verify(
        self,
        engine: str = "auto",
        batch: int = 1,
        steps: int = 256,
        seed: int = 0,
        threads: int = 0,
        target: Optional[str] = None,
        isa: str = "",
    ) -> VerifyResult:
        """Runs an engine and the float64 reference on the same random input and compares them."""
        packed = self._pack(engine, batch, threads, target)
        return VerifyResult(*packed.verify(engine, batch, steps, seed, threads, isa))

    def explain(self, target: Optional[str] = None, batch: int = 1, threads: int = 0) -> str:
        """The plan, its predicted cost, what was rejected and why, and which engines run it."""
        if target is None and self._packed is not None:
            plan, no_gpu = self._packed.plan, ""
        else:
            plan, no_gpu = self._plan("auto", batch, threads, target)
        lines = [f"planned for the CPU, not for this machine's GPU: engine cuda {no_gpu}"] if no_gpu else []
        lines.append("engines, the preferred first:")
        lines += [f"  {name:<12} {refusal or 'runs it'}" for name, refusal in plan.refusals()]
        return f"{plan}" + "\n".join(lines) + "\n"

    def _plan(self, engine: str, batch: int, threads: int, target: Optional[str]) -> Tuple[_core.Plan, str]:
        """And why it is not for this machine's GPU; without a target it is for a device that suits the engine."""
        if target is None:
            return _core.choose_plan(self._dense, engine, batch, threads)
        return _core.make_plan(self._dense, target, batch, threads), ""

    def _pack(self, engine: str, batch: int, threads: int, target: Optional[str]) -> _core.Packed:
        if target is None and self._packed is not None:
            return self._packed
        return _core.pack(self._dense, self._plan(engine, batch, threads, target)[0])

    # ---- Files

    def save(self, path: Path) -> None:
        """Writes a checkpoint (.safetensors) or a packed model (.sprnn), as a whole or not at all.

        A model that was loaded from a checkpoint is written back among all the other tensors of that. A .sprnn file
        is packed as the model is, or for this machine: see `pack`.
        """
        suffix = os.path.splitext(_name(path))[1]
        if suffix == ".safetensors":
            self._dense.save(path)
        elif suffix == ".sprnn":
            (self._packed or _core.pack(self._dense, self.plan())).save(path)
        else:
            raise InvalidArgumentError(f"{os.fspath(path)}: expected a name that ends in .safetensors or .sprnn")


def load(
    path: Path, prefix: Optional[str] = None, cell: Optional[Union[str, Cell]] = None, dtype: Optional[str] = None
) -> Model:
    """The recurrent module of a safetensors checkpoint under PyTorch's names, or the model of a .sprnn file.

    prefix  which module of a checkpoint, such as "encoder.rnn."; absent: the only one.
    cell    "relu" and the like; absent: told from the shapes (an rnn is taken as tanh).
    dtype   "fp32", "fp16" or "bf16", to which the weights are rounded; absent: the checkpoint's.
    """
    _name(path)
    if not _core.is_packed_file(path):
        data = None if cell is None else _one(cell)._data()
        return Model._of(_core.Model.load(path, prefix, data, dtype))
    for name, value in (("prefix", prefix), ("cell", cell), ("dtype", dtype)):
        if value is not None:
            raise InvalidArgumentError(
                f"{name} {value!r}: {os.fspath(path)} is a packed file, which says that itself; it goes with checkpoints"
            )
    return Model._of(None, _core.Packed.load(path))


def prune_mask(
    matrix: Any, density: float = 1.0, pattern: str = "unstructured", gates: int = 1
) -> npt.NDArray[np.bool_]:
    """True for the entries of one matrix that pruning keeps. `gates` bounds block and unit patterns."""
    return _core.prune_mask(matrix, density, pattern, gates)


def _restore(
    arrays: Dict[str, Any],
    cells: Tuple[Cell, ...],
    dtype: str,
    report: Tuple[MatrixReport, ...],
    source: Optional[_core.SourceData] = None,
    plan: Optional[str] = None,
) -> Model:
    """A pickled model. The same weights under the same plan pack to the same bytes."""
    dense = _from_arrays(arrays, cells, None, dtype, source)
    packed = None if plan is None else _core.pack(dense, _core.Plan.from_json(plan))
    return Model._of(dense, packed, report)


def _from_arrays(
    arrays: Mapping[str, Any],
    cell: Optional[Cells],
    prefix: Optional[str],
    dtype: Optional[str],
    source: Optional[_core.SourceData] = None,
) -> _core.Model:
    directions = _group(arrays, prefix)
    kinds = _cells(cell, directions)
    data = [
        (layer, reverse, kinds[i % len(kinds)]._data(), tensors)
        for i, ((layer, reverse), tensors) in enumerate(directions.items())
    ]
    first = next(iter(directions.values()))["weight_hh"]
    wanted = dtype or _DTYPES.get(str(getattr(first, "dtype", "")).rpartition(".")[2], "fp32")
    return _core.Model.from_arrays(wanted, data, source)


def _densities(value: Optional[Density]) -> List[float]:
    if value is None:
        return []
    if isinstance(value, (int, float, np.number)):
        return [float(value)]
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        values = [float(v) for v in value]
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"density is {value!r}: expected a number, or one for each layer") from None
    if not values:
        raise InvalidArgumentError("density: an empty sequence; expected one number, or one for each layer")
    return values


def _name(path: Path) -> str:
    try:
        return os.fsdecode(path)
    except TypeError:
        raise ArgumentTypeError(f"the path is a {type(path).__name__}: expected a str or an os.PathLike") from None


def _one(cell: Union[str, Cell]) -> Cell:
    return cell if isinstance(cell, Cell) else Cell(cell)


_Directions = Dict[Tuple[int, bool], Dict[str, Any]]


def _group(arrays: Mapping[str, Any], prefix: Optional[str]) -> _Directions:
    """The tensors of each direction, layer by layer, forward before reverse, by their names less the suffix."""
    if not isinstance(arrays, Mapping) or not all(isinstance(name, str) for name in arrays):
        raise ArgumentTypeError(f"arrays is a {type(arrays).__name__}: expected a dict of arrays by PyTorch's names")
    found: Dict[str, _Directions] = {}
    for name, array in arrays.items():
        head, dot, tail = name.rpartition(".")
        match = _NAME.fullmatch(tail)
        if match:
            direction = found.setdefault(head + dot, {}).setdefault((int(match[2]), bool(match[3])), {})
            direction[match[1]] = array
    if prefix is None and len(found) > 1:
        raise InvalidArgumentError(f"{len(found)} recurrent modules; choose one by its prefix: {', '.join(map(repr, found))}")
    if prefix is None:
        directions = next(iter(found.values()), None)
    else:
        directions = found.get(prefix) or found.get(prefix + ".")
    if not directions:
        where = "" if prefix is None else f" with the prefix {prefix!r}"
        names = ", ".join(list(map(repr, arrays))[:8]) or "none"
        raise InvalidArgumentError(
            f"no recurrent module{where} among the arrays {names}; expected PyTorch's names, such as weight_ih_l0 and "
            f"weight_hh_l0"
        )
    layers = 1 + max(layer for layer, _ in directions)
    reverses = sorted({reverse for _, reverse in directions})
    for layer in range(layers):
        for reverse in reverses:
            for needed in ("weight_ih", "weight_hh"):
                if needed not in directions.get((layer, reverse), {}):
                    raise InvalidArgumentError(f"{needed}_l{layer}{'_reverse' * reverse} is missing")
    return dict(sorted(directions.items()))


def _cells(cell: Optional[Cells], directions: _Directions) -> List[Cell]:
    """The cells of a layer's directions, or of all directions."""
    if cell is None:
        tensors = next(iter(directions.values()))
        shape = tuple(getattr(tensors["weight_hh"], "shape", ()))
        last = tuple(getattr(tensors.get("weight_hr"), "shape", shape))
        gates = shape[0] // last[-1] if len(shape) == 2 and last[-1] and shape[0] % last[-1] == 0 else 0
        if len(shape) == 2 and gates not in _KINDS:
            raise InvalidArgumentError(
                f"weight_hh of shape {list(shape)} is of no cell: expected 1, 3 or 4 times the hidden size in rows"
            )
        return [Cell(_KINDS.get(gates, "tanh"))]  # what is not a matrix at all is refused later
    if isinstance(cell, (str, Cell)):
        return [_one(cell)]
    cells = [_one(c) for c in cell]
    per_layer = len({reverse for _, reverse in directions})
    if len(cells) not in (1, per_layer, len(directions)):
        raise InvalidArgumentError(
            f"{len(cells)} cells: expected one, or one for each of the {per_layer} directions, or one for each of the "
            f"{len(directions)} directions of all layers"
        )
    return cells
