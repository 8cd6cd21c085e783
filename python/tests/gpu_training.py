"""A training loop on a GPU of the driver fake, as a program: the state is a function of the step, and every value is set on
the GPU by its stream. `main` does one of the things below and says what came of it, a line each."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from typing import Any, Callable, Dict, List, Optional

import torch
from torch import nn

import stillframe
from fake_gpu import FakeGpu
from stillframe import _accelerator, _restore
from stillframe._client import Client
from stillframe._pending import PendingSnapshot
from stillframe._walk import Entry

WEIGHTS = 400_000  # more than one chunk
STEPS = 6
WAIT_SECONDS = 60


def value(name: str, elements: int, step: int) -> torch.Tensor:
    """What a tensor holds after so many steps."""
    torch.manual_seed(sum(name.encode()) * 1000 + step)
    return torch.randn(elements)


class Model(nn.Module):
    """Two parameters, a buffer on the GPU and one on the host."""

    mean: torch.Tensor
    count: torch.Tensor
    table: torch.Tensor
    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(self, gpu: FakeGpu) -> None:
        super().__init__()
        for name, elements in (("weight", WEIGHTS), ("bias", 33)):
            self.register_parameter(name, nn.Parameter(gpu.like(value(name, elements, 0))))
        self.register_buffer("mean", gpu.like(value("mean", 5_000, 0)))
        self.register_buffer("count", torch.zeros(1))


class Setter(torch.optim.Optimizer):
    """Sets parameters and a state of each to what the next step has, on the GPU."""

    def __init__(self, training: "Training") -> None:
        self._training = training
        super().__init__(training.model.parameters(), {"lr": 0.5})
        for name, parameter in training.model.named_parameters():
            self.state[parameter]["average"] = training.gpu.like(value(name + "'", parameter.numel(), 0))

    def step(self, closure: Any = None) -> Any:
        training = self._training
        training.steps += 1
        for name, parameter in training.model.named_parameters():
            training.set(parameter, name)
            training.set(self.state[parameter]["average"], name + "'")


class Training:
    """What the optimizer holds is guarded, the buffers are gathered and taken in the call."""

    def __init__(self, steps: int = STEPS, ordinal: int = 0) -> None:
        self.gpu = FakeGpu(ordinal)
        self.gpu.stand_behind_the_door()
        self.steps = 0
        self.model = Model(self.gpu)
        self.optimizer = Setter(self)
        # Made beforehand, so that an update is work of the GPU alone.
        self._later: Dict[Any, torch.Tensor] = {}
        for name, tensor in self.on_gpu().items():
            for step in range(1, steps + 1):
                self._later[name, step] = self.gpu.like(value(name, tensor.numel(), step))

    def on_gpu(self) -> Dict[str, torch.Tensor]:
        found: Dict[str, torch.Tensor] = {"mean": self.model.mean}
        for name, parameter in self.model.named_parameters():
            found[name] = parameter
            found[name + "'"] = self.optimizer.state[parameter]["average"]
        return found

    def later(self, name: str, step: int) -> torch.Tensor:
        return self._later[name, step]

    def set(self, tensor: torch.Tensor, name: str) -> None:
        self.gpu.set(tensor, self.later(name, self.steps))

    def step(self) -> None:
        # Before the fence, as the forward pass changes its buffers.
        self.gpu.set(self.model.mean, self._later["mean", self.steps + 1])
        self.model.count.fill_(self.steps + 1)
        self.optimizer.step()

    def is_at(self, step: int) -> bool:
        same = [torch.equal(self.gpu.get(tensor), value(name, tensor.numel(), step))
                for name, tensor in self.on_gpu().items()]  # fmt: skip
        return all(same) and float(self.model.count) == step

    def state_onto_gpu(self) -> None:
        """As restore() does it by itself where torch knows the device."""
        for state in self.optimizer.state.values():
            state["average"] = self.gpu.like(state["average"])

    def checkpointer(self, store: str, **options: Any) -> stillframe.Checkpointer:
        return stillframe.Checkpointer(store, model=self.model, optimizer=self.optimizer, **options)


def say(*words: Any) -> None:
    print(*words, flush=True)


def train(store: str, die_after: Optional[int] = None) -> None:
    """Resumes and goes on to the last step; with `die_after` dies in the copies of the last snapshot."""
    training = Training()
    ckpt = training.checkpointer(store)
    _restore._PART_BYTES = 1  # each tensor goes to the GPU by itself
    resumed = ckpt.restore()
    if resumed is not None:
        training.state_onto_gpu()
        training.steps = resumed.step
        say("resumed", resumed.step, "equal" if training.is_at(resumed.step) else "DIFFERENT")
    tickets: List[stillframe.Ticket] = []
    last = min(training.steps + 3, STEPS)
    while training.steps < last:
        training.step()
        if training.steps == last and die_after is not None:
            tickets[-1].wait_captured(WAIT_SECONDS)
            training.gpu.die_after(die_after)
        tickets.append(ckpt.snapshot(training.steps, wait=True))
    training.steps -= 1  # the values of another step, which no snapshot may see
    training.step()
    for ticket in tickets:
        ticket.wait_captured(WAIT_SECONDS)
    ckpt.close()
    say("verified", *(ticket.step for ticket in tickets if ticket.verified))


def on_another_stream(store: str) -> None:
    """The package is told of a stream on which nothing happens."""
    training = Training()
    idle = training.gpu.make_stream()
    _accelerator.stream_of = lambda gpu: idle
    with training.checkpointer(store) as ckpt:
        for _ in range(3):
            training.step()
            ckpt.snapshot(training.steps, wait=True)
    say("nothing was noticed")


def capture(store: str) -> None:
    """A graph with a step in it is recorded while a snapshot is pending."""
    training = Training()
    with training.checkpointer(store) as ckpt:
        training.step()
        pending = ckpt.snapshot(1)
        with training.gpu.capture():
            training.optimizer.step()  # recorded: no byte changes
            beside = ckpt.snapshot(2)
            ckpt.fence()
        training.steps = 1
        training.step()
        pending.wait_verified(WAIT_SECONDS)
        after = ckpt.snapshot(3)
    say("beside", beside.state, type(beside.error).__name__)
    say("pending", pending.state)
    say("after", after.state, training.is_at(2))


def give_up_memory(store: str) -> None:
    """Memory that is given up behind the fence, while its copy is still under way."""
    training = Training(1)
    with training.checkpointer(store) as ckpt:
        training.step()
        training.gpu.wait()
        training.gpu.waits_before_it_frees = False
        ticket = ckpt.snapshot(1)
        ckpt.fence()
        held = training.gpu.live_allocations()
        for parameter in training.model.parameters():
            parameter.data = training.gpu.like(value("other", parameter.numel(), 0))
            training.optimizer.state[parameter] = {}
        training.model.mean = training.gpu.like(value("other", 3, 0))
        ticket.wait_verified(WAIT_SECONDS)
        ckpt.fence()
        say("held", held - training.gpu.live_allocations())
    training.gpu.waits_before_it_frees = True


def end_in_mid_copy(store: str) -> None:
    """The checkpointer goes, unclosed, while a snapshot is copied that nobody holds a ticket of."""
    training = Training(1)
    ckpt = training.checkpointer(store)
    training.step()
    training.gpu.wait()
    training.gpu.waits_before_it_frees = False
    ckpt.snapshot(1)
    ckpt.fence()
    for parameter in training.model.parameters():
        parameter.data = training.gpu.like(value("other", parameter.numel(), 0))
        training.optimizer.state[parameter] = {}
    del ckpt
    gc.collect()
    training.gpu.waits_before_it_frees = True
    say("ended")


def two_optimizers(store: str) -> None:
    """Each updates its parameter on a stream of its own, while the snapshot is being copied."""
    training = Training(1)
    gpu, parameters = training.gpu, dict(training.model.named_parameters())
    halves = {name: torch.optim.SGD([one], lr=1.0) for name, one in parameters.items()}
    streams = {"bias": gpu.stream, "weight": gpu.make_stream()}
    gpu.wait()
    with stillframe.Checkpointer(store, model=training.model, optimizer=halves) as ckpt:
        ticket = ckpt.snapshot(0)
        training.steps = 1
        for name, gpu.stream in streams.items():
            halves[name].step()  # its hook; there is no gradient
            training.set(parameters[name], name)
        ticket.wait_verified(WAIT_SECONDS)
        say("whole", ticket.state)
        for gpu.stream in streams.values():
            gpu.wait()


def restore_on_another_stream(store: str) -> None:
    """The snapshot's fence was passed on the stream before."""
    training = Training(1)
    with training.checkpointer(store) as ckpt:
        first = ckpt.snapshot(0)
        first.wait_verified(WAIT_SECONDS)
        training.gpu.wait()
        ckpt.snapshot(1)
        ckpt.fence()
        training.gpu.stream = training.gpu.make_stream()
        restored = ckpt.restore(step=0)
        say("restored", restored is not None)
        training.gpu.wait()


