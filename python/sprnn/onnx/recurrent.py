"""ONNX's recurrent operators RNN, GRU and LSTM on sprnn's engines."""

from __future__ import annotations

import collections
from typing import Any, Dict, List, Optional

import numpy as np
import onnx

from ..cell import Activation, Cell
from ..errors import ArgumentTypeError, InvalidArgumentError
from ..model import Model
from ..session import Session
from .operators import Inputs
from .proto import Array, Attributes, attributes_of, node_text

INPUTS = {
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
}
REQUIRED = 3  # of them
WEIGHTS = {"W": 1, "R": 2, "B": 3, "P": 7}

_GATES = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}  # ONNX's z r h and i o f c, in the order of PyTorch
_ACTIVATIONS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
# Defaults of the activations that take an alpha and a beta: those of onnxruntime 1.32, which for ThresholdedRelu (ONNX's
# operator has 1) and for Affine and ScaledTanh (of which ONNX says none) are 0.
_ALPHAS = {"affine": 0.0, "leakyrelu": 0.01, "thresholdedrelu": 0.0, "scaledtanh": 0.0, "hardsigmoid": 0.2, "elu": 1.0}
_BETAS = {"affine": 0.0, "scaledtanh": 0.0, "hardsigmoid": 0.5}
_REVERSES = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}

_DTYPES = {"float32": "fp32", "float64": "fp32", "float16": "fp16", "bfloat16": "bf16"}  # by NumPy's names
_MOST_SESSIONS = 4  # kept, one for each batch size


def _cells(operator: str, attributes: Attributes, directions: int) -> List[Cell]:
    """One for each direction."""
    each = len(_ACTIVATIONS[operator])
    names = attributes.get("activations") or _ACTIVATIONS[operator] * directions  # onnxruntime takes none as absent
    if len(names) != each * directions:
        raise InvalidArgumentError(
            f"{len(names)} activations: expected {each * directions}, {each} for each of {directions} directions"
        )
    # Those that take an alpha consume the list of alphas, in their order; likewise beta (so does onnxruntime).
    alphas, betas = iter(attributes.get("activation_alpha", ())), iter(attributes.get("activation_beta", ()))
    activations = [
        Activation(
            name,
            next(alphas, _ALPHAS[name.lower()]) if name.lower() in _ALPHAS else None,
            next(betas, _BETAS[name.lower()]) if name.lower() in _BETAS else None,
        )
        for name in names
    ]
    return [
        Cell(
            operator.lower(),
            activations[i : i + each],
            reset_before_product=operator == "GRU" and not attributes.get("linear_before_reset", 0),
            input_forget=bool(attributes.get("input_forget", 0)),
            clip=attributes.get("clip"),
        )
        for i in range(0, len(activations), each)
    ]


