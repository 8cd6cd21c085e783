"""Fewer snapshots in the store than are taken, and a restore from the memory that a killed trainer left."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import time
import warnings
from pathlib import Path
from typing import Iterator, Optional

import pytest
import torch

import stillframe
from stillframe import _ranks, _resume
from machine import checkpoint_steps, cli_json, daemon_pid, kill_and_wait, stopped, wait_until
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


TRAIN_ONE = """
import sys
from training import Run
run = Run()
ckpt = run.checkpointer(sys.argv[1])
ckpt.snapshot(7, wait=True).wait_captured(60)
print("captured", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def _store_that_hangs(folder: Path) -> Iterator[None]:
    """No sequence can be claimed in it, as on a disk that hangs."""
    Run().checkpointer(folder, run="maker").close()
    with open(folder / "store.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _flip_a_byte(pid: int, wanted_kind: int = 0) -> None:
    """In the first chunk of the image (kind 0) or of the descriptor (1) that a process has captured, as a stray pointer of
    its own would do; once the daemon has read it."""
    names = [name for name in Path(f"/proc/{pid}/fd").iterdir() if "stillframe-arena" in os.readlink(name)]
    with open(names[0], "r+b") as file, mmap.mmap(file.fileno(), 0) as arena:
        slot_count, slots, _, chunks = struct.unpack_from("<4Q", arena, 40)

        def hashed() -> Optional[int]:
            for slot in range(slot_count):
                state, kind, generation, _, index = struct.unpack_from("<2I3Q", arena, slots + 64 * slot)
                (hashed_generation,) = struct.unpack_from("<Q", arena, slots + 64 * slot + 48)
                if state == 2 and kind == wanted_kind and index == 0 and hashed_generation == generation:
                    return slot
            return None

        wait_until(lambda: hashed() is not None, "the hash of the first chunk")
        arena[chunks + ((hashed() or 0) << 20) + 10] ^= 1


def _rests(folder: Path) -> bool:
    """Whether the daemon has the memory of a dead process of which nothing more goes to the store."""
    sessions = cli_json("status", folder)["sessions"]
    return any(not one["alive"] and one["verified"] > 0 and one["persisting"] == "idle" for one in sessions)


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
def test_a_step_that_is_nowhere_is_refused_and_the_memory_stays(tmp_path: Path) -> None:
    with Child(TRAIN, str(tmp_path)) as child:
        child.hear("captured")
        child.kill()
    with Run(seed=99).checkpointer(tmp_path) as ckpt:
        with pytest.raises(stillframe.NotFoundError):
            ckpt.restore(step=55)
        restored = ckpt.restore()
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
    with pytest.raises(stillframe.InvalidArgumentError, match="two images"):
        stillframe.Checkpointer(tmp_path, model=model, persist_every_seconds=60, budget_bytes=8 << 20)


@pytest.mark.usefixtures("library")
def test_a_lazy_model_too_large_for_two_images_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch's own, of lazy modules
        model = torch.nn.LazyLinear(1024)
    with stillframe.Checkpointer(tmp_path, model=model, persist_every_seconds=60, budget_bytes=8 << 20) as ckpt:
        model(torch.ones(1, 1024))
        with pytest.raises(stillframe.InvalidArgumentError, match="two images"):
            ckpt.snapshot(1)


@pytest.mark.usefixtures("library")
def test_constructing_a_checkpointer_leaves_the_memory_of_the_killed_run(tmp_path: Path) -> None:
    with Child(TRAIN_ONE, str(tmp_path)) as child:
        child.hear("captured")
        child.kill()
    wait_until(lambda: _rests(tmp_path), "the end of what the killed run had on its way")
    with Run(seed=99).checkpointer(tmp_path) as ckpt:
        since = time.monotonic()
        wait_until(lambda: not _rests(tmp_path) or time.monotonic() - since > 0.3, "a moment, or the end of the memory")
        restored = ckpt.restore()
        assert restored is not None and restored.source == "memory" and restored.step == 7


@pytest.mark.usefixtures("library")
def test_a_bad_image_of_the_only_step_raises(tmp_path: Path) -> None:
    with _store_that_hangs(tmp_path), Child(TRAIN_ONE, str(tmp_path)) as child:
        child.hear("captured")
        _flip_a_byte(child.process.pid)
        child.kill()
    with Run(seed=99).checkpointer(tmp_path) as ckpt:
        with pytest.raises(stillframe.CorruptError, match="(?s)memory-step000007-.*no checkpoint.*partly overwritten"):
            ckpt.restore()
    assert checkpoint_steps(tmp_path) == set()


@pytest.mark.usefixtures("library")
def test_an_unreadable_image_of_the_only_step_raises(tmp_path: Path) -> None:
    with _store_that_hangs(tmp_path), Child(TRAIN_ONE, str(tmp_path)) as child:
        child.hear("captured")
        (tmp_path / "sequence").mkdir()  # so that none can be claimed
        _flip_a_byte(child.process.pid, wanted_kind=1)
        child.kill()
    with Run(seed=99).checkpointer(tmp_path) as ckpt:
        with pytest.raises(stillframe.CorruptError, match="(?s)memory.*no checkpoint.*Nothing was touched"):
            ckpt.restore()


@pytest.mark.usefixtures("library")
def test_beside_a_daemon_that_does_not_answer_an_empty_store_is_no_beginning_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (_resume, _ranks):
        monkeypatch.setattr(module, "SETTLE_SECONDS", 0.5)
    ckpt = Run().checkpointer(tmp_path)
    with stopped(daemon_pid(ckpt)), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(stillframe.StillframeError, match="no checkpoint"):
            ckpt.restore()
    assert ckpt.restore() is None
    ckpt.close()


@pytest.mark.usefixtures("library")
def test_a_restore_from_memory_does_not_wait_for_a_hung_store(tmp_path: Path) -> None:
    run = Run(seed=99)
    with _store_that_hangs(tmp_path):
        with Child(TRAIN_ONE, str(tmp_path)) as child:
            child.hear("captured")
            child.kill()
        ckpt = run.checkpointer(tmp_path)
        since = time.monotonic()
        restored = ckpt.restore()
        assert restored is not None and restored.source == "memory" and time.monotonic() - since < 30
        with no_warnings():
            for step in range(8, 17):
                ticket = ckpt.snapshot(step)
                assert ticket.skipped and "memory for snapshots is still on its way" in str(ticket.error)
        with pytest.warns(RuntimeWarning, match="10 snapshots in a row were skipped"):
            assert ckpt.snapshot(17).skipped
        assert ckpt.status()["snapshots"]["skipped"] == 10
    ckpt.snapshot(8, wait=True).wait_durable(DEADLINE_SECONDS)
    ckpt.close()
    assert checkpoint_steps(tmp_path) == {7, 8}