def plan_that_fails(store: str) -> None:
    """A snapshot of another state is refused while the one before is being copied."""
    training = Training()
    streams = (training.gpu.stream, training.gpu.make_stream())
    training.gpu.wait()
    with training.checkpointer(store) as ckpt:
        ticket = ckpt.snapshot(0)
        training.model.register_buffer("more", torch.zeros(3))
        client: Any = ckpt._client
        whole, client._library = client._library, NoMorePlans(client._library)
        refused = ckpt.snapshot(1)
        client._library = whole
        say("refused", refused.state)
        training.gpu.stream = streams[1]
        training.optimizer.step()
        ticket.wait_verified(WAIT_SECONDS)
        say("whole", ticket.state)
        training.gpu.wait()
        training.gpu.stream = streams[0]
        training.gpu.wait()


def too_old(store: str) -> None:
    """The driver is not one that a capture can use; the loop goes on."""
    training = Training()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ckpt = training.checkpointer(store)
        tickets = []
        for _ in range(3):
            training.step()
            tickets.append(ckpt.snapshot(training.steps, wait=True))
        for ticket in tickets:
            say(f"state{ticket.step}", ticket.state)
            say(f"why{ticket.step}", ticket.error)
        status: Any = ckpt.status()
        say("counted", status["consecutive_failures"])
        say("trained", training.steps, training.is_at(training.steps))
        ckpt.close()
    say("warnings", len(caught))
    say("warned", *(one.message for one in caught))


