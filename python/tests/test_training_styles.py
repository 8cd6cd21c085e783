"""Ways to train: whatever steps when, a run that goes on from a checkpoint is the run that was never stopped, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
import torch
from torch import nn

import stillframe
from support import same
from training import DEADLINE_SECONDS

pytestmark = [
    pytest.mark.usefixtures("library"),
    pytest.mark.filterwarnings("ignore:stillframe. alarm stale_state"),  # most styles do not step at every snapshot
]

STEPS = 6
STOPPED_AT = 3


class Style:
    """A model and what trains it; deterministic. `step` is one round of the loop."""

    def __init__(self) -> None:
        torch.manual_seed(11)
        self.model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 4))
        self.optimizers: List[torch.optim.Optimizer] = [self.optimizer()]
        self.state: Dict[str, Any] = {}

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=0.01)

    def loss(self, number: int) -> torch.Tensor:
        batch = torch.randn(16, 8, generator=torch.Generator().manual_seed(number))
        loss: torch.Tensor = self.model(batch).square().mean()
        return loss

    def step(self, number: int) -> None:
        self.optimizers[0].zero_grad()
        torch.autograd.backward(self.loss(number))
        self.optimizers[0].step()

    def everything(self) -> Any:
        found = {"model": dict(self.model.state_dict()), "optimizers": [one.state_dict() for one in self.optimizers],
                 "state": {name: one.state_dict() for name, one in self.state.items()}}  # fmt: skip
        return torch.utils._pytree.tree_map(
            lambda one: one.detach().clone() if isinstance(one, torch.Tensor) else one, found
        )

    def checkpointer(self, store: Path) -> stillframe.Checkpointer:
        keep = stillframe.Retention(keep_last=100)
        return stillframe.Checkpointer(
            store, model=self.model, optimizer=self.optimizers, state=self.state or None, retention=keep
        )


class Foreach(Style):
    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=0.01, foreach=True)


class Fused(Style):
    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=0.01, fused=True)


class Accumulating(Style):
    """An update every third round. Gradients are not in a checkpoint: it is stopped behind an update."""

    def step(self, number: int) -> None:
        torch.autograd.backward(self.loss(number))
        if number % 3 == 2:
            self.optimizers[0].step()
            self.optimizers[0].zero_grad()


class Skipping(Style):
    """A scale so large that the first gradients overflow: the scaler skips these updates, and the hook with them."""

    def __init__(self) -> None:
        super().__init__()
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=2)
        self.state = {"scaler": self.scaler}

    def step(self, number: int) -> None:
        self.optimizers[0].zero_grad()
        torch.autograd.backward(self.scaler.scale(10 * self.loss(number)))
        self.scaler.step(self.optimizers[0])
        self.scaler.update()


class Alternating(Style):
    """Two optimizers, of which one steps in every round and the other in every second."""

    def __init__(self) -> None:
        super().__init__()
        first, second = list(self.model[0].parameters()), list(self.model[1:].parameters())
        self.optimizers = [torch.optim.AdamW(first, lr=0.01), torch.optim.SGD(second, lr=0.1, momentum=0.9)]

    def step(self, number: int) -> None:
        self.model.zero_grad()
        torch.autograd.backward(self.loss(number))
        for one in self.optimizers[: 1 + number % 2]:
            one.step()


class Sharing(Style):
    """One parameter in two places of the model and in two optimizers."""

    def __init__(self) -> None:
        super().__init__()
        shared: Any = self.model[0]
        self.model.append(nn.Linear(4, 8))
        self.model.append(shared)
        rest = list(self.model[3:5].parameters())
        self.optimizers = [torch.optim.SGD(shared.parameters(), lr=0.1, momentum=0.9),
                           torch.optim.AdamW([*rest, shared.bias], lr=0.01)]  # fmt: skip

    def step(self, number: int) -> None:
        self.model.zero_grad()
        torch.autograd.backward(self.loss(number))
        for one in self.optimizers:
            one.step()


class Compiled(Style):
    """The graph is taken apart and put together again as torch.compile does it, without a compiler for its kernels."""

    def __init__(self) -> None:
        super().__init__()
        self._forward = torch.compile(self.model, backend="aot_eager")

    def loss(self, number: int) -> torch.Tensor:
        batch = torch.randn(16, 8, generator=torch.Generator().manual_seed(number))
        loss: torch.Tensor = self._forward(batch).square().mean()
        return loss


STYLES: List[Callable[[], Style]] = [Foreach, Fused, Accumulating, Skipping, Alternating, Sharing, Compiled]


@pytest.mark.parametrize("make", STYLES)
def test_it_goes_on_from_a_checkpoint_as_if_never_stopped(make: Callable[[], Style], tmp_path: Path) -> None:
    run = make()
    with run.checkpointer(tmp_path) as ckpt:
        tickets, expected = [], []
        for step in range(STEPS):
            run.step(step)  # while the snapshot before may still be copied
            expected.append(run.everything())
            tickets.append(ckpt.snapshot(step, wait=True))
    assert [ticket.error for ticket in tickets] == [None] * STEPS and all(ticket.verified for ticket in tickets)

    after = make()
    with after.checkpointer(tmp_path) as ckpt:
        restored = ckpt.restore(step=STOPPED_AT - 1)
        assert restored is not None
        assert same(after.everything(), expected[STOPPED_AT - 1])
        for step in range(STOPPED_AT, STEPS):
            after.step(step)
            assert same(after.everything(), expected[step])
            ckpt.snapshot(10 + step, wait=True).wait_durable(DEADLINE_SECONDS)


def test_the_scaler_did_skip_updates() -> None:
    run = Skipping()
    for step in range(STEPS):
        run.step(step)
    counts = {int(one["step"]) for one in run.optimizers[0].state.values()}
    assert counts and max(counts) < STEPS, f"of {STEPS} updates some are skipped, not {counts}"


def test_a_compiled_step_is_fenced_too(tmp_path: Path) -> None:
    run = Foreach()
    compiled = torch.compile(run.optimizers[0].step, backend="eager")
    with run.checkpointer(tmp_path) as ckpt:
        for step in range(3):
            run.optimizers[0].zero_grad()
            torch.autograd.backward(run.loss(step))
            compiled()
            expected = run.everything()["model"]
            ticket = ckpt.snapshot(step, wait=True)
    assert ticket.verified and same(dict(stillframe.load(tmp_path)["model"]), expected)