class Recurrent:
    """One recurrent node. Its weights may come with each run; they are packed again when they change."""

    def __init__(self, node: onnx.NodeProto, engine: str = "auto", threads: int = 0) -> None:
        attributes = attributes_of(node)
        self.text = node_text(node)
        self.operator: str = node.op_type
        self.model: Optional[Model] = None
        self.fixed = False  # the weights never change
        self._engine, self._threads = engine, threads
        self._direction = attributes.get("direction", "forward")
        self.batch_first = bool(attributes.get("layout", 0))
        self._hidden: Optional[int] = attributes.get("hidden_size")
        try:
            if self._direction not in _REVERSES:
                raise InvalidArgumentError(f"direction {self._direction!r}: expected one of {', '.join(_REVERSES)}")
            self._reverses = _REVERSES[self._direction]
            self.cells = _cells(self.operator, attributes, len(self._reverses))
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{self.text}: {error}") from None
        self._weights: Dict[str, Array] = {}
        self._sessions: collections.OrderedDict[int, Session] = collections.OrderedDict()

    # ---- Weights

    def prepare(self, inputs: Inputs) -> Model:
        """The model with the weights among the inputs, made anew if they differ from the last ones."""
        weights = {name: array for name, at in WEIGHTS.items() if (array := _input(inputs, at)) is not None}
        if self.model is None or not _same(weights, self._weights):
            model = self._make(weights)
            self._weights = {name: array.copy() for name, array in weights.items()}
            self.model = model
            self._sessions.clear()
        return self.model

    def _make(self, weights: Dict[str, Array]) -> Model:
        directions, gates = len(self._reverses), len(_GATES[self.operator])
        for name in ("W", "R"):
            if name not in weights:
                raise InvalidArgumentError(f"{name} is absent")
        w, r = weights["W"], weights["R"]
        hidden = r.shape[-1] if r.ndim == 3 else 0
        if self._hidden not in (None, 0, hidden):
            raise InvalidArgumentError(f"hidden_size is {self._hidden}, but R has shape {list(r.shape)}")
        width = w.shape[-1] if w.ndim == 3 else 0
        shapes = {
            "W": ("[directions, gates * hidden_size, input_size]", (directions, gates * hidden, width)),
            "R": ("[directions, gates * hidden_size, hidden_size]", (directions, gates * hidden, hidden)),
            "B": ("[directions, 2 * gates * hidden_size]", (directions, 2 * gates * hidden)),
            "P": ("[directions, 3 * hidden_size]", (directions, 3 * hidden)),
        }
        for name, array in weights.items():
            axes, expected = shapes[name]
            if array.shape != expected:
                raise InvalidArgumentError(f"{name} has shape {list(array.shape)}: expected {list(expected)}, {axes}")
            if array.dtype != w.dtype or w.dtype.name not in _DTYPES:
                raise ArgumentTypeError(
                    f"{name} is {array.dtype}: expected {w.dtype if w.dtype.name in _DTYPES else 'a floating type'}"
                )
        if hidden == 0 or width == 0:
            raise InvalidArgumentError(f"W has shape {list(w.shape)} and R {list(r.shape)}: expected sizes over 0")
        arrays = {}
        for d, reverse in enumerate(self._reverses):
            suffix = "_l0" + "_reverse" * reverse
            arrays["weight_ih" + suffix] = self._reorder(w[d])
            arrays["weight_hh" + suffix] = self._reorder(r[d])
            if "B" in weights:
                arrays["bias_ih" + suffix] = self._reorder(weights["B"][d, : gates * hidden])
                arrays["bias_hh" + suffix] = self._reorder(weights["B"][d, gates * hidden :])
            if "P" in weights:
                arrays["peephole" + suffix] = _float32(weights["P"][d])
        return Model(arrays, self.cells, dtype=_DTYPES[w.dtype.name])

    def _reorder(self, rows: Array) -> Array:
        gates = np.split(_float32(rows), len(_GATES[self.operator]))
        return np.concatenate([gates[g] for g in _GATES[self.operator]])

    # ---- Running

    def run(self, inputs: Inputs) -> List[Array]:
        """Y, Y_h and, of an LSTM, Y_c."""
        model = self.model if self.fixed and self.model is not None else self.prepare(inputs)
        x = _input(inputs, 0)
        if x is None:
            raise InvalidArgumentError("X is absent")
        if x.ndim != 3 or x.shape[2] != model.input_size:
            axes = "[batch, timesteps, input size]" if self.batch_first else "[timesteps, batch, input size]"
            raise InvalidArgumentError(f"X has shape {list(x.shape)}: expected {axes}, input size {model.input_size}")
        if _DTYPES.get(x.dtype.name) != model.dtype:
            raise ArgumentTypeError(f"X is {x.dtype}, the weights are {model.dtype}: expected the same type")
        steps, batch = (x.shape[1], x.shape[0]) if self.batch_first else x.shape[:2]
        directions, hidden = len(self._reverses), model.hidden_size
        lengths = self._lengths(_input(inputs, 4), steps, batch)
        state = [self._state(_input(inputs, at), at, batch, hidden, x.dtype)
                 for at in ((5, 6) if self.operator == "LSTM" else (5,))]  # fmt: skip

        if steps == 0 or batch == 0:
            y = np.zeros((*x.shape[:2], directions * hidden), np.float32)
        else:
            session = self._session(model, batch)
            session.set_state(tuple(state) if len(state) > 1 else state[0])
            at_least_one = None if lengths is None else np.maximum(lengths, 1)
            y = session(_engine_floats(x), lengths=at_least_one, batch_first=self.batch_first)
            after = session.get_state()
            state = list(after) if len(state) > 1 else [after]
            if lengths is not None and 0 in lengths:  # which sessions do not take; onnxruntime gives zeros for it
                empty = lengths == 0
                y[(empty,) if self.batch_first else (slice(None), empty)] = 0
                for array in state:
                    array[:, empty] = 0

        y = y.reshape(*x.shape[:2], directions, hidden)
        y = y if self.batch_first else y.transpose(0, 2, 1, 3)
        if self.batch_first:
            state = [array.swapaxes(0, 1) for array in state]
        return [array.astype(x.dtype, copy=False) for array in (y, *state)]

    def _session(self, model: Model, batch: int) -> Session:
        session = self._sessions.get(batch)
        if session is None:
            session = self._sessions[batch] = model.session(self._engine, batch, self._threads)
            if len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(batch)
        return session

    def _lengths(self, lengths: Optional[Array], steps: int, batch: int) -> Optional[Array]:
        if lengths is None:
            return None
        if lengths.dtype != np.int32:
            raise ArgumentTypeError(f"sequence_lens is {lengths.dtype}: expected int32")
        if lengths.shape != (batch,):
            raise InvalidArgumentError(f"sequence_lens has shape {list(lengths.shape)}: expected [{batch}], the batch")
        if lengths.size and not (0 <= lengths.min() and lengths.max() <= steps):
            raise InvalidArgumentError(
                f"sequence_lens is {lengths.tolist()}: expected each in 0..{steps}, the timesteps of X"
            )
        return lengths.astype(np.int64)

    def _state(self, state: Optional[Array], at: int, batch: int, hidden: int, dtype: np.dtype[Any]) -> Array:
        """[directions, batch, hidden]."""
        name, directions = INPUTS[self.operator][at], len(self._reverses)
        if state is None:
            return np.zeros((directions, batch, hidden), np.float32)
        shape = (batch, directions, hidden) if self.batch_first else (directions, batch, hidden)
        if state.dtype != dtype:
            raise ArgumentTypeError(f"{name} is {state.dtype}: expected {dtype}, as X is")
        if state.shape != shape:
            raise InvalidArgumentError(f"{name} has shape {list(state.shape)}: expected {list(shape)}")
        return _float32(state.swapaxes(0, 1) if self.batch_first else state)

    # ---- Explaining

    def explain(self, batch: int, target: Optional[str]) -> str:
        cells = ", ".join(dict.fromkeys(map(str, self.cells)))
        head = f"{self.text}: {cells}, {self._direction}"
        if self.model is None:
            return f"{head}: its weights come with each run, and are packed then\n"
        sizes = f"{head}, input {self.model.input_size}, hidden {self.model.hidden_size}"
        return f"{sizes}\n{self.model.explain(target, batch, self._threads)}"


def _input(inputs: Inputs, at: int) -> Optional[Array]:
    return inputs[at] if at < len(inputs) else None


def _same(a: Dict[str, Array], b: Dict[str, Array]) -> bool:
    """Bit for bit."""
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and a[name].shape == b[name].shape and a[name].tobytes() == b[name].tobytes()
        for name in a
    )


def _engine_floats(array: Array) -> Array:
    """NumPy's floating types go as they are; bfloat16 as float32."""
    return _float32(array) if array.dtype.name == "bfloat16" else array


def _float32(array: Array) -> Array:
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)
