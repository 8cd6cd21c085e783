"""Small budgets, a daemon that stands still, forked workers, and hundreds of snapshots: bounded, and bit for bit."""

from __future__ import annotations

import os
import signal
import time
import warnings
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch

import stillframe
import training
from machine import (
    checkpoint_steps,
    daemon_pid,
    descriptors,
    memory,
    stopped,
    threads,
    wait_until,
)
from support import same
from training import DEADLINE_SECONDS, BigRun, Child, Run, no_warnings

pytestmark = pytest.mark.usefixtures("library")

MIB = 1 << 20

WORKERS = """
import sys, torch
from training import Run
run = Run()
ckpt = run.checkpointer(sys.argv[1])
run.step()
ckpt.snapshot(0).wait_durable(60)
loader = torch.utils.data.DataLoader(
    torch.arange(1000.0), batch_size=4, num_workers=2, persistent_workers=True, multiprocessing_context="fork",
    generator=torch.Generator())
for batch in loader:
    break
run.step()
ticket = ckpt.snapshot(1)
ticket.wait_captured(60)
print("workers", *[worker.pid for worker in loader._iterator._workers], flush=True)
sys.stdin.readline()
"""


# ---- budgets


def test_a_quarter_of_the_state_works_as_a_ring_and_stays_bounded(tmp_path: Path) -> None:
    run, budget = BigRun(32), 8 * MIB
    images: Dict[int, torch.Tensor] = {}
    with run.checkpointer(tmp_path, budget_bytes=budget) as ckpt:
        daemon = daemon_pid(ckpt)
        for step in range(4):
            run.step()
            images[step] = run.weight.detach().clone()
            ckpt.snapshot(step, wait=True)
        status = ckpt.status()
        assert status["mode"] == "ring" and status["plan"]["mode"] == "ring"
        assert 0 < status["arena_bytes"] <= budget == status["budget_bytes"]
        for pid in (os.getpid(), daemon):
            assert memory(pid)["RssShmem"] <= budget + MIB
        assert memory(daemon)["RssAnon"] < 32 * MIB
    assert checkpoint_steps(tmp_path) == {1, 2, 3}
    for step in (1, 2, 3):
        assert torch.equal(stillframe.load(f"{tmp_path}@{step}")["model"]["weight"], images[step])
    other = BigRun(32)
    with other.checkpointer(tmp_path, budget_bytes=budget) as ckpt:
        restored = ckpt.restore()
    assert restored is not None and restored.step == 3 and torch.equal(other.weight, images[3])


def test_a_budget_too_small_for_a_ring_is_an_error_with_figures(tmp_path: Path) -> None:
    with pytest.raises(stillframe.NoSpaceError, match="32.0 MiB.*budget is 2.0 MiB"):
        BigRun(32).checkpointer(tmp_path, budget_bytes=2 * MIB)
    assert checkpoint_steps(tmp_path) == set()
    BigRun(1).checkpointer(tmp_path).close()  # the run is not held by the one that was refused


@pytest.mark.parametrize("budget, mode", [(0, "double"), (10 * MIB, "ring")])
def test_a_tree_larger_than_the_scratch_is_copied_whole_in_the_call(tmp_path: Path, budget: int, mode: str) -> None:
    tree = {"a": torch.randn(4 * MIB), "b": torch.randn(2 * MIB)}
    expected = {name: tensor.clone() for name, tensor in tree.items()}
    with stillframe.Checkpointer(tmp_path, scratch_bytes=MIB, budget_bytes=budget) as ckpt:
        ticket = ckpt.snapshot(1, state=tree)
        for tensor in tree.values():
            tensor.zero_()
        assert ticket.wait_verified(DEADLINE_SECONDS) and ckpt.status()["mode"] == mode
    assert same(stillframe.load(tmp_path), expected)


# ---- a daemon that stands still


def test_a_stopped_daemon_does_not_stop_the_training(tmp_path: Path) -> None:
    run = Run()
    with run.checkpointer(tmp_path) as ckpt:
        run.step()
        ckpt.snapshot(0).wait_verified(DEADLINE_SECONDS)
        tickets: List[stillframe.Ticket] = []
        with stopped(daemon_pid(ckpt)):
            begin = time.monotonic()
            for step in range(1, 20):
                run.step()
                tickets.append(ckpt.snapshot(step))
            assert time.monotonic() - begin < 5
            assert tickets[0].captured and not tickets[0].durable
            assert all(ticket.captured or ticket.skipped for ticket in tickets)
            taken = [ticket for ticket in tickets if not ticket.skipped]
        for ticket in taken:
            assert ticket.wait_verified(DEADLINE_SECONDS)
        run.step()
        assert ckpt.snapshot(20).wait_verified(DEADLINE_SECONDS)


