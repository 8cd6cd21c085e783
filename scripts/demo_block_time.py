"""How long a snapshot holds up the host, against torch.save and fsync of the same state, in one run.

    demo_block_time.py <store to write to, removed afterwards> [rounds, 6]
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, Dict

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

import torch  # noqa: E402
from train_gpt import build_model, build_optimizer, forward_backward, load_text, next_batch  # noqa: E402

import stillframe  # noqa: E402


def save_and_sync(state: Dict[str, Any], path: Path) -> float:
    """Seconds until the state is on the disk, the plain way."""
    started = time.perf_counter()
    with path.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - started


def measure(store: Path, rounds: int) -> None:
    torch.set_num_threads(2)
    model = build_model()
    optimizer = build_optimizer(model)
    text, cursor = load_text(), torch.Generator().manual_seed(0)

    def step() -> None:
        forward_backward(model, *next_batch(text, cursor, "cpu"))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    blocked, saved = [], []
    with stillframe.Checkpointer(str(store), model=model, optimizer=optimizer) as checkpointer:
        for number in range(rounds):
            ticket = checkpointer.snapshot(number)
            step()  # its fence waits for what is still being copied
            ticket.wait_durable(60)
            blocked.append(ticket.timings.call_seconds + ticket.timings.fence_seconds)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            saved.append(save_and_sync(state, store.with_suffix(".pt")))
    mine, plain = median(blocked), median(saved)
    print(f"host block per snapshot, median of {rounds}: {mine * 1e3:.2f} ms; torch.save + fsync of the same state: "
          f"{plain * 1e3:.1f} ms; ratio {plain / mine:.1f}")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    if target.exists():
        sys.exit(f"{target} is there already")
    try:
        measure(target, int(sys.argv[2]) if len(sys.argv) > 2 else 6)
    finally:
        shutil.rmtree(target, ignore_errors=True)
        target.with_suffix(".pt").unlink(missing_ok=True)