class NoMorePlans:
    def __init__(self, library: Any) -> None:
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def sf_plan_create(self, *arguments: Any) -> int:
        return int(self._library.sf_plan_create(None, *arguments[1:]))


def scratch(store: str) -> None:
    """A table beyond the scratch memory is refused, and may be guarded instead."""
    training = Training(1)
    training.model.register_buffer("table", training.gpu.tensor(WEIGHTS))
    try:
        training.checkpointer(store, scratch_bytes=1 << 20)
    except stillframe.NoSpaceError as error:
        say("refused", error)
    with training.checkpointer(store, scratch_bytes=1 << 20, guard=[training.model.table]) as ckpt:
        ticket = ckpt.snapshot(1)
        ckpt.fence()
        ticket.wait_verified(WAIT_SECONDS)
        say("guarded", ticket.state, ckpt.status()["plan"]["unguarded_bytes"])


def missed_fence(store: str) -> None:
    """A parameter changed without a fence tears that snapshot; from then on it is taken in the call."""
    training = Training()
    with training.checkpointer(store) as ckpt:
        training.step()
        torn = ckpt.snapshot(1)
        torn.until_captured(WAIT_SECONDS)  # without a look at the counters
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            training.steps = 2
            training.set(training.model.bias, "bias")
            ckpt.fence()
        say("torn", torn.state, [alarm.kind for alarm in torn.alarms], len(caught))
        training.steps = 1
        training.step()
        again = ckpt.snapshot(2)
        training.steps = 3
        training.set(training.model.bias, "bias")
        again.wait_verified(WAIT_SECONDS)
        say("again", again.state)
    kept = stillframe.load(store)["model"]["bias"]
    say("holds", torch.equal(kept, value("bias", 33, 2)))


def torn_copy(store: str) -> None:
    """The stream of the copies stands until a parameter has changed in a way that moves no counter."""
    training = Training()
    with training.checkpointer(store) as ckpt:
        training.step()
        torn = ckpt.snapshot(1)
        way = ckpt.status()["capture_check"]["cuda:0"]
        say("way", way)
        training.gpu.set_unseen(training.model.bias, training.later("bias", 2))
        training.gpu.wait()
        training.gpu.release_streams()
        torn.until_captured(WAIT_SECONDS)
        if way != "checked":
            return
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ckpt.fence()
        say("torn", torn.state, [alarm.kind for alarm in torn.alarms], *torn.torn)
        say("told", sum("copied in the call" in str(one.message) for one in caught))
        training.step()
        again = ckpt.snapshot(2)
        training.gpu.set_unseen(training.model.bias, training.later("bias", 3))
        again.wait_verified(WAIT_SECONDS)
        say("again", again.state, again.checked)
    say("holds", torch.equal(stillframe.load(store)["model"]["bias"], value("bias", 33, 2)))


def without_the_fence() -> None:
    Client.wait_copied = Client.fence = lambda self: None  # type: ignore[method-assign]


def without_the_memory_kept() -> None:
    PendingSnapshot._let_go = lambda self, ticket: ticket.release()  # type: ignore[method-assign]


def without_the_gather() -> None:
    """Everything on the GPU is taken for guarded."""
    whole = Entry.layout
    Entry.layout = lambda self: (*whole(self)[:3], True, *whole(self)[4:])  # type: ignore[method-assign]


def main() -> None:
    sabotage = os.environ.get("GPU_TRAINING_WITHOUT")
    if sabotage:
        globals()["without_the_" + sabotage]()
    doing: Dict[str, Callable[..., None]] = {
        one.__name__: one for one in (train, on_another_stream, capture, give_up_memory, end_in_mid_copy, two_optimizers,
                                      restore_on_another_stream, plan_that_fails, too_old, scratch, missed_fence, torn_copy)
    }
    name, store, *numbers = sys.argv[1:]
    doing[name](store, *map(int, numbers))


if __name__ == "__main__":
    main()
