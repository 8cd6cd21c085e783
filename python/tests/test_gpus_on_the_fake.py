"""Several GPUs in one process, and several trainers with one daemon, on the fake of the driver: each GPU computes on a stream
of its own, and each trainer resumes from its own newest step, whatever becomes of the other."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, List

import pytest

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

    def __init__(self, store: Path, run: str, gpu: int, socket: str = "") -> None:
        super().__init__(NEIGHBOUR, str(store), run, str(gpu), socket)

    def begins(self) -> List[str]:
        """The step it goes on from, and whether it is equal to what it was; the daemon's process, and its socket."""
        return [*self.hear("from").split(), *self.hear("daemon").split()]

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


@pytest.mark.parametrize(
    ("schedule", "gpus", "stores"),
    [
        *((schedule, (0, 1), ("store", "store")) for schedule in SCHEDULES),
        ("adversarial", (1, 1), ("store", "store")),
        ("adversarial", (0, 1), ("store", "another")),
    ],
)
def test_a_trainer_that_dies_in_mid_snapshot_leaves_its_neighbour_at_the_same_daemon_alone(
    schedule: str, gpus: tuple[int, int], stores: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in variables(schedule, devices=2).items():
        monkeypatch.setenv(name, text)
    here, there = (tmp_path / one for one in stores)
    with Neighbour(here, "left", gpus[0]) as left:
        *beginning, daemon, socket = left.begins()
        assert beginning == ["0", "equal"]
        with Neighbour(there, "right", gpus[1], socket) as right:
            assert right.begins() == ["0", "equal", daemon, socket]
            right.steps(1)
            left.steps(1, 2)
            left.say(f"die {IN_THE_SECOND_CHUNK}")
            right.steps(2)
            assert left.process.wait(DEADLINE_SECONDS) == -signal.SIGKILL
            right.steps(3, 4)
            with Neighbour(here, "left", gpus[0], socket) as resumed:
                assert resumed.begins() == ["2", "equal", daemon, socket]
                resumed.steps(3)
                right.steps(5)
                right.kill()
                with Neighbour(there, "right", gpus[1], socket) as other:
                    assert other.begins() == ["5", "equal", daemon, socket]
                    other.steps(6)
                    resumed.steps(4)
                    assert other.ends() == ["6"]
                assert resumed.ends() == ["3", "4"]
