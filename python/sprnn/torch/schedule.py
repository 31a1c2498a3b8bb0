"""Gradual magnitude pruning (Zhu and Gupta, "To prune, or not to prune", 2017): a callback for any training loop."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import torch

from ..errors import InvalidArgumentError
from ..model import MatrixReport
from .layers import RecurrentLayer


class GradualPruning:
    """Prunes the sprnn.torch layers of a model while it trains.

    Call step() once after each step of the optimizer. From call `start` to call `end`, counted from 0, every
    `frequency` calls and at `end`, the layers are pruned to

        density + (initial_density - density) * (1 - (call - start) / (end - start)) ** 3

    which takes most weights early, while there is time to recover. What is pruned stays pruned. Every call brings
    weights that the optimizer moved off zero back to it.

    It computes from the weights alone: processes that train in parallel, whose weights are the same bits, get the same
    masks.

    Matrices that it prunes have a mask from the start, so that an average of the model (torch.optim.swa_utils)
    that is made after it gets their masks at each update.

    model          whose layers, wrapped or not (DistributedDataParallel).
    density        to end at, of the recurrent matrices.
    input_density  to end at, of the input matrices; absent: they are left alone.
    pattern        "unstructured", "row", "global" (within a layer), "block:RxC" or "unit:UxC". ("N:M" has no
                   densities between: prune the layers once.)
    """

    def __init__(
        self,
        model: torch.nn.Module,
        density: float,
        *,
        start: int = 0,
        end: int,
        frequency: int = 100,
        initial_density: float = 1.0,
        input_density: Optional[float] = None,
        pattern: str = "unstructured",
    ) -> None:
        self.layers: Dict[str, RecurrentLayer] = {
            name: module for name, module in model.named_modules() if isinstance(module, RecurrentLayer)
        }
        if not self.layers:
            raise InvalidArgumentError(
                "GradualPruning: the model has no sprnn.torch layer; make some with sprnn.torch.convert(model)"
            )
        for name, value in (("density", density), ("initial_density", initial_density), ("input_density", input_density)):
            if value is not None and not 0.0 <= value <= 1.0:
                raise InvalidArgumentError(f"{name} is {value}: expected a number in [0, 1]")
        if max(density, input_density or 0.0) > initial_density:
            raise InvalidArgumentError(
                f"initial_density is {initial_density}: expected at least the final densities, {density}"
                + ("" if input_density is None else f" and {input_density}")
            )
        if not 0 <= start <= end:
            raise InvalidArgumentError(f"start is {start}, end is {end}: expected 0 <= start <= end")
        if frequency < 1:
            raise InvalidArgumentError(f"frequency is {frequency}: expected 1 or more")
        if pattern[:1].isdigit():
            raise InvalidArgumentError(
                f"pattern {pattern!r} says its density itself, so there is nothing to go through: prune the layers once"
            )
        self.density, self.input_density, self.initial_density = density, input_density, initial_density
        self.start, self.end, self.frequency, self.pattern = start, end, frequency, pattern
        self.calls = 0
        for layer in self.layers.values():
            layer._schedule([n for n in layer._matrix_names() if n.startswith("weight_hh") or input_density is not None])

    def density_at(self, call: int, final: Optional[float] = None) -> float:
        """The scheduled density at a call of step()."""
        final = self.density if final is None else final
        if call < self.start:
            return self.initial_density
        left = 1.0 - (call - self.start) / (self.end - self.start) if call < self.end else 0.0
        return final + (self.initial_density - final) * left**3

    def step(self) -> Optional[Dict[str, Tuple[MatrixReport, ...]]]:
        """To be called after each step of the optimizer: what was pruned of each layer, or None if it was not due."""
        call, self.calls = self.calls, self.calls + 1
        if not self.is_due(call):
            for layer in self.layers.values():
                layer.apply_masks()
            return None
        of_input = None if self.input_density is None else self.density_at(call, self.input_density)
        return {
            name: layer.prune(self.density_at(call), of_input, self.pattern) for name, layer in self.layers.items()
        }

    def is_due(self, call: int) -> bool:
        """Whether a call of step() prunes."""
        inside = self.start <= call <= self.end
        return inside and (call == self.end or (call - self.start) % self.frequency == 0)

    def state_dict(self) -> Dict[str, Any]:
        """How far it is; the masks themselves are in the zeros of the model's state_dict."""
        return {"calls": self.calls}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Goes on from there; the model's own state_dict is loaded beside."""
        self.calls = int(state["calls"])
