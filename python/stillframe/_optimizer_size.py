"""How large the state of an optimizer will be that has not taken its first step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict

import torch

from . import _accelerator
from ._shards import local_of


@dataclass(frozen=True)
class Size:
    """Of a state: bytes of its tensors, how many tensors, and a GPU that some of them are on, as _accelerator counts."""

    bytes: int = 0
    tensors: int = 0
    gpu: int = _accelerator.HOST

    def __add__(self, other: Size) -> Size:
        return Size(self.bytes + other.bytes, self.tensors + other.tensors, max(self.gpu, other.gpu))


_Group = Dict[str, Any]


def _adam(group: _Group) -> int:
    return 3 if group.get("amsgrad") else 2


def _sgd(group: _Group) -> int:
    return 1 if group.get("momentum") else 0


def _rmsprop(group: _Group) -> int:
    return 1 + bool(group.get("momentum")) + bool(group.get("centered"))


# Tensors of a parameter's size that the step() of each keeps for it.
_TENSORS_FOR_A_PARAMETER: Dict[str, Callable[[_Group], int]] = {
    "Adadelta": lambda group: 2,
    "Adagrad": lambda group: 1,
    "Adam": _adam,
    "AdamW": _adam,
    "Adamax": lambda group: 2,
    "ASGD": lambda group: 1,
    "NAdam": lambda group: 2,
    "RAdam": lambda group: 2,
    "RMSprop": _rmsprop,
    "Rprop": lambda group: 2,
    "SGD": _sgd,
}


# As many as Adam keeps. More makes the arena grow at the first snapshot after a step.
def _unknown(group: _Group) -> int:
    return 2


# A counter of steps beside them.
_COUNTER = Size(4, 1)


def state_to_come(optimizer: Any) -> Size:
    """What the optimizer will keep for the trained parameters for which it keeps nothing yet."""
    size = Size()
    for group in optimizer.param_groups:
        tensors = _TENSORS_FOR_A_PARAMETER.get(type(optimizer).__name__, _unknown)(group)
        for parameter in group["params"]:
            lacks_shape = isinstance(parameter, torch.nn.UninitializedParameter)
            if parameter in optimizer.state or not parameter.requires_grad or lacks_shape or tensors == 0:
                continue
            size += Size(tensors * local_of(parameter).nbytes, tensors) + _COUNTER
    return size
