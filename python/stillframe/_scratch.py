"""Whether what no fence guards has room in the scratch memory of its GPU: asked before the training begins."""

from __future__ import annotations

from typing import Dict, List, Tuple

from . import _accelerator
from ._errors import NoSpaceError
from ._optimizer_size import Size
from ._state import TrainingState
from ._walk import walk

_DEFAULT_BYTES = 64 << 20  # as sf_client_options.scratch_bytes of 0
_ALIGN_BYTES = 256  # of each tensor there
_NAMED_AT_MOST = 3


def check_scratch(state: TrainingState, scratch_bytes: int) -> Size:
    """NoSpaceError with the figure, the largest tensors and what to do. Also TypeError with the path of the first leaf
    that cannot be stored; lazy parameters may still lack a shape. The size of the state as it is now."""
    limit = scratch_bytes or _DEFAULT_BYTES
    guarded, _ = state.storages()
    size = Size()
    gathered: Dict[int, List[Tuple[int, str]]] = {}  # by GPU: bytes and name
    for name, value in state.collect(None).items():
        for entry in walk(value, guarded, (name,), lazy=True).entries:
            size += Size(entry.bytes, 1, entry.device)
            if entry.device != _accelerator.HOST and not entry.guarded:
                gathered.setdefault(entry.device, []).append((entry.bytes, f"{name}.{entry.name}"))
    for gpu, entries in gathered.items():
        needed = sum(-(-one // _ALIGN_BYTES) * _ALIGN_BYTES for one, _ in entries)
        if needed > limit:
            largest = ", ".join(f"{name} of {one}" for one, name in sorted(entries, reverse=True)[:_NAMED_AT_MOST])
            raise NoSpaceError(
                f"on cuda:{gpu} {needed} bytes are guarded by no fence (the largest: {largest}), and scratch_bytes is "
                f"{limit}: give scratch_bytes={needed}, or those that are changed only behind ckpt.fence() as guard="
            )
    return size
