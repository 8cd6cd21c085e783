"""Whether models and optimizers are the same on all ranks, as DistributedDataParallel keeps them."""

from __future__ import annotations

import sys
from typing import Any, Iterator, Optional

import torch
from torch.nn.parallel import DistributedDataParallel

from ._errors import InvalidArgumentError
from ._path import display
from ._shards import is_shard
from ._state import TrainingState, each


def is_replicated(asked: Optional[bool], state: TrainingState, rank: int, world_size: int) -> bool:
    """Whether rank 0 takes them for all. InvalidArgumentError, with the name, when that is asked for and a rank holds a
    part only."""
    if asked not in (None, True, False):
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
    """Everything in its state_dict() goes through its group, which is all ranks in their order."""
    if not isinstance(model, DistributedDataParallel):
        return False
    group = model.process_group
    return (
        (group.rank(), group.size()) == (rank, world_size)
        and (model.broadcast_buffers or next(model.buffers(), None) is None)
        and not model.parameters_to_ignore
        # One may average the weights in place of the gradients, and not in each step. An older torch does not say.
        and not getattr(model, "_comm_hooks", True)
        and not any(name.rpartition(".")[2] == "_extra_state" for name in model.state_dict())
    )
