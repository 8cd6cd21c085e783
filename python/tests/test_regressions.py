"""One test for each fault that was found in the running system, named after what the user would have met."""

from __future__ import annotations

import os
import socket
import warnings
from pathlib import Path
from typing import Dict

import pytest
import torch

import stillframe
from training import DEADLINE_SECONDS

MIB = 1 << 20


def sockets() -> Dict[str, int]:
    """The sockets of this process: what the kernel calls each, and a descriptor of it."""
    found: Dict[str, int] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found[target] = int(name)
    return found


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_line_that_breaks_while_copying_loses_nothing_captured(tmp_path: Path) -> None:
    model = torch.nn.Linear(5000, 5000, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    others = sockets().keys()
    with stillframe.Checkpointer(tmp_path, model=model, optimizer=optimizer) as ckpt:
        ((name, descriptor),) = ((name, one) for name, one in sockets().items() if name not in others)
        ticket = ckpt.snapshot(1)
        with socket.socket(fileno=os.dup(descriptor)) as line:
            line.shutdown(socket.SHUT_RDWR)
        ckpt.fence()
        assert ticket.wait_durable(DEADLINE_SECONDS)
        assert name not in sockets(), "the line that was cut is in use"
    assert torch.equal(stillframe.load(f"{tmp_path}@1")["model"]["weight"], model.weight)


def test_a_small_image_that_is_kept_does_not_block_the_larger_next_one(tmp_path: Path) -> None:
    model = torch.nn.Linear(2000, 2000, bias=False)  # 16 MB, and with AdamW's state 48 MB: the budget fits that once
    optimizer = torch.optim.AdamW(model.parameters())
    with stillframe.Checkpointer(tmp_path, model=model, optimizer=optimizer, budget_bytes=54 * MIB) as ckpt:
        assert ckpt.snapshot(0).wait_durable(DEADLINE_SECONDS)
        for step in range(1, 4):
            model(torch.ones(1, 2000)).sum().backward()
            optimizer.step()
            assert ckpt.snapshot(step, wait=True).wait_durable(DEADLINE_SECONDS)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_torn_snapshots_leak_no_memory_of_the_arena(tmp_path: Path) -> None:
    model = torch.nn.Linear(2000, 2000, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with stillframe.Checkpointer(tmp_path, model=model, optimizer=optimizer, budget_bytes=40 * MIB) as ckpt:
        for step in range(40):
            ckpt.snapshot(step, wait=True)
            with torch.no_grad():
                model.weight.add_(1.0)  # no fence: torn, whether it is still being copied or not
            ckpt.fence()
        assert ckpt.snapshot(100, wait=True).wait_durable(DEADLINE_SECONDS)
    assert torch.equal(stillframe.load(f"{tmp_path}@100")["model"]["weight"], model.weight)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_a_torn_snapshot_read_is_not_freed_under_the_copier(tmp_path: Path) -> None:
    model = torch.nn.Linear(4000, 4000, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with stillframe.Checkpointer(tmp_path, model=model, optimizer=optimizer) as ckpt:
        for step in range(12):
            ckpt.snapshot(step, wait=True)
            with torch.no_grad():
                model.weight.add_(1.0)
                model.weight.set_(model.weight.clone())  # what the snapshot reads has no other owner now
            ckpt.fence()  # withdraws it, and lets go of its memory


def test_many_skipped_snapshots_are_said(tmp_path: Path) -> None:
    from machine import daemon_pid, stopped

    with stillframe.Checkpointer(tmp_path) as ckpt:
        ckpt.snapshot(0, state={"w": torch.zeros(10)}).wait_verified(DEADLINE_SECONDS)
        with warnings.catch_warnings(record=True) as caught, stopped(daemon_pid(ckpt)):
            warnings.simplefilter("always")
            tickets = [ckpt.snapshot(step, state={"w": torch.zeros(10)}) for step in range(1, 30)]
        assert sum(ticket.skipped for ticket in tickets) >= 10
        assert any("in a row were skipped" in str(item.message) for item in caught)
