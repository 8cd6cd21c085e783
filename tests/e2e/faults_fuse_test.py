"""A disk that hangs, errs, writes short or is interrupted, under a real trainer and a real daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, Tuple

import pytest

from faults_rig import FaultFs, Rig, fault_fs, rig

STEPS_ON = 30  # of training, while the disk stands still
UNDER_WAY_STEPS = 6  # what was past the request that hangs, or its words on their way

Machine = Tuple[FaultFs, Rig]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A trainer with something durable on a file system that works so far."""
    with fault_fs(tmp_path / "fs") as fs, rig(tmp_path, tmp_path / "fs" / "store") as run:
        run.start()
        run.until("a durable checkpoint", lambda: run.durable >= 0)
        yield fs, run


def steps_taken(run: Rig) -> int:
    run.look()
    return max((one.step for one in run.heard if one.name == "trainer.calling" and one.step is not None), default=-1)


@pytest.mark.parametrize("request_kind", ["mkdir", "create", "write", "fsync", "rename", "fsyncdir"])
def test_a_disk_that_hangs_stops_no_training_and_is_named_and_everything_goes_on_afterwards(
    machine: Machine, request_kind: str
) -> None:
    fs, run = machine
    fs.say(f"hold {request_kind}")
    fs.say("held")
    begun = steps_taken(run)
    run.until("what was on its way to be told", lambda: steps_taken(run) >= begun + UNDER_WAY_STEPS)
    durable, step = run.durable, steps_taken(run)
    run.until("training beside a disk that hangs", lambda: steps_taken(run) >= step + STEPS_ON)
    (session,) = run.status()["sessions"]
    assert session["persisting"].split()[0] in ("preparing", "writing", "committing"), session["persisting"]
    (later,) = run.status()["sessions"]
    assert later["persisting_seconds"] > session["persisting_seconds"] > 0
    assert run.durable <= durable + UNDER_WAY_STEPS, "durable while the disk hangs"
    fs.say("release")
    run.until("durable checkpoints again", lambda: run.durable > step + STEPS_ON)
    run.finish()


def test_while_it_cannot_be_re_read_a_checkpoint_is_durable_and_not_verified(machine: Machine) -> None:
    fs, run = machine
    fs.say("hold bulkread")
    durable = run.durable
    run.until("two more durable checkpoints", lambda: run.durable > durable + 3)
    fs.say("release")
    run.until_new("trainer.verified")
    run.finish()


def test_a_daemon_that_is_stopped_while_the_disk_hangs_finishes_when_it_goes_on(machine: Machine) -> None:
    fs, run = machine
    fs.say("hold write")
    fs.say("held")
    run.until("a captured snapshot", lambda: run.phases.acknowledged["captured"] > run.durable)
    daemon, captured = run.daemon(), run.phases.acknowledged["captured"]
    before = run.now()
    daemon.strike(15)
    run.until_new("daemon.daemon.stopping", since=before)
    fs.say("release")
    run.until(f"step {captured} to be durable", lambda: run.durable >= captured)
    daemon.wait(60)
    run.finish()


def test_what_was_captured_is_durable_although_the_trainer_dies_while_the_disk_hangs(machine: Machine) -> None:
    fs, run = machine
    fs.say("hold fsync")
    fs.say("held")
    run.until("a captured snapshot", lambda: run.phases.acknowledged["captured"] > run.durable)
    captured = run.phases.acknowledged["captured"]
    run.trainer.strike()
    run.trainer.wait(60)
    run.phases.resumed = None
    before = run.now()
    run.trainer.start()
    run.until_new("trainer.start", since=before)
    fs.say("release")
    assert run.resumed() >= captured
    run.finish()


@pytest.mark.parametrize("request_kind", ["write", "fsync", "create", "rename", "fsyncdir"])
def test_one_error_of_the_disk_costs_nothing(machine: Machine, request_kind: str) -> None:
    fs, run = machine
    fs.say(f"fail {request_kind} EIO 1")
    step = steps_taken(run)
    run.until("durable checkpoints again", lambda: run.durable > step + 6)
    run.finish()


@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EDQUOT", "EROFS"])
@pytest.mark.parametrize("request_kind", ["write", "fsync", "create", "rename", "mkdir"])
def test_a_disk_that_errs_for_ever_is_said_and_the_old_checkpoints_stay_whole(
    machine: Machine, request_kind: str, error: str
) -> None:
    fs, run = machine
    fs.say(f"fail {request_kind} {error} -1")
    failed = run.until_new("trainer.failed", error)
    assert "older checkpoints" in failed.words and str(run.store) in failed.words, failed.words
    step = steps_taken(run)
    run.until("training beside a disk that errs", lambda: steps_taken(run) >= step + 6)
    (session,) = run.status()["sessions"]
    assert session["consecutive_failures"] >= 1 and error in session["last_error"], session
    fs.say("release")
    run.until("durable checkpoints again", lambda: run.durable > step + 6)
    run.verify_all()


@pytest.mark.parametrize("request_kind", ["write", "fsync", "fsyncdir", "read", "bulkread"])
def test_interrupted_calls_are_made_again(machine: Machine, request_kind: str) -> None:
    fs, run = machine
    fs.say(f"fail {request_kind} EINTR 7")
    step = steps_taken(run)
    run.until("durable checkpoints", lambda: run.durable > step + 6)
    assert not [one for one in run.heard if one.name in ("trainer.failed", "daemon.persist.again")]
    run.finish()


def test_a_disk_that_takes_only_parts_of_a_write_gets_all_of_it(machine: Machine) -> None:
    fs, run = machine
    fs.say("short 5000")
    step = steps_taken(run)
    run.until("durable checkpoints", lambda: run.durable > step)
    run.trainer.strike()
    run.trainer.wait(60)
    assert run.start() > step  # and every byte is right
    run.finish()


def test_a_full_disk_is_said_with_its_name_and_room_is_enough_to_go_on(machine: Machine) -> None:
    fs, run = machine
    fs.say("space 1000000")
    failed = run.until_new("trainer.failed")
    assert "space" in failed.words and str(run.store) in failed.words, failed.words
    left = [path.name for path in run.store.iterdir() if path.name.endswith(".partial")]
    step = steps_taken(run)
    fs.say("space -1")
    run.until("durable checkpoints again", lambda: run.durable > step)
    assert not [name for name in left if (run.store / name).exists()]
    run.finish()
