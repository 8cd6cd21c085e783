"""A small training run, the same in every process that makes it, and programs that run it as children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch
from torch import nn

import stillframe

HERE = Path(__file__).resolve().parent
DEADLINE_SECONDS = 60


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Any warning is an error, but for the one about the file system that the tests happen to run on."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="stillframe: the store is on ")
        yield


class Run:
    """An MLP with dropout and batch-norm buffers, AdamW, a schedule; deterministic from its seed."""

    def __init__(self, width: int = 32, seed: int = 7) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(
            nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.25), nn.Linear(width, 4)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.scheduler = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, [2, 4], gamma=0.5)

    def step(self) -> float:
        self.optimizer.zero_grad()
        loss = self.model(torch.randn(16, 8)).square().mean()
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        return float(loss.detach())

    def everything(self) -> Dict[str, Any]:
        return {
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "rng": torch.get_rng_state(),
        }

    def checkpointer(self, store: Path, **options: Any) -> stillframe.Checkpointer:
        return stillframe.Checkpointer(
            store, model=self.model, optimizer=self.optimizer, scheduler=self.scheduler, rng=True, **options
        )


class BigRun:
    """A tracked parameter of `mebibytes`, with SGD that changes it in place."""

    def __init__(self, mebibytes: int) -> None:
        self.weight = nn.Parameter(torch.randn(mebibytes << 18, generator=torch.Generator().manual_seed(3)))
        self.model = nn.Module()
        self.model.register_parameter("weight", self.weight)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.5)

    def step(self) -> None:
        self.weight.grad = torch.full_like(self.weight, 0.25)
        self.optimizer.step()

    def checkpointer(self, store: Path, **options: Any) -> stillframe.Checkpointer:
        return stillframe.Checkpointer(store, model=self.model, optimizer=self.optimizer, **options)


class Child:
    """A Python program in a process of its own, which talks by lines: say() waits for nothing, hear() has a
    deadline."""

    def __init__(self, program: str, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def hear(self, expected: str) -> str:
        """The rest of the next line that begins with `expected`; the test fails when the child ends before it, as it does
        at the deadline."""
        assert self.process.stdout is not None
        too_late = threading.Timer(2 * DEADLINE_SECONDS, self.process.kill)
        too_late.start()
        try:
            for line in self.process.stdout:
                if line.startswith(expected):
                    return line[len(expected) :].strip()
        finally:
            too_late.cancel()
        raise AssertionError(f"the child ended ({self.process.wait(DEADLINE_SECONDS)}) without saying {expected!r}")

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE_SECONDS)

    def end(self) -> int:
        if self.process.stdin is not None:
            self.process.stdin.close()
        return self.process.wait(DEADLINE_SECONDS)

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: Any) -> None:
        if self.process.poll() is None:
            self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def save_steps(store: Path, steps: int, **options: Any) -> Tuple[Run, List[stillframe.Ticket]]:
    """A run of `steps` steps in this process, a durable and verified snapshot after each."""
    run, tickets = Run(), []
    with run.checkpointer(store, **options) as ckpt:
        for step in range(steps):
            run.step()
            ticket = ckpt.snapshot(step, metrics={"loss": 0.5}, extra={"epoch": step})
            ticket.wait_verified(DEADLINE_SECONDS)
            tickets.append(ticket)
    return run, tickets


def data_file(store: Path, name: Optional[str] = None) -> Path:
    """The data file of the newest checkpoint, or of the named one."""
    names = sorted(path.name for path in store.iterdir() if (path / "manifest.json").is_file())
    return store / (name or names[-1]) / "rank-00000.data"
