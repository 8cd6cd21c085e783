"""Writes down what becomes of each snapshot, as JSON lines, the moment it happens: what scripts/demo steers by.

One line an event: {"event": "start", "pid", "resumed", "restore_seconds", "skipped", "time"}, and for each snapshot
{"event": "called" | "captured" | "durable" | "verified" | "failed", "step", "time", …}. `time` is seconds since the
epoch; the last line of a snapshot carries its figures (seconds from the call, bytes).
"""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Type

POLL_SECONDS = 0.005
WAIT_SECONDS = 120.0
ORDER = ("captured", "durable", "verified")
FIGURES = ("call_seconds", "fence_seconds", "captured_seconds", "durable_seconds", "verified_seconds")


class SnapshotEvents:
    """A context manager; leaving it waits for the tickets that were watched and writes the last word on each. It has to
    be left before the checkpointer is closed."""

    def __init__(self, write: Callable[[Dict[str, Any]], None], resumed: Optional[Any]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._open: List[Dict[str, Any]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="snapshot-events", daemon=True)
        self._emit(
            "start",
            pid=os.getpid(),
            resumed=resumed.step if resumed else None,
            restore_seconds=resumed.seconds if resumed else None,
            skipped=[str(reason) for reason in resumed.skipped] if resumed else [],
        )

    def __enter__(self) -> "SnapshotEvents":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if error is None:
            self._wait_for_all()
        self._stop.set()
        self._thread.join()
        self._sweep()

    def watch(self, ticket: Any) -> None:
        self._emit("called", step=ticket.step, call_seconds=ticket.timings.call_seconds)
        with self._lock:
            self._open.append({"ticket": ticket, "seen": set()})

    def _wait_for_all(self) -> None:
        for entry in list(self._open):
            try:
                entry["ticket"].wait_verified(WAIT_SECONDS)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is written down and stops nothing
                self._emit("wait_failed", step=entry["ticket"].step, reason=str(error))

    def _poll(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self._sweep()

    def _sweep(self) -> None:
        with self._lock:
            watched = list(self._open)
        for entry in watched:
            self._advance(entry)
        with self._lock:
            self._open = [entry for entry in self._open if "end" not in entry["seen"]]

    def _advance(self, entry: Dict[str, Any]) -> None:
        ticket, seen = entry["ticket"], entry["seen"]
        error = ticket.error
        for state in ORDER:
            if state not in seen and getattr(ticket, state):
                seen.add(state)
                figures = self._figures(ticket) if state == ORDER[-1] else {}
                self._emit(state, step=ticket.step, **figures)
        if ORDER[-1] in seen:
            seen.add("end")
        elif error is not None:
            seen.add("end")
            self._emit("failed", step=ticket.step, reason=str(error))

    def _figures(self, ticket: Any) -> Dict[str, Any]:
        times = {name: getattr(ticket.timings, name) for name in FIGURES}
        return {**times, "raw_bytes": ticket.raw_bytes, "stored_bytes": ticket.stored_bytes}

    def _emit(self, event: str, **fields: Any) -> None:
        self._write({"event": event, **fields, "time": time.time()})
