"""Metrics of a snapshot: a flat mapping from names to numbers, as JSON text.

A number on a GPU is not asked for: its tensor becomes an entry of the snapshot, gathered like every other that no fence
guards, and the text names the entry. Whoever writes the manifest reads the number from there.
"""

from __future__ import annotations

import math
import numbers
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import torch

from . import _accelerator
from ._tree import Node, dump

_REAL = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
_WHOLE = frozenset({torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})


class Metrics:
    """What snapshot() was given. TypeError for a value that is no number."""

    def __init__(self, given: Optional[Mapping[str, Any]]) -> None:
        self._nodes: Dict[str, Node] = {}
        self._on_gpu: List[Tuple[str, torch.Tensor]] = []
        for name, value in (given or {}).items():
            if type(name) is not str or name[:1] == "$":
                raise TypeError(f"metrics: a name must be a string that does not begin with '$', not {name!r}")
            if isinstance(value, torch.Tensor):
                value = self._of_tensor(name, value)
            self._nodes[name] = _number(name, value) if value is not None else None

    def json(self, add_entry: Callable[[str, torch.Tensor], str]) -> str:
        """As text. `add_entry` puts a tensor of one element beside those of the state, and returns its entry's name."""
        return dump({**self._nodes, **{name: {"$entry": add_entry(name, tensor)} for name, tensor in self._on_gpu}})

    def _of_tensor(self, name: str, value: torch.Tensor) -> Any:
        """Its number; None where that is on a GPU."""
        if value.numel() != 1:
            raise TypeError(f"metrics[{name!r}] is a tensor of shape {tuple(value.shape)}; a metric is one number")
        device = _accelerator.device_of(value)
        if device == _accelerator.HOST:
            return value.item()
        if device == _accelerator.STAGED:
            raise TypeError(
                f"metrics[{name!r}] is a tensor on {value.device}, from which nothing is copied without a wait; bring it "
                "over yourself where that is cheap, for example with .item() every few steps"
            )
        if value.dtype not in _REAL | _WHOLE:
            raise TypeError(f"metrics[{name!r}] is a tensor of {value.dtype}; a metric is a number")
        self._on_gpu.append((name, value.detach()))  # not the graph behind it
        return None


def metric_value(node: Node) -> Any:
    """The number of a metric as the manifest has it."""
    if isinstance(node, dict):
        return float(str(node.get("$float", node.get("$int", "nan"))))
    return node


def _number(name: str, value: Any) -> Node:
    if isinstance(value, bool) or not isinstance(value, (int, float, numbers.Real)):
        raise TypeError(f"metrics[{name!r}] is a {type(value).__name__}; a metric is a number")
    if isinstance(value, numbers.Integral) and -(2**53) < int(value) < 2**53:
        return int(value)
    number = float(value)
    if math.isfinite(number):
        return number
    return {"$float": "nan" if number != number else "inf" if number > 0 else "-inf"}
