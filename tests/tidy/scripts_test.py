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


def test_what_mutate_copies_is_enough_for_the_build(tmp_path: Path) -> None:
    # cuda/ was once not in a list of what is copied, and no mutation was made until somebody read the log.
    sys.path.insert(0, str(SCRIPTS))
    try:
        import mutate_build
    finally:
        sys.path.remove(str(SCRIPTS))
    build = object.__new__(mutate_build.MutationBuild)
    build.source = tmp_path
    build.refresh()
    tops = {line.split("/")[0] for line in tracked_files()}
    left_out = {name for name in tops if not (tmp_path / name).exists()}
    assert left_out <= {".ci", ".clang-format", ".clang-tidy", ".gitignore", "python", "scripts"}


def tracked_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=SCRIPTS.parent, capture_output=True, text=True, timeout=60, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: what belongs to it is not known")
    return listed.stdout.splitlines()
