"""SIGKILL of trainer, daemon or both: training goes on, nothing acknowledged is lost, nothing half is left."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, List

import pytest
import torch

import stillframe
from machine import checkpoint_steps
from support import same
from training import DEADLINE_SECONDS, Child, Run

pytestmark = pytest.mark.usefixtures("library")

TRAINER = """
import sys
from training import Run
run = Run()
ckpt = run.checkpointer(sys.argv[1])
for step in range(1000):
    run.step()
    ticket = ckpt.snapshot(step, wait=True)
    getattr(ticket, "wait_" + sys.argv[2])(60)
    print("reached", step, flush=True)
    sys.stdin.readline()
"""

MID_COPY = """
import sys, torch, stillframe
ckpt = stillframe.Checkpointer(sys.argv[1])
ckpt.snapshot(1, state={"w": torch.ones(1000)}).wait_verified(60)
print("whole", flush=True)
big = torch.ones(48_000_000)
weights = torch.nn.Parameter(big)
optimizer = torch.optim.SGD([weights])
tracked = stillframe.Checkpointer(sys.argv[1], run="big", optimizer=optimizer, state=lambda: weights.detach())
tracked.snapshot(2)
print("copying", flush=True)
sys.stdin.readline()
"""


def _daemon_pid(ckpt: stillframe.Checkpointer) -> int:
    daemon: Any = ckpt.status()["daemon"]
    return int(daemon["pid"])


def _kill_daemon(pid: int) -> None:
    """SIGKILL, and wait until the process is gone."""
    watched = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        assert select.select([watched], [], [], DEADLINE_SECONDS)[0], "the daemon outlived SIGKILL"
    finally:
        os.close(watched)


def _ours(caught: List[warnings.WarningMessage]) -> List[str]:
    return [str(item.message) for item in caught if str(item.message).startswith("stillframe")]


def test_training_goes_on_when_the_daemon_is_killed_and_a_new_one_takes_over(tmp_path: Path) -> None:
    run = Run()
    with run.checkpointer(tmp_path) as ckpt:
        run.step()
        ckpt.snapshot(0).wait_verified(DEADLINE_SECONDS)
        first = _daemon_pid(ckpt)
        run.step()
        captured = ckpt.snapshot(1)
        captured.wait_captured(DEADLINE_SECONDS)
        _kill_daemon(first)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run.step()
            assert captured.wait_verified(DEADLINE_SECONDS)
            for step in range(2, 4):  # with step 1 that is keep_last=3
                run.step()
                last = ckpt.snapshot(step, wait=True)
            assert last.wait_verified(DEADLINE_SECONDS)
        assert len(_ours(caught)) == 1 and "daemon" in _ours(caught)[0]
        assert _daemon_pid(ckpt) != first
    assert stillframe.load(f"{tmp_path}@1") is not None


@pytest.mark.parametrize("reached", ["captured", "durable"])
def test_what_a_killed_trainer_had_reached_is_restored(tmp_path: Path, reached: str) -> None:
    with Child(TRAINER, str(tmp_path), reached) as child:
        for _ in range(3):
            step = int(child.hear("reached"))
            if step < 2:
                child.say("on")
        child.kill()
    twin = Run()
    for _ in range(3):
        twin.step()
    run = Run(seed=1)
    with run.checkpointer(tmp_path) as ckpt:
        restored = ckpt.restore()
    assert restored is not None and restored.step == 2 and not restored.skipped
    assert same(run.everything(), twin.everything())


def test_a_trainer_killed_while_copying_leaves_nothing_half(tmp_path: Path) -> None:
    with Child(MID_COPY, str(tmp_path)) as child:
        child.hear("whole")
        child.hear("copying")
        child.kill()
    with stillframe.Checkpointer(tmp_path, run="big") as ckpt:
        ckpt._open_client().settle(DEADLINE_SECONDS)
    # The copy may have been fast enough to end: then the checkpoint is whole; never anything between.
    try:
        assert bool((stillframe.load(f"{tmp_path}:big")["state"] == 1).all())
    except stillframe.NotFoundError:
        pass
    assert torch.equal(stillframe.load(f"{tmp_path}@1")["w"], torch.ones(1000))
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith((".partial", ".removing"))]


def test_trainer_and_daemon_killed_together_lose_nothing_durable(tmp_path: Path) -> None:
    program = TRAINER.replace('print("reached", step, flush=True)',
                              'print("reached", step, ckpt.status()["daemon"]["pid"], flush=True)')
    with Child(program, str(tmp_path), "durable") as child:
        step, daemon = child.hear("reached").split()
        _kill_daemon(int(daemon))
        child.kill()
    run = Run()
    with run.checkpointer(tmp_path) as ckpt:
        restored = ckpt.restore()
        assert restored is not None and restored.step == int(step) == 0
        run.step()
        assert ckpt.snapshot(1).wait_verified(DEADLINE_SECONDS)


def test_a_store_that_cannot_be_written_is_an_error_at_construction(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with pytest.raises(stillframe.StorageError, match="file"):
        stillframe.Checkpointer(blocked / "store")


def test_without_a_daemon_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(stillframe.UnavailableError, match="no.sock"):
        stillframe.Checkpointer(tmp_path, socket=str(tmp_path / "no.sock"))


_ELSEWHERE = """
import sys
import stillframe
import torch
try:
    stillframe.Checkpointer(sys.argv[1], run="other", socket=sys.argv[2], model=torch.nn.Linear(2, 2))
except stillframe.InvalidArgumentError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("there", ["another directory", "nothing"])
def test_a_trainer_that_does_not_see_the_daemons_store_is_refused(there: str, tmp_path: Path) -> None:
    """As in a container into which the socket was mounted and the store was not: it would find no checkpoint, and begin anew."""
    mounted = tmp_path / "mounted"
    store = mounted / "store"
    model = torch.nn.Linear(2, 2)
    with stillframe.Checkpointer(store, model=model) as ckpt:
        ckpt.snapshot(7, wait=True).wait_durable(DEADLINE_SECONDS)
        daemon: Any = ckpt.status()["daemon"]
        make = f"mkdir {store}" if there == "another directory" else "true"
        inside = f'mount -t tmpfs none {mounted} && {make} && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", inside, "sh", sys.executable, "-B", "-c", _ELSEWHERE, str(store),
                   str(daemon["socket"])]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
        if "unshare" in done.stderr or "mount" in done.stderr.split("Traceback")[0]:
            pytest.skip(f"a mount of its own needs root: {done.stderr.strip()}")
        assert "refused:" in done.stdout and "here and none there" in done.stdout and "one path for both" in done.stdout, done
    assert checkpoint_steps(store) == {7}
