#!/usr/bin/env python3
"""Host time of snapshot() from Python, by number of guarded tensors and by size of the state.

    python bench/snapshot_call.py --calls 2000 --json figures.json

The state is a model of small modules with AdamW after one step: a quarter of the guarded tensors are parameters, the
rest are the optimizer's two moments and step counters. Its structure does not change; between two calls the step
counters, which are tensors of one element, count on. Each call is a whole snapshot(): what it started is withdrawn after
its figures are taken, so that thousands of calls do not wait for a disk. The fence is measured on snapshots that are let
through.

Parts of a call: walk (comparing, and filling in), versions (reading the counters of guarded tensors), native
(sf_snapshot), rest. Of a fence: versions (comparing them), rest (the wait for the copy, mostly).
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import torch
from torch import nn

from figures import ScratchFolder, add_output_arguments, columns, deliver, environment

WARM_UP_CALLS = 5  # not counted: the plan and the arena are made, the walk is kept
TENSORS_PER_PARAMETER = 4  # itself, two moments, a step counter
PARAMETERS_PER_MODULE = 2
DURABLE_TIMEOUT_SECONDS = 300.0
ROOM_TIMEOUT_SECONDS = 60.0
CALL_PARTS = ("walk", "versions", "native", "rest", "call")
FENCE_PARTS = ("versions", "rest", "fence")


class Pair(nn.Module):
    def __init__(self, elements: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(elements))
        self.bias = nn.Parameter(torch.zeros(elements))


class Training:
    """`tensors` guarded tensors of `megabytes` in all."""

    def __init__(self, tensors: int, megabytes: float) -> None:
        parameters = tensors // TENSORS_PER_PARAMETER
        elements = max(1, int(megabytes * 1e6 / (parameters * (TENSORS_PER_PARAMETER - 1) * 4)))
        self.model = nn.Sequential(*(Pair(elements) for _ in range(parameters // PARAMETERS_PER_MODULE)))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), foreach=True)
        for parameter in self.model.parameters():
            parameter.grad = torch.ones_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.tensors = TENSORS_PER_PARAMETER * sum(1 for _ in self.model.parameters())
        self.counters = [state["step"] for state in self.optimizer.state.values()]

    def count_on(self) -> None:
        torch._foreach_add_(self.counters, 1)

    def state_bytes(self) -> int:
        tensors = [*self.model.parameters()]
        for state in self.optimizer.state.values():
            tensors += state.values()
        return sum(tensor.nbytes for tensor in tensors)


class Stopwatch:
    """Seconds spent in named functions since they were last taken."""

    def __init__(self) -> None:
        self._seconds: Dict[str, float] = {}

    def watch(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - begun

        return timed

    def take(self) -> Dict[str, float]:
        taken, self._seconds = self._seconds, {}
        return taken


class Watched:
    """An object of which one function is watched."""

    def __init__(self, inner: Any, name: str, function: Callable[..., Any]) -> None:
        self._inner = inner
        setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@contextlib.contextmanager
def instrumented(checkpointer: Any, watch: Stopwatch) -> Iterator[None]:
    from stillframe._versions import VersionRecord

    walks, client = checkpointer._walks, checkpointer._client
    walks.take = watch.watch("walk", walks.take)
    client._library = Watched(client._library, "sf_snapshot", watch.watch("native", client._library.sf_snapshot))
    made, moved = VersionRecord.__init__, VersionRecord.moved
    VersionRecord.__init__ = watch.watch("versions", made)  # type: ignore[method-assign]
    VersionRecord.moved = watch.watch("versions", moved)  # type: ignore[method-assign]
    try:
        yield
    finally:
        VersionRecord.__init__, VersionRecord.moved = made, moved  # type: ignore[method-assign]


def one_call(training: Training, checkpointer: Any, watch: Stopwatch, step: int) -> Dict[str, float]:
    training.count_on()
    give_up = time.monotonic() + ROOM_TIMEOUT_SECONDS
    while True:  # a call that was skipped, because what was withdrawn before still takes room, does not count
        watch.take()
        begun = time.perf_counter()
        ticket = checkpointer.snapshot(step)
        seconds = time.perf_counter() - begun
        parts = watch.take()
        if not ticket.skipped:
            break
        if time.monotonic() > give_up:
            raise SystemExit(f"the snapshot of step {step} is always skipped: {ticket.error}")
    ticket.withdraw("its call was measured")
    checkpointer.fence()
    versions, native = parts.get("versions", 0.0), parts.get("native", 0.0)
    walk = parts.get("walk", 0.0) - versions  # the counters are read while walking
    return {"walk": walk, "versions": versions, "native": native, "call": seconds,
            "rest": seconds - walk - versions - native}  # fmt: skip


def one_fence(training: Training, checkpointer: Any, watch: Stopwatch, step: int) -> Dict[str, float]:
    training.count_on()
    ticket = checkpointer.snapshot(step, wait=True)
    watch.take()
    begun = time.perf_counter()
    checkpointer.fence()
    seconds = time.perf_counter() - begun
    versions = watch.take().get("versions", 0.0)
    ticket.wait_durable(DURABLE_TIMEOUT_SECONDS)
    return {"versions": versions, "rest": seconds - versions, "fence": seconds}


def measure(tensors: int, megabytes: float, args: argparse.Namespace, folder: Path) -> Dict[str, Any]:
    import stillframe

    training, watch = Training(tensors, megabytes), Stopwatch()
    store = folder / f"{tensors}-{megabytes:g}"
    retention = stillframe.Retention(keep_last=1)
    model, optimizer = training.model, training.optimizer
    with stillframe.Checkpointer(store, model=model, optimizer=optimizer, retention=retention) as ckpt:
        with instrumented(ckpt, watch):
            fences = [one_fence(training, ckpt, watch, step) for step in range(WARM_UP_CALLS + args.fences)]
            calls = [one_call(training, ckpt, watch, step) for step in range(WARM_UP_CALLS + args.calls)]
    shutil.rmtree(store, ignore_errors=True)
    return {
        "guarded_tensors": training.tensors,
        "state_bytes": training.state_bytes(),
        "call_seconds": columns(calls[WARM_UP_CALLS:]),
        "fence_seconds": columns(fences[WARM_UP_CALLS:]),
    }


def print_table(result: Dict[str, Any]) -> None:
    environment = result["environment"]
    print(f"{result['calls']} calls and {result['fences']} fences each, torch {environment['torch']}, "
          f"{environment['cpus']} CPUs, load {environment['load']:.1f}; microseconds")  # fmt: skip
    print(f"{'guarded':>8}{'state MB':>10}  {'part':18}{'least':>10}{'median':>10}{'p99':>10}")
    for one in result["runs"]:
        for kind, names in (("call", CALL_PARTS), ("fence", FENCE_PARTS)):
            for name in names:
                row = one[f"{kind}_seconds"][name]
                label = name if name == kind else f"{kind}: {name}"
                cells = "".join(f"{row[column] * 1e6:10.0f}" for column in ("least", "median", "p99"))
                print(f"{one['guarded_tensors']:8}{one['state_bytes'] / 1e6:10.1f}  {label:18}{cells}")


def parse_arguments(argv: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tensors", type=int, nargs="+", default=[1000, 10000], help="default: %(default)s")
    parser.add_argument("--megabytes", type=float, nargs="+", default=[10.0, 1000.0], help="default: %(default)s")
    parser.add_argument("--calls", type=int, default=2000, help="counted, after the warm-up (default: %(default)s)")
    parser.add_argument("--fences", type=int, default=20, help="likewise (default: %(default)s)")
    add_output_arguments(parser)
    args = parser.parse_args(argv)
    if args.calls < 1 or args.fences < 1 or min(args.tensors) < TENSORS_PER_PARAMETER * PARAMETERS_PER_MODULE:
        parser.error("at least one call, one fence and eight tensors are needed")
    return args


def main(argv: Optional[List[str]] = None) -> int:
    args = parse_arguments(argv)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", RuntimeWarning)  # of snapshots that are withdrawn, and of a model that never learns
    result = {"environment": environment(), "calls": args.calls, "fences": args.fences}
    with ScratchFolder("snapshot-call", args.dir) as folder:
        result["runs"] = [measure(tensors, size, args, folder) for tensors in args.tensors for size in args.megabytes]
    deliver(result, args.json, print_table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
