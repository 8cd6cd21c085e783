"""What every snapshot is doing right now, read from the trainer's events and the daemon's log.

Phases, in order: copy (bytes leave the live tensors), captured (sealed, waits for the daemon), persist (the daemon
writes), commit (it publishes), verify (durable, being re-read). No snapshot in any of them: idle. With a budget smaller
than the state, persist begins while the copy still runs.
"""

from __future__ import annotations

import json
import shlex
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Set

DAEMON_EVENTS = {
    "snapshot.sealed": "captured",
    "persist.begin": "persist",
    "commit.begin": "commit",
    "checkpoint.durable": "durable",
    "checkpoint.verified": "verified",
    "checkpoint.unchecked": "unchecked",
    "checkpoint.failed": "failed",
    "checkpoint.bad": "failed",
    "snapshot.abandoned": "failed",
    "snapshot.withdrawn": "failed",
}
ENDED = {"verified", "unchecked", "failed"}


class Tail:
    """The lines of a growing file, each once and only when whole. The file may come later."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def lines(self) -> List[str]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode("utf-8", "replace").splitlines()


class Happening(NamedTuple):
    """One line of either file."""

    time: float  # seconds since the epoch
    name: str
    fields: Dict[str, Any]


def parse_event(line: str) -> Happening:
    fields = json.loads(line)
    return Happening(fields["time"], fields["event"], fields)


def parse_log_line(line: str) -> Optional[Happening]:
    """`<UTC time> <level> <event> key=value …`; None for a line that is no such event."""
    try:
        stamp, _, name, *pairs = shlex.split(line)
        moment = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    fields = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return Happening(moment.timestamp(), name, fields)


class PhaseTracker:
    def __init__(self, events: Path, daemon_log: Path) -> None:
        self._events = Tail(events)
        self._log = Tail(daemon_log)
        self._waiting: List[Happening] = []
        self._marks: Dict[int, Set[str]] = {}
        self.daemon_pid: Optional[int] = None
        self.starts: List[Dict[str, Any]] = []
        self.figures: List[Dict[str, Any]] = []
        self.failures: List[Dict[str, Any]] = []
        self.acknowledged: Dict[str, int] = {}  # state → highest step for which the trainer saw it
        self.durable_time: Dict[int, float] = {}  # step → when the trainer saw it durable

    def poll(self, until: Optional[float] = None) -> None:
        """Takes in what was written since, in the order of time; what happened after `until` waits for a later call."""
        fresh = [parse_event(line) for line in self._events.lines()]
        fresh += [happening for happening in map(parse_log_line, self._log.lines()) if happening]
        self._waiting = sorted(self._waiting + fresh, key=lambda happening: happening.time)
        while self._waiting and (until is None or self._waiting[0].time <= until):
            self._take(self._waiting.pop(0))

    def trainer_died(self) -> None:
        """What was not sealed vanishes with the trainer."""
        self._marks = {step: marks for step, marks in self._marks.items() if "captured" in marks}

    def phases(self) -> List[str]:
        """Of the snapshots in flight, oldest first, each phase once; ["idle"] when there is none."""
        found: List[str] = []
        for step in sorted(self._marks):
            found += [phase for phase in self._phases_of(self._marks[step]) if phase not in found]
        return found or ["idle"]

    def is_at(self, wanted: str, ring: bool = False) -> bool:
        """Whether a kill now strikes in `wanted`. In a ring, persist is looked for during the copy as well."""
        phases = self.phases()
        if wanted == "persist" and ring:
            return "persist" in phases
        return phases == [wanted]

    def _forget_the_last_daemon(self) -> None:
        """What a dead daemon was doing, nobody does now: a new one begins again, or finds it published."""
        for marks in self._marks.values():
            marks -= {"persist", "commit"}
            if "durable" in marks:
                marks.add("verified")

    def highest(self, state: str) -> int:
        return self.acknowledged.get(state, -1)

    def _phases_of(self, marks: Set[str]) -> List[str]:
        if marks & ENDED:
            return []
        if "captured" not in marks:
            return ["copy", "persist"] if "persist" in marks else ["copy"]
        for mark, phase in (("durable", "verify"), ("commit", "commit"), ("persist", "persist")):
            if mark in marks:
                return [phase]
        return ["captured"]

    def _take(self, happening: Happening) -> None:
        name, fields = happening.name, happening.fields
        if name == "daemon.ready" and "pid" in fields:
            self.daemon_pid = int(fields["pid"])
            self._forget_the_last_daemon()
        elif name in DAEMON_EVENTS and "step" in fields:
            self._mark(int(fields["step"]), DAEMON_EVENTS[name])
        elif name == "start":
            self.starts.append(fields)
        elif name in ("called", "captured", "durable", "verified", "failed"):
            self._take_ticket(happening)

    def _take_ticket(self, happening: Happening) -> None:
        name, step = happening.name, int(happening.fields["step"])
        self._mark(step, name)
        self.acknowledged[name] = max(step, self.highest(name))
        if name == "durable":
            self.durable_time[step] = happening.time
        elif name == "verified":
            self.figures.append(happening.fields)
        elif name == "failed":
            self.failures.append(happening.fields)

    def _mark(self, step: int, mark: str) -> None:
        marks = self._marks.setdefault(step, set())
        if mark in ("called", "persist") and marks & ENDED:
            marks.clear()  # the step is done again, after a kill
        marks.add(mark)
        if mark in ("durable", "verified", "commit"):
            marks.add("captured")
