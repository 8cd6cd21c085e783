"""Metrics of a snapshot: a flat mapping from names to numbers, as JSON text."""

from __future__ import annotations

import math
import numbers
from typing import Any, Dict, Mapping, Optional

import torch

from . import _accelerator
from ._tree import Node, dump


def metrics_json(metrics: Optional[Mapping[str, Any]]) -> str:
    """JSON text of the metrics. TypeError for a value that is no number, or that waits on an accelerator."""
    nodes: Dict[str, Node] = {}
    for name, value in (metrics or {}).items():
        if type(name) is not str or name[:1] == "$":
            raise TypeError(f"metrics: a name must be a string that does not begin with '$', not {name!r}")
        nodes[name] = _number(name, value)
    return dump(nodes)


def metric_value(node: Node) -> Any:
    """The number of a metric as the manifest has it."""
    if isinstance(node, dict):
        return float(str(node.get("$float", node.get("$int", "nan"))))
    return node


def _number(name: str, value: Any) -> Node:
    if isinstance(value, torch.Tensor):
        if _accelerator.device_of(value) != _accelerator.HOST:
            raise TypeError(
                f"metrics[{name!r}] is a tensor on {value.device}; reading it would stall the training. Give it in "
                "extra=, which takes it without a wait, or bring it over yourself where that is cheap, for example with "
                ".item() every few steps"
            )
        if value.numel() != 1:
            raise TypeError(f"metrics[{name!r}] is a tensor of shape {tuple(value.shape)}; a metric is one number")
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float, numbers.Real)):
        raise TypeError(f"metrics[{name!r}] is a {type(value).__name__}; a metric is a number")
    if isinstance(value, numbers.Integral) and -(2**53) < int(value) < 2**53:
        return int(value)
    number = float(value)
    if math.isfinite(number):
        return number
    return {"$float": "nan" if number != number else "inf" if number > 0 else "-inf"}
