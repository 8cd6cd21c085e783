"""What a snapshot costs beside its call: the step that is lengthened, and the memory that is held."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Dict, List

import torch

from figures import Outcome, Row, columns, snapshot_taken, summary
from rows_block import DURABLE_TIMEOUT_SECONDS
from workload import Training

STEP_MEGABYTES = 64.0
STEPS_IN_A_TURN = 10  # with a snapshot of each, then as many without, and so on
COPIES_IN_A_STEP = 8.0  # the pass lasts so many times as long as the copy
PERSIST_EVERY_STEPS = 20
MEMORY_MEGABYTES = 640.0  # of which two do not fit into that budget
MEMORY_SNAPSHOTS = 12
MIB = 1 << 20


def copier_cpu_seconds() -> float:
    """CPU time so far of the threads that copy; their names begin with sf-cop."""
    ticks = 0
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().startswith("sf-cop"):
            fields = (task / "schedstat").read_text().split()
            ticks += int(fields[0])
    return ticks / 1e9


def step_on_the_host(args: argparse.Namespace, folder: Path) -> Outcome:
    """Guarded host tensors: what a step with a snapshot lasts longer than one without, in turns in one run."""
    import stillframe

    torch.set_num_threads(1)
    outcome = Outcome()
    training = Training(STEP_MEGABYTES)
    plain: List[float] = []
    snapped: List[float] = []
    skipped = number = 0
    with stillframe.Checkpointer(folder / "store", model=training.model, optimizer=training.optimizer,
                                 retention=stillframe.Retention(keep_last=1),
                                 persist_every_steps=PERSIST_EVERY_STEPS) as checkpointer:  # fmt: skip
        snapshot_taken(checkpointer, 0).wait_verified(DURABLE_TIMEOUT_SECONDS)
        training.make_last(COPIES_IN_A_STEP * training.copy_seconds())
        before = copier_cpu_seconds()
        for turn in range(2 * args.turns):
            for _ in range(STEPS_IN_A_TURN):
                number += 1
                seconds = 0.0
                if turn % 2:
                    ticket = checkpointer.snapshot(number)
                    seconds += ticket.call_seconds
                seconds += training.forward_backward() + training.update()
                if turn % 2 == 0:
                    plain.append(seconds)
                elif ticket.skipped:
                    skipped += 1
                else:
                    snapped.append(seconds)
        copying = (copier_cpu_seconds() - before) / max(1, len(snapped))
    raw = outcome.raw
    raw.update(state_bytes=training.state_bytes(), plain_seconds=plain, with_snapshot_seconds=snapped, skipped=skipped,
               copy_cpu_seconds=copying)  # fmt: skip
    base, lengthened = summary(plain)["median"], summary(snapped)["median"]
    share, beyond = (lengthened - base) / base, (lengthened - base - copying) / base
    outcome.rows.append(Row(
        f"extra step time, a snapshot every step, persist every {PERSIST_EVERY_STEPS}th, guarded host tensors, one copy thread",
        "<= 3 % beyond the copy's own CPU time", f"{beyond:+.2%} beyond it, {share:+.2%} in all", beyond <= 0.03,
        f"a step {base * 1e3:.1f} ms, the copy's CPU time {copying * 1e3:.1f} ms; {skipped} skipped",
    ))  # fmt: skip
    return outcome


def arena_memory(args: argparse.Namespace, folder: Path) -> Outcome:
    """A budget of 1.05 x state + 256 MiB, each commit ended before the next snapshot: no stall, and no byte more."""
    import stillframe

    torch.set_num_threads(args.threads)
    outcome = Outcome()
    training = Training(MEMORY_MEGABYTES)
    training.make_last(3 * training.copy_seconds())
    limit = int(1.05 * training.state_bytes()) + 256 * MIB
    rounds: List[Dict[str, float]] = []
    skipped = 0
    with stillframe.Checkpointer(folder / "store", model=training.model, optimizer=training.optimizer, budget_bytes=limit,
                                 retention=stillframe.Retention(keep_last=1)) as checkpointer:  # fmt: skip
        for step in range(2 + MEMORY_SNAPSHOTS):
            ticket = checkpointer.snapshot(step)
            training.forward_backward()
            training.update()
            if ticket.skipped:
                skipped += 1
                continue
            ticket.wait_durable(DURABLE_TIMEOUT_SECONDS)
            if step >= 2:
                rounds.append({"call_seconds": ticket.timings.call_seconds, "fence_seconds": ticket.timings.fence_seconds})
        status, resident = checkpointer.status(), resident_shared()
    held = int(status["arena_bytes"])
    raw = outcome.raw
    raw.update(state_bytes=training.state_bytes(), limit_bytes=limit, arena_bytes=held, mode=status["mode"],
               skipped=skipped, rounds=rounds, seconds=columns(rounds))  # fmt: skip
    fence = raw["seconds"]["fence_seconds"]["most"]
    outcome.rows.append(Row(
        f"arena memory at zero stall while the disk keeps up, {training.state_bytes() / 1e6:.0f} MB",
        "<= 1.05 x state + 256 MiB",
        f"{held / MIB:.0f} MiB of {limit / MIB:.0f}, {held / training.state_bytes():.2f} x state", held <= limit and not skipped,
        f"{skipped} skipped, longest fence {fence * 1e3:.2g} ms; resident in the trainer {resident / MIB:.0f} MiB",
    ))  # fmt: skip
    return outcome


def resident_shared() -> int:
    """Shared memory that this process has touched, in bytes: the arena is in it."""
    for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines():
        if line.startswith("RssShmem:"):
            return int(line.split()[1]) * 1024
    return 0
