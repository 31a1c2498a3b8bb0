"""sprnn: pruned recurrent networks (RNN, GRU, LSTM), run fast.

    model = sprnn.load("model.safetensors").prune(density=0.1)
    session = model.session(batch=1)
    y = session(x)

Needs NumPy alone. The PyTorch layers are in sprnn.torch, ONNX models in sprnn.onnx.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Optional, Union

from . import _core
from ._core import Plan, __version__
from .cell import Activation, Cell
from .errors import Error, ErrorCode
from .model import MatrixReport, Model, Path, VerifyResult, load, prune_mask
from .session import Session

__all__ = [
    "Activation",
    "Cell",
    "Error",
    "ErrorCode",
    "MatrixReport",
    "Model",
    "Plan",
    "Session",
    "VerifyResult",
    "__version__",
    "devices",
    "explain",
    "load",
    "prune_mask",
    "verify",
]


def explain(model: Union[Model, Path], target: Optional[str] = None, batch: int = 1, threads: int = 0) -> str:
    """How a model, or that of a file, runs on a device: the plan, its predicted cost, and what was rejected and why.

    target  "local" (the default), "cpu", "h100", "h200", "a100" or the path of a JSON description; it need not be
            there. A .sprnn file shows the plan inside it if no target is given.
    """
    return _model(model).explain(target, batch, threads)


def verify(model: Union[Model, Path], engine: str = "auto", **options: Any) -> VerifyResult:
    """An engine beside the float64 reference on random input: see Model.verify."""
    return _model(model).verify(engine, **options)


def devices() -> Dict[str, Any]:
    """This machine's processor, GPUs and engines, and the descriptions of the GPUs that plans can be made for."""
    return {
        "cpu": json.loads(_core.device_json("cpu")),
        "cuda": [json.loads(_core.device_json(f"cuda:{i}")) for i in range(_core.gpu_count())],
        "isas": _core.cpu_isas(),
        "engines": _core.engines(),
        "known": {name: json.loads(_core.device_json(name)) for name in ("h100", "h200", "a100")},
    }


def _model(model: Union[Model, Path]) -> Model:
    return model if isinstance(model, Model) else load(model)
