"""The newest snapshot until its fence was passed: watched, then confirmed or withdrawn; and the memory of those before it
that a GPU still copies from."""

from __future__ import annotations

import time
from typing import List, NamedTuple, Optional

import torch

from . import _accelerator
from ._client import Client
from ._errors import BusyError, StillframeError
from ._ticket import Ticket
from ._versions import VersionRecord, describe_moved


class Loss(NamedTuple):
    """A snapshot that came to nothing. `moved`: the tensors that were changed without a fence; empty when its fence gave it
    up."""

    ticket: Ticket
    error: StillframeError
    moved: List[torch.Tensor]


class PendingSnapshot:
    """For use under the checkpointer's lock."""

    def __init__(self, client: Client, fence_deadline: float) -> None:
        self._client = client
        self._fence_deadline = fence_deadline
        self._ticket: Optional[Ticket] = None
        self._still_read: List[Ticket] = []
        self._found_torn: List[Loss] = []
        self.fence_seconds = 0.0  # of all snapshots so far

    @property
    def unconfirmed(self) -> bool:
        """There is one."""
        return self._ticket is not None

    @property
    def wants_a_fence(self) -> bool:
        """Something may still read the tensors."""
        return self._ticket is not None or bool(self._still_read)

    def replace(self, ticket: Ticket) -> Optional[Loss]:
        """`ticket` is the newest now. No update came since the one before, or its counters say so."""
        before, self._ticket = self._ticket, ticket
        if before is None:
            return None
        torn = self._withdraw_if_torn(before)
        if torn is None:
            before.confirm()
            self._let_go(before)
        return torn

    def settle(self, only_if_captured: bool) -> Optional[Loss]:
        """Withdraws it when a version counter moved; else fences it, which confirms it. Where it was confirmed before and
        a GPU still copies it, the streams of this moment wait as those before did."""
        self._let_go_of_copied()
        ticket = self._ticket
        if ticket is None:
            return None if only_if_captured else self._hold_back_from_copies()
        begun = time.perf_counter()
        ended = ticket.error is not None
        try:
            waits = ended or not only_if_captured or ticket.captured
            copied = waits and self._wait_copied(ticket)
            # Once, behind the wait: until here a tensor may have been changed by this thread or another, from here on it may.
            loss = self._withdraw_if_torn(ticket)
            if loss is None and not copied:
                return None
            if loss is None:
                self._confirm(ticket)
                self._let_go(ticket)
        except StillframeError as error:
            self._let_go(ticket)
            loss = None if ended else Loss(ticket, error, [])
        self._ticket = None
        ticket.fence_seconds = time.perf_counter() - begun
        self.fence_seconds += ticket.fence_seconds
        return loss

    def look(self) -> Optional[Loss]:
        """Withdraws it when a version counter moved, and leaves it as it is otherwise."""
        ticket = self._ticket
        loss = None if ticket is None else self._withdraw_if_torn(ticket)
        if loss is not None:
            self._ticket = None
        return loss

    def found_torn(self) -> List[Loss]:
        """Those that the library found torn by its own check, since the last call."""
        found, self._found_torn = self._found_torn, []
        return found

    def drop(self) -> None:
        """Nothing of it is watched any more."""
        self._ticket = None
        self._still_read = []

    def _hold_back_from_copies(self) -> Optional[Loss]:
        if not self._still_read:
            return None
        ticket = self._still_read[-1]  # the others have ended: one snapshot is copied at a time
        begun = time.perf_counter()
        try:
            self._wait_copied(ticket)
        except StillframeError as error:
            return Loss(ticket, error, [])
        finally:
            self.fence_seconds += time.perf_counter() - begun
        return None

    # A graph that is being captured takes no waits, and what is captured changes no byte now, though it moves the counters.
    # So the host waits in its place.
    def _wait_copied(self, ticket: Ticket) -> bool:
        """Until what is changed from now on is out of the copy's sight; False when that cannot be had now."""
        if self._beside_a_capture():
            return ticket.until_captured(self._fence_deadline)
        try:
            self._client.wait_copied()
        except BusyError:  # the capture is on another stream of the plan
            return ticket.until_captured(self._fence_deadline)
        return True

    def _confirm(self, ticket: Ticket) -> None:
        if self._beside_a_capture():
            ticket.confirm()
            return
        try:
            self._client.fence()
        except BusyError:
            ticket.confirm()

    def _beside_a_capture(self) -> bool:
        return self._client.on_gpu and _accelerator.capturing()

    def _withdraw_if_torn(self, ticket: Ticket) -> Optional[Loss]:
        record = ticket.record
        names = [] if record is None else record.moved()
        if record is None or not names:
            return None
        loss = Loss(ticket, ticket.withdraw(describe_moved(names)), record.moved_tensors())
        self._let_go(ticket)
        return loss

    # Past its fence a host's snapshot has left the tensors. A GPU's may still be copied: what runs on the streams that were
    # told to wait does not disturb it, but memory given back could go to another stream.
    def _let_go(self, ticket: Ticket) -> None:
        if self._client.on_gpu and not ticket.no_longer_copied:
            ticket.named, ticket.record = ticket.record, None
            self._still_read.append(ticket)
        else:
            self._release(ticket, ticket.record)

    def _release(self, ticket: Ticket, named: Optional[VersionRecord]) -> None:
        error = ticket.error
        if error is not None and ticket.torn:
            self._found_torn.append(Loss(ticket, error, [] if named is None else named.tensors_named(ticket.torn)))
        ticket.release()

    def _let_go_of_copied(self) -> None:
        if not self._still_read:
            return
        copied = [one for one in self._still_read if one.no_longer_copied]
        self._still_read = [one for one in self._still_read if one not in copied]
        for one in copied:
            self._release(one, one.named)
