"""The processes of a sweep: trainer and daemon, struck by descriptor and not by number."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from pathlib import Path
from typing import Dict, List, Optional

DEATH_SECONDS = 30.0


class SweepError(Exception):
    """A promise was broken, or the sweep cannot go on; the message says which."""


class NotInTime(SweepError):
    pass


class Victim:
    """A process that may be killed; it is held by a pidfd, so that nobody else is ever struck."""

    def __init__(self, pid: int, name: str) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)
        comm = Path(f"/proc/{pid}/comm")
        found = comm.read_text().strip() if comm.exists() else "nothing"
        if found != name[:15]:
            os.close(self._fd)
            raise SweepError(f"process {pid} is {found}, not {name}")

    def strike(self, number: int = signal.SIGKILL) -> None:
        try:
            signal.pidfd_send_signal(self._fd, number)
        except ProcessLookupError:
            pass  # it came first

    def wait(self, seconds: float) -> None:
        ended = bool(select.select([self._fd], [], [], seconds)[0])
        os.close(self._fd)
        if not ended:
            raise SweepError(f"process {self.pid} did not end within {seconds:.0f} s")


class Trainer:
    """One life of sweep_trainer after the other. When we die it ends by itself: its standard input does."""

    def __init__(self, command: List[str], environment: Dict[str, str], output: Path) -> None:
        self._command = command
        self._environment = environment
        self._output = output
        self._process: Optional[subprocess.Popen[bytes]] = None

    def start(self) -> None:
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(self._command, env=self._environment, stdin=subprocess.PIPE,
                                             stdout=output, stderr=subprocess.STDOUT)  # fmt: skip

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def strike(self) -> None:
        if self._process is not None:
            self._process.kill()

    def wait(self, seconds: float) -> int:
        assert self._process is not None
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise SweepError(f"the trainer did not end within {seconds:.0f} s") from None
        assert self._process.stdin is not None
        self._process.stdin.close()
        return code

    def ask_to_finish(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(b"finish\n")
        self._process.stdin.flush()

    def last_words(self) -> str:
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-10:])
