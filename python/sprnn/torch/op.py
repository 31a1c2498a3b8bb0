"""The operator sprnn::rnn: a recurrent layer on masked weights, for eager, compiled and exported programs alike."""

from __future__ import annotations

from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from . import dense
from .dense import Outputs
from .sessions import Layout, session_for

_SCHEMA = (
    "Tensor x, Tensor? batch_sizes, Tensor? h0, Tensor? c0, Tensor[] weights, Tensor[] masks, int[] masked, "
    "str mode, int num_layers, bool bidirectional, bool batch_first"
)
torch.library.define("sprnn::rnn", f"({_SCHEMA}) -> (Tensor y, Tensor hn, Tensor cn)")
torch.library.define("sprnn::rnn_backward", f"(Tensor grad_y, Tensor grad_hn, Tensor grad_cn, {_SCHEMA}) -> Tensor[]")
rnn = torch.ops.sprnn.rnn.default


class _Call(NamedTuple):
    """The arguments of an operator, in the order of its schema."""

    x: Tensor  # [T, B, I], [B, T, I] with batch_first, or the data of a PackedSequence with its batch_sizes
    batch_sizes: Optional[Tensor]
    h0: Optional[Tensor]  # [L*D, B, ...], or zeros
    c0: Optional[Tensor]
    weights: List[Tensor]  # as in torch.nn's _flat_weights
    masks: List[Tensor]  # of the weights at the positions `masked`
    masked: List[int]
    mode: str  # as torch.nn's
    num_layers: int
    bidirectional: bool
    batch_first: bool

    @property
    def layout(self) -> Layout:
        return Layout(self.mode, self.num_layers, self.bidirectional)

    def leaves(self) -> List[Tensor]:
        """What has a gradient."""
        return [t for t in (self.x, self.h0, self.c0, *self.weights) if t is not None]

    def detached(self) -> _Call:
        """The same values, to differentiate by."""
        return self._each(lambda t: t.detach().requires_grad_())

    def aliased(self) -> _Call:
        """The same, still part of the graph that they come from; one tensor in two places counts in each."""
        return self._each(lambda t: t.view_as(t) if t.requires_grad else t.detach().requires_grad_())

    def _each(self, change: Callable[[Tensor], Tensor]) -> _Call:
        h0, c0 = (None if t is None else change(t) for t in (self.h0, self.c0))
        return self._replace(x=change(self.x), h0=h0, c0=c0, weights=[change(w) for w in self.weights])


@torch.library.impl("sprnn::rnn", "default")
def _rnn(*arguments: Any) -> Outputs:
    call = _Call(*arguments)
    x, batch_sizes, weights = call.x, call.batch_sizes, call.weights
    # Into a CUDA graph: lengths lie in the host's memory, from which a replay would copy them.
    capturing = x.is_cuda and torch.cuda.is_current_stream_capturing()
    if x.numel() > 0 and not (capturing and batch_sizes is not None):
        padded, lengths = (x, None) if batch_sizes is None else _padded(x, batch_sizes)
        batch_first = call.batch_first and batch_sizes is None
        batch = padded.size(0 if batch_first else 1)
        with session_for(weights, call.masks, call.masked, call.layout, batch, capturing) as session:
            if session is not None:
                run = _run_cuda if x.is_cuda else _run
                y, hn, cn = run(session, padded, lengths, call.h0, call.c0, weights, call.layout, batch_first)
                if lengths is not None:
                    y = torch._VF._pack_padded_sequence(y, lengths, False)[0]
                return y, hn, cn
    y, hn, cn = dense.run(*call)
    return y.contiguous(), hn, cn


def _padded(data: Tensor, batch_sizes: Tensor) -> Tuple[Tensor, Tensor]:
    """[T, B, I], and the length of each sequence."""
    dense.check_packed(data, batch_sizes)
    return torch._VF._pad_packed_sequence(data, batch_sizes, False, 0.0, batch_sizes.size(0))


def _run(
    session: Any,
    x: Tensor,
    lengths: Optional[Tensor],
    h0: Optional[Tensor],
    c0: Optional[Tensor],
    weights: Sequence[Tensor],
    layout: Layout,
    batch_first: bool,
) -> Outputs:
    """On the CPU's engines, which read and write float32."""
    dtype = x.dtype
    x = x.float().contiguous()
    y, hn, cn = _outputs(x, session.batch, weights, layout)
    h0, c0 = (None if s is None else s.float().contiguous() for s in (h0, c0))
    session._run_whole(
        x.size(1 if batch_first else 0),
        x.data_ptr(),
        y.data_ptr(),
        0 if lengths is None else lengths.data_ptr(),
        batch_first,
        0 if h0 is None else h0.data_ptr(),
        0 if c0 is None else c0.data_ptr(),
        hn.data_ptr(),
        cn.data_ptr(),
    )
    return y.to(dtype), hn.to(dtype), cn.to(dtype)


