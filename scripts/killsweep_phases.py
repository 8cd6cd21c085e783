"""What stood where when the blow fell."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Set

from killsweep_events import Happening

ENDS = {"daemon.checkpoint.verified", "daemon.checkpoint.unchecked", "daemon.checkpoint.failed", "daemon.checkpoint.bad",
        "daemon.snapshot.abandoned", "daemon.snapshot.withdrawn", "trainer.verified", "trainer.failed",
        "trainer.skipped"}  # fmt: skip

# The happening that says: now. None: seen by the state, or by the clock.
POINTS: Dict[str, Optional[Callable[[Happening], bool]]] = {
    "starting": lambda h: h.name == "trainer.start",
    "restoring": lambda h: h.name == "trainer.restoring",
    "copying": lambda h: h.name == "trainer.calling",
    "sealed": lambda h: h.name in ("trainer.captured", "daemon.snapshot.sealed"),
    "persist.begin": lambda h: h.name == "daemon.persist.begin",
    "commit.begin": lambda h: h.name == "daemon.commit.begin",
    "renamed": lambda h: h.name == "store.published",
    "verifying": lambda h: h.name == "daemon.checkpoint.durable",
    "removing": lambda h: h.name == "store.removing",
    "idle": None,
    "random": None,
}
AT_START = ("starting", "restoring")
# A blow falls within so many seconds after the happening, so that it lands all over the phase.
SPREAD_SECONDS = {"starting": 0.01, "restoring": 0.02, "copying": 0.006, "persist.begin": 0.03, "commit.begin": 0.01,
                  "verifying": 0.02}  # fmt: skip
PUBLISHED = {"store.published", "daemon.checkpoint.durable"}
DONE_BY_DAEMON = {"daemon.persist.begin", "daemon.commit.begin"}
FORGOTTEN_STEPS = 1000


class Phases:
    def __init__(self) -> None:
        self._marks: Dict[int, Set[str]] = {}
        self._start = ""
        self.acknowledged: Dict[str, int] = {"captured": -1, "durable": -1}  # the highest step told
        self.daemon_pid: Optional[int] = None
        self.joined = False  # that daemon knows a trainer
        self.failed: Dict[int, str] = {}
        self.resumed: Optional[Happening] = None  # of the trainer that lives
        self.passed_over: List[str] = []

    def take(self, happening: Happening) -> None:
        name, step = happening.name, happening.step
        if name in ("trainer.start", "trainer.restoring", "trainer.resumed"):
            self._start = name
            self.resumed = happening if name == "trainer.resumed" else None
            if name == "trainer.resumed":
                self._marks.clear()  # it has waited for what the one before had captured
                self.acknowledged["captured"] = -1 if step is None else step
        elif name == "daemon.trainer.joined":
            self.joined = True
        elif name == "trainer.passed-over":
            self.passed_over.append(happening.words)
        elif name == "daemon.daemon.ready":
            self.daemon_pid, self.joined = int(happening.words), False
            # What a dead daemon was doing nobody does now; the new one says what it does.
            self._marks = {step: marks - DONE_BY_DAEMON for step, marks in self._marks.items() if not marks & PUBLISHED}
        if step is None:
            return
        marks = self._marks.setdefault(step, set())
        if name in ("trainer.calling", "daemon.persist.begin") and marks & ENDS:
            marks.clear()  # the step is taken once more
        marks.add(name)
        self._marks.pop(step - FORGOTTEN_STEPS, None)
        word = name.partition(".")[2]
        if name.startswith("trainer.") and word in self.acknowledged:
            self.acknowledged[word] = max(step, self.acknowledged[word])
        if name == "trainer.failed":
            self.failed[step] = happening.words

    def where(self) -> Set[str]:
        found: Set[str] = set()
        if self._start == "trainer.start":
            found.add("starting")
        elif self._start == "trainer.restoring":
            found.add("restoring")
        for marks in self._marks.values():
            found |= phases_of(marks)
        return found or {"idle"}


def phases_of(marks: Set[str]) -> Set[str]:
    if marks & ENDS:
        return set()
    if "daemon.checkpoint.durable" in marks:
        return {"verifying"}
    if "store.published" in marks:
        return {"renamed"}
    if "daemon.commit.begin" in marks:
        return {"commit.begin"}
    found = {"persist.begin"} if "daemon.persist.begin" in marks else set()
    sealed = "trainer.captured" in marks or "daemon.snapshot.sealed" in marks
    if not sealed and "trainer.calling" in marks:
        found.add("copying")
    return found | ({"sealed"} if sealed else set())
