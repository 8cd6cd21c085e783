"""A training whose state has a given size, and whose forward and backward pass lasts as long as it must."""

from __future__ import annotations

import math
import time
from typing import Any, Dict, List

import torch
from torch import nn

LAYERS = 10
BYTES_PER_PARAMETER = 12  # itself and two moments, in fp32
LARGEST_BATCH = 1 << 14


class Training:
    """Linear layers under AdamW, after one step: parameters, moments and step counters are `megabytes` in all."""

    def __init__(self, megabytes: float, device: str = "cpu") -> None:
        self._width = max(8, 8 * round(math.sqrt(megabytes * 1e6 / (BYTES_PER_PARAMETER * LAYERS)) / 8))
        self._device = device
        torch.manual_seed(0)
        layers = [nn.Linear(self._width, self._width, bias=False) for _ in range(LAYERS)]
        self.model = nn.Sequential(*layers).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-6)
        self._inputs = torch.randn(1, self._width, device=device)
        self.forward_backward()
        self.update()

    def make_last(self, seconds: float) -> float:
        """Grows the batch until forward and backward last at least so long; returns how long they do."""
        while True:
            lasted = min(self.forward_backward() for _ in range(2))
            batch = len(self._inputs)
            if lasted >= seconds or batch >= LARGEST_BATCH:
                return lasted
            factor = min(4.0, max(1.25, 1.1 * seconds / lasted))
            self._inputs = torch.randn(math.ceil(batch * factor), self._width, device=self._device)

    def forward_backward(self) -> float:
        """Returns the seconds that it took."""
        self.settle()
        begun = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        self.model(self._inputs).square().mean().backward()
        self.settle()
        return time.perf_counter() - begun

    def update(self) -> float:
        """optimizer.step(), in which a fence may wait; returns its seconds."""
        begun = time.perf_counter()
        self.optimizer.step()
        self.settle()
        return time.perf_counter() - begun

    def settle(self) -> None:
        """What the device still has to do is charged to nobody's block time."""
        if self._device.startswith("cuda"):
            torch.cuda.synchronize()

    def state(self) -> Dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def tensors(self) -> List[torch.Tensor]:
        found: List[torch.Tensor] = [parameter.detach() for parameter in self.model.parameters()]
        for entry in self.optimizer.state.values():
            found += [value for value in entry.values() if isinstance(value, torch.Tensor)]
        return found

    def state_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors())

    def copy_seconds(self) -> float:
        """What copying the state once takes one thread, into memory that is there."""
        tensors = self.tensors()
        copies = [torch.empty(tensor.shape, dtype=tensor.dtype) for tensor in tensors]
        seconds = []
        for _ in range(3):
            self.settle()
            begun = time.perf_counter()
            for copy, tensor in zip(copies, tensors):
                copy.copy_(tensor)
            seconds.append(time.perf_counter() - begun)
        return min(seconds)
