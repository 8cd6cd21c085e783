"""Version counters of guarded tensors: how a change behind the fence's back is found.

torch counts every in-place operation on a tensor and its views in `Tensor._version`. A snapshot notes the counters of
its guarded tensors; a counter that has moved before the fence opened means that the copy may hold bytes of two steps.
"""

from __future__ import annotations

from typing import List, Tuple

import torch

_NAMED_AT_MOST = 8


def has_counter(tensor: torch.Tensor) -> bool:
    """False for tensors made in inference mode: torch keeps no counter for them."""
    return not tensor.is_inference()


class VersionRecord:
    """The counters of some named tensors at one moment. Holds the tensors, and with them their memory, until
    cleared."""

    def __init__(self, tensors: List[Tuple[str, torch.Tensor]]) -> None:
        self._tensors = tensors
        self._versions = [tensor._version for _, tensor in tensors]

    def moved(self) -> List[str]:
        """Names of the tensors changed in place since this record was made."""
        return [
            name
            for (name, tensor), version in zip(self._tensors, self._versions)
            if tensor._version != version
        ]

    def clear(self) -> None:
        self._tensors = []
        self._versions = []


def describe_moved(names: List[str]) -> str:
    """One line for the reason of a withdrawal; long lists are cut after eight names."""
    shown = ", ".join(names[:_NAMED_AT_MOST])
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return f"changed in place before a fence: {shown}{more}"
