"""A graph of recurrent layers with small operators between them, ready to run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple, Union

import numpy as np
import onnx

from ..errors import (
    ArgumentTypeError,
    Error,
    FormatError,
    InvalidArgumentError,
    OutOfMemoryError,
    UnsupportedError,
)
from . import recurrent
from .operators import OLDEST, OPERATORS
from .proto import (
    Array,
    Attributes,
    Source,
    attributes_of,
    check_graph,
    dtype_of,
    node_text,
    opset_of,
    read_model,
    tensor,
)
from .recurrent import Recurrent

# The newest version of each operator that is known here. Later versions of the small ones took on types alone.
_NEWEST = {**dict.fromkeys(OPERATORS, 28), **dict.fromkeys(recurrent.INPUTS, 22)}
_OLDEST = {**OLDEST, **dict.fromkeys(recurrent.INPUTS, 7)}


@dataclasses.dataclass(frozen=True)
class Input:
    """What a graph declares of an input."""

    name: str
    dtype: np.dtype[Any]
    shape: Optional[Tuple[Union[int, str, None], ...]]  # an int, a name or None for each axis; None: any rank
    optional: bool  # may be left out of run()

    def check(self, array: Array) -> None:
        """Throws for one of another type or shape."""
        if array.dtype != self.dtype:
            raise ArgumentTypeError(f"input {self.name!r} is {array.dtype}: expected {self.dtype}")
        fits = self.shape is None or (
            len(self.shape) == array.ndim
            and all(not isinstance(want, int) or want == got for want, got in zip(self.shape, array.shape))
        )
        if not fits:
            axes = ", ".join("?" if axis is None else str(axis) for axis in self.shape or ())
            raise InvalidArgumentError(f"input {self.name!r} has shape {list(array.shape)}: expected [{axes}]")


@dataclasses.dataclass(frozen=True)
class _Step:
    """One node, as it is run."""

    text: str
    operator: str
    version: int
    attributes: Attributes
    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]
    layer: Optional[Recurrent]

    def run(self, values: Mapping[str, Optional[Array]]) -> None:
        inputs = [values.get(name) if name else None for name in self.inputs]
        try:
            if self.layer is not None:
                results = self.layer.run(inputs)
            else:
                results = [OPERATORS[self.operator](self.attributes, inputs, self.version)]
        except Error as error:
            raise type(error)(f"{self.text}: {error}") from None
        except (IndexError, TypeError, ValueError) as error:  # NumPy's
            kind = ArgumentTypeError if isinstance(error, TypeError) else InvalidArgumentError
            raise kind(f"{self.text}: {error}") from None
        except MemoryError as error:
            raise OutOfMemoryError(f"{self.text}: {error}") from None
        assert isinstance(values, dict)
        values.update(zip(self.outputs, results))


class Graph:
    """An ONNX graph of recurrent layers: see `load`."""

    def __init__(self, source: Source, engine: str = "auto", threads: int = 0) -> None:
        model, self._name = read_model(source)
        opset = opset_of(model, self._name)
        _check_operators(model.graph, opset, self._name)
        check_graph(model, self._name)
        graph = model.graph

        initial = {proto.name: self._tensor(proto) for proto in graph.initializer}
        declared = {info.name for info in graph.input}
        # An initializer that is declared an input as well is a default: a run may bring another.
        self._defaults = {name: array for name, array in initial.items() if name in declared}
        self._constants: Dict[str, Optional[Array]] = {
            name: array for name, array in initial.items() if name not in declared
        }
        self._steps: List[_Step] = []
        for node in graph.node:
            self._add(_step(node, opset, engine, threads))
        needed = _needed(graph)
        self.inputs = tuple(
            _declared(info, info.name in self._defaults or info.name not in needed) for info in graph.input
        )
        self.outputs: Tuple[str, ...] = tuple(info.name for info in graph.output)

    def _tensor(self, proto: onnx.TensorProto) -> Array:
        try:
            return tensor(proto)
        except TypeError as error:
            raise UnsupportedError(f"initializer {proto.name!r} has {error}") from None
        except ValueError as error:
            raise FormatError(f"{self._name}: initializer {proto.name!r}: {error}") from None

    def _add(self, step: _Step) -> None:
        """Runs a small operator now if its inputs are constants, and prepares the weights of a layer."""
        if step.layer is None:
            if all(not name or name in self._constants for name in step.inputs):
                step.run(self._constants)
            else:
                self._steps.append(step)
            return
        self._steps.append(step)
        weights = [(at, step.inputs[at]) for at in (1, 2, 3, 7) if at < len(step.inputs) and step.inputs[at]]
        values = {**self._defaults, **self._constants}
        if all(name in values for _, name in weights):
            try:
                step.layer.prepare([values.get(name) if name else None for name in step.inputs])
            except Error as error:
                raise type(error)(f"{step.text}: {error}") from None
            step.layer.fixed = all(name in self._constants for _, name in weights)

    def run(self, inputs: Mapping[str, Any]) -> Dict[str, Array]:
        """The outputs by name, in the order of the graph.

        inputs  arrays by name, of the types that the graph declares. Inputs with a default, and those that only go
                to optional inputs of recurrent operators, may be absent.
        """
        if not isinstance(inputs, Mapping):
            raise ArgumentTypeError(f"inputs is a {type(inputs).__name__}: expected a dict of arrays by name")
        known = {spec.name: spec for spec in self.inputs}
        for name in inputs:
            if name not in known:
                raise InvalidArgumentError(f"no input {name!r}: expected {', '.join(map(repr, known)) or 'none'}")
        values: Dict[str, Optional[Array]] = {**self._constants, **self._defaults}
        for name, spec in known.items():
            given = inputs.get(name)
            if given is not None:
                values[name] = _array(name, given)
                spec.check(values[name])  # type: ignore[arg-type]
            elif not spec.optional:
                raise InvalidArgumentError(f"input {name!r} is missing: expected an array of {spec.dtype}")
        for step in self._steps:
            step.run(values)
        # Copies: no output shares memory with an input, a constant or another output.
        return {name: np.array(values[name], order="C") for name in self.outputs}

    def explain(self, batch: int = 1, target: Optional[str] = None) -> str:
        """For each recurrent layer: its cell, its plan, and which engines run it, the preferred first, or why not."""
        layers = [step.layer for step in self._steps if step.layer is not None]
        return "\n".join(layer.explain(batch, target) for layer in layers) or f"{self._name}: no recurrent layers\n"

    def __repr__(self) -> str:
        layers = [step.operator for step in self._steps if step.layer is not None]
        names = ", ".join(spec.name for spec in self.inputs)
        return f"<sprnn.onnx.Graph {self._name}: {', '.join(layers)}; ({names}) -> ({', '.join(self.outputs)})>"


def _check_operators(graph: onnx.GraphProto, opset: int, name: str) -> None:
    """Throws UnsupportedError that names every node that cannot be run."""
    refused = []
    for node in graph.node:
        known = node.op_type in _NEWEST and node.domain in ("", "ai.onnx")
        if not known:
            refused.append(node_text(node))
            continue
        version, oldest, newest = _version(node.op_type, opset), _OLDEST[node.op_type], _NEWEST[node.op_type]
        if version == 0:
            refused.append(f"{node_text(node)} (which opset {opset} has not)")
        elif not oldest <= version <= newest:
            refused.append(f"{node_text(node)} (of opset {version}: expected {oldest} to {newest})")
    if refused:
        more = f" and {len(refused) - 8} more" if len(refused) > 8 else ""
        raise UnsupportedError(
            f"{name} has operators that are not run here: {', '.join(refused[:8])}{more}; there are "
            f"{', '.join(sorted(_NEWEST))}. sprnn.onnx.extract takes the recurrent layers out of any graph"
        )


def _version(operator: str, opset: int) -> int:
    """Of an operator in an opset: the opset that last changed it; 0 if there was none."""
    try:
        return int(onnx.defs.get_schema(operator, opset, "").since_version)
    except onnx.defs.SchemaError:
        return 0


def _step(node: onnx.NodeProto, opset: int, engine: str, threads: int) -> _Step:
    layer = Recurrent(node, engine, threads) if node.op_type in recurrent.INPUTS else None
    return _Step(
        node_text(node),
        node.op_type,
        _version(node.op_type, opset),
        {} if layer else attributes_of(node),
        tuple(node.input),
        tuple(node.output),
        layer,
    )


def _needed(graph: onnx.GraphProto) -> Set[str]:
    """Names that are used elsewhere than as an optional input of a recurrent operator."""
    needed = {info.name for info in graph.output}
    for node in graph.node:
        required: Sequence[str] = node.input
        needed.update(required[: recurrent.REQUIRED] if node.op_type in recurrent.INPUTS else required)
    return needed


def _declared(info: onnx.ValueInfoProto, optional: bool) -> Input:
    if info.type.WhichOneof("value") != "tensor_type":
        kind = (info.type.WhichOneof("value") or "nothing").replace("_type", "")
        raise UnsupportedError(f"input {info.name!r} is a {kind}: expected a tensor")
    declared = info.type.tensor_type
    try:
        dtype = dtype_of(declared.elem_type)
    except TypeError as error:
        raise UnsupportedError(f"input {info.name!r} has {error}") from None
    shape = None
    if declared.HasField("shape"):
        # A negative size says as little as none, to onnxruntime too.
        shape = tuple(
            (axis.dim_value if axis.dim_value >= 0 else None) if axis.HasField("dim_value") else (axis.dim_param or None)
            for axis in declared.shape.dim
        )
    return Input(info.name, dtype, shape, optional)


def _array(name: str, given: Any) -> Array:
    """NumPy's, or of anything that NumPy reads: through DLPack, the buffer protocol, lists."""
    try:
        return np.asarray(given)
    except Exception as error:  # another library's own
        raise ArgumentTypeError(f"input {name!r}: {error}; expected an array in the CPU's memory") from None
