"""PyTorch's recurrent layers, pruned and fast: drop-ins for torch.nn.RNN, GRU and LSTM.

    report = sprnn.torch.convert(model, density=0.1)   # every recurrent layer inside a model, in place
    layer = sprnn.torch.from_torch(lstm)               # one layer
    schedule = sprnn.torch.GradualPruning(model, density=0.1, start=0, end=10_000)   # while training

Evaluation runs on sprnn's engines, training on PyTorch's own operations with the pruned weights held at zero.
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError("sprnn.torch needs PyTorch: pip install 'sprnn[torch]'", name="torch") from None

from .convert import Left, Report, Swapped, convert
from .layers import GRU, LSTM, RNN, RecurrentLayer, from_torch
from .schedule import GradualPruning

__all__ = [
    "GRU",
    "GradualPruning",
    "LSTM",
    "Left",
    "RNN",
    "RecurrentLayer",
    "Report",
    "Swapped",
    "convert",
    "from_torch",
]
