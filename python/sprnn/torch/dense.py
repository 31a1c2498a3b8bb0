"""PyTorch's own recurrent operations on masked weights: training, gradients, and what no engine runs."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor, _VF

Outputs = Tuple[Tensor, Tensor, Tensor]  # y, h_n, c_n; c_n is empty unless it is an lstm


def masked_weights(weights: Sequence[Tensor], masks: Sequence[Tensor], masked: Sequence[int]) -> List[Tensor]:
    """The weights, with +0.0 where a mask is False. Not a product, which would leave -0.0 and NaN there.

    masks   of those weights whose positions are in `masked`.
    """
    flat = list(weights)
    for i, mask in zip(masked, masks):
        flat[i] = torch.where(mask, flat[i], 0.0)
    return flat


def check_packed(data: Tensor, batch_sizes: Tensor) -> None:
    """Throws for batch_sizes that no packing of sequences gives; PyTorch's own padding writes where they say."""
    if batch_sizes.dim() == 1 and batch_sizes.numel() > 0 and batch_sizes.dtype == torch.int64 and batch_sizes.is_cpu:
        falls = bool((batch_sizes[1:] <= batch_sizes[:-1]).all()) and int(batch_sizes[-1]) >= 0
        if falls and int(batch_sizes.sum()) == data.size(0):
            return
    more = ", ..." if batch_sizes.numel() > 8 else ""
    found = ", ".join(map(str, batch_sizes.flatten()[:8].tolist())) + more
    raise RuntimeError(
        f"PackedSequence: batch_sizes are [{found}] ({batch_sizes.dtype}, shape {list(batch_sizes.shape)}, on "
        f"{batch_sizes.device}): expected how many sequences each timestep has, int64 in the CPU's memory, none more "
        f"than the one before, together the {data.size(0)} rows of data; pack_sequence and pack_padded_sequence make them"
    )


def run(
    x: Tensor,
    batch_sizes: Optional[Tensor],
    h0: Optional[Tensor],
    c0: Optional[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    masked: Sequence[int],
    mode: str,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
    dropout: float = 0.0,
    train: bool = False,
) -> Outputs:
    """torch.nn's forward: arguments as those of the operator sprnn::rnn."""
    if batch_sizes is not None:
        check_packed(x, batch_sizes)
    flat = masked_weights(weights, masks, masked)
    directions = num_layers * (2 if bidirectional else 1)
    bias = len(flat) // directions >= 4
    if h0 is None:
        batch = x.size(0 if batch_first else 1) if batch_sizes is None else int(batch_sizes[0])
        h0 = x.new_zeros(directions, batch, flat[1].size(1))
        c0 = x.new_zeros(directions, batch, flat[1].size(0) // 4) if mode == "LSTM" else None
    hx = (h0, c0) if mode == "LSTM" else h0
    options = (flat, bias, num_layers, dropout, train, bidirectional)
    function = getattr(_VF, mode.lower())
    if batch_sizes is None:
        result = function(x, hx, *options, batch_first)
    else:
        result = function(x, batch_sizes, hx, *options)
    return result if mode == "LSTM" else (*result, x.new_empty(0))
