"""Several GPUs in one process, and several trainers with one daemon, on the fake of the driver: each GPU computes on a stream
of its own, and each trainer resumes from its own newest step, whatever becomes of the other."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator, List, NamedTuple

import pytest

from machine import cli_json, program
from on_the_fake import SCHEDULES, Done, variables
from training import DEADLINE_SECONDS, Child

pytestmark = pytest.mark.usefixtures("library")

NEIGHBOUR = "from gpu_neighbour import main; main()"
IN_THE_SECOND_CHUNK = 3 << 19


def pair(schedule: str, *arguments: object, **more: Any) -> Done:
    return Done(schedule, *arguments, script="gpu_pair.py", devices=2, **more)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_model_on_two_gpus_resumes_equal_after_a_death_in_mid_copy_and_behind_it(schedule: str, tmp_path: Path) -> None:
    # Three are begun; the last is cut off on both GPUs, after the two before it were captured.
    first = pair(schedule, "train", tmp_path, IN_THE_SECOND_CHUNK)
    assert first.code == -signal.SIGKILL, first.errors
    second = pair(schedule, "die_captured", tmp_path)
    assert second.code == -signal.SIGKILL and second.said("resumed")[:2] == ["2", "equal"], second.errors
    assert second.said("captured") == ["5"]
    third = pair(schedule, "train", tmp_path)
    assert third.said("resumed") == ["5", "equal", "memory"], third.errors
    assert third.code == 0 and third.said("verified") == ["6"], third.errors


@pytest.mark.parametrize("schedule", ["eager", "adversarial"])
def test_a_snapshot_that_one_gpu_has_given_and_the_other_has_not_is_none(schedule: str, tmp_path: Path) -> None:
    first = pair(schedule, "die_with_one_gpu_behind", tmp_path)
    assert first.code == -signal.SIGKILL and first.said("captured") == ["2"], first.errors
    second = pair(schedule, "train", tmp_path)
    assert second.said("resumed")[:2] == ["2", "equal"], second.errors
    assert second.code == 0 and second.said("verified") == ["3", "4", "5"], second.errors


@pytest.mark.parametrize("sabotage", ["fence:0", "fence:1", "snapshot:0", "snapshot:1"])
def test_an_order_with_the_stream_of_only_one_of_two_gpus_shows_as_a_race(sabotage: str, tmp_path: Path) -> None:
    done = pair("lazy", "train", tmp_path, without=sabotage, bytes_per_s=3_000_000)
    assert done.code == -signal.SIGABRT and "race" in done.errors, (done.code, done.errors)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_graph_that_is_captured_on_the_gpu_that_is_not_current_gets_nothing(schedule: str, tmp_path: Path) -> None:
    done = pair(schedule, "capture_on_the_other", tmp_path)
    beside = " ".join(done.said("beside"))
    assert beside.startswith("skipped BusyError") and "a graph is being captured on cuda:1" in beside
    assert done.said("pending") == ["verified"] and done.said("after") == ["verified", "True"]
    assert done.code == 0, done.errors


class Neighbour(Child):
    """A gpu_neighbour.py, led step by step."""

    def begins(self) -> List[str]:
        """The step it goes on from, whether it is equal to what it was, and the daemon's process."""
        return [*self.hear("from").split(), self.hear("daemon")]

    def captures(self, step: int) -> None:
        """And none of its snapshots so far has come to nothing."""
        assert self.hear("captured").split() == [str(step), "0"]

    def steps(self, *steps: int) -> None:
        for step in steps:
            self.say("step")
            self.captures(step)

    def ends(self) -> List[str]:
        self.say("end")
        verified = self.hear("verified").split()
        assert self.end() == 0
        return verified


class Trainer(NamedTuple):
    """A run on a GPU, of which one process comes after the other."""

    store: Path
    run: str
    gpu: int
    socket: str = ""  # of a daemon that runs

    def start(self) -> Neighbour:
        return Neighbour(NEIGHBOUR, str(self.store), self.run, str(self.gpu), self.socket)


@pytest.fixture
def daemon_of_all_stores() -> Iterator[str]:
    """Its socket. One that a trainer starts serves the store of that one only."""
    with tempfile.TemporaryDirectory(prefix="sf-gpus-") as folder:
        socket = f"{folder}/daemon.sock"
        command = [program("stillframed"), "--daemon-socket", socket, "--arena-budget-bytes", str(1 << 27), "--detach"]
        subprocess.run(command, check=True, timeout=DEADLINE_SECONDS)
        try:
            yield socket
        finally:
            os.kill(cli_json("status", "--socket", socket)["daemon"]["pid"], signal.SIGTERM)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Children find two GPUs with that schedule."""

    def chosen(schedule: str) -> None:
        for name, text in variables(schedule, devices=2).items():
            monkeypatch.setenv(name, text)

    return chosen


def die_and_go_on(left: Trainer, right: Trainer) -> None:
    """The left one dies in mid-snapshot. The right one, which takes steps at the same time and goes on, is killed later. Both
    come back, and find the daemon that they had."""
    with left.start() as first, right.start() as second:
        *first_begins, daemon = first.begins()
        *second_begins, same_daemon = second.begins()
        assert first_begins == second_begins == ["0", "equal"] and same_daemon == daemon
        second.steps(1)
        first.steps(1, 2)
        first.say(f"die {IN_THE_SECOND_CHUNK}")
        second.steps(2)
        assert first.process.wait(DEADLINE_SECONDS) == -signal.SIGKILL
        second.steps(3, 4)
        with left.start() as first_again:
            assert first_again.begins() == ["2", "equal", daemon]
            first_again.steps(3)
            second.steps(5)
            second.kill()
            with right.start() as second_again:
                assert second_again.begins() == ["5", "equal", daemon]
                second_again.steps(6)
                first_again.steps(4)
                assert second_again.ends() == ["6"]
            assert first_again.ends() == ["3", "4"]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_trainer_that_dies_in_mid_snapshot_leaves_the_one_on_the_other_gpu_alone(
    schedule: str, fake: Callable[[str], None], tmp_path: Path
) -> None:
    fake(schedule)
    die_and_go_on(Trainer(tmp_path, "left", 0), Trainer(tmp_path, "right", 1))


def test_a_trainer_that_dies_in_mid_snapshot_leaves_the_one_on_the_same_gpu_alone(
    fake: Callable[[str], None], tmp_path: Path
) -> None:
    fake("adversarial")
    die_and_go_on(Trainer(tmp_path, "left", 1), Trainer(tmp_path, "right", 1))


def test_a_trainer_that_dies_in_mid_snapshot_leaves_the_one_with_another_store_alone(
    fake: Callable[[str], None], daemon_of_all_stores: str, tmp_path: Path
) -> None:
    fake("adversarial")
    stores = tmp_path / "left", tmp_path / "right"
    left, right = (Trainer(store, "main", gpu, daemon_of_all_stores) for gpu, store in enumerate(stores))
    die_and_go_on(left, right)
