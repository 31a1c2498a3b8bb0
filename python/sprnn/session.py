"""Sessions: a model ready to run, with its state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _core
from .errors import ArgumentTypeError

if TYPE_CHECKING:
    from .model import Model


class Session(_core.Session):
    """A model ready to run, with its state; from `Model.session()`.

    y = session(x, lengths=None, batch_first=False, out=None) runs the timesteps of x from the session's state, which
    then is the state after the last of them. So a stream can come in chunks of any length, with the same bits as in
    one call (a bidirectional model takes whole sequences only, with a reset() in between).

    x        [T, B, input_size], or [B, T, input_size] with batch_first; [T, input_size] will do for a batch of one.
             NumPy or any CPU array that speaks DLPack. float32 in C order is read where it is; other floating types
             and layouts are converted.
    lengths  one integer in 1..T for each sequence, in any order; absent: all T.
    out      where y is to be written: float32 in C order, not overlapping x; absent: a new array.
    y        [T, B, output_size], or as x is; zeros past a sequence's length. float32.

    One thread at a time: a second one gets an error. The interpreter's lock is not held while it runs.
    """

    @property
    def state(self) -> Any:
        """h [layers * directions, B, width], or the pair (h, c) for an lstm, as copies. Assign to replace it."""
        return self.get_state()

    @state.setter
    def state(self, value: Any) -> None:
        self.set_state(value)

    def set_weights(self, model: Model) -> None:
        """Takes the weights of another model of the same shapes, laid out by this session's plan; the state stays.

        Cheap beside making a session: only the packing is done again. For training loops.
        """
        dense = getattr(model, "_dense", None)
        if dense is None:
            raise ArgumentTypeError(f"the weights are a {type(model).__name__}: expected an sprnn.Model")
        self._set_packed(_core.pack(dense, self._plan))

    def __repr__(self) -> str:
        isa = f", isa={self.isa!r}" if self.isa else ""
        return f"<sprnn.Session engine={self.engine!r}{isa}, batch={self.batch}, threads={self.threads}>"
