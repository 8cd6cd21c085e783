"""A ticket: what has become of one snapshot, and waiting for it."""

from __future__ import annotations

import ctypes
import json
import os
import time
from dataclasses import dataclass, replace
from typing import Any, Callable, List, Optional, Tuple

from . import _abi
from ._errors import DeadlineError, StillframeError, UnavailableError, error_for
from ._versions import VersionRecord

_NAMES = ("copying", "captured", "durable", "verified", "failed", "abandoned", "skipped")
# A wait returns to Python this often, so that Ctrl-C works.
_SLICE_SECONDS = 0.25
# What timeout=None means: every wait has an end.
DEFAULT_WAIT_SECONDS = 600.0


@dataclass(frozen=True)
class Timings:
    """Seconds. `call`, `fence`: host time the training thread spent; the others count from the call, 0 until
    reached."""

    call_seconds: float = 0.0
    fence_seconds: float = 0.0
    captured_seconds: float = 0.0
    durable_seconds: float = 0.0
    verified_seconds: float = 0.0


@dataclass(frozen=True)
class CrashCost:
    """Seconds of training that a crash would cost the run: since the newest captured snapshot when the trainer dies,
    since the newest durable one when the power goes; since the beginning when there is none."""

    trainer_crash_seconds: float = 0.0
    power_loss_seconds: float = 0.0


@dataclass(frozen=True)
class Alarm:
    """Something about the training that a snapshot shows. `kind` is one of stale_state, stale_tensors,
    step_counters_disagree, non_finite_loss, missed_fence; `text` says what, and where to look."""

    kind: str
    text: str


@dataclass(frozen=True)
class _Seen:
    state: int
    name: str = ""
    error: str = ""
    code: int = _abi.OK
    alarms: Tuple[Alarm, ...] = ()
    raw_bytes: int = 0
    stored_bytes: int = 0
    timings: Timings = Timings()
    crash_cost: CrashCost = CrashCost()
    persisted: bool = True
    checked: bool = False
    torn: Tuple[str, ...] = ()


