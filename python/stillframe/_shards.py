"""Tensors of which this process holds a part (DTensor, as FSDP2 and tensor parallelism make them): the part is what a rank
saves and gets back."""

from __future__ import annotations

import sys
from typing import Any

import torch


def is_shard(value: Any) -> bool:
    # Only a process that has imported the module has one.
    kind = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", None)
    return kind is not None and isinstance(value, kind)


def local_of(value: torch.Tensor) -> torch.Tensor:
    """The part that is here, in the same memory; any other tensor itself."""
    return value._local_tensor if is_shard(value) else value  # type: ignore[attr-defined]


def shard_like(part: torch.Tensor, other: Any) -> torch.Tensor:
    """`part` as the local part of a tensor that is spread like `other`; `part` itself where it cannot be one."""
    if not is_shard(other) or part.shape != other._local_tensor.shape or part.dim() == 0:
        return part
    made: torch.Tensor = type(other).from_local(
        part, other.device_mesh, other.placements, run_check=False, shape=other.shape, stride=other.stride()
    )
    return made
