"""What the scripts refuse before they do anything: a request for nothing must not look like success."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def refusal(script: str, *arguments: str) -> str:
    command = [sys.executable, "-B", str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr and not done.stdout
    return done.stderr


def test_killsweep_knows_the_numbers_of_its_stores() -> None:
    assert "no store has the number 999" in refusal("killsweep_main.py", "--count", "20", "--seed", "1", "--store", "999")
    assert "no store has the number -1" in refusal("killsweep_main.py", "--count", "20", "--seed", "1", "--store", "-1")


@pytest.mark.parametrize("count", ["0", "-3", "many"])
def test_mutate_counts_from_one(count: str) -> None:
    assert "--count" in refusal("mutate", "--count", count)