def _run_cuda(
    session: Any,
    x: Tensor,
    lengths: Optional[Tensor],
    h0: Optional[Tensor],
    c0: Optional[Tensor],
    weights: Sequence[Tensor],
    layout: Layout,
    batch_first: bool,
) -> Outputs:
    """On engine cuda, in the current stream, which nothing waits for."""
    x = x.contiguous()
    y, hn, cn = _outputs(x, session.batch, weights, layout)
    h0, c0 = (None if s is None else s.to(x.dtype).contiguous() for s in (h0, c0))
    on_gpu = None if lengths is None else lengths.to(x.device, non_blocking=True)
    session._run_device(
        x.size(1 if batch_first else 0),
        x.data_ptr(),
        y.data_ptr(),
        0 if on_gpu is None else on_gpu.data_ptr(),
        batch_first,
        0 if h0 is None else h0.data_ptr(),
        0 if c0 is None else c0.data_ptr(),
        hn.data_ptr(),
        cn.data_ptr(),
        torch.cuda.current_stream(x.device).cuda_stream,
    )
    return y, hn, cn


def _outputs(x: Tensor, batch: int, weights: Sequence[Tensor], layout: Layout) -> Outputs:
    """y, hn and cn of a padded x, not written yet."""
    directions = 2 if layout.bidirectional else 1
    rows, width = weights[1].shape
    states = layout.num_layers * directions
    y = x.new_empty((*x.shape[:2], directions * width))
    return (
        y,
        x.new_empty((states, batch, width)),
        x.new_empty((states, batch, rows // 4) if layout.mode == "LSTM" else 0),
    )


@torch.library.register_fake("sprnn::rnn")
def _rnn_fake(*arguments: Any) -> Outputs:
    call = _Call(*arguments)
    x = call.x
    for tensor in (*call.weights, *call.masks):  # one on "meta" among others brings a call here that is to be run
        if tensor.device != x.device:
            raise RuntimeError(
                f"sprnn::rnn: the input is on {x.device}, a weight or mask of shape {list(tensor.shape)} on "
                f"{tensor.device}: move them to one device"
            )
    states = call.num_layers * (2 if call.bidirectional else 1)
    rows, width = call.weights[1].shape
    batch = x.size(0 if call.batch_first else 1) if call.h0 is None else call.h0.size(1)
    y = x.new_empty((*x.shape[:-1], (2 if call.bidirectional else 1) * width))
    hn = x.new_empty((states, batch, width))
    cn = x.new_empty((states, batch, rows // 4) if call.mode == "LSTM" else (0,))
    return y, hn, cn


# ---- Gradients: by PyTorch's own operations, which run forward once more. An operator too, so that a compiled
# program takes it as a whole.


def _gradients(grads: Sequence[Tensor], call: _Call, create_graph: bool = False) -> Tuple[Tensor, ...]:
    # cuDNN keeps what its backward needs in training only.
    outputs = dense.run(*call, train=True)
    count = 3 if call.mode == "LSTM" else 2
    return torch.autograd.grad(outputs[:count], call.leaves(), grads[:count], create_graph=create_graph)


@torch.library.impl("sprnn::rnn_backward", "default")
def _rnn_backward(grad_y: Tensor, grad_hn: Tensor, grad_cn: Tensor, *arguments: Any) -> List[Tensor]:
    with torch.enable_grad():
        found = _gradients((grad_y, grad_hn, grad_cn), _Call(*arguments).detached())
    return [g.contiguous() for g in found]


@torch.library.register_fake("sprnn::rnn_backward")
def _rnn_backward_fake(grad_y: Tensor, grad_hn: Tensor, grad_cn: Tensor, *arguments: Any) -> List[Tensor]:
    return [t.new_empty(t.shape) for t in _Call(*arguments).leaves()]


def _setup_context(ctx: Any, inputs: Tuple[Any, ...], output: Outputs) -> None:
    x, batch_sizes, h0, c0, weights, masks, *ctx.options = inputs
    ctx.count = len(weights)
    ctx.save_for_backward(x, batch_sizes, h0, c0, *weights, *masks)


def _backward(ctx: Any, *grads: Tensor) -> Tuple[Any, ...]:
    x, batch_sizes, h0, c0, *rest = ctx.saved_tensors
    call = _Call(x, batch_sizes, h0, c0, rest[: ctx.count], rest[ctx.count :], *ctx.options)
    if torch.is_grad_enabled():  # create_graph: the gradients are to be differentiated in turn
        found = iter(_gradients(grads, call.aliased(), create_graph=True))
    else:
        found = iter(torch.ops.sprnn.rnn_backward(*grads, *call))
    of_x, of_h0, of_c0 = (None if t is None else next(found) for t in (x, h0, c0))
    # PyTorch wants the structure of the inputs, and takes a list of numbers as one leaf unless it is empty.
    of_masked: Optional[List[int]] = None if call.masks else []
    return of_x, None, of_h0, of_c0, list(found), [None] * len(call.masks), of_masked, None, None, None, None


torch.library.register_autograd("sprnn::rnn", _backward, setup_context=_setup_context)
