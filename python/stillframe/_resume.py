"""Where a restore looks: the memory that a killed predecessor left, then the store."""

from __future__ import annotations

from typing import Callable, NamedTuple, Optional, Union

from ._client import Client
from ._errors import NotFoundError, StillframeError, UnavailableError
from ._loop import warn
from ._optimizer_size import Size
from ._ranks import SETTLE_SECONDS, settle_predecessors
from ._reader import Skipped
from ._restore import PassedOver, Restored, restore_from_memory, restore_into
from ._state import TrainingState


class Place(NamedTuple):
    """Of one rank's checkpoints."""

    store: str
    run: str
    rank: int
    world_size: int


def resume(client: Client, place: Place, step: Optional[int], state: TrainingState,
           warn_unread: Callable[[], object]) -> Optional[Restored]:
    """Checkpointer.restore(). `warn_unread` tells the daemon's warnings as they come."""
    # The newest image of each rank of a group may be of another step.
    tried = None if place.world_size > 1 else _from_memory(client, place.rank, step, state)
    warn_unread()
    if isinstance(tried, Restored):
        return tried
    unsettled = settle_predecessors(client, place.world_size)
    warn_unread()
    selector = "latest" if step is None else str(int(step))
    try:
        return restore_into(f"{place.store}/:{place.run}@{selector}", place.rank, state, client.place, tried)
    except NotFoundError as error:
        if step is not None:
            raise
        if unsettled is not None:  # a beginning anew must not follow from what could not be read
            raise UnavailableError(f"{error}; what a predecessor may still have in memory could not be waited for: {unsettled}"
                                   ) from unsettled
        return None


def _from_memory(client: Client, rank: int, step: Optional[int],
                 state: TrainingState) -> Union[None, Restored, PassedOver]:
    try:
        reader = client.hot_reader(rank, SETTLE_SECONDS)
    except StillframeError as error:
        return PassedOver(Skipped("memory", -1 if step is None else step, str(error)), error, touched=False)
    return None if reader is None else restore_from_memory(reader, step, state, client.place)


def reserve_behind(client: Client, size: Size) -> None:
    """It may have to wait until the store has all that the predecessor left: the training goes on meanwhile."""
    try:
        client.reserve_behind(size)
    except StillframeError as error:
        warn(f"stillframe: no memory for snapshots yet, the first one will ask again: {error}")
