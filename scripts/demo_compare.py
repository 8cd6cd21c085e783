"""Bit by bit: the end of a run that was killed against the end of one that was not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import torch


def differences(mine: Any, other: Any, path: str = "") -> List[str]:
    """Where two trees of dicts, lists, tensors and scalars differ; tensors by dtype, shape and every bit."""
    if type(mine) is not type(other):
        return [f"{path}: {type(mine).__name__} against {type(other).__name__}"]
    if isinstance(mine, torch.Tensor):
        return [] if same_bits(mine, other) else [f"{path}: tensors differ"]
    if isinstance(mine, dict):
        if list(mine) != list(other):
            return [f"{path}: keys {list(mine)} against {list(other)}"]
        return [line for key in mine for line in differences(mine[key], other[key], f"{path}[{key!r}]")]
    if isinstance(mine, (list, tuple)):
        if len(mine) != len(other):
            return [f"{path}: {len(mine)} items against {len(other)}"]
        return [line for i, pair in enumerate(zip(mine, other)) for line in differences(*pair, f"{path}[{i}]")]
    return [] if repr(mine) == repr(other) else [f"{path}: {mine!r} against {other!r}"]


def same_bits(mine: torch.Tensor, other: torch.Tensor) -> bool:
    if mine.dtype != other.dtype or mine.shape != other.shape:
        return False
    return torch.equal(as_bytes(mine), as_bytes(other))


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def count_tensors(tree: Any) -> int:
    if isinstance(tree, torch.Tensor):
        return 1
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return sum(count_tensors(child) for child in children)


def loss_values(path: Path) -> Dict[int, List[float]]:
    """Every value written for a step: steps that were done again after a kill have several."""
    values: Dict[int, List[float]] = {}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        values.setdefault(record["step"], []).append(record["loss"])
    return values


def loss_differences(killed: Path, uninterrupted: Path) -> List[str]:
    """The last value of each step decides; a value that was done again must not have changed either."""
    mine, other = loss_values(killed), loss_values(uninterrupted)
    found = [f"loss of step {step}: only in one run" for step in sorted(set(mine) ^ set(other))]
    for step in sorted(set(mine) & set(other)):
        expected = repr(other[step][-1])
        found += [f"loss of step {step}: {value!r} against {expected}" for value in mine[step] if repr(value) != expected]
    return found


def load_final_state(path: Path) -> Any:
    return torch.load(path, weights_only=True)