def test_a_stopped_daemon_does_not_hold_up_a_state_that_has_grown(tmp_path: Path) -> None:
    run = Run()
    run.step()
    with run.checkpointer(tmp_path) as ckpt:
        ckpt.snapshot(0).wait_verified(DEADLINE_SECONDS)
        with stopped(daemon_pid(ckpt)):
            run.model.register_buffer("late", torch.arange(3.0))
            begin = time.monotonic()
            grown = ckpt.snapshot(1, wait=True)
            assert time.monotonic() - begin < 30 and grown.wait_captured(DEADLINE_SECONDS)
        assert grown.wait_verified(DEADLINE_SECONDS)
    assert torch.equal(stillframe.load(f"{tmp_path}@1")["model"]["late"], torch.arange(3.0))


def test_a_fence_behind_a_stopped_daemon_gives_up_at_its_deadline(tmp_path: Path) -> None:
    run = BigRun(32)
    with run.checkpointer(tmp_path, budget_bytes=8 * MIB, fence_deadline=3.0) as ckpt:
        ckpt.snapshot(0).wait_verified(DEADLINE_SECONDS)
        with stopped(daemon_pid(ckpt)):
            torn = ckpt.snapshot(1)
            begin = time.monotonic()
            with pytest.warns(RuntimeWarning, match="step 1") as caught:
                run.step()
            # The line that called optimizer.step(), not a line of torch or of this package.
            assert [item.filename for item in caught] == [training.__file__]
            assert 1.5 < time.monotonic() - begin < 15
            assert torn.state == "abandoned" and torn.error is not None
            assert ckpt.status()["snapshots"]["abandoned"] == 1
            begin = time.monotonic()
            ckpt.snapshot(2)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run.step()
            assert time.monotonic() - begin < 15
        expected = run.weight.detach().clone()
        assert ckpt.snapshot(3, wait=True).wait_verified(DEADLINE_SECONDS)
    assert checkpoint_steps(tmp_path) >= {0, 3} and 1 not in checkpoint_steps(tmp_path)
    assert torch.equal(stillframe.load(tmp_path)["model"]["weight"], expected)


# ---- forked workers


def test_forked_workers_that_outlive_the_trainer_do_not_keep_its_run(tmp_path: Path) -> None:
    with Child(WORKERS, str(tmp_path)) as child:
        workers = [int(pid) for pid in child.hear("workers").split()]
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)  # whatever they hold open they go on holding
        try:
            child.kill()
            run = Run(seed=8)
            begin = time.monotonic()
            with no_warnings():
                with run.checkpointer(tmp_path) as ckpt:
                    opened = time.monotonic() - begin
                    restored = ckpt.restore()
                    run.step()
                    assert ckpt.snapshot(2).wait_verified(DEADLINE_SECONDS)
            assert opened < 2 and all(Path(f"/proc/{worker}").exists() for worker in workers)
        finally:
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
    assert restored is not None and restored.step == 1
    twin = Run()
    for _ in range(3):
        twin.step()
    assert same(run.everything(), twin.everything())


# ---- for a long time


def test_two_hundred_snapshots_leave_nothing_behind(tmp_path: Path) -> None:
    run = Run(width=2048)
    with run.checkpointer(tmp_path) as ckpt:
        daemon = daemon_pid(ckpt)
        both = (os.getpid(), daemon)

        def figures() -> List[Dict[str, int]]:
            return [{"descriptors": descriptors(pid), "threads": threads(pid),
                     "anonymous": memory(pid)["RssAnon"]} for pid in both]  # fmt: skip

        def take(steps: range) -> Any:
            for step in steps:
                run.step()
                ticket = ckpt.snapshot(step, metrics={"step": step}, wait=True)
                ticket.wait_captured(DEADLINE_SECONDS)
            ticket.wait_verified(DEADLINE_SECONDS)
            return ckpt.status()

        early_status, early = take(range(40)), figures()
        late_status, late = take(range(40, 200)), figures()
        assert late_status["arena_bytes"] == early_status["arena_bytes"]
        assert late_status["snapshots"]["durable"] == 200 and late_status["snapshots"]["failed"] == 0
        for before, after in zip(early, late):
            assert after["descriptors"] <= before["descriptors"] + 2, (before, after)
            assert after["threads"] <= before["threads"], (before, after)
            assert after["anonymous"] <= before["anonymous"] + 4 * MIB, (before, after)
    assert checkpoint_steps(tmp_path) == {197, 198, 199}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.endswith((".partial", ".removing"))) == []


def test_opening_and_closing_again_and_again_leaves_nothing_behind(tmp_path: Path) -> None:
    def turn(step: int) -> int:
        with stillframe.Checkpointer(tmp_path, scratch_bytes=MIB) as ckpt:
            ckpt.snapshot(step, state=[torch.zeros(1000)])
            return daemon_pid(ckpt)

    for step in range(5):
        daemon = turn(step)
    both = (os.getpid(), daemon)
    before = [(descriptors(pid), threads(pid)) for pid in both]
    for step in range(5, 30):
        assert turn(step) == daemon
    wait_until(lambda: descriptors(daemon) <= before[1][0] + 2, "the daemon to close what it had for the trainers")
    assert (descriptors(os.getpid()), threads(os.getpid())) == before[0]
    assert threads(daemon) == before[1][1]
