"""What the tests ask of the machine: small file systems, the figures of a process, the programs of this build."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Set

import pytest

import stillframe
from stillframe import _abi
from training import DEADLINE_SECONDS


@contextlib.contextmanager
def tmpfs(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A small file system at `folder`; the test is skipped, with the reason, where none can be mounted."""
    folder.mkdir(parents=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "stillframe-test", str(folder)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"mounting a small tmpfs needs root: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: the daemon may still hold the lock file of a run that a failed test did not close.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def program(name: str) -> str:
    """A program of the package or of this build."""
    packaged = _abi.packaged("bin", name)
    found = str(packaged) if os.access(packaged, os.X_OK) else shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is neither in the package nor on PATH")
    return found


def cli(*arguments: object, code: int = 0) -> str:
    """Standard output of the command line; the test fails when the exit code is another."""
    command = [program("stillframe"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def cli_json(*arguments: object, code: int = 0) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(cli(*arguments, "--json", code=code), parse_constant=refuse)


def daemon_pid(ckpt: stillframe.Checkpointer) -> int:
    daemon: Any = ckpt.status()["daemon"]
    return int(daemon["pid"])


def kill_and_wait(pid: int) -> None:
    """SIGKILL, and wait until the process is gone."""
    watched = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        assert select.select([watched], [], [], DEADLINE_SECONDS)[0], f"process {pid} outlived SIGKILL"
    finally:
        os.close(watched)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process stands still, every thread of it, as after Ctrl-Z or in a machine that swaps."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: all(_is_stopped(task) for task in Path(f"/proc/{pid}/task").iterdir()), f"{pid} to stand still")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _is_stopped(task: Path) -> bool:
    return task.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "T"


def memory(pid: int) -> Dict[str, int]:
    """VmRSS, RssAnon, RssFile, RssShmem … of a process, in bytes."""
    figures = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            figures[name] = int(value.split()[0]) * 1024
    return figures


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Looks every few milliseconds: for what tells nobody when it happens."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE_SECONDS} s in vain for {what}"
        time.sleep(0.01)  # tidy: allow-sleep the kernel and other processes announce nothing


def checkpoint_steps(store: Path, run: str = "main") -> Set[int]:
    return {int(one["step"]) for one in cli_json("ls", f"{store}:{run}")["checkpoints"]}
