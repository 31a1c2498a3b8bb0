"""The layers: torch.nn.RNN, GRU and LSTM with masks on their weights."""

from __future__ import annotations

import warnings
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Type, TypeVar, Union

import torch
from torch import Tensor
from torch.nn.modules.module import _WrappedHook
from torch.nn.utils.rnn import PackedSequence

from ..model import Density, MatrixReport, Model
from . import dense, op
from .sessions import Layout, to_model

Hidden = Union[Tensor, Tuple[Tensor, Tensor]]


class RecurrentLayer(torch.nn.modules.rnn.RNNBase):
    """What RNN, GRU and LSTM share.

    Constructor, forward and state_dict are those of torch.nn's layer of the same name. Beyond it, each entry of the
    matrices weight_ih and weight_hh can be masked: a masked entry is zero for all that the layer computes, gets no
    gradient and is zero in the state_dict. Masks come from `prune`, or are read off weights that come in with zeros in
    them, by `from_torch` or `load_state_dict`. They are buffers beside the state_dict (mask_hh_l0, True: kept).

    In training, and where an engine has no way (float64, autocast), PyTorch's own operation runs on the masked weights;
    else a session of sprnn, kept until the weights change. A write through `.data` is counted by no version: one to a
    whole tensor in the CPU's memory is seen all the same; after one to single elements, or to a tensor on a GPU, call
    `sprnn.torch.sessions.clear`.

    Not a subclass of torch.nn.LSTM and so on, at which torch.compile stops.
    """

    _scheduled: Tuple[str, ...] = ()  # matrices that always have a mask, if only of True

    def __init__(self, mode: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(mode, *args, **kwargs)
        self._prepare_masks()

    def _prepare_masks(self) -> None:
        for name in self._matrix_names():
            self.register_buffer(_mask_name(name), None, persistent=False)
        self.register_state_dict_pre_hook(_before_state_dict)

    def _matrix_names(self) -> List[str]:
        """Of the weights that can be masked."""
        return [name for name in self._flat_weights_names if name.startswith(("weight_ih", "weight_hh"))]

    # ---- Masks

    def masks(self) -> Dict[str, Tensor]:
        """True where an entry is kept, for each matrix that is masked."""
        found = {name: self._buffers[_mask_name(name)] for name in self._matrix_names()}
        return {name: mask for name, mask in found.items() if mask is not None}

    def prune(
        self,
        density: Optional[Density] = None,
        input_density: Optional[Density] = None,
        pattern: str = "unstructured",
    ) -> Tuple[MatrixReport, ...]:
        """Masks the smallest weights, in place, and says what that cost. Arguments as sprnn.Model.prune's.

        What is masked stays masked: a later call can only take more. A zero that is not masked is a weight like
        others, the smallest; a matrix of nothing else is left alone and is not in the report.
        """
        kept, report = self._pruned(density, input_density, pattern)
        self._take_masks(kept)
        return report

    def _pruned(
        self, density: Optional[Density], input_density: Optional[Density], pattern: str
    ) -> Tuple[Dict[str, Tensor], Tuple[MatrixReport, ...]]:
        """What `prune` would mask, and its report."""
        weights, masks, masked = self._tensors()
        flat = dense.masked_weights(weights, masks, masked)
        zero: List[str] = []
        # sprnn's models take a zero as pruned: one that is not masked goes there as the least number that they have.
        with torch.no_grad():
            for i, name in enumerate(self._flat_weights_names):
                if name not in self._matrix_names():
                    continue
                if not bool(flat[i].any()):
                    zero.append(name)
                    continue
                mask, absent = self._buffers[_mask_name(name)], flat[i].float() == 0
                least = 2.0**-24 if flat[i].dtype == torch.float16 else torch.finfo(torch.float32).tiny
                flat[i] = torch.where(absent if mask is None else absent & mask, least, flat[i])
        pruned = to_model(flat, self._layout()).prune(density, input_density, pattern)
        kept = pruned.masks()
        report = tuple(r for r in pruned.report if r.name not in zero)
        return {r.name: torch.from_numpy(kept[r.name]) for r in report}, report

    def _take_masks(self, masks: Mapping[str, Tensor]) -> None:
        for name, mask in masks.items():
            self._set_mask(name, mask)
        self.apply_masks()

    def apply_masks(self) -> None:
        """Zeroes masked entries that are not, as after a step of an optimizer with momentum from before a pruning.

        They count as zero anyway; this is for who reads the parameters. `GradualPruning.step` and `state_dict` do it.
        """
        with torch.no_grad():
            for name, mask in self.masks().items():
                weight = getattr(self, name)
                if not weight.is_meta and bool(((weight != 0) & ~mask).any()):  # else its version stays
                    weight.copy_(torch.where(mask, weight, 0.0))

    def remove_masks(self) -> None:
        """Lets the masked entries be trained again, from zero."""
        self.apply_masks()
        for name in self._matrix_names():
            self._set_mask(name, None)

    def density(self) -> Dict[str, float]:
        """Kept entries / entries, for each matrix; nan on the device "meta", which holds no values."""
        found = dict.fromkeys(self._matrix_names(), 1.0)
        for name, mask in self.masks().items():
            found[name] = float("nan") if mask.is_meta else int(torch.count_nonzero(mask)) / mask.numel()
        return found

    def _schedule(self, names: List[str]) -> None:
        """Gives matrices a mask of True until they are pruned, so that the buffers are the same ones all along."""
        self._scheduled = tuple(names)
        for name in names:
            if self._buffers[_mask_name(name)] is None:
                self._set_mask(name, torch.ones_like(getattr(self, name), dtype=torch.bool))

    def _set_mask(self, name: str, mask: Optional[Tensor]) -> None:
        old, device = self._buffers[_mask_name(name)], getattr(self, name).device
        if mask is None and old is not None and name in self._scheduled:
            mask = torch.ones_like(old)
        if mask is None or old is None or old.device != device:  # load_state_dict(assign=True) brings another device
            setattr(self, _mask_name(name), None if mask is None else mask.to(device, copy=True))
        else:
            old.copy_(mask)  # in place, for whoever holds it: DistributedDataParallel, a captured graph

    def _mask_zeros(self, names: List[str]) -> None:
        """Takes zeros as masked, but for those of a matrix as training starts from: all zeros, or the identity.

        (So the mask of one that was pruned and not trained since is not in its zeros.)
        """
        with torch.no_grad():
            for name in names:
                weight = getattr(self, name)
                if not weight.is_meta:
                    stored = weight != 0  # -0.0, as torch.nn.utils.prune leaves it, is none
                    count = int(torch.count_nonzero(stored))
                    masked = 0 < count < weight.numel() and not self._is_identity(weight, count)
                    self._set_mask(name, stored if masked else None)

    def _is_identity(self, weight: Tensor, nonzeros: int) -> bool:
        """A multiple of it, of the whole matrix or of some of its gates."""
        if not 1 < nonzeros <= weight.size(0):
            return False
        rows, columns = torch.nonzero(weight, as_tuple=True)
        values, diagonal = weight[rows, columns], (columns == rows) | (columns == rows % self.hidden_size)
        return bool((diagonal & (values == values[0])).all())

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._mask_zeros([name for name in self._matrix_names() if prefix + name in state_dict])

    # ---- Elsewhere

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RecurrentLayer:
        super()._apply(fn, recurse)
        for name, mask in self.masks().items():
            if mask.dtype != torch.bool:  # Module.type() converts all buffers, whatever they hold
                self._buffers[_mask_name(name)] = mask.bool()
        return self

    def model(self) -> Model:
        """The masked weights as a model of sprnn: to save, explain, verify. float64 is rounded to float32."""
        weights, masks, masked = self._tensors()
        return to_model(dense.masked_weights(weights, masks, masked), self._layout())

    def to_torch(self) -> torch.nn.RNNBase:
        """A layer of torch.nn with copies of the masked weights."""
        self.apply_masks()
        return _copy(self, next(cls for cls, ours in FROM_TORCH.items() if isinstance(self, ours)))

    # ---- Running

    def forward(self, input: Union[Tensor, PackedSequence], hx: Optional[Hidden] = None) -> Tuple[Any, Hidden]:
        if isinstance(input, PackedSequence):
            x, batch_sizes, sorted_indices, unsorted_indices = input
            self._check_input(x, 2)
            h0, c0 = self._states(hx, int(batch_sizes[0]), x)
            if h0 is None:  # the batch is known here only
                h0, c0 = self._zeros(int(batch_sizes[0]), x)
            h0, c0 = _permuted(h0, sorted_indices), _permuted(c0, sorted_indices)
            y, hn, cn = self._run(x, batch_sizes, h0, c0)
            output = PackedSequence(y, batch_sizes, sorted_indices, unsorted_indices)
            return output, self._hidden(_permuted(hn, unsorted_indices), _permuted(cn, unsorted_indices))
        x = input
        if x.dim() not in (2, 3):
            raise ValueError(f"{self._get_name()}: expected input to be 2D or 3D, got {x.dim()}D instead")
        batched = x.dim() == 3
        batch_axis = 0 if self.batch_first else 1
        if not batched:
            x = x.unsqueeze(batch_axis)
        self._check_input(x, 3)
        h0, c0 = self._states(hx, x.size(batch_axis), x, batched)
        y, hn, cn = self._run(x, None, h0, c0)
        if not batched:
            y, hn = y.squeeze(batch_axis), hn.squeeze(1)
            cn = cn.squeeze(1) if self.mode == "LSTM" else cn
        return y, self._hidden(hn, cn)

    def _run(
        self, x: Tensor, batch_sizes: Optional[Tensor], h0: Optional[Tensor], c0: Optional[Tensor]
    ) -> Tuple[Tensor, Tensor, Tensor]:
        arguments = (x, batch_sizes, h0, c0, *self._tensors(), *self._layout(), self.batch_first)
        drops = self.training and self.dropout > 0 and self.num_layers > 1
        # Training changes the weights before they are used again: not worth packing. An exported program is for later.
        trains = self.training and torch.is_grad_enabled() and not torch.compiler.is_exporting()
        if drops or trains or _autocast(x):
            y, hn, cn = _run_dense(*arguments, dropout=self.dropout, train=self.training)
        else:
            y, hn, cn = op.rnn(*arguments)
        return y, hn, cn

    def _layout(self) -> Layout:
        return Layout(self.mode, self.num_layers, self.bidirectional)

    def _tensors(self) -> Tuple[List[Tensor], List[Tensor], List[int]]:
        """The weights, the masks, and the positions of the masked ones among the weights."""
        weights = [getattr(self, name) for name in self._flat_weights_names]
        masks = [self._buffers.get(_mask_name(name)) for name in self._flat_weights_names]
        return weights, [m for m in masks if m is not None], [i for i, m in enumerate(masks) if m is not None]

    def _hidden(self, hn: Any, cn: Any) -> Hidden:
        return (hn, cn) if self.mode == "LSTM" else hn

    # ---- What comes in; errors are of PyTorch's kinds

    def _check_input(self, x: Tensor, dim: int) -> None:
        weight = self.weight_ih_l0
        if x.dtype != weight.dtype and not _autocast(x):
            raise ValueError(
                f"{self._get_name()}: input has dtype {x.dtype}, the weights {weight.dtype}: convert the one by "
                f"input.to({weight.dtype}) or the other by layer.to({x.dtype})"
            )
        if x.dim() != dim:
            raise RuntimeError(f"{self._get_name()}: input must have {dim} dimensions, got {x.dim()}")
        if x.size(-1) != self.input_size:
            raise RuntimeError(
                f"{self._get_name()}: input.size(-1) must be equal to input_size. Expected {self.input_size}, got "
                f"{x.size(-1)}"
            )
        self._check_device("input", x)

    def _check_device(self, name: str, tensor: Tensor) -> None:
        if tensor.device != self.weight_ih_l0.device:
            raise RuntimeError(
                f"{self._get_name()}: {name} is on {tensor.device}, the weights are on {self.weight_ih_l0.device}: "
                f"move one to the other's"
            )

    def _state_shape(self, batch: int, cell: bool) -> Tuple[int, int, int]:
        width = self.hidden_size if cell or self.proj_size == 0 else self.proj_size
        return self.num_layers * (2 if self.bidirectional else 1), batch, width

    def _zeros(self, batch: int, x: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
        c0 = x.new_zeros(self._state_shape(batch, True)) if self.mode == "LSTM" else None
        return x.new_zeros(self._state_shape(batch, False)), c0

    def _states(
        self, hx: Optional[Hidden], batch: int, x: Tensor, batched: bool = True
    ) -> Tuple[Optional[Tensor], Optional[Tensor]]:
        """h0 and c0, [L*D, B, ...], from what forward was given."""
        if hx is None:
            return None, None
        if self.mode == "LSTM":
            if isinstance(hx, Tensor) or len(hx) != 2:
                raise TypeError(f"{self._get_name()}: hx is the pair (h_0, c_0) of tensors, got {type(hx).__name__}")
            return self._state("h_0", hx[0], batch, x, batched), self._state("c_0", hx[1], batch, x, batched)
        return self._state("hx", hx, batch, x, batched), None

    def _state(self, name: str, state: object, batch: int, x: Tensor, batched: bool) -> Tensor:
        if not isinstance(state, Tensor):
            raise TypeError(f"{self._get_name()}: {name} is a {type(state).__name__}: expected a tensor")
        expected = self._state_shape(batch, name == "c_0")
        given = expected if batched else (expected[0], expected[2])
        if state.shape != given:
            raise RuntimeError(
                f"{self._get_name()}: {name} has shape {list(state.shape)}, expected {list(given)} (layers x "
                f"directions, {'batch, ' if batched else ''}{'hidden size' if name == 'c_0' else 'width of h'})"
            )
        if state.dtype != x.dtype and not _autocast(x):
            raise RuntimeError(
                f"{self._get_name()}: {name} has dtype {state.dtype}, input {x.dtype}: convert it by "
                f"{name}.to({x.dtype})"
            )
        self._check_device(name, state)
        return state if batched else state.unsqueeze(1)

    def extra_repr(self) -> str:
        masked = ", ".join(f"{name}: {kept:.3g}" for name, kept in self.density().items() if kept < 1.0)
        return str(super().extra_repr()) + (f", density={{{masked}}}" if masked else "")


class RNN(RecurrentLayer):
    """torch.nn.RNN with masks on its weights: see RecurrentLayer."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        self.nonlinearity = nonlinearity
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, *args, **kwargs)


class GRU(RecurrentLayer):
    """torch.nn.GRU with masks on its weights: see RecurrentLayer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)


class LSTM(RecurrentLayer):
    """torch.nn.LSTM with masks on its weights: see RecurrentLayer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


FROM_TORCH: Dict[Type[torch.nn.RNNBase], Type[RecurrentLayer]] = {
    torch.nn.RNN: RNN,
    torch.nn.GRU: GRU,
    torch.nn.LSTM: LSTM,
}


def from_torch(module: torch.nn.RNNBase) -> RecurrentLayer:
    """The layer with copies of the weights of a torch.nn.RNN, GRU or LSTM; zeros among them are masked.

    A matrix that is all zeros or a multiple of the identity, as training starts from, is not masked.
    One that torch.nn.utils.prune has been at is taken as pruned.
    """
    if type(module) not in FROM_TORCH:
        names = ", ".join(f"torch.nn.{cls.__name__}" for cls in FROM_TORCH)
        raise TypeError(
            f"from_torch: expected one of {names}, found a {type(module).__module__}.{type(module).__qualname__}"
        )
    layer = _copy(module, FROM_TORCH[type(module)])
    layer._mask_zeros(layer._matrix_names())
    return layer


def adopt(module: torch.nn.RNNBase) -> RecurrentLayer:
    """The same, taking over the parameters themselves, hooks, and whatever else the module has."""
    cls = FROM_TORCH[type(module)]
    layer = cls.__new__(cls)
    layer.__dict__.update({k: v.copy() if isinstance(v, (dict, list)) else v for k, v in module.__dict__.items()})
    layer.__dict__.pop("_compiled_call_impl", None)  # of compile(): it would call the old module
    hooks = layer._load_state_dict_pre_hooks
    for key, hook in hooks.items():
        if isinstance(hook, _WrappedHook) and hook.with_module:
            hooks[key] = _WrappedHook(hook.hook, layer)
    layer._prepare_masks()
    layer._mask_zeros(layer._matrix_names())
    return layer


_Layer = TypeVar("_Layer", bound=torch.nn.RNNBase)


def _copy(module: torch.nn.RNNBase, cls: Callable[..., _Layer]) -> _Layer:
    """A `cls` of the same sizes with copies of the weights."""
    options: Dict[str, Any] = {"nonlinearity": module.nonlinearity} if module.mode.startswith("RNN") else {}
    if module.mode == "LSTM":
        options["proj_size"] = module.proj_size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of dropout with one layer: said when the original was made
        layer = cls(
            module.input_size,
            module.hidden_size,
            module.num_layers,
            bias=module.bias,
            batch_first=module.batch_first,
            dropout=module.dropout,
            bidirectional=module.bidirectional,
            device="meta",  # no memory, no random numbers
            **options,
        )
    for name in module._flat_weights_names:
        weight, trained = getattr(module, name), True
        if name in module._parameters:
            trained = weight.requires_grad
        elif name + "_orig" in module._parameters:  # torch.nn.utils.prune; the product itself may be out of date
            orig = getattr(module, name + "_orig")
            weight, trained = orig * getattr(module, name + "_mask"), orig.requires_grad
        setattr(layer, name, torch.nn.Parameter(weight.detach().clone(), requires_grad=trained))
    layer._init_flat_weights()
    layer.train(module.training)
    return layer


def _autocast(x: Tensor) -> bool:
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def _before_state_dict(layer: RecurrentLayer, prefix: str, keep_vars: bool) -> None:
    layer.apply_masks()


def _mask_name(name: str) -> str:
    return name.replace("weight", "mask")


def _permuted(state: Optional[Tensor], permutation: Optional[Tensor]) -> Optional[Tensor]:
    if state is None or permutation is None or state.dim() == 1:  # the empty c_n of what is not an lstm
        return state
    return state.index_select(1, permutation)


@torch.compiler.disable
def _run_dense(*arguments: Any, **options: Any) -> dense.Outputs:
    """As a whole: torch.compile would unroll the timesteps, which is why it stops at torch.nn's layers too."""
    return dense.run(*arguments, **options)
