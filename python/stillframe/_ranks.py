"""Which rank of which group this process is, as given, or as torchrun's environment says; and what it waits for before it restores."""

from __future__ import annotations

import os
from typing import Mapping, Optional, Tuple

from ._client import Client
from ._errors import InvalidArgumentError, StillframeError
from ._loop import warn

SETTLE_SECONDS = 120.0
# Ranks of a group wait for each other's seal for persist.group_deadline_seconds, by default 120.
_GROUP_SETTLE_SECONDS = 300.0


def place_of(rank: Optional[int], world_size: Optional[int],
             environment: Mapping[str, str] = os.environ) -> Tuple[int, int]:
    """(rank, world_size). Without both arguments and without RANK and WORLD_SIZE in the environment: one process alone.

    Raises InvalidArgumentError for a group that spans nodes, for half a place, and for what is no number.
    """
    if rank is None and world_size is None:
        if "RANK" not in environment or "WORLD_SIZE" not in environment:
            return 0, 1
        rank, world_size = _number("RANK", environment), _number("WORLD_SIZE", environment)
        local = _number("LOCAL_WORLD_SIZE", environment) if "LOCAL_WORLD_SIZE" in environment else world_size
        if local != world_size:
            raise InvalidArgumentError(
                f"torchrun's group has {world_size} ranks, {local} of them on this node: ranks commit together on one "
                "node only. Give rank= and world_size= of the ranks on this node, and each node a store or run= of its own"
            )
    if rank is None or world_size is None:
        if world_size == 1 or rank == 0 and world_size is None:
            return 0, 1
        raise InvalidArgumentError("give rank= and world_size= together, or neither")
    if not 0 <= rank < world_size:
        raise InvalidArgumentError(f"rank {rank} of {world_size}: a rank is 0 or more and below the world size")
    return rank, world_size


def settle_predecessors(client: Client, world_size: int) -> Optional[StillframeError]:
    """Until what the processes before had captured is in the store; else why not. Raises that in a group only: there each
    rank would find another newest checkpoint, and better none of them goes on; one alone is warned."""
    if world_size > 1:
        client.settle(_GROUP_SETTLE_SECONDS)
        return None
    try:
        client.settle(SETTLE_SECONDS)
    except StillframeError as error:
        warn(f"stillframe: restoring without what a predecessor may still have in memory: {error}")
        return error
    return None


def _number(name: str, environment: Mapping[str, str]) -> int:
    try:
        return int(environment[name])
    except ValueError:
        raise InvalidArgumentError(f"the environment says {name}={environment[name]!r}, which is no number") from None
