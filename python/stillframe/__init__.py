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

import importlib
from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from ._checkpointer import Checkpointer
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
    from ._pin import pin, unpin
    from ._reader import Skipped, load
    from ._restore import Restored
    from ._retention import Retention
    from ._ticket import Alarm, CrashCost, Ticket, Timings
    from ._types import EnumValue

__version__ = "0.1.0"

__all__ = [
    "Alarm",
    "BusyError",
    "Checkpointer",
    "CorruptError",
    "CrashCost",
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
    "pin",
    "unpin",
]

# Looked up when first used: the command line starts without loading torch.
_MODULES = {
    "_checkpointer": ("Checkpointer",),
    "_pin": ("pin", "unpin"),
    "_reader": ("Skipped", "load"),
    "_restore": ("Restored",),
    "_retention": ("Retention",),
    "_ticket": ("Alarm", "Ticket", "Timings"),
    "_types": ("EnumValue",),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'stillframe' has no attribute {name!r}")
    module = next((one for one, names in _MODULES.items() if name in names), "_errors")
    value = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted([*globals(), *__all__])
