"""What sprnn raises: `Error`, and subclasses of it that are also Python's usual exceptions."""

from __future__ import annotations

import enum


class ErrorCode(enum.IntEnum):
    """As in the C++ and C interfaces."""

    INVALID_ARGUMENT = 1
    FORMAT = 2
    IO = 3
    UNSUPPORTED = 4
    DEVICE = 5
    DEADLINE = 6
    OUT_OF_MEMORY = 7
    INTERRUPTED = 8
    INTERNAL = 9


class Error(Exception):
    """Base of all. The message names the thing, what was found, what was expected and what to do."""

    code = ErrorCode.INTERNAL


class InvalidArgumentError(Error, ValueError):
    """A value, shape, option or name that the caller passed."""

    code = ErrorCode.INVALID_ARGUMENT


class ArgumentTypeError(Error, TypeError):
    """An argument of the wrong kind: not an array, or of the wrong dtype or device."""

    code = ErrorCode.INVALID_ARGUMENT


class BusyError(Error, RuntimeError):
    """A session that another thread is using."""

    code = ErrorCode.INVALID_ARGUMENT


class FormatError(Error, ValueError):
    """A file or a text that does not say what it should."""

    code = ErrorCode.FORMAT


class FileError(Error, OSError):
    """The operating system refused: unreadable, unwritable, disk full."""

    code = ErrorCode.IO


class MissingFileError(FileError, FileNotFoundError):
    """A file that is not there."""


class UnsupportedError(Error, NotImplementedError):
    """A valid request that the chosen engine or strategy does not have."""

    code = ErrorCode.UNSUPPORTED


class DeviceError(Error, RuntimeError):
    """No device, or the device failed."""

    code = ErrorCode.DEVICE


class DeadlineError(Error, TimeoutError):
    """A run that was given up because it took too long.

    The session wants its state set or reset before it goes on.
    """

    code = ErrorCode.DEADLINE


class OutOfMemoryError(Error, MemoryError):
    """No memory for what was asked for."""

    code = ErrorCode.OUT_OF_MEMORY


class StoppedError(Error, RuntimeError):
    """A progress callback asked to stop."""

    code = ErrorCode.INTERRUPTED


class InternalError(Error, RuntimeError):
    """A fault of sprnn itself."""

    code = ErrorCode.INTERNAL
