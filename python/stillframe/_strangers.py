"""Optimizers of the process that are not tracked: whether a step of one changes guarded tensors. A fused one moves no version
counter of what it updates, so its step is met before it runs."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, NamedTuple, Tuple

import torch

from ._walk import storage_id

if TYPE_CHECKING:
    from ._checkpointer import Checkpointer
    from ._state import TrainingState


class _Verdict(NamedTuple):
    of: "weakref.ref[torch.optim.Optimizer]"
    known_at: Tuple[int, int, int]
    changes_guarded: bool


class Strangers:
    """Looks at the parameters of an optimizer once, and again when it or what is guarded has changed."""

    def __init__(self, state: "TrainingState", tracked: Iterable[torch.optim.Optimizer]) -> None:
        """`state`: which tensors are guarded."""
        self._state = state
        self._tracked = frozenset(map(id, tracked))
        self._verdicts: Dict[int, _Verdict] = {}

    def is_tracked(self, optimizer: torch.optim.Optimizer) -> bool:
        return id(optimizer) in self._tracked

    def changes_guarded(self, optimizer: torch.optim.Optimizer) -> bool:
        known_at = (self._state.guard_changes, sum(map(_parameter_count, self._state.optimizers)), _parameter_count(optimizer))
        known = self._verdicts.get(id(optimizer))
        if known is not None and known.of() is optimizer and known.known_at == known_at:
            return known.changes_guarded
        guarded, _ = self._state.storages()
        found = any(storage_id(one) in guarded for group in optimizer.param_groups for one in group["params"]
                    if _has_memory(one))  # fmt: skip
        self._verdicts = {key: one for key, one in self._verdicts.items() if one.of() is not None}
        self._verdicts[id(optimizer)] = _Verdict(weakref.ref(optimizer), known_at, found)
        return found


def _parameter_count(optimizer: Any) -> int:
    return sum(len(group["params"]) for group in optimizer.param_groups)


def _has_memory(parameter: torch.Tensor) -> bool:
    unborn = isinstance(parameter, torch.nn.UninitializedParameter)
    return not unborn and parameter.layout == torch.strided and not parameter.is_meta


_StepHook = Callable[[torch.optim.Optimizer, Tuple[Any, ...], Dict[str, Any]], None]


def stranger_hook(this: "weakref.ref[Checkpointer]") -> _StepHook:
    """For register_optimizer_step_pre_hook(): before the step of every optimizer of the process."""

    def fence_before_a_strangers_step(optimizer: torch.optim.Optimizer, args: Tuple[Any, ...],
                                      kwargs: Dict[str, Any]) -> None:  # fmt: skip
        checkpointer = this()
        if checkpointer is not None:
            checkpointer._before_step_of(optimizer)

    return fence_before_a_strangers_step
