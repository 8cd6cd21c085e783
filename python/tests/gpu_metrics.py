"""Metrics that lie on a GPU of the driver fake; test_gpu_on_the_fake.py runs this, and tells it where the store is."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from pathlib import Path

import torch

import stillframe
from gpu_training import WAIT_SECONDS, Training, say


def seen_by_nobody(store: str) -> None:
    """Losses that nobody has seen: each is overwritten as soon as the call has returned."""
    training = Training()
    losses = [training.gpu.like(torch.tensor([loss])) for loss in (0.25, 0.75, math.nan, 0.5)]
    loss, count = training.gpu.like(torch.tensor(9.0)), training.gpu.like(torch.tensor(-7))
    keep = stillframe.Retention(keep_last=1, keep_best=[("loss", "min", 1), ("loss", "max", 1)])
    with training.checkpointer(store, retention=keep) as ckpt:
        for step, now in enumerate(losses, 1):
            training.step()
            training.gpu.set(loss, now)
            ticket = ckpt.snapshot(step, metrics={"loss": loss, "count": count, "rate": 0.1}, wait=True)
            training.gpu.set(loss, losses[0])
            ticket.wait_verified(WAIT_SECONDS)
            say(f"alarms{step}", *[alarm.kind for alarm in ticket.alarms])
            if math.isnan(float(training.gpu.get(now))):
                manifest = next(Path(store).glob(f"*step{step:06}*/manifest.json")).read_text()
                say("nan", json.loads(manifest)["metrics"]["loss"]["$float"])
    fresh = Training()
    with fresh.checkpointer(store) as ckpt:
        restored = ckpt.restore()
        assert restored is not None
        say("restored", restored.step, json.dumps(restored.metrics))
        fresh.state_onto_gpu()
        fresh.steps = restored.step
        say("state", fresh.is_at(restored.step))


def from_memory(store: str, successor: int) -> None:
    """A loss that was captured and never written, told by the memory that a killed trainer has left."""
    training = Training()
    with training.checkpointer(store, persist_every_steps=1000) as ckpt:
        if successor:
            restored = ckpt.restore()
            assert restored is not None
            say("restored", restored.step, json.dumps(restored.metrics), restored.source)
            return
        ckpt.snapshot(0, metrics={"loss": training.gpu.like(torch.tensor(9.0))}).wait_verified(WAIT_SECONDS)
        ckpt.snapshot(1, metrics={"loss": training.gpu.like(torch.tensor(0.125))}, wait=True).wait_captured(WAIT_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    doing, folder, *numbers = sys.argv[1:]
    if doing == "seen_by_nobody":
        seen_by_nobody(folder)
    else:
        from_memory(folder, *map(int, numbers))
