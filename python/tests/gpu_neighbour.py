"""A trainer on a GPU of the driver fake with others beside it, as a program that is led line by line: the store, the run, the
ordinal of its GPU, and the socket of a daemon that runs ("": it finds one, or starts it).

"step" and "die <bytes>" make a step and its snapshot, and the latter dies in the copies of it; "end" closes.
"""

from __future__ import annotations

import sys
from typing import Any, Dict, List

import stillframe
from gpu_training import WAIT_SECONDS, Training, say

STEPS = 8


def troubles(ckpt: stillframe.Checkpointer) -> int:
    """Snapshots of this trainer that came to nothing."""
    status: Any = ckpt.status()
    counted: Dict[str, int] = status["snapshots"]
    return sum(counted[kind] for kind in ("failed", "abandoned", "skipped"))


def main() -> None:
    store, run, ordinal, socket = sys.argv[1:]
    training = Training(STEPS, int(ordinal))
    ckpt = training.checkpointer(store, run=run, socket=socket or None)
    resumed = ckpt.restore()
    if resumed is not None:
        training.state_onto_gpu()
        training.steps = resumed.step
    say("from", training.steps, "equal" if training.is_at(training.steps) else "DIFFERENT")
    daemon: Any = ckpt.status()["daemon"]
    say("daemon", daemon["pid"])
    tickets: List[stillframe.Ticket] = []
    for line in sys.stdin:
        word, *numbers = line.split()
        if word == "end":
            break
        if word == "die":
            training.gpu.die_after(int(numbers[0]))
        training.step()
        tickets.append(ckpt.snapshot(training.steps, wait=True))
        tickets[-1].wait_captured(WAIT_SECONDS)
        say("captured", training.steps, troubles(ckpt))
    ckpt.close()
    say("verified", *(ticket.step for ticket in tickets if ticket.verified))


if __name__ == "__main__":
    main()
