"""Every recurrent layer inside a model made sprnn's, in place."""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Mapping, Optional, Tuple, Union

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from ..model import MatrixReport
from .layers import FROM_TORCH, RecurrentLayer, adopt

_RECURRENT = ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")


@dataclasses.dataclass(frozen=True)
class Swapped:
    """A layer that was swapped; one that the model has under several names is listed under the first."""

    name: str
    layer: RecurrentLayer
    matrices: Tuple[MatrixReport, ...]  # what pruning did; empty without it


@dataclasses.dataclass(frozen=True)
class Left:
    """A recurrent module that was left as it is."""

    name: str
    type: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Report:
    """What convert() did; str() is for people."""

    swapped: Tuple[Swapped, ...]
    left: Tuple[Left, ...]

    def __str__(self) -> str:
        lines = []
        for swap in self.swapped:
            lines.append(f"swapped {swap.name}: {swap.layer}")
            lines += [f"  {matrix}" for matrix in swap.matrices]
        lines += [f"left {left.name} ({left.type}): {left.reason}" for left in self.left]
        return "\n".join(lines or ["no recurrent module"])


def convert(
    model: torch.nn.Module,
    density: Optional[Union[float, Mapping[str, float]]] = None,
    input_density: Optional[float] = None,
    pattern: str = "unstructured",
) -> Report:
    """Swaps every torch.nn.RNN, GRU and LSTM inside a model, in place, and prunes them.

    The parameters stay the same objects, so an optimizer made before goes on. Either all are swapped, or there is an
    error and none is. Zeros among the weights are masked as by from_torch. What compile() made of a layer is dropped:
    call it again where it is wanted.

    density        of the recurrent matrices: one number, or one for each layer by its name in the model, where layers
                   that are not named are left; absent: swapped without pruning. (With "N:M" the pattern says it.)
    input_density  of the input matrices; absent: they are left alone.
    """
    if isinstance(model, (*FROM_TORCH, RecurrentLayer)):
        raise TypeError(
            f"convert: the model is itself a {type(model).__name__}, and what holds it is not known here: use "
            f"sprnn.torch.from_torch(model), or prune() of a layer that is sprnn's"
        )
    places: Dict[int, List[Tuple[torch.nn.Module, str]]] = {}  # of each module: it may be shared
    found: Dict[str, torch.nn.Module] = {}  # by the first of its names
    for path, parent in model.named_modules():
        for child_name, child in parent._modules.items():  # with repeats, unlike named_children()
            if child is None:
                continue
            if id(child) not in places:
                found[f"{path}.{child_name}" if path else child_name] = child
            places.setdefault(id(child), []).append((parent, child_name))

    wanted = density if isinstance(density, Mapping) else None
    left: List[Left] = []
    swaps: List[Tuple[Swapped, torch.nn.Module, Dict[str, Tensor]]] = []
    for name, module in found.items():
        reason = _why_not(module)
        if reason == "" and wanted is not None and name not in wanted:
            reason = "not named among the densities"
        if reason:
            left.append(Left(name, type(module).__name__, reason))
        elif reason is not None:
            layer = adopt(module)  # type: ignore[arg-type]
            masks: Dict[str, Tensor] = {}
            matrices: Tuple[MatrixReport, ...] = ()
            of_layer = density if wanted is None else wanted[name]
            if of_layer is not None or input_density is not None or pattern != "unstructured":
                masks, matrices = layer._pruned(of_layer, input_density, pattern)  # type: ignore[arg-type]
            swaps.append((Swapped(name, layer, matrices), module, masks))
    unknown = [name for name in wanted or () if name not in {swap.name for swap, _, _ in swaps}]
    if unknown:
        raise InvalidArgumentError(
            f"density of {unknown[0]!r}: no layer of that name can be swapped; there are "
            f"{', '.join(repr(swap.name) for swap, _, _ in swaps) or 'none'}"
        )
    for swap, module, masks in swaps:
        swap.layer._take_masks(masks)
        for parent, child_name in places[id(module)]:
            setattr(parent, child_name, swap.layer)
    return Report(tuple(swap for swap, _, _ in swaps), tuple(left))


def _why_not(module: torch.nn.Module) -> Optional[str]:
    """Why a recurrent module is not swapped: empty if it is; None for what is not recurrent."""
    if type(module) in FROM_TORCH:
        plain = all(name in module._parameters for name in module._flat_weights_names)  # type: ignore[union-attr]
        if not plain:
            return "its weights are computed from others (torch.nn.utils.prune, weight_norm): remove that first"
        if "forward" in module.__dict__:  # which would go on calling the old module
            return "its forward was replaced (by accelerate's hooks?): convert before that is done"
        return ""
    if isinstance(module, RecurrentLayer):
        return "it is sprnn's already: prune() it itself"
    if isinstance(module, torch.jit.ScriptModule):
        return "TorchScript cannot be changed: convert before scripting" if module.original_name in _RECURRENT else None
    if isinstance(module, torch.nn.modules.rnn.RNNCellBase):
        return "a cell runs one timestep at a time; only layers are swapped"
    if torch.nn.utils.parametrize.is_parametrized(module) and isinstance(module, tuple(FROM_TORCH)):
        return "its weights are parametrized: torch.nn.utils.parametrize.remove_parametrizations first"
    if isinstance(module, torch.nn.RNNBase):
        return "a subclass may compute something else: sprnn.torch.from_torch takes torch.nn's own"
    if type(module).__name__ in _RECURRENT:
        return f"it is {type(module).__module__}'s, not torch.nn's"
    return None
