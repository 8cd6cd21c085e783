"""What a training loop in Python sees of a disk that hangs: deadlines that name a state, and a loop that goes on."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Iterator

import pytest
import torch

import stillframe
from faults_rig import PATIENCE_SECONDS, FaultFs, environment, fault_fs

WAIT_SECONDS = 0.3


@pytest.fixture
def own_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "run").mkdir(mode=0o700)
    for name, value in environment(tmp_path / "run").items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    yield


@contextlib.contextmanager
def released(fs: FaultFs) -> Iterator[None]:
    """Also after a failed test: close() waits for the disk."""
    try:
        yield
    finally:
        fs.say("release")


def test_deadlines_name_the_state_and_the_loop_goes_on(tmp_path: Path, own_sockets: None) -> None:
    weights = torch.nn.Parameter(torch.zeros(400_000))
    optimizer = torch.optim.SGD([weights], lr=1.0)
    with fault_fs(tmp_path / "fs") as fs, stillframe.Checkpointer(
        tmp_path / "fs" / "store", optimizer=optimizer, state=lambda: weights.detach()
    ) as ckpt, released(fs):
        assert ckpt.snapshot(0).wait_verified(PATIENCE_SECONDS)
        fs.say("hold fsync")
        ticket = ckpt.snapshot(1)
        ticket.wait_captured(PATIENCE_SECONDS)
        begun = time.monotonic()
        with pytest.raises(stillframe.DeadlineError, match=r"step 1 was not durable within 0.3 s; it is captured"):
            ticket.wait_durable(WAIT_SECONDS)
        with pytest.raises(stillframe.DeadlineError, match=r"step 1 was not verified within 0.3 s; it is captured"):
            ticket.wait_verified(WAIT_SECONDS)
        for step in range(2, 8):
            weights.grad = torch.ones_like(weights)
            optimizer.step()
            ckpt.snapshot(step)
        assert time.monotonic() - begun < PATIENCE_SECONDS / 2
        assert ckpt.status()["last_durable_step"] == 0 and ticket.captured and not ticket.durable
        fs.say("release")
        assert ticket.wait_verified(PATIENCE_SECONDS)


def test_close_ends_at_its_deadline_and_says_where_the_snapshot_stays(tmp_path: Path, own_sockets: None) -> None:
    with fault_fs(tmp_path / "fs") as fs, released(fs):
        store = tmp_path / "fs" / "store"
        ckpt = stillframe.Checkpointer(store)
        ckpt.snapshot(0, state={"w": torch.ones(1000)}).wait_verified(PATIENCE_SECONDS)
        fs.say("hold fsync")
        ckpt.snapshot(1, state={"w": torch.full((1000,), 2.0)}).wait_captured(PATIENCE_SECONDS)
        with pytest.raises(stillframe.DeadlineError, match="it stays with the daemon, which goes on"):
            ckpt.close(WAIT_SECONDS)
        fs.say("release")
        with stillframe.Checkpointer(store) as successor:
            successor._open_client().settle(PATIENCE_SECONDS)
        assert bool((stillframe.load(f"{store}@1")["w"] == 2).all())
