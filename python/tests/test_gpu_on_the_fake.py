"""From Python to a GPU and back, on the fake of its driver: tensors that the host cannot touch are captured behind the call
in the order of their stream, and restored onto the GPU."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Dict, List

import pytest

from on_the_fake import SCHEDULES, Done

pytestmark = pytest.mark.usefixtures("library")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_loop_resumes_equal_after_its_end_and_after_its_death(schedule: str, tmp_path: Path) -> None:
    first = Done(schedule, "train", tmp_path)
    assert first.code == 0 and first.said("verified") == ["1", "2", "3"], first.errors
    # The last snapshot is cut off in its second chunk, after the two before it were captured.
    second = Done(schedule, "train", tmp_path, 1 << 21)
    assert second.code == -signal.SIGKILL and second.said("resumed") == ["3", "equal"], second.errors
    third = Done(schedule, "train", tmp_path)
    assert third.code == 0 and third.said("resumed") == ["5", "equal"], third.errors


@pytest.mark.parametrize(("sabotage", "doing"), [
    ("fence", "train"), ("memory_kept", "give_up_memory"), ("gather", "train")
])  # fmt: skip
def test_what_is_taken_out_of_the_package_shows_as_a_race(sabotage: str, doing: str, tmp_path: Path) -> None:
    done = Done("lazy", doing, tmp_path, without=sabotage)
    assert done.code == -signal.SIGABRT and "race" in done.errors, (done.code, done.errors)


def test_a_stream_that_is_not_the_trainings_is_a_race(tmp_path: Path) -> None:
    done = Done("adversarial", "on_another_stream", tmp_path)
    assert done.code == -signal.SIGABRT and "race" in done.errors, done.errors


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_beside_a_graph_that_is_captured_nothing_is_given_to_its_stream(schedule: str, tmp_path: Path) -> None:
    done = Done(schedule, "capture", tmp_path)
    assert done.said("beside") == ["skipped", "BusyError"]
    # What was recorded moved the version counters, and no byte: the pending snapshot is whole.
    assert done.said("pending") == ["verified"]
    assert done.said("after") == ["verified", "True"]
    assert done.code == 0, done.errors


@pytest.mark.parametrize("schedule", ["adversarial", "lazy"])
def test_memory_given_up_behind_the_fence_lives_until_its_copy_has_ended(schedule: str, tmp_path: Path) -> None:
    done = Done(schedule, "give_up_memory", tmp_path)
    assert done.code == 0, done.errors
    assert int(done.said("held")[0]) > 0, "it was given back afterwards"


def test_memory_lives_until_its_copy_has_ended_also_when_the_checkpointer_goes(tmp_path: Path) -> None:
    done = Done("lazy", "end_in_mid_copy", tmp_path, bytes_per_s=3_000_000)
    assert done.code == 0 and done.said("ended") == [], done.errors


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_two_optimizers_on_two_streams_each_wait_for_the_copies(schedule: str, tmp_path: Path) -> None:
    done = Done(schedule, "two_optimizers", tmp_path, bytes_per_s=3_000_000)
    assert done.code == 0 and done.said("whole") == ["verified"], done.errors


def test_a_restore_on_another_stream_waits_for_the_copies(tmp_path: Path) -> None:
    done = Done("adversarial", "restore_on_another_stream", tmp_path, bytes_per_s=3_000_000)
    assert done.code == 0 and done.said("restored") == ["True"], done.errors


def test_a_plan_that_fails_leaves_the_streams_of_the_copies_under_way(tmp_path: Path) -> None:
    done = Done("adversarial", "plan_that_fails", tmp_path, bytes_per_s=3_000_000)
    assert done.said("refused") == ["failed"], done.errors
    assert done.code == 0 and done.said("whole") == ["verified"], done.errors


@pytest.mark.parametrize(
    ("variable", "what"),
    [
        ({"FAKE_CUDA_DRIVER_VERSION": "11080"}, ["too old", "CUDA 11.8", "at least 12.0", "install driver 525"]),
        ({"FAKE_CUDA_MISSING_CALLS": "cuMemHostRegister"}, ["has no call cuMemHostRegister", "install a driver"]),
    ],
)
def test_with_a_driver_that_is_too_old_the_ticket_says_what_to_do_and_the_training_goes_on(
    variable: Dict[str, str], what: List[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    done = Done("eager", "too_old", tmp_path)
    assert done.code == 0 and done.said("trained") == ["3", "True"], done.errors
    for step in ("1", "2", "3"):
        assert done.said(f"state{step}") == ["failed"]
        assert all(words in " ".join(done.said(f"why{step}")) for words in what), done.said(f"why{step}")
    assert done.said("counted") == ["3"]
    assert done.said("warnings") == ["1"]
    assert all(words in " ".join(done.said("warned")) for words in [*what, "training goes on"]), done.said("warned")


def test_what_no_fence_guards_must_fit_into_the_scratch(tmp_path: Path) -> None:
    done = Done("eager", "scratch", tmp_path)
    why = " ".join(done.said("refused"))
    assert "on cuda:0 1620224 bytes" in why and "model.table of 1600000" in why and "ckpt.fence()" in why, why
    assert done.said("guarded")[0] == "verified" and done.code == 0, done.errors


def test_a_missed_fence_is_found_and_the_tensor_taken_in_the_call_from_then_on(tmp_path: Path) -> None:
    done = Done("adversarial", "missed_fence", tmp_path)
    assert done.said("torn") == ["abandoned", "['missed_fence']", "1"]
    assert done.said("again") == ["verified"] and done.said("holds") == ["True"]
    assert done.code == 0, done.errors


def test_a_change_that_moves_no_counter_is_found_by_the_capture_check(tmp_path: Path) -> None:
    done = Done("eager", "torn_copy", tmp_path, inject="cuStreamWaitEvent:1:0:hang", races="off")
    way = " ".join(done.said("way"))
    if way != "checked":
        assert "nvcc" in way, way
        pytest.skip(f"the fingerprint kernel is not in this build: {way}")
    assert done.said("torn") == ["abandoned", "['missed_fence']", "model.bias"], done.errors
    assert done.said("told") == ["1"] and done.said("again") == ["verified", "True"]
    assert done.said("holds") == ["True"] and done.code == 0, done.errors
    shown = subprocess.run(["stillframe", "show", f"{tmp_path}@latest"], capture_output=True, text=True, timeout=60)
    assert "verified, checked against the device" in shown.stdout, shown.stdout + shown.stderr


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_metric_on_the_gpu_is_the_number_of_the_moment_and_nobody_waits_for_it(schedule: str, tmp_path: Path) -> None:
    done = Done(schedule, "seen_by_nobody", tmp_path, script="gpu_metrics.py")
    assert done.code == 0, done.errors
    assert [done.said(f"alarms{step}") for step in (1, 2, 3, 4)] == [[], [], ["non_finite_loss"], []]
    assert done.said("nan") == ["nan"]
    assert done.said("restored")[0] == "4"
    assert json.loads(" ".join(done.said("restored")[1:])) == {"loss": 0.5, "count": -7, "rate": 0.1}
    assert done.said("state") == ["True"]
    listed = subprocess.run(["stillframe", "ls", tmp_path, "--json"], capture_output=True, text=True, timeout=60, check=True)
    steps = [one["step"] for one in json.loads(listed.stdout)["checkpoints"]]
    assert sorted(steps) == [1, 2, 4], "the best of both kinds, and the last"


def test_a_metric_on_the_gpu_comes_back_from_the_memory_of_a_killed_trainer(tmp_path: Path) -> None:
    assert Done("eager", "from_memory", tmp_path, 0, script="gpu_metrics.py").code == -signal.SIGKILL
    done = Done("eager", "from_memory", tmp_path, 1, script="gpu_metrics.py")
    assert done.said("restored") == ["1", '{"loss":', "0.125}", "memory"], done.errors
