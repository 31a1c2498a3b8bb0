"""Weights as sessions: packed once, packed again when they change, shared by all calls on the same tensors.

An operator has no place of its own for a session, and must work on any tensors that it is given, also those of a
compiled or an exported program. So the packed form is kept here, found by the storage of the weights, and taken as
current while their version counters stand still.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections import OrderedDict
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from .. import _core
from ..errors import DeviceError, UnsupportedError
from ..model import Model
from ..session import Session
from .dense import masked_weights

DTYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
CELLS = {"RNN_TANH": "tanh", "RNN_RELU": "relu", "GRU": "gru", "LSTM": "lstm"}
MOST_SEQUENCES = 4096  # of one session

_MOST_WEIGHTS = 256  # sets of weights kept
_MOST_PACKED = 4  # batch sizes that one set is packed for
_SAMPLES = 16  # elements of a tensor that are compared
_REPLAN = 0.1  # change of the number of non-zeros from which on another plan may be better


class Layout(NamedTuple):
    """What the weights do not say themselves."""

    mode: str  # PyTorch's: RNN_TANH, RNN_RELU, GRU, LSTM
    num_layers: int
    bidirectional: bool


def weight_names(count: int, layout: Layout) -> List[str]:
    """PyTorch's names of `count` weights, in its order."""
    directions = 2 if layout.bidirectional else 1
    per_direction = count // (layout.num_layers * directions)
    names = ["weight_ih", "weight_hh"]
    names += ["bias_ih", "bias_hh"] if per_direction >= 4 else []
    names += ["weight_hr"] if per_direction % 2 else []
    return [
        f"{name}_l{layer}{'_reverse' * direction}"
        for layer in range(layout.num_layers)
        for direction in range(directions)
        for name in names
    ]


def to_model(weights: Sequence[Tensor], layout: Layout) -> Model:
    """The weights as a model of sprnn; float64 is rounded to float32."""
    with torch.no_grad():
        values = [w.float().contiguous().cpu().numpy() for w in weights]
    arrays = dict(zip(weight_names(len(values), layout), values))
    return Model(arrays, CELLS[layout.mode], dtype=DTYPES.get(weights[0].dtype, "fp32"))


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version  # a tensor made for inference only has no counter


class _Packed:
    """The weights as packed for one batch size, with the sessions that no call is using."""

    def __init__(self, model: Model, batch: int, device: torch.device) -> None:
        if device.type == "cuda":
            self.packed = model._pack("cuda", batch, 0, f"cuda:{device.index}")
        else:
            target = None if os.environ.get("SPRNN_ENGINE") else "cpu"  # the forced engine may want another
            self.packed = model._pack("auto", batch, 0, target)
        self.batch, self.device = batch, device
        self.generation = 0
        self.idle: Dict[int, List[Tuple[int, Session]]] = {}  # by threads; with the generation of their weights

    def session(self, threads: int) -> Session:
        if self.device.type == "cuda":
            return Session(self.packed, "cuda", self.batch, 0, "", self.device.index, 0.0)
        session = Session(self.packed, "auto", self.batch, 0, "", 0, 0.0)
        if session.threads_at_work > threads:  # no more than PyTorch may take
            session = Session(self.packed, "auto", self.batch, threads, "", 0, 0.0)
        return session


class _Weights:
    """One set of weights."""

    def __init__(self, tensors: Sequence[Tensor], layout: Layout) -> None:
        self.layout = layout
        self.lock = threading.Lock()
        # A weak reference keeps the address of a storage from being used again, so equal addresses are one storage.
        self.storages = [StorageWeakRef(t.untyped_storage()) for t in tensors]
        self.versions: Optional[List[int]] = None
        self.by_batch: OrderedDict[int, Optional[_Packed]] = OrderedDict()  # None: the engine refused
        self.captured: List[Session] = []
        self.finite = True
        self.nonzeros = 0
        self.addresses: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self.digest = 0

    def is_of(self, tensors: Sequence[Tensor]) -> bool:
        return all(r.cdata == t.untyped_storage()._cdata for r, t in zip(self.storages, tensors))

    def expired(self) -> bool:
        return any(r.expired() for r in self.storages)

    def update(
        self, weights: Sequence[Tensor], masks: Sequence[Tensor], masked: Sequence[int], versions: List[int]
    ) -> None:
        """Packs anew what was packed of weights that have changed since."""
        if versions == self.versions and _core._digest(self.addresses) == self.digest:
            return
        self.versions = None  # of nothing, should this fail
        flat = masked_weights(weights, masks, masked)
        # What diverged is PyTorch's to compute: sprnn takes finite weights only.
        self.finite = all(bool(torch.isfinite(w).all()) for w in flat)
        nonzeros = sum(int(torch.count_nonzero(w)) for w in flat)
        if not self.finite or abs(nonzeros - self.nonzeros) > _REPLAN * self.nonzeros:
            self.by_batch.clear()
        if not self.by_batch:
            self.nonzeros = nonzeros
        else:
            model = to_model(flat, self.layout)
            for batch, kept in list(self.by_batch.items()):
                try:
                    if kept is not None:
                        kept.packed = _core.pack(model._dense, kept.packed.plan)
                        kept.generation += 1
                except UnsupportedError:  # these weights want a plan of their own
                    del self.by_batch[batch]
        self.addresses = _sample(weights, flat)
        self.digest = _core._digest(self.addresses)
        self.versions = versions

    def packed(
        self, weights: Sequence[Tensor], masks: Sequence[Tensor], masked: Sequence[int], batch: int
    ) -> Optional[_Packed]:
        if batch not in self.by_batch:
            model, device = to_model(masked_weights(weights, masks, masked), self.layout), weights[0].device
            self.by_batch[batch] = _unless_refused(device, lambda: _Packed(model, batch, device))
            while len(self.by_batch) > _MOST_PACKED:
                self.by_batch.popitem(last=False)
        self.by_batch.move_to_end(batch)
        return self.by_batch[batch]

    def take(self, found: _Packed, threads: int) -> Optional[Tuple[int, Session]]:
        """A session for one call, with the generation of its weights; None: the engine refused."""
        idle = found.idle.setdefault(threads, [])
        if not idle:
            session = _unless_refused(found.device, lambda: found.session(threads))
            if session is None:
                self.by_batch[found.batch] = None
                return None
        else:
            generation, session = idle.pop()
            if generation != found.generation:
                session._set_packed(found.packed)
            if found.device.type == "cuda":
                session._check_now()
        return found.generation, session

    def take_for_graph(self, versions: List[int], batch: int, threads: int) -> Optional[Session]:
        """A session for a call that a CUDA graph captures, of what is packed already: packing waits for the GPU, which
        a capture does not allow. The graph has it for ever, with these weights."""
        found = self.by_batch.get(batch) if self.finite and versions == self.versions else None
        if found is None:
            return None
        idle = found.idle.setdefault(threads, [])
        session = next((s for generation, s in idle if generation == found.generation), None)
        if session is None:
            session = _unless_refused(found.device, lambda: found.session(threads))
        else:
            idle.remove((found.generation, session))
        if session is not None:
            self.captured.append(session)
            _captured.append(session)
        return session

    def check(self) -> None:
        """A run that was given up is an error, of the next call: nothing waits for the GPU."""
        for session in self.captured:
            session._check_now()


