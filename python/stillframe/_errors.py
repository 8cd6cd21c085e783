"""The exceptions of the package: one class for each code of the C library."""

from __future__ import annotations

from typing import Dict, Type


class StillframeError(Exception):
    """Anything Stillframe reports. The message says what happened, what is safe and what to do."""


class InvalidArgumentError(StillframeError, ValueError):
    """A value that no call accepts: an empty store, a negative rank, a malformed address."""


class NotFoundError(StillframeError, LookupError):
    """There is no such store, run or step."""


class CorruptError(StillframeError):
    """Bytes that do not match their checksum, or a text that breaks the format."""


class MismatchError(StillframeError):
    """Names, dtypes or shapes of a checkpoint differ from the live objects. `differences` lists all of them."""

    def __init__(self, message: str, differences: "tuple[str, ...]" = ()) -> None:
        super().__init__(message)
        self.differences = differences


class BusyError(StillframeError):
    """Another living process writes this run, and the message names it; or nothing can be copied at this moment, and so the
    snapshot was skipped."""


class NoSpaceError(StillframeError):
    """The file system or the arena's budget is full."""


class StorageError(StillframeError):
    """A file operation failed; the message names the file."""


class DeadlineError(StillframeError, TimeoutError):
    """A wait ended before what it waited for."""


class UnavailableError(StillframeError):
    """No daemon answers, the checkpointer is closed, or this is a forked child."""


class UnsupportedError(StillframeError):
    """Valid, but not for this version or machine: a newer format, a missing NumPy."""


class InternalError(StillframeError):
    """A defect of Stillframe itself."""


_BY_CODE: Dict[int, Type[StillframeError]] = {
    1: InvalidArgumentError,
    2: NotFoundError,
    3: CorruptError,
    4: MismatchError,
    5: BusyError,
    6: NoSpaceError,
    7: StorageError,
    8: DeadlineError,
    9: UnavailableError,
    10: UnsupportedError,
    11: InternalError,
}


def error_for(code: int, message: str) -> StillframeError:
    """The exception for an sf_code other than 0; an unknown code is an InternalError that names it."""
    kind = _BY_CODE.get(code)
    if kind is None:
        return InternalError(f"unknown error code {code}: {message}")
    return kind(message or f"{kind.__name__} without a message")
