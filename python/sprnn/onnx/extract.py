"""Takes the recurrent layers out of any ONNX graph."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import struct
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np
import onnx

from .. import _core
from ..errors import Error, InvalidArgumentError, UnsupportedError
from ..model import Model
from ..model import Path as FilePath
from . import recurrent
from .constants import Scope
from .operators import OPERATORS
from .proto import Array, Source, check_node, graphs_of, node_text, opset_of, opsets_of, read_model
from .recurrent import Recurrent

_WRITER = "sprnn.onnx.extract"
_MOST_NUMBERS = 2**26  # in place of a Y


@dataclasses.dataclass(frozen=True)
class Layers:
    """The recurrent layers of an ONNX graph."""

    models: Mapping[str, Model]  # by prefix, such as "decoder.rnn."; a stack of layers is one model
    nodes: Mapping[str, Tuple[str, ...]]  # by the same prefixes: those that the model stands for, copies included
    left: Mapping[str, str]  # nodes that are not among them -> why
    path: Optional[str] = None  # of the file that was written

    def __str__(self) -> str:
        lines = [f"{prefix}: {model}, from {', '.join(self.nodes[prefix])}" for prefix, model in self.models.items()]
        return "\n".join(lines + [f"left out: {node}: {why}" for node, why in self.left.items()])


def layers(source: Source) -> Layers:
    """The recurrent layers of a graph as models, ONNX's variants of the cells included.

    Their weights are worked out from initializers, constants and what operators come between; the branches of an If
    and the bodies of loops are entered; layers of which one feeds the next are stacked; identical copies are merged.
    """
    graph, name = read_model(source)
    opset_of(graph, name)
    scope = Scope(graph.graph, opsets_of(graph))
    models: Dict[str, Model] = {}
    nodes: Dict[str, Tuple[str, ...]] = {}
    left: Dict[str, str] = {}
    for stack in _stacks(scope, left):
        model, members = _join(stack), tuple(layer.text for layer in stack)
        twin = next((prefix for prefix, other in models.items() if _equal(model, other)), None)
        prefix = twin or _prefix(stack[0], models)
        models.setdefault(prefix, model)
        nodes[prefix] = nodes.get(prefix, ()) + members
    if not models and not left:
        raise UnsupportedError(
            f"{name} has no recurrent layers: no node, in any branch, is one of {', '.join(recurrent.INPUTS)} "
            f"(a cell that an exporter wrote out as products and activations is not recognised)"
        )
    return Layers(models, nodes, left)


def extract(source: Source, path: Optional[FilePath] = None) -> Layers:
    """Writes the recurrent layers of a graph as a checkpoint under PyTorch's names, for sprnn.load().

    A layer that those names have no place for (peepholes, clip, a GRU with linear_before_reset = 0, ...) is left out
    and is in the result's `left`; `layers` gives it as a model, which can be saved as .sprnn.

    path  of the .safetensors file; absent: the source's name with that ending, where a file is replaced only if an
          earlier extract() wrote it.
    """
    found = layers(source)
    if path is None:
        if isinstance(source, onnx.ModelProto):
            raise InvalidArgumentError("the ONNX model has no path: name the file to be written")
        path = os.path.splitext(os.fspath(source))[0] + ".safetensors"
        if os.path.exists(path) and not _is_ours(path):
            raise InvalidArgumentError(f"{path} exists and is not an earlier extract's: name the file to be written")
    models, left = {}, dict(found.left)
    for prefix, model in found.models.items():
        if why := _core.checkpoint_refusal(model._dense):
            left.update(dict.fromkeys(found.nodes[prefix], why))
        else:
            models[prefix] = model
    if not models:
        reasons = "; ".join(f"{node}: {why}" for node, why in left.items())
        raise UnsupportedError(f"{source if isinstance(path, str) else path}: no layer can be written: {reasons}")
    _core.save_modules(path, {prefix: model._dense for prefix, model in models.items()}, {"writer": _WRITER})
    return Layers(models, {prefix: found.nodes[prefix] for prefix in models}, left, os.fspath(path))


# ---- Finding


@dataclasses.dataclass
class _Layer:
    text: str
    node: onnx.NodeProto
    scope: Scope
    model: Model


def _stacks(scope: Scope, left: Dict[str, str]) -> Iterator[List[_Layer]]:
    """Layers, those that only feed the next one together; those of inner graphs after those around them."""
    found: Dict[str, _Layer] = {}  # by their output Y
    inner: List[Scope] = []
    for node in scope.graph.node:
        inner += [scope.enter(graph) for _, graph in graphs_of(node)]
        if node.op_type in recurrent.INPUTS and node.domain in ("", "ai.onnx"):
            try:
                check_node(node, scope.opsets)
                layer = _Layer(node_text(node), node, scope, _model(node, scope))
                found[(node.output[0] if node.output else "") or layer.text] = layer
            except Error as error:
                left[node_text(node)] = str(error).removeprefix(node_text(node) + ": ")
    below = {name: under for name, layer in found.items() if (under := _below(layer, found)) is not None}
    above: Dict[str, str] = {}
    for name, under in below.items():
        if sum(1 for other in below.values() if other == under) == 1:  # a layer that feeds two is a stack of its own
            above[under] = name
    for name in found:
        if name not in above.values():
            stack = [name]
            while stack[-1] in above:
                stack.append(above[stack[-1]])
            yield [found[member] for member in stack]
    for one in inner:
        yield from _stacks(one, left)


def _model(node: onnx.NodeProto, scope: Scope) -> Model:
    inputs: List[Optional[Array]] = [None] * len(node.input)
    names = recurrent.INPUTS[node.op_type]
    for at, used in enumerate(node.input):
        if used and names[at] in recurrent.WEIGHTS:
            inputs[at] = scope.value(used)
            if inputs[at] is None:
                raise UnsupportedError(f"{names[at]} is not a constant")
    return Recurrent(node).prepare(inputs)


def _below(layer: _Layer, found: Mapping[str, _Layer]) -> Optional[str]:
    """The Y of the layer that feeds this one as one layer of a stack feeds the next: its directions side by side."""
    name, passed = layer.node.input[0], set()
    while name not in found:  # back along the data through the small operators
        maker = layer.scope.maker(name)
        if maker is None or maker.op_type not in OPERATORS or not maker.input or name in passed:
            return None
        passed.add(name)
        name = maker.input[0]
    under = found[name]
    directions = 2 if under.model.bidirectional else 1
    fits = (
        under.node.op_type == layer.node.op_type
        and under.model.cells == layer.model.cells
        and under.model.dtype == layer.model.dtype
        and under.model.hidden_size == layer.model.hidden_size
        and layer.model.input_size == under.model.output_size
        and [_plain(n) for n in under.model.arrays()] == [_plain(n) for n in layer.model.arrays()]
        and (layout := Recurrent(under.node).batch_first) == Recurrent(layer.node).batch_first
    )
    if not fits:
        return None
    # What the operators between do is seen by running them on random numbers in place of Y: of any size, and of that
    # which the graph declares, where shapes may be constants.
    for steps, batch in dict.fromkeys(((2, 3), _declared_size(under, layout))):
        shape = (steps, directions, batch, under.model.hidden_size)
        if math.prod(shape) > _MOST_NUMBERS:
            continue
        y = np.random.default_rng(0).random(shape, np.float32)
        x = y.transpose(0, 2, 1, 3).reshape(steps, batch, -1)
        if layout:
            y, x = y.transpose(2, 0, 1, 3), x.transpose(1, 0, 2)
        seen = layer.scope.with_value(name, y).value(layer.node.input[0])
        if seen is not None and np.array_equal(seen, x):
            return str(name)
    return None


def _declared_size(layer: _Layer, batch_first: bool) -> Tuple[int, int]:
    """Timesteps and batch, as the graph declares them of X or Y; 2 and 3 where it does not."""
    of_x, of_y = layer.scope.declared(layer.node.input[0]), layer.scope.declared(layer.node.output[0])
    first, second = of_x[:2] if len(of_x) == 3 else (0, 0)
    if len(of_y) == 4:  # [T, D, B, H], or [B, T, D, H]
        first, second = first or of_y[0], second or of_y[1 if batch_first else 2]
    return (second or 2, first or 3) if batch_first else (first or 2, second or 3)


def _plain(name: str) -> str:
    return re.sub(r"_l\d+", "_l0", name)


def _join(stack: List[_Layer]) -> Model:
    if len(stack) == 1:
        return stack[0].model
    arrays = {
        name.replace("_l0", f"_l{at}"): array for at, one in enumerate(stack) for name, array in one.model.arrays().items()
    }
    return Model(arrays, stack[0].model.cells, dtype=stack[0].model.dtype)


def _equal(a: Model, b: Model) -> bool:
    """Bit for bit."""
    if (a.cells, a.dtype) != (b.cells, b.dtype):
        return False
    ours, theirs = a.arrays(), b.arrays()
    return ours.keys() == theirs.keys() and all(
        ours[name].shape == theirs[name].shape and ours[name].tobytes() == theirs[name].tobytes() for name in ours
    )


def _prefix(layer: _Layer, taken: Mapping[str, Model]) -> str:
    """After the node's name, less the operator's that exporters end it with: "decoder.rnn." of /decoder/rnn/LSTM."""
    parts = [part for part in layer.node.name.split("/") if part]
    if parts and re.fullmatch(rf"{layer.node.op_type}(_\d+)?", parts[-1]) and len(parts) > 1:
        parts.pop()
    name = ".".join(parts) or layer.node.op_type.lower()
    prefix, count = f"{name}.", 1
    while prefix in taken:
        count += 1
        prefix = f"{name}_{count}."
    return prefix


def _is_ours(path: str) -> bool:
    """Whether the metadata of a .safetensors file says so."""
    try:
        with open(path, "rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(size, 2**26)))
        return bool(header["__metadata__"]["writer"] == _WRITER)
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return False
