"""What stood where when the blow fell."""

from __future__ import annotations

from typing import Callable, Dict, Optional, Set

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
SPREAD_SECONDS = {"starting": 0.03, "restoring": 0.02, "copying": 0.006, "persist.begin": 0.03, "commit.begin": 0.01,
                  "verifying": 0.02}  # fmt: skip
FORGOTTEN_STEPS = 1000


class Phases:
    def __init__(self) -> None:
        self._marks: Dict[int, Set[str]] = {}
        self._start = ""
        self.acknowledged: Dict[str, int] = {"captured": -1, "durable": -1}  # the highest step told to a trainer
        self.daemon_pid: Optional[int] = None
        self.failed: Dict[int, str] = {}

    def take(self, happening: Happening) -> None:
        name, step = happening.name, happening.step
        if name in ("trainer.start", "trainer.restoring", "trainer.resumed"):
            self._start = name
        elif name == "daemon.daemon.ready":
            self.daemon_pid = int(happening.words)
            # What a dead daemon was doing nobody does now; the new one says what it does.
            for marks in self._marks.values():
                marks -= {"daemon.persist.begin", "daemon.commit.begin", "store.published", "daemon.checkpoint.durable"}
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

    def trainer_died(self) -> None:
        """What was not sealed vanishes with it; what was sealed the daemon speaks of."""
        self._start = ""
        self._marks = {step: marks for step, marks in self._marks.items() if "daemon.snapshot.sealed" in marks}

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
    return found | ({"sealed"} if sealed else {"copying"})
