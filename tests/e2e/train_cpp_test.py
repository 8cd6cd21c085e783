"""examples/train (C++, no Python in it) is killed in mid-run, resumes, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from pathlib import Path
from typing import Dict, List

import pytest

BUILD = Path(os.environ.get("STILLFRAME_BUILD_DIR", Path(__file__).resolve().parents[2] / "build/release"))
STEPS, EVERY, DEADLINE_SECONDS = 120, 10, 120


def built(name: str) -> Path:
    found = [path for path in BUILD.rglob(name) if path.is_file() and os.access(path, os.X_OK)]
    if not found:
        pytest.skip(f"{BUILD} holds no {name}: build first (scripts/setup --build)")
    return found[0]


def environment() -> Dict[str, str]:
    """With the daemon of this build first on PATH, where the client looks for one to start."""
    return {**os.environ, "PATH": f"{built('stillframed').parent}:{os.environ['PATH']}"}


def command(store: Path) -> List[str]:
    return [str(built("train")), str(store), str(STEPS), str(EVERY)]


def finish(store: Path) -> Dict[str, str]:
    done = subprocess.run(
        command(store), env=environment(), capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    return {line[0]: line[1] for line in lines if line[0] in ("resumed", "final")}


def kill_after_step(store: Path, step: int) -> None:
    process = subprocess.Popen(command(store), env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line == f"step {step}\n":
                break
        else:
            pytest.fail(f"the example ended before step {step}")
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_killed_in_mid_run_it_resumes_and_ends_equal(tmp_path: Path) -> None:
    uninterrupted = finish(tmp_path / "uninterrupted")
    assert uninterrupted["resumed"] == "none"

    kill_after_step(tmp_path / "killed", 64)
    resumed = finish(tmp_path / "killed")

    assert resumed["resumed"] != "none"
    assert (int(resumed["resumed"]) + 1) % EVERY == 0
    assert int(resumed["resumed"]) <= 64
    assert resumed["final"] == uninterrupted["final"]


def test_a_run_that_is_complete_resumes_at_its_end(tmp_path: Path) -> None:
    first = finish(tmp_path / "store")
    again = finish(tmp_path / "store")
    assert again == {"resumed": str(STEPS - 1), "final": first["final"]}


def newest_durable_step(store: Path) -> int:
    """As anybody can see it from outside; -1 when there is none."""
    if not store.is_dir():
        return -1
    listed = subprocess.run(
        [str(built("stillframe")), "ls", str(store), "--json"], capture_output=True, text=True, timeout=30, check=True
    )
    checkpoints = json.loads(listed.stdout)["checkpoints"]
    assert all(one["problem"] is None for one in checkpoints), checkpoints
    return int(checkpoints[0]["step"]) if checkpoints else -1


def run_until(store: Path, seconds: float, steps: int, first: int) -> int:
    """Runs the example and kills it `seconds` after the `first` steps that it makes; the step it resumed, -1 for none."""
    process = subprocess.Popen(
        [str(built("train")), str(store), str(steps), "3"], env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        resumed = process.stdout.readline().split()
        assert resumed and resumed[0] == "resumed", resumed
        for _ in range(first):
            assert process.stdout.readline().startswith("step ")
        # The blow falls at a time, not at an event: that is what this test is for.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL, "the example ended before it was killed"
    finally:
        process.kill()
        process.communicate(timeout=30)
    return -1 if resumed[1] == "none" else int(resumed[1])


def test_ten_random_kills_lose_nothing_durable_and_end_equal(tmp_path: Path) -> None:
    steps, store, chance = 400, tmp_path / "killed", random.Random(20261122)
    durable, resumes = -1, []
    for blow in range(10):
        # Every second one gets further however busy the machine is: a snapshot of every third step.
        resumed = run_until(store, chance.uniform(0.0, 0.12), steps, first=1 + 9 * (blow % 2))
        assert resumed >= durable, f"resumed step {resumed}, but step {durable} was durable"
        durable = newest_durable_step(store)  # may be behind what was resumed: that one can come from the daemon's memory
        resumes.append(resumed)
    assert resumes == sorted(resumes) and resumes[-1] > resumes[0]

    end = subprocess.run([str(built("train")), str(store), str(steps), "3"], env=environment(), capture_output=True,
                         text=True, timeout=DEADLINE_SECONDS, check=True)  # fmt: skip
    whole = subprocess.run([str(built("train")), str(tmp_path / "whole"), str(steps), "50"], env=environment(),
                           capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True)  # fmt: skip
    first = int(end.stdout.split()[1])
    assert first >= durable and end.stdout.splitlines()[-1] == whole.stdout.splitlines()[-1]
    assert not [path.name for path in store.iterdir() if path.name.endswith((".partial", ".removing"))]