_Made = TypeVar("_Made")


def _unless_refused(device: torch.device, make: Callable[[], _Made]) -> Optional[_Made]:
    """Engine cuda refuses what it does not have or does not fit: there PyTorch's operation runs. A refusal on the CPU
    is the caller's to hear: a forced engine, say."""
    try:
        return make()
    except (UnsupportedError, DeviceError):
        if device.type != "cuda":
            raise
        return None


def _sample(weights: Sequence[Tensor], masked: Sequence[Tensor]) -> npt.NDArray[np.uint64]:
    """Addresses of a few stored elements of each weight. A change through `.data`, as old code makes it, is counted
    by no version; one that touches a whole tensor is seen here."""
    addresses = []
    for weight, values in zip(weights, masked):
        storage = weight.untyped_storage()
        if weight.device.type != "cpu" or storage.nbytes() < 4:  # a word is read at each address
            continue
        stored = np.flatnonzero(values.reshape(-1).float().numpy())
        if stored.size == 0:
            stored = np.arange(weight.numel())
        chosen = stored[np.linspace(0, stored.size - 1, _SAMPLES).astype(np.int64)]
        at = np.transpose(np.unravel_index(chosen, weight.shape)) @ np.array(weight.stride())
        words = (weight.data_ptr() + at * weight.element_size()) & ~3
        addresses.append(np.clip(words, storage.data_ptr(), storage.data_ptr() + storage.nbytes() - 4))
    return np.concatenate(addresses).astype(np.uint64) if addresses else np.empty(0, np.uint64)


_lock = threading.Lock()
_known: OrderedDict[Tuple[object, ...], _Weights] = OrderedDict()
_captured: List[Session] = []  # in CUDA graphs, which may be replayed as long as the program runs


def _find(tensors: Sequence[Tensor], layout: Layout) -> _Weights:
    key = (layout, *[t.data_ptr() for t in tensors])
    with _lock:
        found = _known.get(key)
        if found is None or not found.is_of(tensors):
            for old in [k for k, entry in _known.items() if entry.expired()]:
                del _known[old]
            while len(_known) >= _MOST_WEIGHTS:
                _known.popitem(last=False)
            found = _known[key] = _Weights(tensors, layout)
        _known.move_to_end(key)
        return found


@contextlib.contextmanager
def session_for(
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    masked: Sequence[int],
    layout: Layout,
    batch: int,
    capturing: bool = False,
) -> Iterator[Optional[Session]]:
    """A session of the weights for this call alone, or None: no engine runs them.

    capturing   into a CUDA graph: the session is the graph's from then on, and None also if these weights have not run
                before.
    """
    device = weights[0].device
    if weights[0].dtype not in DTYPES or not 1 <= batch <= MOST_SEQUENCES or device.type not in ("cpu", "cuda"):
        yield None
        return
    tensors = [*weights, *masks]
    entry = _find(tensors, layout)
    threads = torch.get_num_threads() if device.type == "cpu" else 0
    versions = [_version(t) for t in tensors]
    if capturing:
        with entry.lock:
            session = entry.take_for_graph(versions, batch, threads)
        yield session
        return
    with entry.lock:
        entry.check()
        entry.update(weights, masks, masked, versions)
        found = entry.packed(weights, masks, masked, batch) if entry.finite else None
        taken = None if found is None else entry.take(found, threads)
    if found is None or taken is None:
        yield None
    else:
        yield taken[1]
        found.idle[threads].append(taken)


def clear() -> None:
    """Forgets all packed weights; they are packed again when they are next used."""
    with _lock:
        _known.clear()


def _free_all() -> None:
    clear()
    _captured.clear()


atexit.register(_free_all)  # while there is an interpreter that sessions can be freed under
