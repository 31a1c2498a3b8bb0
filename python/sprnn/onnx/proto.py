"""ONNX files and what is in them, as Python and NumPy have it."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Tuple, Union

import numpy as np
import numpy.typing as npt
import onnx
import onnx.inliner

from ..errors import ArgumentTypeError, FileError, FormatError, MissingFileError, UnsupportedError

Array = npt.NDArray[Any]
Attributes = Dict[str, Any]
Source = Union[str, "os.PathLike[str]", onnx.ModelProto]

# The types that arrays may have: those of NumPy, and bfloat16.
_TYPES = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16",
          "UINT32", "UINT64")  # fmt: skip


def read_model(source: Source) -> Tuple[onnx.ModelProto, str]:
    """The model of a file, with its local functions inlined, and a name of it for messages."""
    if isinstance(source, onnx.ModelProto):
        model, name = source, "the ONNX model"
    else:
        try:
            name = os.fspath(source)
        except TypeError:
            raise ArgumentTypeError(
                f"the source is a {type(source).__name__}: expected the path of an .onnx file or an onnx.ModelProto"
            ) from None
        try:
            model = onnx.load(name)
        except FileNotFoundError as error:
            missing = error.filename or name
            raise MissingFileError(f"{missing}: no such file" + f", which {name} needs" * (missing != name)) from None
        except OSError as error:
            raise FileError(f"{name}: {error.strerror or error}") from None
        except Exception as error:  # protobuf's own, and those of tensors kept in other files
            raise FormatError(f"{name}: not an ONNX file: {_first_line(error)}") from None
    if not model.HasField("graph") or not model.opset_import:
        raise FormatError(f"{name}: not an ONNX model: it has no {'opset' if model.HasField('graph') else 'graph'}")
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:  # of one that calls itself, say
            raise FormatError(f"{name}: its local functions cannot be inlined: {_first_line(error)}") from None
    return model, name


def check_graph(model: onnx.ModelProto, name: str) -> None:
    """Throws FormatError for a node that is ill-formed, or that uses what no node before it makes.

    The checker of whole models refuses more than other programs do, such as outputs whose shape is not declared.
    """
    graph, opsets = model.graph, opsets_of(model)
    known = {"", *(info.name for info in graph.input), *(proto.name for proto in graph.initializer)}
    for node in graph.node:
        try:
            check_node(node, opsets)
        except FormatError as error:
            raise FormatError(f"{name}: {node_text(node)}: {error}") from None
        for used in node.input:
            if used not in known:
                raise FormatError(f"{name}: {node_text(node)} uses {used!r}, which nothing before it makes")
        for made in filter(None, node.output):
            if made in known:
                raise FormatError(f"{name}: {node_text(node)} makes {made!r}, which is there already")
            known.add(made)
    for info in graph.output:
        if not info.name or info.name not in known:
            raise FormatError(f"{name}: output {info.name!r} is made by nothing")


def check_node(node: onnx.NodeProto, opsets: Dict[str, int]) -> None:
    """Throws FormatError for a node that its operator's schema does not allow."""
    context = onnx.checker.C.CheckerContext()
    context.ir_version = onnx.IR_VERSION
    context.opset_imports = opsets
    try:
        onnx.checker.check_node(node, context)
    except onnx.checker.ValidationError as error:
        raise FormatError(_first_line(error)) from None
    except UnicodeDecodeError:  # of the checker's message
        raise FormatError("its names are not UTF-8") from None
    if not all(isinstance(text, str) for text in (node.name, *node.input, *node.output)):
        raise FormatError("its names are not UTF-8")


def opsets_of(model: onnx.ModelProto) -> Dict[str, int]:
    """The version of each domain."""
    return {opset.domain: opset.version for opset in model.opset_import}


def opset_of(model: onnx.ModelProto, name: str) -> int:
    """The version of ONNX's own operators."""
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            if opset.version > onnx.defs.onnx_opset_version():
                raise UnsupportedError(
                    f"{name} is of opset {opset.version}: the installed onnx {onnx.__version__} knows up to "
                    f"{onnx.defs.onnx_opset_version()}; install a newer one"
                )
            return int(opset.version)
    domains = ", ".join(sorted(opset.domain for opset in model.opset_import))
    raise UnsupportedError(f"{name} imports operators of {domains} only: expected ONNX's own")


def node_text(node: onnx.NodeProto) -> str:
    """"LSTM 'encoder'", for messages; a node without a name goes by its first output."""
    operator = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    output = next((name for name in node.output if name), "")
    return f"{operator} {node.name!r}" if node.name or not output else f"{operator} of {output!r}"


def attributes_of(node: onnx.NodeProto) -> Attributes:
    """By name; text as str. Subgraphs are in graphs_of()."""
    attributes = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif attribute.type == onnx.AttributeProto.STRINGS:
            value = [text.decode(errors="replace") for text in value]
        attributes[attribute.name] = value
    return attributes


def graphs_of(node: onnx.NodeProto) -> List[Tuple[str, onnx.GraphProto]]:
    """The graphs inside a node, such as the branches of an If, by the names of their attributes."""
    graphs = [(a.name, a.g) for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return graphs + [(a.name, g) for a in node.attribute for g in a.graphs]


def dtype_of(elem_type: int) -> np.dtype[Any]:
    """NumPy's type for one of ONNX's element types. Throws TypeError for one that has none here."""
    types = onnx.TensorProto.DataType
    name = types.Name(elem_type) if elem_type in types.values() else str(elem_type)
    if name not in _TYPES:
        raise TypeError(f"elements of type {name}: expected one of {', '.join(_TYPES)}")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))
    if name == "BFLOAT16" and dtype.name != "bfloat16":
        raise TypeError(f"elements of type BFLOAT16, which onnx {onnx.__version__} reads as another: install 1.19 or newer")
    return dtype


def tensor(proto: onnx.TensorProto) -> Array:
    """The array in a TensorProto. Throws TypeError for a type that there is not here, ValueError for a broken one."""
    dtype_of(proto.data_type)
    try:
        return np.asarray(onnx.numpy_helper.to_array(proto))
    except Exception as error:  # whatever the reading of a broken tensor leads to
        raise ValueError(f"it does not hold what it declares: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
