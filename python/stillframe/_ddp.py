"""Whether models and optimizers are the same on all ranks, as DistributedDataParallel keeps them."""

from __future__ import annotations

import sys
from typing import Any, Iterator, Optional, Set, Tuple

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from ._errors import InvalidArgumentError
from ._path import display
from ._shards import is_shard
from ._state import TrainingState, each


class Sharing:
    """What this rank takes of a state: all of it, or where rank 0 takes models and optimizers for all, the rest."""

    def __init__(self, asked: Optional[bool], state: TrainingState, rank: int, world_size: int) -> None:
        """Errors as is_replicated()."""
        self._state, self._place = state, (rank, world_size)
        self.replicated = is_replicated(asked, state, rank, world_size)
        # Of a rank beside rank 0 the optimizers are fenced all the same, which confirms its snapshots.
        self.taken = state.own_part() if self.replicated and rank != 0 else state
        by_itself = asked is None and self.taken is not state
        self._known: Optional[Tuple[int, ...]] = _facts(state) if by_itself else None

    def ends(self) -> bool:
        """Whether what was decided by itself has just ceased to hold, and this rank takes everything from now on."""
        if self._known is None:
            return False
        now = _facts(self._state)
        if now == self._known:
            return False
        self._known = now
        if _kept_equal(self._state, *self._place):
            return False
        self._state.guard_what(self.taken)
        self.replicated, self.taken, self._known = False, self._state, None
        return True


def _facts(state: TrainingState) -> Tuple[int, ...]:
    """By which it is seen that models, optimizers, parameters or communication hooks have been added or exchanged."""
    models = [model for _, model in each("model", state.model)]
    facts = [id(one) for one in (*models, *state.optimizers)]
    facts += [sum(len(group["params"]) for group in optimizer.param_groups) for optimizer in state.optimizers]
    for model in models:
        facts += [len(getattr(model, "_comm_hooks", ())), sum(1 for _ in model.parameters())]
    return tuple(facts)


def is_replicated(asked: Optional[bool], state: TrainingState, rank: int, world_size: int) -> bool:
    """Whether rank 0 takes them for all. InvalidArgumentError, with the name, when that is asked for and a rank holds a
    part only."""
    if not any(asked is one for one in (None, True, False)):
        raise ValueError(f"Checkpointer: replicated is True, False or None, not {asked!r}")
    if asked:
        spread = next(_spread(state), None)
        if spread is not None:
            raise InvalidArgumentError(
                f"replicated=True, and of {spread} each rank holds a part of its own, which rank 0 cannot write for the "
                "others: leave replicated= out"
            )
    if world_size == 1 or asked is False:
        return False
    return asked or _kept_equal(state, rank, world_size)


def _spread(state: TrainingState) -> Iterator[str]:
    """What each rank holds a part of: DTensors, what FullyShardedDataParallel wraps, ZeroRedundancyOptimizer."""
    fully_sharded = _class_if_imported("torch.distributed.fsdp", "FullyShardedDataParallel")
    zero_redundancy = _class_if_imported("torch.distributed.optim", "ZeroRedundancyOptimizer")
    for path, model in each("model", state.model):
        if not isinstance(model, torch.nn.Module):
            continue
        if any(isinstance(module, fully_sharded) for module in model.modules()):
            yield f"{display(path)} (FullyShardedDataParallel)"
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if is_shard(tensor):
                yield f"{display((*path, name))} (a DTensor)"
    for path, optimizer in each("optimizer", state.optimizer):
        if isinstance(optimizer, zero_redundancy):
            yield f"{display(path)} (ZeroRedundancyOptimizer)"
        if any(is_shard(parameter) for group in optimizer.param_groups for parameter in group["params"]):
            yield f"{display(path)} (DTensors)"


def _class_if_imported(module: str, name: str) -> Any:
    """() where the process has not imported it: nothing is an instance of that."""
    return getattr(sys.modules.get(module), name, ())


def _kept_equal(state: TrainingState, rank: int, world_size: int) -> bool:
    models = [model for _, model in each("model", state.model)]
    if not models or not all(_is_kept_equal(model, rank, world_size) for model in models):
        return False
    parameters = {id(parameter) for model in models for parameter in model.parameters()}
    for optimizer in state.optimizers:
        # Another's optimizer may divide its state among the ranks, or average the weights only now and then.
        if not type(optimizer).__module__.startswith("torch.optim."):
            return False
        if any(id(parameter) not in parameters for group in optimizer.param_groups for parameter in group["params"]):
            return False
    return next(_spread(state), None) is None


def _is_kept_equal(model: Any, rank: int, world_size: int) -> bool:
    """Everything in its state_dict() goes through its group, which is all ranks in their order. Not a group of as many that
    are others: of one process on each node, say, while the checkpoint is of the processes of one node."""
    if not isinstance(model, DistributedDataParallel):
        return False
    group = model.process_group
    here = (distributed.get_rank(), distributed.get_world_size())
    # Taken at the wrap; a later one is nobody's but the rank's.
    wrapped = set(map(id, getattr(model, "_module_parameters", ())))
    return (
        (group.rank(), group.size()) == (rank, world_size) == here
        and (model.broadcast_buffers or next(model.buffers(), None) is None)
        and not hasattr(model, "buffer_hook")
        and not model.parameters_to_ignore
        # One may average the weights in place of the gradients, and not in each step. An older torch does not say.
        and not getattr(model, "_comm_hooks", True)
        and all(id(parameter) in wrapped for parameter in model.parameters())
        and set(model.state_dict()) <= _parameters_and_buffers(model)
    )


def _parameters_and_buffers(model: torch.nn.Module) -> Set[str]:
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    return {name for name, _ in named}
