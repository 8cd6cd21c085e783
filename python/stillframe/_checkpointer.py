"""Checkpointer: the hook in a training loop."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Set, Tuple, Union

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from . import _abi, _accelerator
from ._client import Client
from ._ddp import Sharing
from ._errors import BusyError, InvalidArgumentError, StillframeError, UnavailableError
from ._loop import at_exit, fence_hook, tensors_of, warn
from ._metrics import Metrics
from ._pending import Loss, PendingSnapshot
from ._ranks import place_of
from ._restore import Restored
from ._resume import Place, reserve_behind, resume
from ._retention import Retention
from ._scratch import check_scratch
from ._state import TrainingState
from ._strangers import Strangers, stranger_hook
from ._ticket import Alarm, Ticket
from ._walk import Walk, walk
from ._walk_cache import CachedWalk, WalkCache

_ABSENT = object()


class Checkpointer:
    """Snapshots a training run through a daemon, without stopping it.

    store           directory of the checkpoints; made when missing
    model           a Module, or a dict or list of several; likewise optimizer and scheduler
    rng             also the global generators of Python, NumPy, torch and CUDA
    state           a dict of further objects (state_dict()/load_state_dict(), or any tree), or a callable that
                    returns a tree
    run             name of the training job: 1 to 64 of [A-Za-z0-9_-]; one living writer per run
    retention       which checkpoints of the run stay (Retention); None: the daemon's configuration stands, which keeps
                    the newest three unless it says otherwise
    budget_bytes    hard limit of the host memory for snapshots; 0: the daemon's configuration stands
    socket          of a running daemon; None: one is started for this user and store
    daemon_config   TOML file for a started daemon
    fence_deadline  seconds a fence waits before it gives the snapshot up
    overrun         what happens to a snapshot for which there is no room, since earlier ones are still being copied
                    or written: "skip" it (its ticket says so), "wait" for room, or "latest": captured ones that
                    nobody has begun to write give way, the oldest first
    mean_time_between_failures_seconds   of this run, when it is known: status() then suggests how often to snapshot
    persist_every_steps, persist_every_seconds
                    every snapshot is captured; these say which go to the store: the first at or after each multiple of
                    so many steps, and the first so many seconds after the last that did. 0: not counted; both 0: the
                    daemon's configuration stands, by default every snapshot. Fewer than all need a budget of two images;
                    the newest always goes to the store at close(), and when this process dies. Of a group every snapshot
                    goes to the store: there they must stay 0
    scratch_bytes   limit of memory for what is copied in the call, on the host and on each GPU; 0: 64 MiB
    copy_threads    threads that copy tensors on the host at the same time, 1 to 16, in the call with the caller among them
    capture_check   which snapshots of what is on a GPU are checked against it, tensor by tensor, which finds changes that
                    move no version counter: "sample" (the first three and one of each hundred), "first" (three), "off".
                    A checked one holds the GPU's stream up while the GPU reads the state once (docs/alarms.md)
    guard           tensors that are changed only behind ckpt.fence(): as a call of guard()
    rank, world_size, group   ranks of one group commit together: a checkpoint holds the snapshot of a step of each, or there
                    is none. None: what torchrun's environment says (RANK, WORLD_SIZE), else one process alone
    replicated      True: model and optimizer are the same on all ranks, so rank 0 takes and writes them for all; each other
                    rank takes only what is its own: scheduler, rng, state, extra. None: so where every model is a
                    DistributedDataParallel over all ranks that keeps its buffers equal, and every optimizer one of torch.optim
                    over its parameters. Nobody compares the ranks. status() says "replicated". True for what is spread
                    over the ranks (DTensor, ZeroRedundancyOptimizer) is an InvalidArgumentError with its name

    The tree that is saved is {"model", "optimizer", "scheduler", "rng", "state", "extra"}, each only when given.
    Parameters and state of the optimizers are copied behind the call, and a hook before optimizer.step() fences them, as
    guard() does it for others; everything else (buffers, generators, frozen or untracked parameters) is copied in the
    call. On an NVIDIA GPU neither waits for a copy: what no fence guards is gathered into scratch memory on the GPU, in
    the order of its current stream. Tensors of another accelerator are brought to the host in the call, which waits.

    Raises TypeError with the path of the first leaf that cannot be stored, BusyError when another process writes the
    run, NoSpaceError when the budget is too small for any snapshot or the tensors on a GPU that no fence guards exceed
    scratch_bytes, StorageError when the store cannot be made or written, UnavailableError when no daemon can be reached
    or started. After that, failures of a snapshot never stop the training: they are in its ticket, and warned of once.
    """

    def __init__(self, store: Union[str, "os.PathLike[str]"], *, model: Any = None, optimizer: Any = None,
                 scheduler: Any = None, rng: bool = False, state: Union[None, Dict[str, Any], Callable[[], Any]] = None,
                 run: str = "main", retention: Optional[Retention] = None, budget_bytes: int = 0,
                 socket: Optional[str] = None, daemon_config: Optional[str] = None, fence_deadline: float = 60.0,
                 scratch_bytes: int = 0, overrun: str = "skip", mean_time_between_failures_seconds: float = 0.0,
                 persist_every_steps: int = 0, persist_every_seconds: int = 0, rank: Optional[int] = None,
                 world_size: Optional[int] = None, group: str = "default", guard: Iterable[torch.Tensor] = (),
                 capture_check: str = "sample", copy_threads: int = 1,
                 replicated: Optional[bool] = None) -> None:
        if overrun not in _abi.OVERRUNS:
            raise ValueError(f"Checkpointer: overrun is one of {', '.join(_abi.OVERRUNS)}, not {overrun!r}")
        if capture_check not in _abi.CAPTURE_CHECKS:
            raise ValueError(f"Checkpointer: capture_check is one of {', '.join(_abi.CAPTURE_CHECKS)}, not {capture_check!r}")
        self._client: Optional[Client] = None
        self._pid = os.getpid()
        # Absolute from here on: the training may change its directory. An empty one stays empty, to be refused.
        self._store = os.path.realpath(store) if os.fspath(store) else ""
        self._place = Place(self._store, run, *place_of(rank, world_size))
        self._lock = threading.RLock()
        self._tickets: "weakref.WeakSet[Ticket]" = weakref.WeakSet()
        self._failing = False
        self._waits = overrun == "wait" or self._place.world_size > 1
        self._call_seconds = 0.0  # of all snapshots so far
        self._hooks: List[Any] = []
        self._state = TrainingState(model, optimizer, scheduler, rng, state)
        self._sharing = Sharing(replicated, self._state, self._place.rank, self._place.world_size)
        self._taken = self._sharing.taken
        self._taken.guard(tensors_of(guard))
        self._size = check_scratch(self._taken, scratch_bytes) + self._taken.to_come()
        self._walks = WalkCache(self._taken)
        self._client = Client(
            store=self._store, run=run, group=group, socket=socket, daemon_config=daemon_config, rank=self._place.rank,
            world_size=self._place.world_size, retention_json=None if retention is None else retention.to_json(),
            budget_bytes=budget_bytes, scratch_bytes=scratch_bytes, fence_deadline=fence_deadline, overrun=overrun,
            mean_time_between_failures_seconds=mean_time_between_failures_seconds,
            persist_every_steps=persist_every_steps, persist_every_seconds=persist_every_seconds,
            capture_check=capture_check, copy_threads=copy_threads,
        )  # fmt: skip
        self._pending = PendingSnapshot(self._client, fence_deadline)
        this = weakref.ref(self)
        for one in self._state.optimizers:
            self._hooks.append(one.register_step_pre_hook(fence_hook(this)))
        self._strangers = Strangers(self._taken, self._state.optimizers)
        self._warned_of: Set[str] = set()  # kinds of optimizers
        self._hooks.append(register_optimizer_step_pre_hook(stranger_hook(this)))
        self._exit = at_exit(this)
        atexit.register(self._exit)
        # Not what a dead predecessor still holds: that comes after restore(), or with the first snapshot.
        self._client.reserve(self._size)
        self._walks.prepare()
        self._warn_unread()

    # ---- the hook

    def snapshot(self, step: int, *, state: Any = _ABSENT, metrics: Optional[Mapping[str, Any]] = None,
                 extra: Any = None, wait: bool = False) -> Ticket:
        """Takes a snapshot of everything tracked, as it is at this moment, and returns at once.

        `step` is the caller's number of it. `state=tree` stores that tree instead, read back with stillframe.load().
        `metrics`: name -> number (a tensor of one element is one: on a GPU it is gathered with what no fence guards, and
        nobody waits for it); NaN is allowed. `extra`: any tree, back in Restored.extra. While the snapshot before is copied,
        or what a killed predecessor left is written first (which is waited for 5 s, once), this one is skipped; with `wait`
        it is waited for. Ranks of a group always wait, at most `fence_deadline`: one that skips a step takes it from all.

        Raises TypeError for wrong types (with the path of the leaf) and for a metric that is no number, and at the
        first snapshot InvalidArgumentError when the budget is too small for `persist_every_steps` and
        `persist_every_seconds`. Everything else is in the ticket's error.
        """
        if type(step) is not int or not -(2**63) <= step < 2**63:
            raise TypeError(f"snapshot: step must be an integer of 64 bits, not {step!r}")
        begun = time.perf_counter()
        numbers = Metrics(metrics)
        if self._foreign():
            return Ticket(step, None, error=UnavailableError("a forked child does not take snapshots"),
                          state=_abi.SKIPPED)
        with self._lock:
            client = self._open_client()
            if _accelerator.capturing():
                why = "a graph is being captured: nothing of the state would be copied now"
                return Ticket(step, None, error=BusyError(why), state=_abi.SKIPPED)
            if not (wait or self._waits):
                try:
                    client.await_memory(step)
                except BusyError as error:
                    self._warn_unread()
                    return Ticket(step, None, error=error, state=_abi.SKIPPED)
            self._settle(only_if_captured=not (wait or self._waits))
            if self._sharing.ends():
                self._take_everything()
            if state is _ABSENT:
                walked: Union[Walk, CachedWalk] = self._walks.take(extra)
            else:
                walked = walk(state, self._taken.guarded_storages(), ("state",),
                              staged_storages=self._taken.demoted_storages())
            record = walked.record()
            client.tell_block_seconds(self._call_seconds + self._pending.fence_seconds)
            try:
                handle, alive = client.snapshot(walked, step, numbers.json(walked.add_metric), wait)
            except StillframeError as error:
                if isinstance(error, InvalidArgumentError) and not client.has_planned:
                    raise
                return self._failed(Ticket(step, None, error=error))
            ticket = Ticket(step, handle, record, alive)
            ticket.bind(self._confirm)
            self._tickets.add(ticket)
            if ticket.skipped:
                ticket.release()
            else:
                self._report(self._pending.replace(ticket))
                self._failing = False
            self._warn_unread()
            ticket.call_seconds = time.perf_counter() - begun
            self._call_seconds += ticket.call_seconds
            return ticket

    def fence(self) -> None:
        """Call before guarded tensors change in place. The step() of a tracked optimizer does it by itself.

        Returns when every byte of the pending snapshot has been copied; at once when none is pending. On a GPU its
        current stream waits for that and the host does not: the change must run on that stream, or behind it. When it
        takes longer than `fence_deadline` seconds, or the daemon is gone, the snapshot is given up and training goes on.

        A change without a fence that moves torch's version counter of a guarded tensor is found at the next call here:
        the snapshot is withdrawn (marked bad when it was published) with a RuntimeWarning and an alarm on its ticket,
        and the tensor is guarded no more, but copied in the call, until guard() is called for it. What moves no counter
        is not found, and needs a fence before it: writing through `.data` or `.numpy()` or `data_ptr()`, custom kernels
        and extensions, fused updates (`fused=True`) that are not the step() of a torch optimizer, replays of CUDA graphs,
        and collectives that write into parameters. The step() of a torch optimizer that is not tracked is fenced as well,
        with a RuntimeWarning.

        While a graph is captured from the current stream nothing is given to it: the host waits in its place until the
        pending snapshot is captured. A replay runs no hook: call fence() before each one that changes guarded tensors.
        """
        if self._foreign():
            return
        with self._lock:
            if self._client is not None:
                self._settle(only_if_captured=False)
                self._warn_unread()

    def guard(self, tensors: Union[torch.Tensor, Iterable[torch.Tensor]]) -> None:
        """These tensors are changed only behind fence(): from the next snapshot on they are copied behind the call, and
        not in it. For averages of the weights, frozen weights, and the state of what is no torch optimizer. Their
        version counters are watched like those of parameters. They are held until close(); of memory that several
        tensors share, one is enough. TypeError for what is no tensor.
        """
        given = tensors_of(tensors)
        with self._lock:
            self._report(self._pending.look())
            self._taken.guard(given)
            self._walks.forget()

    def status(self) -> Dict[str, Any]:
        """What the library knows: daemon, mode, budget, counts of snapshots, last durable step and its age in seconds,
        consecutive failures, last error; what a crash now would cost (`crash_cost`: seconds of training, and a `text` that
        says so); how often to snapshot (`suggested_cadence`, None without mean_time_between_failures_seconds); the size that
        the state will have, optimizer state included that does not exist before the first step (`expected_image_bytes`),
        whether rank 0 takes models and optimizers for all (`replicated`), and the plan. {} in a forked child."""
        if self._foreign():
            return {}
        with self._lock:
            self._report(self._pending.look())
            status = self._open_client().status(self._call_seconds + self._pending.fence_seconds)
        return {**status, "expected_image_bytes": self._size.bytes, "replicated": self._sharing.replicated}

    def restore(self, step: Optional[int] = None) -> Optional[Restored]:
        """Puts the newest checkpoint of the run (or the newest of `step`) into the tracked objects.

        What a killed predecessor had captured comes from the daemon's memory, without the disk, when it is whole there; else
        it is waited for until it is durable. Names, dtypes and shapes are compared before anything is touched:
        MismatchError lists every difference. Nothing is cast. What fails a checksum is passed over for the next older one,
        with a RuntimeWarning and an item in Restored.skipped. None: the run has no checkpoint, and no `step` was asked for.
        NotFoundError: it has none of `step`. UnavailableError: none, and what a killed predecessor left could not be asked for.
        CorruptError: there are some and none can be read; when an image in memory turned out to be bad while it was read
        and nothing follows it, the objects are partly overwritten.
        In a group only the store is read: DeadlineError when what the ranks before had captured is not there in time;
        call it again then. What a rank has left to rank 0 (`replicated`) comes from rank 0's part of the same checkpoint,
        whatever `replicated` says now; a rank with a copy of its own takes that.
        """
        if self._foreign():
            raise UnavailableError("a forked child cannot restore; call restore() in the process that trains")
        with self._lock:
            client = self._open_client()
            self._settle(only_if_captured=False)
            restored = resume(client, self._place, step, self._state, self._warn_unread)
            if restored is not None:
                reserve_behind(client, self._size)
            self._walks.prepare()
        for skipped in restored.skipped if restored is not None else ():
            warn(f"stillframe: restore passed over {skipped.name} (step {skipped.step}): {skipped.reason}")
        return restored

    # ---- the end

    def close(self, timeout: float = 600.0) -> None:
        """Waits until every captured snapshot is durable and verified. `timeout` in seconds; DeadlineError after it
        (what is captured stays with the daemon, which goes on), or the first error of a snapshot. A second call does
        nothing, and so does one in a forked child. Ranks of a group call it together, with no barrier between: what one
        has taken is verified once the others have passed its fence, at the latest in their close()."""
        if self._foreign():
            self._forget()
            return
        with self._lock:
            client = self._client
            if client is None:
                return
            try:
                self._settle(only_if_captured=False)
                client.close(timeout)
            finally:
                self._warn_unread()
                self._dispose()

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if kind is None:
            self.close()
            return
        # The user's own exception is the one to see.
        try:
            self.close()
        except StillframeError as error:
            warn(f"stillframe: closing after {kind.__name__}: {error}")

    def __del__(self) -> None:
        if getattr(self, "_client", None) is not None and not self._foreign():
            self._dispose()

    def _dispose(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        client, self._client = self._client, None
        if client is not None:
            client.destroy()
        # Only now: until here the copier may read what the tickets keep alive.
        self._pending.drop()
        for ticket in list(self._tickets):
            ticket.finish()
        atexit.unregister(self._exit)

    def _forget(self) -> None:
        self._pending.drop()
        for ticket in list(self._tickets):
            ticket.finish()

    # ---- the pending snapshot

    def _before_step_of(self, optimizer: torch.optim.Optimizer) -> None:
        """Of any optimizer of the process, in any thread of it."""
        if self._strangers.is_tracked(optimizer) or not self._pending.wants_a_fence or self._foreign():
            return
        with self._lock:
            if not self._strangers.changes_guarded(optimizer):
                return
            kind, unfenced = type(optimizer).__name__, self._pending.unconfirmed
            self.fence()
            if unfenced and kind not in self._warned_of:
                self._warned_of.add(kind)
                warn(f"stillframe: {kind}, which is not tracked, updates guarded tensors. Its step was fenced; give it as "
                     "optimizer=, so that its state is in the checkpoint, or call ckpt.fence() before its step()")

    def _confirm(self) -> None:
        if not self._foreign():
            with self._lock:
                self._settle(only_if_captured=True)

    def _take_everything(self) -> None:
        self._taken = self._sharing.taken
        self._walks, self._strangers = WalkCache(self._taken), Strangers(self._taken, self._state.optimizers)
        warn("stillframe: rank 0 took models and optimizers for all ranks, and DistributedDataParallel keeps them equal no "
             "more: from now on this rank takes its own")

    def _settle(self, only_if_captured: bool) -> None:
        if self._client is not None:
            self._report(self._pending.settle(only_if_captured))
            for torn in self._pending.found_torn():
                self._report(torn)

    def _report(self, loss: Optional[Loss]) -> None:
        if loss is not None and loss.moved:
            self._taken.demote(loss.moved)
            self._walks.forget()
            advice = (f"{loss.error}. Call ckpt.fence() before changing them outside optimizer.step(). From now on they "
                      "are copied in the call, until ckpt.guard() is called for them")  # fmt: skip
            if not loss.ticket.torn:  # else the library's own alarm stands there
                loss.ticket.alarm(Alarm("missed_fence", advice))
            warn(f"stillframe: {advice}")
        elif loss is not None:
            self._failed(loss.ticket, loss.error)

    def _failed(self, ticket: Ticket, error: Optional[StillframeError] = None) -> Ticket:
        """One warning for a row of failures; the library's own say more."""
        warned = self._warn_unread()
        if not self._failing and not warned:
            warn(f"stillframe: the snapshot of step {ticket.step} failed, training goes on: {error or ticket.error}")
        self._failing = True
        return ticket

    def _warn_unread(self) -> bool:
        texts = [] if self._client is None else self._client.unread_warnings()
        for text in texts:
            warn(f"stillframe: {text}")
        return bool(texts)

    def _open_client(self) -> Client:
        if self._client is None:
            raise UnavailableError("this checkpointer is closed")
        return self._client

    def _foreign(self) -> bool:
        return os.getpid() != self._pid
