"""The state of a GradScaler without a wait: its own state_dict() reads two numbers from the GPU."""

from __future__ import annotations

from typing import Any, Dict

import torch

from . import _accelerator


def is_scaler(value: Any) -> bool:
    kind = torch.amp.GradScaler
    return isinstance(value, kind) and type(value).state_dict is kind.state_dict


def scaler_state(scaler: Any) -> Dict[str, Any]:
    """As its state_dict(), but numbers that are on a GPU are left there, as tensors."""
    scale, tracker = getattr(scaler, "_scale", None), getattr(scaler, "_growth_tracker", None)
    if not scaler.is_enabled() or not _is_elsewhere(scale) or not _is_elsewhere(tracker):
        return dict(scaler.state_dict())
    return {
        "scale": scale,
        "growth_factor": scaler.get_growth_factor(),
        "backoff_factor": scaler.get_backoff_factor(),
        "growth_interval": scaler.get_growth_interval(),
        "_growth_tracker": tracker,
    }


def scaler_numbers(saved: Dict[str, Any]) -> Dict[str, Any]:
    """What load_state_dict() takes of either."""
    return {key: value.item() if isinstance(value, torch.Tensor) else value for key, value in saved.items()}


def _is_elsewhere(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and _accelerator.device_of(value) != _accelerator.HOST