class Ticket:
    """One snapshot. Reading a property never waits. Made by Checkpointer.snapshot()."""

    def __init__(self, step: int, handle: Optional[Any], record: Optional[VersionRecord] = None, alive: Any = None,
                 error: Optional[StillframeError] = None, state: int = _abi.FAILED) -> None:
        self._step = step
        self._handle = handle
        self._pid = os.getpid()
        self._last_state = _abi.COPYING if handle is not None else state
        self._seen = _Seen(self._last_state)
        self._error = error
        self._own_alarms: Tuple[Alarm, ...] = ()
        self._settle: Callable[[], None] = _nothing
        self.call_seconds = 0.0  # measured by the checkpointer, around everything it does
        self.fence_seconds = 0.0
        self.record = record
        self.named: Optional[VersionRecord] = None  # behind its fence, while it is copied: what its tensors are called
        self.alive = alive

    # ---- what it says

    @property
    def step(self) -> int:
        return self._step

    @property
    def state(self) -> str:
        """One of copying, captured, durable, verified, failed, abandoned, skipped."""
        return _NAMES[self._state_now()]

    @property
    def captured(self) -> bool:
        """Every byte is out of the training process: a SIGKILL of it loses nothing of this snapshot."""
        return self._state_now() in (_abi.CAPTURED, _abi.DURABLE, _abi.VERIFIED)

    @property
    def durable(self) -> bool:
        """In the store, synced and published: survives a power loss."""
        return self._state_now() in (_abi.DURABLE, _abi.VERIFIED)

    @property
    def verified(self) -> bool:
        """Read back past the page cache with every checksum right."""
        return self._state_now() == _abi.VERIFIED

    @property
    def persisted(self) -> bool:
        """False when it is kept in memory only, until a newer one is captured (persist_every_steps,
        persist_every_seconds): captured is its last state then. The newest goes to the store at close(), and when the
        training process dies."""
        return self._refresh().persisted

    @property
    def checked(self) -> bool:
        """All that was on a GPU was compared with what stood there (capture_check), before it was captured."""
        return self._refresh().checked

    @property
    def torn(self) -> List[str]:
        """Names in the checkpoint of the tensors of which that comparison found other bytes: the snapshot was withdrawn."""
        return list(self._refresh().torn)

    @property
    def skipped(self) -> bool:
        """Not taken, because the one before was still being copied."""
        return self._state_now() == _abi.SKIPPED

    @property
    def error(self) -> Optional[StillframeError]:
        """Why it failed, was abandoned or skipped; None as long as all is well."""
        if self._error is None and self._state_now() in (_abi.FAILED, _abi.ABANDONED, _abi.SKIPPED):
            seen = self._refresh()
            text = seen.error or f"the snapshot of step {self._step} was {_NAMES[seen.state]}"
            self._error = _error_of(seen, text)
        return self._error

    @property
    def alarms(self) -> List[Alarm]:
        """What this snapshot says about the training, once it is durable. Empty when all is well. The same stands in
        the checkpoint's manifest, and each kind is warned of once until it clears; but missed_fence is said at once,
        on the ticket alone: its checkpoint is gone, or marked bad."""
        return [*self._own_alarms, *self._refresh().alarms]

    @property
    def name(self) -> str:
        """Of the checkpoint in the store; "" until durable."""
        return self._refresh().name

    @property
    def raw_bytes(self) -> int:
        """Bytes of the state."""
        return self._refresh().raw_bytes

    @property
    def stored_bytes(self) -> int:
        """Bytes on disk; 0 until durable."""
        return self._refresh().stored_bytes

    @property
    def timings(self) -> Timings:
        """Of the call and the fence: the whole host time of the training thread, Python's part included."""
        timings = self._refresh().timings
        return replace(timings, call_seconds=max(self.call_seconds, timings.call_seconds),
                       fence_seconds=max(self.fence_seconds, timings.fence_seconds))

    @property
    def crash_cost(self) -> CrashCost:
        """What a crash at this moment would cost the run, whatever becomes of this snapshot."""
        return self._refresh().crash_cost

    # ---- waiting

    def wait_captured(self, timeout: Optional[float] = None) -> bool:
        """True once captured. `timeout` in seconds; None is 600. Raises the ticket's error when the snapshot failed,
        was abandoned or skipped, and DeadlineError (a TimeoutError) when it took longer."""
        return self._wait(_abi.CAPTURED, timeout)

    def wait_durable(self, timeout: Optional[float] = None) -> bool:
        """True once durable; otherwise as wait_captured(). UnsupportedError at once when the snapshot is kept in memory
        only (`persisted`)."""
        return self._wait(_abi.DURABLE, timeout)

    def wait_verified(self, timeout: Optional[float] = None) -> bool:
        """True once verified; otherwise as wait_captured()."""
        return self._wait(_abi.VERIFIED, timeout)

    def _wait(self, wanted: int, timeout: Optional[float]) -> bool:
        if os.getpid() != self._pid:
            raise UnavailableError("a forked child cannot wait for a snapshot of its parent")
        limit = DEFAULT_WAIT_SECONDS if timeout is None else timeout
        end = time.monotonic() + limit
        if self.record is not None:
            self._wait_until(_abi.CAPTURED, end, limit)
            self._settle()
        self._wait_until(wanted, end, limit)
        return True

    def _wait_until(self, wanted: int, end: float, limit: float) -> None:
        while True:
            error = self.error
            if error is not None:
                raise error
            if wanted <= self._state_now() <= _abi.VERIFIED:
                return
            if self._handle is None:
                raise UnavailableError(f"the checkpointer was closed before step {self._step} was {_NAMES[wanted]}")
            left = max(0.0, end - time.monotonic())
            # Any failure shows in the ticket itself, which is looked at again before the time is.
            code = _abi.library().sf_ticket_wait(
                self._handle, wanted, _abi.milliseconds(min(left, _SLICE_SECONDS))
            )
            failed = code not in (_abi.OK, _abi.DEADLINE)
            message = _abi.last_error() if failed else ""
            if self._state_now() >= wanted:
                continue
            if failed:
                raise error_for(code, message)
            if left == 0.0:
                raise DeadlineError(
                    f"the snapshot of step {self._step} was not {_NAMES[wanted]} within {limit:g} s; it is "
                    f"{self.state} and goes on"
                )

    # ---- for the checkpointer

    def bind(self, settle: Callable[[], None]) -> None:
        """`settle` compares the version counters of a pending snapshot and confirms it."""
        self._settle = settle

    def withdraw(self, reason: str) -> StillframeError:
        """Marks the snapshot torn, here and in the library."""
        error = StillframeError(f"the snapshot of step {self._step} is torn and was withdrawn: {reason}")
        if self._handle is not None:
            code = _abi.library().sf_ticket_withdraw(self._handle, reason.encode("utf-8", "replace"))
            if code != _abi.OK:
                error = StillframeError(f"{error} (and the library could not be told: {_abi.last_error()})")
        self._error = error
        return error

    def confirm(self) -> None:
        """No guarded tensor moved before this snapshot was copied."""
        if self._handle is not None:
            _abi.check(_abi.library().sf_ticket_confirm(self._handle))

    @property
    def no_longer_copied(self) -> bool:
        """No copy reads the state's memory any more: sealed, or ended in another way."""
        return self._state_now() != _abi.COPYING

    def until_captured(self, seconds: float) -> bool:
        """Waits on the host alone, without a word to a stream; False when it takes longer, or there is an error."""
        if self._handle is not None:
            _abi.library().sf_ticket_wait(self._handle, _abi.CAPTURED, _abi.milliseconds(seconds))
        return self.captured

    def alarm(self, alarm: Alarm) -> None:
        """Of the package's own."""
        self._own_alarms += (alarm,)

    def release(self) -> None:
        """Lets go of the state's memory. On the Python thread, once the copy has ended."""
        self.alive = None
        self.record = None
        self.named = None

    def finish(self) -> None:
        """Keeps the last known state and gives the handle back (in a forked child: only drops it)."""
        if self._handle is not None:
            self._refresh()
        self._destroy()
        self.release()

    def _destroy(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None and os.getpid() == self._pid:
            _abi.library().sf_ticket_destroy(handle)

    def __del__(self) -> None:
        self._destroy()

    def _state_now(self) -> int:
        handle = self._handle
        if handle is not None and os.getpid() == self._pid:
            state = int(_abi.locked_library().sf_ticket_state(handle))
            self._last_state = self._last_state if state < 0 else state
        return self._last_state

    def _refresh(self) -> _Seen:
        if self._handle is None or os.getpid() != self._pid:
            return self._seen
        info = _abi.TicketInfo(struct_bytes=ctypes.sizeof(_abi.TicketInfo))
        _abi.check(_abi.library().sf_ticket_get(self._handle, ctypes.byref(info)))
        timings = Timings(
            info.call_seconds, info.fence_seconds, info.captured_seconds, info.durable_seconds, info.verified_seconds
        )
        name, error = ((raw or b"").decode("utf-8", "replace") for raw in (info.name, info.error))
        alarms = self._seen.alarms or _alarms_of(info.alarms)
        self._last_state = info.state
        self._seen = _Seen(
            info.state, name, error, info.error_code, alarms, info.raw_bytes, info.stored_bytes, timings,
            CrashCost(info.trainer_crash_seconds, info.power_loss_seconds), bool(info.persisted), bool(info.checked),
            tuple(json.loads(info.torn or b"[]")),
        )  # fmt: skip
        return self._seen

    def __repr__(self) -> str:
        return f"<Ticket step={self._step} {self.state}>"


def _error_of(seen: _Seen, text: str) -> StillframeError:
    # A deadline of the daemon's is not the end of a wait, which a TimeoutError would say.
    plain = seen.state == _abi.ABANDONED or seen.code in (_abi.OK, _abi.DEADLINE)
    return StillframeError(text) if plain else error_for(seen.code, text)


def _alarms_of(raw: Optional[bytes]) -> Tuple[Alarm, ...]:
    if raw is None or raw == b"[]":
        return ()
    return tuple(Alarm(str(one["kind"]), str(one["text"])) for one in json.loads(raw))


def _nothing() -> None:
    return None
