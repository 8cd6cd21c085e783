"""How long a checkpoint holds the training up, against peers on the same state in the same run.

Block time of Stillframe: host time of snapshot() and of the fence of that step. Of torch.save: the save and its fsync. Of
async_save: the call and the wait until its copy is staged, before the update. Between call and update lie a forward and
a backward pass that last at least as long as the copy. One round measures every side once, in turn first, and each has
ended (durable, written) before the next begins.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Dict, List

import torch

from figures import Outcome, Row, columns, snapshot_taken
from peers import AsyncSave, Staging, staging_named, staging_variants, torch_save
from workload import Training

WARM_UP_ROUNDS = 2  # of every side, not counted: memory is there, caches are warm
DURABLE_TIMEOUT_SECONDS = 300.0
# The pass lasts so many times as long as a copy by one thread that has the machine to itself.
COPIES_IN_A_PASS = 3.0
SAME_BLOCK = 2.0  # a call that waits for a write blocks longer than this many times the 99th percentile of those that need not
IN_THE_CALL_GOALS = {1: 8, 2: 12}  # by copy_threads: so many times less than torch.save
PRESSED_STEPS = 6  # a checkpoint of every step, without waiting for the disk by choice

Side = Callable[[int], Dict[str, float]]


class Guarded:
    """Parameters and optimizer state behind the fence."""

    def __init__(self, training: Training, store: Path) -> None:
        import stillframe

        self._training = training
        self.checkpointer: Any = stillframe.Checkpointer(
            store, model=training.model, optimizer=training.optimizer, retention=stillframe.Retention(keep_last=1)
        )

    def step(self, take: Callable[[], Any]) -> Any:
        """One step with its snapshot; the ticket, once the fence has been passed."""
        self._training.settle()
        ticket = take()
        self._training.forward_backward()
        self._training.update()
        return ticket

    def round(self, number: int) -> Dict[str, float]:
        ticket = self.step(lambda: snapshot_taken(self.checkpointer, number))
        ticket.wait_verified(DURABLE_TIMEOUT_SECONDS)
        times = ticket.timings
        return {
            "stillframe_call_seconds": times.call_seconds,
            "stillframe_fence_seconds": times.fence_seconds,
            "stillframe_block_seconds": times.call_seconds + times.fence_seconds,
            "stillframe_captured_seconds": times.captured_seconds,
        }

    def pressed(self, first: int) -> Dict[str, Any]:
        """Nothing is waited for between the snapshots."""
        tickets = [self.step(lambda: self.checkpointer.snapshot(first + number)) for number in range(PRESSED_STEPS)]
        taken = [ticket for ticket in tickets if not ticket.skipped]
        return {
            "block_seconds": [one.timings.call_seconds + one.timings.fence_seconds for one in tickets],
            "steps": PRESSED_STEPS,
            "skipped": PRESSED_STEPS - len(taken),
        }


def block_by(copy_threads: int) -> str:
    return f"in_the_call_by_{copy_threads}_block_seconds"


class InTheCall:
    """The same tensors as a plain tree, which no fence guards: copied before snapshot() returns."""

    def __init__(self, training: Training, store: Path, copy_threads: int) -> None:
        import stillframe

        self._training = training
        self.name = block_by(copy_threads)
        self.checkpointer: Any = stillframe.Checkpointer(
            store, state=lambda: training.tensors(), retention=stillframe.Retention(keep_last=1),
            copy_threads=copy_threads,
        )  # fmt: skip

    def round(self, number: int) -> Dict[str, float]:
        self._training.settle()
        ticket = snapshot_taken(self.checkpointer, number)
        self._training.forward_backward()
        self._training.update()
        self.checkpointer.fence()
        ticket.wait_verified(DURABLE_TIMEOUT_SECONDS)
        times = ticket.timings
        return {self.name: times.call_seconds + times.fence_seconds}


def saved(training: Training, path: Path) -> Dict[str, float]:
    figures = {f"torch_save_{name}": value for name, value in torch_save(training, path).items()}
    training.forward_backward()
    training.update()
    return figures


def saved_asynchronously(training: Training, peer: AsyncSave) -> Dict[str, float]:
    call = peer.call(training)
    training.forward_backward()
    staging = peer.wait_staged()
    training.update()
    write = peer.wait_for_previous_write()
    return {
        "async_save_call_seconds": call,
        "async_save_staging_seconds": staging,
        "async_save_block_seconds": call + staging,
        "async_save_still_writing_seconds": write,
    }


def pressed_asynchronously(training: Training, peer: AsyncSave) -> Dict[str, Any]:
    blocks, waits = [], []
    for _ in range(PRESSED_STEPS):
        waits.append(peer.wait_for_previous_write())
        call = peer.call(training)
        training.forward_backward()
        staging = peer.wait_staged()
        training.update()
        blocks.append(waits[-1] + call + staging)
    return {"block_seconds": blocks, "waits_for_previous_write_seconds": waits, "steps": PRESSED_STEPS}


def interleave(sides: List[Side], rounds: int) -> List[Dict[str, float]]:
    """Every side once a round; who comes first goes round."""
    found: List[Dict[str, float]] = []
    for number in range(WARM_UP_ROUNDS + rounds):
        start = number % len(sides)
        figures: Dict[str, float] = {}
        for side in sides[start:] + sides[:start]:
            figures.update(side(number))
        if number >= WARM_UP_ROUNDS:
            found.append(figures)
    return found


def make_training(args: argparse.Namespace, raw: Dict[str, Any]) -> Training:
    torch.set_num_threads(args.threads)
    training = Training(args.megabytes, args.device)
    copy = training.copy_seconds()
    raw["state_bytes"], raw["copy_seconds"] = training.state_bytes(), copy
    raw["forward_backward_seconds"] = training.make_last(COPIES_IN_A_PASS * copy)
    return training


def ratio(raw: Dict[str, Any], peer: str, mine: str) -> float:
    return float(raw["seconds"][peer]["median"] / raw["seconds"][mine]["median"])


def milliseconds(raw: Dict[str, Any], name: str) -> str:
    one = raw["seconds"][name]
    return f"{one['median'] * 1e3:.3g} ms (p99 {one['p99'] * 1e3:.3g})"


def copy_was_hidden(raw: Dict[str, Any]) -> str:
    longest, passed = raw["seconds"]["stillframe_captured_seconds"]["median"], raw["forward_backward_seconds"]
    hidden = "inside" if longest <= passed else "LONGER than"
    return f"the copy took {longest * 1e3:.0f} ms, {hidden} forward and backward ({passed * 1e3:.0f} ms)"


def against_torch_save(args: argparse.Namespace, folder: Path) -> Outcome:
    outcome = Outcome()
    training = make_training(args, outcome.raw)
    mine = Guarded(training, folder / "store")
    with mine.checkpointer:
        rounds = interleave([mine.round, lambda _: saved(training, folder / "state.pt")], args.rounds)
    raw = outcome.raw
    raw["rounds"], raw["seconds"] = rounds, columns(rounds)
    less = ratio(raw, "torch_save_block_seconds", "stillframe_block_seconds")
    outcome.rows.append(Row(
        f"block time, guarded, against torch.save + fsync, {raw['state_bytes'] / 1e6:.0f} MB", ">= 500 x less",
        f"{less:.1f} x less: {milliseconds(raw, 'stillframe_block_seconds')}", less >= 500,
        f"torch.save + fsync {milliseconds(raw, 'torch_save_block_seconds')}; {copy_was_hidden(raw)}",
    ))  # fmt: skip
    return outcome


def in_the_call(args: argparse.Namespace, folder: Path) -> Outcome:
    outcome = Outcome()
    training = make_training(args, outcome.raw)
    sides = [InTheCall(training, folder / f"store-{threads}", threads) for threads in IN_THE_CALL_GOALS]
    with ExitStack() as open_ones:
        for side in sides:
            open_ones.enter_context(side.checkpointer)
        rounds = interleave([*(side.round for side in sides), lambda _: saved(training, folder / "state.pt")], args.rounds)
    raw = outcome.raw
    raw["rounds"], raw["seconds"] = rounds, columns(rounds)
    for threads, goal in IN_THE_CALL_GOALS.items():
        less = ratio(raw, "torch_save_block_seconds", block_by(threads))
        outcome.rows.append(Row(
            f"block time, copied in the call, copy_threads={threads}, against torch.save + fsync, "
            f"{raw['state_bytes'] / 1e6:.0f} MB",
            f">= {goal} x less", f"{less:.1f} x less: {milliseconds(raw, block_by(threads))}", less >= goal,
            f"torch.save + fsync {milliseconds(raw, 'torch_save_block_seconds')}; "
            f"a bare copy by one thread {raw['copy_seconds'] * 1e3:.0f} ms",
        ))  # fmt: skip
    return outcome


def against_async_save(args: argparse.Namespace, folder: Path) -> Outcome:
    outcome = Outcome()
    chosen = [staging_named(name) for name in args.staging] if args.staging else staging_variants()
    for staging in chosen:
        raw: Dict[str, Any] = {}
        outcome.raw[str(staging)] = raw
        outcome.rows += one_staging(args, folder / str(staging), staging, raw)
    return outcome


def one_staging(args: argparse.Namespace, folder: Path, staging: Staging, raw: Dict[str, Any]) -> List[Row]:
    folder.mkdir()
    training = make_training(args, raw)
    mine, peer = Guarded(training, folder / "store"), AsyncSave(staging, folder)
    with mine.checkpointer:
        rounds = interleave([mine.round, lambda _: saved_asynchronously(training, peer)], args.rounds)
        raw["rounds"], raw["seconds"] = rounds, columns(rounds)
        raw["pressed"] = {"stillframe": mine.pressed(len(rounds) + WARM_UP_ROUNDS)}
    raw["pressed"]["async_save"] = pressed_asynchronously(training, peer)
    peer.close()
    less = ratio(raw, "async_save_block_seconds", "stillframe_block_seconds")
    pressed = raw["pressed"]
    most, waited = max(pressed["stillframe"]["block_seconds"]), max(pressed["async_save"]["waits_for_previous_write_seconds"])
    return [
        Row(f"block time against async_save, staging {staging}, {raw['state_bytes'] / 1e6:.0f} MB", ">= 20 x less",
            f"{less:.1f} x less: {milliseconds(raw, 'stillframe_block_seconds')}", less >= 20,
            f"async_save {milliseconds(raw, 'async_save_block_seconds')}; {copy_was_hidden(raw)}"),
        Row(f"a checkpoint at every step, async_save with staging {staging}", "no wait for a previous write",
            f"longest block {most * 1e3:.3g} ms; {pressed['stillframe']['skipped']} of {PRESSED_STEPS} skipped",
            most <= SAME_BLOCK * raw["seconds"]["stillframe_block_seconds"]["p99"],
            f"async_save waited up to {waited * 1e3:.0f} ms for the write before"),
    ]  # fmt: skip
