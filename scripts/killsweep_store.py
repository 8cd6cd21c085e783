"""One store, its trainer and its daemon, killed again and again; after every kill the promises are held against it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import Callable, Deque, Dict, List, NamedTuple, Optional, Set

from killsweep_events import Follower, Happening, unpublished
from killsweep_phases import AT_START, POINTS, Phases
from killsweep_plan import BUDGET_BYTES, KEEP_LAST, Kill, StorePlan
from killsweep_processes import DEATH_SECONDS, NotInTime, SweepError, Trainer, Victim

START_SECONDS = 60.0
AIM_SECONDS = 5.0  # a phase that does not come within this is given up, and the blow falls where it falls
CLOSE_SECONDS = 90.0


class Struck(NamedTuple):
    store: int
    victim: str
    point: str
    phases: List[str]  # what was under way
    durable: int  # the last step acknowledged before, -1 for none
    resumed: int  # where it went on; after a daemon's death the newest step in the store
    seconds: float


class Programs(NamedTuple):
    trainer: str
    stillframe: str
    environment: Dict[str, str]


class Sweep:
    def __init__(self, plan: StorePlan, folder: Path, programs: Programs) -> None:
        self.struck: List[Struck] = []
        self._plan = plan
        self._programs = programs
        self._store = folder / "store"
        self._files = folder / "files"
        self._store.mkdir(parents=True)
        self._files.mkdir()
        journal, log, config = self._files / "journal", self._files / "daemon.log", self._files / "daemon.toml"
        config.write_text(f'[persist]\nlevel = "{plan.level}"\nencoder_threads = 2\n\n[retention]\n'
                          f'keep_last = {KEEP_LAST}\n\n[log]\npath = "{log}"\n')  # fmt: skip
        command = [programs.trainer, "train", str(self._store), str(journal), str(config),
                   str(BUDGET_BYTES[plan.mode]), str(plan.snapshot_every)]  # fmt: skip
        self._trainer = Trainer(command, programs.environment, self._files / "trainer.log")
        self._follower = Follower(self._store, journal, log)
        self._phases = Phases()
        self._seen: Deque[Happening] = deque()  # and not yet taken

    def run(self) -> None:
        try:
            self._start("resumed")
            for kill in self._plan.kills:
                self.struck.append(self._kill(kill))
            self._end()
        finally:
            self._clean_up()

    # ---- one kill

    def _kill(self, kill: Kill) -> Struck:
        begun = time.monotonic()
        if kill.point in AT_START:
            self._finish_trainer()
            self._start(kill.point)
        elif kill.after_progress:
            self._wait("one more durable checkpoint", lambda h: h.name == "trainer.durable", START_SECONDS)
        self._aim(kill)
        phases = sorted(self._phases.where() | removing(self._store))
        struck_daemon = self._strike(kill)
        leftovers = set(unpublished(self._store))
        self._look(0)  # what was acknowledged up to the last instant counts
        durable, captured = self._phases.acknowledged["durable"], self._phases.acknowledged["captured"]
        newest = self._check_every_byte(durable)
        if kill.victim != "daemon":
            resumed = self._start("resumed")
        elif kill.point in AT_START:
            resumed = self._resumed()
        else:
            self._go_on_without_daemon(struck_daemon, captured)
            resumed = newest
        if resumed < durable:
            raise SweepError(f"resumed at step {resumed}, though step {durable} was acknowledged as durable")
        if kill.victim == "trainer" and resumed < captured:
            raise SweepError(f"resumed at step {resumed}, though step {captured} was acknowledged as captured, and only "
                             "the trainer was killed")  # fmt: skip
        self._none_left(leftovers)
        return Struck(self._plan.number, kill.victim, kill.point, phases, durable, resumed, time.monotonic() - begun)

    def _aim(self, kill: Kill) -> None:
        happened = POINTS[kill.point]
        try:
            if kill.point == "idle":
                self._until("idle", lambda: self._phases.where() == {"idle"}, AIM_SECONDS)
            elif happened is not None and kill.point not in AT_START:
                self._wait(kill.point, happened, AIM_SECONDS)
        except NotInTime:
            pass  # the table says where it fell
        end = time.monotonic() + kill.delay_seconds
        while time.monotonic() < end:
            self._look(end - time.monotonic())

    def _strike(self, kill: Kill) -> Optional[int]:
        """The process id of the daemon, when it was struck."""
        daemon = self._daemon() if kill.victim != "trainer" else None
        if kill.victim == "daemon" and daemon is None:
            self._until("a daemon", self._daemon_lives, START_SECONDS)
            daemon = self._daemon()
        if daemon is not None and kill.daemon_first:
            daemon.strike()
        if kill.victim != "daemon":
            self._trainer.strike()
        if daemon is not None:
            daemon.strike()
            daemon.wait(DEATH_SECONDS)
        if kill.victim != "daemon" and self._trainer.wait(DEATH_SECONDS) != -9:
            raise SweepError(f"the trainer ended before it was killed: {self._trainer.last_words()}")
        return daemon.pid if daemon is not None else None

    def _daemon_lives(self) -> bool:
        return self._phases.daemon_pid is not None and os.path.exists(f"/proc/{self._phases.daemon_pid}")

    def _daemon(self) -> Optional[Victim]:
        """The living daemon; None while there is none, as in the first moments of a trainer."""
        pid = self._phases.daemon_pid
        if pid is None or not self._daemon_lives():
            return None
        try:
            return Victim(pid, "stillframed")
        except (SweepError, ProcessLookupError):
            return None

    # ---- the promises

    def _go_on_without_daemon(self, struck: Optional[int], captured: int) -> None:
        """The same trainer goes on, a new daemon takes over, and what was captured becomes durable."""
        phases = self._phases
        self._until("a new daemon", lambda: phases.daemon_pid != struck and phases.joined, START_SECONDS)
        self._until(f"step {captured} to become durable", lambda: phases.acknowledged["durable"] >= captured
                    or captured in phases.failed, START_SECONDS)  # fmt: skip
        # In a ring the first chunks lived with the daemon: then it may be given up, and says so.
        if phases.acknowledged["durable"] < captured and self._plan.mode != "ring":
            raise SweepError(f"step {captured} was captured, the daemon was killed, and then: {phases.failed[captured]}")

    def _none_left(self, names: Set[str]) -> None:
        """`names`, seen while their writer was dead, are gone."""
        left = names & set(unpublished(self._store))
        if left:
            raise SweepError(f"left behind by a dead writer: {', '.join(sorted(left))}")

    def _check_every_byte(self, durable: int) -> int:
        """Every checkpoint equals what the trainer held at its step; the newest is at least `durable`. Its step."""
        done = subprocess.run([self._programs.trainer, "check", str(self._store)], env=self._programs.environment,
                              capture_output=True, text=True, timeout=START_SECONDS, check=False)  # fmt: skip
        if done.returncode != 0:
            raise SweepError(f"the store cannot be read: {done.stderr}")
        steps = []
        for line in done.stdout.splitlines():
            step, verdict, rest = line.split(" ", 2)
            if verdict != "equal":
                raise SweepError(f"the checkpoint {rest.strip()} of step {step} is {verdict}")
            steps.append(int(step))
        newest = steps[0] if steps else -1
        if newest < durable:
            raise SweepError(f"the newest checkpoint is of step {newest}, though step {durable} was acknowledged as durable")
        return newest

    # ---- the trainer's lives

    def _start(self, until: str) -> int:
        """Starts the trainer; the step that it resumed at, -1 for none, or for a start not waited for."""
        self._phases.resumed = None
        self._trainer.start()
        happened = POINTS.get(until)
        if happened is not None:
            self._wait(f"the trainer, {until}", happened, START_SECONDS)
            return -1
        return self._resumed()

    def _resumed(self) -> int:
        self._until("the trainer's restore", lambda: self._phases.resumed is not None, START_SECONDS)
        resumed = self._phases.resumed
        assert resumed is not None
        if self._phases.passed_over:
            raise SweepError(f"the restore passed over {'; '.join(self._phases.passed_over)}")
        if resumed.words not in ("equal", "none"):
            raise SweepError(f"resumed at step {resumed.step}, and the bytes are not those of that step")
        return -1 if resumed.step is None else resumed.step

    def _finish_trainer(self) -> None:
        self._trainer.ask_to_finish()
        code = self._trainer.wait(CLOSE_SECONDS)
        self._look(0)
        if code != 0:
            raise SweepError(f"the trainer ended with {code}: {self._trainer.last_words()}")

    def _end(self) -> None:
        self._finish_trainer()
        self._stop_daemon()
        if unpublished(self._store):
            raise SweepError(f"left behind at the end: {', '.join(unpublished(self._store))}")
        self._check_every_byte(self._phases.acknowledged["durable"])
        done = subprocess.run([self._programs.stillframe, "verify", str(self._store), "--all", "--json"], timeout=60,
                              env=self._programs.environment, capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode != 0:
            raise SweepError(f"stillframe verify --all ended with {done.returncode}: {done.stdout}{done.stderr}")

    def _stop_daemon(self) -> None:
        self._look(0)
        daemon = self._daemon()
        if daemon is not None:
            daemon.strike(signal.SIGTERM)
            daemon.wait(DEATH_SECONDS)

    def _clean_up(self) -> None:
        self._trainer.strike()
        try:
            self._stop_daemon()
        except SweepError:
            daemon = self._daemon()
            if daemon is not None:
                daemon.strike()
        self._follower.close()

    # ---- waiting

    def _look(self, seconds: float) -> None:
        self._seen += self._follower.read(0 if self._seen else seconds)
        while self._seen:
            self._phases.take(self._seen.popleft())

    def _until(self, what: str, state: Callable[[], bool], seconds: float) -> None:
        if not state():
            self._wait(what, lambda happening: state(), seconds)

    def _wait(self, what: str, condition: Callable[[Happening], bool], seconds: float) -> None:
        """Until a happening meets `condition`; those after it are left for the next wait."""
        end = time.monotonic() + seconds
        while True:
            while self._seen:
                happening = self._seen.popleft()
                self._phases.take(happening)
                if condition(happening):
                    return
            alive = self._trainer.alive
            self._seen += self._follower.read(0 if not alive else min(0.5, end - time.monotonic()))
            if not alive and not self._seen:
                raise SweepError(f"the trainer ended while {what} was waited for: {self._trainer.last_words()}")
            if not self._seen and time.monotonic() > end:
                raise NotInTime(f"waited {seconds:.0f} s in vain for {what}")


def removing(store: Path) -> Set[str]:
    return {"removing"} if any(name.endswith(".removing") for name in unpublished(store)) else set()
