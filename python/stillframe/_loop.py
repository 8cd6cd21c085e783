"""What ties a checkpointer to the training loop: warnings at its line, the hook before the update, the end of the process."""

from __future__ import annotations

import os
import sys
import warnings
import weakref
from types import FrameType
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Optional, Tuple, Union

import torch

from . import _abi

if TYPE_CHECKING:
    from ._checkpointer import Checkpointer


def tensors_of(given: Union[torch.Tensor, Iterable[torch.Tensor]]) -> List[torch.Tensor]:
    tensors = [given] if isinstance(given, torch.Tensor) else list(given)
    for one in tensors:
        if not isinstance(one, torch.Tensor):
            raise TypeError(f"guard: a tensor is guarded, not a {type(one).__name__}; of a module give parameters()")
    return tensors


_NOT_THE_USERS = tuple(os.path.dirname(module.__file__ or "") + os.sep for module in (_abi, torch))


def warn(text: str) -> None:
    """Warns at the line of the training loop, which may have come here through torch's hooks."""
    level = 2
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, RuntimeWarning, stacklevel=level)


_StepHook = Callable[[torch.optim.Optimizer, Tuple[Any, ...], Dict[str, Any]], None]


def fence_hook(this: "weakref.ref[Checkpointer]") -> _StepHook:
    def fence_before_step(optimizer: torch.optim.Optimizer, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
        checkpointer = this()
        if checkpointer is not None:
            checkpointer.fence()

    return fence_before_step


def at_exit(this: "weakref.ref[Checkpointer]") -> Callable[[], None]:
    def close_at_exit() -> None:
        checkpointer = this()
        if checkpointer is not None:
            checkpointer.close()

    return close_at_exit
