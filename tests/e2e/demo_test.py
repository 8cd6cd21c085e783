"""The demo's own judgement: it must see phases as the logs tell them, and notice every difference."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS.parent / "examples")]

from demo_compare import differences, loss_differences  # noqa: E402
from demo_main import is_files, is_store  # noqa: E402
from demo_phases import PhaseTracker, parse_log_line  # noqa: E402
from demo_processes import DemoError, is_daemon, wait_for  # noqa: E402
from test_summary import Count, count  # noqa: E402

MINUTE = "2026-11-22T12:30:0"
EPOCH = parse_log_line(f"{MINUTE}0.000Z info any")


class Logs:
    """Both files as trainer and daemon write them; times are seconds after the first."""

    def __init__(self, folder: Path) -> None:
        self.events, self.log = folder / "events.jsonl", folder / "daemon.log"
        self.tracker = PhaseTracker(self.events, self.log)

    def trainer(self, at: float, event: str, **fields: Any) -> None:
        assert EPOCH is not None
        with self.events.open("a") as file:
            file.write(json.dumps({"event": event, "time": EPOCH.time + at, **fields}) + "\n")

    def daemon(self, at: float, event: str, step: int) -> None:
        with self.log.open("a") as file:
            file.write(f"{MINUTE}{at:.3f}Z info {event} run=main step={step} sequence=1\n")

    def phases(self) -> list[str]:
        self.tracker.poll()
        return self.tracker.phases()


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def test_phases_follow_a_snapshot_from_call_to_verified(logs: Logs) -> None:
    assert logs.phases() == ["idle"]
    logs.trainer(1, "called", step=3)
    assert logs.phases() == ["copy"]
    logs.trainer(1.1, "captured", step=3)
    assert logs.phases() == ["captured"]
    logs.daemon(1.2, "persist.begin", 3)
    assert logs.phases() == ["persist"]
    logs.daemon(1.3, "commit.begin", 3)
    assert logs.phases() == ["commit"]
    logs.daemon(1.4, "checkpoint.durable", 3)
    assert logs.phases() == ["verify"]
    logs.daemon(1.5, "checkpoint.verified", 3)
    assert logs.phases() == ["idle"]


def test_in_a_ring_persist_runs_during_the_copy(logs: Logs) -> None:
    logs.trainer(1, "called", step=3)
    logs.daemon(1.1, "persist.begin", 3)
    assert logs.phases() == ["copy", "persist"]
    assert logs.tracker.is_at("persist", ring=True)
    assert not logs.tracker.is_at("persist")


def test_what_came_after_the_kill_does_not_count_for_its_phase(logs: Logs) -> None:
    logs.trainer(1, "called", step=3)
    logs.daemon(2, "snapshot.sealed", 3)
    assert EPOCH is not None
    logs.tracker.poll(until=EPOCH.time + 1.5)
    assert logs.tracker.phases() == ["copy"]
    assert logs.phases() == ["captured"]


def test_a_copy_vanishes_with_the_trainer_and_a_sealed_image_does_not(logs: Logs) -> None:
    logs.trainer(1, "called", step=3)
    logs.daemon(1.1, "snapshot.sealed", 3)
    logs.trainer(2, "called", step=7)
    assert logs.phases() == ["captured", "copy"]
    logs.tracker.trainer_died()
    assert logs.phases() == ["captured"]


def test_only_what_the_trainer_saw_counts_as_acknowledged(logs: Logs) -> None:
    logs.trainer(1, "called", step=3)
    logs.daemon(1.1, "checkpoint.durable", 3)
    logs.phases()
    assert logs.tracker.highest("durable") == -1
    logs.trainer(1.2, "durable", step=3)
    logs.phases()
    assert logs.tracker.highest("durable") == 3


def test_a_new_daemon_begins_again(logs: Logs) -> None:
    logs.trainer(1, "captured", step=3)
    logs.daemon(1.1, "commit.begin", 3)
    assert logs.phases() == ["commit"]
    with logs.log.open("a") as file:
        file.write(f"{MINUTE}2.000Z info daemon.ready pid=4242 socket=/s version=0.1.0\n")
    assert logs.phases() == ["captured"]
    assert logs.tracker.daemon_pid == 4242


def test_a_step_that_was_abandoned_is_followed_when_it_is_done_again(logs: Logs) -> None:
    logs.trainer(1, "called", step=3)
    logs.daemon(1.1, "snapshot.abandoned", 3)
    assert logs.phases() == ["idle"]
    logs.daemon(2, "persist.begin", 3)
    logs.trainer(2.1, "called", step=3)
    assert logs.phases() == ["copy", "persist"]


def test_a_torn_last_line_is_read_once_it_is_whole(logs: Logs) -> None:
    logs.log.write_text(f"{MINUTE}1.000Z info persist.be")
    assert logs.phases() == ["idle"]
    with logs.log.open("a") as file:
        file.write("gin run=main step=3\n")
    assert logs.phases() == ["copy", "persist"]


def test_differences_sees_one_flipped_bit_and_names_it() -> None:
    mine = {"model": {"w": torch.zeros(4)}, "steps": [1, 2.0]}
    other = {"model": {"w": torch.zeros(4)}, "steps": [1, 2.0]}
    assert differences(mine, other) == []
    other["model"]["w"][2] = -0.0  # equal as a number, another bit
    assert differences(mine, other) == ["['model']['w']: tensors differ"]


@pytest.mark.parametrize("other", [{"a": 1}, {"a": 1.0, "b": 2}, {"a": torch.ones(1)}, [1.0]])
def test_differences_sees_other_types_and_keys(other: Any) -> None:
    assert differences({"a": 1.0}, other)


def write_losses(path: Path, *values: tuple[int, float]) -> Path:
    path.write_text("".join(json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in values))
    return path


def test_losses_done_again_after_a_kill_must_not_change(tmp_path: Path) -> None:
    uninterrupted = write_losses(tmp_path / "a", (0, 5.5), (1, 4.5), (2, 3.5))
    assert loss_differences(write_losses(tmp_path / "b", (0, 5.5), (1, 4.5), (1, 4.5), (2, 3.5)), uninterrupted) == []
    assert loss_differences(write_losses(tmp_path / "c", (0, 5.5), (1, 4.6), (1, 4.5), (2, 3.5)), uninterrupted)
    assert loss_differences(write_losses(tmp_path / "d", (0, 5.5), (1, 4.5)), uninterrupted)


def test_the_demo_removes_no_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    assert not is_store(tmp_path)
    assert not is_files(tmp_path)


def test_a_process_that_is_no_daemon_is_never_struck() -> None:
    assert not is_daemon(1)
    assert not is_daemon(None)


def test_a_wait_ends_at_its_deadline_and_says_for_what() -> None:
    with pytest.raises(DemoError, match="for the impossible"):
        wait_for("the impossible", lambda: False, 0.0)


def test_summary_counts_ctest_and_pytest_alike(tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text(
        '<testsuites><testsuite><testcase name="a" status="run"/><testcase name="b" status="fail"><failure/></testcase>'
        '<testcase name="c"><skipped/></testcase><testcase name="d" status="notrun"><skipped/></testcase>'
        '<testcase name="e"><error/></testcase></testsuite></testsuites>'
    )
    assert count(junit) == Count(passed=1, failed=2, skipped=2)
    assert str(count(junit)) == "1 passed, 2 failed, 2 skipped"
