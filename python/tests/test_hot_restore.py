"""Fewer snapshots in the store than are taken, and a restore from the memory that a killed trainer left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import stillframe
from machine import checkpoint_steps, daemon_pid, kill_and_wait
from support import same
from training import DEADLINE_SECONDS, Child, Run, no_warnings

TRAIN = """
import sys
from training import Run
run = Run()
ckpt = run.checkpointer(sys.argv[1], persist_every_steps=1000)
for step in range(3):
    run.step()
    ticket = ckpt.snapshot(step, metrics={"loss": 0.5}, extra={"epoch": step}, wait=True)
    ticket.wait_captured(60)
    if step == 0:
        ticket.wait_verified(60)
print("captured", ticket.persisted, flush=True)
sys.stdin.read()
"""


def _three_steps() -> Run:
    run = Run()
    for _ in range(3):
        run.step()
    return run


@pytest.mark.usefixtures("library")
def test_a_killed_run_goes_on_from_memory_bit_for_bit(tmp_path: Path) -> None:
    with Child(TRAIN, str(tmp_path)) as child:
        assert child.hear("captured") == "False"
        assert checkpoint_steps(tmp_path) == {0}
        child.kill()
    run = Run(seed=99)
    with no_warnings(), run.checkpointer(tmp_path) as ckpt:
        restored = ckpt.restore()
        assert restored is not None and restored.source == "memory" and restored.step == 2
        assert restored.extra == {"epoch": 2} and restored.metrics == {"loss": 0.5} and not restored.skipped
        expected = _three_steps()
        assert same(run.everything(), expected.everything())
        run.step()
        ckpt.snapshot(3, wait=True)
    assert checkpoint_steps(tmp_path) == {0, 2, 3}


@pytest.mark.usefixtures("library")
def test_a_step_that_is_not_in_memory_comes_from_the_store(tmp_path: Path) -> None:
    with Child(TRAIN, str(tmp_path)) as child:
        child.hear("captured")
        child.kill()
    with Run(seed=99).checkpointer(tmp_path) as ckpt:
        restored = ckpt.restore(step=0)
        assert restored is not None and restored.source == "store" and restored.step == 0


@pytest.mark.usefixtures("library")
def test_another_model_is_refused_before_anything_is_touched_and_the_memory_stays(tmp_path: Path) -> None:
    with Child(TRAIN, str(tmp_path)) as child:
        child.hear("captured")
        child.kill()
    wider = Run(width=33)
    before = {name: value.clone() for name, value in wider.model.state_dict().items()}
    ckpt = wider.checkpointer(tmp_path)
    with pytest.raises(stillframe.MismatchError, match="nothing was touched"):
        ckpt.restore()
    assert same(dict(wider.model.state_dict()), before)
    ckpt.close()
    with Run(seed=99).checkpointer(tmp_path) as again:
        restored = again.restore()
        assert restored is not None and restored.source == "memory" and restored.step == 2


@pytest.mark.usefixtures("library")
def test_without_its_daemon_the_store_is_read(tmp_path: Path) -> None:
    with Run().checkpointer(tmp_path) as ckpt:
        ckpt.snapshot(7)
        daemon = daemon_pid(ckpt)
    kill_and_wait(daemon)
    with Run(seed=99).checkpointer(tmp_path) as ckpt:
        restored = ckpt.restore()
        assert restored is not None and restored.source == "store" and restored.step == 7


@pytest.mark.usefixtures("library")
def test_tickets_and_status_say_what_is_in_memory_only(tmp_path: Path) -> None:
    run = Run()
    with run.checkpointer(tmp_path, persist_every_steps=10) as ckpt:
        first = ckpt.snapshot(1, wait=True)
        assert first.persisted and first.wait_verified(DEADLINE_SECONDS)
        run.step()
        kept = ckpt.snapshot(2, wait=True)
        assert kept.wait_captured(DEADLINE_SECONDS) and not kept.persisted
        with pytest.raises(stillframe.UnsupportedError, match="memory only"):
            kept.wait_durable(DEADLINE_SECONDS)
        assert kept.error is None and ckpt.status()["snapshots"]["memory_only"] == 1
        run.step()
        last = ckpt.snapshot(3, wait=True)
        last.wait_captured(DEADLINE_SECONDS)
    assert last.persisted and last.durable
    assert kept.state == "captured"
    assert checkpoint_steps(tmp_path) == {1, 3}


@pytest.mark.usefixtures("library")
def test_wrong_words_and_a_small_budget_are_refused(tmp_path: Path) -> None:
    for wrong in (-1, 1.5, "20", True):
        with pytest.raises(ValueError, match="persist_every_steps"):
            Run().checkpointer(tmp_path, persist_every_steps=wrong)
    model = torch.nn.Linear(1024, 1024)
    with stillframe.Checkpointer(tmp_path, model=model, persist_every_seconds=60, budget_bytes=8 << 20) as ckpt:
        with pytest.raises(stillframe.InvalidArgumentError, match="two images"):
            ckpt.snapshot(1)
