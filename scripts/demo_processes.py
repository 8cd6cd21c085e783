"""The demo's processes: the trainer, the daemon it started, and their end. Every wait has a deadline and a name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, List, Optional

POLL_SECONDS = 0.002


class DemoError(Exception):
    """The demo cannot go on, or a promise was broken; the message says which."""


def wait_for(what: str, condition: Callable[[], bool], deadline_seconds: float) -> None:
    end = time.monotonic() + deadline_seconds
    while not condition():
        if time.monotonic() > end:
            raise DemoError(f"waited {deadline_seconds:.0f} s for {what}, in vain")
        time.sleep(POLL_SECONDS)


class Trainer:
    """One run of train_gpt.py after the other, all with the same flags."""

    def __init__(self, flags: List[str], output: Path) -> None:
        self._command = [sys.executable, "-B", "examples/train_gpt.py", *flags]
        self._output = output
        self._process: Optional[subprocess.Popen[bytes]] = None

    def start(self) -> None:
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def pid(self) -> int:
        return self._running().pid

    def exit_code(self) -> Optional[int]:
        return self._running().poll()

    def kill(self) -> None:
        process = self._running()
        process.kill()
        process.wait(30)

    def finish(self, deadline_seconds: float) -> None:
        try:
            code = self._running().wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            raise DemoError(f"the trainer did not finish within {deadline_seconds:.0f} s; see {self._output}") from None
        self.check_exit(code)

    def check_exit(self, code: int) -> None:
        if code != 0:
            last_lines = self._output.read_text(errors="replace").splitlines()[-20:]
            raise DemoError(f"the trainer ended with {code}; the end of {self._output}:\n" + "\n".join(last_lines))

    def clean_up(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise DemoError("the trainer was never started")
        return self._process


def is_daemon(pid: Optional[int]) -> bool:
    """Whether `pid` is alive and a stillframed: a process id that was given to somebody else is never struck."""
    if pid is None:
        return False
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return name == "stillframed" and state not in "ZX"


def kill_daemon(pid: Optional[int]) -> None:
    if pid is None or not is_daemon(pid):
        raise DemoError(f"no living stillframed to kill (last seen: {pid})")
    os.kill(pid, signal.SIGKILL)
    wait_for("the daemon's death", lambda: not is_daemon(pid), 30)


def stop_daemon(pid: Optional[int]) -> None:
    if pid is None or not is_daemon(pid):
        return
    os.kill(pid, signal.SIGTERM)
    try:
        wait_for("the daemon's graceful stop", lambda: not is_daemon(pid), 20)
    except DemoError:
        os.kill(pid, signal.SIGKILL)
