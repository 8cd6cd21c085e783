"""Version counters of guarded tensors: how a change behind the fence's back is found.

torch counts every in-place operation on a tensor and its views in `Tensor._version`. A snapshot notes the counters of
its guarded tensors; a counter that has moved before the fence opened means that the copy may hold bytes of two steps.
"""

from __future__ import annotations

from operator import attrgetter
from typing import List, Sequence

import torch

_NAMED_AT_MOST = 8
_GONE = -1  # of a tensor that was given the memory of one without a counter
_version_of = attrgetter("_version")


def has_counter(tensor: torch.Tensor) -> bool:
    """False for tensors made in inference mode: torch keeps no counter for them."""
    return not tensor.is_inference()


class VersionRecord:
    """The counters of some tensors at one moment, and a name for each. Holds the tensors until cleared."""

    def __init__(self, names: Sequence[str], tensors: Sequence[torch.Tensor]) -> None:
        self._names = names
        self._tensors = tensors
        self._versions: List[int] = list(map(_version_of, tensors))

    def moved(self) -> List[str]:
        """Names of the tensors changed in place since this record was made."""
        return [self._names[at] for at in self._moved_at()]

    def moved_tensors(self) -> List[torch.Tensor]:
        return [self._tensors[at] for at in self._moved_at()]

    def tensors_named(self, names: Sequence[str]) -> List[torch.Tensor]:
        wanted = set(names)
        return [tensor for name, tensor in zip(self._names, self._tensors) if name in wanted]

    def _moved_at(self) -> List[int]:
        now = self._now()
        if now == self._versions:
            return []
        return [at for at, (version, was) in enumerate(zip(now, self._versions)) if version != was]

    def _now(self) -> List[int]:
        try:
            return list(map(_version_of, self._tensors))
        except RuntimeError:
            return [_version_of(tensor) if has_counter(tensor) else _GONE for tensor in self._tensors]

    def clear(self) -> None:
        self._names, self._tensors, self._versions = [], [], []


def describe_moved(names: List[str]) -> str:
    """One line for the reason of a withdrawal; long lists are cut after eight names."""
    shown = ", ".join(names[:_NAMED_AT_MOST])
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return f"changed in place before a fence: {shown}{more}"
