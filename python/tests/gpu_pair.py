"""One training on two GPUs of the driver fake, as a program: the model has a part on each, and each computes on a stream of
its own. `main` does one of the things below and says what came of it, a line each."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, Callable, Dict, List, Optional

import torch
from torch import nn

import stillframe
from fake_gpu import FakeGpu, stand_behind_the_door
from gpu_training import STEPS, WAIT_SECONDS, say, value
from stillframe import _accelerator
from stillframe._client import Client

WEIGHTS = 300_000  # more than one chunk
AVERAGES = ("exp_avg", "exp_avg_sq")


class Model(nn.Module):
    """On each GPU two parameters and a buffer, and one count on the host. The second GPU holds more."""

    count: torch.Tensor

    def __init__(self, gpus: List[FakeGpu]) -> None:
        super().__init__()
        for gpu in gpus:
            for name, elements in (("weight", WEIGHTS + 50_000 * gpu.ordinal), ("bias", 33)):
                placed = f"{name}{gpu.ordinal}"
                self.register_parameter(placed, nn.Parameter(gpu.like(value(placed, elements, 0))))
            self.register_buffer(f"mean{gpu.ordinal}", gpu.like(value(f"mean{gpu.ordinal}", 5_000, 0)))
        self.register_buffer("count", torch.zeros(1))


class Setter(torch.optim.Optimizer):
    """Keeps what AdamW keeps of a parameter: two averages beside it, and its count of steps on the host. Sets all of it to
    what the next step has, each on its own GPU."""

    def __init__(self, pair: "Pair") -> None:
        self._pair = pair
        super().__init__(pair.model.parameters(), {"lr": 0.5})
        for name, parameter in pair.model.named_parameters():
            gpu, state = pair.gpu_of(name), self.state[parameter]
            state["step"] = torch.tensor(0.0)
            for average in AVERAGES:
                state[average] = gpu.like(value(name + average, parameter.numel(), 0))

    def step(self, closure: Any = None) -> Any:
        self._pair.steps += 1
        for name, parameter in self._pair.model.named_parameters():
            state = self.state[parameter]
            state["step"] += 1
            self._pair.set(name, parameter)
            for average in AVERAGES:
                self._pair.set(name + average, state[average])


class Pair:
    """What the optimizer holds is guarded, the buffers are gathered on their GPU and the counts taken in the call."""

    def __init__(self) -> None:
        # The current one is the first, as for torch.
        self.gpus = [FakeGpu(ordinal) for ordinal in (1, 0)][::-1]
        stand_behind_the_door(self.gpus)
        self.steps = 0
        self.model = Model(self.gpus)
        self.optimizer = Setter(self)
        # Made beforehand, so that an update is work of the GPUs alone.
        self._later = {
            (name, step): self.gpu_of(name).like(value(name, tensor.numel(), step))
            for name, tensor in self.on_gpus().items()
            for step in range(1, STEPS + 2)
        }

    def gpu_of(self, name: str) -> FakeGpu:
        return self.gpus[1 if "1" in name else 0]

    def on_gpus(self) -> Dict[str, torch.Tensor]:
        found = {f"mean{gpu.ordinal}": self.model.get_buffer(f"mean{gpu.ordinal}") for gpu in self.gpus}
        for name, parameter in self.model.named_parameters():
            found[name] = parameter
            found.update({name + average: self.optimizer.state[parameter][average] for average in AVERAGES})
        return found

    def set(self, name: str, tensor: torch.Tensor) -> None:
        self.gpu_of(name).set(tensor, self._later[name, self.steps])

    def step(self) -> None:
        # Before the fence, as the forward pass changes its buffers.
        for gpu in self.gpus:
            name = f"mean{gpu.ordinal}"
            gpu.set(self.model.get_buffer(name), self._later[name, self.steps + 1])
        self.model.count.fill_(self.steps + 1)
        self.optimizer.step()

    def is_at(self, step: int) -> bool:
        counts = [self.model.count, *(self.optimizer.state[one]["step"] for one in self.model.parameters())]
        return all(float(count) == step for count in counts) and all(
            torch.equal(self.gpu_of(name).get(tensor), value(name, tensor.numel(), step))
            for name, tensor in self.on_gpus().items()
        )

    def restore(self, ckpt: stillframe.Checkpointer) -> None:
        """And says from which step, whether all of it is equal, and from where."""
        resumed = ckpt.restore()
        if resumed is None:
            return
        for name, parameter in self.model.named_parameters():
            state = self.optimizer.state[parameter]
            # As restore() does it by itself where torch knows the device.
            state.update({average: self.gpu_of(name).like(state[average]) for average in AVERAGES})
        self.steps = resumed.step
        say("resumed", resumed.step, "equal" if self.is_at(resumed.step) else "DIFFERENT", resumed.source)

    def tell_of_an_idle_stream(self, of: int, of_fences_only: bool) -> None:
        """The package waits, or is held back, on a stream of that GPU on which nothing happens."""
        idle, right = self.gpus[of].make_stream(), _accelerator.stream_of

        def wrong(gpu: int) -> int:
            return idle if gpu == of else right(gpu)

        if not of_fences_only:
            _accelerator.stream_of = wrong
            return
        for name in ("fence", "wait_copied"):
            setattr(Client, name, told_of(wrong, getattr(Client, name)))

    def checkpointer(self, store: str, **options: Any) -> stillframe.Checkpointer:
        return stillframe.Checkpointer(store, model=self.model, optimizer=self.optimizer, **options)


def told_of(streams: Callable[[int], int], call: Callable[[Client], None]) -> Callable[[Client], None]:
    """The call, while the package asks `streams`."""

    def wrapped(client: Client) -> None:
        right, _accelerator.stream_of = _accelerator.stream_of, streams
        try:
            call(client)
        finally:
            _accelerator.stream_of = right

    return wrapped


def train(store: str, die_after: Optional[int] = None) -> None:
    """Resumes and goes on for three steps, with a snapshot of each; with `die_after` dies in the copies of the last one."""
    pair = Pair()
    sabotage = os.environ.get("GPU_TRAINING_WITHOUT")
    if sabotage:
        kind, ordinal = sabotage.split(":")
        pair.tell_of_an_idle_stream(int(ordinal), kind == "fence")
    ckpt = pair.checkpointer(store)
    pair.restore(ckpt)
    tickets: List[stillframe.Ticket] = []
    last = min(pair.steps + 3, STEPS)
    while pair.steps < last:
        pair.step()
        if pair.steps == last and die_after is not None:
            tickets[-1].wait_captured(WAIT_SECONDS)
            pair.gpus[0].die_after(die_after)
        tickets.append(ckpt.snapshot(pair.steps, wait=True))
    pair.step()  # behind the last one, which may not see it
    for ticket in tickets:
        ticket.wait_captured(WAIT_SECONDS)
    ckpt.close()
    say("verified", *(ticket.step for ticket in tickets if ticket.verified))


def die_captured(store: str) -> None:
    """Dies when its third snapshot is captured, which is in memory only."""
    pair = Pair()
    ckpt = pair.checkpointer(store, persist_every_steps=1000)
    pair.restore(ckpt)
    for _ in range(3):
        pair.step()
        ckpt.snapshot(pair.steps, wait=True).wait_captured(WAIT_SECONDS)
    say("captured", pair.steps)
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_one_gpu_behind(store: str) -> None:
    """Dies when all of the first GPU has arrived, and nothing of the other, on which the last step still hangs."""
    pair = Pair()
    ckpt = pair.checkpointer(store)
    pair.restore(ckpt)
    for _ in range(2):
        pair.step()
        ckpt.snapshot(pair.steps, wait=True).wait_captured(WAIT_SECONDS)
    say("captured", pair.steps)
    first, other = pair.gpus
    first.die_after(sum(one.nbytes for name, one in pair.on_gpus().items() if pair.gpu_of(name) is first))
    other.hang()
    pair.step()
    ckpt.snapshot(pair.steps, wait=True).wait_captured(WAIT_SECONDS)
    say("outlived it")


def capture_on_the_other(store: str) -> None:
    """A graph is recorded on the GPU that is not the current one, while a snapshot is pending."""
    pair = Pair()
    with pair.checkpointer(store) as ckpt:
        pair.step()
        pending = ckpt.snapshot(1)
        with pair.gpus[1].capture():
            beside = ckpt.snapshot(2)
            ckpt.fence()
        pair.step()
        pending.wait_verified(WAIT_SECONDS)
        after = ckpt.snapshot(3)
    say("beside", beside.state, type(beside.error).__name__, beside.error)
    say("pending", pending.state)
    say("after", after.state, pair.is_at(2))


def main() -> None:
    doing: Dict[str, Callable[..., None]] = {
        one.__name__: one for one in (train, die_captured, die_with_one_gpu_behind, capture_on_the_other)
    }
    name, store, *numbers = sys.argv[1:]
    doing[name](store, *map(int, numbers))


if __name__ == "__main__":
    main()
