"""A daemon that speaks late: the arena has told the state before its words come, and nothing of them is lost."""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest

import stillframe
from machine import program, wait_until
from training import DEADLINE_SECONDS

pytestmark = pytest.mark.usefixtures("library")

MOST_BYTES = 1 << 17
MOST_DESCRIPTORS = 4


class SlowLine:
    """Stands between a trainer and the daemon, and holds back what the daemon says of snapshots until told to go on."""

    def __init__(self, path: str, daemon_path: str) -> None:
        self.path = path
        self.speak = threading.Event()
        self._held: List[bytes] = []
        self._daemon_path = daemon_path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        trainer, _ = self._listener.accept()
        daemon = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        daemon.connect(self._daemon_path)
        other = {trainer: daemon, daemon: trainer}
        with selectors.DefaultSelector() as ready, trainer, daemon:
            for end in other:
                ready.register(end, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select(timeout=0.01):
                    line: Any = key.fileobj
                    text, descriptors, _, _ = socket.recv_fds(line, MOST_BYTES, MOST_DESCRIPTORS)
                    if not text:
                        return
                    if line is daemon and json.loads(text)["type"] == "snapshot_news" and not self.speak.is_set():
                        self._held.append(text)
                    else:
                        socket.send_fds(other[line], [text], descriptors)
                    for descriptor in descriptors:
                        os.close(descriptor)
                while self.speak.is_set() and self._held:
                    trainer.send(self._held.pop(0))

    def close(self) -> None:
        self.speak.set()
        self._thread.join(DEADLINE_SECONDS)
        self._listener.close()


@contextlib.contextmanager
def slow_line() -> Iterator[SlowLine]:
    with tempfile.TemporaryDirectory(prefix="sf-late-") as folder:
        real = f"{folder}/real.sock"
        flags = ["--daemon-socket", real, "--arena-budget-bytes", str(1 << 26)]
        subprocess.run([program("stillframed"), *flags, "--detach"], check=True, timeout=DEADLINE_SECONDS)
        asked = subprocess.run([program("stillframe"), "status", "--socket", real, "--json"], capture_output=True,
                               check=True, timeout=DEADLINE_SECONDS)  # fmt: skip
        line = SlowLine(f"{folder}/slow.sock", real)
        try:
            yield line
        finally:
            line.close()
            os.kill(json.loads(asked.stdout)["daemon"]["pid"], signal.SIGTERM)


def counted(ckpt: stillframe.Checkpointer) -> Tuple[int, int]:
    snapshots: Dict[str, int] = ckpt.status()["snapshots"]
    return snapshots["durable"], snapshots["verified"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_late_words_bring_alarms_and_figures_and_are_counted_once(tmp_path: Path) -> None:
    with slow_line() as line, stillframe.Checkpointer(tmp_path, socket=line.path) as ckpt:
        ticket = ckpt.snapshot(7, state={"step": 7}, metrics={"loss": math.nan}, wait=True)
        assert ticket.wait_verified(DEADLINE_SECONDS), "the arena told the state"
        assert not ticket.alarms and ticket.stored_bytes == 0 and counted(ckpt) == (1, 1)
        line.speak.set()
        wait_until(lambda: bool(ticket.alarms), "the daemon's words")
        assert [alarm.kind for alarm in ticket.alarms] == ["non_finite_loss"]
        assert ticket.stored_bytes > 0 and ticket.verified
        second = ckpt.snapshot(8, state={"step": 8}, metrics={"loss": 1.0}, wait=True)
        assert second.wait_verified(DEADLINE_SECONDS)
        wait_until(lambda: counted(ckpt)[1] >= 2, "the count of the second")
        assert counted(ckpt) == (2, 2), "each was counted once"
