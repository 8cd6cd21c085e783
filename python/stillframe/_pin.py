"""Pins: checkpoints that retention never removes."""

from __future__ import annotations

import os
from typing import Union

from . import _abi


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def pin(address: Union[str, "os.PathLike[str]"], reason: str = "") -> None:
    """Pins the checkpoint that a restore of `address` would take: retention never removes it.

    A step ("runs/gpt@1000") means the newest checkpoint of that step, also one that is marked bad. Durable on return; needs
    no daemon. `reason` is for people, at most 1024 bytes, and pinning again replaces it. Raises NotFoundError when the
    address has no checkpoint, CorruptError when none can be read, ValueError for a longer reason.
    """
    _abi.check(_abi.library().sf_pin(_bytes(os.fspath(address)), _bytes(reason)))


def unpin(address: Union[str, "os.PathLike[str]"]) -> None:
    """Takes the pin away; no error when there is none. Of several checkpoints of a step the pinned one is meant."""
    _abi.check(_abi.library().sf_unpin(_bytes(os.fspath(address))))
