"""The connection to the daemon: one sf_client and the one plan that fits the state at present."""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import Any, Dict, List, Optional, Protocol, Sequence, Tuple

from . import _abi, _accelerator
from ._decode import parse
from ._errors import DeadlineError, StillframeError
from ._optimizer_size import Size
from ._reader import Reader
from ._walk import Layout

_PLAN_SECONDS = 60.0  # what a dead predecessor still writes may be waited for, and memory that grows
_SKIPPABLE_PLAN_SECONDS = 5.0


def _bytes(text: Optional[str]) -> Optional[bytes]:
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _count(name: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{name}: expected a whole number from 0 on, found {value!r}")
    return int(value)


def _threads(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= _abi.MOST_COPY_THREADS:
        raise ValueError(f"copy_threads: expected a whole number from 1 to {_abi.MOST_COPY_THREADS}, found {value!r}")
    return int(value)


class Walked(Protocol):
    """What a snapshot takes of a walk."""

    def layout(self) -> Layout: ...

    def pointer_array(self) -> Tuple[Any, List[Any]]: ...

    def tree_utf8(self) -> bytes: ...


class Client:
    """Owns the handles. Every method raises the StillframeError of its code. Not for use in a forked child."""

    def __init__(self, *, store: str, run: str, group: str, socket: Optional[str], daemon_config: Optional[str],
                 rank: int, world_size: int, retention_json: Optional[str], budget_bytes: int, scratch_bytes: int,
                 fence_deadline: float, overrun: str, mean_time_between_failures_seconds: float,
                 persist_every_steps: int, persist_every_seconds: int, capture_check: str, copy_threads: int) -> None:
        daemon = _abi.packaged("bin", "stillframed")
        options = _abi.ClientOptions(
            struct_bytes=ctypes.sizeof(_abi.ClientOptions),
            rank=rank,
            world_size=world_size,
            store=_bytes(store),
            run=_bytes(run),
            group=_bytes(group),
            socket=_bytes(socket),
            daemon_path=_bytes(str(daemon)) if os.access(daemon, os.X_OK) else None,
            daemon_config=_bytes(daemon_config),
            retention_json=_bytes(retention_json),
            budget_bytes=budget_bytes,
            scratch_bytes=scratch_bytes,
            connect_deadline_ms=0,
            fence_deadline_ms=_abi.milliseconds(fence_deadline),
            overrun=_abi.OVERRUNS.index(overrun),
            mean_time_between_failures_seconds=mean_time_between_failures_seconds,
            persist_every_steps=_count("persist_every_steps", persist_every_steps),
            persist_every_seconds=_count("persist_every_seconds", persist_every_seconds),
            capture_check=_abi.CAPTURE_CHECKS.index(capture_check),
            copy_threads=_threads(copy_threads),
        )
        self._library = _abi.library()
        self._client = ctypes.c_void_p()
        self._plan: Optional[ctypes.c_void_p] = None
        self._layout: Optional[Layout] = None
        self._memory_wait_ms = 5000  # most memory takes less; the loop waits so long once
        self._waits = world_size > 1 or overrun == "wait"
        self.has_planned = False  # once a plan was made, what comes later is no wrong call
        self._gpus: List[int] = []  # of the newest plan that was made: copies of its snapshots may be under way
        _abi.check(self._library.sf_client_open(ctypes.byref(options), ctypes.byref(self._client)))

    def settle(self, seconds: float) -> None:
        _abi.check(self._library.sf_client_settle(self._client, _abi.milliseconds(seconds)))

    def reserve(self, size: Size) -> None:
        """Makes the memory for such a state; nothing as long as a dead predecessor has to write, or there is no room beside
        its memory."""
        with contextlib.suppress(DeadlineError):
            _abi.check(self._library.sf_client_reserve(self._client, size.bytes, size.tensors, size.gpu, 0))

    def reserve_behind(self, size: Size) -> None:
        """The same behind the caller, however long it takes; nothing where there is memory already."""
        _abi.check(self._library.sf_client_reserve_behind(self._client, size.bytes, size.tensors, size.gpu))

    def await_memory(self, step: int) -> None:
        """That is being made behind a restore, before the first plan: shortly, and once. BusyError: it is still on its way."""
        if not self.has_planned:
            wait_ms, self._memory_wait_ms = self._memory_wait_ms, 0
            _abi.check(self._library.sf_client_reserved(self._client, step, wait_ms))

    def hot_reader(self, rank: int, seconds: float) -> Optional[Reader]:
        """The image that a killed predecessor left in the daemon's memory; None when there is none."""
        handle = ctypes.c_void_p()
        code = self._library.sf_client_hot_reader(self._client, _abi.milliseconds(seconds), ctypes.byref(handle))
        if code == _abi.NOT_FOUND:
            return None
        _abi.check(code)
        return Reader("the daemon's memory", rank, handle)

    def wait_copied(self) -> None:
        """Until the pending snapshot has left the tensors; the client's own deadline."""
        _abi.check(self._library.sf_wait_copied(self._client, *self._streams(), 0))

    def fence(self) -> None:
        """The same, and the word that nothing guarded had moved before."""
        _abi.check(self._library.sf_fence(self._client, *self._streams(), 0))

    @property
    def on_gpu(self) -> bool:
        """Whether copies of the plan are made by a GPU, and so go on after its fence was passed."""
        return bool(self._gpus)

    def place(self, gpu: int, copies: Sequence[Tuple[int, int, int]]) -> None:
        """Copies (address on the GPU, address on the host, bytes) in the order of its current stream; done on return."""
        array = (_abi.Placement * len(copies))(*(_abi.Placement(*copy) for copy in copies))
        stream = _abi.Stream(gpu, _accelerator.stream_of(gpu))
        _abi.check(self._library.sf_place(self._client, ctypes.byref(stream), array, len(copies), 0))

    def _streams(self) -> Tuple[Any, int]:
        """Where the GPUs of the plan compute at this moment."""
        if not self._gpus:
            return None, 0
        streams = (_abi.Stream * len(self._gpus))()
        for stream, gpu in zip(streams, self._gpus):
            stream.device, stream.handle = gpu, _accelerator.stream_of(gpu)
        return streams, len(self._gpus)

    def snapshot(self, walked: Walked, step: int, metrics_json: str, wait: bool) -> Tuple[Any, List[Any]]:
        """The handle of the ticket, and what must stay alive until the copy has ended."""
        plan = self._plan_for(walked, wait)
        data, alive = walked.pointer_array()
        streams, stream_count = self._streams()
        request = _abi.SnapshotRequest(
            struct_bytes=ctypes.sizeof(_abi.SnapshotRequest),
            flags=_abi.SNAPSHOT_WAIT if wait else 0,
            step=step,
            data=data,
            tree_json=walked.tree_utf8(),
            metrics_json=metrics_json.encode("utf-8"),
            deadline_ms=0,
            streams=streams,
            stream_count=stream_count,
        )
        ticket = ctypes.c_void_p()
        _abi.check(self._library.sf_snapshot(plan, ctypes.byref(request), ctypes.byref(ticket)))
        return ticket, alive

    def _plan_for(self, walked: Walked, wait: bool) -> ctypes.c_void_p:
        layout = walked.layout()
        if self._plan is not None and (layout is self._layout or layout == self._layout):
            return self._plan
        planned = len(self._layout or ())
        self._drop_plan()
        entries = (_abi.EntryStruct * len(layout))()
        for entry, (name, dtype, shape, guarded, trainable, device) in zip(entries, layout):
            entry.name = name.encode("utf-8")
            entry.dtype = dtype.encode("ascii")
            entry.shape = (ctypes.c_uint64 * len(shape))(*shape)
            entry.dims = len(shape)
            entry.device = device
            entry.flags = (_abi.ENTRY_GUARDED if guarded else 0) | (_abi.ENTRY_TRAINABLE if trainable else 0)
        plan = ctypes.c_void_p()
        skippable = self.has_planned and not (wait or self._waits) and len(layout) <= planned
        deadline_ms = _abi.milliseconds(_SKIPPABLE_PLAN_SECONDS if skippable else _PLAN_SECONDS)
        _abi.check(
            self._library.sf_plan_create(self._client, entries, len(layout), deadline_ms, ctypes.byref(plan))
        )
        self._plan, self._layout = plan, layout
        self.has_planned = True
        self._gpus = sorted({device for *_, device in layout if device != _accelerator.HOST})
        return plan

    def _drop_plan(self) -> None:
        if self._plan is None:
            return
        plan, self._plan, self._layout = self._plan, None, None
        try:
            # The copier may still read the old plan; a fence that gives up abandons that snapshot, and its ticket says
            # so.
            self.wait_copied()
        finally:
            self._library.sf_plan_destroy(plan)

    def unread_warnings(self) -> List[str]:
        """Each is told once."""
        texts: List[str] = []
        try:
            while (text := _abi.text_of("sf_client_next_warning", self._client)) is not None:
                texts.append(text)
        except StillframeError:
            pass  # the connection says why elsewhere; a warning about warnings helps nobody
        return texts

    def tell_block_seconds(self, block_seconds: float) -> None:
        """So that whoever asks the daemon hears what the snapshots so far have cost the training thread, Python included."""
        _abi.check(self._library.sf_client_set_block_seconds(self._client, block_seconds))

    def status(self, block_seconds: float) -> Dict[str, Any]:
        """`block_seconds`: host time of the training thread that all snapshots so far have cost."""
        self.tell_block_seconds(block_seconds)
        found = parse(_abi.text_of("sf_client_status", self._client) or "{}")
        result = dict(found) if isinstance(found, dict) else {}
        if self._plan is not None:
            result["plan"] = parse(_abi.text_of("sf_plan_describe", self._plan) or "{}")
        return result

    def close(self, seconds: float) -> None:
        """Waits for what is captured. The handles stay until destroy()."""
        _abi.check(self._library.sf_client_close(self._client, _abi.milliseconds(seconds)))

    def destroy(self) -> None:
        plan, self._plan = self._plan, None
        if plan is not None:
            self._library.sf_plan_destroy(plan)
        client, self._client = self._client, ctypes.c_void_p()
        self._library.sf_client_destroy(client)
