"""What the tests of real faults stand on: a file system that fails as it is told, and a trainer and daemon of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from killsweep_events import Follower, Happening  # noqa: E402
from killsweep_phases import Phases  # noqa: E402
from killsweep_processes import Trainer, Victim  # noqa: E402

PATIENCE_SECONDS = float(os.environ.get("STILLFRAME_PATIENCE_SECONDS", "60"))
DOUBLE_BUDGET = 32 << 20  # two images of the trainer's six chunks


def program(name: str) -> str:
    build = os.environ.get("STILLFRAME_BUILD_DIR")
    if not build:
        pytest.fail("STILLFRAME_BUILD_DIR is not set: it names the build directory (scripts/test sets it)")
    for folder in ("tests", "src/apps"):
        if (found := Path(build, folder, name)).is_file():
            return str(found)
    pytest.fail(f"{build} holds no {name}")


def environment(runtime: Path) -> Dict[str, str]:
    """Of a trainer: the daemon of this build first on PATH, its socket in a folder of its own."""
    apps = Path(program("stillframed")).parent
    return {**os.environ, "PATH": f"{apps}:{os.environ['PATH']}", "XDG_RUNTIME_DIR": str(runtime)}


class FaultFs:
    """tests/support/fault_fs: every word of its faults.hpp."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen([program("fault_fs"), str(folder)], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip

    def mounted(self) -> bool:
        assert self._process.stdout is not None
        return self._process.stdout.readline() == "ok\n"

    def refusal(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.read().strip()

    def say(self, line: str) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        # A file system that does not answer ends with its process, and then everybody who waits for it goes on.
        watchdog = threading.Timer(PATIENCE_SECONDS, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        assert answer == "ok\n", f"{line}: {answer or 'no answer'}"

    def close(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate(timeout=30)


@contextlib.contextmanager
def fault_fs(folder: Path) -> Iterator[FaultFs]:
    """Mounted at `folder`; the test is skipped, with the reason, where there is no FUSE."""
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("mounting a FUSE file system needs root and /dev/fuse")
    folder.mkdir()
    made = FaultFs(folder)
    if not made.mounted():
        pytest.skip(f"no FUSE file system can be mounted: {made.refusal()}")
    try:
        yield made
    finally:
        made.close()
        if os.path.ismount(folder):
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def small_tmpfs(folder: Path, mebibytes: int) -> Iterator[Path]:
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "stillframe-test", str(folder)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"mounting a small tmpfs needs root: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Rig:
    """sweep_trainer on a store, with the daemon it starts. What both say is in `phases` and `heard`."""

    def __init__(self, folder: Path, store: Path, budget_bytes: int = DOUBLE_BUDGET, every: int = 3,
                 config: str = "") -> None:  # fmt: skip
        self.store = store
        self.files = folder / "files"
        self.files.mkdir()
        (self.files / "run").mkdir(mode=0o700)
        self.environment = environment(self.files / "run")
        journal, log, toml = self.files / "journal", self.files / "daemon.log", self.files / "daemon.toml"
        toml.write_text(f'{config}\n[log]\npath = "{log}"\n')
        command = [program("sweep_trainer"), "train", str(store), str(journal), str(toml), str(budget_bytes), str(every)]
        self.trainer = Trainer(command, self.environment, self.files / "trainer.log")
        self.phases = Phases()
        self.heard: List[Happening] = []
        self._follower = Follower(self.files, journal, log)  # of the store's own names nothing is needed here

    def start(self) -> int:
        """A trainer that has resumed, and at which step: -1 for none."""
        self.phases.resumed = None
        self.trainer.start()
        return self.resumed()

    def resumed(self) -> int:
        self.until("a trainer that has resumed", lambda: self.phases.resumed is not None)
        resumed = self.phases.resumed
        assert resumed is not None and resumed.words in ("equal", "none"), resumed
        assert not self.phases.passed_over, self.phases.passed_over
        return -1 if resumed.step is None else resumed.step

    def look(self, seconds: float = 0.0) -> List[Happening]:
        found = self._follower.read(seconds)
        for happening in found:
            self.phases.take(happening)
        self.heard += found
        return found

    def until(self, what: str, state: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not state():
            found = self.look(0.1)
            assert found or self.trainer.alive, f"the trainer ended while {what} was waited for: {self.trainer.last_words()}"
            assert time.monotonic() < end, f"waited {PATIENCE_SECONDS:.0f} s in vain for {what}; log:\n{self.log_end()}"

    def until_new(self, name: str, contains: str = "", since: Optional[int] = None) -> Happening:
        """The next happening of that name, from now on, or since now() said so many: before what brings it about."""
        begun = self.now() if since is None else since
        found: List[Happening] = []

        def there() -> bool:
            found[:] = [one for one in self.heard[begun:] if one.name == name and contains in one.words]
            return bool(found)

        self.until(f"{name} {contains}", there)
        return found[0]

    def now(self) -> int:
        self.look()
        return len(self.heard)

    @property
    def durable(self) -> int:
        return self.phases.acknowledged["durable"]

    def daemon(self) -> Victim:
        assert self.phases.daemon_pid is not None
        return Victim(self.phases.daemon_pid, "stillframed")

    def kill_both(self) -> None:
        """Both are struck; whoever hangs in the file system ends only when that answers."""
        self.trainer.strike()
        daemon = self.living_daemon()
        if daemon is not None:
            daemon.strike()

    def living_daemon(self) -> Optional[Victim]:
        pid = self.phases.daemon_pid
        if pid is None or not os.path.exists(f"/proc/{pid}"):
            return None
        try:
            return Victim(pid, "stillframed")
        except Exception:  # it ended between the two looks
            return None

    def status(self) -> Any:
        import json

        done = subprocess.run([program("stillframe"), "status", str(self.store), "--json"], env=self.environment,
                              capture_output=True, text=True, timeout=20, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def finish(self) -> None:
        """The trainer ends by itself, and what it leaves is clean."""
        self.trainer.ask_to_finish()
        assert self.trainer.wait(PATIENCE_SECONDS) == 0, self.trainer.last_words()
        self.verify_all()

    def verify_all(self) -> None:
        done = subprocess.run([program("stillframe"), "verify", str(self.store), "--all"], env=self.environment,
                              capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def log_end(self) -> str:
        log = self.files / "daemon.log"
        return "\n".join(log.read_text().splitlines()[-15:]) if log.exists() else "(none)"

    def close(self) -> None:
        self.kill_both()
        self._follower.close()


@contextlib.contextmanager
def rig(folder: Path, store: Path, **options: Any) -> Iterator[Rig]:
    made = Rig(folder, store, **options)
    try:
        yield made
    finally:
        made.close()
