"""The recurrent cells: PyTorch's, and ONNX's variants of them."""

from __future__ import annotations

import dataclasses
from typing import Optional, Sequence, Tuple, Union

import numpy as np

from . import _core
from .errors import ArgumentTypeError, InvalidArgumentError

# ONNX's defaults of alpha and beta, for the activations that take them.
_DEFAULTS = {
    "affine": (1.0, 0.0),
    "leakyrelu": (0.01, 0.0),
    "thresholdedrelu": (1.0, 0.0),
    "scaledtanh": (1.0, 1.0),
    "hardsigmoid": (0.2, 0.5),
    "elu": (1.0, 0.0),
}
_ACTIVATIONS = {"rnn": ("Tanh",), "gru": ("Sigmoid", "Tanh"), "lstm": ("Sigmoid", "Tanh", "Tanh")}


@dataclasses.dataclass(frozen=True)
class Activation:
    """An activation function by ONNX's name, such as "Tanh" or "HardSigmoid"; alpha and beta default as in ONNX."""

    kind: str
    alpha: Optional[float] = None
    beta: Optional[float] = None

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str):
            raise ArgumentTypeError(f"activation {self.kind!r}: expected a name, such as 'Tanh'")
        for name in ("alpha", "beta"):
            _number(f"{name} of activation {self.kind}", getattr(self, name))

    def _data(self) -> Tuple[str, float, float]:
        alpha, beta = _DEFAULTS.get(self.kind.lower(), (0.0, 0.0))
        return (
            self.kind,
            alpha if self.alpha is None else float(self.alpha),
            beta if self.beta is None else float(self.beta),
        )


def _number(name: str, value: Optional[float]) -> None:
    """Throws unless it is one, or absent."""
    if value is not None and not isinstance(value, (int, float, np.number)):
        raise ArgumentTypeError(f"{name} is {value!r}: expected a number")


@dataclasses.dataclass(frozen=True)
class Cell:
    """Everything of a cell that is not a weight.

    kind: "rnn", "gru" or "lstm"; Cell("tanh") and Cell("relu") are the two rnns of PyTorch.
    activations: rnn (f,), gru (f, g), lstm (f, g, h), in ONNX's order; by default those of PyTorch. Names will do.
    reset_before_product: gru; ONNX's linear_before_reset = 0.
    input_forget: lstm; the forget gate is 1 - i.
    clip: bounds the arguments of the activations to [-clip, clip].
    """

    kind: str
    activations: Sequence[Union[str, Activation]] = ()
    reset_before_product: bool = False
    input_forget: bool = False
    clip: Optional[float] = None

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str):
            raise ArgumentTypeError(f"cell {self.kind!r}: expected tanh, relu, rnn, gru or lstm")
        _number("clip", self.clip)
        kind = "rnn" if self.kind in ("tanh", "relu") else self.kind
        if kind not in _ACTIVATIONS:
            raise InvalidArgumentError(f"cell {self.kind!r}: expected tanh, relu, rnn, gru or lstm")
        names = self.activations or (("Relu",) if self.kind == "relu" else _ACTIVATIONS[kind])
        activations = tuple(a if isinstance(a, Activation) else Activation(a) for a in names)
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "activations", activations)
        _core.cell_text(self._data())  # refuses what is not a cell

    def __str__(self) -> str:
        return _core.cell_text(self._data())

    def _data(self) -> _core.CellData:
        return (
            self.kind,
            [a._data() for a in self.activations],  # type: ignore[union-attr]
            self.reset_before_product,
            self.input_forget,
            None if self.clip is None else float(self.clip),
        )

    @classmethod
    def _of(cls, data: _core.CellData) -> Cell:
        kind, activations, reset_before_product, input_forget, clip = data
        return cls(kind, tuple(Activation(*a) for a in activations), reset_before_product, input_forget, clip)
