"""Stillframe: a still frame of a training run that never stops moving.

    import stillframe
    ckpt = stillframe.Checkpointer("runs/gpt", model=model, optimizer=optimizer, scheduler=scheduler, rng=True)
    resumed = ckpt.restore()                      # None if the run has no checkpoint
    for step in range(resumed.step + 1 if resumed else 0, steps):
        ...                                       # forward, backward, optimizer.step(): the fence places itself
        ticket = ckpt.snapshot(step, metrics={"loss": loss})
    ckpt.close()                                  # waits for durable
"""

from __future__ import annotations

from ._checkpointer import Checkpointer, Retention
from ._errors import (
    BusyError,
    CorruptError,
    DeadlineError,
    InternalError,
    InvalidArgumentError,
    MismatchError,
    NoSpaceError,
    NotFoundError,
    StillframeError,
    StorageError,
    UnavailableError,
    UnsupportedError,
)
from ._reader import Skipped, load
from ._restore import Restored
from ._ticket import Ticket, Timings
from ._types import EnumValue

__version__ = "0.1.0"

__all__ = [
    "BusyError",
    "Checkpointer",
    "CorruptError",
    "DeadlineError",
    "EnumValue",
    "InternalError",
    "InvalidArgumentError",
    "MismatchError",
    "NoSpaceError",
    "NotFoundError",
    "Restored",
    "Retention",
    "Skipped",
    "StillframeError",
    "StorageError",
    "Ticket",
    "Timings",
    "UnavailableError",
    "UnsupportedError",
    "load",
]
