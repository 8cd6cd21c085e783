"""One kill after the other: aim, strike, and hold the promises against what came after."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import List, NamedTuple, Optional

from demo_phases import PhaseTracker, Tail
from demo_processes import DemoError, Trainer, is_daemon, kill_daemon, wait_for
from demo_report import table

START_SECONDS = 90.0  # from a kill to the next word of trainer or daemon
PROGRESS_SECONDS = 180.0


class Row(NamedTuple):
    aim: str
    phase: str
    step: int
    captured: int
    durable: int
    resumed: str
    outcome: str

    def text(self, number: int) -> str:
        return f"kill {number}: in {self.phase} at step {self.step}: {self.resumed}; {self.outcome}"


class Killer:
    def __init__(self, victim: str, trainer: Trainer, tracker: PhaseTracker, losses: Path, ring: bool) -> None:
        self._victim = victim
        self._trainer = trainer
        self._tracker = tracker
        self._losses = Tail(losses)
        self._ring = ring
        self._step = -1
        self._called = -1  # the last snapshot begun before the kill
        self.rows: List[Row] = []

    def strike(self, aim: Optional[str], not_before_step: int, delay_seconds: float, aim_seconds: float) -> None:
        """Kills in the phase `aim`, or `delay_seconds` after `not_before_step` when there is no aim."""
        wait_for(f"step {not_before_step}", lambda: self._reached(not_before_step), PROGRESS_SECONDS)
        if aim is None:
            end = time.monotonic() + delay_seconds
            wait_for("a random moment", lambda: self._look() and time.monotonic() > end, delay_seconds + 30)
        else:
            try:
                wait_for(f"phase {aim}", lambda: self._look() and self._at(aim), aim_seconds)
            except DemoError as late:
                print(f"{late}; killing where it stands", flush=True)
        pid = self._trainer.pid
        killed_at = time.time()
        if self._victim != "daemon":
            self._trainer.kill()
        if self._victim != "trainer":
            kill_daemon(self._tracker.daemon_pid)
        self._tracker.poll(until=killed_at)
        self._read_losses()
        phase = "+".join(self._tracker.phases())
        seen = Row(aim or "random", phase, self._step, self._tracker.highest("captured"),
                   self._tracker.highest("durable"), "", "")
        self._called = self._tracker.highest("called")
        self.rows.append(self._after_daemon(seen, pid, killed_at) if self._victim == "daemon" else self._resume(seen))

    def table(self) -> str:
        headings = ["kill", "aimed at", "phase", "step reached", "captured", "durable", "resumed", "outcome"]
        rows = [[i + 1, r.aim, r.phase, r.step, show(r.captured), show(r.durable), r.resumed, r.outcome]
                for i, r in enumerate(self.rows)]
        return table(headings, rows)

    def summary(self) -> str:
        return f"{len(self.rows)} kills; captured and durable are the last steps acknowledged to the trainer before"

    def _resume(self, seen: Row) -> Row:
        """Starts the trainer again. It must stand at the last durable step or later; with the daemon alive, at the last
        captured one or later."""
        starts = len(self._tracker.starts)
        self._tracker.trainer_died()
        self._step = -1
        self._trainer.start()
        wait_for("the trainer's new start", lambda: self._look() and len(self._tracker.starts) > starts, START_SECONDS)
        resumed = self._tracker.starts[-1]["resumed"]
        step = -1 if resumed is None else int(resumed)
        self._step = step
        if step < seen.durable:
            raise DemoError(f"resumed at step {show(step)}, though step {seen.durable} was acknowledged as durable")
        if self._victim == "trainer" and step < seen.captured:
            raise DemoError(f"resumed at step {show(step)}, though step {seen.captured} was acknowledged as captured")
        return seen._replace(resumed=show(step), outcome=f"{max(0, seen.step - step)} steps done again")

    def _after_daemon(self, seen: Row, pid: int, killed_at: float) -> Row:
        """The trainer goes on by itself, and what was captured becomes durable through a new daemon."""
        old = self._tracker.daemon_pid
        wait_for("a new daemon", lambda: self._look() and self._tracker.daemon_pid != old
                 and is_daemon(self._tracker.daemon_pid), START_SECONDS)
        tracker, step = self._tracker, max(seen.captured, self._called)
        wait_for(f"step {step}, under way when the daemon died, to become durable",
                 lambda: self._look() and (tracker.highest("durable") >= step or self._reason(step) is not None),
                 START_SECONDS)
        reason = self._reason(step)
        if reason is not None and step <= seen.captured:
            raise DemoError(f"step {step} was captured, but never became durable: {reason}")
        if self._trainer.pid != pid or self._trainer.exit_code() not in (None, 0):
            raise DemoError("the trainer did not survive the daemon's death")
        if reason is not None:  # a ring loses what was not captured yet
            outcome = f"step {step} was not captured yet: {reason}"
        elif step <= seen.durable:
            outcome = "nothing was under way that could be lost"
        else:
            outcome = f"step {step} durable {tracker.durable_time.get(step, time.time()) - killed_at:.1f} s later"
        return seen._replace(resumed="went on", outcome=outcome)

    def _reason(self, step: int) -> Optional[str]:
        """Why the snapshot of `step` was given up; None when it was not."""
        return next((str(failure["reason"]) for failure in self._tracker.failures if failure["step"] == step), None)

    def _at(self, aim: str) -> bool:
        if aim == "idle" and self._tracker.highest("durable") < 0:
            return False
        return self._tracker.is_at(aim, self._ring)

    def _reached(self, step: int) -> bool:
        self._look()
        self._read_losses()
        return self._step >= step

    def _look(self) -> bool:
        """Takes in what was written; true, so that it can stand in a condition."""
        self._tracker.poll()
        code = self._trainer.exit_code()
        if code is not None and self._victim != "daemon":
            self._trainer.check_exit(code)
            raise DemoError("the trainer finished before it was killed; take more --steps")
        return True

    def _read_losses(self) -> None:
        for line in self._losses.lines():
            self._step = json.loads(line)["step"]


def show(step: int) -> str:
    return "none" if step < 0 else str(step)
