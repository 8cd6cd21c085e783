"""Programs that train on the fake of the CUDA driver: how they find it, how it behaves, and what they have said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import pytest

from training import DEADLINE_SECONDS, HERE

SCHEDULES = ["eager", "adversarial", "lazy"]


def folder_of_the_fake() -> Path:
    build = os.environ.get("STILLFRAME_BUILD_DIR")
    if not build:
        pytest.fail("STILLFRAME_BUILD_DIR is not set: it names the build directory (scripts/test sets it)")
    found = Path(build, "tests", "fake_cuda")
    assert (found / "libcuda.so.1").exists(), f"{found} holds no fake of the driver"
    return found


def variables(schedule: str, *, bytes_per_s: int = 30_000_000, races: str = "fatal", devices: int = 1) -> Dict[str, str]:
    """Of a program that shall find the fake."""
    return {
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        "LD_LIBRARY_PATH": str(folder_of_the_fake()),
        "FAKE_CUDA_SCHEDULE": schedule,
        "FAKE_CUDA_DELAY_MS": "5",
        "FAKE_CUDA_RACES": races,
        "FAKE_CUDA_DEVICES": str(devices),
        "FAKE_CUDA_DTOH_BYTES_PER_S": str(bytes_per_s),  # whoever does not wait for a copy has the time to show it
    }


class Done:
    """A gpu_training.py that has ended, or another `script`."""

    def __init__(self, schedule: str, *arguments: object, without: str = "", bytes_per_s: int = 30_000_000,
                 inject: str = "", races: str = "fatal", script: str = "gpu_training.py", devices: int = 1) -> None:
        environment = {
            **os.environ,
            **variables(schedule, bytes_per_s=bytes_per_s, races=races, devices=devices),
            **({"FAKE_CUDA_INJECT": inject} if inject else {}),
            "GPU_TRAINING_WITHOUT": without,
        }
        command = [sys.executable, str(HERE / script), *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2 * DEADLINE_SECONDS)
        self.code, self.errors = done.returncode, done.stderr
        self._lines = done.stdout.splitlines()

    def said(self, word: str) -> List[str]:
        """The words behind `word`; the test fails when it was not said."""
        found = [line.split()[1:] for line in self._lines if line.split()[:1] == [word]]
        assert found, f"{word!r} was not said; {self.code}: {self._lines} {self.errors}"
        return found[0]
