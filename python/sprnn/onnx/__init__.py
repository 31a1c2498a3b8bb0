"""ONNX models: run their recurrent layers, or take them out.

    outputs = sprnn.onnx.load("model.onnx").run({"x": x})    # {output name: array}
    sprnn.onnx.extract("model.onnx")                         # model.safetensors, for sprnn.load

Needs the package onnx: pip install 'sprnn[onnx]'.
"""

from __future__ import annotations

try:
    import onnx as _  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "onnx":
        raise
    raise ModuleNotFoundError("sprnn.onnx needs the package onnx: pip install 'sprnn[onnx]'", name="onnx") from None

from .extract import Layers, extract, layers
from .graph import Graph, Input
from .proto import Source

__all__ = ["Graph", "Input", "Layers", "extract", "layers", "load"]


def load(source: Source, engine: str = "auto", threads: int = 0) -> Graph:
    """A graph of the operators RNN, GRU and LSTM with small ones between them, ready to run.

    The small ones are Cast, Concat, Constant, ConstantOfShape, Expand, Gather, Identity, Reshape, Shape, Slice,
    Squeeze, Transpose and Unsqueeze; a graph with any other is refused by name.

    source   the path of a .onnx file, or an onnx.ModelProto.
    engine   as in Model.session: "auto" is the first that runs the layer, which `explain` shows.
    threads  0: as many as are of use.
    """
    return Graph(source, engine, threads)
