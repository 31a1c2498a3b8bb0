"""The constants of a graph, worked out when they are asked for: initializers and whatever operators make of them."""

from __future__ import annotations

from typing import Dict, List, Optional

import numpy as np
import onnx
import onnx.reference

from .operators import OPERATORS
from .proto import Array, attributes_of, graphs_of, tensor

# Operators that give other values at each run, or take them from elsewhere.
_NOT_CONSTANT = frozenset(
    ("Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)


class Scope:
    """The names of a graph, and of the graphs around it."""

    def __init__(self, graph: onnx.GraphProto, opsets: Dict[str, int], outer: Optional[Scope] = None) -> None:
        self.graph, self.opsets, self._outer = graph, opsets, outer
        self._makers = {name: node for node in graph.node for name in node.output if name}
        self._initial = {proto.name: proto for proto in graph.initializer}
        self._inputs = {info.name for info in graph.input}
        self._known: Dict[str, Optional[Array]] = {}

    def enter(self, graph: onnx.GraphProto) -> Scope:
        """The scope of a graph inside this one, such as a branch of an If."""
        return Scope(graph, self.opsets, self)

    def with_value(self, name: str, value: Array) -> Scope:
        """This scope, as if `name` were a constant."""
        scope = Scope(self.graph, self.opsets, self._outer)
        scope._known[name] = value
        return scope

    def maker(self, name: str) -> Optional[onnx.NodeProto]:
        """The node of this graph that makes a value."""
        return self._makers.get(name)

    def declared(self, name: str) -> List[int]:
        """The extents that the graph declares of a value, 0 for one that is not known; empty: none."""
        for info in (*self.graph.value_info, *self.graph.input, *self.graph.output):
            if info.name == name:
                return [max(axis.dim_value, 0) for axis in info.type.tensor_type.shape.dim]
        return []

    def value(self, name: str) -> Optional[Array]:
        """The value of a constant; None if it is not one, or not one that can be worked out here."""
        waiting, sought = [name], set()
        while waiting:  # no recursion along the nodes: a graph may be a chain of thousands
            last = waiting[-1]
            if last in self._known:
                waiting.pop()
            elif last in sought:  # what it is made of is known, or part of a circle
                self._known[last] = self._find(last)
            else:
                sought.add(last)
                waiting += [used for used in self._used(last) if used not in self._known and used not in sought]
        return self._known[name]

    def _used(self, name: str) -> List[str]:
        """What the node that makes a value takes from this graph's nodes."""
        if name in self._initial or name not in self._makers:
            return []
        return [used for used in self._makers[name].input if used in self._makers]

    def _find(self, name: str) -> Optional[Array]:
        if name in self._initial:
            return _read(self._initial[name])
        if name in self._makers:
            node = self._makers[name]
            return self._run(node, list(node.output).index(name))
        if name in self._inputs or self._outer is None:
            return None
        return self._outer.value(name)

    def _run(self, node: onnx.NodeProto, output: int) -> Optional[Array]:
        inputs = [self._known.get(used) if used in self._makers else self.value(used) if used else None
                  for used in node.input]  # fmt: skip
        if any(used and value is None for used, value in zip(node.input, inputs)):
            return None
        graphs = dict(graphs_of(node))
        if node.op_type == "If" and len(inputs) == 1 and inputs[0] is not None and inputs[0].size == 1:
            branch = graphs.get("then_branch" if inputs[0].item() else "else_branch")
            try:
                return None if branch is None else self.enter(branch).value(branch.output[output].name)
            except RecursionError:  # branches that wait for another If, and so on, hundreds of times
                return None
        if graphs or node.op_type in _NOT_CONSTANT:
            return None
        try:
            if node.op_type in OPERATORS and node.domain in ("", "ai.onnx") and output == 0:
                return OPERATORS[node.op_type](attributes_of(node), inputs, _version(node, self.opsets))
            return _evaluate(node, inputs, self.opsets)[output]
        except Exception:  # onnx's evaluator raises what it likes; what cannot be worked out is not a constant
            return None


def _read(proto: onnx.TensorProto) -> Optional[Array]:
    try:
        return tensor(proto)
    except (TypeError, ValueError):
        return None


def _version(node: onnx.NodeProto, opsets: Dict[str, int]) -> int:
    return int(onnx.defs.get_schema(node.op_type, opsets.get("", opsets.get("ai.onnx", 1)), "").since_version)


def _evaluate(node: onnx.NodeProto, inputs: List[Optional[Array]], opsets: Dict[str, int]) -> List[Array]:
    """By ONNX's own reference implementation."""
    feeds = {name: value for name, value in zip(node.input, inputs) if name}
    graph = onnx.helper.make_graph(
        [node],
        "one node",
        [onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
         for name, value in feeds.items() if value is not None],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in node.output if name],
    )  # fmt: skip
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = onnx.helper.make_model(graph, opset_imports=imports)
    results = iter(onnx.reference.ReferenceEvaluator(model).run(None, feeds))
    return [np.asarray(next(results)) if name else np.zeros(0) for name in node.output]
