"""A thousand snapshots leave nothing behind: arena, memory, descriptors and threads of trainer and daemon stay what they were.

Three trainers on a small state: C++ on the host, C++ on the CUDA driver fake, Python. Each rests after every hundred
snapshots, when all of them are verified, and is looked at then.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional

import pytest
from faults_rig import PATIENCE_SECONDS, environment, program

from demo_phases import Tail, parse_log_line
from killsweep_processes import Victim

SNAPSHOTS, BETWEEN_RESTS = 1000, 100
WARM_UP_RESTS = 2  # by then every pool has its size and every thread has run
MIB = 1 << 20
# What a process may hold more after 800 further snapshots: a leak of 400 bytes a snapshot is found.
ROOM_BYTES = 256 << 10
# The allocator of C keeps no large buffer for later: what is resident is what is held.
STINGY_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

PYTHON_TRAINER = """
import sys, warnings, torch, stillframe
torch.set_num_threads(1)
store, config, steps, between = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
model = torch.nn.Linear(300, 300)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
with stillframe.Checkpointer(store, model=model, optimizer=optimizer, rng=True, daemon_config=config,
                             retention=stillframe.Retention(keep_last=1)) as ckpt:
    warnings.simplefilter("error", RuntimeWarning)  # from here on: that a store in memory is one was said
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        model(torch.randn(4, 300)).square().mean().backward()
        optimizer.step()
        ticket = ckpt.snapshot(step, metrics={"step": step}, wait=True)
        if step % between == 0:
            ckpt.fence()
            ticket.wait_verified(60)
            print("at", step, flush=True)
            sys.stdin.readline()
"""


class Figures(NamedTuple):
    """Of one process; bytes."""

    descriptors: int
    threads: int
    anonymous: int
    shared: int


def figures_of(pid: int) -> Figures:
    memory = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            memory[name] = int(value.split()[0]) * 1024
    return Figures(len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")), memory["RssAnon"],
                   memory["RssShmem"])  # fmt: skip


class Rest(NamedTuple):
    snapshots: int
    trainer: Figures
    daemon: Figures
    arena_bytes: int


class FlatRig:
    """A trainer and the daemon that it starts."""

    def __init__(self, folder: Path, store: Path, kind: str) -> None:
        (folder / "run").mkdir(mode=0o700)
        self._log, toml, self._errors = folder / "daemon.log", folder / "daemon.toml", folder / "errors"
        toml.write_text(f'[log]\npath = "{self._log}"\n')
        self._store, self._environment = store, {**environment(folder / "run"), **STINGY_ALLOCATOR}
        self._started: Optional[Victim] = None
        counts = [str(SNAPSHOTS), str(BETWEEN_RESTS)]
        command = [program("flat_trainer"), str(store), str(toml), kind, *counts]
        if kind == "python":
            command = [sys.executable, "-c", PYTHON_TRAINER, str(store), str(toml), *counts]
        with open(self._errors, "wb") as errors:
            self._trainer = subprocess.Popen(command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             stderr=errors, text=True, bufsize=1)  # fmt: skip

    def rests(self) -> Iterator[Rest]:
        assert self._trainer.stdin is not None
        for snapshots in range(BETWEEN_RESTS, SNAPSHOTS + 1, BETWEEN_RESTS):
            assert self._line() == f"at {snapshots}\n", self._errors.read_text()
            daemon = self._daemon()
            yield Rest(snapshots, figures_of(self._trainer.pid), figures_of(daemon.pid), self._arena_bytes())
            self._trainer.stdin.write("\n")
        assert self._trainer.wait(PATIENCE_SECONDS) == 0, self._errors.read_text()

    def _line(self) -> str:
        assert self._trainer.stdout is not None
        ready, _, _ = select.select([self._trainer.stdout], [], [], PATIENCE_SECONDS)
        assert ready, f"the trainer has said nothing for {PATIENCE_SECONDS:.0f} s: {self._errors.read_text()}"
        return self._trainer.stdout.readline()

    def _arena_bytes(self) -> int:
        done = subprocess.run([program("stillframe"), "status", str(self._store), "--json"], env=self._environment,
                              capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True)  # fmt: skip
        (session,) = json.loads(done.stdout)["sessions"]
        return int(session["arena_bytes"])

    def _daemon(self) -> Victim:
        for event in filter(None, map(parse_log_line, Tail(self._log).lines())):
            if event.name == "daemon.ready" and self._started is None:
                self._started = Victim(int(event.fields["pid"]), "stillframed")
        assert self._started is not None, f"no daemon has said that it is ready: {self._errors.read_text()}"
        return self._started

    def close(self) -> None:
        self._trainer.kill()
        self._trainer.communicate()
        if self._log.exists():
            daemon = self._daemon()
            daemon.strike()
            daemon.wait(PATIENCE_SECONDS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is room: here nobody asks what survives a power loss, and a thousand commits wait for no disk."""
    shared = Path("/dev/shm")
    if not (shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 256 * MIB):
        yield tmp_path / "store"
        return
    folder = Path(tempfile.mkdtemp(prefix="stillframe-flat-", dir=shared))
    try:
        yield folder / "store"
    finally:
        shutil.rmtree(folder)


def grown(before: List[Rest], after: List[Rest]) -> List[str]:
    """What is more after than it ever was before."""
    found = []
    for who in ("trainer", "daemon"):
        for name, room in Figures(descriptors=0, threads=0, anonymous=ROOM_BYTES, shared=ROOM_BYTES)._asdict().items():
            most = max(getattr(getattr(rest, who), name) for rest in before)
            last = min(getattr(getattr(rest, who), name) for rest in after)
            if last > most + room:
                found.append(f"{name} of the {who}: {last} after {after[0].snapshots} snapshots and more, {most} before")
    arenas = {rest.arena_bytes for rest in (*before, *after)}
    return found + ([f"arena bytes: {sorted(arenas)}"] if len(arenas) != 1 else [])


@pytest.mark.parametrize("kind", ["host", "gpu", "python"])
def test_a_thousand_snapshots_leave_nothing_behind(
    kind: str, tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = FlatRig(tmp_path, store, kind)
    try:
        rests = list(rig.rests())
    finally:
        rig.close()
    assert [rest.snapshots for rest in rests] == list(range(BETWEEN_RESTS, SNAPSHOTS + 1, BETWEEN_RESTS))
    with capsys.disabled():
        for rest in (rests[WARM_UP_RESTS - 1], rests[-1]):
            print(f"\n{kind}, {rest.snapshots} snapshots: arena {rest.arena_bytes}, {rest.trainer}, daemon {rest.daemon}", end="")
    # The last rests, not the last one alone: what comes and goes is no leak, what stays is.
    assert grown(rests[:WARM_UP_RESTS], rests[-3:]) == []


def test_a_leak_would_be_seen() -> None:
    flat = Figures(descriptors=10, threads=5, anonymous=50 * MIB, shared=80 * MIB)

    def rests(figures: Figures, arena: int = MIB) -> List[Rest]:
        return [Rest(100, flat, figures, arena)]

    assert grown(rests(flat), rests(flat)) == []
    changes: List[Dict[str, int]] = [{"descriptors": 11}, {"threads": 6}, {"anonymous": 51 * MIB}, {"shared": 81 * MIB}]
    for change in changes:
        assert len(grown(rests(flat), rests(flat._replace(**change)))) == 1, change
    assert len(grown(rests(flat), rests(flat, 2 * MIB))) == 1
